"""Instances of graph partitioning: registered graphs, generator recipes and files of the user's own."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

from sysgym.core.data import read
from sysgym.core.errors import Notice
from sysgym.core.instances import as_promised, find_entry, load_index, no_instance
from sysgym.graphs.csr import Graph
from sysgym.graphs.generate import FAMILIES, generate_graph, is_recipe
from sysgym.graphs.io import READERS, parse_graph, read_graph

TOPIC = "partitioning"


@lru_cache(maxsize=64)
def _registered(name: str) -> Graph:
    entry = find_entry(load_index(TOPIC), name)
    assert entry is not None and entry.file is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)  # its content is promised
        graph = parse_graph(name, Path(entry.file.path).name, read(entry.file), entry.nodes)
    kept: Graph = as_promised(entry, graph)
    return kept


def load_graph(name: str, nodes: int | None = None) -> Graph:
    """A graph by registered name (`walshaw/add20`), recipe (`delaunay:n=500,seed=3`) or file (see `parse_graph`)."""
    sets = load_index(TOPIC)
    if find_entry(sets, name):
        return _registered(name)
    if (len(name) < 1024 and Path(name).is_file()) or Path(name.removesuffix(".gz")).suffix.lower() in READERS:
        return read_graph(name, nodes=nodes)
    if is_recipe(name):
        return generate_graph(name)
    families = ", ".join(FAMILIES)
    hint = f"a graph file ({', '.join(READERS)}) or a recipe such as 'delaunay:n=500,seed=3' (families: {families})"
    raise no_instance(sets, name, hint)


def is_graph(name: str, head: bytes = b"") -> bool:
    """Whether this is a recipe of a random graph, or a graph file by its ending; a `.txt` must start with numbers."""
    ending = Path(name.removesuffix(".gz")).suffix.lower()
    if ending == ".txt":
        lines = head.removeprefix(b"\xef\xbb\xbf").splitlines()
        first = next((line for line in lines if line.strip() and line.lstrip()[:1] not in (b"#", b"%")), b"")
        words = first.split(b"{")[0].split()
        return all(word.lstrip(b"-").replace(b".", b"").isdigit() for word in words) and "pb.txt" not in name
    return ending in READERS or is_recipe(name)
