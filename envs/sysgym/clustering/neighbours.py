"""Graphs of affinities between points: K nearest neighbours, exact and so the same on every machine.

Points are put on a grid of a power of two, so that squared distances are whole numbers that float64 holds; affinities
are whole multiples of 2^-24. Neither a library's order of summation nor a tie decides an edge. Its step is about 2^-20
of the largest coordinate; where that moves a point's distance to its last neighbour by more than 2%, a Notice says so.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, NamedTuple

import numpy as np

from sysgym.clustering.instance import Affinity
from sysgym.core.errors import UsageError, announce
from sysgym.core.problem import Array
from sysgym.graphs.csr import from_edges

UNIT = 2.0**-24  # of affinities of our own making
JOINT = 1e-3  # the affinity that joins components
BLOCK = 2**22  # distances held at once
FAR = 8  # points are moved to the origin if they lie farther from it than so many times their spread
LEAST, MOST = 1e-30, 1e30  # coordinates that float32 features can show
SHIFTED = 0.02  # share of a distance by which the grid may change it without a word
Scale = Literal["global", "local", "binary"]


class Neighbours(NamedTuple):
    """How a graph is built from points."""

    nearest: int = 10  # nearest neighbours of a point
    scale: Scale = "global"
    # global: exp(-d^2 / (2 s^2)), s the median distance to the K-th neighbour; local: exp(-d^2 / (s_i s_j)), each
    # point's own (Zelnik-Manor and Perona 2004); binary: 1
    mutual: bool = False  # only pairs that are neighbours of each other
    own: bool = False  # a point is the first of its own neighbours, with affinity 1, as in CNC's code
    joined: bool = True  # components are joined to one


def origin_of(x: Any) -> Array | None:
    """What points (n, d) are moved by, (d,) float64, if they lie far from the origin beside their spread, else None."""
    x = np.asarray(x, np.float64)
    far = len(x) and float(np.abs(x).max()) > FAR * float(np.ptp(x, axis=0).max())
    return np.asarray(x.min(axis=0)) if far else None


def on_grid(x: Any) -> tuple[Array, float]:
    """Points (n, d) as whole numbers in float64, and what 1 of them is: a power of two, so fine that every squared
    distance is a whole number below 2^53. Points far from the origin beside their spread are moved there first, so
    that the grid tells them apart.
    """
    x = np.asarray(x, np.float64)
    moved = origin_of(x)
    x = x if moved is None else x - moved
    most = float(np.abs(x).max(initial=0.0))
    bits = min(20, (50 - int(np.ceil(np.log2(max(x.shape[1], 1))))) // 2)
    grid = 2.0 ** (int(np.ceil(np.log2(most))) - bits) if most > 0 else 1.0
    return np.rint(x / grid), grid


def nearest_neighbours(whole: Array, count: int, own: bool) -> tuple[Array, Array]:
    """The nearest points of each, (n, count) int64, nearest first, and squared distances (n, count) float64, of points
    (n, d) that `on_grid` gave. Ties go to the lower index, but with `own` a point is the first of its own.
    """
    from sysgym.clustering.neighbour_kernels import nearest

    n = len(whole)
    found, distances = np.zeros((n, count), np.int64), np.full((n, count), np.inf)
    norms, rows = np.einsum("ij,ij->i", whole, whole), max(1, BLOCK // max(n, 1))
    for first in range(0, n, rows):
        block = whole[first : first + rows]
        squares = block @ whole.T
        squares *= -2.0
        squares += norms
        squares += norms[first : first + rows, None]
        nearest(squares, first, count, own, found, distances)
    return found, distances


def affinity_graph(
    x: Any, neighbours: int = 10, name: str = "points", k: int | None = None, how: Neighbours | None = None
) -> Affinity:
    """The graph of points (n, d) with their nearest neighbours, W = (W + W^T) / 2; `how` says more than a number of
    neighbours. UsageError for fewer than two points, or numbers that are not finite.
    """
    rule = how or Neighbours(neighbours)
    x = np.asarray(x)
    if x.ndim != 2 or len(x) < 2 or x.shape[1] < 1 or x.dtype.kind not in "biuf":
        raise UsageError(f"{name}: expected two or more points, (n, d) numbers, got {x.dtype} of shape {x.shape}.")
    _check_range(x, name)
    moved, (whole, grid) = origin_of(x), on_grid(x)
    points = (whole * grid).astype(np.float32)
    near, squares = nearest_neighbours(whole, min(rule.nearest, len(x) - 1 + rule.own), rule.own)
    _tell(x, near, squares, grid, name, rule)
    pairs, weights = _symmetric(near, _affinities(near, squares, rule), len(x))
    if rule.mutual:
        pairs, weights = _mutual(near, pairs, weights)
    loops = np.full(len(x), round(1 / UNIT) if rule.own else 0, np.int64)
    if rule.joined:
        pairs, weights, parts = _joined(whole, pairs, weights)
    else:
        parts = None
    graph = from_edges(name, len(x), pairs[:, 0], pairs[:, 1], weights)
    return Affinity(
        name, graph.xadj, graph.adjncy, graph.adjwgt, graph.degree + loops, x=points, k=k, unit=UNIT, components=parts,
        prepared="" if moved is None else f"moved by {digest(moved)}",
    )  # fmt: skip


def digest(array: Array) -> str:
    """A few digits that tell arrays apart."""
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=6).hexdigest()


def _check_range(x: Array, name: str) -> None:
    """UsageError for coordinates that are not finite, or too large or small to be shown as features."""
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise UsageError(f"{name}: point {row} has a coordinate that is not finite; leave it out or fill it in.")
    wide = x.astype(np.float64)
    most = float(np.abs(wide).max())
    spread = float(np.ptp(wide, axis=0).max()) if most <= MOST else most
    if spread > MOST or 0 < spread < LEAST:
        raise UsageError(
            f"{name}: coordinates reach {most:.3g} and spread over {spread:.3g}, expected {LEAST:g} to {MOST:g}; "
            "scale the points."
        )


def _tell(x: Array, near: Array, squares: Array, grid: float, name: str, rule: Neighbours) -> None:
    """A Notice if the grid's rounding is felt in the distance of points to their last neighbour, or if that is 0."""
    wide = x.astype(np.float64)
    true = np.sqrt(((wide - wide[near[:, -1]]) ** 2).sum(axis=1))
    felt = int(np.count_nonzero(np.abs(np.sqrt(squares[:, -1]) * grid - true) > SHIFTED * true))
    if felt:
        announce(
            f"{name}: {felt} of {len(x)} points lie too close together, beside the largest coordinate, for the grid of "
            f"distances, whose step is {grid:.3g}: their neighbours are not exact; scale the columns "
            "(preprocess=standard) or leave outliers out."
        )
    elif not np.ptp(wide, axis=0).any():
        announce(f"{name}: all points lie at one place, so their graph follows their order alone.")
    elif rule.scale != "binary" and np.median(true) == 0 and squares.any():
        announce(
            f"{name}: most points have {near.shape[1]} neighbours at their own place, so the median distance of the "
            "positive ones scales the affinities; leave duplicates out, or give a larger knn."
        )


def _affinities(near: Array, squares: Array, rule: Neighbours) -> Array:
    """Affinities of points to their neighbours, (n, K) float64, from squared distances on the grid.

    A scale of 0, where K neighbours are at a point's own place, gives way to the median of the positive distances.
    """
    if rule.scale == "binary":
        return np.ones(squares.shape)
    reach = np.sqrt(squares[:, -1])
    positive = squares[squares > 0]
    instead = float(np.sqrt(np.median(positive))) if len(positive) else 1.0
    if rule.scale == "local":
        own = np.where(reach > 0, reach, instead)
        return np.asarray(np.exp(-squares / (own[:, None] * own[near])))
    middle = float(np.median(reach)) or instead
    return np.asarray(np.exp(-squares / (2 * middle * middle)))


def _symmetric(near: Array, affinities: Array, n: int) -> tuple[Array, Array]:
    """Pairs (m, 2) of points, lower index first, and their weights (m,) int64: the mean of both directions, at least 1
    unit where a point is a neighbour.
    """
    rows = np.repeat(np.arange(n), near.shape[1])
    columns, values = near.ravel(), affinities.ravel()
    apart = rows != columns
    low, high = np.minimum(rows, columns)[apart], np.maximum(rows, columns)[apart]
    keys, index = np.unique(low * n + high, return_inverse=True)
    halves = np.bincount(index, np.rint(values[apart] / (2 * UNIT)))  # whole numbers: the order does not matter
    return np.stack([keys // n, keys % n], axis=1), np.maximum(halves.astype(np.int64), 1)


def _mutual(near: Array, pairs: Array, weights: Array) -> tuple[Array, Array]:
    """Those pairs that are neighbours of each other."""
    n = len(near)
    directed = np.repeat(np.arange(n), near.shape[1]) * n + near.ravel()
    kept = np.isin(pairs[:, 0] * n + pairs[:, 1], directed) & np.isin(pairs[:, 1] * n + pairs[:, 0], directed)
    return pairs[kept], weights[kept]


def _joined(whole: Array, pairs: Array, weights: Array) -> tuple[Array, Array, int]:
    """Pairs and weights with the components joined, smallest first, each to its nearest point outside; and how many
    components there were.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(whole)
    ones = np.ones(len(pairs), np.int8)
    count, label = connected_components(coo_array((ones, (pairs[:, 0], pairs[:, 1])), (n, n)), directed=False)
    added = []
    for _ in range(count - 1):
        sizes = np.bincount(label, minlength=count)
        smallest = int(np.where(sizes > 0, sizes, n + 1).argmin())
        inside, outside = np.flatnonzero(label == smallest), np.flatnonzero(label != smallest)
        a, b = _closest(whole, inside, outside)
        added.append((min(a, b), max(a, b)))
        label[inside] = label[b]
    if added:
        pairs = np.concatenate([pairs, np.array(added)])
        weights = np.concatenate([weights, np.full(len(added), round(JOINT / UNIT), np.int64)])
    return pairs, weights, count


def _closest(whole: Array, inside: Array, outside: Array) -> tuple[int, int]:
    """The closest pair of a point inside and one outside, the first of equals."""
    best, pair = np.inf, (0, 0)
    others = whole[outside]
    norms, rows = np.einsum("ij,ij->i", others, others), max(1, BLOCK // len(outside))
    for first in range(0, len(inside), rows):
        block = whole[inside[first : first + rows]]
        squares = norms - 2.0 * (block @ others.T) + np.einsum("ij,ij->i", block, block)[:, None]
        at = int(squares.argmin())
        if squares.flat[at] < best:
            best = float(squares.flat[at])
            pair = int(inside[first + at // len(outside)]), int(outside[at % len(outside)])
    return pair
