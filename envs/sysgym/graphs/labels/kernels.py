"""Incremental kernels of labels on a graph: every move costs O(degree), whatever is paid for.

All work on plain arrays. Letters: n nodes, K parts, C candidates. A graph is `xadj` (n+1,) int64, `adjncy` (2m,)
int32, `adjwgt` (2m,) int64, `vwgt` (n,) int64, `degree` (n,) int64 (weighted). A state is `part` (n,) int32 with -1 =
unassigned, `conn` (n, K) int64 (edge weight from a node into each part), `load` (K,) int64 and the scalars `s`,
whose entries are named below. Rows of a batch may be longer than the graph: `s[NODES]` counts.

`s[RULE]` says what a labelling costs, CUT_RULE: the weight of edges between parts; NCUT_RULE: the normalised cut, the
sum over parts of cut over load, in which a part of no load counts 1 (`vwgt` are degrees then, those of self loops
included). The cost as it stands, the best and the first are `f[NOW]`, `f[BEST]` and `f[START]`, float64. The normalised
cut also keeps `volume` and `inside` (K,) int64, the sum of the degrees in each part, and of the edge weights in it,
both ends counted: its cut is their difference. Only the first `s[PARTS]` labels are in use.
"""

from __future__ import annotations

from sysgym.compiled import njit

(
    CUT,
    RULE,
    BEST_FEASIBLE,
    STEPS,
    TRAIL,
    HORIZON,
    L_MAX,
    TOTAL,
    NODES,
    CURSOR,
    COUNT,
    STOPPED,
    HEAVIEST,
    PARTS,
    WEIGHT,
    QUIET,
) = range(16)
SCALARS = 16
NO_LIMIT = 2**62  # of `s[L_MAX]`
NOW, BEST, START = range(3)
CUT_RULE, NCUT_RULE = range(2)

ASSIGNED, INTERNAL, EXTERNAL, PART_LOAD, ACTIVE = range(5)  # columns of NODE_FEATURES
NODE_FEATURES = ("assigned", "internal", "external", "part_load", "active")
GLOBAL_FEATURES = ("nodes", "edges", "parts", "eps", "cut", "best", "max_load", "progress")
PART_FEATURES = ("share", "load", "room", "relative_load")
CLUSTER_FEATURES = ("share", "gain", "volume", "inside", "empty", "unassigned", "used", "current", "settled", "pull")


@njit
def part_ncut(load, volume, inside):
    """One part's share of the normalised cut; a part of no load counts 1."""
    return 1.0 if load == 0 else (volume - inside) / load


@njit
def total_cost(load, volume, inside, s):
    """What the labels cost as they stand; nodes without one are left out."""
    if s[RULE] == CUT_RULE:
        return float(s[CUT])
    cost = 0.0
    for p in range(s[PARTS]):
        cost += part_ncut(load[p], volume[p], inside[p])
    return cost


@njit
def gain_of(v, a, b, conn, vwgt, degree, load, volume, inside, s):
    """How much less the labels cost once node `v` is moved from part `a` to part `b`."""
    if s[RULE] == CUT_RULE:
        return float(conn[v, b] - conn[v, a])
    before = part_ncut(load[a], volume[a], inside[a]) + part_ncut(load[b], volume[b], inside[b])
    after = part_ncut(load[b] + vwgt[v], volume[b] + degree[v], inside[b] + 2 * conn[v, b])
    return before - after - part_ncut(load[a] - vwgt[v], volume[a] - degree[v], inside[a] - 2 * conn[v, a])


@njit
def build(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, s, f):
    """Fill `conn`, `load`, `volume`, `inside`, the cost (of assigned nodes) and whether it is feasible from `part`."""
    conn[:] = 0
    load[:] = 0
    volume[:] = 0
    inside[:] = 0
    twice, assigned = 0, 0
    for v in range(s[NODES]):
        a = part[v]
        if a >= 0:
            load[a] += vwgt[v]
            volume[a] += degree[v]
            assigned += 1
    for v in range(s[NODES] if assigned else 0):
        a = part[v]
        for e in range(xadj[v], xadj[v + 1]):
            b = part[adjncy[e]]
            if b >= 0:
                conn[v, b] += adjwgt[e]
                if a >= 0 and a != b:
                    twice += adjwgt[e]
                elif a >= 0:
                    inside[a] += adjwgt[e]
    s[CUT] = twice // 2
    s[BEST_FEASIBLE] = load.max() <= s[L_MAX]
    f[NOW] = f[BEST] = f[START] = total_cost(load, volume, inside, s)


@njit
def label_sums(xadj, adjncy, adjwgt, vwgt, part, cut, load):
    """Add the weight of the edges that leave each label to `cut` and that of its nodes to `load`, both (K,) int64."""
    for v in range(len(part)):
        a = part[v]
        load[a] += vwgt[v]
        for e in range(xadj[v], xadj[v + 1]):
            if part[adjncy[e]] != a:
                cut[a] += adjwgt[e]


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
        load[a] -= vwgt[v]
        load[b] += vwgt[v]
        f[NOW] = total_cost(load, volume, inside, s)
        for e in range(xadj[v], xadj[v + 1]):
            u = adjncy[e]
            conn[u, a] -= adjwgt[e]
            conn[u, b] += adjwgt[e]
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
def show_loads(part, load, s, out):
    """Column PART_LOAD of the node features: the load of a node's part over its limit, 0 where there is none."""
    if s[L_MAX] < NO_LIMIT:
        limit = max(s[L_MAX], 1)
        for v in range(s[NODES]):
            out[v, PART_LOAD] = min(load[part[v]] / limit, 10.0) if part[v] >= 0 else 0.0


@njit
def node_rows(degree, part, conn, load, tabu, s, active, out):
    """Changing node features, columns NODE_FEATURES; `active` is the focused node or -1."""
    for v in range(s[NODES]):
        a = part[v]
        outside = 0
        for p in range(s[PARTS]):
            if p != a and conn[v, p] > outside:
                outside = conn[v, p]
        whole = max(degree[v], 1)
        out[v, ASSIGNED] = 1.0 if a >= 0 else 0.0
        out[v, INTERNAL] = conn[v, a] / whole if a >= 0 else 0.0
        out[v, EXTERNAL] = outside / whole
        out[v, PART_LOAD] = 0.0
        out[v, ACTIVE] = 1.0 if v == active or tabu[v] > s[STEPS] else 0.0
    show_loads(part, load, s, out)


@njit
def global_row(load, s, f, eps, sizes, out):
    """Global features, columns GLOBAL_FEATURES; the first three, `sizes` (3,) float32, never change."""
    per_total = 1.0 / max(s[TOTAL], 1) if s[RULE] == CUT_RULE else 1.0 / s[PARTS]
    out[0], out[1], out[2] = sizes[0], sizes[1], sizes[2]
    out[3] = min(eps, 10.0)
    out[4] = f[NOW] * per_total
    out[5] = f[BEST] * per_total
    out[6] = min(load.max() / max(s[L_MAX], 1), 10.0) if s[L_MAX] < NO_LIMIT else 0.0
    out[7] = 1.0 if s[STOPPED] else min(s[STEPS] / max(s[HORIZON], 1), 1.0)


@njit
def move_all(held, xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, trail, s, f, actions, live):
    """`move` in every live row of a batch; actions (B, 2); `held` (B,) are the rows of their graphs."""
    for i in range(len(actions)):
        if live[i]:
            g = held[i]
            move(xadj[g], adjncy[g], adjwgt[g], vwgt[g], degree[g], part[i], conn[i], load[i], volume[i], inside[i],
                 trail[i], s[i], f[i], actions[i, 0], actions[i, 1])  # fmt: skip
            if s[i, STEPS] >= s[i, HORIZON]:
                s[i, STOPPED] = 1


@njit
def rows_all(
    held, degree, part, conn, load, tabu, s, f, order, focused, eps, sizes, column, nodes, globals_, with_nodes
):
    """`node_rows` (written from `column` on, if wanted) and `global_row` of every row of a batch."""
    for i in range(len(s)):
        if with_nodes:
            active = order[i, s[i, CURSOR]] if focused and s[i, CURSOR] < s[i, NODES] else -1
            node_rows(degree[held[i]], part[i], conn[i], load[i], tabu[i], s[i], active, nodes[i, :, column:])
        global_row(load[i], s[i], f[i], eps, sizes[i], globals_[i])


@njit
def loads_all(part, load, s, column, nodes):
    """`show_loads` of every row of a batch, to `nodes` from `column` on."""
    for i in range(len(s)):
        show_loads(part[i], load[i], s[i], nodes[i, :, column:])


@njit
def legal_all(mask, actions, legal):
    """Which actions (B,) the masks (B, A) allow, to `legal` (B,)."""
    for i in range(len(actions)):
        legal[i] = 0 <= actions[i] < mask.shape[1] and mask[i, actions[i]] != 0


@njit
def random_moves(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, trail, s, f, moves):
    """The kernel's own floor for `sysgym bench`: play (count, 2) moves without any shell around them."""
    for i in range(len(moves)):
        s[TRAIL] = 0
        v, b = moves[i, 0], moves[i, 1]
        move(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, trail, s, f, v, b)
