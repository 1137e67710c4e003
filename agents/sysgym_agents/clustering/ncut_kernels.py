"""Kernels of the search for clusters of small normalised cut, on whole numbers.

NCut = sum_c (1 - A_c / V_c), where V_c is the sum of the full degrees in c and A_c that of W_ij over ordered pairs in
c, a point's affinity to itself once; an empty cluster counts 1. Moving a point changes two terms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sysgym.compiled import njit
from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph

LEAST = 1e-12  # a drop of NCut below it is rounding


class Csr(NamedTuple):
    """Affinities, as the kernels take them."""

    xadj: Array  # (n+1,) int64
    adjncy: Array  # (2m,) int32
    adjwgt: Array  # (2m,) int64
    vwgt: Array  # (n,) int64, D_ii
    loops: Array  # (n,) int64, W_ii


class State(NamedTuple):
    """Clusters and their sums, updated in place."""

    labels: Array  # (n,) int32
    volume: Array  # (k,) int64, V_c
    inside: Array  # (k,) int64, A_c
    size: Array  # (k,) int64, points


def csr(graph: Graph) -> Csr:
    """The arrays of a graph of affinities."""
    return Csr(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, graph.vwgt - graph.degree)


def state_of(graph: Csr, labels: Array, k: int) -> State:
    """The state of a copy of labels (n,)."""
    sums = np.zeros((3, k), np.int64)
    state = State(np.array(labels, np.int32), sums[0], sums[1], sums[2])
    add_up(graph, state)
    return state


def copy_of(state: State) -> State:
    """A state that shares nothing."""
    return State(state.labels.copy(), state.volume.copy(), state.inside.copy(), state.size.copy())


@njit
def add_up(graph, state):
    """Sums of the labels, from nothing."""
    xadj, adjncy, adjwgt, vwgt, loops = graph
    labels, volume, inside, size = state
    volume[:], inside[:], size[:] = 0, 0, 0
    for v in range(len(vwgt)):
        c = labels[v]
        volume[c] += vwgt[v]
        inside[c] += loops[v]
        size[c] += 1
        for e in range(xadj[v], xadj[v + 1]):
            if labels[adjncy[e]] == c:
                inside[c] += adjwgt[e]


@njit
def term(inside, volume):
    """A cluster's share of NCut."""
    return 1.0 - inside / volume if volume > 0 else 1.0


@njit
def ncut(state):
    """NCut of a state."""
    total = 0.0
    for c in range(len(state.volume)):
        total += term(state.inside[c], state.volume[c])
    return total


@njit
def _shift(graph, state, v, b, to_a, to_b):
    """Move v to cluster b; `to_a` and `to_b` are its affinities to its own cluster and to b, without itself."""
    labels, volume, inside, size = state
    a = labels[v]
    inside[a] -= 2 * to_a + graph.loops[v]
    inside[b] += 2 * to_b + graph.loops[v]
    volume[a] -= graph.vwgt[v]
    volume[b] += graph.vwgt[v]
    size[a] -= 1
    size[b] += 1
    labels[v] = b


@njit
def move(graph, state, v, b):
    """Move point v to cluster b in O(degree)."""
    a, to_a, to_b = state.labels[v], np.int64(0), np.int64(0)
    for e in range(graph.xadj[v], graph.xadj[v + 1]):
        c = state.labels[graph.adjncy[e]]
        to_a += graph.adjwgt[e] * (c == a)
        to_b += graph.adjwgt[e] * (c == b)
    if a != b:
        _shift(graph, state, v, b, to_a, to_b)


@njit
def _best(graph, state, v, near, touched):
    """Number of clusters that v touches, the one that it lowers NCut most by moving to, and the drop.

    `near` (k,) int64 holds its affinities to those in `touched`, which are listed as its neighbours come.
    """
    labels, volume, inside, _ = state
    a, count = labels[v], 0
    for e in range(graph.xadj[v], graph.xadj[v + 1]):
        c = labels[graph.adjncy[e]]
        if near[c] == 0:
            touched[count] = c
            count += 1
        near[c] += graph.adjwgt[e]
    weight, loop = graph.vwgt[v], graph.loops[v]
    left = term(inside[a], volume[a]) - term(inside[a] - 2 * near[a] - loop, volume[a] - weight)
    target, drop = -1, LEAST
    for i in range(count):
        b = touched[i]
        if b != a:
            d = left + term(inside[b], volume[b]) - term(inside[b] + 2 * near[b] + loop, volume[b] + weight)
            if d > drop:
                target, drop = b, d
    return count, target, drop


@njit
def refine(graph, state, order, sweeps):
    """Visit points in `order` again and again, each moves where NCut drops most; True when none can.

    No cluster loses its last point. A point that cannot move sleeps until a neighbour moves; when all sleep they are
    visited once more, as volumes have changed. At most `sweeps` passes over the points.
    """
    k = len(state.volume)
    near, touched = np.zeros(k, np.int64), np.empty(k, np.int32)
    awake, whole = np.ones(len(order), np.bool_), True
    for _ in range(sweeps):
        moved = False
        for v in order:
            if not awake[v] or state.size[state.labels[v]] == 1:
                continue
            count, b, _ = _best(graph, state, v, near, touched)
            awake[v] = False
            if b >= 0:
                moved = True
                _shift(graph, state, v, b, near[state.labels[v]], near[b])
                for e in range(graph.xadj[v], graph.xadj[v + 1]):
                    awake[graph.adjncy[e]] = True
            near[touched[:count]] = 0
        if not moved and whole:
            return True
        whole = not moved
        if whole:
            awake[:] = True
    return False


@njit
def between(graph, labels, k):
    """Affinities between clusters over ordered pairs, (k, k) int64; A_c on the diagonal."""
    found = np.zeros((k, k), np.int64)
    for v in range(len(labels)):
        found[labels[v], labels[v]] += graph.loops[v]
        for e in range(graph.xadj[v], graph.xadj[v + 1]):
            found[labels[v], labels[graph.adjncy[e]]] += graph.adjwgt[e]
    return found


@njit
def merges(affinity, volume):
    """What merging two clusters adds to NCut, the empty cluster that is left not counted; (k, k), inf unless a < b."""
    k = len(volume)
    change = np.full((k, k), np.inf)
    for a in range(k):
        for b in range(a + 1, k):
            both = affinity[a, a] + affinity[b, b] + 2 * affinity[a, b]
            before = term(affinity[a, a], volume[a]) + term(affinity[b, b], volume[b])
            change[a, b] = term(both, volume[a] + volume[b]) - before
    return change


@njit
def sweep_cut(graph, state, order, low, high):
    """Cut a cluster in two along `order`, all its points: what the best place adds to NCut, and the first part's size.

    The first part has from `low` to `high` points.
    """
    labels, volume, inside, _ = state
    c = labels[order[0]]
    first = np.zeros(len(labels), np.bool_)
    whole = term(inside[c], volume[c])
    in_one, in_two, one, two = np.int64(0), inside[c], np.int64(0), volume[c]
    best, place = np.inf, 0
    for i in range(high):
        v = order[i]
        to_one, to_two = np.int64(0), np.int64(0)
        for e in range(graph.xadj[v], graph.xadj[v + 1]):
            u = graph.adjncy[e]
            if first[u]:
                to_one += graph.adjwgt[e]
            elif labels[u] == c:
                to_two += graph.adjwgt[e]
        first[v] = True
        in_one += 2 * to_one + graph.loops[v]
        in_two -= 2 * to_two + graph.loops[v]
        one += graph.vwgt[v]
        two -= graph.vwgt[v]
        if i + 1 >= low:
            change = term(in_one, one) + term(in_two, two) - whole
            if change < best:
                best, place = change, i + 1
    return best, place


@njit
def subgraph(graph, members, place):
    """Rows of the graph on `members` (c,): (c+1,) int64, (e,) int32, (e,) int64. `place` (n,) int32 is -1 elsewhere."""
    count = 0
    for i in range(len(members)):
        place[members[i]] = i
        count += graph.xadj[members[i] + 1] - graph.xadj[members[i]]
    rows = np.zeros(len(members) + 1, np.int64)
    columns, weights = np.empty(count, np.int32), np.empty(count, np.int64)
    at = 0
    for i in range(len(members)):
        for e in range(graph.xadj[members[i]], graph.xadj[members[i] + 1]):
            j = place[graph.adjncy[e]]
            if j >= 0:
                columns[at], weights[at] = j, graph.adjwgt[e]
                at += 1
        rows[i + 1] = at
    for v in members:
        place[v] = -1
    return rows, columns[:at], weights[:at]
