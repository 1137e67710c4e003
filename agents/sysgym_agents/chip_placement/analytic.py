"""The analytic placer: gradients spread all macros, then annealing moves hard and soft ones on the exact cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sysgym.core.problem import Solution
from sysgym_agents.chip_placement.placers import UNLIMITED, as_solution, prepare, start_placement
from sysgym_agents.core import Budget, Clock

if TYPE_CHECKING:
    from sysgym.chip_placement.formats.plc import Placement
    from sysgym.chip_placement.geometry.moves import Moves
    from sysgym.chip_placement.instance import Chip
    from sysgym.chip_placement.problem import ChipPlacement
    from sysgym.core.problem import Array
    from sysgym_agents.chip_placement.placers import Setting

SHARE = 0.2  # of the seconds or steps, at most, that the gradients may take


class AnalyticPlacer:
    """Gradients on smooth wirelength and density, then annealing of hard and soft macros on the exact cost.

    The gradients place hard and soft macros together from the middle of the canvas; hard ones go to the nearest free
    places; then both kinds move at any coordinates with the exact change of the proxy, at falling temperatures. Soft
    macros stay where that puts them: no forces.

    Hyper-parameters:
        starts: runs of the gradients, of which the cheapest goes on; 0 starts from a packing, soft macros by forces.
        iterations: of the gradients, fewer if a fifth of the seconds or steps would not do.
        sweeps, tries: temperatures, and moves a macro at each; a budget of steps has as many sweeps as its moves make,
            and seconds set the temperature by the share of them that is spent.
        hot, cold: first and last temperature as a share of the cost at the start, a macro.
        share: of the moves that go to hard macros, as a multiple of their share of the macros.
        soft: whether soft macros move in the annealing.

    """

    problems = ("ChipPlacement",)
    step = (
        "a placement whose cost is computed: smoothly for a gradient step, exactly for a packing, the result of a run "
        "of gradients or a move of the annealing (one that is not legal counts too)"
    )
    indivisible = "making the gradients' placement legal, or one sweep"

    def __init__(
        self, *, starts: int = 2, iterations: int = 400, sweeps: int = 1000, tries: int = 4, hot: float = 0.08,
        cold: float = 1.5e-3, share: float = 3.0, soft: bool = True,
    ) -> None:  # fmt: skip
        self.starts, self.iterations, self.sweeps, self.tries = starts, iterations, sweeps, tries
        self.hot, self.cold, self.share, self.soft = hot, cold, share, soft

    def solve(self, problem: ChipPlacement, instance: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """Spread, make legal, anneal; UsageError if no legal placement is found."""
        from sysgym.chip_placement.formats.netlist import SOFT
        from sysgym_agents.chip_placement.polish import polish

        clock = Clock(budget)
        setting, start = prepare(problem, instance, instance.placement)
        movable = instance.movable
        soft = np.flatnonzero((setting.netlist.kind == SOFT) & ~start.fixed) if setting.forces else movable[:0]
        room = budget.share(SHARE)._replace(steps=budget.steps)
        found, used = self._start(problem, instance, rng, (setting, start, np.append(movable, soft)), room)
        setting = setting.keeping(found, problem.spacing_of(instance))
        left = clock.left()._replace(steps=None if budget.steps is None else max(budget.steps - used, 0))
        if not setting.netlist.nets or not len(movable) + len(soft):
            return as_solution(instance, found)
        many = max(len(movable) * self.share + len(soft), 1.0)
        found = polish(
            setting.netlist, setting.canvas, found, rng, left, weights=setting.weights,
            hot=self.hot, cold=self.cold, share=len(movable) * self.share / many, soft=soft if self.soft else soft[:0],
            square_soft=setting.square_soft, tries=self.tries, sweeps=self.sweeps, gaps=(setting.gap, setting.margin),
        )  # fmt: skip
        return as_solution(instance, found)

    def _start(
        self, problem: ChipPlacement, chip: Chip, rng: np.random.Generator, begin: tuple[Setting, Placement, Array],
        budget: Budget,
    ) -> tuple[Placement, int]:  # fmt: skip
        """The cheapest legal placement of the gradients, and what was judged; a packing where they leave no room.

        With a budget of steps, of which they take a share, the packing is judged first. Without time there is no other.
        """
        from sysgym.chip_placement.geometry.force import inside
        from sysgym.chip_placement.geometry.packing import legalise
        from sysgym_agents.chip_placement.polish import merged
        from sysgym_agents.chip_placement.spreading import spread

        best, least, clock, judged = None, np.inf, Clock(budget), 0
        setting, start, nodes = begin
        most = UNLIMITED if budget.steps is None else int(SHARE * budget.steps)
        if budget.steps is not None and (first := _packing(problem, chip, rng, setting)) is not None:
            best, least, judged = first.as_placement(), setting.cost(first), 1
        keep, reduced = setting._replace(forces=False), merged(setting.netlist)
        for run in range(self.starts if len(nodes) and setting.netlist.nets else 0):
            iterations = min(self.iterations, most - judged - 1)
            if clock.spent() or iterations < 1 or (run and 1 - clock.share < clock.share / run):  # it would not fit
                break
            time = clock.left()._replace(steps=None)
            found = spread(reduced, setting.canvas, start, rng, nodes, congestion=0.5 * (run % 2),
                           square_soft=setting.square_soft, iterations=iterations, time=time)  # fmt: skip
            judged += iterations
            legal = legalise(setting.netlist, setting.canvas, found, problem.spacing_of(chip))
            if legal is None:
                break
            legal = inside(setting.netlist, setting.canvas, legal, setting.square_soft)
            cost, judged = setting.cost(keep.settle(legal)), judged + 1
            if cost < least:
                best, least = legal, cost
        if best is None:
            packed = prepare(problem, chip, start_placement(chip, rng, problem.spacing_of(chip)))[1]
            best, judged = setting.settle(packed).as_placement(), judged + 1
        return best, judged


def _packing(problem: ChipPlacement, chip: Chip, rng: np.random.Generator, setting: Setting) -> Moves | None:
    """The packing with soft macros by forces; None if there is none."""
    from sysgym.chip_placement.geometry.packing import find_packing

    packed = find_packing(chip.netlist, chip.canvas, chip.placement, rng, problem.spacing_of(chip))
    return None if packed is None else setting.settle(prepare(problem, chip, packed)[1])
