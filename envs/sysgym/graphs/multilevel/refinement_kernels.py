"""Kernels of multilevel partitioning's way up: k-way Fiduccia-Mattheyses, over the whole graph and from single spots.

Arrays as in `sysgym.graphs.labels.kernels`; `part` (n,) int32 is updated in place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sysgym.compiled import njit
from sysgym.core.problem import Array
from sysgym.graphs.multilevel.balance_kernels import shift
from sysgym.graphs.multilevel.coarsening_kernels import chance, shuffle
from sysgym.graphs.multilevel.heap_kernels import drop, put

ROUNDS = 10  # of localised searches on a level, at most
LEAST = 0.0005  # a round that removes less of the cut is the last
SEEDS = 5  # boundary nodes from which a localised search grows
PATIENCE = 40  # moves of a localised search without a new best
PASSES = 20  # over the whole graph, at most


class Table(NamedTuple):
    """What a search keeps of a partition, and its queue."""

    conn: Array  # (n, k) int64, edge weight of each node into each part
    load: Array  # (k,) int64
    inverse: Array  # (n,) float64, mean edge weight over weighted degree
    base: Array  # (n,) float64, the part of the priority that a node always has
    near: Array  # (n,) int32, neighbours moved in this search
    locked: Array  # (n,) int64, the last round in which a node moved
    heap: Array  # (n,) int32, nodes by key, the largest first
    place: Array  # (n,) int32, where a node stands in the heap, -1 if it does not
    key: Array  # (n,) float64
    target: Array  # (n,) int32, the part it would move to
    work: Array  # (1,) int64, entries of `adjncy` that were read


@njit
def _choose(v, table, part, weight, limits, theta):
    """The part with room that a boundary node is best moved to, and the priority of that; -1 if there is none.

    Priority = gain + mean edge weight * (theta . features), see `Priority`.
    """
    row, load, a, inverse = table.conn[v], table.load, part[v], table.inverse[v]
    inner = row[a]
    target, best = np.int32(-1), -np.inf
    for p in range(len(load)):
        if row[p] > 0 and p != a and load[p] + weight <= limits[p]:
            score = (
                (row[p] - inner) * (1.0 + theta[4] * inverse)
                + theta[0] * inverse * (row[p] + inner)
                + theta[2] * (load[a] - load[p])
            )
            if score > best or (score == best and load[p] < load[target]):
                target, best = np.int32(p), score
    return target, best + table.base[v] + theta[3] * inverse * table.near[v]


@njit
def make_table(graph, part, parts, theta):
    """The table of a partition; `theta` as the kernels take it."""
    xadj, adjncy, adjwgt, vwgt, given = graph
    n = len(vwgt)
    conn, load = np.zeros((n, parts), np.int64), np.zeros(parts, np.int64)
    mean = adjwgt.sum() / max(len(adjwgt), 1)
    inverse, base, locked = np.zeros(n, np.float64), np.zeros(n, np.float64), np.zeros(n, np.int64)
    for v in range(n):
        load[part[v]] += vwgt[v]
        degree = np.int64(0)
        for e in range(xadj[v], xadj[v + 1]):
            conn[v, part[adjncy[e]]] += adjwgt[e]
            degree += adjwgt[e]
        if degree > 0:
            inverse[v] = mean / degree
            if theta[1] != 0.0:
                base[v] = theta[1] * np.log(degree / mean)
        if given[v] >= 0:
            locked[v] = np.int64(2**62)
    heap, place, target = np.empty(n, np.int32), np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    read = np.full(1, len(adjncy), np.int64)
    return Table(conn, load, inverse, base, np.zeros(n, np.int32), locked, heap, place, np.zeros(n), target, read)


@njit
def _excess(load, limits):
    over = np.int64(0)
    for p in range(len(load)):
        over += max(load[p] - limits[p], 0)
    return over


@njit
def search(graph, table, part, limits, room, theta, seeds, patience, number, moved, origin, state):
    """Move nodes from `seeds` on, highest priority first, each once in round `number`; keep the best prefix.

    Only prefixes within `limits` (k,) count, the moves themselves keep within `room` (k,). Returns the cut removed.
    """
    xadj, adjncy, adjwgt, vwgt, _ = graph
    heap, place, key, near, locked = table.heap, table.place, table.key, table.near, table.locked
    load = table.load
    size = 0
    for v in seeds:
        if locked[v] < number:
            target, score = _choose(v, table, part, vwgt[v], room, theta)
            if target >= 0:
                table.target[v] = target
                size = put(heap, place, key, size, v, score + 0.01 * chance(state))
    count = best_count = 0
    total = best_total = np.int64(0)
    over = best_over = _excess(load, limits)
    while size > 0 and count - best_count < patience:
        v = heap[0]
        old = key[v]
        size = drop(heap, place, key, size, v)
        target, score = _choose(v, table, part, vwgt[v], room, theta)
        if target < 0:
            continue
        if score < old - 0.0101 and size > 0 and key[heap[0]] > score:  # loads have changed
            table.target[v] = target
            size = put(heap, place, key, size, v, score)
            continue
        a = part[v]
        moved[count], origin[count] = v, a
        count += 1
        total += table.conn[v, target] - table.conn[v, a]
        over -= max(load[a] - limits[a], 0) + max(load[target] - limits[target], 0)
        load[a] -= vwgt[v]
        load[target] += vwgt[v]
        over += max(load[a] - limits[a], 0) + max(load[target] - limits[target], 0)
        part[v] = target
        locked[v] = number
        if over < best_over or (over == best_over and total > best_total):
            best_over, best_total, best_count = over, total, count
        for e in range(xadj[v], xadj[v + 1]):
            u, w = adjncy[e], adjwgt[e]
            row = table.conn[u]
            row[a] -= w
            row[target] += w
            near[u] += 1
            if locked[u] >= number:
                continue
            there, score = _choose(u, table, part, vwgt[u], room, theta)
            if there >= 0:
                table.target[u] = there
                size = put(heap, place, key, size, u, score + 0.01 * chance(state))
            elif place[u] >= 0:
                size = drop(heap, place, key, size, u)
    for i in range(size):
        place[heap[i]] = -1
    for i in range(count):
        for e in range(xadj[moved[i]], xadj[moved[i] + 1]):
            near[adjncy[e]] = 0
        table.work[0] += 2 * (xadj[moved[i] + 1] - xadj[moved[i]])
    for i in range(count - 1, best_count - 1, -1):
        shift(xadj, adjncy, adjwgt, vwgt, part, table.conn, load, moved[i], origin[i])
        table.work[0] += xadj[moved[i] + 1] - xadj[moved[i]]
    return best_total


@njit
def boundary(graph, table, part, found):
    """Nodes with neighbours in other parts, into `found` (n,); how many."""
    xadj, adjncy, _, vwgt, _ = graph
    count = 0
    for v in range(len(vwgt)):
        if table.locked[v] == 2**62:
            continue
        for e in range(xadj[v], xadj[v + 1]):
            table.work[0] += 1
            if part[adjncy[e]] != part[v]:
                found[count] = v
                count += 1
                break
    return count


@njit
def room_of(graph, parts, l_max):
    """What a part may weigh inside a search: the limit, or the share and two nodes where that is more."""
    total, n = graph.vwgt.sum(), len(graph.vwgt)
    lightest = graph.vwgt.min() if n else np.int64(0)
    return max(np.int64(l_max), -(-total // parts) + max(2 * total // max(n, 1), lightest))


@njit
def improve(graph, part, limits, room, theta, passes, rounds, state):
    """k-way FM over the whole graph, then localised FM from spots of the boundary. Returns the cut removed,
    and how many entries of `adjncy` were read.

    `theta` (5,) weighs the features of a move's priority: zeros are the plain gain.
    """
    n, parts = len(graph.vwgt), len(limits)
    mean = graph.adjwgt.sum() / max(len(graph.adjwgt), 1)
    scaled = theta.copy()
    scaled[1] *= mean
    scaled[2] *= 10.0 * mean / max(limits.max(), 1)
    scaled[3] *= mean
    table = make_table(graph, part, parts, scaled)
    moved, origin, seeds = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
    removed, number = np.int64(0), np.int64(0)
    cut = np.int64(0)
    for v in range(n):
        cut -= table.conn[v, part[v]]
    cut = (cut + graph.adjwgt.sum()) // 2
    for _ in range(passes):
        number += 1
        count = boundary(graph, table, part, seeds)
        gained = search(graph, table, part, limits, room, scaled, seeds[:count], max(100, n // 50), number, moved,
                        origin, state)  # fmt: skip
        removed += gained
        if gained <= 0:
            break
    for _ in range(rounds):
        number += 1
        count = boundary(graph, table, part, seeds)
        shuffle(seeds, count, state)
        gained = np.int64(0)
        for i in range(0, count, SEEDS):
            gained += search(graph, table, part, limits, room, scaled, seeds[i : min(i + SEEDS, count)], PATIENCE,
                             number, moved, origin, state)  # fmt: skip
        removed += gained
        if gained <= LEAST * (cut - removed):
            break
    return removed, table.work[0]
