"""Undirected graphs as plain arrays, their file formats, generators and spectra."""

from sysgym.graphs.csr import Graph, from_edges, to_networkx
from sysgym.graphs.objects import from_igraph, from_matrix, from_networkx

__all__ = ["Graph", "from_edges", "from_igraph", "from_matrix", "from_networkx", "to_networkx"]
