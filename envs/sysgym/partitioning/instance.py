"""Instances of graph partitioning: registered graphs, generator recipes and files of the user's own."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

from sysgym.core.data import decompress, read, read_file
from sysgym.core.errors import Notice, UsageError, announce, reading
from sysgym.core.instances import as_promised, find_entry, load_index, no_instance
from sysgym.graphs import netlists
from sysgym.graphs.csr import Graph
from sysgym.graphs.generate import FAMILIES, generate_graph, is_recipe
from sysgym.graphs.hmetis import parse_hmetis
from sysgym.graphs.hypergraph import Hypergraph
from sysgym.graphs.io import READERS, parse_graph, read_graph
from sysgym.partitioning.operations import parse_operations

TOPIC = "partitioning"
HYPERGRAPHS, OPERATIONS = (".hgr",), (".json",)


@lru_cache(maxsize=64)
def _registered(name: str) -> Graph | Hypergraph:
    entry = find_entry(load_index(TOPIC), name)
    assert entry is not None and entry.file is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)  # its content is promised
        graph = _parsed(name, Path(entry.file.path).name, read(entry.file), entry.nodes)
    kept: Graph | Hypergraph = as_promised(entry, graph)
    return kept


def _ending(name: str) -> str:
    return Path(name.removesuffix(".gz")).suffix.lower()


def _parsed(name: str, file_name: str, data: bytes, nodes: int | None) -> Graph | Hypergraph:
    found: Graph | Hypergraph
    if _ending(file_name) in OPERATIONS:
        found = parse_operations(name, data)
    elif _ending(file_name) in HYPERGRAPHS:
        content = decompress(name, data)
        with reading(name):
            found = parse_hmetis(name, content)
    else:
        return parse_graph(name, file_name, data, nodes)
    if nodes not in (None, found.nodes):
        raise UsageError(f"{name} has {found.nodes} nodes, not nodes={nodes}; leave the option out.")
    return found


def load_graph(name: str, nodes: int | None = None) -> Graph | Hypergraph:
    """A graph or hypergraph by registered name (`walshaw/add20`), recipe (`delaunay:n=500,seed=3`) or file (see
    `parse_graph` and `parse_hmetis`; of a `.json` of `sysgym trace`, its operators).
    """
    sets = load_index(TOPIC)
    if find_entry(sets, name):
        return _registered(name)
    if _ending(name) in HYPERGRAPHS + OPERATIONS:
        found = _parsed(name, name, read_file(Path(name)), nodes)
        if _ending(name) in OPERATIONS:
            announce(f"{name}: operators and the edges between them weigh 1; their times and bytes are not used.")
        return found
    if (len(name) < 1024 and Path(name).is_file()) or _ending(name) in READERS:
        return read_graph(name, nodes=nodes)
    if is_recipe(name) or netlists.is_netlist(name):
        return generated(name)
    families = ", ".join((*FAMILIES, *netlists.FAMILIES))
    endings = ", ".join((*READERS, *HYPERGRAPHS, *OPERATIONS))
    hint = f"a graph file ({endings}) or a recipe such as 'delaunay:n=500,seed=3' (families: {families})"
    raise no_instance(sets, name, hint)


def generated(recipe: str) -> Graph | Hypergraph:
    """The graph or hypergraph of a recipe."""
    return netlists.generate_hypergraph(recipe) if netlists.is_netlist(recipe) else generate_graph(recipe)


def is_graph(name: str, head: bytes = b"") -> bool:
    """Whether this is a recipe of a random graph, or a graph file by its ending; a `.txt` must start with numbers."""
    ending = _ending(name)
    if ending == ".txt":
        lines = head.removeprefix(b"\xef\xbb\xbf").splitlines()
        first = next((line for line in lines if line.strip() and line.lstrip()[:1] not in (b"#", b"%")), b"")
        words = first.split(b"{")[0].split()
        return all(word.lstrip(b"-").replace(b".", b"").isdigit() for word in words) and "pb.txt" not in name
    return ending in READERS or ending in HYPERGRAPHS or is_recipe(name) or netlists.is_netlist(name)
