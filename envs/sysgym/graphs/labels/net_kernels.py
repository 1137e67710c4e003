"""Incremental kernels of labels on a hypergraph: a move touches the nets of its node, and their pins where one changes.

A hypergraph is `Nets`. Letters as in `sysgym.graphs.labels.kernels`, and E nets. `counts` (E, K) int32 holds how many
pins of a net have each label, `placed` (E,) int32 how many have any. `conn` (n, K) int64 is the weight of the nets of a
node whose other labelled pins keep them from costing more once it has a label: with the cut, those whose pins all have
it; with km1, those of which one has it. So a move of v from a to b gains conn[v, b] - conn[v, a], as in a graph, which
is the hypergraph of nets of two pins.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sysgym.compiled import njit
from sysgym.graphs.hypergraph import Hypergraph


class Nets(NamedTuple):
    """A hypergraph, as the kernels take it; the arrays are those of `Hypergraph`."""

    net_ptr: Any
    pins: Any
    weights: Any
    node_ptr: Any
    nets: Any
    vwgt: Any


def nets_of(graph: Hypergraph) -> Nets:
    """The arrays of a hypergraph."""
    return Nets(graph.net_ptr, graph.pins, graph.net_weights, graph.node_ptr, graph.nets, graph.vwgt)


@njit
def count_pins(h, part, counts, placed):
    """Fill `counts` and `placed` from `part` (n,), -1 = no label."""
    counts[:] = 0
    placed[:] = 0
    for e in range(len(h.weights)):
        for i in range(h.net_ptr[e], h.net_ptr[e + 1]):
            p = part[h.pins[i]]
            if p >= 0:
                counts[e, p] += 1
                placed[e] += 1


@njit
def connect(h, part, counts, placed, km1, conn):
    """Fill `conn`."""
    conn[:] = 0
    for v in range(len(h.vwgt)):
        own = part[v]
        for i in range(h.node_ptr[v], h.node_ptr[v + 1]):
            e = h.nets[i]
            others = placed[e] - (own >= 0)
            if others:
                for p in range(counts.shape[1]):
                    there = counts[e, p] - (own == p)
                    if there == others or (km1 and there > 0):
                        conn[v, p] += h.weights[e]


@njit
def cost_of(h, counts, km1):
    """What the labels that there are cost."""
    cost = 0
    for e in range(len(h.weights)):
        reached = 0
        for p in range(counts.shape[1]):
            reached += counts[e, p] > 0
        if reached > 1:
            cost += h.weights[e] * (reached - 1 if km1 else 1)
    return cost


@njit
def shift(h, part, counts, conn, near, km1, v, b, touched, mark, serial):
    """Give node `v` of complete labels the label `b`. Nodes whose `conn` changed go to `touched`, once each: `mark`
    (n,) int64 is `serial` for them; an empty `mark` asks for none. Returns how many. `near` (n, K) int32 counts the
    nets of each node that have a label; it may be empty.
    """
    a, count = part[v], 0
    part[v] = b
    for i in range(h.node_ptr[v], h.node_ptr[v + 1]):
        e = h.nets[i]
        low, high = h.net_ptr[e], h.net_ptr[e + 1]
        size, weight = high - low, h.weights[e]
        before, after = counts[e, a], counts[e, b] + 1
        counts[e, a], counts[e, b] = before - 1, after
        if len(near):
            for j in range(low, high if before == 1 else low):
                near[h.pins[j], a] -= 1
            for j in range(low, high if after == 1 else low):
                near[h.pins[j], b] += 1
        if size == 1:
            continue
        if km1:
            less_all, less_one = before == 1, before == 2
            more_all, more_one = after == 1, after == 2
        else:
            less_all, less_one = before == size, before == size - 1
            more_all, more_one = after == size, after == size - 1
        if not (less_all or less_one or more_all or more_one):
            continue
        for j in range(low, high):
            u = h.pins[j]
            if u == v:
                continue
            less = less_all or (less_one and (part[u] == a) == km1)
            more = more_all or (more_one and (part[u] == b) == km1)
            if less:
                conn[u, a] -= weight
            if more:
                conn[u, b] += weight
            if (less or more) and len(mark) and mark[u] != serial:
                mark[u] = serial
                touched[count] = u
                count += 1
    return count
