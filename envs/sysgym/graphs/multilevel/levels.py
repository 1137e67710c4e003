"""The levels of multilevel partitioning: a graph, the graph of its clusters, and so on until few nodes are left."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph
from sysgym.graphs.multilevel import coarsening_kernels as kernels
from sysgym.graphs.multilevel.balance_kernels import csr

SHRINK = 2.5  # nodes over clusters of a level
PROGRESS = 0.95  # a level with more clusters than this share of the nodes is none

Level = tuple[Graph, Array]  # a graph, and the cluster of each of its nodes, (n,) int32; empty on the coarsest


class Clusters(NamedTuple):
    """What one level of clustering made."""

    coarse: Array  # (n,) int32, the cluster of each node
    graph: Graph | None  # of the clusters; None where there are hardly fewer than nodes
    work: int  # entries of `adjncy` that were read


def smallest(k: int) -> int:
    """Nodes at which coarsening ends."""
    return max(30 * k, 100)


def heaviest(graph: Graph, fewest: int, limit: int) -> int:
    """What a cluster may weigh if `fewest` of them are wanted in the end."""
    return max(int(min(1.5 * graph.total_node_weight / fewest, limit / 2)), 1)


def clustered(graph: Graph, group: Array, most: int, fewest: int, plain: bool, state: Array) -> Clusters:
    """One level: clusters of at most the weight `most` within groups (n,); see `coarsening_kernels.cluster`."""
    arrays = csr(graph)
    coarse, count, work = kernels.cluster(arrays, group, most, max(int(graph.nodes / SHRINK), fewest), plain, state)
    if count > PROGRESS * graph.nodes:
        return Clusters(coarse, None, int(work))
    fixed = None if graph.fixed is None else graph.fixed[members(coarse)]
    made = replace(Graph(graph.name, *kernels.contract(arrays, coarse, count)), fixed=fixed)
    return Clusters(coarse, made, int(work) + len(graph.adjncy))


def members(coarse: Array) -> Array:
    """One node of each cluster."""
    return np.asarray(np.unique(coarse, return_index=True)[1])


def coarsen(graph: Graph, k: int, limit: int, group: Array, state: Array) -> list[Level]:
    """Levels from the graph itself to one of about max(30 k, 100) nodes, by clustering within groups (n,)."""
    fewest = smallest(k)
    most, levels = heaviest(graph, fewest, limit), []
    while graph.nodes > fewest:
        found = clustered(graph, group, most, fewest, False, state)
        if found.graph is None:
            break
        levels.append((graph, found.coarse))
        graph, group = found.graph, group[members(found.coarse)]
    return [*levels, (graph, np.zeros(0, np.int32))]
