"""What the readers of graph files share: numbered lines, whole numbers, and one rule for loops and repeats."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple, NoReturn

import numpy as np

from sysgym.core.errors import UsageError, announce
from sysgym.core.problem import Array


def refuse(name: str, line: int, why: str) -> NoReturn:
    """UsageError that names the file and the line."""
    raise UsageError(f"{name}, line {line}: {why}{'' if why.endswith('?') else '.'}")


def refuse_sparse_ids(name: str, nodes: int, entries: int) -> None:
    """Refuse a file that announces a huge graph for its few edges."""
    if nodes > 1_000_000 + 100 * entries:
        raise UsageError(
            f"{name}: it announces {nodes} nodes, far too many for {entries} entries; renumber the ids without gaps."
        )


def text_lines(name: str, data: bytes, marks: tuple[str, ...]) -> tuple[list[tuple[int, str]], list[str]]:
    """The numbered lines of a text file but for its comments, and the comments, which may hold anything.

    What follows the last newline is a line too, even where it is empty. A byte order mark of UTF-8 is passed over.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UsageError(f"{name}: its byte order mark says UTF-16; save the file as UTF-8 or plain ASCII.")
    data = data.removeprefix(b"\xef\xbb\xbf")
    text = data.decode("ascii" if data.isascii() else "latin-1").replace("\r\n", "\n").replace("\r", "\n")
    rows, said = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip()[:1] in marks:
            said.append(line)
        elif not line.isascii():
            refuse(name, number, "a byte that is no ASCII text; is this a graph file?")
        else:
            rows.append((number, line))
    return rows, said


def integers(name: str, lines: list[tuple[int, str]]) -> tuple[Array, Array]:
    """All integers of the numbered lines, (t,) int64, and how many stand on each line."""
    counts = np.array([len(line.split()) for _, line in lines], np.int64)
    if not counts.any():
        return np.zeros(0, np.int64), counts
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            values = np.fromstring(" ".join(line for _, line in lines), np.int64, sep=" ")
        except (DeprecationWarning, ValueError):
            values = np.zeros(0, np.int64)
    if len(values) != counts.sum():
        for number, line in lines:
            for token in line.split():
                if not (token.isdigit() or (token[0] in "+-" and token[1:].isdigit())):
                    refuse(name, number, f"expected integers, got {token!r}")
        refuse(name, lines[0][0] if lines else 1, "expected integers")
    return values, counts


class Edges(NamedTuple):
    """Undirected edges, each once, u < v."""

    u: Array  # (m,) int64
    v: Array  # (m,) int64
    weights: Array  # (m,) int64
    loops: int  # entries that were left out, as a node has no edge to itself
    repeats: int  # edges that are listed again in the same direction, which count once


def simple_edges(name: str, source: Array, target: Array, weights: Array, where: Callable[[int], str]) -> Edges:
    """The edges of a simple graph from entries that may stand in either direction or in both: the rule of all readers.

    Entries from a node to itself are left out, and an edge that is listed again counts once; both are announced. Where
    it weighs something else there, UsageError; `where(i)` names the place of entry i.
    """
    kept = np.flatnonzero(source != target)
    low, high = np.minimum(source, target)[kept], np.maximum(source, target)[kept]
    order = np.lexsort((high, low))
    fresh = np.ones(len(order), bool)
    fresh[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    first = order[fresh]  # of each edge; `order` is stable, so that it is the one that stands first
    mine = weights[kept]
    differs = order[mine[order] != mine[first][np.cumsum(fresh) - 1]]
    if len(differs):
        at = int(kept[differs.min()])
        raise UsageError(f"{where(at)}: this edge stands above with another weight; sum the weights, or keep one line.")
    forward = (source[kept] < target[kept])[order]
    twice = ~fresh[1:] & (forward[1:] == forward[:-1]) if len(order) else fresh[1:]
    edges = Edges(
        low[first], high[first], mine[first], len(source) - len(kept), len(np.unique((np.cumsum(fresh) - 1)[1:][twice]))
    )
    if edges.loops:
        announce(f"{name}: {edges.loops} entries from a node to itself are left out, as they are never cut.")
    if edges.repeats:
        announce(f"{name}: {edges.repeats} edges are listed more than once; each counts once.")
    return edges
