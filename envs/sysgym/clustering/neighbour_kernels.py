"""Kernels of nearest neighbours on whole numbers: squared distances are exact, so the same everywhere."""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit


@njit
def nearest(squares, first, count, own, found, distances):
    """Fill rows `first`.. of `found` and `distances` (n, count) with the nearest points, ties by index, from the block
    `squares` (b, n) of squared distances. With `own` a point is the first of its own neighbours, else it is none.
    """
    for row in range(len(squares)):
        v = first + row
        held = 0
        most = np.inf
        if own:
            distances[v, 0] = 0.0
            found[v, 0] = v
            held = 1
            most = 0.0
        for u in range(squares.shape[1]):
            d = squares[row, u]
            if (held == count and d >= most) or u == v:
                continue
            j = held if held < count else count - 1
            while j > own and distances[v, j - 1] > d:
                distances[v, j] = distances[v, j - 1]
                found[v, j] = found[v, j - 1]
                j -= 1
            distances[v, j] = d
            found[v, j] = u
            held = min(held + 1, count)
            most = distances[v, held - 1]
