"""Placers that follow the wire mask: one greedy pass, and the evolution of guides of WireMask-BBO.

Both put each macro, in a fixed order, on a legal cell of least increase in HPWL (Lai, Mu, Luo, "MaskPlace", NeurIPS
2022). Many cells often tie; WireMask-EA (Shi, Xue, Song, Qian, "Macro Placement by Wire-Mask-Guided Black-Box
Optimization", NeurIPS 2023) gives every macro a guide position that decides, and searches over the guides.

The order matters more than the search: "connected" places each macro next to its placed neighbours, while "nets", that
of WireMask-BBO, often has to place macros whose nets are all still empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sysgym.core.errors import announce, unknown
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget, Clock

if TYPE_CHECKING:
    from sysgym.chip_placement.instance import Chip
    from sysgym.chip_placement.problem import ChipPlacement

CHIP = ("ChipPlacement",)
ORDERS = ("area", "nets", "connected", "netlist")  # without "random": these agents draw nothing
EVALUATIONS = 1000
CLOSE = 1e-9  # increases in HPWL that differ by less than this share of the half perimeter tie


class Arranger:
    """Places the macros of a chip in a given order from guides, (2, m) float64: the column and row that draws each."""

    def __init__(self, chip: Chip, order: Array) -> None:
        from sysgym.chip_placement.geometry.wire import wire

        self.chip, self.order, self.tables = chip, order, wire(chip)
        self.cells = np.zeros((2, len(self.tables.width)), np.int64)
        self.close = CLOSE * (chip.canvas.width + chip.canvas.height)

    def cost(self, guides: Array) -> tuple[int, float]:
        """Macros that found no room, and HPWL of the others; `cells` holds columns and rows, -1 without room."""
        from sysgym_agents.chip_placement.wiremask_kernels import arrange

        tables = self.tables
        found = arrange(self.order, *guides, *tables.tables, tables.boxes, tables.run, tables.start, *tables.cell,
                        self.close, *self.cells)  # fmt: skip
        return int(found[0]), float(found[1])

    def solution(self) -> dict[str, Array]:
        """What the last call of `cost` placed."""
        from sysgym.chip_placement.geometry.wire import macro_solution

        x, y = self.cells * np.array([[self.tables.cell_w], [self.tables.cell_h]])
        return macro_solution(self.chip, self.cells[0] >= 0, x, y)


class _WireMask:
    problems = CHIP
    indivisible = "one pass over the macros, two at most"

    def __init__(self, *, order: str = "connected") -> None:
        if order not in ORDERS:
            raise unknown("order", order, ORDERS)
        self.order = order

    def _first(self, chip: Chip, guides: Array) -> tuple[Arranger, tuple[int, float], int]:
        """Macros in `order`, or by area where that leaves some without room and areas fewer; cost; evaluations."""
        from sysgym.chip_placement.geometry.wire import placing_order

        arranger = Arranger(chip, placing_order(chip, self.order))
        cost = arranger.cost(guides)
        if cost[0] == 0 or self.order == "area":
            return arranger, cost, 1
        other = Arranger(chip, placing_order(chip, "area"))
        return min((arranger, cost, 2), (other, other.cost(guides), 2), key=lambda item: item[1])


class GreedyWireMask(_WireMask):
    """Each macro, in `order`, on a legal cell of least increase in HPWL, ties nearest to the middle of the canvas.

    Where the pass leaves a macro without room, one by descending area is tried.
    """

    def solve(self, problem: ChipPlacement, instance: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """One pass, two at most; deterministic."""
        return finish(problem, instance, self._first(instance, centred(instance))[0].solution())


class WireMaskEA(_WireMask):
    """The best of `initial` random guides, then a (1+1) evolution that swaps two macros' guides at a time.

    `budget.steps` counts evaluations, 1,000 where neither they nor seconds are given; `evaluations` those made.
    Where the first leaves a macro without room, a second tries them by descending area, and the better order stays.
    """

    step = "an evaluation of the guides of all macros"

    def __init__(self, *, order: str = "connected", initial: int = 100) -> None:
        super().__init__(order=order)
        self.initial = initial
        self.evaluations = 0

    def solve(self, problem: ChipPlacement, instance: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """The placement of least HPWL that the budget finds (at least one evaluation)."""
        if budget == Budget():
            budget = Budget(steps=EVALUATIONS)
        clock, guides = Clock(budget), drawn(instance, rng)
        arranger, best, self.evaluations = self._first(instance, guides)
        while not clock.spent(self.evaluations):
            if self.evaluations < self.initial:
                tried = drawn(instance, rng)
            else:
                tried = swapped(guides, arranger.order, rng)
            cost = arranger.cost(tried)
            self.evaluations += 1
            if cost <= best:
                guides, best = tried, cost
        arranger.cost(guides)
        return finish(problem, instance, arranger.solution())


def centred(chip: Chip) -> Array:
    """Guides that draw the centre of every macro to the centre of the canvas, (2, m) cells."""
    from sysgym.chip_placement.geometry.wire import wire

    tables = wire(chip)
    return np.stack([(chip.canvas.columns - tables.wide) / 2, (chip.canvas.rows - tables.tall) / 2])


def drawn(chip: Chip, rng: np.random.Generator) -> Array:
    """Guides anywhere on the grid, (2, m) cells."""
    return rng.random((2, len(chip.macros))) * np.array([[chip.canvas.columns], [chip.canvas.rows]])


def swapped(guides: Array, macros: Array, rng: np.random.Generator) -> Array:
    """A copy of the guides with those of two of the macros exchanged."""
    tried = guides.copy()
    if len(macros) >= 2:
        pair = rng.choice(macros, 2, replace=False)
        tried[:, pair] = guides[:, pair[::-1]]
    return tried


def finish(problem: ChipPlacement, chip: Chip, solution: dict[str, Array]) -> Solution:
    """The solution, for objective "proxy" off the lines of the grid and with soft macros placed by force.

    Macros that do not fill their cells go two units to the right and up, where no rounding takes an edge across a line.
    """
    if chip.gap > 0:
        announce(
            f"{chip.name}: macros stand on whole cells of the grid, which keeps no halos, {chip.gap:g} microns here."
        )
    if problem.pays_for != "proxy":
        return solution
    from sysgym.chip_placement.geometry.packing import room
    from sysgym.chip_placement.geometry.wire import wire
    from sysgym.chip_placement.judge import all_nodes
    from sysgym_agents.chip_placement.placers import as_solution, with_soft

    tables, far, moved = wire(chip), room(chip.canvas), dict(solution)
    own = np.isin(np.arange(len(chip.macros)), tables.movable)
    sides = (("x", tables.wide, tables.width), ("y", tables.tall, tables.height))
    for (axis, cells, size), cell in zip(sides, chip.canvas.cell, strict=True):
        moved[axis] = solution[axis] + np.where(own & (cells * cell - size > 2 * far), far, 0.0)
    return as_solution(chip, with_soft(chip, all_nodes(chip, **moved), problem.square_soft))
