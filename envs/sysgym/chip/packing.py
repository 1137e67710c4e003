"""Orders of macros and greedy packing: a legal placement to start from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sysgym.chip import legal_kernels
from sysgym.chip.legal import rectangles
from sysgym.chip.netlist import HARD, Netlist
from sysgym.chip.plc import Canvas, Placement
from sysgym.core.problem import Array


def macro_order(netlist: Netlist, fixed: Array | None = None) -> Array:
    """Hard macros by descending area, ties in the order of the file (Circuit Training's order); no fixed ones."""
    hard = np.flatnonzero((netlist.kind == HARD) if fixed is None else (netlist.kind == HARD) & ~fixed)
    return hard[np.argsort(-(netlist.width * netlist.height)[hard], kind="stable")]


def spiral(columns: int, rows: int) -> Array:
    """Cells (row, column) of a grid from the border inwards, counter-clockwise from the bottom left; (cells, 2)."""
    left, right, low, high = 0, columns - 1, 0, rows - 1
    cells = []
    while left <= right and low <= high:
        cells += [(low, c) for c in range(left, right + 1)]
        cells += [(r, right) for r in range(low + 1, high + 1)]
        if low < high:
            cells += [(high, c) for c in range(right - 1, left - 1, -1)]
        if left < right:
            cells += [(r, left) for r in range(high - 1, low, -1)]
        left, right, low, high = left + 1, right - 1, low + 1, high - 1
    return np.array(cells)


def pack(
    netlist: Netlist, canvas: Canvas, placement: Placement, cells: Array, spacing: float = 0.0
) -> Placement | None:
    """Movable hard macros, largest first, each on the first legal cell of a list; None where one finds no cell."""
    order = macro_order(netlist, placement.fixed)
    facing = np.where(np.isin(netlist.parent, order), 0, placement.orientation).astype(np.int8)
    x, y, width, height, placed, obstacles = rectangles(netlist, canvas, replace(placement, orientation=facing))
    placed[order] = False
    mask = np.zeros((canvas.rows, canvas.columns), np.int8)
    for node in order:
        legal_kernels.node_mask(obstacles, placed, x, y, width, height, width[node], height[node], canvas.width,
                                canvas.height, spacing, mask)  # fmt: skip
        free = np.flatnonzero(mask[cells[:, 0], cells[:, 1]])
        if not len(free):
            return None
        row, column = cells[free[0]]
        x[node], y[node] = (column + 0.5) * canvas.cell[0], (row + 0.5) * canvas.cell[1]
        placed[node] = True
    at = netlist.parent
    return replace(placement, x=x[at], y=y[at], orientation=facing, placed=placed[at])
