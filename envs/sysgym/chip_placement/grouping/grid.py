"""Which grid a canvas should have, by Circuit Training's rule.

Source: google-research/circuit_training, `grouping/grid_size_selection.py` with its usual flags.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sysgym.chip_placement.formats.netlist import HARD, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.chip_placement.geometry.macros import macro_sizes
from sysgym.core.errors import announce
from sysgym.core.problem import Array

LEAST, MOST = 10, 127  # columns or rows
CELLS = 500, 4096  # of the grid, at least and at most
ASPECT = 1.5  # of a cell at most
TOLERANCE = 0.05  # of the best value, within which the grid of fewer cells is taken
USUAL = 32  # cells on the longer side where the macros fit no such grid


def with_chosen_grid(netlist: Netlist, canvas: Canvas, placement: Placement) -> Canvas:
    """The canvas with the grid that suits its macros, those that are fixed in the way of the others.

    Of all grids of LEAST to MOST columns and rows, CELLS cells and cells of an aspect of at most ASPECT, on which every
    macro finds a free cell one after the other, the largest first: those whose value (share of empty cells, plus what
    a row of all widths and one of all heights leaves unused) is within TOLERANCE of the best, and of these the one of
    the largest value a cell. Where all macros are fixed they count as if they were not. Where they fit no grid the
    cells are about square, USUAL on the longer side, which is announced.
    """
    hard = np.flatnonzero(netlist.kind == HARD)
    width, height = macro_sizes(netlist, orientation=np.where(placement.fixed, placement.orientation, 0))
    still = hard[placement.fixed[hard]]
    free = hard[~placement.fixed[hard]]
    if not len(free):
        free, still = hard, still[:0]
    left, low, right, high, _ = canvas.obstacles.T
    boxes = np.concatenate([
        np.stack([placement.x[still], placement.y[still], width[still], height[still]], axis=1),
        np.stack([(left + right) / 2, (low + high) / 2, right - left, high - low], axis=1),
    ])  # fmt: skip
    found = choose(boxes, width[free], height[free], canvas.width, canvas.height)
    if found is None:
        side = max(canvas.width, canvas.height) / USUAL
        found = max(1, round(canvas.width / side)), max(1, round(canvas.height / side))
        announce(
            f"{netlist.name}: its macros do not fit one after the other on any grid of {CELLS[0]} to {CELLS[1]} cells; "
            f"{found[0]} x {found[1]} are taken, or give -O grid=N."
        )
    return replace(canvas, columns=found[0], rows=found[1])


def choose(boxes: Array, wide: Array, tall: Array, width: float, height: float) -> tuple[int, int] | None:
    """Columns and rows for macros `wide` and `tall` (m,) on a canvas with `boxes` in the way; None if none is left."""
    from sysgym.chip_placement.grouping import grid_kernels as kernels

    order = np.argsort(-wide * tall, kind="stable")
    sorted_ = np.ascontiguousarray(wide[order]), np.ascontiguousarray(tall[order])
    sides = range(LEAST, MOST + 1)
    most_empty = 1 - min(1.0, float((wide * tall).sum()) / (width * height))
    across = {columns: kernels.waste(wide, width / columns) for columns in sides}
    upward = {rows: kernels.waste(tall, height / rows) for rows in sides}
    bounds: dict[tuple[int, int], float] = {}  # that no value is above
    for rows in sides:
        for columns in range(max(LEAST, -(-CELLS[0] // rows)), min(MOST, CELLS[1] // rows) + 1):
            cell = width / columns, height / rows
            if max(cell) <= ASPECT * min(cell):
                bounds[columns, rows] = most_empty + 2 - across[columns] - upward[rows]
    values: dict[tuple[int, int], float] = {}

    def value(grid: tuple[int, int]) -> float:
        """The value of a grid; below 0 where the macros do not fit."""
        if grid not in values:
            empty = kernels.empty_share(boxes, *sorted_, width, height, *grid)
            values[grid] = empty + 2 - across[grid[0]] - upward[grid[1]] if empty >= 0 else -1.0
        return values[grid]

    best = -1.0
    for grid in sorted(bounds, key=lambda each: -bounds[each]):
        if bounds[grid] <= best:
            break
        best = max(best, value(grid))
    if best < 0:
        return None
    found, most = (0, 0), (-1.0, 0.0)
    for grid in sorted(bounds, key=lambda each: -bounds[each] / (each[0] * each[1])):
        if bounds[grid] / (grid[0] * grid[1]) < most[0]:
            break
        if bounds[grid] >= best * (1 - TOLERANCE) and value(grid) >= best * (1 - TOLERANCE):
            found, most = max((found, most), (grid, (value(grid) / (grid[0] * grid[1]), value(grid))),
                              key=lambda item: item[1])  # fmt: skip
    return found
