"""Computation graphs as partitioning sees them: operators that weigh 1, and an edge where one reads another.

So GAP takes them (Nazi et al., arXiv 1903.00614, section 4): undirected and unweighted, nodes told by their operation.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph, from_edges

if TYPE_CHECKING:
    from sysgym.dataflow.graphs.graph import DataflowGraph

BUCKETS, CLASSES, PHASES = 16, 4, 3
ATTRIBUTES = BUCKETS + CLASSES + PHASES


def computation_graph(graph: DataflowGraph) -> Graph:
    """The graph of the operators of a dataflow graph, with `attributes` (n, ATTRIBUTES).

    Attributes are 0 or 1: the operation, by the checksum of its name in one of BUCKETS (so that models with other
    vocabularies share columns; Weinberger et al., ICML 2009), its class in fusion, and forward, backward or update.
    """
    ends = np.stack([graph.tensor_src[graph.edge_tensor], graph.edge_dst]).astype(np.int64)
    ends = np.unique(np.sort(ends[:, ends[0] != ends[1]], axis=0), axis=1)
    return replace(from_edges(graph.name, graph.nodes, *ends), attributes=_attributes(graph))


def _attributes(graph: DataflowGraph) -> Array:
    bucket = np.array([zlib.crc32(name.encode()) % BUCKETS for name in graph.op_types])
    rows, found = np.arange(graph.nodes), np.zeros((graph.nodes, ATTRIBUTES), np.float32)
    found[rows, bucket[graph.op]] = 1
    found[rows, BUCKETS + graph.op_class[graph.op]] = 1
    found[rows, BUCKETS + CLASSES + graph.phase] = 1
    return found


def parse_operations(name: str, data: bytes) -> Graph:
    """The graph of a file of the format sysgym.dataflow/1; UsageError with what is wrong."""
    from sysgym.dataflow.graphs.io import parse_graph

    return computation_graph(parse_graph(name, data, name))
