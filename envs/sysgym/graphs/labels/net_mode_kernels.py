"""Kernels of the action modes on hypergraphs; arrays as in `sysgym.graphs.labels.net_kernels`."""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit
from sysgym.graphs.labels.candidate_kernels import Found, best_partner, describe, rank
from sysgym.graphs.labels.kernels import (
    ACTIVE,
    ASSIGNED,
    BEST,
    BEST_FEASIBLE,
    COUNT,
    CURSOR,
    CUT,
    EXTERNAL,
    HEAVIEST,
    HORIZON,
    INTERNAL,
    L_MAX,
    NODES,
    NOW,
    PARTS,
    STEPS,
    STOPPED,
    TRAIL,
)
from sysgym.graphs.labels.net_kernels import shift


@njit
def nearby(h, counts, near):
    """Fill `near`."""
    near[:] = 0
    for e in range(len(h.weights)):
        for p in range(counts.shape[1]):
            for i in range(h.net_ptr[e], h.net_ptr[e + 1] if counts[e, p] else h.net_ptr[e]):
                near[h.pins[i], p] += 1


@njit
def boundary_size(h, counts, part):
    """Nodes with a net that has another label too."""
    found = 0
    for v in range(len(part)):
        for i in range(h.node_ptr[v], h.node_ptr[v + 1]):
            e = h.nets[i]
            if counts[e, part[v]] < h.net_ptr[e + 1] - h.net_ptr[e]:
                found += 1
                break
    return found


@njit
def net_rows(h, counts, placed, out):
    """Changing features of the nets: the share of pins with a label, with the most frequent one, with the next one, 0,
    and whether the net is cut.
    """
    for e in range(len(h.weights)):
        first, second = 0, 0
        for p in range(counts.shape[1]):
            c = counts[e, p]
            if c > first:
                first, second = c, first
            elif c > second:
                second = c
        size = h.net_ptr[e + 1] - h.net_ptr[e]
        out[e, ASSIGNED], out[e, INTERNAL], out[e, EXTERNAL] = placed[e] / size, first / size, second / size
        out[e, 3], out[e, ACTIVE] = 0.0, second > 0


@njit
def move(h, counts, near, km1, part, conn, load, trail, s, f, v, b):
    """As `kernels.move`, with a limit on the weight of a part."""
    a = part[v]
    s[STEPS] += 1
    if a != b:
        s[CUT] += conn[v, a] - conn[v, b]
        f[NOW] = float(s[CUT])
        load[a] -= h.vwgt[v]
        load[b] += h.vwgt[v]
        shift(h, part, counts, conn, near, km1, v, b, part, np.zeros(0, np.int64), 0)
        trail[s[TRAIL], 0] = v
        trail[s[TRAIL], 1] = a
        s[TRAIL] += 1
    if (f[NOW] < f[BEST] or s[BEST_FEASIBLE] == 0) and load.max() <= s[L_MAX]:
        f[BEST] = f[NOW]
        s[BEST_FEASIBLE] = 1
        s[TRAIL] = 0


@njit
def _kept_by(e, u, part, counts, placed, first, second, reached):
    """The label that keeps net `e` whole for node `u`, with the cut: all other labelled pins have it; or -1."""
    own = part[u]
    if placed[e] - (own >= 0) == 0 or reached > 2:
        return -1
    if reached == 1:
        return first
    if own == first and counts[e, first] == 1:
        return second
    if own == second and counts[e, second] == 1:
        return first
    return -1


@njit
def _reached(e, counts):
    """How many labels a net has, and the first two."""
    reached, first, second = 0, -1, -1
    for p in range(counts.shape[1]):
        if counts[e, p]:
            reached += 1
            if first < 0:
                first = p
            elif second < 0:
                second = p
    return reached, first, second


@njit
def place(h, counts, placed, near, km1, part, conn, load, order, s, f, p):
    """Give the next node in `order` its label."""
    v = order[s[CURSOR]]
    for i in range(h.node_ptr[v], h.node_ptr[v + 1]):
        e = h.nets[i]
        low, high, weight, there = h.net_ptr[e], h.net_ptr[e + 1], h.weights[e], counts[e, p]
        reached, first, second = _reached(e, counts)
        if there == 0 and (reached == 1 or (km1 and reached > 1)):
            s[CUT] += weight
        changes = there <= 1 and (km1 or reached <= 2)
        for j in range(low, high if changes and not km1 else low):
            u = h.pins[j]
            q = _kept_by(e, u, part, counts, placed, first, second, reached)
            if u != v and q >= 0:
                conn[u, q] -= weight
        counts[e, p] += 1
        placed[e] += 1
        part[v] = p
        reached, first, second = _reached(e, counts)
        for j in range(low, high if changes else low):
            u = h.pins[j]
            if u != v and km1 and (there == 0 or part[u] == p):
                conn[u, p] += weight
            elif u != v and not km1:
                q = _kept_by(e, u, part, counts, placed, first, second, reached)
                if q >= 0:
                    conn[u, q] += weight
        part[v] = -1
        for j in range(low, high if there == 0 else low):
            near[h.pins[j], p] += 1
    part[v] = p
    load[p] += h.vwgt[v]
    f[NOW] = f[BEST] = float(s[CUT])
    s[CURSOR] += 1
    s[STEPS] += 1
    if s[CURSOR] >= s[NODES]:
        s[STOPPED] = 1


@njit
def _targets(h, part, conn, near, load, tabu, s, found):
    """How many nodes have a feasible move to a part that one of their nets has."""
    count = 0
    for v in range(s[NODES]):
        a = part[v]
        target, most = -1, np.int64(0)
        for b in range(s[PARTS] if tabu[v] <= s[STEPS] else 0):
            if b != a and near[v, b] and load[b] + h.vwgt[v] <= s[L_MAX] and (target < 0 or conn[v, b] > most):
                target, most = b, conn[v, b]
        if target >= 0:
            found.node[count], found.gain[count], found.part[count] = v, most - conn[v, a], target
            count += 1
    return count


@njit
def _blocked(h, part, conn, near, load, tabu, s, blocked):
    """As `candidate_kernels.blocked_targets`."""
    n, parts, count, free = s[NODES], s[PARTS], 0, 0
    edge, movable, first = np.empty(n, np.int32), np.empty(n, np.int32), np.zeros(parts + 2, np.int64)
    for v in range(n):
        a, target = part[v], -1
        for b in range(parts if tabu[v] <= s[STEPS] else 0):
            if b != a and near[v, b] and (target < 0 or conn[v, b] > conn[v, target]):
                target = b
        if target < 0:
            continue
        edge[free] = v
        free += 1
        first[a + 2] += 1
        if load[target] + h.vwgt[v] > s[L_MAX]:
            blocked.node[count], blocked.part[count] = v, target
            blocked.gain[count] = conn[v, target] - conn[v, a]
            count += 1
    for p in range(parts):
        first[p + 2] += first[p + 1]
    for v in edge[:free]:
        movable[first[part[v] + 1]] = v
        first[part[v] + 1] += 1
    return count, movable, first


@njit
def _between(h, v, b, counts, part, km1, between, sign):
    """What both gains of an exchange of `v` with each node of part `b` count of the nets that they share, which it
    leaves as they are.
    """
    a = part[v]
    for i in range(h.node_ptr[v], h.node_ptr[v + 1]):
        e = h.nets[i]
        size = h.net_ptr[e + 1] - h.net_ptr[e]
        alone = 1 if km1 else size - 1
        twice = (counts[e, a] == alone) + (counts[e, b] == alone)
        for j in range(h.net_ptr[e], h.net_ptr[e + 1] if twice else h.net_ptr[e]):
            u = h.pins[j]
            if part[u] == b:
                between[u] += sign * twice * h.weights[e]


@njit
def _add_swaps(h, counts, near, km1, part, conn, load, tabu, s, found, count):
    """As `candidate_kernels.add_swaps`."""
    n, size = s[NODES], len(found.node) - s[NODES]
    blocked = Found(np.empty(n, np.int32), np.empty(n), np.empty(n, np.int32), found.other[:0])
    waiting, movable, first = _blocked(h, part, conn, near, load, tabu, s, blocked)
    listed = np.empty(min(max(size - count, (size + 3) // 4), waiting), np.int32)
    rank(blocked.gain, waiting, True, listed)
    partner = np.full(n, -1, np.int32)
    between = np.zeros(n, np.int64)
    for i in listed:
        v, b = blocked.node[i], blocked.part[i]
        _between(h, v, b, counts, part, km1, between, 1)
        u, gain = best_partner(v, b, h.vwgt, part, conn, load, s, between, movable[first[b] : first[b + 1]])
        _between(h, v, b, counts, part, km1, between, -1)
        if u >= 0 and partner[u] != v:
            partner[v] = u
            found.node[count], found.gain[count] = v, blocked.gain[i] + gain
            found.part[count], found.other[count] = b, u
            count += 1
    return count


@njit
def find_candidates(h, counts, near, km1, degree, part, conn, load, tabu, s, cand_node, cand_part, cand_other, cand_x,
                    mask):  # fmt: skip
    """As `candidate_kernels.find_candidates`; a node may go where one of its nets is."""
    n, size = s[NODES], len(cand_node)
    found = Found(np.empty(n + size, np.int32), np.empty(n + size), np.empty(n + size, np.int32),
                  np.full(n + size, -1, np.int32))  # fmt: skip
    count = _targets(h, part, conn, near, load, tabu, s, found)
    if load.max() + s[HEAVIEST] > s[L_MAX]:
        count = _add_swaps(h, counts, near, km1, part, conn, load, tabu, s, found, count)
    describe(found, count, degree, part, conn, load, tabu, s, cand_node, cand_part, cand_other, cand_x, mask)


@njit
def choose(h, counts, near, km1, part, conn, load, tabu, trail, s, f, v, u, target, tenure):
    """Move `v` to part `target`, and `u`, if it is a node, to where `v` was."""
    source = part[v]
    move(h, counts, near, km1, part, conn, load, trail, s, f, v, target)
    if u >= 0:  # the second half of an exchange, in the same step
        s[STEPS] -= 1
        move(h, counts, near, km1, part, conn, load, trail, s, f, u, source)
        tabu[u] = s[STEPS] + tenure
    tabu[v] = s[STEPS] + tenure


@njit
def stop(s):
    """End an episode without candidates, or at its last step."""
    if s[COUNT] == 0 or s[STEPS] >= s[HORIZON]:
        s[STOPPED] = 1
