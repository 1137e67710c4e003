"""The only door between a search and its instance: counted evaluations that are noisy, never the judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sysgym.core.problem import Array, Solution
from sysgym.nmt_architecture.live import known
from sysgym.search.trials import evaluate, fresh
from sysgym_agents.core import Budget, Clock

if TYPE_CHECKING:
    from sysgym.nmt_architecture.instance import Configurations

STEP = "a noisy evaluation; there are as many as the instance has, or fewer"


class Laboratory:
    """Counts evaluations, keeps what was seen. The same designs in the same order give what the environment shows."""

    def __init__(self, instance: Configurations, budget: Budget) -> None:
        self._table, self._seed = known(instance), instance.seed
        self._clock = Clock(budget)
        self.counts = self._table.counts
        self.most = instance.evaluations if budget.steps is None else min(instance.evaluations, budget.steps)
        self._trials = fresh(self._table, instance.evaluations)

    @property
    def count(self) -> int:
        """Evaluations so far."""
        return self._trials.done

    @property
    def left(self) -> int:
        """Evaluations that remain, 0 when the time is up."""
        return 0 if self._clock.spent() else self.most - self.count

    @property
    def designs(self) -> Array:
        """What was evaluated, (count, P)."""
        return self._trials.designs[: self.count]

    @property
    def results(self) -> Array:
        """Costs as they were seen, (count,)."""
        return self._trials.results[: self.count]

    def __call__(self, design: Array) -> float:
        """The cost of a design (P,) as one more evaluation shows it; lower is better."""
        assert self.count < self.most
        return evaluate(self._table, self._seed, self._trials, np.asarray(design, np.int64))

    @property
    def effects(self) -> Array:
        """What a regression says of each value, one parameter after the other, (V,); lower is better."""
        return self._trials.effect

    def allowed(self, chosen: Array) -> Array:
        """Which values of the next parameter are possible after those of the first ones, (count,) bool."""
        return self._table.allowed(chosen)

    def exists(self, design: Array) -> bool:
        """Whether a design may be evaluated: tables of one's own do not have all."""
        return bool(self._table.present[self._table.number(design)])

    def drawn(self, rng: np.random.Generator) -> Array:
        """A random design that exists, one value after the other."""
        design = np.zeros(len(self.counts), np.int64)
        for place in range(len(design)):
            design[place] = rng.choice(np.flatnonzero(self.allowed(design[:place])))
        return design

    def answer(self) -> Solution:
        """The design of least mean result, of equal ones the first; without any evaluation the first of the table."""
        return {"design": (self._trials.answer if self.count else self._table.first()).copy()}
