"""Kernels of the list of candidate moves: the best feasible ones, so that the action space does not grow with a graph.

Arrays as in `sysgym.graphs.labels.kernels`; C candidates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sysgym.compiled import njit
from sysgym.graphs.labels.kernels import (
    COUNT,
    CUT_RULE,
    HEAVIEST,
    HORIZON,
    L_MAX,
    NODES,
    PARTS,
    RULE,
    STEPS,
    STOPPED,
    TOTAL,
    gain_of,
    move,
)


class Found(NamedTuple):
    """Changes of the labels that may be listed."""

    node: Any  # (M,) int32, which moves
    gain: Any  # (M,) float64, how much less the labels cost then
    part: Any  # (M,) int32, where to
    other: Any  # (M,) int32, the node that takes its place, or -1


FEATURES = ("gain", "internal", "external", "degree", "from_load", "to_load", "absolute_gain", "moved")
COUNTED = 256  # gains are sorted by counting where they lie within so many values


@njit
def boundary_size(part, conn, degree, s):
    """Nodes with a neighbour in another part."""
    count = 0
    for v in range(s[NODES]):
        if part[v] >= 0 and conn[v, part[v]] < degree[v]:
            count += 1
    return count


@njit
def best_targets_of_cut(vwgt, part, conn, load, tabu, s, found):
    """How many nodes have a feasible move to a part they are adjacent to; with the cut, without a branch."""
    count, steps, l_max, parts = 0, s[STEPS], s[L_MAX], s[PARTS]
    for v in range(s[NODES]):
        a, row, room = part[v], conn[v], l_max - vwgt[v]
        most, target = 0, -1
        for b in range(parts):
            w = row[b]
            better = (w > most) & (b != a) & (load[b] <= room)
            most = w if better else most
            target = b if better else target
        found.node[count], found.gain[count], found.part[count] = v, most - row[a], target
        count += (target >= 0) & (tabu[v] <= steps)
    return count


@njit
def best_targets(vwgt, degree, part, conn, load, volume, inside, tabu, s, found):
    """How many nodes have a feasible move to a part they are adjacent to; with any rule."""
    count = 0
    for v in range(s[NODES]):
        a = part[v]
        if conn[v, a] == degree[v] or tabu[v] > s[STEPS]:
            continue
        target, gain = -1, 0.0
        for b in range(s[PARTS]):
            if b != a and conn[v, b] > 0 and load[b] + vwgt[v] <= s[L_MAX]:
                less = gain_of(v, a, b, conn, vwgt, degree, load, volume, inside, s)
                if target < 0 or less > gain:
                    target, gain = b, less
        if target >= 0:
            found.node[count], found.gain[count], found.part[count] = v, gain, target
            count += 1
    return count


@njit
def blocked_targets(vwgt, degree, part, conn, load, tabu, s, blocked):
    """Nodes whose best part has no room for them, how many (with the cut); and all nodes that may move, by their part:
    those of part p are `movable[first[p] : first[p + 1]]`, ascending.
    """
    n, parts, count, free = s[NODES], s[PARTS], 0, 0
    boundary, movable, first = np.empty(n, np.int32), np.empty(n, np.int32), np.zeros(parts + 2, np.int64)
    for v in range(n):
        a, row = part[v], conn[v]
        most, target = 0, 0
        for b in range(parts):
            better = (row[b] > most) & (b != a)
            most = row[b] if better else most
            target = b if better else target
        mobile = (most > 0) & (tabu[v] <= s[STEPS])
        blocked.node[count], blocked.gain[count], blocked.part[count] = v, most - row[a], target
        count += mobile & (load[target] + vwgt[v] > s[L_MAX])
        boundary[free] = v
        first[a + 2] += mobile
        free += mobile
    for p in range(parts):
        first[p + 2] += first[p + 1]
    for v in boundary[:free]:
        movable[first[part[v] + 1]] = v
        first[part[v] + 1] += 1
    return count, movable, first


@njit
def best_partner(v, b, vwgt, part, conn, load, s, between, movable):
    """The node of part `b` that gains most by taking the place of `v`, or -1 where none fits, and how much it gains."""
    a, best, gain = part[v], -1, 0
    least, most = vwgt[v] + load[b] - s[L_MAX], vwgt[v] + s[L_MAX] - load[a]  # what it may weigh
    for u in movable:
        less = conn[u, a] - conn[u, b] - between[u]
        if (best < 0 or less > gain) and least <= vwgt[u] <= most:
            best, gain = u, less
    return best, gain


@njit
def add_swaps(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, tabu, s, found, count):
    """Add exchanges of two nodes that keep both parts within the limit, for the nodes that would gain most from a part
    that has no room for them; each takes the place of its best partner. As many as the list has places left, a quarter
    of it at least. Returns how many candidates there are then.
    """
    n, size = s[NODES], len(found.node) - s[NODES]
    blocked = Found(np.empty(n, np.int32), np.empty(n), np.empty(n, np.int32), found.other[:0])
    waiting, movable, first = blocked_targets(vwgt, degree, part, conn, load, tabu, s, blocked)
    listed = np.empty(min(max(size - count, (size + 3) // 4), waiting), np.int32)
    rank(blocked.gain, waiting, True, listed)
    partner = np.full(n, -1, np.int32)
    between = np.zeros(n, np.int64)  # what both gains count of the edges of the node that waits
    for i in listed:
        v, b = blocked.node[i], blocked.part[i]
        for e in range(xadj[v], xadj[v + 1]):
            between[adjncy[e]] = 2 * adjwgt[e]
        u, gain = best_partner(v, b, vwgt, part, conn, load, s, between, movable[first[b] : first[b + 1]])
        for e in range(xadj[v], xadj[v + 1]):
            between[adjncy[e]] = 0
        if u >= 0 and partner[u] != v:  # else the same exchange stands there from the other side
            partner[v] = u
            found.node[count], found.gain[count] = v, blocked.gain[i] + gain
            found.part[count], found.other[count] = b, u
            count += 1
    return count


@njit
def rank(gain, count, whole, listed):
    """Positions of the best gains into `listed`, best first, ties in order; `whole` numbers close together are counted,
    others inserted.
    """
    top, least = -np.inf, np.inf
    for i in range(count):
        top, least = max(top, gain[i]), min(least, gain[i])
    if not whole or count == 0 or top - least >= COUNTED:
        kept = 0
        for i in range(count):
            if kept == len(listed) and gain[i] <= gain[listed[kept - 1]]:
                continue
            j = kept if kept < len(listed) else kept - 1
            while j > 0 and gain[listed[j - 1]] < gain[i]:
                listed[j] = listed[j - 1]
                j -= 1
            listed[j] = i
            kept = min(kept + 1, len(listed))
        return
    first = np.zeros(int(top - least) + 2, np.int64)
    for i in range(count):
        first[int(top - gain[i]) + 1] += 1
    for j in range(int(top - least)):
        first[j + 1] += first[j]
    for i in range(count):
        j = int(top - gain[i])
        if first[j] < len(listed):
            listed[first[j]] = i
        first[j] += 1


@njit
def find_candidates(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, tabu, s, cand_node,
                    cand_part, cand_other, cand_x, mask):  # fmt: skip
    """List the best feasible moves of boundary nodes, best gain first, one target a node, tabu nodes left out.

    With the cut, nodes whose best part has no room for them are exchanged with a node of it: `cand_other`, else -1.
    """
    n, size, cut = s[NODES], len(cand_node), s[RULE] == CUT_RULE
    found = Found(np.empty(n + size, np.int32), np.empty(n + size), np.empty(n + size, np.int32),
                  np.full(n + size, -1, np.int32))  # fmt: skip
    if cut:
        count = best_targets_of_cut(vwgt, part, conn, load, tabu, s, found)
        if load.max() + s[HEAVIEST] > s[L_MAX]:
            count = add_swaps(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, tabu, s, found, count)
    else:
        count = best_targets(vwgt, degree, part, conn, load, volume, inside, tabu, s, found)
    describe(found, count, degree, part, conn, load, tabu, s, cand_node, cand_part, cand_other, cand_x, mask)


@njit
def describe(found, count, degree, part, conn, load, tabu, s, cand_node, cand_part, cand_other, cand_x, mask):
    """List the best of the changes that were found, with the features of each."""
    n, size, cut = s[NODES], len(cand_node), s[RULE] == CUT_RULE
    rank(found.gain, count, cut, cand_part)
    s[COUNT] = count = min(count, size)
    per_average = 1.0 / max(load.sum() / s[PARTS], 1.0)
    per_typical = 1.0 / max(2.0 * s[TOTAL] / max(n, 1), 1e-9)  # degree
    per_gain = per_typical if cut else float(n) / s[PARTS]
    for i in range(count):
        at = cand_part[i]
        gain, v, b, u = found.gain[at], found.node[at], found.part[at], found.other[at]
        a = part[v]
        share = 1.0 / degree[v]  # a division costs as much as the rest of the row
        mask[i], cand_node[i], cand_part[i], cand_other[i] = 1, v, b, u
        cand_x[i, 0] = gain * (share if cut else per_gain)
        cand_x[i, 1] = conn[v, a] * share
        cand_x[i, 2] = conn[v, b] * share
        cand_x[i, 3] = min(degree[v] * per_typical, 10.0)
        cand_x[i, 4] = load[a] * per_average - 1.0
        cand_x[i, 5] = load[b] * per_average - 1.0
        cand_x[i, 6] = max(min(gain * per_gain, 10.0), -10.0)
        cand_x[i, 7] = 1.0 if tabu[v] > 0 else 0.0
        if u >= 0:
            cand_x[i, 0] = gain / (degree[v] + degree[u])
            cand_x[i, 7] = 1.0 if tabu[v] > 0 or tabu[u] > 0 else 0.0
    mask[count:] = 0
    cand_node[count:] = -1
    cand_part[count:] = -1
    cand_other[count:] = -1
    cand_x[count:, :] = 0.0
    mask[0] = 1  # where no move is left, action 0 ends the episode


@njit
def choose(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, tabu, trail, s, f, cand_node,
           cand_part, cand_other, cand_x, mask, action, tenure):  # fmt: skip
    """Play candidate `action`, then list the next candidates."""
    if s[COUNT] == 0:
        s[STOPPED] = 1
        return
    v, u, source = cand_node[action], cand_other[action], part[cand_node[action]]
    target = cand_part[action]
    move(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, trail, s, f, v, target)
    if u >= 0:  # the second half of an exchange, in the same step
        s[STEPS] -= 1
        move(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, trail, s, f, u, source)
        tabu[u] = s[STEPS] + tenure
    tabu[v] = s[STEPS] + tenure
    find_candidates(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, tabu, s, cand_node, cand_part,
                    cand_other, cand_x, mask)  # fmt: skip
    if s[COUNT] == 0 or s[STEPS] >= s[HORIZON]:
        s[STOPPED] = 1


@njit
def choose_all(held, xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, tabu, trail, s, f, cand_node,
               cand_part, cand_other, cand_x, mask, actions, live, tenure):  # fmt: skip
    """`choose` in every live row of a batch; `held` (B,) are the rows of their graphs."""
    for i in range(len(actions)):
        if live[i]:
            g = held[i]
            choose(xadj[g], adjncy[g], adjwgt[g], vwgt[g], degree[g], part[i], conn[i], load[i], volume[i], inside[i],
                   tabu[i], trail[i], s[i], f[i], cand_node[i], cand_part[i], cand_other[i], cand_x[i], mask[i],
                   actions[i], tenure)  # fmt: skip
