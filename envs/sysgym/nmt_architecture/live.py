"""The backend `live`: networks that are trained when a search asks for them, by whatever package trains.

A trainer is an entry point of the group `sysgym.trainers`: a class that takes pairs to train on, pairs to judge by and
the number of epochs, and has the members of `Trainer`. What a training came to is kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from sysgym.core.data import cache_folder
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.core.registry import Registry
from sysgym.nmt_architecture.instance import POINTS, Configurations, Sizes, Task, table
from sysgym.nmt_architecture.networks import PUBLISHED, network, searched
from sysgym.search.tables import Lookup, table_of
from sysgym.text.models.config import RecurrentConfig

TRAINER = "names"  # short texts by their characters
DIGITS = 3  # of rates
JUDGED = (0, 1, 2)  # seeds of the trainings whose mean the judge takes
trainers = Registry("sysgym.trainers")


class Trainer(Protocol):
    """What trains and judges networks."""

    key: str  # of all that a result depends on but for network, seed and beams
    vocabulary: int  # tokens on either side

    def run(self, network: RecurrentConfig, seed: int, beams: Sequence[tuple[int, float]]) -> tuple[list[float], float]:
        """Error rates in percent of a network trained from a seed, one for each width and length penalty of a beam; and
        CPU seconds. The vocabularies of the network are the trainer's own."""
        ...


@lru_cache(maxsize=4)
def trainer(task: Task) -> Trainer:
    """The trainer of a task; UsageError where no package trains."""
    if TRAINER not in trainers.names():
        raise UsageError("the backend live trains networks, and no installed package does: install sysgym as a whole.")
    found: Trainer = trainers.get(TRAINER)(task.train, task.judged, epochs=task.epochs)
    return found


def trainings() -> Path:
    """Where results of trainings are kept."""
    return cache_folder().with_name("trainings")


class LiveTable:
    """All designs of a space; a cost is had by training (`sysgym.search.tables.Lookup`)."""

    def __init__(self, instance: Configurations) -> None:
        assert instance.task is not None
        self.space, self.task = instance.space, instance.task
        self.counts, total = self.space.counts, math.prod(self.space.counts.tolist())
        self.present = np.ones(total, bool)
        self._shape = table_of(self.counts, np.zeros(total), np.zeros(total), self.present)
        self.number, self.design, self.allowed = self._shape.number, self._shape.design, self._shape.allowed
        self.first = self._shape.first
        self._rates_of: dict[Path, list[float]] = {}  # what was trained or read, for where nothing can be kept

    @property
    def sizes(self) -> Sizes:
        """Of the networks."""
        return Sizes(trainer(self.task).vocabulary, self.task.units)

    def judged(self, number: int, train: bool = True) -> Array | None:
        """Costs of a design by the judge's seeds, (3,); None where one is to be trained and `train` says not to."""
        found = [self._rates(number, seed, train) for seed in JUDGED]
        return None if None in found else np.array(found)

    def mean(self, number: int) -> float:
        """The mean of the judge's trainings."""
        found = self.judged(number)
        assert found is not None
        return float(np.round(found.mean(), DIGITS))

    def figures(self, number: int) -> dict[str, float]:
        """The `spread` of the judge's trainings; nothing is known of the best design."""
        found = self.judged(number)
        assert found is not None
        return {"spread": float(found.std(ddof=1))}

    def at_hand(self, number: int) -> bool:
        """Whether the judge's trainings are done."""
        return self.judged(number, train=False) is not None

    def result(self, seed: int, turn: int, number: int) -> float:
        """The cost of one training, whose seed follows from that of the instance and the number of the evaluation."""
        drawn = int(np.random.SeedSequence([seed, turn]).generate_state(1)[0] >> 1)
        found = self._rates(number, len(JUDGED) + drawn, True)
        assert found is not None
        return found

    def _rates(self, number: int, seed: int, train: bool) -> float | None:
        """The cost of a design trained from a seed: all beams are judged at once, and kept."""
        words, maker = self.space.named(self.design(number)), trainer(self.task)
        beams = self.space.values[-1]
        beam = beams.index(words.pop("beam"))
        told = json.dumps([maker.key, words, self.task.units, beams, seed])
        place = trainings() / f"{hashlib.sha256(told.encode()).hexdigest()}.json"
        rates = self._rates_of.get(place) or _kept(place, len(beams))
        if rates is None:
            if not train:
                return None
            found = maker.run(network(words, self.sizes), seed, [searched(each) for each in beams])[0]
            rates = [round(rate, DIGITS) for rate in found]
            with suppress(OSError):  # no folder to keep it in
                _keep(place, rates)
        self._rates_of[place] = rates
        return min(rates[beam], POINTS)


def _kept(place: Path, count: int) -> list[float] | None:
    """Rates that were kept before; a damaged file counts for nothing."""
    try:
        rates = json.loads(place.read_text())
    except (OSError, ValueError):
        return None
    sound = isinstance(rates, list) and len(rates) == count and all(type(rate) is float and rate >= 0 for rate in rates)
    return rates if sound else None


def _keep(place: Path, rates: list[float]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(rates))
    partial.replace(place)


@lru_cache(maxsize=16)
def _live(instance: Configurations) -> LiveTable:
    return LiveTable(instance)


def known(instance: Configurations) -> Lookup:
    """The designs of an instance: a `Table`, or a `LiveTable` where it has a task."""
    return table(instance.space) if instance.task is None else _live(instance)


def sizes(instance: Configurations) -> Sizes | None:
    """Of the networks; None where it is not known what networks they are."""
    if instance.task is not None:
        return _live(instance).sizes
    return PUBLISHED if instance.backend == "published" else instance.space.sizes
