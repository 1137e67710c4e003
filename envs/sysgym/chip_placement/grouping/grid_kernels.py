"""Numba kernels for choosing a grid: how well macros fill it when each goes to the first free cell."""

from __future__ import annotations

import numpy as np

from sysgym.chip_placement.geometry.legal_kernels import node_mask
from sysgym.compiled import njit

EMPTY = 1e-5  # of a cell: one that is covered by less counts as empty
NOISE = 1e-9  # of a cell: what rounding makes of a macro that ends on a line


@njit
def empty_share(boxes, wide, tall, width, height, columns, rows):
    """The share of cells that no macro covers once each has gone to the first free cell; -1 if one finds none.

    Macros `wide`, `tall` (m,) go in this order to centres of cells, row by row from the lower left corner; `boxes`
    (k, 4), centres and sizes, are in the way.
    """
    known, count = len(boxes), len(boxes) + len(wide)
    x, y, w, h = np.zeros(count), np.zeros(count), np.zeros(count), np.zeros(count)
    x[:known], y[:known], w[:known], h[:known] = boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3]
    placed = np.zeros(count, np.bool_)
    placed[:known] = True
    free = np.zeros((rows, columns), np.int8)
    every, one = np.arange(count), np.zeros(1, np.int64)
    again = np.zeros((rows, columns), np.int8)
    for i in range(len(wide)):
        if i == 0 or wide[i] != wide[i - 1] or tall[i] != tall[i - 1]:
            node_mask(every, placed, x, y, w, h, wide[i], tall[i], width, height, 0.0, free)
        else:
            one[0] = known + i - 1
            node_mask(one, placed, x, y, w, h, wide[i], tall[i], width, height, 0.0, again)
            free &= again
        at = -1
        for cell in range(rows * columns):
            if free[cell // columns, cell % columns]:
                at = cell
                break
        if at < 0:
            return -1.0
        j = known + i
        x[j], y[j] = (at % columns + 0.5) * width / columns, (at // columns + 0.5) * height / rows
        w[j], h[j], placed[j] = wide[i], tall[i], True
    return _empty(x[known:], y[known:], w[known:], h[known:], width / columns, height / rows, free)


@njit
def _empty(x, y, w, h, cell_w, cell_h, used):
    """The share of cells that no box covers by more than EMPTY."""
    rows, columns = used.shape
    used[:] = 0
    for i in range(len(x)):
        left, right = (x[i] - w[i] / 2) / cell_w, (x[i] + w[i] / 2) / cell_w
        low, high = (y[i] - h[i] / 2) / cell_h, (y[i] + h[i] / 2) / cell_h
        for r in range(int(max(0.0, low)), int(min(rows - 1.0, high)) + 1):
            for c in range(int(max(0.0, left)), int(min(columns - 1.0, right)) + 1):
                if (min(right, c + 1.0) - max(left, c)) * (min(high, r + 1.0) - max(low, r)) >= EMPTY:
                    used[r, c] = 1
    return 1.0 - used.sum() / (rows * columns)


@njit
def waste(lengths, cell):
    """The share of a row of cells that lengths (m,), each centred on a cell, leave unused when they stand in it."""
    cells, before = 0.0, 0.0
    for length in lengths:
        span = max(np.ceil(length / cell - NOISE), 1.0)
        span += 1.0 - span % 2.0  # odd: its middle is the middle of a cell
        piece = cell - (span * cell - length) / 2  # that it takes of its last cell
        cells += span - (1.0 if piece + before <= cell * (1 + NOISE) else 0.0)
        before = piece
    total = (cells + 1) * cell
    return (total - lengths.sum()) / total
