"""Kernels of flow-based refinement: balanced minimum cuts of the corridors between two parts.

A corridor is grown around the cut of two parts; what it does not hold is source or sink. A maximum flow gives a small
cut; where that is out of balance, the lighter side swallows what it reaches and one node more, and the flow goes on
(FlowCutter: Hamann and Strasser 2018; in partitioning Gottesbüren et al. 2020). Arrays as in
`sysgym.graphs.labels.kernels`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sysgym.compiled import njit
from sysgym.core.problem import Array
from sysgym.graphs.multilevel.coarsening_kernels import shuffle

SOURCE, SINK = 1, 2


class Net(NamedTuple):
    """A flow network; its last two nodes stand for what the parts hold outside of the corridor."""

    ptr: Array  # (r+3,) int64
    head: Array  # (arcs,) int32
    rev: Array  # (arcs,) int32, the arc in the other direction
    cap: Array  # (arcs,) int64, what is left of it
    weight: Array  # (r+2,) int64
    depth: Array  # (r+2,) int32, distance from the cut, negative in the second part


@njit
def _corridor(graph, part, ends, room, border, count, local, nodes):
    """Grow both sides of the corridor breadth first from the cut; nodes and their distance. `local` has new numbers."""
    xadj, adjncy, _, vwgt, given = graph
    depth = np.empty(len(nodes), np.int32)
    weight = np.zeros(2, np.int64)
    total = 0
    for side in range(2):
        here, there = ends[side], ends[1 - side]
        begin = total
        for i in range(count):
            v = border[i]
            if part[v] != here or given[v] >= 0 or weight[side] + vwgt[v] > room[side]:
                continue
            for e in range(xadj[v], xadj[v + 1]):
                if part[adjncy[e]] == there:
                    local[v], nodes[total], depth[total] = total, v, 1
                    weight[side] += vwgt[v]
                    total += 1
                    break
        head = begin
        while head < total:
            v, far = nodes[head], depth[head]
            head += 1
            for e in range(xadj[v], xadj[v + 1]):
                u = adjncy[e]
                if part[u] == here and local[u] < 0 and given[u] < 0 and weight[side] + vwgt[u] <= room[side]:
                    local[u], nodes[total], depth[total] = total, u, far + 1
                    weight[side] += vwgt[u]
                    total += 1
        for i in range(begin, total):
            depth[i] = depth[i] if side == 0 else -depth[i]
    return total, depth, weight


@njit
def _network(graph, part, ends, load, local, nodes, depth, weight):
    """The network of a corridor, and the weight of the edges that cross the cut inside of it."""
    xadj, adjncy, adjwgt, vwgt, _ = graph
    r = len(nodes)
    outside = np.zeros((r, 2), np.int64)
    ptr = np.zeros(r + 3, np.int64)
    crossing = np.int64(0)
    for i in range(r):
        v = nodes[i]
        for e in range(xadj[v], xadj[v + 1]):
            u = adjncy[e]
            if local[u] >= 0:
                ptr[i + 1] += 1
                if local[u] > i and part[u] != part[v]:
                    crossing += adjwgt[e]
            else:
                for side in range(2):
                    if part[u] == ends[side]:
                        outside[i, side] += adjwgt[e]
                        if part[v] != part[u]:
                            crossing += adjwgt[e]
        for side in range(2):
            if outside[i, side] > 0:
                ptr[i + 1] += 1
                ptr[r + side + 1] += 1
    for i in range(r + 2):
        ptr[i + 1] += ptr[i]
    arcs = ptr[r + 2]
    head, rev, cap = np.empty(arcs, np.int32), np.empty(arcs, np.int32), np.empty(arcs, np.int64)
    cursor = ptr[:-1].copy()
    for i in range(r):
        v = nodes[i]
        for e in range(xadj[v], xadj[v + 1]):
            j = local[adjncy[e]]
            if j > i:
                x, y = cursor[i], cursor[j]
                head[x], head[y], rev[x], rev[y] = j, i, y, x
                cap[x] = cap[y] = adjwgt[e]
                cursor[i] += 1
                cursor[j] += 1
        for side in range(2):
            if outside[i, side] > 0:
                j = r + side
                x, y = cursor[i], cursor[j]
                head[x], head[y], rev[x], rev[y] = j, i, y, x
                cap[x] = cap[y] = outside[i, side]
                cursor[i] += 1
                cursor[j] += 1
    weights, depths = np.zeros(r + 2, np.int64), np.zeros(r + 2, np.int32)
    for i in range(r):
        weights[i], depths[i] = vwgt[nodes[i]], depth[i]
    for side in range(2):
        weights[r + side] = load[ends[side]] - weight[side]
    return Net(ptr, head, rev, cap, weights, depths), crossing


@njit
def _reach(net, side, kind, level, queue):
    """Distances from the terminals of a side along arcs that have room, -1 where there is no way; whether a terminal of
    the other side is reached. From the sink, arcs count backwards.
    """
    level[:] = -1
    tail, found = 0, False
    for x in range(len(level)):
        if kind[x] == side:
            level[x] = 0
            queue[tail] = x
            tail += 1
    head = 0
    while head < tail:
        x = queue[head]
        head += 1
        for e in range(net.ptr[x], net.ptr[x + 1]):
            y = net.head[e]
            if level[y] < 0 and net.cap[e if side == SOURCE else net.rev[e]] > 0:
                level[y] = level[x] + 1
                if kind[y] == SOURCE + SINK - side:
                    found = True
                else:
                    queue[tail] = y
                    tail += 1
    return found


@njit
def _augment(net, kind, level, cursor, path):
    """A blocking flow from the sources along rising levels (Dinic 1970); what it carries."""
    n = len(level)
    cursor[:] = net.ptr[:n]
    flow = np.int64(0)
    for s in range(n):
        if kind[s] != SOURCE:
            continue
        length, x = 0, s
        while True:
            if kind[x] == SINK:
                least = np.int64(2**62)
                for i in range(length):
                    least = min(least, net.cap[path[i]])
                flow += least
                keep = length
                for i in range(length - 1, -1, -1):
                    net.cap[path[i]] -= least
                    net.cap[net.rev[path[i]]] += least
                    if net.cap[path[i]] == 0:
                        keep = i
                length = keep
                x = net.head[net.rev[path[length]]]
                continue
            advanced = False
            while cursor[x] < net.ptr[x + 1]:
                e = cursor[x]
                y = net.head[e]
                if net.cap[e] > 0 and level[y] == level[x] + 1:
                    path[length] = e
                    length += 1
                    x = y
                    advanced = True
                    break
                cursor[x] += 1
            if not advanced:
                if length == 0:
                    break
                length -= 1
                x = net.head[net.rev[path[length]]]
                cursor[x] += 1
    return flow


@njit
def _swallow(net, side, kind, reached, other, weight, window, lists):
    """The lighter side takes what it reaches, then node by node what touches it, without a way for more flow as long as
    there is such a node. Returns its weight, and whether it is in the window (from, to), or stuck (-1).
    """
    first, following, later, queue = lists
    n = len(reached)
    first[:] = -1
    following[:] = -2  # not in a list
    offset = len(first) // 2
    sign = 1 if side == SOURCE else -1
    tail = 0
    for x in range(n):
        if reached[x]:
            kind[x] = side
            queue[tail] = x
            tail += 1
    head, waiting = 0, 0
    top = len(first) - 1
    while True:
        while head < tail:  # who touches what was swallowed
            x = queue[head]
            head += 1
            for e in range(net.ptr[x], net.ptr[x + 1]):
                y = net.head[e]
                if reached[y] or kind[y] != 0:
                    continue
                if net.cap[e if side == SOURCE else net.rev[e]] > 0:
                    reached[y] = True
                    kind[y] = side
                    weight += net.weight[y]
                    queue[tail] = y
                    tail += 1
                elif following[y] == -2:
                    i = offset + sign * net.depth[y]
                    following[y] = first[i]
                    first[i] = y
                    top = max(top, i)
        if window[0] <= weight <= window[1]:
            return weight, 1
        if weight > window[1]:
            return weight, -1
        picked = -1
        while top >= 0 and picked < 0:
            y = first[top]
            if y < 0:
                top -= 1
                continue
            first[top] = following[y]
            if reached[y]:
                continue
            if other[y]:
                later[waiting] = y
                waiting += 1
                continue
            picked = y
        if picked < 0:
            best = -1
            for i in range(waiting):
                y = later[i]
                if not reached[y] and (best < 0 or sign * net.depth[y] > sign * net.depth[best]):
                    best = y
            if best < 0:
                return weight, -1
            kind[best] = side
            return weight + net.weight[best], 0
        reached[picked] = True
        kind[picked] = side
        weight += net.weight[picked]
        queue[tail] = picked
        tail += 1


@njit
def _balanced_cut(net, crossing, limits):
    """The nodes of the first part (r+2,) bool and the cut, where one below `crossing` within both limits is found;
    else a cut of `crossing`.
    """
    n = len(net.weight)
    kind = np.zeros(n, np.int8)
    kind[n - 2], kind[n - 1] = SOURCE, SINK
    level, queue, path = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n + 1, np.int64)
    cursor = np.empty(n, np.int64)
    total = net.weight.sum()
    deepest = np.abs(net.depth).max() + 1
    lists = (np.empty(2 * deepest + 1, np.int32), np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32))
    flow = np.int64(0)
    # the first part must weigh from `low` to `high`
    low, high = total - limits[1], limits[0]
    while True:
        while _reach(net, SOURCE, kind, level, queue):
            flow += _augment(net, kind, level, cursor, path)
            if flow >= crossing:
                return kind == SOURCE, crossing
        ahead = level >= 0
        _reach(net, SINK, kind, level, queue)
        behind = level >= 0
        before, after = np.int64(0), np.int64(0)
        for x in range(n):
            before += net.weight[x] if ahead[x] else 0
            after += net.weight[x] if behind[x] else 0
        if low <= before <= high:
            return ahead, flow
        if low <= total - after <= high:
            return ~behind, flow
        if before > high or total - after < low:
            return kind == SOURCE, crossing
        if before <= after:
            _, done = _swallow(net, SOURCE, kind, ahead, behind, before, (low, high), lists)
            if done > 0:
                return ahead, flow
        else:
            _, done = _swallow(net, SINK, kind, behind, ahead, after, (total - high, total - low), lists)
            if done > 0:
                return ~behind, flow
        if done < 0:
            return kind == SOURCE, crossing


@njit
def flows(graph, part, limits, wide, rounds, state):
    """Replace the cuts between pairs of parts by smaller ones while that helps. Returns the cut removed.

    `limits` (k,); a side of a corridor weighs at most `wide` and what balance leaves; `part` changes in place.
    """
    xadj, adjncy, _, vwgt, _ = graph
    n, parts = len(vwgt), len(limits)
    load = np.zeros(parts, np.int64)
    border, listed, count = np.empty(n, np.int32), np.zeros(n, np.bool_), 0
    joined = np.zeros((parts, parts), np.bool_)
    for v in range(n):
        load[part[v]] += vwgt[v]
        for e in range(xadj[v], xadj[v + 1]):
            if part[adjncy[e]] != part[v]:
                joined[part[v], part[adjncy[e]]] = True
                if not listed[v]:
                    listed[v] = True
                    border[count] = v
                    count += 1
    local, scratch = np.full(n, -1, np.int32), np.empty(n, np.int32)
    active = np.ones(parts, np.bool_)
    pairs = np.empty(parts * (parts - 1) // 2, np.int32)
    removed = np.int64(0)
    for _ in range(rounds):
        number = 0
        for a in range(parts):
            for b in range(a + 1, parts):
                if (joined[a, b] or joined[b, a]) and (active[a] or active[b]):
                    pairs[number] = a * parts + b
                    number += 1
        if number == 0:
            break
        shuffle(pairs, number, state)
        active[:] = False
        for i in range(number):
            ends = (np.int64(pairs[i] // parts), np.int64(pairs[i] % parts))
            a, b = ends
            room = (min(max(wide - load[b], 0), load[a] - 1), min(max(wide - load[a], 0), load[b] - 1))
            size, depth, weight = _corridor(graph, part, ends, room, border, count, local, scratch)
            if size > 0:
                nodes = scratch[:size]
                net, crossing = _network(graph, part, ends, load, local, nodes, depth, weight)
                first, cut = _balanced_cut(net, crossing, (limits[a], limits[b]))
                for j in range(size):
                    local[nodes[j]] = -1
                if cut < crossing:
                    removed += crossing - cut
                    active[a] = active[b] = True
                    for j in range(size):
                        v = nodes[j]
                        there = a if first[j] else b
                        if part[v] == there:
                            continue
                        load[part[v]] -= vwgt[v]
                        load[there] += vwgt[v]
                        part[v] = there
                        for e in range(xadj[v], xadj[v + 1]):
                            u = adjncy[e]
                            joined[part[u], there] = joined[there, part[u]] = True
                            if not listed[u]:
                                listed[u] = True
                                border[count] = u
                                count += 1
                        if not listed[v]:
                            listed[v] = True
                            border[count] = v
                            count += 1
    return removed
