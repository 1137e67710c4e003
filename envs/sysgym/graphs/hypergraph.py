"""The hypergraph of netlists: nets that join any number of nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NoReturn

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.graphs.csr import MAX_WEIGHT, Graph, Weighted


@dataclass(frozen=True, eq=False, repr=False)
class Hypergraph(Weighted):
    """Nodes and the nets that join them, in compressed rows. Build one with `from_nets` or a reader: they check what
    kernels rely on.
    """

    name: str
    net_ptr: Array  # (E+1,) int64, net e is net_ptr[e]:net_ptr[e+1]
    pins: Array  # (P,) int32, nodes, ascending within a net, each once
    net_weights: Array  # (E,) int64 > 0
    vwgt: Array  # (n,) int64 >= 0, node weights
    fixed: Array | None = field(default=None, metadata={"hashed": "changed"})  # as of `Graph`
    start: Array | None = field(default=None, metadata={"hashed": False})  # as of `Graph`

    ids: ClassVar[Array | None] = None  # its files count from 1 and skip none

    def __repr__(self) -> str:
        """One line."""
        return f"<Hypergraph {self.name}: {self.nodes} nodes, {self.edges} nets, {len(self.pins)} pins>"

    @property
    def edges(self) -> int:
        """Number of nets E."""
        return len(self.net_weights)

    def _no_graph(self) -> NoReturn:
        """What only graphs have: whoever asks for it was not written for hypergraphs."""
        raise UsageError(
            f"{self.name} is a hypergraph, and this agent takes graphs alone, whose edges join two nodes; choose the "
            "recommended agent of the problem, or one that plays its environment."
        )

    xadj = adjncy = adjwgt = sources = property(_no_graph)

    @cached_property
    def sizes(self) -> Array:
        """Pins of each net, (E,) int64."""
        return np.diff(self.net_ptr)

    @cached_property
    def net_of(self) -> Array:
        """Net of every entry of `pins`, (P,) int32."""
        return np.repeat(np.arange(self.edges, dtype=np.int32), self.sizes)

    @cached_property
    def node_ptr(self) -> Array:
        """The nets of node v are `nets[node_ptr[v]:node_ptr[v+1]]`, (n+1,) int64."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.pins, minlength=self.nodes))]).astype(np.int64)

    @cached_property
    def nets(self) -> Array:
        """The transpose of `pins`: nets of each node, ascending, (P,) int32."""
        return np.asarray(self.net_of[np.argsort(self.pins, kind="stable")], np.int32)

    @cached_property
    def degree(self) -> Array:
        """Weight of the nets of each node that can be cut, those of two pins or more, (n,) int64."""
        weights = (self.net_weights * (self.sizes > 1))[self.net_of]
        return np.bincount(self.pins, weights, self.nodes).astype(np.int64)

    @cached_property
    def by_degree(self) -> Array:
        """The nodes from the largest weighted degree on, (n,) int32; equal ones as they are numbered."""
        return np.argsort(-self.degree, kind="stable").astype(np.int32)

    @cached_property
    def total_edge_weight(self) -> int:
        """Sum of the weights of the nets."""
        return int(self.net_weights.sum())

    @cached_property
    def bipartite(self) -> Graph:
        """The graph of n + E nodes in which net e, node n + e, is joined to each of its pins by an edge of its weight;
        nets weigh 0.
        """
        n = self.nodes
        xadj = np.concatenate([self.node_ptr, self.node_ptr[-1] + self.net_ptr[1:]])
        weights = np.concatenate([self.net_weights[self.nets], self.net_weights[self.net_of]])
        adjncy = np.concatenate([self.nets + n, self.pins]).astype(np.int32)
        return Graph(self.name, xadj, adjncy, weights, np.concatenate([self.vwgt, np.zeros(self.edges, np.int64)]))


def from_nets(name: str, nodes: int, net_ptr: Any, pins: Any, weights: Any = None, vwgt: Any = None) -> Hypergraph:
    """A hypergraph from the pins of its nets, net e at `net_ptr[e]:net_ptr[e+1]`; a pin that is named again in a net
    counts once. UsageError on no nodes, empty nets, pins or weights out of range.

    >>> from_nets("triangle and pair", 4, [0, 3, 5], [0, 2, 1, 3, 0]).pins.tolist()
    [0, 1, 2, 0, 3]
    """
    if nodes < 1:
        raise UsageError(f"{name}: a hypergraph needs at least one node, got {nodes}.")
    net_ptr, pins = np.asarray(net_ptr, np.int64), np.asarray(pins, np.int64)
    if not (len(net_ptr) and net_ptr[0] == 0 and net_ptr[-1] == len(pins) and (np.diff(net_ptr) > 0).all()):
        raise UsageError(f"{name}: net_ptr must go up from 0 to the {len(pins)} pins, with one pin a net at least.")
    nets = len(net_ptr) - 1
    w = np.ones(nets, np.int64) if weights is None else np.asarray(weights, np.int64)
    node_weights = np.ones(nodes, np.int64) if vwgt is None else np.asarray(vwgt, np.int64)
    if len(w) != nets or len(node_weights) != nodes:
        raise UsageError(
            f"{name}: {len(w)} net weights for {nets} nets and {len(node_weights)} node weights for {nodes} nodes; "
            "give one of each."
        )
    if len(pins) and (pins.min() < 0 or pins.max() >= nodes):
        raise UsageError(f"{name}: a net names a node outside 0..{nodes - 1}.")
    if (w <= 0).any() or (node_weights < 0).any():
        raise UsageError(f"{name}: net weights must be positive and node weights not negative.")
    net_of = np.repeat(np.arange(nets), np.diff(net_ptr))
    most = w[net_of].sum(dtype=np.float64)
    if 2 * most >= MAX_WEIGHT or node_weights.sum(dtype=np.float64) >= MAX_WEIGHT:
        raise UsageError(f"{name}: the weights sum to more than 2^53; scale them down.")
    order = np.lexsort((pins, net_of))
    net_of, pins = net_of[order], pins[order]
    first = np.ones(len(pins), bool)
    first[1:] = (np.diff(net_of) != 0) | (np.diff(pins) != 0)
    sizes = np.bincount(net_of[first], minlength=nets)
    ptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Hypergraph(name, ptr, pins[first].astype(np.int32), w, node_weights)
