"""Numba kernels of fusion: merge groups of operators while the graph of groups stays acyclic.

A group is named by its smallest operator; `ring` links the members of each group in a circle. `at` (N,) is a
topological order of the groups: every path leads to larger values. Only the entries of group names count.
"""

from __future__ import annotations

import heapq

import numpy as np

from sysgym.compiled import njit
from sysgym.dataflow.graphs.graph import HEAVY, NEVER


@njit
def _reach(a, b, group, ring, at, out_ptr, use_ptr, use_node, mark, stamp, found):
    """Count of the groups before b that a reaches, put into `found`; -1 if one of them leads to b."""
    count, head, g = 0, 0, a
    mark[a] = stamp
    while True:
        m = g
        while True:
            for j in range(use_ptr[out_ptr[m]], use_ptr[out_ptr[m + 1]]):
                h = group[use_node[j]]
                if h == b:
                    if g != a:
                        return -1
                elif mark[h] != stamp and at[h] < at[b]:
                    mark[h] = stamp
                    found[count] = h
                    count += 1
            m = ring[m]
            if m == g:
                break
        if head == count:
            return count
        g = found[head]
        head += 1


@njit
def _reach_back(a, b, group, ring, at, in_ptr, edge_src, mark, stamp, found):
    """Count of the groups after a, itself left out, that lead to b, put into `found`."""
    count, head, g = 0, 0, b
    mark[a] = mark[b] = stamp
    while True:
        m = g
        while True:
            for j in range(in_ptr[m], in_ptr[m + 1]):
                h = group[edge_src[j]]
                if mark[h] != stamp and at[h] > at[a]:
                    mark[h] = stamp
                    found[count] = h
                    count += 1
            m = ring[m]
            if m == g:
                break
        if head == count:
            return count
        g = found[head]
        head += 1


@njit
def _near(a, b, group, ring, at, in_ptr, edge_src):
    """Whether nothing but a that b reads comes after a, so that no other path leads from a to b."""
    m = b
    while True:
        for j in range(in_ptr[m], in_ptr[m + 1]):
            h = group[edge_src[j]]
            if h != b and at[h] > at[a]:
                return False
        m = ring[m]
        if m == b:
            return True


@njit
def _reorder(a, b, at, before, after):
    """The place in the order of a and b as one group; what leads to b moves before it, what a reaches behind it."""
    keys = np.empty(len(before) + len(after), np.int64)
    places = np.empty(len(keys) + 2, np.int64)
    for i in range(len(before)):
        places[i] = at[before[i]]
        keys[i] = (places[i] << 32) | before[i]
    for i in range(len(after)):
        k = len(before) + i
        places[k] = at[after[i]]
        keys[k] = (places[k] << 32) | after[i]
    places[len(keys)], places[len(keys) + 1] = at[a], at[b]
    keys[: len(before)].sort()
    keys[len(before) :].sort()
    places.sort()
    for i in range(len(before)):
        at[keys[i] & 0xFFFFFFFF] = places[i]
    for i in range(len(before), len(keys)):
        at[keys[i] & 0xFFFFFFFF] = places[i + 2]
    return places[len(before)]


@njit
def _join(a, b, group, ring, size, heavy):
    """Both groups under the smaller name, which is returned."""
    keep, lose = min(a, b), max(a, b)
    m = lose
    while True:
        group[m] = keep
        m = ring[m]
        if m == lose:
            break
    ring[keep], ring[lose] = ring[lose], ring[keep]
    size[keep] += size[lose]
    heavy[keep] |= heavy[lose]
    return keep


@njit
def merge_groups(order, kind, device, phase, out_ptr, use_ptr, use_node, in_ptr, edge_src, limit, group):
    """Merge groups along the reads of the operators of `order`; group (N,) int32 is filled with names of groups."""
    n = len(group)
    ring, size, at = np.arange(n, dtype=np.int32), np.ones(n, np.int32), np.arange(n, dtype=np.int64)
    heavy, mark = kind == HEAVY, np.zeros(n, np.int64)
    after, before = np.empty(n, np.int32), np.empty(n, np.int32)
    stamp = 0
    group[:] = ring
    for v in order:
        for j in range(use_ptr[out_ptr[v]], use_ptr[out_ptr[v + 1]]):
            c = use_node[j]
            a, b = group[v], group[c]
            if kind[c] == NEVER or kind[c] == HEAVY or device[c] != device[v] or phase[c] != phase[v]:
                continue
            if a == b or size[a] + size[b] > limit or heavy[b]:
                continue
            place = at[a]
            if not _near(a, b, group, ring, at, in_ptr, edge_src):
                stamp += 2
                ahead = _reach(a, b, group, ring, at, out_ptr, use_ptr, use_node, mark, stamp, after)
                if ahead < 0:
                    continue
                behind = _reach_back(a, b, group, ring, at, in_ptr, edge_src, mark, stamp + 1, before) if ahead else 0
                place = _reorder(a, b, at, before[:behind], after[:ahead]) if ahead else at[b]
            at[_join(a, b, group, ring, size, heavy)] = place


@njit
def number_groups(group, out_ptr, use_ptr, use_node, rank):
    """Kahn's order of the groups named in `group`, the smallest name first: rank (N,) int32 of names, -1 elsewhere.

    Returns the number of groups that were reached; fewer than all if the graph of groups has a cycle.
    """
    n = len(group)
    waits = np.zeros(n, np.int64)
    first, follow = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    for v in range(n - 1, -1, -1):
        follow[v], first[group[v]] = first[group[v]], v
        for j in range(use_ptr[out_ptr[v]], use_ptr[out_ptr[v + 1]]):
            if group[use_node[j]] != group[v]:
                waits[group[use_node[j]]] += 1
    rank[:] = -1
    count = 0
    heap = [g for g in range(n) if group[g] == g and waits[g] == 0]  # ascending, so a heap
    while len(heap) > 0:
        g = heapq.heappop(heap)
        rank[g] = count
        count += 1
        m = first[g]
        while m >= 0:
            for j in range(use_ptr[out_ptr[m]], use_ptr[out_ptr[m + 1]]):
                h = group[use_node[j]]
                if h != g:
                    waits[h] -= 1
                    if waits[h] == 0:
                        heapq.heappush(heap, np.int64(h))
            m = follow[m]
    return count
