"""Kernels of the list of candidate moves: the best feasible ones, so that the action space does not grow with a graph.

Arrays as in `sysgym.graphs.labels.kernels`; C candidates.
"""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit
from sysgym.graphs.labels.kernels import (
    COUNT,
    CUT_RULE,
    HORIZON,
    L_MAX,
    NODES,
    RULE,
    STEPS,
    STOPPED,
    TOTAL,
    gain_of,
    move,
)

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
def best_targets_of_cut(vwgt, part, conn, load, tabu, s, nodes, gains, target_of):
    """How many nodes have a feasible move to a part they are adjacent to; with the cut, without a branch."""
    count, steps, l_max, parts = 0, s[STEPS], s[L_MAX], len(load)
    for v in range(s[NODES]):
        a, row, room = part[v], conn[v], l_max - vwgt[v]
        most, target = 0, -1
        for b in range(parts):
            w = row[b]
            better = (w > most) & (b != a) & (load[b] <= room)
            most = w if better else most
            target = b if better else target
        nodes[count], gains[count], target_of[v] = v, most - row[a], target
        count += (target >= 0) & (tabu[v] <= steps)
    return count


@njit
def best_targets(vwgt, degree, part, conn, load, volume, inside, tabu, s, nodes, gains, target_of):
    """How many nodes have a feasible move to a part they are adjacent to; with any rule."""
    count = 0
    for v in range(s[NODES]):
        a = part[v]
        if conn[v, a] == degree[v] or tabu[v] > s[STEPS]:
            continue
        target, gain = -1, 0.0
        for b in range(len(load)):
            if b != a and conn[v, b] > 0 and load[b] + vwgt[v] <= s[L_MAX]:
                found = gain_of(v, a, b, conn, degree, volume, inside, s)
                if target < 0 or found > gain:
                    target, gain = b, found
        if target >= 0:
            nodes[count], gains[count], target_of[v] = v, gain, target
            count += 1
    return count


@njit
def rank_by_counting(nodes, gains, count, top, span, listed):
    """Positions in `nodes` of the best gains, best first, ties by node; all lie within `span` of `top`."""
    first = np.zeros(span + 2, np.int64)
    for i in range(count):
        first[int(top - gains[i]) + 1] += 1
    for j in range(span):
        first[j + 1] += first[j]
    for i in range(count):
        j = int(top - gains[i])
        if first[j] < len(listed):
            listed[first[j]] = i
        first[j] += 1


@njit
def rank_by_insertion(gains, count, listed):
    """As `rank_by_counting`, for gains of any kind."""
    kept = 0
    for i in range(count):
        if kept == len(listed) and gains[i] <= gains[listed[kept - 1]]:
            continue
        j = kept if kept < len(listed) else kept - 1
        while j > 0 and gains[listed[j - 1]] < gains[i]:
            listed[j] = listed[j - 1]
            j -= 1
        listed[j] = i
        kept = min(kept + 1, len(listed))


@njit
def find_candidates(vwgt, degree, part, conn, load, volume, inside, tabu, s, cand_node, cand_part, cand_x, mask):
    """List the best feasible moves of boundary nodes, best gain first, one target a node, tabu nodes left out."""
    n, size = s[NODES], len(cand_node)
    nodes, gains, target_of = np.empty(n, np.int32), np.empty(n), np.empty(n, np.int32)
    if s[RULE] == CUT_RULE:
        count = best_targets_of_cut(vwgt, part, conn, load, tabu, s, nodes, gains, target_of)
    else:
        count = best_targets(vwgt, degree, part, conn, load, volume, inside, tabu, s, nodes, gains, target_of)
    top, least = -np.inf, np.inf
    for i in range(count):
        top, least = max(top, gains[i]), min(least, gains[i])
    if s[RULE] == CUT_RULE and count > 0 and top - least < COUNTED:
        rank_by_counting(nodes, gains, count, top, int(top - least), cand_part)
    else:
        rank_by_insertion(gains, count, cand_part)
    s[COUNT] = count = min(count, size)
    per_average = 1.0 / max(load.sum() / len(load), 1.0)
    per_typical = 1.0 / max(2.0 * s[TOTAL] / max(n, 1), 1e-9)  # degree
    per_gain = per_typical if s[RULE] == CUT_RULE else float(n) / len(load)
    for i in range(count):
        gain, v = gains[cand_part[i]], nodes[cand_part[i]]
        a, b = part[v], target_of[v]
        share = 1.0 / degree[v]  # a division costs as much as the rest of the row
        mask[i], cand_node[i], cand_part[i] = 1, v, b
        cand_x[i, 0] = gain * (share if s[RULE] == CUT_RULE else per_gain)
        cand_x[i, 1] = conn[v, a] * share
        cand_x[i, 2] = conn[v, b] * share
        cand_x[i, 3] = min(degree[v] * per_typical, 10.0)
        cand_x[i, 4] = load[a] * per_average - 1.0
        cand_x[i, 5] = load[b] * per_average - 1.0
        cand_x[i, 6] = max(min(gain * per_gain, 10.0), -10.0)
        cand_x[i, 7] = 1.0 if tabu[v] > 0 else 0.0
    mask[count:] = 0
    cand_node[count:] = -1
    cand_part[count:] = -1
    cand_x[count:, :] = 0.0
    mask[0] = 1  # where no move is left, action 0 ends the episode


@njit
def choose(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, tabu, trail, s, f, cand_node,
           cand_part, cand_x, mask, action, tenure):  # fmt: skip
    """Play candidate `action`, then list the next candidates."""
    if s[COUNT] == 0:
        s[STOPPED] = 1
        return
    v = cand_node[action]
    target = cand_part[action]
    move(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, trail, s, f, v, target)
    tabu[v] = s[STEPS] + tenure
    find_candidates(vwgt, degree, part, conn, load, volume, inside, tabu, s, cand_node, cand_part, cand_x, mask)
    if s[COUNT] == 0 or s[STEPS] >= s[HORIZON]:
        s[STOPPED] = 1


@njit
def choose_all(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, tabu, trail, s, f, cand_node,
               cand_part, cand_x, mask, actions, live, tenure):  # fmt: skip
    """`choose` in every live row of a batch."""
    for i in range(len(actions)):
        if live[i]:
            choose(xadj[i], adjncy[i], adjwgt[i], vwgt[i], degree[i], part[i], conn[i], load[i], volume[i], inside[i],
                   tabu[i], trail[i], s[i], f[i], cand_node[i], cand_part[i], cand_x[i], mask[i], actions[i],
                   tenure)  # fmt: skip
