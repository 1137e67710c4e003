"""Files of labels: one a line as METIS, KaHIP and scikit-learn users write them, or `id label` by the file's ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from sysgym.core.data import decompress
from sysgym.core.errors import InvalidSolution
from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph
from sysgym.graphs.hypergraph import Hypergraph


def parse_partition(graph: Graph | Hypergraph, file_name: str, data: bytes, what: str = "part") -> Array:
    """The part of each node, (n,) int64, from a file that names one on each line; InvalidSolution names a wrong line.

    Lines `id part` may stand in any order and name each node once; comments start with % or #.
    """
    text = decompress(file_name, data).decode("ascii", "replace")
    plain = _one_a_line(text)
    if plain is not None:
        return plain
    rows: list[list[int]] = []
    wanted = f"one {what} id" if graph.ids is None else f"'id {what}' by the ids of the graph's file"
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("%")[0].split("#")[0].split()
        if not words:
            continue
        if (
            len(words) > 2
            or (rows and len(words) != len(rows[0]))
            or not all(w.isascii() and w.isdigit() for w in words)
        ):
            raise InvalidSolution(f"line {number}: expected {wanted}, got {line.strip()[:40]!r}.")
        rows.append([int(word) if len(word) < 19 else 2**62 for word in words])
    if not rows or len(rows[0]) == 1:
        return np.array([row[0] for row in rows], np.int64)
    ids, parts = np.array(rows, np.int64).T
    own = np.arange(graph.nodes) if graph.ids is None else graph.ids
    order = np.argsort(ids, kind="stable")
    if not np.array_equal(ids[order], own):
        strange, absent = np.setdiff1d(ids, own), np.setdiff1d(own, ids)
        raise InvalidSolution(
            f"node {int(strange[0])} is none of {graph.name}." if len(strange)
            else f"node {int(absent[0])} has no {what}." if len(absent)
            else f"node {int(ids[order][:-1][np.diff(ids[order]) == 0][0])} is named twice."
        )  # fmt: skip
    return np.asarray(parts[order])


def _one_a_line(text: str) -> Array | None:
    """The numbers of a file that holds nothing but one short number a line, quickly; else None."""
    words = text.split()
    if len(words) != sum(1 for line in text.splitlines() if line.strip()) or not words:
        return None
    if not all(map(str.isdigit, words)) or max(map(len, words)) > 18 or not text.isascii():
        return None
    return np.array(list(map(int, words)), np.int64)


def format_partition(graph: Graph | Hypergraph, part: Any) -> bytes:
    """The partition as a file that `parse_partition` reads."""
    lines: Iterable[str] = map(str, np.asarray(part).tolist())
    if graph.ids is not None:
        lines = (f"{node} {p}" for node, p in zip(graph.ids.tolist(), lines, strict=True))
    return ("\n".join(lines) + "\n").encode()
