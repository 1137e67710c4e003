"""Kernels of the multilevel search on hypergraphs: k-way Fiduccia-Mattheyses, growing and balancing.

Arrays as in `sysgym.graphs.labels.net_kernels`; `part` (n,) int32 is complete and updated in place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sysgym.compiled import njit
from sysgym.core.problem import Array
from sysgym.graphs.labels.net_kernels import Nets, connect, cost_of, count_pins, shift
from sysgym.graphs.multilevel.heap_kernels import down, up

TIES = 2**20  # keys of the heaps are gains times this, and a random number below it
ASIDE = 8  # heaviest nodes on top of a heap that may be passed over for a lighter one


class Labels(NamedTuple):
    """A partition with what moves keep up to date."""

    part: Any  # (n,) int32
    counts: Any  # (E, K) int32
    conn: Any  # (n, K) int64
    load: Any  # (K,) int64


class Work(NamedTuple):
    """Room for searches."""

    heap: Any  # (H, n) int32, nodes by the part that they leave, modulo H
    filled: Any  # (H,) int64, nodes in each heap
    place: Any  # (n,) int32, where a node lies in its heap, or -1
    key: Any  # (n,) int64
    locked: Any  # (n,) int64, the round in which a node moved, or LOCKED
    moved: Any  # (n,) int32
    origin: Any  # (n,) int32
    touched: Any  # (n,) int32
    mark: Any  # (n,) int64
    waiting: Any  # (n,) int32
    near: Any  # (0, 0) int32, which nobody asks for
    serial: Any  # (2,) int64: of the last move, for `mark`; and the state of the random numbers


LOCKED = 2**62


def labels_of(h: Nets, part: Array, k: int, km1: bool) -> Labels:
    """The labels of a partition, which is not copied."""
    counts, placed = np.zeros((len(h.weights), k), np.int32), np.zeros(len(h.weights), np.int32)
    conn = np.zeros((len(h.vwgt), k), np.int64)
    count_pins(h, part, counts, placed)
    connect(h, part, counts, placed, km1, conn)
    return Labels(part, counts, conn, np.bincount(part, h.vwgt, k).astype(np.int64))


def work_of(given: Array, k: int, seed: int) -> Work:
    """Room for searches in which the nodes with a label in `given` (n,) stay."""
    n, heaps = len(given), k if k <= 8 else 1
    small = [np.zeros(n, np.int32) for _ in range(4)]
    locked = np.where(given >= 0, LOCKED, -1).astype(np.int64)
    return Work(np.zeros((heaps, n), np.int32), np.zeros(heaps, np.int64), np.full(n, -1, np.int32),
                np.zeros(n, np.int64), locked, small[0], small[1], small[2], np.full(n, -1, np.int64), small[3],
                np.zeros((0, 0), np.int32), np.array([0, seed], np.int64))  # fmt: skip


@njit
def _random(w, below):
    """A number in 0..below-1, by Knuth's linear congruences."""
    w.serial[1] = w.serial[1] * 6364136223846793005 + 1442695040888963407
    return ((w.serial[1] >> 33) & 0x7FFFFFFF) % below


@njit
def cut_cost(h, labels, km1):
    """What the labels cost."""
    return cost_of(h, labels.counts, km1)


@njit
def _put(w, labels, v, gain):
    """Insert a node, or change its key."""
    side = labels.part[v] % len(w.filled)
    heap = w.heap[side]
    new = gain * TIES + _random(w, TIES)
    if w.place[v] < 0:
        w.key[v] = new
        heap[w.filled[side]] = v
        w.filled[side] += 1
        up(heap, w.place, w.key, w.filled[side] - 1)
    else:
        old, w.key[v] = w.key[v], new
        if new > old:
            up(heap, w.place, w.key, w.place[v])
        else:
            down(heap, w.place, w.key, w.place[v], w.filled[side])


@njit
def _take(w, labels, v):
    """Remove a node from its heap."""
    side = labels.part[v] % len(w.filled)
    heap, i = w.heap[side], w.place[v]
    w.filled[side] -= 1
    last = heap[w.filled[side]]
    w.place[v] = -1
    if last != v:
        heap[i] = last
        w.place[last] = i
        up(heap, w.place, w.key, i)
        down(heap, w.place, w.key, w.place[last], w.filled[side])


@njit
def _target(labels, v, weight, room):
    """Best gain and part of a node among the parts with room; part -1 if there is none."""
    a, best, gain = labels.part[v], -1, np.int64(0)
    for p in range(len(labels.load)):
        if p != a and labels.load[p] + weight <= room[p]:
            g = labels.conn[v, p] - labels.conn[v, a]
            if best < 0 or g > gain or (g == gain and labels.load[p] < labels.load[best]):
                best, gain = p, g
    return best, gain


@njit
def _any_gain(labels, v):
    """Best gain of a node with room or without."""
    a = labels.part[v]
    gain = -np.int64(2**40)
    for p in range(len(labels.load)):
        if p != a:
            gain = max(gain, labels.conn[v, p])
    return gain - labels.conn[v, a]


@njit
def _next(h, w, labels, room, lightest):
    """The node of the largest key that has a part with room, its gain and that part; or -1. Up to ASIDE nodes on each
    heap that have none wait.
    """
    heaps, held = len(w.filled), 0
    best, best_part, best_gain = -1, -1, np.int64(0)
    for side in range(heaps):
        if heaps == len(labels.load):
            most_room = np.int64(-1)
            for p in range(heaps):
                if p != side:
                    most_room = max(most_room, room[p] - labels.load[p])
            if most_room < lightest:
                continue
        passed = 0
        while w.filled[side] and passed < ASIDE:
            v = w.heap[side, 0]
            if best >= 0 and w.key[v] <= w.key[best]:
                break
            target, gain = _target(labels, v, h.vwgt[v], room)
            if target >= 0 and gain >= w.key[v] // TIES:
                best, best_part, best_gain = v, target, gain
                break
            if target >= 0:
                _put(w, labels, v, gain)
                continue
            _take(w, labels, v)
            w.waiting[held] = v
            held += 1
            passed += 1
    return best, best_part, best_gain, held


@njit
def search(h, labels, w, seeds, km1, l_max, room, lightest, round_, patience):
    """Move nodes from `seeds` on, best gain first, each once a round, until `patience` moves brought no new best; then
    back to the best. Returns the cost removed.
    """
    for v in seeds:
        if w.locked[v] < round_ and w.place[v] < 0:
            _put(w, labels, v, _any_gain(labels, v))
    count = best_count = 0
    total = best_total = np.int64(0)
    while count - best_count < patience:
        v, b, gain, held = _next(h, w, labels, room, lightest)
        if v >= 0:
            _take(w, labels, v)
            a = labels.part[v]
            w.moved[count], w.origin[count] = v, a
            count += 1
            w.locked[v] = round_
            w.serial[0] += 1
            changed = shift(
                h, labels.part, labels.counts, labels.conn, w.near, km1, v, b, w.touched, w.mark, w.serial[0]
            )
            labels.load[a] -= h.vwgt[v]
            labels.load[b] += h.vwgt[v]
            total += gain
            if total > best_total and (labels.load <= l_max).all():
                best_total, best_count = total, count
            for i in range(changed):
                u = w.touched[i]
                if w.locked[u] < round_:
                    _put(w, labels, u, _any_gain(labels, u))
        for i in range(held):
            u = w.waiting[i]
            if w.place[u] < 0 and w.locked[u] < round_ and v >= 0:
                _put(w, labels, u, _any_gain(labels, u))
        if v < 0 and held == 0:
            break
    for i in range(count - 1, best_count - 1, -1):
        v, a, b = w.moved[i], w.origin[i], labels.part[w.moved[i]]
        shift(h, labels.part, labels.counts, labels.conn, w.near, km1, v, a, w.touched, w.mark, -2 - i)
        labels.load[b] -= h.vwgt[v]
        labels.load[a] += h.vwgt[v]
    for side in range(len(w.filled)):
        for i in range(w.filled[side]):
            w.place[w.heap[side, i]] = -1
        w.filled[side] = 0
    return best_total


@njit
def boundary(h, labels, w, round_, out):
    """Nodes on a net between parts that may move, to `out`; how many."""
    count = 0
    for v in range(len(h.vwgt)):
        if w.locked[v] >= round_:
            continue
        a = labels.part[v]
        for i in range(h.node_ptr[v], h.node_ptr[v + 1]):
            e = h.nets[i]
            if labels.counts[e, a] < h.net_ptr[e + 1] - h.net_ptr[e]:
                out[count] = v
                count += 1
                break
    return count


@njit
def refine(h, labels, w, km1, l_max, rounds, patience):
    """Global passes, then localised ones, grown from 5 nodes of the boundary each, until they gain nothing.

    Where `l_max` (K,) leaves no room for even the lightest node, a part may outweigh it in a search. Returns the cost
    removed. `rounds` are (global, localised), `patience` too.
    """
    n = len(h.vwgt)
    lightest = max(h.vwgt.min(), 1)
    room = l_max.copy()
    if l_max.sum() - h.vwgt.sum() < len(labels.load) * lightest:
        room[:] = np.maximum(l_max, h.vwgt.sum() * l_max // max(l_max.sum(), 1) + lightest)
    for v in range(n):
        if w.locked[v] != LOCKED:
            w.locked[v] = -1
    seeds = np.empty(n, np.int32)
    removed, round_ = np.int64(0), 0
    for _ in range(rounds[0]):
        round_ += 1
        count = boundary(h, labels, w, round_, seeds)
        gain = search(h, labels, w, seeds[:count], km1, l_max, room, lightest, round_, patience[0])
        removed += gain
        if gain == 0:
            break
    for _ in range(rounds[1]):
        round_ += 1
        count = boundary(h, labels, w, round_, seeds)
        for i in range(count - 1, 0, -1):
            j = _random(w, i + 1)
            seeds[i], seeds[j] = seeds[j], seeds[i]
        gain = np.int64(0)
        for i in range(0, count, 5):
            chosen = seeds[i : min(i + 5, count)]
            gain += search(h, labels, w, chosen, km1, l_max, room, lightest, round_, patience[1])
        removed += gain
        if gain == 0:
            break
    return removed


@njit
def grow(h, labels, w, km1, target):
    """Grow parts 0, 1, ... one after the other out of the last one, largest gain first, each to `target` (K,) weight.

    For coarse hypergraphs: every move looks at all nodes.
    """
    n, rest = len(h.vwgt), len(labels.load) - 1
    for p in range(rest):
        while labels.load[p] < target[p]:
            best, most, begin = -1, np.int64(0), _random(w, n)
            for i in range(n):
                v = (begin + i) % n
                if labels.part[v] == rest and w.locked[v] != LOCKED and labels.load[p] + h.vwgt[v] <= 2 * target[p]:
                    gain = labels.conn[v, p] - labels.conn[v, rest]
                    if best < 0 or gain > most:
                        best, most = v, gain
            if best < 0:
                break
            w.serial[0] += 1
            shift(h, labels.part, labels.counts, labels.conn, w.near, km1, best, p, w.touched, w.mark, w.serial[0])
            labels.load[rest] -= h.vwgt[best]
            labels.load[p] += h.vwgt[best]


@njit
def rebalance(h, labels, w, km1, l_max):
    """Move nodes that are not fixed out of parts above `l_max` (K,), least loss first, where they fit."""
    for a in range(len(labels.load)):
        while labels.load[a] > l_max[a]:
            best, where, most = -1, -1, np.int64(0)
            for v in range(len(h.vwgt)):
                if labels.part[v] == a and w.locked[v] != LOCKED and h.vwgt[v] > 0:
                    target, gain = _target(labels, v, h.vwgt[v], l_max)
                    if target >= 0 and (best < 0 or gain > most):
                        best, where, most = v, target, gain
            if best < 0:
                break
            w.serial[0] += 1
            shift(h, labels.part, labels.counts, labels.conn, w.near, km1, best, where, w.touched, w.mark, w.serial[0])
            labels.load[a] -= h.vwgt[best]
            labels.load[where] += h.vwgt[best]
