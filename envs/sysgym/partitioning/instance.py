"""Instances of graph partitioning: registered graphs, generator recipes and files of the user's own."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from sysgym.core.data import read
from sysgym.core.errors import UsageError, unknown
from sysgym.core.instances import find_entry, load_index
from sysgym.core.problem import content_hash
from sysgym.graphs.csr import Graph
from sysgym.graphs.generate import FAMILIES, generate_graph, is_recipe
from sysgym.graphs.io import READERS, parse_graph, read_graph

TOPIC = "partitioning"


@lru_cache(maxsize=64)
def _registered(name: str) -> Graph:
    entry = find_entry(load_index(TOPIC), name)
    assert entry is not None and entry.file is not None
    graph = parse_graph(name, Path(entry.file.path).name, read(entry.file))
    if content_hash(graph) != entry.hash:
        raise UsageError(
            f"{name} does not have the content that its index promises; reinstall sysgym or fetch it again."
        )
    return graph


def load_graph(name: str) -> Graph:
    """A graph by registered name (`walshaw/add20`), recipe (`delaunay:n=500,seed=3`) or file."""
    sets = load_index(TOPIC)
    if find_entry(sets, name):
        return _registered(name)
    if (len(name) < 1024 and Path(name).is_file()) or Path(name.removesuffix(".gz")).suffix.lower() in READERS:
        return read_graph(name)
    if is_recipe(name):
        return generate_graph(name)
    known = [entry.name for group in sets.values() for entry in group.entries]
    error = unknown("instance", name, known)
    families = ", ".join(FAMILIES)
    raise UsageError(
        f"{str(error).split(' Known:')[0]} Give a registered name (`sysgym list instances`), a graph file "
        f"({', '.join(READERS)}) or a recipe such as 'delaunay:n=500,seed=3' (families: {families})."
    )


def is_graph(name: str, head: bytes = b"") -> bool:
    """Whether this is a recipe of a random graph, or a graph file by its ending; a `.txt` must start with numbers."""
    ending = Path(name.removesuffix(".gz")).suffix.lower()
    if ending == ".txt":
        lines = (line for line in head.splitlines() if line.strip() and line.lstrip()[:1] not in (b"#", b"%"))
        words = next(lines, b"").split()
        return all(word.lstrip(b"-").replace(b".", b"").isdigit() for word in words) and "pb.txt" not in name
    return ending in READERS or is_recipe(name)
