"""Numba kernels of placing macros one by one: what the next macro finds on each cell."""

from __future__ import annotations

import numpy as np

from sysgym.chip_placement.kernels import turned
from sysgym.compiled import njit


@njit
def wire_profiles(macro, ptr, body, dx, dy, weight, net_ptr, net_of, x, y, orientation, cell_w, cell_h, across, along):
    """Length of the macro's nets by the column and by the row of its cell, for each of the first orientations.

    across (O, columns), along (O, rows): their sum is the weighted half perimeter of all its nets, the other pins
    being where they are in x, y (b,). Returns the weight of these nets.
    """
    across[:] = 0.0
    along[:] = 0.0
    total = 0.0
    for j in range(net_ptr[macro], net_ptr[macro + 1]):
        e = net_of[j]
        left = low = np.inf
        right = high = -np.inf
        total += weight[e]
        for k in range(ptr[e], ptr[e + 1]):
            i = body[k]
            if i != macro:
                a, b = turned(dx[k], dy[k], orientation[i])
                left, right = min(left, x[i] + a), max(right, x[i] + a)
                low, high = min(low, y[i] + b), max(high, y[i] + b)
        if left > right:
            continue
        for o in range(len(across)):
            own_left = own_low = np.inf
            own_right = own_high = -np.inf
            for k in range(ptr[e], ptr[e + 1]):
                if body[k] == macro:
                    a, b = turned(dx[k], dy[k], o)
                    own_left, own_right = min(own_left, a), max(own_right, a)
                    own_low, own_high = min(own_low, b), max(own_high, b)
            for c in range(across.shape[1]):
                at = (c + 0.5) * cell_w
                across[o, c] += weight[e] * (max(right, at + own_right) - min(left, at + own_left))
            for r in range(along.shape[1]):
                at = (r + 0.5) * cell_h
                along[o, r] += weight[e] * (max(high, at + own_high) - min(low, at + own_low))
    return total


@njit
def _sum_of(table, r0, r1, c0, c1):
    """Sum of rows r0..r1 and columns c0..c1 of the grid behind a summed-area table; each cell outside counts 1."""
    rows, columns = table.shape[0] - 1, table.shape[1] - 1
    count = (r1 - r0 + 1) * (c1 - c0 + 1)
    r0, r1, c0, c1 = max(r0, 0), min(r1, rows - 1), max(c0, 0), min(c1, columns - 1)
    if r0 > r1 or c0 > c1:
        return float(count)
    inside = (r1 - r0 + 1) * (c1 - c0 + 1)
    return table[r1 + 1, c1 + 1] - table[r0, c1 + 1] - table[r1 + 1, c0] + table[r0, c0] + count - inside


@njit
def summed_area(grid, table):
    """Sums over rows < r and columns < c, (rows + 1, columns + 1)."""
    for r in range(grid.shape[0]):
        run = 0.0
        for c in range(grid.shape[1]):
            run += grid[r, c]
            table[r + 1, c + 1] = table[r, c + 1] + run


@njit
def describe_cells(across, along, scale, table, wide, tall, canvas_width, canvas_height, out):
    """Features of each orientation and cell, (O * cells, F) float32; see `sequence.CELL_FEATURES`."""
    rows, columns = table.shape[0] - 1, table.shape[1] - 1
    cell_w, cell_h = canvas_width / columns, canvas_height / rows
    side = min(canvas_width, canvas_height)
    least = np.inf
    for o in range(len(across)):
        least = min(least, across[o].min() + along[o].min())
    for o in range(len(across)):
        for r in range(rows):
            y = (r + 0.5) * cell_h
            r0, r1 = int(np.floor((y - tall / 2) / cell_h + 1e-6)), int(np.ceil((y + tall / 2) / cell_h - 1e-6)) - 1
            for c in range(columns):
                x = (c + 0.5) * cell_w
                c0, c1 = int(np.floor((x - wide / 2) / cell_w + 1e-6)), int(np.ceil((x + wide / 2) / cell_w - 1e-6)) - 1
                at = (o * rows + r) * columns + c
                out[at, 0] = 2 * x / canvas_width - 1
                out[at, 1] = 2 * y / canvas_height - 1
                out[at, 2] = 5 * (across[o, c] + along[o, r] - least) / scale
                border = min(min(x, canvas_width - x) - wide / 2, min(y, canvas_height - y) - tall / 2)
                out[at, 3] = 4 * max(border, 0.0) / side
                own = _sum_of(table, r0, r1, c0, c1)
                cells = (r1 - r0 + 1) * (c1 - c0 + 1)
                for k, reach in ((4, 1), (5, 3)):
                    near = _sum_of(table, r0 - reach, r1 + reach, c0 - reach, c1 + reach) - own
                    ring = (r1 - r0 + 1 + 2 * reach) * (c1 - c0 + 1 + 2 * reach) - cells
                    out[at, k] = 2 * near / ring - 1
                out[at, 6] = o & 1
                out[at, 7] = o >> 1


@njit
def nearest_free(mask, row, column, cell_w, cell_h):
    """The cell of mask (rows, columns) that is 1 and nearest to a given one, or -1; ties to the lower index."""
    best, found = np.inf, -1
    for r in range(mask.shape[0]):
        for c in range(mask.shape[1]):
            if mask[r, c]:
                far = ((r - row) * cell_h) ** 2 + ((c - column) * cell_w) ** 2
                if far < best:
                    best, found = far, r * mask.shape[1] + c
    return found
