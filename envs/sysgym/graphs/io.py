"""Readers and writers of graph files. A malformed file is refused with the line that is wrong.

| ending | format |
|---|---|
| `.graph`, `.metis`, `.chaco` | METIS / Chaco: header `n m [fmt [ncon]]`, a line a node; vertex sizes are skipped |
| `.mtx` | MatrixMarket coordinate, symmetric pattern |
| `.txt`, `.edges`, `.edgelist`, `.el` | `u v [weight]` a line, as SNAP, KONECT and networkx write |

Each may be gzipped (`.gz`). In all of them, entries from a node to itself are left out, and an edge that is listed
again counts once (`sysgym.graphs.lines.simple_edges`).
"""

from __future__ import annotations

from pathlib import Path

from sysgym.core.data import decompress, read_file
from sysgym.core.errors import UsageError, reading
from sysgym.graphs.csr import Graph
from sysgym.graphs.edge_list import parse_edge_list
from sysgym.graphs.matrix_market import parse_matrix_market
from sysgym.graphs.metis import parse_metis

EDGE_LISTS = (".txt", ".edges", ".edgelist", ".el")

READERS = {
    **dict.fromkeys((".graph", ".metis", ".chaco"), parse_metis),
    ".mtx": parse_matrix_market,
    **dict.fromkeys(EDGE_LISTS, parse_edge_list),
}


def parse_graph(name: str, file_name: str, data: bytes, nodes: int | None = None) -> Graph:
    """A graph from the bytes of a file, by the ending of its name.

    `nodes` says how many an edge list has, as those without an edge do not stand in it; UsageError if another file has
    another number of them.
    """
    ending = Path(file_name.removesuffix(".gz")).suffix.lower()
    if ending not in READERS:
        raise UsageError(f"{file_name}: unknown graph format {ending!r}; expected one of {', '.join(sorted(READERS))}.")
    content = decompress(name, data)
    with reading(name):
        if ending in EDGE_LISTS:
            return parse_edge_list(name, content, nodes)
        graph = READERS[ending](name, content)
    if nodes not in (None, graph.nodes):
        raise UsageError(f"{name} has {graph.nodes} nodes, not nodes={nodes}; leave the option out.")
    return graph


def read_graph(path: str | Path, name: str = "", nodes: int | None = None) -> Graph:
    """A graph from a file; see the table above for the formats, and `parse_graph` for `nodes`."""
    file = Path(path)
    return parse_graph(name or str(file), file.name, read_file(file), nodes)


def format_metis(graph: Graph) -> str:
    """The graph as a METIS file, with the weights that are not all 1."""
    node_weights, edge_weights = bool((graph.vwgt != 1).any()), bool((graph.adjwgt != 1).any())
    fmt = f" 0{int(node_weights)}{int(edge_weights)}" if node_weights or edge_weights else ""
    lines = [f"{graph.nodes} {graph.edges}{fmt}"]
    for v in range(graph.nodes):
        row = slice(graph.xadj[v], graph.xadj[v + 1])
        words = [str(graph.vwgt[v])] if node_weights else []
        for u, w in zip(graph.adjncy[row], graph.adjwgt[row], strict=True):
            words.append(f"{u + 1} {w}" if edge_weights else str(u + 1))
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"
