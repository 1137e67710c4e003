"""The undirected weighted graph that partitioning, clustering and others share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array

MAX_WEIGHT = 2**53  # totals stay exact in float64 as well


class Weighted:
    """What graphs and hypergraphs share: nodes with weights, some of which may be fixed in a part."""

    vwgt: Array
    fixed: Array | None

    @property
    def nodes(self) -> int:
        """Number of nodes n."""
        return len(self.vwgt)

    @cached_property
    def heaviest(self) -> int:
        """Largest node weight."""
        return int(self.vwgt.max()) if self.nodes else 0

    @cached_property
    def total_node_weight(self) -> int:
        """Sum of the node weights W."""
        return int(self.vwgt.sum())

    @cached_property
    def given(self) -> Array:
        """The labels that nodes must have, (n,) int32, -1 where they are free; not to be written to."""
        return np.full(self.nodes, -1, np.int32) if self.fixed is None else self.fixed

    @cached_property
    def limits(self) -> dict[tuple[float, ...], Any]:
        """What a part may weigh by the options that say so, kept by `sysgym.partitioning.judge.balance_limit`."""
        return {}


@dataclass(frozen=True, eq=False, repr=False)
class Graph(Weighted):
    """An undirected graph in compressed sparse rows; each edge stands in both of its rows.

    Build one with `from_edges`, `from_networkx` or a reader: they check what kernels rely on.
    """

    name: str
    xadj: Array  # (n+1,) int64, row v is xadj[v]:xadj[v+1]
    adjncy: Array  # (2m,) int32, neighbours, ascending within a row
    adjwgt: Array  # (2m,) int64 > 0, edge weights
    vwgt: Array  # (n,) int64 >= 0, node weights
    ids: Array | None = field(default=None, metadata={"hashed": False})
    # (n,) int64, what the source calls each node, ascending; None where it counts from 0
    fixed: Array | None = field(default=None, metadata={"hashed": "changed"})
    # (n,) int32, the label that a node must have, -1 where it is free; None where all are
    start: Array | None = field(default=None, metadata={"hashed": False})  # (n,) int32, labels to begin with, if known
    attributes: Array | None = field(default=None, metadata={"hashed": "changed"})
    # (n, A) float32, what nodes are beside their place in the graph, such as the operation of each; None if not known

    def __repr__(self) -> str:
        """One line."""
        return f"<Graph {self.name}: {self.nodes} nodes, {self.edges} edges>"

    @property
    def edges(self) -> int:
        """Number of undirected edges m."""
        return len(self.adjncy) // 2

    @cached_property
    def sources(self) -> Array:
        """Row of every entry of `adjncy`, (2m,) int32."""
        return np.repeat(np.arange(self.nodes, dtype=np.int32), np.diff(self.xadj))

    @cached_property
    def degree(self) -> Array:
        """Weighted degree, (n,) int64."""
        sums = np.concatenate([[0], np.cumsum(self.adjwgt)])
        return np.asarray(sums[self.xadj[1:]] - sums[self.xadj[:-1]], np.int64)

    @cached_property
    def by_degree(self) -> Array:
        """The nodes from the largest weighted degree on, (n,) int32; equal ones as they are numbered."""
        return np.argsort(-self.degree, kind="stable").astype(np.int32)

    @cached_property
    def total_edge_weight(self) -> int:
        """Sum of the weights of the undirected edges."""
        return int(self.adjwgt.sum()) // 2


def from_edges(name: str, nodes: int, u: Any, v: Any, weights: Any = None, vwgt: Any = None, ids: Any = None) -> Graph:
    """A graph from undirected edges, each given once. UsageError on no nodes, self loops, repeats, ids or weights out
    of range. `ids` are what the source calls the nodes.

    >>> from_edges("path", 3, [0, 1], [1, 2]).xadj.tolist()
    [0, 1, 3, 4]
    """
    if nodes < 1:
        raise UsageError(f"{name}: a graph needs at least one node, got {nodes}.")
    u, v = np.asarray(u, np.int64), np.asarray(v, np.int64)
    w = np.ones(len(u), np.int64) if weights is None else np.asarray(weights, np.int64)
    node_weights = np.ones(nodes, np.int64) if vwgt is None else np.asarray(vwgt, np.int64)
    if not len(u) == len(v) == len(w) or len(node_weights) != nodes:
        raise UsageError(
            f"{name}: {len(u)} and {len(v)} ends of edges, {len(w)} edge weights, {nodes} nodes and "
            f"{len(node_weights)} node weights do not fit each other; give one of each an edge, and a weight a node."
        )
    if len(u) and (min(u.min(), v.min()) < 0 or max(u.max(), v.max()) >= nodes):
        raise UsageError(f"{name}: an edge names a node outside 0..{nodes - 1}.")
    if (u == v).any():
        raise UsageError(f"{name}: node {int(u[u == v][0])} has an edge to itself; remove self loops.")
    if (w <= 0).any() or (node_weights < 0).any():
        raise UsageError(f"{name}: edge weights must be positive and node weights not negative.")
    if 2 * w.sum(dtype=np.float64) >= MAX_WEIGHT or node_weights.sum(dtype=np.float64) >= MAX_WEIGHT:
        raise UsageError(f"{name}: the weights sum to more than 2^53; scale them down.")
    source, target = np.concatenate([u, v]), np.concatenate([v, u])
    order = np.lexsort((target, source))
    source, target = source[order], target[order]
    repeated = (source[1:] == source[:-1]) & (target[1:] == target[:-1])
    if repeated.any():
        i = int(np.flatnonzero(repeated)[0])
        raise UsageError(f"{name}: the edge {int(source[i])}-{int(target[i])} occurs more than once.")
    xadj = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=nodes))]).astype(np.int64)
    names = None if ids is None or np.array_equal(ids, np.arange(nodes)) else np.asarray(ids, np.int64)
    return Graph(name, xadj, target.astype(np.int32), np.concatenate([w, w])[order], node_weights, names)


def to_networkx(graph: Graph) -> Any:
    """The same graph for networkx, weights as the attribute `weight` of nodes and edges; `attributes` are left out."""
    import networkx as nx

    made: Any = nx.Graph(name=graph.name)
    made.add_nodes_from((v, {"weight": int(w)}) for v, w in enumerate(graph.vwgt))
    once = graph.sources < graph.adjncy
    rows = zip(graph.sources[once].tolist(), graph.adjncy[once].tolist(), graph.adjwgt[once].tolist(), strict=True)
    made.add_weighted_edges_from(rows)
    return made
