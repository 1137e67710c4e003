"""An agent run again and again with fresh randomness, until its budget is used: a fair peer of one that searches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sysgym.core.problem import AnyProblem, Instance, Solution
from sysgym_agents.core import Budget, Clock

ALIKE = 100  # equal answers in a row, after which the agent is taken to draw nothing


class Restarted:
    """Solves with the agent within, again while another run fits into the budget; `judge` says which answer is best.

    The first run is the one that the agent would make alone. Without a limit there is no second one, nor of a sealed
    problem, whose judge may not choose.
    """

    fit = None

    def __init__(self, agent: Any) -> None:
        self.agent, self.problems, self.runs = agent, agent.problems, 0
        self.step, self.indivisible = agent.step or "a run, which makes one answer", agent.indivisible
        self.fallback, self.fell_back = agent.fallback, False

    def prepare(self) -> None:
        """Import what the agent imports."""
        self.agent.prepare()

    def solve(self, problem: AnyProblem, instance: Instance, rng: np.random.Generator, budget: Budget) -> Solution:
        """The best answer by `judge`, feasible ones first; `runs` says of how many."""
        clock, alike = Clock(budget), 0
        best: Solution = self.agent.solve(problem, instance, rng, budget)
        key, self.runs = self._key(problem, instance, best), 1
        while not problem.sealed and self._goes_on(clock) and alike < ALIKE:
            found = self.agent.solve(problem, instance, rng, clock.left())
            self.runs += 1
            alike = alike + 1 if _equal(found, best) else 0
            if (new := self._key(problem, instance, found)) < key:
                best, key = found, new
        self.fell_back = key[1]
        return best

    def _key(self, problem: AnyProblem, instance: Instance, solution: Solution) -> tuple[bool, bool, float]:
        """What is feasible comes first, then what the agent found itself, then what costs less."""
        verdict = problem.judge(instance, solution)
        return not verdict.feasible, bool(self.agent.fell_back), verdict.cost

    def _goes_on(self, clock: Clock) -> bool:
        """Whether another run, as long as the others on average, fits."""
        if clock.budget.steps is not None and (self.agent.step or clock.spent(self.runs)):
            return False
        return (clock.budget.timed or clock.budget.steps is not None) and clock.share * (1 + 1 / self.runs) < 1


def _equal(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    return all(np.array_equal(one[name], two[name]) for name in one)
