"""Kernel of exchanges between full parts: a node makes room and another one, which waited for it, comes in.

Searches move a node only where there is room, and only nodes of the boundary. Where parts are full and degrees unlike,
as in networks with hubs, what holds them up is inside: nodes of low degree, which would cost little elsewhere.
Arrays as in `sysgym.graphs.labels.kernels`.
"""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit
from sysgym.graphs.multilevel.balance_kernels import shift

ROUNDS = 5  # over all parts, at most


@njit
def _best_away(v, conn, part):
    """What a node gains, at most, by moving to another part, adjacent or not."""
    best = np.int64(0)
    for p in range(conn.shape[1]):
        if p != part[v]:
            best = max(best, conn[v, p])
    return best - conn[v, part[v]]


@njit
def _away(v, u, table, part, vwgt, limits):
    """The part where a node costs least, of those with room for it if `u` leaves its own, and its gain; -1: none."""
    conn, load = table.conn, table.load
    a, target, best = part[v], np.int32(-1), -np.int64(2**62)
    for p in range(len(load)):
        leaves = vwgt[u] if p == part[u] else 0
        if p != a and load[p] - leaves + vwgt[v] <= limits[p] and conn[v, p] > best:
            target, best = np.int32(p), conn[v, p]
    return target, best - conn[v, a]


@njit
def exchange(graph, table, part, limits):
    """Move nodes out of parts without room for others that gain more by coming in, while that removes cut; how much.

    `table` is that of `part` (n,) int32, both follow; loads stay within `limits` (k,) where they are.
    """
    xadj, adjncy, adjwgt, vwgt, given = graph
    n, parts = len(vwgt), len(limits)
    conn, load = table.conn, table.load
    entering, leaving = np.empty(n, np.int64), np.empty(n, np.int64)
    gain_in, gain_out = np.empty(n, np.int64), np.empty(n, np.int64)
    removed = np.int64(0)
    for _ in range(ROUNDS):
        gained = np.int64(0)
        for p in range(parts):
            most_in, most_out = -np.int64(2**62), -np.int64(2**62)
            for v in range(n):
                if given[v] >= 0:
                    continue
                if part[v] != p and conn[v, p] > 0:
                    most_in = max(most_in, conn[v, p] - conn[v, part[v]])
                elif part[v] == p:
                    most_out = max(most_out, _best_away(v, conn, part))
            if most_in + most_out <= 0 or most_out == -np.int64(2**62):
                continue
            ins, outs = 0, 0
            for v in range(n):
                if given[v] >= 0:
                    continue
                if part[v] != p and conn[v, p] > 0:
                    gain = conn[v, p] - conn[v, part[v]]
                    if gain + most_out > 0:
                        entering[ins], gain_in[ins] = v, gain
                        ins += 1
                elif part[v] == p:
                    gain = _best_away(v, conn, part)
                    if gain + most_in > 0:
                        leaving[outs], gain_out[outs] = v, gain
                        outs += 1
            first_in, first_out = np.argsort(-gain_in[:ins]), np.argsort(-gain_out[:outs])
            i = j = 0
            while i < ins and j < outs:
                u, v = entering[first_in[i]], leaving[first_out[j]]
                if gain_in[first_in[i]] + gain_out[first_out[j]] <= 0:
                    break
                if part[u] == p:
                    i += 1
                    continue
                target, gain = _away(v, u, table, part, vwgt, limits)
                if part[v] != p or target < 0:
                    j += 1
                    continue
                before = part[u]
                if load[p] + vwgt[u] <= limits[p]:
                    gain = conn[u, p] - conn[u, before]
                    if gain > 0:
                        shift(xadj, adjncy, adjwgt, vwgt, part, conn, load, u, p)
                        gained += gain
                    i += 1
                    continue
                shift(xadj, adjncy, adjwgt, vwgt, part, conn, load, v, target)
                gain += conn[u, p] - conn[u, before]
                if gain > 0 and load[p] + vwgt[u] <= limits[p]:
                    shift(xadj, adjncy, adjwgt, vwgt, part, conn, load, u, p)
                    gained += gain
                    i += 1
                else:
                    shift(xadj, adjncy, adjwgt, vwgt, part, conn, load, v, p)
                    if conn[u, p] - conn[u, before] < gain_in[first_in[i]]:
                        i += 1
                        continue
                j += 1
        removed += gained
        if gained <= 0:
            break
    return removed
