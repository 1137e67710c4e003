"""Kernels of CNC's batches: a graph restricted to some of its nodes, affinities within a batch alone, and pairs."""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit
from sysgym.core.problem import Array

NEAREST = 3  # points of a batch that a point has an affinity to, itself among them
REACH = 5  # the neighbour, itself the first, whose median distance is the scale of affinities


@njit
def restrict(chosen: Array, graph: tuple[Array, Array, Array], scale: float, place: Array, out: Array) -> None:
    """Write the weights between b distinct `chosen` nodes, times `scale`, into `out` (b, b) float32, zeros before.

    `graph` is (xadj, adjncy, adjwgt). `place` (n,) int32 is -1 everywhere, before and after.
    """
    xadj, adjncy, adjwgt = graph
    for row in range(len(chosen)):
        place[chosen[row]] = row
    for row in range(len(chosen)):
        for at in range(xadj[chosen[row]], xadj[chosen[row] + 1]):
            column = place[adjncy[at]]
            if column >= 0:
                out[row, column] = adjwgt[at] * scale
    for row in range(len(chosen)):
        place[chosen[row]] = -1


def _squares(points: Array) -> Array:
    """Squared distances between points (b, e), (b, b) float64; -1 on the diagonal, so that each is its own first."""
    x = points.astype(np.float64)
    x -= x.mean(axis=0)
    norms = np.einsum("ij,ij->i", x, x)
    squares = np.maximum(norms[:, None] + norms - 2.0 * (x @ x.T), 0.0)
    np.fill_diagonal(squares, -1.0)
    return squares


def batch_affinity(points: Array, reach: float) -> Array:
    """Affinities between points of a batch (b, e), (b, b) float32: W = (W + W^T) / 2 of exp(-d^2 / (2 reach^2)) to the
    3 nearest of each, itself the first with 1 (`knn_affinity` of CNC's code).
    """
    squares, w = _squares(points), np.zeros((len(points), len(points)), np.float32)
    near = np.argpartition(squares, min(NEAREST, len(points)) - 1, axis=1)[:, :NEAREST]
    kept = np.maximum(np.take_along_axis(squares, near, axis=1), 0.0)
    np.put_along_axis(w, near, np.exp(-kept / (2.0 * reach * reach)).astype(np.float32), axis=1)
    return (w + w.T) / 2


def batch_reach(points: Array) -> float:
    """The median distance of points (b, e) to the 5th nearest of them, itself the first (`scale_nbr` of CNC's code).

    Where that is 0, the median of the positive distances; 1 where there is none.
    """
    squares, last = _squares(points), min(REACH, len(points)) - 1
    distances = np.sqrt(np.maximum(squares, 0.0))
    found = float(np.median(np.partition(distances, last, axis=1)[:, last]))
    positive = distances[distances > 0]
    return found or (float(np.median(positive)) if len(positive) else 1.0)


@njit
def nearest_linked(x: Array, xadj: Array, adjncy: Array, out: Array) -> None:
    """Write the linked points nearest to each by Euclidean distance, nearest first, into `out` (n, m) int64.

    Points x (n, d). A place that no linked point is left for keeps what `out` has there.
    """
    for i in range(len(x)):
        best = np.full(out.shape[1], np.inf)
        for at in range(xadj[i], xadj[i + 1]):
            square, j = 0.0, adjncy[at]
            for c in range(x.shape[1]):
                square += (float(x[i, c]) - float(x[j, c])) ** 2
            place = out.shape[1]
            while place > 0 and square < best[place - 1]:
                place -= 1
            for later in range(out.shape[1] - 1, place, -1):
                best[later], out[i, later] = best[later - 1], out[i, later - 1]
            if place < out.shape[1]:
                best[place], out[i, place] = square, j


@njit
def unlinked(first: Array, drawn: Array, xadj: Array, adjncy: Array, out: Array) -> None:
    """Write into `out` (m,) int64 the first of a row of `drawn` (m, tries) that is neither `first` (m,) nor linked to
    it; -1 where there is none.
    """
    for row in range(len(first)):
        out[row] = -1
        for j in drawn[row]:
            linked = j == first[row]
            for at in range(xadj[first[row]], xadj[first[row] + 1]):
                linked = linked or adjncy[at] == j
            if not linked:
                out[row] = j
                break
