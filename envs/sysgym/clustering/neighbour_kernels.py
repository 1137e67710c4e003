"""Kernels of nearest neighbours on whole numbers: squared distances are exact, so the same everywhere."""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit


@njit
def nearest(squares, first, count, own, found, distances):
    """Fill rows `first`.. of `found` and `distances` (n, count) with the nearest points, ties by index, from the block
    `squares` (b, n) of squared distances. Without `own` a point is none of its own neighbours.
    """
    for row in range(len(squares)):
        v = first + row
        held = 0
        most = np.inf
        for u in range(squares.shape[1]):
            d = squares[row, u]
            if (held == count and d >= most) or (u == v and not own):
                continue
            j = held if held < count else count - 1
            while j > 0 and distances[v, j - 1] > d:
                distances[v, j] = distances[v, j - 1]
                found[v, j] = found[v, j - 1]
                j -= 1
            distances[v, j] = d
            found[v, j] = u
            held = min(held + 1, count)
            most = distances[v, held - 1]
