"""Configurations by name, by recipe and from files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.data import decompress, read_text
from sysgym.core.errors import UsageError, shortened, unknown
from sysgym.core.instances import as_promised, find_entry, load_index, no_instance
from sysgym.nmt_architecture.files import (
    MOST_EVALUATIONS,
    MOST_SEED,
    USUAL,
    is_configurations_file,
    read_configurations,
    space_of,
)
from sysgym.nmt_architecture.instance import Configurations, Space, Task

TOPIC = "nmt_architecture"
RECIPES = {"seed": (0, MOST_SEED), "evaluations": (1, MOST_EVALUATIONS)}
BACKENDS = ("published", "table", "drawn", "live")
TASK = {"epochs": (1, 1000), "units": (1, 1024)}  # of the backend `live`, which may name `pairs` too


@lru_cache(maxsize=1)
def _figures() -> Mapping[str, Any]:
    """The published figures, as `python -m sysgym_zoo.embed nmt_architecture` wrote them."""
    found: Mapping[str, Any] = json.loads((files("sysgym") / "data" / TOPIC / "britz2017.json").read_text())
    return found


def published_figures() -> tuple[Mapping[str, str], ...]:
    """BLEU of the published systems and one-factor changes, with their source."""
    told = [{"where": row["table"], "quantity": f"{row['parameter']} {row['value']}, newstest2013 BLEU",
             "value": f"{row['mean']} +- {row['std']}", "source": _figures()["source"]}
            for row in _figures()["changes"]]  # fmt: skip
    return (*told, *_figures()["systems"])


@lru_cache(maxsize=1)
def published_space() -> Space:
    """The six factors of Britz et al. 2017: tables 2 to 7 as known designs, and the effects that they give.

    The effect of a value is its mean less that of the baseline in the same table (21.80 among beams, else 21.78); the
    baseline itself has the row of tables 2 to 6. Effects and variances of its values are 0.
    """
    changes, base = _figures()["changes"], _figures()["baseline"]
    parameters = tuple(dict.fromkeys(row["parameter"] for row in changes))
    values = tuple(tuple(row["value"] for row in changes if row["parameter"] == name) for name in parameters)
    baseline = np.array([known.index(base["values"][name]) for name, known in zip(parameters, values, strict=True)])
    told = {(row["parameter"], row["value"]): row["mean"] for row in changes}
    effect, spread, rows, mean, deviation = [], [], [baseline], [base["mean"]], [base["std"]]
    for row in changes:
        place = parameters.index(row["parameter"])
        value = values[place].index(row["value"])
        own = value == baseline[place]
        effect.append(row["mean"] - told[row["parameter"], base["values"][row["parameter"]]])
        spread.append(0.0 if own else row["std"])
        if not own:
            rows.append(np.where(np.arange(len(parameters)) == place, value, baseline))
            mean.append(row["mean"])
            deviation.append(row["std"])
    return Space(
        parameters, values, baseline, np.array(effect), np.array(spread), np.array(rows), np.array(mean),
        np.array(deviation), base["mean"], _figures()["shrink"],
    )  # fmt: skip


@lru_cache(maxsize=2)
def packaged_pairs(split: str) -> str:
    """Arabic names and what they are in Latin letters (google/transliteration, Apache-2.0): `train` or `eval`."""
    file = files("sysgym") / "data" / "decoding" / f"ar2en-{split}.tsv.gz"
    return decompress(str(file), file.read_bytes()).decode()


@lru_cache(maxsize=1)
def trained_space() -> tuple[Space, str]:
    """The packaged table of trained networks, and what it measures: `python -m sysgym_zoo.embed architectures`."""
    return space_of("ar2en.json", json.loads((files("sysgym") / "data" / TOPIC / "ar2en.json").read_text()))


def made(name: str, backend: str, seed: int, evaluations: int) -> Configurations:
    """The instance of a backend, a seed and a number of evaluations."""
    if backend == "published":
        return Configurations(name, backend, published_space(), seed, evaluations)
    if backend == "table":
        space, measure = trained_space()
        return Configurations(name, backend, space, seed, evaluations, measure)
    from sysgym.nmt_architecture.drawn import drawn

    return drawn(name, seed, evaluations)


def is_configurations(name: str, head: bytes = b"") -> bool:
    """Whether a word is a recipe of configurations, or a file of them by its beginning."""
    return (name.partition(":")[0] in BACKENDS and ":" in name) or is_configurations_file(name, head)


def _live(name: str, seed: int, evaluations: int, pairs: str = "", **sizes: int) -> Configurations:
    """The instance whose networks are trained when they are asked for, with the words of the packaged table."""
    train, judged = (read_text(pairs), "") if pairs else (packaged_pairs("train"), packaged_pairs("eval"))
    trained, measure = trained_space()
    none = np.zeros(int(trained.counts.sum()))
    space = Space(
        trained.parameters, trained.values, trained.baseline, none, none, trained.rows[:0], none[:0], none[:0]
    )
    task = Task(train=train, judged=judged, **sizes)
    return Configurations(name, "live", space, seed, evaluations, measure, task)


def _options(recipe: str, words: str) -> dict[str, Any]:
    """What a recipe sets; UsageError for unknown keys and numbers out of range."""
    backend, found = recipe.partition(":")[0], dict[str, Any](seed=0, evaluations=USUAL)
    ranges = RECIPES | TASK if backend == "live" else RECIPES
    for word in filter(None, words.split(",")):
        key, _, value = word.partition("=")
        if key == "pairs" and backend == "live":
            if not Path(value).is_file():
                raise UsageError(f"{shortened(recipe, 80)!r}: there is no file {shortened(value, 80)!r} with pairs.")
            found[key] = value
            continue
        if key not in ranges:
            raise unknown(f"option of {backend}", key, [*ranges, *(["pairs"] if backend == "live" else [])])
        low, high = ranges[key]
        whole = value.isascii() and value.isdecimal() and len(value) <= len(str(high))
        if not (whole and low <= int(value) <= high):
            raise UsageError(
                f"{shortened(recipe, 80)!r}: {key} must be a whole number from {low} to {high}, got "
                f"{shortened(value, 40)!r}."
            )
        found[key] = int(value)
    return found


@lru_cache(maxsize=256)
def _registered(name: str) -> Configurations:
    """A registered instance, with the content that the index promises."""
    entry = find_entry(load_index(TOPIC), name)
    assert entry is not None
    promised: Configurations = as_promised(entry, made(name, **entry.facts))
    return promised


def load_configurations(name: str) -> Configurations:
    """Configurations by registered name (`published/test-3`), recipe (`published:seed=7,evaluations=40`) or
    file (`sysgym.nmt_architecture.files`).
    """
    sets = load_index(TOPIC)
    if find_entry(sets, name) is not None:
        return _registered(name)
    backend, _, rest = name.partition(":")
    if backend in BACKENDS and rest:
        return (_live if backend == "live" else partial(made, backend=backend))(name, **_options(name, rest))
    if len(name) < 1024 and Path(name).is_file():
        return read_configurations(Path(name))
    raise no_instance(sets, name, "a table of configurations (.json) or a recipe such as 'published:seed=7'")
