"""The soft macros after any placement of the hard ones: by forces, as learners of hard macros have them, or free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sysgym.core.problem import Solution
from sysgym_agents.chip_placement.placers import as_solution
from sysgym_agents.core import Budget, Clock, agent_class, check_fits, make_agent

if TYPE_CHECKING:
    from sysgym.chip_placement.instance import Chip
    from sysgym.chip_placement.problem import ChipPlacement


class _AfterHard:
    """Lets another agent place the hard macros."""

    problems = ("ChipPlacement",)

    def __init__(self, hard: str) -> None:
        factory: Any = agent_class(hard)
        self.hard, self.step = hard, str(factory.step)

    def prepare(self) -> None:
        """Import what the agent for the hard macros imports."""
        make_agent(self.hard).prepare()

    def _first(self, problem: ChipPlacement, chip: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """Its answer; UsageError if it is for another problem."""
        agent, asked = make_agent(self.hard), cast("Any", problem)
        check_fits(self.hard, agent, asked)
        found: Solution = agent.solve(asked, chip, rng, budget)
        return found


class Forces(_AfterHard):
    """Places hard macros as another agent does, then soft macros by forces, wherever that agent put them.

    Hyper-parameters:
        hard: the agent that places the hard macros; a budget is its budget.
    """

    indivisible = "the forces, or what the agent that places the hard macros does not interrupt"

    def __init__(self, *, hard: str = "analytic") -> None:
        super().__init__(hard)

    def solve(self, problem: ChipPlacement, instance: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """Hard macros by the agent, soft ones by forces; UsageError if the agent is for another problem."""
        found = self._first(problem, instance, rng, budget)
        if not instance.has_soft or problem.pays_for != "proxy":
            return found
        return problem.restrict(instance, found, "forces")


class Freed(_AfterHard):
    """Places hard macros as another agent does, then anneals the soft ones alone on the exact cost, as `analytic` does.

    What `analytic` is to be compared with: the same freedom of the soft macros, other hard ones.

    Hyper-parameters:
        hard: the agent that places the hard macros, in half of the time or steps if they are limited.
        sweeps, tries: temperatures, and moves a soft macro at each, where neither is limited.
        hot, cold: first and last temperature as a share of the cost at the start, a macro.
    """

    indivisible = "what the agent that places the hard macros does not interrupt, or one sweep"

    def __init__(
        self, *, hard: str = "sa-placer", sweeps: int = 1000, tries: int = 4, hot: float = 0.08, cold: float = 1.5e-3
    ) -> None:
        super().__init__(hard)
        self.step = "a move, judged by its exact change of the cost"
        self.sweeps, self.tries, self.hot, self.cold = sweeps, tries, hot, cold

    def solve(self, problem: ChipPlacement, instance: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """Hard macros by the agent, soft ones by annealing; UsageError if the agent is for another problem."""
        from sysgym.chip_placement.formats.netlist import SOFT
        from sysgym.chip_placement.judge import all_nodes
        from sysgym_agents.chip_placement.polish import polish

        clock, steps = Clock(budget), budget.steps
        half, rest = (None, None) if steps is None else (-(-steps // 2), steps // 2)
        found = self._first(problem, instance, rng, budget.share(0.5)._replace(steps=half))
        soft = np.flatnonzero((instance.netlist.kind == SOFT) & ~instance.placement.fixed)
        left = clock.left()._replace(steps=rest)
        if not len(soft) or problem.pays_for != "proxy" or rest == 0:
            return found
        better = polish(
            instance.netlist, problem.rules.canvas(instance.canvas), all_nodes(instance, **found), rng, left,
            weights=problem.weights, hot=self.hot, cold=self.cold, share=0.0, soft=soft,
            square_soft=problem.square_soft, tries=self.tries, sweeps=self.sweeps,
        )  # fmt: skip
        return as_solution(instance, better)
