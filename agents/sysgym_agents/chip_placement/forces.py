"""Soft macros after any placement of the hard ones, by forces or free; a search over hard ones that sees the forces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Solution
from sysgym_agents.chip_placement.placers import UNLIMITED, as_solution, prepare, start_placement
from sysgym_agents.core import Budget, Clock, agent_class, check_fits, make_agent

if TYPE_CHECKING:
    from sysgym.chip_placement.formats.plc import Placement
    from sysgym.chip_placement.instance import Chip
    from sysgym.chip_placement.problem import ChipPlacement
    from sysgym_agents.chip_placement.placers import Setting

SHARE = 0.1  # of the time that the gradients may take
COOLING = 0.02  # the last temperature of the moves, as a share of the first


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


class Plan(NamedTuple):
    """How `search` goes about it."""

    rounds: int  # placements that are settled, where the budget names no limit
    most: float  # moves a hard macro between two of them, at first and at last
    least: float
    hot: float  # temperature of these moves at first, as a share of the cost, a macro
    worse: float  # of the cost that a round may lose, at first: the temperature of the rounds


def search(setting: Setting, placement: Placement, rng: np.random.Generator, budget: Budget, plan: Plan) -> Placement:
    """The best legal placement found, soft macros placed as the setting says after every round.

    A round makes moves of hard macros at any coordinates on the exact cost with the soft macros where they are, then
    places the soft ones anew, and goes on from the result only if its cost is accepted, otherwise from where the round
    began: what forces do to a placement is chaotic, a few per cent either way, and only what they leave counts. Both
    temperatures and the number of moves fall over the time, or over the rounds. A step of the budget is a move, or a
    placement after the forces.
    """
    from sysgym_agents.chip_placement import analytic_kernels
    from sysgym_agents.chip_placement.polish import HARD_CHANCES, RENEW, SOFT_CHANCES, merged

    clock, reduced = Clock(budget), merged(setting.netlist)
    state = setting.settle(placement, reduced)
    now = least = setting.cost(state)
    best, many = state.as_placement(), len(state.movable)
    span, cell = max(setting.canvas.width, setting.canvas.height), max(setting.canvas.cell)
    left = UNLIMITED if budget.steps is None else budget.steps - 1  # the start was judged
    fall = np.log(plan.most / plan.least)
    each = many * ((plan.most - plan.least) / fall if fall > 0 else plan.most) + 1  # steps of a mean round
    rounds = plan.rounds if budget.steps is None else max(left / each, 1.0)
    none, done = np.zeros(0, np.int64), 0
    while left > 1 and not clock.spent() and (budget.timed or budget.steps is not None or done < rounds):
        progress = min(clock.share if budget.timed else done / rounds, 1.0)
        moves = min(max(int(many * plan.most * (plan.least / plan.most) ** progress), 1), left - 1)
        heat = now / many * plan.hot * COOLING**progress
        wander = 0.3 * span * (cell / span) ** min(1.5 * progress, 1.0)
        tried = state.copy()
        analytic_kernels.anneal_any(
            rng, moves, heat, tried.movable,
            analytic_kernels.Schedule(1.0, np.array(HARD_CHANCES), np.array(SOFT_CHANCES), none, wander, RENEW),
            tried.terms(setting.weights), tried.tables(),
        )  # fmt: skip
        tried = setting.settle(tried.as_placement(), reduced)
        cost, done, left = setting.cost(tried), done + 1, left - moves - 1
        if cost < now - plan.worse * (1 - progress) ** 2 * now * np.log(1.0 - rng.random()):
            state, now = tried, cost
        if cost < least:
            best, least = tried.as_placement(), cost
    return best


class AnalyticForces:
    """The analytic placer for soft macros that forces place: moves of hard macros, judged by what the forces leave.

    Starts from the packing or from the gradients of `analytic`, whichever is cheaper after the forces. Where there are
    no soft macros, or they do not count, it is an annealing at any coordinates.

    Hyper-parameters:
        starts: runs of the gradients to choose from, 0 for the packing alone.
        iterations: of the gradients, fewer if a tenth of the time would not do.
        rounds: times that the forces place the soft macros, where neither time nor steps are limited.
        most, least: moves a hard macro between two of them, at first and at last.
        hot: first temperature of these moves as a share of the cost, a macro.
        worse: share of the cost that a round may lose, at first.
    """

    problems = ("ChipPlacement",)
    step = "a move, judged by its exact change of the cost (an illegal one counts too), or a placement after the forces"
    indivisible = "the packing to start from, making the gradients' placement legal, or one round and the forces"

    def __init__(
        self, *, starts: int = 1, iterations: int = 400, rounds: int = 400, most: float = 20.0, least: float = 1.0,
        hot: float = 0.02, worse: float = 0.01,
    ) -> None:  # fmt: skip
        if not 0 < least <= most:
            raise UsageError(f"least must be above 0 and at most most, got least={least} and most={most}.")
        self.starts, self.iterations = starts, iterations
        self.plan = Plan(rounds, most, least, hot, worse)

    def solve(self, problem: ChipPlacement, instance: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """Search from the cheaper start; UsageError if no legal placement is found."""
        clock, spacing = Clock(budget), problem.spacing_of(instance)
        setting, start = prepare(problem, instance, start_placement(instance, rng, spacing))
        if not setting.netlist.nets or not len(instance.movable):
            return as_solution(instance, setting.settle(start).as_placement())
        steps = budget.steps
        chosen, used = start, 0
        if self.starts and (steps is None or SHARE * steps > 2):
            time = budget.share(SHARE)._replace(steps=None if steps is None else int(SHARE * steps))
            chosen, used = self._gradients(problem, instance, rng, (setting, start), time)
        setting = setting.keeping(chosen, spacing)
        left = clock.left()._replace(steps=None if steps is None else max(steps - used, 1))
        return as_solution(instance, search(setting, chosen, rng, left, self.plan))

    def _gradients(
        self, problem: ChipPlacement, chip: Chip, rng: np.random.Generator, begin: tuple[Setting, Placement],
        budget: Budget,
    ) -> tuple[Placement, int]:  # fmt: skip
        """The cheapest after the forces of the start and of what the gradients find; how many were judged."""
        from sysgym.chip_placement.formats.netlist import SOFT
        from sysgym.chip_placement.geometry.packing import legalise
        from sysgym_agents.chip_placement.polish import merged
        from sysgym_agents.chip_placement.spreading import spread

        setting, best = begin
        clock, least, judged, reduced = Clock(budget), setting.cost(setting.settle(best)), 1, merged(setting.netlist)
        soft = np.flatnonzero((setting.netlist.kind == SOFT) & ~best.fixed) if setting.forces else chip.movable[:0]
        empty, nodes = prepare(problem, chip, chip.placement)[1], np.append(chip.movable, soft)
        for run in range(self.starts):
            iterations = self.iterations if budget.steps is None else min(self.iterations, budget.steps - judged - 1)
            if clock.spent() or iterations < 1:
                break
            found = spread(reduced, setting.canvas, empty, rng, nodes, congestion=0.5 * (run % 2),
                           square_soft=setting.square_soft, iterations=iterations,
                           time=clock.left()._replace(steps=None))  # fmt: skip
            judged += iterations
            legal = legalise(setting.netlist, setting.canvas, found, problem.spacing_of(chip))
            if legal is None:
                break
            cost, judged = setting.cost(setting.settle(legal)), judged + 1
            if cost < least:
                best, least = legal, cost
        return best, judged
