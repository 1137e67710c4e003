"""A graph as the kernels of multilevel partitioning take it, and the kernel that makes a partition keep its limit.

Arrays as in `sysgym.graphs.labels.kernels`; `part` (n,) int32 is updated in place.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np

from sysgym.compiled import njit
from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph
from sysgym.graphs.labels.growing_kernels import spread


class Csr(NamedTuple):
    """A graph, as the kernels take it."""

    xadj: Array
    adjncy: Array
    adjwgt: Array
    vwgt: Array
    given: Array  # (n,) int32, the part of a fixed node, else -1


def csr(graph: Graph) -> Csr:
    """The arrays of a graph."""
    return Csr(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, graph.given)


@njit
def _best_move(v, conn, part, load, weight, l_max):
    """Best gain and target part of a node among the parts with room; target -1 if there is none."""
    a = part[v]
    target, gain = -1, np.int64(0)
    for p in range(len(load)):
        if p != a and load[p] + weight <= l_max:
            g = conn[v, p] - conn[v, a]
            if target < 0 or g > gain or (g == gain and load[p] < load[target]):
                target, gain = p, g
    return gain, target


@njit
def shift(xadj, adjncy, adjwgt, vwgt, part, conn, load, v, b):
    """Move a node to part b; `conn` (n, k) and `load` (k,) follow."""
    a = part[v]
    for e in range(xadj[v], xadj[v + 1]):
        conn[adjncy[e], a] -= adjwgt[e]
        conn[adjncy[e], b] += adjwgt[e]
    load[a] -= vwgt[v]
    load[b] += vwgt[v]
    part[v] = b


@njit
def _connect(xadj, adjncy, adjwgt, vwgt, part, conn, load):
    for v in range(len(vwgt)):
        load[part[v]] += vwgt[v]
        for e in range(xadj[v], xadj[v + 1]):
            conn[v, part[adjncy[e]]] += adjwgt[e]


@njit
def rebalance(graph, part, parts, l_max):
    """Move free nodes out of overloaded parts, least loss first, until no part weighs more than `l_max` or none can.

    Where that ends with a part that weighs more, the answer is longest-first packing, if that is lighter. Fixed nodes
    must be in their parts.
    """
    xadj, adjncy, adjwgt, vwgt, given = graph
    n = len(vwgt)
    conn, load = np.zeros((n, parts), np.int64), np.zeros(parts, np.int64)
    _connect(xadj, adjncy, adjwgt, vwgt, part, conn, load)
    heap = [(np.int64(0), np.int64(-1))]
    heap.pop()
    for v in range(n):
        if load[part[v]] > l_max and given[v] < 0:
            gain, target = _best_move(v, conn, part, load, vwgt[v], l_max)
            if target >= 0 and vwgt[v] > 0:
                heapq.heappush(heap, (-gain, np.int64(v)))
    while heap and load.max() > l_max:
        loss, v = heapq.heappop(heap)
        if load[part[v]] <= l_max:
            continue
        gain, target = _best_move(v, conn, part, load, vwgt[v], l_max)
        if target < 0:
            continue
        if -gain > loss:
            heapq.heappush(heap, (-gain, v))
            continue
        shift(xadj, adjncy, adjwgt, vwgt, part, conn, load, v, target)
        for e in range(xadj[v], xadj[v + 1]):
            u = np.int64(adjncy[e])
            if load[part[u]] > l_max and vwgt[u] > 0 and given[u] < 0:
                gain, target = _best_move(u, conn, part, load, vwgt[u], l_max)
                if target >= 0:
                    heapq.heappush(heap, (-gain, u))
    if load.max() > l_max:
        packed, loads = given.copy(), np.zeros(parts, np.int64)
        for v in range(n):
            if given[v] >= 0:
                loads[given[v]] += vwgt[v]
        spread(vwgt, np.argsort(-vwgt, kind="mergesort"), packed, loads)
        if loads.max() < load.max():
            part[:] = packed
