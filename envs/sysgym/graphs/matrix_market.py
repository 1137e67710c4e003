"""MatrixMarket coordinate files as graphs."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError, announce
from sysgym.graphs.csr import MAX_WEIGHT, Graph, from_edges
from sysgym.graphs.lines import refuse, refuse_sparse_ids, simple_edges


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
        refuse(name, data.count(b"\n", 0, found.start()) + 1, f"expected {what}, got {line!r}")


def _check_matrix(name: str, height: int, width: int, entries: int, kind: str) -> None:
    """Refuse by its header what is no graph, before any memory is taken for it."""
    if height != width:
        raise UsageError(f"{name}: a graph needs a square matrix, this one is {height} x {width}.")
    if height == 0:
        raise UsageError(f"{name}: the matrix is empty; a graph needs at least one node.")
    if kind == "complex":
        raise UsageError(f"{name}: the matrix is complex; a graph needs integer weights or a pattern matrix.")
    refuse_sparse_ids(name, height, entries)


def parse_matrix_market(name: str, data: bytes) -> Graph:
    """A graph from a MatrixMarket coordinate file with a symmetric pattern and integer values; signs are dropped."""
    from scipy.io import mminfo, mmread
    from scipy.sparse import coo_matrix

    data = data.removeprefix(b"\xef\xbb\xbf") + b"\n"
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
    return graph_of_matrix(name, matrix)


def graph_of_matrix(name: str, matrix: Any) -> Graph:
    """A graph from a square scipy matrix in coordinate form, whose repeated entries are not summed yet."""
    if len(matrix.data) and not np.array_equal(matrix.data, np.round(matrix.data)):
        raise UsageError(f"{name}: edge weights must be integers; scale and round them, or write a pattern matrix.")
    if len(matrix.data) and np.abs(matrix.data.astype(np.float64)).max() >= MAX_WEIGHT:
        raise UsageError(f"{name}: an edge weight is 2^53 or more; scale the weights down.")
    kept = matrix.data != 0
    u, v = matrix.row[kept].astype(np.int64), matrix.col[kept].astype(np.int64)
    weights = np.abs(matrix.data[kept]).astype(np.int64)
    apart = u != v
    if len(np.setxor1d((u * matrix.shape[0] + v)[apart], (v * matrix.shape[0] + u)[apart])):
        raise UsageError(f"{name}: the matrix is not symmetric; write A + A^T for an undirected graph.")
    if ((matrix.data[kept] < 0) & apart).any():
        announce(f"{name}: some entries are negative; an edge weighs what they are without the sign.")
    found = simple_edges(name, u, v, weights, lambda i: f"{name}, row {u[i] + 1}, column {v[i] + 1}")
    return from_edges(name, matrix.shape[0], found.u, found.v, found.weights)
