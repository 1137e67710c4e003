"""From a name to a graph: registered graphs, recipes and files of the user's own."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from sysgym.core import data
from sysgym.core.instances import as_promised, find_entry, load_index, no_instance
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.graphs.io import parse_graph, read_graph

TOPIC = "dataflow"


@lru_cache(maxsize=256)  # more than the graphs of any split
def _registered(name: str) -> DataflowGraph:
    entry = find_entry(load_index(TOPIC), name)
    assert entry is not None and entry.file is not None
    graph: DataflowGraph = as_promised(entry, parse_graph(name, data.read(entry.file), name))
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
    hint = "a graph file (.json.gz, as `sysgym trace` writes) or a recipe such as 'layered:depth=6,width=4,seed=1'"
    raise no_instance(sets, name, hint)


def is_graph(name: str, head: bytes = b"") -> bool:
    """Whether this is a recipe of a graph, or a JSON file that may hold one: one of another format of ours does not."""
    from sysgym.dataflow.graphs.generate import is_recipe

    if is_recipe(name):
        return True
    other = re.search(rb'"format"\s*:\s*"sysgym\.(?!dataflow/)', head)
    return name.removesuffix(".gz").endswith(".json") and head.lstrip()[:1] in (b"{", b"") and not other
