"""Incremental kernels of labels on a graph: every move costs O(degree), whatever is paid for.

All work on plain arrays. Letters: n nodes, K parts, C candidates. A graph is `xadj` (n+1,) int64, `adjncy` (2m,)
int32, `adjwgt` (2m,) int64, `vwgt` (n,) int64, `degree` (n,) int64 (weighted). A state is `part` (n,) int32 with -1 =
unassigned, `conn` (n, K) int64 (edge weight from a node into each part), `load` (K,) int64 and the scalars `s`,
whose entries are named below. Rows of a batch may be longer than the graph: `s[NODES]` counts.

`s[RULE]` says what a labelling costs, CUT_RULE: the weight of edges between parts; NCUT_RULE: the normalised cut, the
sum over parts of cut over volume, in which an empty part counts 1. The cost as it stands, the best and the first are
`f[NOW]`, `f[BEST]` and `f[START]`, float64. The normalised cut also keeps `volume` and `inside` (K,) int64, the sum of
the degrees in each part, and of the edge weights in it, both ends counted.
"""

from __future__ import annotations

import heapq

import numpy as np

from sysgym.compiled import njit

CUT, RULE, BEST_FEASIBLE, STEPS, TRAIL, HORIZON, L_MAX, TOTAL, NODES, CURSOR, COUNT, STOPPED = range(12)
SCALARS = 12
NOW, BEST, START = range(3)
CUT_RULE, NCUT_RULE = range(2)

NODE_FEATURES = ("assigned", "internal", "external", "part_load", "active")
GLOBAL_FEATURES = ("nodes", "edges", "parts", "eps", "cut", "best", "max_load", "progress")
MOVE_FEATURES = ("gain", "internal", "external", "degree", "from_load", "to_load", "absolute_gain", "moved")
PART_FEATURES = ("share", "load", "room", "relative_load")


@njit
def part_ncut(volume, inside):
    """One part's share of the normalised cut; an empty part counts 1."""
    return 1.0 if volume == 0 else (volume - inside) / volume


@njit
def total_cost(volume, inside, s):
    """What the labels cost as they stand; nodes without one are left out."""
    if s[RULE] == CUT_RULE:
        return float(s[CUT])
    cost = 0.0
    for p in range(len(volume)):
        cost += part_ncut(volume[p], inside[p])
    return cost


@njit
def gain_of(v, a, b, conn, degree, volume, inside, s):
    """How much less the labels cost once node `v` is moved from part `a` to part `b`."""
    if s[RULE] == CUT_RULE:
        return float(conn[v, b] - conn[v, a])
    before = part_ncut(volume[a], inside[a]) + part_ncut(volume[b], inside[b])
    after = part_ncut(volume[a] - degree[v], inside[a] - 2 * conn[v, a])
    return before - after - part_ncut(volume[b] + degree[v], inside[b] + 2 * conn[v, b])


@njit
def build(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, s, f):
    """Fill `conn`, `load`, `volume`, `inside` and the cost (of assigned nodes) from `part`."""
    conn[:] = 0
    load[:] = 0
    volume[:] = 0
    inside[:] = 0
    twice = 0
    for v in range(s[NODES]):
        a = part[v]
        if a >= 0:
            load[a] += vwgt[v]
            volume[a] += degree[v]
        for e in range(xadj[v], xadj[v + 1]):
            b = part[adjncy[e]]
            if b >= 0:
                conn[v, b] += adjwgt[e]
                if a >= 0 and a != b:
                    twice += adjwgt[e]
                elif a >= 0:
                    inside[a] += adjwgt[e]
    s[CUT] = twice // 2
    f[NOW] = f[BEST] = f[START] = total_cost(volume, inside, s)


@njit
def boundary_size(part, conn, degree, s):
    """Nodes with a neighbour in another part."""
    count = 0
    for v in range(s[NODES]):
        if part[v] >= 0 and conn[v, part[v]] < degree[v]:
            count += 1
    return count


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
    """Grow parts one after the other by breadth-first search from the first free node in `order`."""
    n, parts = len(vwgt), len(load)
    queue = np.empty(n, np.int32)
    seen = np.full(n, -1, np.int32)
    left = vwgt.sum()
    cursor = 0
    for p in range(parts):
        target = min((left + parts - p - 1) // (parts - p), l_max)
        head = tail = 0
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
    that adds least to the cut, from the first free node in `order`, until it holds its share.
    """
    n, parts = len(vwgt), len(load)
    near, free = np.zeros(n, np.int64), np.zeros(n, np.int64)  # edge weight into the growing part, and to free nodes
    for v in range(n):
        for e in range(xadj[v], xadj[v + 1]):
            free[v] += adjwgt[e]
    left = vwgt.sum()
    for p in range(parts):
        near[:] = 0
        target = min((left + parts - p - 1) // (parts - p), l_max)
        heap = [(np.int64(0), np.int64(-1))]
        heap.pop()
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
def move(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, trail, s, f, v, b):
    """Move node `v` to part `b` and keep the best feasible labels: `trail` holds the moves since them."""
    a = part[v]
    s[STEPS] += 1
    if a != b:
        s[CUT] += conn[v, a] - conn[v, b]
        if s[RULE] != CUT_RULE:
            inside[a] -= 2 * conn[v, a]
            inside[b] += 2 * conn[v, b]
            volume[a] -= degree[v]
            volume[b] += degree[v]
        f[NOW] = total_cost(volume, inside, s)
        for e in range(xadj[v], xadj[v + 1]):
            u = adjncy[e]
            conn[u, a] -= adjwgt[e]
            conn[u, b] += adjwgt[e]
        load[a] -= vwgt[v]
        load[b] += vwgt[v]
        part[v] = b
        trail[s[TRAIL], 0] = v
        trail[s[TRAIL], 1] = a
        s[TRAIL] += 1
    if (f[NOW] < f[BEST] or s[BEST_FEASIBLE] == 0) and load.max() <= s[L_MAX]:
        f[BEST] = f[NOW]
        s[BEST_FEASIBLE] = 1
        s[TRAIL] = 0


@njit
def best_part(part, trail, s):
    """The best feasible partition seen (the start if none was feasible): undo the moves made since."""
    best = part[: s[NODES]].copy()
    for i in range(s[TRAIL] - 1, -1, -1):
        best[trail[i, 0]] = trail[i, 1]
    return best


@njit
def find_candidates(vwgt, degree, part, conn, load, volume, inside, tabu, s, cand_node, cand_part, cand_x, mask):
    """List the best feasible moves of boundary nodes, best gain first, one target a node, tabu nodes left out."""
    size, parts, n = len(cand_node), len(load), s[NODES]
    gains = np.empty(size)
    count = 0
    for v in range(n):
        a = part[v]
        if conn[v, a] == degree[v] or tabu[v] > s[STEPS]:
            continue
        target, gain = -1, 0.0
        for b in range(parts):
            if b != a and conn[v, b] > 0 and load[b] + vwgt[v] <= s[L_MAX]:
                found = gain_of(v, a, b, conn, degree, volume, inside, s)
                if target < 0 or found > gain:
                    target, gain = b, found
        if target < 0 or (count == size and gain <= gains[size - 1]):
            continue
        i = count if count < size else size - 1
        while i > 0 and gains[i - 1] < gain:
            gains[i] = gains[i - 1]
            cand_node[i] = cand_node[i - 1]
            cand_part[i] = cand_part[i - 1]
            i -= 1
        gains[i], cand_node[i], cand_part[i] = gain, v, target
        count = min(count + 1, size)
    s[COUNT] = count
    per_average = 1.0 / max(load.sum() / parts, 1.0)
    per_typical = 1.0 / max(2.0 * s[TOTAL] / max(n, 1), 1e-9)  # degree
    per_gain = per_typical if s[RULE] == CUT_RULE else float(n) / parts
    for i in range(size):
        mask[i] = i < count
        if i >= count:
            cand_node[i], cand_part[i] = -1, -1
            cand_x[i, :] = 0.0
            continue
        v, b = cand_node[i], cand_part[i]
        a = part[v]
        share = 1.0 / degree[v]  # a division costs as much as the rest of the row
        cand_x[i, 0] = gains[i] * (share if s[RULE] == CUT_RULE else per_gain)
        cand_x[i, 1] = conn[v, a] * share
        cand_x[i, 2] = conn[v, b] * share
        cand_x[i, 3] = min(degree[v] * per_typical, 10.0)
        cand_x[i, 4] = load[a] * per_average - 1.0
        cand_x[i, 5] = load[b] * per_average - 1.0
        cand_x[i, 6] = max(min(gains[i] * per_gain, 10.0), -10.0)
        cand_x[i, 7] = 1.0 if tabu[v] > 0 else 0.0
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
def show_parts(vwgt, degree, conn, load, order, s, cand_node, cand_x, mask):
    """Describe each part to the node that is next, and mask those it fits in (the lightest where it fits in none)."""
    parts = len(load)
    cursor = s[CURSOR]
    if cursor >= s[NODES]:
        cand_x[:] = 0.0
        cand_node[:] = -1
        mask[:] = 0
        mask[0] = 1
        s[COUNT] = 0
        return
    v = order[cursor]
    placed, limit = max(load.sum(), 1), max(s[L_MAX], 1)
    count = 0
    for p in range(parts):
        cand_node[p] = v
        mask[p] = load[p] + vwgt[v] <= s[L_MAX]
        count += mask[p]
        cand_x[p, 0] = conn[v, p] / max(degree[v], 1)
        cand_x[p, 1] = load[p] / limit
        cand_x[p, 2] = (s[L_MAX] - load[p] - vwgt[v]) / limit
        cand_x[p, 3] = load[p] * parts / placed - 1.0
    if count == 0:
        mask[np.argmin(load)] = 1
    s[COUNT] = max(count, 1)


@njit
def place(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, order, s, f, cand_node, cand_x, mask,
          p):  # fmt: skip
    """Put the next node into part `p`, then describe the parts to the one after it."""
    v = order[s[CURSOR]]
    s[CUT] += conn[v].sum() - conn[v, p]
    volume[p] += degree[v]
    inside[p] += 2 * conn[v, p]
    f[NOW] = f[BEST] = total_cost(volume, inside, s)
    part[v] = p
    load[p] += vwgt[v]
    for e in range(xadj[v], xadj[v + 1]):
        conn[adjncy[e], p] += adjwgt[e]
    s[CURSOR] += 1
    s[STEPS] += 1
    if s[CURSOR] >= s[NODES]:
        s[STOPPED] = 1
    show_parts(vwgt, degree, conn, load, order, s, cand_node, cand_x, mask)


@njit
def node_rows(degree, part, conn, load, tabu, s, active, out):
    """Changing node features, columns NODE_FEATURES; `active` is the focused node or -1."""
    for v in range(s[NODES]):
        a = part[v]
        outside = 0
        for p in range(len(load)):
            if p != a and conn[v, p] > outside:
                outside = conn[v, p]
        whole = max(degree[v], 1)
        out[v, 0] = 1.0 if a >= 0 else 0.0
        out[v, 1] = conn[v, a] / whole if a >= 0 else 0.0
        out[v, 2] = outside / whole
        out[v, 3] = min(load[a] / max(s[L_MAX], 1), 10.0) if a >= 0 else 0.0
        out[v, 4] = 1.0 if v == active or tabu[v] > s[STEPS] else 0.0


@njit
def global_row(load, s, f, eps, sizes, out):
    """Global features, columns GLOBAL_FEATURES; the first three, `sizes` (3,) float32, never change."""
    per_total = 1.0 / max(s[TOTAL], 1) if s[RULE] == CUT_RULE else 1.0 / len(load)
    out[0], out[1], out[2] = sizes[0], sizes[1], sizes[2]
    out[3] = min(eps, 10.0)
    out[4] = f[NOW] * per_total
    out[5] = f[BEST] * per_total
    out[6] = min(load.max() / max(s[L_MAX], 1), 10.0)
    out[7] = 1.0 if s[STOPPED] else min(s[STEPS] / max(s[HORIZON], 1), 1.0)


@njit
def choose_all(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, tabu, trail, s, f, cand_node,
               cand_part, cand_x, mask, actions, live, tenure):  # fmt: skip
    """`choose` in every live row of a batch."""
    for i in range(len(actions)):
        if live[i]:
            choose(xadj[i], adjncy[i], adjwgt[i], vwgt[i], degree[i], part[i], conn[i], load[i], volume[i], inside[i],
                   tabu[i], trail[i], s[i], f[i], cand_node[i], cand_part[i], cand_x[i], mask[i], actions[i],
                   tenure)  # fmt: skip


@njit
def move_all(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, trail, s, f, actions, live):
    """`move` in every live row of a batch; actions (B, 2)."""
    for i in range(len(actions)):
        if live[i]:
            move(xadj[i], adjncy[i], adjwgt[i], vwgt[i], degree[i], part[i], conn[i], load[i], volume[i], inside[i],
                 trail[i], s[i], f[i], actions[i, 0], actions[i, 1])  # fmt: skip
            if s[i, STEPS] >= s[i, HORIZON]:
                s[i, STOPPED] = 1


@njit
def place_all(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, order, s, f, cand_node, cand_x,
              mask, actions, live):  # fmt: skip
    """`place` in every live row of a batch."""
    for i in range(len(actions)):
        if live[i]:
            place(xadj[i], adjncy[i], adjwgt[i], vwgt[i], degree[i], part[i], conn[i], load[i], volume[i], inside[i],
                  order[i], s[i], f[i], cand_node[i], cand_x[i], mask[i], actions[i])  # fmt: skip


@njit
def rows_all(degree, part, conn, load, tabu, s, f, order, focused, eps, sizes, column, nodes, globals_, with_nodes):
    """`node_rows` (written from `column` on, if wanted) and `global_row` of every row of a batch."""
    for i in range(len(s)):
        if with_nodes:
            active = order[i, s[i, CURSOR]] if focused and s[i, CURSOR] < s[i, NODES] else -1
            node_rows(degree[i], part[i], conn[i], load[i], tabu[i], s[i], active, nodes[i, :, column:])
        global_row(load[i], s[i], f[i], eps, sizes[i], globals_[i])


@njit
def random_moves(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, trail, s, f, moves):
    """The kernel's own floor for `sysgym bench`: play (count, 2) moves without any shell around them."""
    for i in range(len(moves)):
        s[TRAIL] = 0
        v, b = moves[i, 0], moves[i, 1]
        move(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, trail, s, f, v, b)


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
