"""Numba kernels that place all macros at the cells of least increase in HPWL.

The rules of wires are those of `sysgym.chip_placement.geometry.wire_kernels`.
"""

from __future__ import annotations

import numpy as np

from sysgym.chip_placement.geometry.wire_kernels import is_free, profile, put
from sysgym.compiled import njit


@njit
def lowest(values):
    """Position of the least value."""
    at = 0
    for k in range(1, len(values)):
        if values[k] < values[at]:
            at = k
    return at


@njit
def best_cell(run, across, up, wide, tall, guide_c, guide_r, cell_w, cell_h, close):
    """The free cell (column, row) of least across + up; of those within `close` of it, that nearest to the guide.

    (-1, -1) where a block fits nowhere. `across` and `up` fall to their least value and rise after it, so walking
    outwards from there visits columns and rows in order, and few cells have to be looked at. Of equally near cells
    the first wins in that walk.
    """
    column = row = -1
    if len(across) == 0 or len(up) == 0:
        return column, row
    best = nearest = np.inf
    middle_r, middle_c = lowest(up), lowest(across)
    below, above = middle_r - 1, middle_r
    while below >= 0 or above < len(up):
        if above >= len(up) or (below >= 0 and up[below] <= up[above]):
            r = below
            below -= 1
        else:
            r = above
            above += 1
        if up[r] + across[middle_c] > best + close:
            break
        off_r = (r - guide_r) * cell_h
        left, right = middle_c - 1, middle_c
        while left >= 0 or right < len(across):
            if right >= len(across) or (left >= 0 and across[left] <= across[right]):
                c = left
                left -= 1
            else:
                c = right
                right += 1
            value = up[r] + across[c]
            if value > best + close:
                break
            off_c = (c - guide_c) * cell_w
            distance = off_c * off_c + off_r * off_r
            if (value < best - close or distance < nearest) and is_free(run, c, r, wide, tall):
                if value < best - close:
                    best = value
                column, row, nearest = c, r, distance
    return column, row


@njit
def arrange(order, guide_c, guide_r, span, net_of, dx, dy, weight, wide, tall, first_boxes, first_run, start, cell_w,
            cell_h, close, column, row):  # fmt: skip
    """Place the macros of `order` by the wire mask; column, row (m,) int64 receive their cells, -1 = no room.

    guide_c, guide_r (m,) float64: the cells that ties are drawn to. Returns (macros without room, HPWL of the others).
    """
    boxes, run = first_boxes.copy(), first_run.copy()
    rows, columns = run.shape
    across, up = np.empty(columns), np.empty(rows)
    missing, cost = 0, start
    for i in order:
        f, g = across[: max(columns - wide[i] + 1, 0)], up[: max(rows - tall[i] + 1, 0)]
        profile(span[i], span[i + 1], net_of, dx, weight, boxes, 0, cell_w, f)
        profile(span[i], span[i + 1], net_of, dy, weight, boxes, 2, cell_h, g)
        column[i], row[i] = best_cell(run, f, g, wide[i], tall[i], guide_c[i], guide_r[i], cell_w, cell_h, close)
        if column[i] < 0:
            missing += 1
            continue
        cost += put(i, column[i], row[i], span, net_of, dx, dy, weight, wide, tall, boxes, run, cell_w, cell_h)
    return missing, cost
