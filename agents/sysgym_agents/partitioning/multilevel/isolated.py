"""Nodes without edges: searches leave them out, and they fill up the parts that others leave light."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph


class Kept(NamedTuple):
    """What is left of a graph to search on."""

    graph: Graph
    nodes: Array  # (m,) of the whole graph, ascending


def without_isolated(graph: Graph, k: int, limit: int) -> Kept:
    """The graph without nodes that have no edge, are not fixed, and fit into a part of `k` however the others lie.

    The lightest part weighs at most (W - w) // k where such a node of weight w is not counted.
    """
    fits = (graph.total_node_weight - graph.vwgt) // k + graph.vwgt <= limit
    out = (np.diff(graph.xadj) == 0) & (graph.given < 0) & fits
    if not out.any() or out.all():
        return Kept(graph, np.arange(graph.nodes))
    nodes = np.flatnonzero(~out)
    number = np.cumsum(~out) - 1
    fixed, start = (None if each is None else each[nodes] for each in (graph.fixed, graph.start))
    xadj = np.concatenate([[0], np.cumsum(np.diff(graph.xadj)[nodes])])
    found = Graph(graph.name, xadj, number[graph.adjncy].astype(np.int32), graph.adjwgt, graph.vwgt[nodes])
    return Kept(replace(found, fixed=fixed, start=start), nodes)


def filled(graph: Graph, kept: Kept, part: Array, k: int) -> Array:
    """The partition (m,) of what was kept for the whole graph, (n,) int32: others go where least is, heavy first."""
    if len(kept.nodes) == graph.nodes:
        return part
    found = np.full(graph.nodes, -1, np.int32)
    found[kept.nodes] = part
    load = np.bincount(part, kept.graph.vwgt, k)
    rest = np.flatnonzero(found < 0)
    for node in rest[np.argsort(-graph.vwgt[rest], kind="stable")]:
        found[node] = int(load.argmin())
        load[found[node]] += graph.vwgt[node]
    return found
