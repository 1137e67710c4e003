"""Kernel of multilevel partitioning's bottom: recursive bisection of a small graph by greedy growing and 2-way FM.

Arrays as in `sysgym.graphs.labels.kernels`.
"""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit
from sysgym.graphs.multilevel.balance_kernels import Csr
from sysgym.graphs.multilevel.coarsening_kernels import chance, shuffle
from sysgym.graphs.multilevel.heap_kernels import drop, put
from sysgym.graphs.multilevel.refinement_kernels import improve

TRIES = 6  # bisections of which the best is kept


@njit
def _inside(graph, nodes, local, sides):
    """The subgraph of `nodes`; `local` (n,) int32 holds their new numbers and is cleared again. `sides` are fixed."""
    xadj, adjncy, adjwgt, vwgt, _ = graph
    count = len(nodes)
    most = np.int64(0)
    for i in range(count):
        local[nodes[i]] = i
        most += xadj[nodes[i] + 1] - xadj[nodes[i]]
    sub_xadj, sub_adjncy, sub_adjwgt = np.zeros(count + 1, np.int64), np.empty(most, np.int32), np.empty(most, np.int64)
    sub_vwgt, used = np.empty(count, np.int64), np.int64(0)
    for i in range(count):
        v = nodes[i]
        sub_vwgt[i] = vwgt[v]
        for e in range(xadj[v], xadj[v + 1]):
            if local[adjncy[e]] >= 0:
                sub_adjncy[used], sub_adjwgt[used] = local[adjncy[e]], adjwgt[e]
                used += 1
        sub_xadj[i + 1] = used
    for v in nodes:
        local[v] = -1
    return Csr(sub_xadj, sub_adjncy[:used].copy(), sub_adjwgt[:used].copy(), sub_vwgt, sides)


@njit
def _grow(graph, target, limits, side, state):
    """Fill side 0 from a random node, or from those that are fixed there, by the largest gain, up to a weight.

    Returns how many entries of `adjncy` were read.
    """
    xadj, adjncy, adjwgt, vwgt, given = graph
    n = len(vwgt)
    heap, place, key = np.empty(n, np.int32), np.full(n, -1, np.int32), np.zeros(n)
    size, load, work = 0, np.int64(0), np.int64(len(adjncy))
    gain = np.zeros(n, np.int64)
    for v in range(n):
        side[v] = 1
        for e in range(xadj[v], xadj[v + 1]):
            gain[v] -= adjwgt[e]
    for v in range(n):
        if given[v] == 0:
            side[v] = 0
            load += vwgt[v]
            work += xadj[v + 1] - xadj[v]
            for e in range(xadj[v], xadj[v + 1]):
                gain[adjncy[e]] += 2 * adjwgt[e]
                if given[adjncy[e]] < 0:
                    u = adjncy[e]
                    size = put(heap, place, key, size, u, gain[u] + 0.5 * chance(state))
    begin = np.int64(chance(state) * n)
    tried = 0
    while load < target:
        if size == 0:  # enclosed, or nothing yet: go on from another free node
            while tried < n and (side[(begin + tried) % n] == 0 or given[(begin + tried) % n] >= 0):
                tried += 1
            if tried == n:
                break
            v = (begin + tried) % n
            tried += 1
        else:
            v = heap[0]
            size = drop(heap, place, key, size, v)
        if side[v] == 0 or load + vwgt[v] > limits[0]:
            continue
        side[v] = 0
        load += vwgt[v]
        work += xadj[v + 1] - xadj[v]
        for e in range(xadj[v], xadj[v + 1]):
            u = adjncy[e]
            gain[u] += 2 * adjwgt[e]
            if side[u] == 1 and given[u] < 0 and u != v:
                size = put(heap, place, key, size, u, gain[u] + 0.5 * chance(state))
    return work


@njit
def _draw(graph, target, limits, side, state):
    """Fill side 0 with random nodes, and those that are fixed there, up to a weight.

    A side that is grown is in one piece where it can be, and moves of single nodes seldom make it two.
    """
    vwgt, given = graph.vwgt, graph.given
    n = len(vwgt)
    order, load = np.arange(n).astype(np.int32), np.int64(0)
    shuffle(order, n, state)
    for v in range(n):
        side[v] = 0 if given[v] == 0 else 1
        load += vwgt[v] if given[v] == 0 else 0
    for v in order:
        if load >= target:
            break
        if given[v] < 0 and load + vwgt[v] <= limits[0]:
            side[v] = 0
            load += vwgt[v]


@njit
def _cut(graph, part):
    xadj, adjncy, adjwgt, vwgt, _ = graph
    total = np.int64(0)
    for v in range(len(vwgt)):
        for e in range(xadj[v], xadj[v + 1]):
            if part[adjncy[e]] != part[v]:
                total += adjwgt[e]
    return total // 2


@njit
def bisect(graph, part, parts, l_max, drawn, state):
    """Split the graph in two again and again until it has `parts` parts, into `part` (n,) int32.

    Of the imbalance that `l_max` allows, each level of the recursion takes its root. Each split is the best of TRIES
    greedy growings, or `drawn` random ones among them, with 2-way FM; fixed nodes stay on the side of their part.
    Returns how many entries of `adjncy` were read.
    """
    n = len(graph.vwgt)
    given = graph.given
    nodes, local = np.arange(n).astype(np.int32), np.full(n, -1, np.int32)
    stack = [(np.int64(0), np.int64(n), np.int64(0), np.int64(parts))]  # nodes from, to; parts from, how many
    plain, work = np.zeros(5), np.int64(0)
    while len(stack):
        begin, end, first, many = stack.pop()
        inside = nodes[begin:end].copy()
        if many == 1 or end == begin:
            part[inside] = first
            continue
        left = many // 2
        count = end - begin
        sides = np.full(count, -1, np.int32)
        for i in range(count):
            p = given[inside[i]]
            if p >= 0:
                sides[i] = 0 if p < first + left else 1
        sub = _inside(graph, inside, local, sides)
        for v in inside:
            work += graph.xadj[v + 1] - graph.xadj[v]
        weight = sub.vwgt.sum()
        depth = np.ceil(np.log2(many))
        most = np.float64(l_max)
        spare = max(most * many / max(weight, 1), 1.0) ** (1.0 / depth)
        share = weight * left / many
        limits = np.array(
            [
                np.int64(min(max(spare * part_share, np.ceil(part_share)), count_parts * most))
                for part_share, count_parts in ((share, left), (weight - share, many - left))
            ]
        )
        best, best_over, best_cut = np.empty(count, np.int32), np.int64(2**62), np.int64(2**62)
        side = np.empty(count, np.int32)
        heaviest = sub.vwgt.max() if count else 0
        room = np.maximum(limits, np.array([np.int64(share), np.int64(weight - share)]) + heaviest)
        for attempt in range(TRIES):
            if attempt < TRIES - drawn:
                work += _grow(sub, np.int64(share), room, side, state)
            else:
                _draw(sub, np.int64(share), room, side, state)
            work += improve(sub, side, limits, room, plain, 10, 0, state)[1] + len(sub.adjncy)
            over, load = np.int64(0), np.zeros(2, np.int64)
            for i in range(count):
                load[side[i]] += sub.vwgt[i]
            for p in range(2):
                over += max(load[p] - limits[p], 0)
            cut = _cut(sub, side)
            if over < best_over or (over == best_over and cut < best_cut):
                best[:], best_over, best_cut = side, over, cut
        middle = begin
        for i in range(count):
            if best[i] == 0:
                nodes[middle] = inside[i]
                middle += 1
        at = middle
        for i in range(count):
            if best[i] == 1:
                nodes[at] = inside[i]
                at += 1
        stack.append((begin, middle, first, np.int64(left)))
        stack.append((middle, end, first + left, np.int64(many - left)))
    return work
