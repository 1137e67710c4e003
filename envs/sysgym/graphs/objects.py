"""Graphs of other libraries: networkx, igraph, and matrices of scipy and numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.graphs.csr import MAX_WEIGHT, Graph, from_edges
from sysgym.graphs.lines import simple_edges
from sysgym.graphs.matrix_market import graph_of_matrix


def adopt_graph(given: Any) -> Graph | None:
    """The graph of an object of another library, or None where it is none; UsageError where it is no graph of ours."""
    library = type(given).__module__.partition(".")[0]
    if library == "networkx" and hasattr(given, "is_multigraph"):
        return from_networkx(given)
    if library == "igraph" and hasattr(given, "vcount"):
        return from_igraph(given)
    if (library == "scipy" and hasattr(given, "tocoo")) or isinstance(given, np.ndarray):
        return from_matrix(given)
    return None


def from_networkx(graph: Any, name: str = "", weight: str = "weight", node_weight: str = "weight") -> Graph:
    """An instance from an undirected networkx graph; nodes are numbered in their order of insertion.

    `weight` and `node_weight` name integer attributes; where one is absent, 1 counts.
    """
    if graph.is_directed() or graph.is_multigraph():
        raise UsageError("expected an undirected networkx.Graph without parallel edges; convert it with nx.Graph(g).")
    index = {node: i for i, node in enumerate(graph)}
    pairs = [(index[a], index[b]) for a, b in graph.edges]
    weights = [data.get(weight, 1) for _, _, data in graph.edges(data=True)]
    loads = [data.get(node_weight, 1) for _, data in graph.nodes(data=True)]
    return _assembled(name or str(graph.name or "networkx graph"), len(index), pairs, weights, loads)


def from_igraph(graph: Any, name: str = "", weight: str = "weight", node_weight: str = "weight") -> Graph:
    """An instance from an undirected igraph graph, with its numbering; attributes as for `from_networkx`."""
    if graph.is_directed():
        raise UsageError("expected an undirected igraph.Graph; convert it with g.as_undirected().")
    weights = graph.es[weight] if weight in graph.es.attributes() else [1] * graph.ecount()
    loads = graph.vs[node_weight] if node_weight in graph.vs.attributes() else [1] * graph.vcount()
    return _assembled(name or "igraph graph", graph.vcount(), graph.get_edgelist(), weights, loads)


def from_matrix(matrix: Any, name: str = "matrix") -> Graph:
    """An instance from a symmetric (n, n) matrix of whole edge weights, of scipy or numpy; 0 is no edge, signs are
    dropped.
    """
    from scipy.sparse import coo_array

    shape, kind = np.shape(matrix), np.dtype(matrix.dtype).kind
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0 or kind not in "biuf":
        raise UsageError(f"a graph needs a square matrix of numbers, this one is {shape} of {matrix.dtype}.")
    found = coo_array(matrix)
    found.sum_duplicates()  # as scipy means entries at one place
    if kind == "f" and not np.isfinite(found.data).all():
        raise UsageError(f"{name}: a weight is not finite; leave such entries out.")
    return graph_of_matrix(name, found)


def _assembled(name: str, nodes: int, pairs: Any, weights: Any, loads: Any) -> Graph:
    for value in (*weights, *loads):
        if not _is_weight(value):
            raise UsageError(f"the weight {value!r} is no integer below 2^53; scale the weights and round them.")
    ends: Array = np.array(pairs, np.int64).reshape(-1, 2)
    whole = np.array([int(value) for value in weights], np.int64)
    found = simple_edges(name, ends[:, 0], ends[:, 1], whole, lambda i: f"{name}, edge {i}")
    return from_edges(name, nodes, found.u, found.v, found.weights, [int(value) for value in loads])


def _is_weight(value: Any) -> bool:
    try:
        return bool(int(value) == value) and abs(int(value)) < MAX_WEIGHT
    except (TypeError, ValueError, OverflowError):  # no number at all, nan, infinity
        return False
