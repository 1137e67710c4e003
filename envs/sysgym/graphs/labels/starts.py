"""First labels of nodes, and the order in which nodes get them."""

from __future__ import annotations

import numpy as np

from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph
from sysgym.graphs.hypergraph import Hypergraph
from sysgym.graphs.labels import growing_kernels


def first_labels(graph: Graph | Hypergraph, parts: int) -> tuple[Array, Array]:
    """The labels of fixed nodes, (n,) int32, -1 for the others, and how much each part weighs by them, (k,) int64."""
    load = np.zeros(parts, np.int64)
    fixed = graph.given >= 0
    np.add.at(load, graph.given[fixed], graph.vwgt[fixed])
    return graph.given.copy(), load


def grown_labels(graph: Graph | Hypergraph, parts: int, limit: int, start: str, rng: np.random.Generator) -> Array:
    """Labels (n,) int32: "random", grown breadth first ("grow") or by gain ("greedy"); packed where that is too heavy.

    A part weighs at most `limit` where that can be.
    """
    order = rng.permutation(graph.nodes)
    part, load = first_labels(graph, parts)
    if start == "random":
        growing_kernels.spread(graph.vwgt, order, part, load)
    else:
        around, order, part = _with_nets(graph, order, part)
        if start == "grow":
            growing_kernels.grow(around.xadj, around.adjncy, around.vwgt, order, part, load, limit)
        else:
            arrays = (around.xadj, around.adjncy, around.adjwgt, around.vwgt)
            growing_kernels.grow_greedy(*arrays, order, part, load, limit)
        part = part[: graph.nodes].copy()
    if load.max() > limit:  # weights too uneven to grow: longest first
        part, load = first_labels(graph, parts)
        growing_kernels.spread(graph.vwgt, np.argsort(-graph.vwgt, kind="stable"), part, load)
    return part


def node_order(graph: Graph | Hypergraph, order: str, rng: np.random.Generator) -> Array:
    """The order in which `assign` visits nodes, (n,) int32: bfs, degree (heaviest first), natural or random."""
    if order == "natural":
        return np.arange(graph.nodes, dtype=np.int32)
    if order == "random":
        return rng.permutation(graph.nodes).astype(np.int32)
    if order == "degree":
        return graph.by_degree
    around, roots, visited = _with_nets(graph, rng.permutation(graph.nodes), np.empty(graph.nodes, np.int32))
    growing_kernels.breadth_first(around.xadj, around.adjncy, roots, visited)
    return visited[visited < graph.nodes]


def _with_nets(graph: Graph | Hypergraph, order: Array, part: Array) -> tuple[Graph, Array, Array]:
    """A graph as it is; the bipartite graph of a hypergraph, its nets last in the order and without a label."""
    if isinstance(graph, Graph):
        return graph, order, part
    nets = np.arange(graph.nodes, graph.nodes + graph.edges)
    return graph.bipartite, np.concatenate([order, nets]), np.concatenate([part, np.full(graph.edges, -1, np.int32)])
