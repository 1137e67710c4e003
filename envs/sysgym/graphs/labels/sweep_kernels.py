"""Kernels of sweeps: nodes get a turn one after the other, round and round, to stay or to change their label.

Arrays as in `sysgym.graphs.labels.kernels`.
"""

from __future__ import annotations

from sysgym.compiled import njit
from sysgym.graphs.labels.kernels import (
    COUNT,
    CURSOR,
    HORIZON,
    NODES,
    QUIET,
    STEPS,
    STOPPED,
    first_empty,
    move,
    show_clusters,
)


@njit
def show(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, order, s, cand_node, cand_x, mask):
    """Describe each label to the node whose turn it is; labels in use and an empty one are legal."""
    v = order[s[CURSOR]]
    show_clusters(v, xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, volume - inside, s,
                  cand_node, cand_x)  # fmt: skip
    cursor = s[CURSOR]
    s[CURSOR] = -s[NODES]  # every node has a label already: none has to found a part
    s[COUNT] = first_empty(load, s, mask)
    s[CURSOR] = cursor


@njit
def turn(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, order, trail, s, f, cand_node, cand_x,
         mask, label):  # fmt: skip
    """Give the node whose turn it is a label, then the next one its turn. A round without a change ends the episode."""
    v = order[s[CURSOR]]
    s[QUIET] = s[QUIET] + 1 if label == part[v] else 0
    move(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, trail, s, f, v, label)
    s[CURSOR] = (s[CURSOR] + 1) % s[NODES]
    if s[QUIET] >= s[NODES] or s[STEPS] >= s[HORIZON]:
        s[STOPPED] = 1
    show(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, order, s, cand_node, cand_x, mask)


@njit
def turn_all(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, order, trail, s, f, cand_node,
             cand_x, mask, labels, live):  # fmt: skip
    """`turn` in every live row of a batch."""
    for i in range(len(labels)):
        if live[i]:
            turn(xadj[i], adjncy[i], adjwgt[i], vwgt[i], degree[i], part[i], conn[i], load[i], volume[i], inside[i],
                 order[i], trail[i], s[i], f[i], cand_node[i], cand_x[i], mask[i], labels[i])  # fmt: skip
