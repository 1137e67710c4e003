"""Numba kernels of macro-only wirelength: net boxes, the wire mask and the room on the grid.

Names used throughout, for m macros, E nets and P (net, macro) incidences on a grid of cells `cell_w` by `cell_h`:
`span` (m + 1,) and `net_of` (P,) are the nets of each macro; `dx`, `dy` (P,) the pin on that net from the macro's lower
left corner, microns; `boxes` (E, 4) float64 the least x, most x, least y, most y of the net's placed pins, where an
empty one is (inf, -inf, inf, -inf); `run` (rows, columns) int16 the free cells from a cell on to the right, 0 where one
is taken.

The increase in HPWL when a macro's corner is on column c and row r is f(c) + g(r) (Lai, Mu, Luo, "MaskPlace", NeurIPS
2022), each a sum of convex functions that are flat between the borders of a net's box.
"""

from __future__ import annotations

import numpy as np

from sysgym.chip_placement.kernels import turned
from sysgym.compiled import njit


@njit
def hpwl(ptr, macro, x_offset, y_offset, weight, x, y, orientation):
    """Weighted half perimeters of all nets, over pins at the centres x, y of macros plus their turned offsets."""
    total = 0.0
    for e in range(len(weight)):
        left = low = np.inf
        right = high = -np.inf
        for j in range(ptr[e], ptr[e + 1]):
            i = macro[j]
            a, b = turned(x_offset[j], y_offset[j], orientation[i])
            left, right = min(left, x[i] + a), max(right, x[i] + a)
            low, high = min(low, y[i] + b), max(high, y[i] + b)
        if ptr[e + 1] > ptr[e]:
            total += weight[e] * ((right - left) + (high - low))
    return total


@njit
def widen(first, last, net_of, dx, dy, weight, x, y, boxes):
    """Add the pins of a macro with its lower left corner on x, y to the boxes of its nets; the increase in HPWL."""
    more = 0.0
    for j in range(first, last):
        e = net_of[j]
        px, py = x + dx[j], y + dy[j]
        if boxes[e, 0] > boxes[e, 1]:
            boxes[e, 0] = boxes[e, 1] = px
            boxes[e, 2] = boxes[e, 3] = py
            continue
        before = (boxes[e, 1] - boxes[e, 0]) + (boxes[e, 3] - boxes[e, 2])
        boxes[e, 0], boxes[e, 1] = min(boxes[e, 0], px), max(boxes[e, 1], px)
        boxes[e, 2], boxes[e, 3] = min(boxes[e, 2], py), max(boxes[e, 3], py)
        more += weight[e] * ((boxes[e, 1] - boxes[e, 0]) + (boxes[e, 3] - boxes[e, 2]) - before)
    return more


@njit
def profile(first, last, net_of, offset, weight, boxes, side, cell, out):
    """The increase in HPWL along one axis for a macro's corner on each column (side 0) or row (side 2), into `out`.

    Every net adds w * (a - X) left of a and w * (X - b) right of b, X = cell * k: O(nets + columns) by running sums.
    """
    count = len(out)
    pull, rest = np.zeros(count + 1), np.zeros(count + 1)  # slope and constant of nets that begin to count at k
    push, base = np.zeros(count + 1), np.zeros(count + 1)  # of nets that count below k
    for j in range(first, last):
        e = net_of[j]
        if boxes[e, 0] > boxes[e, 1]:
            continue
        a, b, w = boxes[e, side] - offset[j], boxes[e, side + 1] - offset[j], weight[e]
        k = int(min(max(np.ceil(a / cell), 0.0), count))
        push[k] += w
        base[k] += w * a
        k = int(min(max(np.floor(b / cell) + 1.0, 0.0), count))
        pull[k] += w
        rest[k] += w * b
    slope = constant = 0.0
    for k in range(count):
        slope += pull[k]
        constant += rest[k]
        out[k] = slope * (cell * k) - constant
    slope = constant = 0.0
    for k in range(count - 1, -1, -1):
        slope += push[k + 1]
        constant += base[k + 1]
        out[k] = max(out[k] + constant - slope * (cell * k), 0.0)  # rounding must not make wire shorter


@njit
def take(run, column, row, wide, tall):
    """Take the cells of a block: O(its area and the free cells to its left)."""
    for r in range(row, row + tall):
        run[r, column : column + wide] = 0
        k = column - 1
        while k >= 0 and run[r, k] > 0:
            run[r, k] = column - k
            k -= 1


@njit
def is_free(run, column, row, wide, tall):
    """Whether a block inside the grid has all its cells free, in O(its rows)."""
    for r in range(row, row + tall):  # noqa: SIM110
        if run[r, column] < wide:
            return False
    return True


@njit
def free_cells(run, wide, tall, mask):
    """1 in mask (rows, columns) where a block may have its lower left cell; their number. O(cells)."""
    rows, columns = run.shape
    fits = np.zeros(columns, np.int16)  # rows from here upwards in which the block has room
    found = 0
    for r in range(rows - 1, -1, -1):
        for c in range(columns):
            fits[c] = fits[c] + 1 if run[r, c] >= wide else 0
            mask[r, c] = fits[c] >= tall
            found += mask[r, c]
    return found


@njit
def prepare(macro, span, net_of, dx, dy, weight, wide, tall, boxes, run, cell_w, cell_h, across, up, mask):
    """Fill across (columns,), up (rows,) and mask (rows, columns) for the next macro; whether it fits anywhere."""
    first, last = span[macro], span[macro + 1]
    profile(first, last, net_of, dx, weight, boxes, 0, cell_w, across)
    profile(first, last, net_of, dy, weight, boxes, 2, cell_h, up)
    return free_cells(run, wide[macro], tall[macro], mask) > 0


@njit
def put(macro, column, row, span, net_of, dx, dy, weight, wide, tall, boxes, run, cell_w, cell_h):
    """Place a macro; the increase in HPWL."""
    take(run, column, row, wide[macro], tall[macro])
    return widen(span[macro], span[macro + 1], net_of, dx, dy, weight, column * cell_w, row * cell_h, boxes)


@njit
def play(macro, following, column, row, span, net_of, dx, dy, weight, wide, tall, boxes, run, cell_w, cell_h, across,
         up, mask):  # fmt: skip
    """Place a macro and prepare the `following` one (-1 = none); (increase in HPWL, whether that one fits)."""
    more = put(macro, column, row, span, net_of, dx, dy, weight, wide, tall, boxes, run, cell_w, cell_h)
    if following < 0:
        return more, True
    fits = prepare(following, span, net_of, dx, dy, weight, wide, tall, boxes, run, cell_w, cell_h, across, up, mask)
    return more, fits


@njit
def show(across, up, stride, unit, out):
    """Features of every cell, out (A, 3) float32: increase in HPWL over `unit`, at most 1000; column; row."""
    columns, rows = len(across), len(up)
    for r in range(rows):
        high, g = np.float32(r / rows), up[r]
        for c in range(columns):
            k = r * stride + c
            out[k, 0] = min((across[c] + g) / unit, 1e3)
            out[k, 1] = c / columns
            out[k, 2] = high


@njit
def connected(ranked, begun, ptr, macro, span, net_of, weight):
    """The macros of `ranked` (k,) int64, next always the first of those with most weight of nets that are begun.

    A net is begun once a macro on it is out; begun (E,) bool says which are at first. O(k^2 + P).
    """
    begun = begun.copy()
    score = np.zeros(len(span) - 1)
    for e in range(len(weight)):
        if begun[e]:
            for j in range(ptr[e], ptr[e + 1]):
                score[macro[j]] += weight[e]
    order = np.empty_like(ranked)
    left = ranked.copy()
    for n in range(len(ranked)):
        at = 0
        for k in range(1, len(ranked) - n):
            if score[left[k]] > score[left[at]]:
                at = k
        i = left[at]
        order[n] = i
        left[at : len(ranked) - n - 1] = left[at + 1 : len(ranked) - n].copy()
        for k in range(span[i], span[i + 1]):
            e = net_of[k]
            if not begun[e]:
                begun[e] = True
                for j in range(ptr[e], ptr[e + 1]):
                    score[macro[j]] += weight[e]
    return order
