"""Candidates judged in batches by the greedy model, within a budget; the best few are judged exactly at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sysgym.accelerator_design.bound_kernels import repair
from sysgym.accelerator_design.joint.plans import planned_solution
from sysgym.accelerator_design.judge import quick_costs
from sysgym.accelerator_design.space import COUNTS, L2CFG, L2I, L2O, TABLE
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget, Clock

if TYPE_CHECKING:
    from sysgym.accelerator_design.instance import Workloads
    from sysgym.accelerator_design.problem import AcceleratorDesign

PENALTY = 1e6  # that a design over budget costs more than any within
EXACT = 5  # designs that are judged exactly


class Evaluations:
    """Counts what is evaluated and keeps the best; a design that was seen before is not counted again."""

    def __init__(self, problem: AcceleratorDesign, instance: Workloads, budget: Budget, usual: int) -> None:
        self.problem, self.instance = problem, instance
        self.rules, self.measured = problem.rules, problem.measured(instance)
        self.clock = Clock(budget)
        self.most = budget.steps if budget.steps is not None else (2**62 if budget.timed else usual)
        self.limits = self.rules.area_budget * self.measured.tpu_area, self.rules.tdp_budget * self.measured.tpu_power
        self.count = 0
        self.known: dict[bytes, float] = {}

    @property
    def spent(self) -> bool:
        """Whether nothing more may be evaluated."""
        return self.count >= self.most or self.clock.spent()

    def __call__(self, designs: Array) -> Array:
        """Fitness of designs (n, 16), lower is better: the cost, or what is over budget beyond any cost. Infinite for
        those that the budget does not allow any more.
        """
        keys = [row.tobytes() for row in np.ascontiguousarray(designs, np.int64)]
        new = [i for i, key in enumerate(dict.fromkeys(keys)) if key not in self.known]
        rows = {key: i for i, key in reversed(list(enumerate(keys)))}
        fresh = [rows[key] for key in dict.fromkeys(keys) if key not in self.known][: self.most - self.count]
        if new and fresh:
            cost, over = quick_costs(self.rules, self.measured, designs[fresh])
            fitness = np.where(over > 0, PENALTY * (1 + np.minimum(over, 1e5)), cost)
            self.known |= {keys[i]: float(value) for i, value in zip(fresh, fitness, strict=True)}
            self.count += len(fresh)
        return np.array([self.known.get(key, np.inf) for key in keys])

    def fitting(self, designs: Array, rng: np.random.Generator) -> Array:
        """Designs (n, 16) that the budgets of area and power allow, as near to the given ones as a random order of
        their parameters makes it. Both have closed forms, which the masks of the environment know: no evaluation.
        """
        found = np.ascontiguousarray(designs, np.int64).copy()
        repair(TABLE, COUNTS, found, np.argsort(rng.random(found.shape), axis=1), *self.limits)
        found[found[:, L2CFG] == 0, L2I : L2O + 1] = 0  # they mean nothing then
        return found

    def designs(self) -> Array:
        """All that were evaluated, (n, 16)."""
        return np.array([np.frombuffer(key, np.int64) for key in self.known])

    def best(self, count: int = EXACT) -> list[Array]:
        """The best designs so far, best first; the lightest one while there is none."""
        if not self.known:
            return list(self.fitting(np.zeros((1, len(COUNTS))), np.random.default_rng(0)))
        chosen = sorted(self.known, key=self.known.__getitem__)[:count]
        return [np.frombuffer(key, np.int64).copy() for key in chosen]

    def answer(self) -> Solution:
        """The best design by the judge, of the few that the model thinks best; as many as time allows."""
        found: Any = None
        for design in self.best(EXACT if self.rules.fusion == "ilp" else 1):
            if found is not None and self.clock.budget.timed and self.clock.spent():
                break
            solution = planned_solution(self.problem, self.instance, design)
            verdict = self.problem.judge(self.instance, solution)
            key = (not verdict.feasible, verdict.cost)
            if found is None or key < found[0]:
                found = key, solution
        assert found is not None
        return found[1]  # type: ignore[no-any-return]


def neighbours(design: Array) -> Array:
    """Every design that is one step up or down in one parameter, (m, 16)."""
    found = []
    for place, count in enumerate(COUNTS.tolist()):
        for value in (design[place] - 1, design[place] + 1):
            if 0 <= value < count:
                moved = design.copy()
                moved[place] = value
                found.append(moved)
    return np.array(found)
