"""Undirected graphs as plain arrays, their file formats, generators and spectra."""

from sysgym.graphs.csr import Graph, from_edges, from_networkx, to_networkx

__all__ = ["Graph", "from_edges", "from_networkx", "to_networkx"]
