"""Forces after any placement of the hard macros: the freedom that a learner of hard macros has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sysgym.core.problem import Solution
from sysgym_agents.chip_placement.placers import as_solution, with_soft
from sysgym_agents.core import Budget, agent_class, check_fits, make_agent

if TYPE_CHECKING:
    from sysgym.chip_placement.instance import Chip
    from sysgym.chip_placement.problem import ChipPlacement


class Forces:
    """Places hard macros as another agent does, then soft macros by forces, wherever that agent put them.

    Hyper-parameters:
        hard: the agent that places the hard macros; a budget is its budget.
    """

    problems = ("ChipPlacement",)
    indivisible = "the forces, or what the agent that places the hard macros does not interrupt"

    def __init__(self, *, hard: str = "analytic") -> None:
        factory: Any = agent_class(hard)
        self.hard, self.step = hard, str(factory.step)

    def prepare(self) -> None:
        """Import what the agent for the hard macros imports."""
        make_agent(self.hard).prepare()

    def solve(self, problem: ChipPlacement, instance: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """Hard macros by the agent, soft ones by forces; UsageError if the agent is for another problem."""
        from sysgym.chip_placement.judge import all_nodes

        agent = make_agent(self.hard)
        asked: Any = problem
        check_fits(self.hard, agent, asked)
        found: Solution = agent.solve(asked, instance, rng, budget)
        if not instance.has_soft or problem.pays_for != "proxy":
            return found
        return as_solution(instance, with_soft(instance, all_nodes(instance, **found), problem.square_soft))
