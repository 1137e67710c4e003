"""Kernels of first answers: balanced parts grown from a node or from those that are fixed, and orders of nodes.

Arrays as in `sysgym.graphs.labels.kernels`.
"""

from __future__ import annotations

import heapq

import numpy as np

from sysgym.compiled import njit


@njit
def spread(vwgt, order, part, load):
    """Assign every node without a part, in `order`, to the lightest part."""
    for v in order:
        if part[v] < 0:
            lightest = np.argmin(load)
            part[v] = lightest
            load[lightest] += vwgt[v]


@njit
def grow(xadj, adjncy, vwgt, order, part, load, l_max):
    """Grow parts one after the other by breadth-first search from the nodes that they hold already, then from the first
    free node in `order`.
    """
    n, parts = len(vwgt), len(load)
    given = (part >= 0).any()
    queue = np.empty(n, np.int32)
    seen = np.full(n, -1, np.int32)
    left = vwgt.sum()
    cursor = 0
    for p in range(parts):
        target = min((left + parts - p - 1) // (parts - p), l_max)
        head = tail = 0
        for v in range(n if given else 0):
            for e in range(xadj[v], xadj[v + 1] if part[v] == p else xadj[v]):
                u = adjncy[e]
                if part[u] < 0 and seen[u] != p:
                    seen[u] = p
                    queue[tail] = u
                    tail += 1
        while load[p] < target:
            if head == tail:  # the region is enclosed: go on from another free node
                while cursor < n and (part[order[cursor]] >= 0 or seen[order[cursor]] == p):
                    cursor += 1
                if cursor == n:
                    break
                queue[tail] = order[cursor]
                seen[order[cursor]] = p
                tail += 1
            v = queue[head]
            head += 1
            if load[p] + vwgt[v] > l_max:
                continue
            part[v] = p
            load[p] += vwgt[v]
            for e in range(xadj[v], xadj[v + 1]):
                u = adjncy[e]
                if part[u] < 0 and seen[u] != p:
                    seen[u] = p
                    queue[tail] = u
                    tail += 1
        left -= load[p]
        if p + 1 < parts:
            cursor = 0
    spread(vwgt, order, part, load)


@njit
def grow_greedy(xadj, adjncy, adjwgt, vwgt, order, part, load, l_max):
    """Greedy graph growing (Karypis and Kumar 1998, section 3.2): one part after the other takes the frontier node
    that adds least to the cut, from the nodes that it holds already or the first free node in `order`, until it holds
    its share.
    """
    n, parts = len(vwgt), len(load)
    given = (part >= 0).any()
    near, free = np.zeros(n, np.int64), np.zeros(n, np.int64)  # edge weight into the growing part, and to free nodes
    for v in range(n):
        for e in range(xadj[v], xadj[v + 1]):
            if part[adjncy[e]] < 0:
                free[v] += adjwgt[e]
    left = vwgt.sum()
    for p in range(parts):
        near[:] = 0
        target = min((left + parts - p - 1) // (parts - p), l_max)
        heap = [(np.int64(0), np.int64(-1))]
        heap.pop()
        for v in range(n if given else 0):
            for e in range(xadj[v], xadj[v + 1] if part[v] == p else xadj[v]):
                near[adjncy[e]] += adjwgt[e]
        for v in range(n if given else 0):
            if part[v] < 0 and near[v] > 0:
                heapq.heappush(heap, (free[v] - near[v], np.int64(v)))
        cursor = 0
        while load[p] < target:
            if len(heap) == 0:  # the region is enclosed: go on from another free node that fits
                while cursor < n and (part[order[cursor]] >= 0 or load[p] + vwgt[order[cursor]] > l_max):
                    cursor += 1
                if cursor == n:
                    break
                v = np.int64(order[cursor])
            else:
                key, v = heapq.heappop(heap)
                if part[v] >= 0 or key != free[v] - near[v] or load[p] + vwgt[v] > l_max:
                    continue
            part[v] = p
            load[p] += vwgt[v]
            for e in range(xadj[v], xadj[v + 1]):
                u = np.int64(adjncy[e])
                free[u] -= adjwgt[e]
                if part[u] < 0:
                    near[u] += adjwgt[e]
                    heapq.heappush(heap, (free[u] - near[u], u))
        left -= load[p]
    spread(vwgt, order, part, load)


@njit
def breadth_first(xadj, adjncy, order, visited):
    """Breadth-first order of all nodes; each component starts at its first node in `order`."""
    seen = np.zeros(len(order), np.bool_)
    head = tail = 0
    for root in order:
        if seen[root]:
            continue
        seen[root] = True
        visited[tail] = root
        tail += 1
        while head < tail:
            v = visited[head]
            head += 1
            for e in range(xadj[v], xadj[v + 1]):
                u = adjncy[e]
                if not seen[u]:
                    seen[u] = True
                    visited[tail] = u
                    tail += 1
