"""Readers and writers of graph files. A malformed file is refused with the line that is wrong.

| ending | format |
|---|---|
| `.graph`, `.metis`, `.chaco` | METIS / Chaco: header `n m [fmt [ncon]]`, a line a node; vertex sizes are skipped |
| `.mtx` | MatrixMarket coordinate, symmetric pattern; diagonal entries are no edges |
| `.txt`, `.edges`, `.edgelist`, `.el` | `u v [weight]` a line, ids from 0, comments with # or % |

Each may be gzipped (`.gz`).
"""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from sysgym.core.data import decompress, read_file
from sysgym.core.errors import UsageError, reading
from sysgym.core.problem import Array
from sysgym.graphs.csr import MAX_WEIGHT, Graph, from_edges


def _refuse(name: str, line: int, why: str) -> NoReturn:
    raise UsageError(f"{name}, line {line}: {why}{'' if why.endswith('?') else '.'}")


def _refuse_sparse_ids(name: str, nodes: int, entries: int) -> None:
    """Refuse files whose few edges would make a huge graph: ids are then names, not numbers from 0 (or 1) on."""
    if nodes > 1_000_000 + 100 * entries:
        raise UsageError(
            f"{name}: the ids stand for {nodes} nodes, far too many for {entries} entries; "
            "renumber the ids without gaps."
        )


def _text(name: str, data: bytes) -> list[str]:
    """Lines of a text file; what follows the last newline is a line too, even where it is empty."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        _refuse(name, data[: error.start].count(b"\n") + 1, "a byte that is no ASCII text; is this a graph file?")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _integers(name: str, lines: list[tuple[int, str]]) -> tuple[Array, Array]:
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
                    _refuse(name, number, f"expected integers, got {token!r}")
        _refuse(name, lines[0][0] if lines else 1, "expected integers")
    return values, counts


def _header(name: str, number: int, line: str) -> tuple[int, int, bool, bool, bool]:
    words = line.split()
    if not 2 <= len(words) <= 4 or not all(word.isdigit() for word in words):
        _refuse(name, number, f"the header must be 'nodes edges [fmt [ncon]]', got {line.strip()[:60]!r}")
    fmt = words[2].zfill(3) if len(words) > 2 else "000"
    if len(fmt) != 3 or set(fmt) - {"0", "1"}:
        _refuse(name, number, f"fmt must be up to three digits 0 or 1, got {words[2]!r}")
    if len(words) == 4 and int(words[3]) > 1:
        _refuse(name, number, f"{words[3]} weights a node; only one is supported")
    nodes, edges = int(words[0]), int(words[1])
    if nodes == 0:
        _refuse(name, number, "the header announces no nodes; a graph needs at least one")
    if nodes >= 2**31 or edges >= 2**40:
        _refuse(name, number, f"{nodes} nodes and {edges} edges are more than can be held")
    return nodes, edges, fmt[0] == "1", fmt[1] == "1", fmt[2] == "1"


def parse_metis(name: str, data: bytes) -> Graph:
    """A graph from the bytes of a METIS / Chaco file, all fmt codes; UsageError names the line that is wrong."""
    lines = [(i, line) for i, line in enumerate(_text(name, data), 1) if not line.lstrip().startswith("%")]
    while lines and not lines[0][1].strip():
        lines.pop(0)
    if not lines:
        _refuse(name, 1, "the file holds no header")
    (number, header), rows = lines[0], lines[1:]
    nodes, edges, has_sizes, has_node_weights, has_edge_weights = _header(name, number, header)
    for number, line in rows[nodes:]:
        if line.strip():
            _refuse(name, number, f"more lines than the {nodes} nodes that the header announces")
    if len(rows) < nodes:
        present = len(rows) - (not lines[-1][1])  # the empty string behind a final newline is no line to count
        last = max(number for number, line in lines if line.strip())
        _refuse(name, last, f"the file ends after {present} of the {nodes} node lines that the header announces")
    rows = rows[:nodes]
    values, counts = _integers(name, rows)
    numbers = np.array([i for i, _ in rows], np.int64)
    lead = int(has_sizes) + int(has_node_weights)
    width = 2 if has_edge_weights else 1
    bad = (counts < lead) | ((counts - lead) % width != 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        _refuse(name, int(numbers[row]), f"{counts[row]} numbers do not fit the header's format")
    starts = np.cumsum(counts) - counts
    node_weights = values[starts + int(has_sizes)] if has_node_weights else np.ones(nodes, np.int64)
    if (node_weights < 0).any():
        _refuse(name, int(numbers[np.flatnonzero(node_weights < 0)[0]]), "a node weight is negative")
    body = np.ones(len(values), bool)
    for column in range(lead):
        body[starts + column] = False
    entries = values[body].reshape(-1, width)
    degrees = (counts - lead) // width
    source = np.repeat(np.arange(nodes), degrees)
    target = entries[:, 0] - 1
    weights = entries[:, 1] if has_edge_weights else np.ones(len(entries), np.int64)
    _check_entries(name, numbers, nodes, source, target, weights)
    if len(entries) != 2 * edges:
        _refuse(
            name, number if not lines else lines[0][0],
            f"the header announces {edges} edges, the lines hold {len(entries)} entries, expected {2 * edges}",
        )  # fmt: skip
    once = source < target
    return from_edges(name, nodes, source[once], target[once], weights[once], node_weights)


def _check_entries(name: str, numbers: Array, nodes: int, source: Array, target: Array, weights: Array) -> None:
    """Refuse ids out of range, self loops, weights below 1, repeats and edges that stand in one row only."""

    def first(bad: Array) -> int:
        return int(np.flatnonzero(bad)[0])

    for bad, why in (
        ((target < 0) | (target >= nodes), "neighbour {} is outside 1.." + str(nodes)),
        (source == target, "node {} is its own neighbour"),
        (weights <= 0, "the edge to {} has a weight below 1"),
    ):
        if bad.any():
            _refuse(name, int(numbers[source[first(bad)]]), why.format(int(target[first(bad)]) + 1))
    key, mirror = source * nodes + target, target * nodes + source
    order, reverse = np.argsort(key, kind="stable"), np.argsort(mirror, kind="stable")
    again = key[order][1:] == key[order][:-1]
    if again.any():
        at = order[first(again) + 1]
        _refuse(name, int(numbers[source[at]]), f"neighbour {int(target[at]) + 1} is listed twice")
    absent = ~np.isin(key, mirror)
    if absent.any():
        at = first(absent)
        _refuse(
            name, int(numbers[source[at]]),
            f"neighbour {int(target[at]) + 1} does not list node {int(source[at]) + 1} in turn",
        )  # fmt: skip
    unequal = weights[order] != weights[reverse]
    if unequal.any():
        at = order[first(unequal)]
        _refuse(
            name, int(numbers[source[at]]), f"the edge to {int(target[at]) + 1} weighs differently in its two lines"
        )


def parse_edge_list(name: str, data: bytes) -> Graph:
    """A graph from lines `u v [weight]`, ids from 0. An edge may stand in both directions with equal weight."""
    rows = [(i, line) for i, line in enumerate(_text(name, data), 1) if line.strip() and line.lstrip()[0] not in "#%"]
    values, counts = _integers(name, rows)
    for row, (number, _) in enumerate(rows):
        if counts[row] not in (2, 3) or counts[row] != counts[0]:
            _refuse(name, number, f"expected 'u v' or 'u v weight' like the first line, got {counts[row]} numbers")
    if not rows:
        _refuse(name, 1, "the file holds no edges")
    table = values.reshape(len(rows), -1)
    low, high = table[:, :2].min(axis=1), table[:, :2].max(axis=1)
    weights = table[:, 2] if table.shape[1] == 3 else np.ones(len(rows), np.int64)
    nodes = int(high.max()) + 1
    if nodes >= 2**31:
        _refuse(name, rows[int(high.argmax())][0], f"node id {nodes - 1} is too large")
    _refuse_sparse_ids(name, nodes, len(rows))
    for bad, why in (
        (low < 0, "a node id is negative"),
        (low == high, "a self loop"),
        (weights <= 0, "a weight below 1"),
    ):
        if bad.any():
            _refuse(name, rows[int(np.flatnonzero(bad)[0])][0], why)
    key = low * nodes + high
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    differs = weights != weights[first][inverse]
    if differs.any():
        _refuse(name, rows[int(np.flatnonzero(differs)[0])][0], "this edge stands above with another weight")
    return from_edges(name, nodes, low[first], high[first], weights[first])


def _line_without(number: bytes) -> re.Pattern[bytes]:
    """Finds a line that holds something else than numbers and blanks, in linear time."""
    number = b"(?:" + number + b")"
    return re.compile(rb"^(?![ \t]*(?:" + number + rb"[ \t]+)*" + number + rb"?\r?$).*", re.MULTILINE)


NOT_WHOLE = _line_without(rb"[-+]?\d+")
NOT_REAL = _line_without(rb"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")


def _refuse_words(name: str, data: bytes) -> None:
    """Refuse a line of entries with anything but numbers: scipy passes over it, or reads beyond the end of the file."""
    start = 0
    while data[start : start + 1] == b"%":
        start = data.index(b"\n", start) + 1
    real = b"real" in data[: data.index(b"\n")].lower()
    found = (NOT_REAL if real else NOT_WHOLE).search(data, start)
    if found and start:
        what = "numbers" if real else "whole numbers, as the header says"
        line = found[0][:40].decode("ascii", "backslashreplace")
        _refuse(name, data.count(b"\n", 0, found.start()) + 1, f"expected {what}, got {line!r}")


def _check_matrix(name: str, height: int, width: int, entries: int, kind: str) -> None:
    """Refuse by its header what is no graph, before any memory is taken for it."""
    if height != width:
        raise UsageError(f"{name}: a graph needs a square matrix, this one is {height} x {width}.")
    if height == 0:
        raise UsageError(f"{name}: the matrix is empty; a graph needs at least one node.")
    if kind == "complex":
        raise UsageError(f"{name}: the matrix is complex; a graph needs integer weights or a pattern matrix.")
    _refuse_sparse_ids(name, height, entries)


def parse_matrix_market(name: str, data: bytes) -> Graph:
    """A graph from a MatrixMarket coordinate file with symmetric integer values; signs are dropped."""
    from scipy.io import mminfo, mmread
    from scipy.sparse import coo_matrix, triu

    data += b"\n"
    try:
        height, width, entries, _, kind, _ = mminfo(io.BytesIO(data))
        _check_matrix(name, height, width, entries, kind)
        _refuse_words(name, data)
        if entries > len(data):
            raise UsageError(f"{name}: the header announces {entries} entries, the file holds only {len(data)} bytes.")
        matrix = coo_matrix(mmread(io.BytesIO(data)))
    except UsageError:
        raise
    except (ValueError, OverflowError, TypeError) as error:
        why = str(error).rstrip(". ")
        raise UsageError(f"{name} is no usable MatrixMarket file: {why}.") from error
    if len(matrix.data) and not np.array_equal(matrix.data, np.round(matrix.data)):
        raise UsageError(f"{name}: edge weights must be integers; scale and round them, or write a pattern matrix.")
    if len(matrix.data) and np.abs(matrix.data.astype(np.float64)).max() >= MAX_WEIGHT:
        raise UsageError(f"{name}: an edge weight is 2^53 or more; scale the weights down.")
    rows: Any = matrix.tocsr()
    if (rows != rows.T).nnz:
        raise UsageError(f"{name}: the matrix is not symmetric; write A + A^T for an undirected graph.")
    upper = triu(rows, k=1).tocoo()
    kept = upper.data != 0
    weights = np.abs(upper.data[kept]).astype(np.int64)
    return from_edges(name, matrix.shape[0], upper.row[kept], upper.col[kept], weights)


READERS = {
    ".graph": parse_metis,
    ".metis": parse_metis,
    ".chaco": parse_metis,
    ".mtx": parse_matrix_market,
    ".txt": parse_edge_list,
    ".edges": parse_edge_list,
    ".edgelist": parse_edge_list,
    ".el": parse_edge_list,
}


def parse_graph(name: str, file_name: str, data: bytes) -> Graph:
    """A graph from the bytes of a file, by the ending of its name."""
    ending = Path(file_name.removesuffix(".gz")).suffix.lower()
    if ending not in READERS:
        raise UsageError(f"{file_name}: unknown graph format {ending!r}; expected one of {', '.join(sorted(READERS))}.")
    content = decompress(name, data)
    with reading(name):
        return READERS[ending](name, content)


def read_graph(path: str | Path, name: str = "") -> Graph:
    """A graph from a file; see the table above for the formats."""
    file = Path(path)
    return parse_graph(name or str(file), file.name, read_file(file))


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
