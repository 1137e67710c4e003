"""Which hypotheses of a beam become the answer: a network, its training, and how it narrows a beam. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.episodes.rows import Task
from sysgym.text.episodes.widths import ABOUT, STEP, Asked, Decide, Narrowing, about_slots, about_step, narrow
from sysgym.text.search import WuSearch
from sysgym_agents.learning.devices import device_for, of
from sysgym_agents.learning.snapshot import Snapshot, learner_tensors, put_learner
from sysgym_agents.learning.stepwise import rate

WARM = 50
HELD = 5  # one in so many sentences is kept for the threshold
THRESHOLDS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
WIDE = 2 * len(ABOUT) + len(STEP)


class SurvivalNet(nn.Module):
    """Logits that hypotheses become the answer, of what is shown of each, of all together, and of the step."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(WIDE, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())
        self.out = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N,) of features (N, 23)."""
        found: Tensor = self.out(self.net(x))[:, 0]
        return found


def shown(asked: Asked) -> Array:
    """Features of the hypotheses of a search, (S, k, 23) float32: of each, their mean, and of the step."""
    slots, step = about_slots(asked.search), about_step(asked.search, asked.limits, asked.read)
    k = slots.shape[1]
    wide = [np.repeat(each[:, None], k, axis=1) for each in (slots.mean(axis=1), step)]
    return np.concatenate([slots, *wide], axis=2)


def chosen_widths(net: SurvivalNet, threshold: float) -> Decide:
    """Widths up to the last hypothesis that is as likely as a threshold to become the answer."""

    def decide(asked: Asked) -> Array:
        x = shown(asked)
        with torch.no_grad():
            logits = net(torch.from_numpy(x.reshape(-1, WIDE)).to(of(net)))
            likely = torch.sigmoid(logits).cpu().numpy().reshape(x.shape[:2])
        kept = (likely >= threshold) & (asked.search.scores > -np.inf)
        return np.asarray(np.where(kept, np.arange(1, x.shape[1] + 1), 1).max(axis=1))

    return decide


class Setting(NamedTuple):
    """Numbers of a training; see `LearntBeam`."""

    hidden: int
    learning_rate: float
    batch: int
    sentences: int
    iterations: int


class Survival:
    """A training between two steps."""

    def __init__(
        self, problem: Narrowing, instances: Sequence[Any], setting: Setting, rng: np.random.Generator,
        start: SurvivalNet | None = None,
    ) -> None:  # fmt: skip
        self.problem, self.setting, self.done = problem, setting, 0
        self.seed = int(rng.integers(2**31))
        places = [(instance, place) for instance in instances for place in range(len(instance))]
        order = np.random.default_rng([self.seed, 0]).permutation(len(places))[: setting.sentences]
        chosen = [places[i] for i in order]
        self.held = chosen[: max(1, len(chosen) // HELD)]
        learnt = chosen[len(self.held) :] or self.held
        found = [_searched(problem, instance, at) for instance, at in _grouped(learnt)]
        self.device = device_for(setting.batch)
        self.x = torch.from_numpy(np.concatenate([x for x, _ in found])).to(self.device)
        self.y = torch.from_numpy(np.concatenate([y for _, y in found])).to(self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.net = (start or SurvivalNet(setting.hidden)).to(self.device)
        self.optimiser = torch.optim.Adam(self.net.parameters(), setting.learning_rate)

    def step(self, share: float) -> dict[str, float]:
        """One gradient step at a share of the budget; its loss."""
        share = max(share, self.done / self.setting.iterations)
        self.optimiser.param_groups[0]["lr"] = rate(self.setting.learning_rate, self.done, WARM, share)
        rng = np.random.default_rng([self.seed, 1, self.done])
        rows = torch.from_numpy(rng.integers(len(self.y), size=self.setting.batch)).to(self.device)
        loss = nn.functional.binary_cross_entropy_with_logits(self.net(self.x[rows]), self.y[rows])
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.done += 1
        return {"loss": float(loss.detach())}

    def threshold(self) -> float:
        """The threshold whose searches cost least on the sentences that are held out."""
        return min(THRESHOLDS, key=lambda each: self._cost(chosen_widths(self.net, each)))

    def _cost(self, decide: Decide) -> float:
        """Mean cost of a sentence: quality by its own score, and what the search takes."""
        total = 0.0
        for instance, at in _grouped(self.held):
            task = _part(self.problem.task(instance), at)
            found = narrow(self.problem.model_of(instance), task, self.problem.k, decide)
            score = self.problem.task(instance).score
            if score is None:
                raise UsageError(f"{instance.name} has no references to weigh answers by: give references=FILE.")
            total += sum(score.cost(score.of(i, text)) for i, text in zip(at, found.texts, strict=True))
            total += self.problem.price(instance, int(found.forwards.sum())) * len(instance)
        return total / len(self.held)

    def snapshot(self) -> Snapshot:
        """The training as it stands; its searches are made again."""
        facts = {"iterations": self.setting.iterations, "done": self.done, "seed": self.seed}
        return Snapshot(learner_tensors(self.net, self.optimiser), facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of the same setting and sentences."""
        facts = snapshot.facts
        if facts["seed"] != self.seed:
            raise ValueError(f"it is of seed {facts['seed']}, this is of {self.seed}")
        put_learner(snapshot, self.net, self.optimiser)
        self.done = int(facts["done"])


def _grouped(places: Sequence[tuple[Any, int]]) -> list[tuple[Any, list[int]]]:
    """Instances with the sentences that are asked for of each."""
    found: dict[int, tuple[Any, list[int]]] = {}
    for instance, place in places:
        found.setdefault(id(instance), (instance, []))[1].append(place)
    return list(found.values())


def _part(task: Task, at: Sequence[int]) -> Task:
    return Task([task.sources[i] for i in at], [task.limits[i] for i in at], task.score)


def _searched(problem: Narrowing, instance: Any, at: Sequence[int]) -> tuple[Array, Array]:
    """Features (N, 23) of the hypotheses of full beams, and whether the answer came of each, (N,) float32."""
    seen: dict[int, tuple[WuSearch, list[Array]]] = {}

    def watch(asked: Asked) -> Array:
        seen.setdefault(id(asked.search), (asked.search, []))[1].append(shown(asked))
        return np.full(len(asked.rows), problem.k)

    narrow(problem.model_of(instance), _part(problem.task(instance), at), problem.k, watch)
    features, marks = [np.zeros((0, WIDE), np.float32)], [np.zeros(0, np.float32)]
    for search, steps in seen.values():
        for x, mark in zip(steps, _ancestors(search), strict=False):
            there = x[:, :, ABOUT.index("there")] > 0
            open_rows = there & (there & (x[:, :, ABOUT.index("ended")] == 0)).any(axis=1)[:, None]
            features.append(x[open_rows])
            marks.append(mark[open_rows])
    return np.concatenate(features), np.concatenate(marks)


def _ancestors(search: WuSearch) -> list[Array]:
    """Of each step of a search that is over, which slots the best hypotheses came of, (S, k) float32."""
    found, slot = list[Array](), np.zeros(len(search.scores), np.int64)
    for parents in reversed(search.slots.parents):
        mark = np.zeros(parents.shape, np.float32)
        mark[np.arange(len(slot)), slot] = 1.0
        found.append(mark)
        slot = parents[np.arange(len(slot)), slot]
    return found[::-1]
