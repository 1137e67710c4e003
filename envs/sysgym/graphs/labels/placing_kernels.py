"""Kernels that label nodes one after the other, and describe the labels to the node whose turn it is.

Arrays as in `sysgym.graphs.labels.kernels`, those of many episodes stacked: `i` is the row of an episode, `g` that of
its graph. Taking a row of each array first, and calling functions with them, costs more than what they do: so helpers
are inlined, and index.
"""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit
from sysgym.graphs.labels.kernels import (
    ACTIVE,
    ASSIGNED,
    BEST,
    COUNT,
    CURSOR,
    CUT,
    CUT_RULE,
    EXTERNAL,
    INTERNAL,
    L_MAX,
    NODES,
    NOW,
    PARTS,
    RULE,
    STEPS,
    STOPPED,
    WEIGHT,
)


@njit(inline="always")
def _term(load, volume, inside):
    """As `kernels.part_ncut`."""
    return 1.0 if load == 0 else (volume - inside) / load


@njit(inline="always")
def show_clusters(i, g, v, xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, settled, s, cand_node,
                  cand_x):  # fmt: skip
    """Describe each part to node `v` for the normalised cut; columns CLUSTER_FEATURES. Volumes are over those of an
    even share, `gain` is what joining the part saves, `settled` counts the cut to other parts alone, and `pull` is the
    share of the part among the neighbours of `v`'s neighbours that have none, or of all where `v` has one.
    """
    parts, current = s[i, PARTS], part[i, v]
    weight, reach = vwgt[g, v], degree[g, v]
    per, per_share = 1.0 / max(weight, 1), parts / max(s[i, WEIGHT], 1)
    known, used, leaving = 0, 0, 0.0
    for p in range(parts):
        known += conn[i, v, p]
        used += load[i, p] > 0
    if current >= 0:
        p = current
        leaving = _term(load[i, p], volume[i, p], inside[i, p])
        leaving -= _term(load[i, p] - weight, volume[i, p] - reach, inside[i, p] - 2 * conn[i, v, p])
    unassigned, share_used = (reach - known) * per, used / parts
    for p in range(parts):
        held, own = load[i, p], conn[i, v, p]
        term = _term(held, volume[i, p], inside[i, p])
        joined = _term(held + weight, volume[i, p] + reach, inside[i, p] + 2 * own)
        cut = settled[i, p] if current < 0 else volume[i, p] - inside[i, p]
        cand_node[i, p] = v
        cand_x[i, p, 0] = own * per
        cand_x[i, p, 1] = 0.0 if p == current else leaving + term - joined
        cand_x[i, p, 2] = held * per_share
        cand_x[i, p, 3] = 1.0 - term
        cand_x[i, p, 4] = held == 0
        cand_x[i, p, 5] = unassigned
        cand_x[i, p, 6] = share_used
        cand_x[i, p, 7] = p == current
        cand_x[i, p, 8] = cut / max(held, 1)
        cand_x[i, p, 9] = 0.0
    for e in range(xadj[g, v], xadj[g, v + 1]):
        u = adjncy[g, e]
        if part[i, u] < 0 or current >= 0:
            share = adjwgt[g, e] * per / vwgt[g, u]
            for p in range(parts):
                cand_x[i, p, 9] += conn[i, u, p] * share


@njit(inline="always")
def first_empty(i, left, load, s, mask):
    """Mask the parts in use and the first empty one, so that no two answers differ by the names of parts alone; only
    the empty one where each of the `left` nodes must found a part. Returns how many.
    """
    parts, used, first = s[i, PARTS], 0, -1
    for p in range(parts):
        mask[i, p] = load[i, p] != 0
        used += mask[i, p]
        if first < 0 and load[i, p] == 0:
            first = p
    if used == 0:
        mask[i, :parts] = 1  # the first node founds any
        return parts
    if first < 0:
        return used
    if left <= parts - used:
        mask[i, :] = 0
        used = 0
    mask[i, first] = 1
    return used + 1


@njit(inline="always")
def show_row(i, g, xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, settled, order, s, cand_node,
             cand_x, mask):  # fmt: skip
    """Describe each part to the node that is next, and mask those it fits in (the lightest where it fits in none)."""
    parts, cursor = s[i, PARTS], s[i, CURSOR]
    if cursor >= s[i, NODES]:
        cand_x[i] = 0.0
        cand_node[i] = -1
        mask[i] = 0
        mask[i, 0] = 1
        s[i, COUNT] = 0
    elif s[i, RULE] != CUT_RULE:
        show_clusters(i, g, order[i, cursor], xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside,
                      settled, s, cand_node, cand_x)  # fmt: skip
        s[i, COUNT] = first_empty(i, s[i, NODES] - cursor, load, s, mask)
    else:
        v, placed, count, lightest = order[i, cursor], 0, 0, 0
        most, limit = s[i, L_MAX], max(s[i, L_MAX], 1)
        for p in range(parts):
            placed += load[i, p]
            if load[i, p] < load[i, lightest]:
                lightest = p
        placed = max(placed, 1)
        for p in range(parts):
            cand_node[i, p] = v
            mask[i, p] = load[i, p] + vwgt[g, v] <= most
            count += mask[i, p]
            cand_x[i, p, 0] = conn[i, v, p] / max(degree[g, v], 1)
            cand_x[i, p, 1] = load[i, p] / limit
            cand_x[i, p, 2] = (most - load[i, p] - vwgt[g, v]) / limit
            cand_x[i, p, 3] = load[i, p] * parts / placed - 1.0
        if count == 0:
            mask[i, lightest] = 1
        s[i, COUNT] = max(count, 1)


@njit(inline="always")
def _place(i, g, xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, settled, shown, order, s, f,
           cand_node, cand_x, mask, p):  # fmt: skip
    v, parts = order[i, s[i, CURSOR]], s[i, PARTS]
    own, leaving, outside, kept = conn[i, v, p], -conn[i, v, p], 0, shown.shape[1] > 0
    for q in range(parts):
        near = conn[i, v, q]
        leaving += near
        settled[i, q] += near
        outside = max(outside, near if q != p else 0)
    settled[i, p] += leaving - own
    s[i, CUT] += leaving
    volume[i, p] += degree[g, v]
    inside[i, p] += 2 * own
    load[i, p] += vwgt[g, v]
    cost = float(s[i, CUT])
    if s[i, RULE] != CUT_RULE:
        cost = 0.0
        for q in range(parts):
            cost += _term(load[i, q], volume[i, q], inside[i, q])
    f[i, NOW] = cost
    f[i, BEST] = cost
    part[i, v] = p
    for e in range(xadj[g, v], xadj[g, v + 1]):
        u = adjncy[g, e]
        conn[i, u, p] += adjwgt[g, e]
        if kept:
            x = np.float32(conn[i, u, p] / max(degree[g, u], 1))
            if part[i, u] == p:
                shown[i, u, INTERNAL] = x
            else:
                shown[i, u, EXTERNAL] = max(shown[i, u, EXTERNAL], x)
    s[i, CURSOR] += 1
    s[i, STEPS] += 1
    if s[i, CURSOR] >= s[i, NODES]:
        s[i, STOPPED] = 1
    if kept:
        whole = max(degree[g, v], 1)
        shown[i, v, ASSIGNED] = 1.0
        shown[i, v, INTERNAL] = own / whole
        shown[i, v, EXTERNAL] = outside / whole
        shown[i, v, ACTIVE] = 0.0
        if not s[i, STOPPED]:
            shown[i, order[i, s[i, CURSOR]], ACTIVE] = 1.0
    show_row(i, g, xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, settled, order, s, cand_node,
             cand_x, mask)  # fmt: skip


@njit
def place_all(held, xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, settled, shown, order, s, f,
              cand_node, cand_x, mask, actions, live):  # fmt: skip
    """Put the next node of every live row into its part, then describe the parts to the one after it; actions (B,)."""
    for i in range(len(actions)):
        if live[i]:
            _place(i, held[i], xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, settled, shown,
                   order, s, f, cand_node, cand_x, mask, actions[i])  # fmt: skip


@njit
def place(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, settled, shown, order, s, f, cand_node,
          cand_x, mask, p):  # fmt: skip
    """`place_all` of a single episode, whose arrays are not stacked."""
    one = np.expand_dims
    _place(0, 0, one(xadj, 0), one(adjncy, 0), one(adjwgt, 0), one(vwgt, 0), one(degree, 0), one(part, 0),
           one(conn, 0), one(load, 0), one(volume, 0), one(inside, 0), one(settled, 0), one(shown, 0), one(order, 0),
           one(s, 0), one(f, 0), one(cand_node, 0), one(cand_x, 0), one(mask, 0), p)  # fmt: skip


@njit
def show(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, settled, order, s, cand_node, cand_x,
         mask):  # fmt: skip
    """`show_row` of a single episode, whose arrays are not stacked."""
    one = np.expand_dims
    show_row(0, 0, one(xadj, 0), one(adjncy, 0), one(adjwgt, 0), one(vwgt, 0), one(degree, 0), one(part, 0),
             one(conn, 0), one(load, 0), one(volume, 0), one(inside, 0), one(settled, 0), one(order, 0), one(s, 0),
             one(cand_node, 0), one(cand_x, 0), one(mask, 0))  # fmt: skip
