"""Kernels of sweeps: nodes get a turn one after the other, round and round, to stay or to change their label.

Arrays as in `sysgym.graphs.labels.kernels`.
"""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit
from sysgym.graphs.labels.kernels import (
    COUNT,
    CURSOR,
    HORIZON,
    NODES,
    QUIET,
    STEPS,
    STOPPED,
    move,
)
from sysgym.graphs.labels.placing_kernels import first_empty, show_clusters


@njit(inline="always")
def show_row(i, g, xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, order, s, cand_node, cand_x,
             mask):  # fmt: skip
    """Describe each label to the node whose turn it is; labels in use and an empty one are legal."""
    show_clusters(i, g, order[i, s[i, CURSOR]], xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside,
                  volume, s, cand_node, cand_x)  # fmt: skip
    s[i, COUNT] = first_empty(i, 2 * s[i, NODES], load, s, mask)  # every node has a label: none has to found a part


@njit
def show(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, order, s, cand_node, cand_x, mask):
    """`show_row` of a single episode, whose arrays are not stacked."""
    one = np.expand_dims
    show_row(0, 0, one(xadj, 0), one(adjncy, 0), one(adjwgt, 0), one(vwgt, 0), one(degree, 0), one(part, 0),
              one(conn, 0), one(load, 0), one(volume, 0), one(inside, 0), one(order, 0), one(s, 0), one(cand_node, 0),
              one(cand_x, 0), one(mask, 0))  # fmt: skip


@njit
def _take(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, order, trail, s, f, label):
    v = order[s[CURSOR]]
    s[QUIET] = s[QUIET] + 1 if label == part[v] else 0
    move(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, trail, s, f, v, label)
    s[CURSOR] = (s[CURSOR] + 1) % s[NODES]
    if s[QUIET] >= s[NODES] or s[STEPS] >= s[HORIZON]:
        s[STOPPED] = 1


@njit
def turn(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, order, trail, s, f, cand_node, cand_x,
         mask, label):  # fmt: skip
    """Give the node whose turn it is a label, then the next one its turn. A round without a change ends the episode."""
    _take(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, order, trail, s, f, label)
    show(xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, order, s, cand_node, cand_x, mask)


@njit
def turn_all(held, xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, order, trail, s, f, cand_node,
             cand_x, mask, labels, live):  # fmt: skip
    """`turn` in every live row of a batch."""
    for i in range(len(labels)):
        if live[i]:
            g = held[i]
            _take(xadj[g], adjncy[g], adjwgt[g], vwgt[g], degree[g], part[i], conn[i], load[i], volume[i], inside[i],
                  order[i], trail[i], s[i], f[i], labels[i])  # fmt: skip
            show_row(i, g, xadj, adjncy, adjwgt, vwgt, degree, part, conn, load, volume, inside, order, s, cand_node,
                     cand_x, mask)  # fmt: skip
