"""The instance of clustering: a graph of affinities, with the points that it was built from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph


@dataclass(frozen=True, eq=False, repr=False)
class Affinity(Graph):
    """Affinities W between n points, as a graph whose weights are whole multiples of `unit`.

    `vwgt` is D_ii = sum_j W_ij, a point's affinity to itself included; the graph's own edges are those between two
    points, so `degree` is D_ii - W_ii. Nothing of an instance tells the true classes.
    """

    x: Array | None = None  # (n, d) float32, the points after preprocessing; None where only affinities are known
    k: int | None = None  # how many clusters its source asks for, if it says
    unit: float = field(default=1.0)  # the affinity that a weight of 1 stands for
    prepared: str = field(default="", metadata={"hashed": False})
    # what points, their own or others, x was fitted on or moved by; x of instances that differ in it is not comparable
    components: int | None = field(default=None, metadata={"hashed": False})  # of the graph before they were joined

    @cached_property
    def parts(self) -> int:
        """Connected components of the graph, before they were joined."""
        if self.components is not None:
            return self.components
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import connected_components

        matrix = csr_array((np.ones(len(self.adjncy), np.int8), self.adjncy, self.xadj), (self.nodes, self.nodes))
        return int(connected_components(matrix, directed=False)[0])

    def __repr__(self) -> str:
        """One line."""
        return f"<Affinity {self.name}: {self.nodes} points, {self.edges} edges, k={self.k}>"
