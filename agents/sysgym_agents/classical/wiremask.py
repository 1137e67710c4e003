"""Placers that follow the wire mask: one greedy pass, and the evolution of guides of WireMask-BBO.

Both put each macro, in a fixed order, on a legal cell of least increase in HPWL (Lai, Mu, Luo, "MaskPlace", NeurIPS
2022). Many cells often tie; WireMask-EA (Shi, Xue, Song, Qian, "Macro Placement by Wire-Mask-Guided Black-Box
Optimization", NeurIPS 2023) gives every macro a guide position that decides, and searches over the guides.

The order matters more than the search: "connected" places each macro next to its placed neighbours, while "nets", that
of WireMask-BBO, often has to place macros whose nets are all still empty.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sysgym.chip.instance import Chip
from sysgym.chip.wire import Wire, macro_solution, placing_order, wire
from sysgym.core.errors import unknown
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget, Clock

CHIP = ("ChipPlacement",)
ORDERS = ("connected", "nets", "area", "netlist")
EVALUATIONS = 1000
CLOSE = 1e-9  # increases in HPWL that differ by less than this share of the half perimeter tie


class Arranger:
    """Places the macros of a chip from guides, (2, m) float64: columns and rows, each ties' nearest cell wins."""

    def __init__(self, chip: Chip, order: Array) -> None:
        self.chip, self.order, self.tables = chip, order, wire(chip)
        self.cells = np.zeros((2, len(self.tables.width)), np.int64)
        self.close = CLOSE * (chip.canvas.width + chip.canvas.height)

    def cost(self, guides: Array) -> tuple[int, float]:
        """Macros that found no room, and HPWL of the others; `cells` holds columns and rows, -1 without room."""
        from sysgym_agents.classical.wiremask_kernels import arrange

        tables: Wire = self.tables
        found = arrange(self.order, *guides, *tables.tables, tables.boxes, tables.run, tables.start, *tables.cell,
                        self.close, *self.cells)  # fmt: skip
        return int(found[0]), float(found[1])

    def centred(self) -> Array:
        """Guides that draw the centre of every macro to the centre of the canvas."""
        rows, columns = self.tables.run.shape
        return np.stack([(columns - self.tables.wide) / 2, (rows - self.tables.tall) / 2])

    def drawn(self, rng: np.random.Generator) -> Array:
        """Guides anywhere on the grid."""
        rows, columns = self.tables.run.shape
        return rng.random((2, len(self.tables.wide))) * np.array([[columns], [rows]])

    def solution(self) -> dict[str, Array]:
        """What the last call of `cost` placed."""
        x, y = self.cells * np.array([[self.tables.cell_w], [self.tables.cell_h]])
        return macro_solution(self.chip, self.cells[0] >= 0, x, y)


class _WireMask:
    problems = CHIP

    def __init__(self, *, order: str = "connected") -> None:
        if order not in ORDERS:
            raise unknown("order", order, ORDERS)
        self.order = order

    def _arranger(self, chip: Chip) -> Arranger:
        """With macros in `order`, or by area where a greedy pass in `order` leaves some without room."""
        chosen = [Arranger(chip, placing_order(chip, name)) for name in dict.fromkeys([self.order, "area"])]
        return min(chosen, key=lambda item: item.cost(item.centred())[0])


class GreedyWireMask(_WireMask):
    """Each macro, in `order`, on a legal cell of least increase in HPWL, ties nearest to the middle of the canvas.

    Where the pass leaves a macro without room, one by descending area is tried.
    """

    def solve(self, problem: Any, instance: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """One pass; deterministic."""
        arranger = self._arranger(instance)
        arranger.cost(arranger.centred())
        return finish(problem, instance, arranger.solution())


class WireMaskEA(_WireMask):
    """The best of `initial` random guides, then a (1+1) evolution that swaps two macros' guides at a time.

    `budget.steps` counts evaluations, 1,000 where neither they nor seconds are given; `evaluations` those made.
    """

    def __init__(self, *, order: str = "connected", initial: int = 100) -> None:
        super().__init__(order=order)
        self.initial = initial
        self.evaluations = 0

    def solve(self, problem: Any, instance: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """The placement of least HPWL that the budget finds (at least one evaluation)."""
        if budget == Budget():
            budget = Budget(steps=EVALUATIONS)
        clock, arranger = Clock(budget), self._arranger(instance)
        guides = arranger.drawn(rng)
        best = arranger.cost(guides)
        self.evaluations = 1
        while not clock.spent(self.evaluations):
            if self.evaluations < self.initial:
                tried = arranger.drawn(rng)
            else:
                tried = swapped(guides, arranger.order, rng)
            cost = arranger.cost(tried)
            self.evaluations += 1
            if cost <= best:
                guides, best = tried, cost
        arranger.cost(guides)
        return finish(problem, instance, arranger.solution())


def swapped(guides: Array, macros: Array, rng: np.random.Generator) -> Array:
    """A copy of the guides with those of two of the macros exchanged."""
    tried = guides.copy()
    if len(macros) >= 2:
        pair = rng.choice(macros, 2, replace=False)
        tried[:, pair] = guides[:, pair[::-1]]
    return tried


def finish(problem: Any, chip: Chip, solution: dict[str, Array]) -> Solution:
    """The solution with soft macros placed by force where they count (objective "proxy")."""
    if getattr(problem, "objective", "hpwl") != "proxy" or not chip.has_soft:
        return solution
    from sysgym.chip.force import place_soft

    netlist, placement = chip.netlist, chip.placement
    x, y, facing = placement.x.copy(), placement.y.copy(), placement.orientation.copy()
    x[chip.macros], y[chip.macros], facing[chip.macros] = solution["x"], solution["y"], solution["orientation"]
    at = netlist.parent
    known = placement.placed | np.isin(np.arange(len(x)), chip.macros)
    full = place_soft(netlist, chip.canvas,
                      replace(placement, x=x[at], y=y[at], orientation=facing[at], placed=known[at]))  # fmt: skip
    return {**solution, "x": full.x[chip.macros], "y": full.y[chip.macros]}
