"""From a name to a graph: registered graphs, recipes and files of the user's own."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from sysgym.core import data
from sysgym.core.errors import UsageError, unknown
from sysgym.core.instances import find_entry, load_index
from sysgym.core.problem import content_hash
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.graphs.io import parse_graph, read_graph

TOPIC = "dataflow"


@lru_cache(maxsize=64)
def _registered(name: str) -> DataflowGraph:
    entry = find_entry(load_index(TOPIC), name)
    assert entry is not None and entry.file is not None
    graph = parse_graph(name, data.read(entry.file), name)
    if content_hash(graph) != entry.hash:
        raise UsageError(
            f"{name} does not have the content that its index promises; reinstall sysgym or fetch it again."
        )
    return graph


def load_graph(name: str) -> DataflowGraph:
    """A graph by registered name (`seeds/rnnlm_2l`), recipe (`layered:depth=6,seed=1`) or file (`.json.gz`)."""
    from sysgym.dataflow.graphs.generate import generate_graph, is_recipe  # imports numba

    sets = load_index(TOPIC)
    if find_entry(sets, name):
        return _registered(name)
    if is_recipe(name):
        return generate_graph(name)
    if (len(name) < 1024 and Path(name).is_file()) or name.removesuffix(".gz").endswith(".json"):
        return read_graph(Path(name))
    known = [entry.name for group in sets.values() for entry in group.entries]
    error = unknown("instance", name, known)
    raise UsageError(
        f"{str(error).split(' Known:')[0]} Give a registered name (`sysgym list instances`), a graph file "
        "(.json.gz, as `sysgym trace` writes) or a recipe such as 'layered:depth=6,width=4,seed=1'."
    )


def is_graph(name: str, head: bytes = b"") -> bool:
    """Whether this is a recipe of a graph, or a JSON file that may hold one."""
    from sysgym.dataflow.graphs.generate import is_recipe

    return is_recipe(name) or (name.removesuffix(".gz").endswith(".json") and head.lstrip()[:1] in (b"{", b""))
