"""METIS and Chaco graph files: a header `n m [fmt [ncon]]`, then a line a node."""

from __future__ import annotations

import numpy as np

from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph, from_edges
from sysgym.graphs.lines import integers, refuse, simple_edges, text_lines


def _header(name: str, number: int, line: str) -> tuple[int, int, bool, bool, bool]:
    words = line.split()
    if not 2 <= len(words) <= 4 or not all(word.isdigit() for word in words):
        refuse(name, number, f"the header must be 'nodes edges [fmt [ncon]]', got {line.strip()[:60]!r}")
    fmt = words[2].zfill(3) if len(words) > 2 else "000"
    if len(fmt) != 3 or set(fmt) - {"0", "1"}:
        refuse(name, number, f"fmt must be up to three digits 0 or 1, got {words[2]!r}")
    if len(words) == 4 and int(words[3]) > 1:
        refuse(name, number, f"{words[3]} weights a node; only one is supported")
    nodes, edges = int(words[0]), int(words[1])
    if nodes == 0:
        refuse(name, number, "the header announces no nodes; a graph needs at least one")
    if nodes >= 2**31 or edges >= 2**40:
        refuse(name, number, f"{nodes} nodes and {edges} edges are more than can be held")
    return nodes, edges, fmt[0] == "1", fmt[1] == "1", fmt[2] == "1"


def parse_metis(name: str, data: bytes) -> Graph:
    """A graph from the bytes of a METIS / Chaco file, all fmt codes; UsageError names the line that is wrong."""
    lines, _ = text_lines(name, data, ("%",))
    while lines and not lines[0][1].strip():
        lines.pop(0)
    if not lines:
        refuse(name, 1, "the file holds no header")
    (number, header), rows = lines[0], lines[1:]
    nodes, edges, has_sizes, has_node_weights, has_edge_weights = _header(name, number, header)
    for number, line in rows[nodes:]:
        if line.strip():
            refuse(name, number, f"more lines than the {nodes} nodes that the header announces")
    if len(rows) < nodes:
        present = len(rows) - (not lines[-1][1])  # the empty string behind a final newline is no line to count
        last = max(number for number, line in lines if line.strip())
        refuse(name, last, f"the file ends after {present} of the {nodes} node lines that the header announces")
    rows = rows[:nodes]
    values, counts = integers(name, rows)
    numbers = np.array([i for i, _ in rows], np.int64)
    lead = int(has_sizes) + int(has_node_weights)
    width = 2 if has_edge_weights else 1
    bad = (counts < lead) | ((counts - lead) % width != 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        refuse(name, int(numbers[row]), f"{counts[row]} numbers do not fit the header's format")
    starts = np.cumsum(counts) - counts
    node_weights = values[starts + int(has_sizes)] if has_node_weights else np.ones(nodes, np.int64)
    if (node_weights < 0).any():
        refuse(name, int(numbers[np.flatnonzero(node_weights < 0)[0]]), "a node weight is negative")
    body = np.ones(len(values), bool)
    for column in range(lead):
        body[starts + column] = False
    entries = values[body].reshape(-1, width)
    degrees = (counts - lead) // width
    source = np.repeat(np.arange(nodes), degrees)
    target = entries[:, 0] - 1
    weights = entries[:, 1] if has_edge_weights else np.ones(len(entries), np.int64)
    _check_entries(name, numbers, nodes, source, target, weights)
    found = simple_edges(name, source, target, weights, lambda i: f"{name}, line {numbers[source[i]]}")
    kept = len(found.u)
    if edges not in (kept, kept + found.loops) and len(entries) != 2 * edges:
        refuse(
            name, lines[0][0],
            f"the header announces {edges} edges, the lines hold {len(entries)} entries, expected {2 * edges}",
        )  # fmt: skip
    return from_edges(name, nodes, found.u, found.v, found.weights, node_weights)


def _check_entries(name: str, numbers: Array, nodes: int, source: Array, target: Array, weights: Array) -> None:
    """Refuse ids out of range, weights below 1 and edges that stand in one row only."""

    def first(bad: Array) -> int:
        return int(np.flatnonzero(bad)[0])

    for bad, why in (
        ((target < 0) | (target >= nodes), "neighbour {} is outside 1.." + str(nodes)),
        (weights <= 0, "the edge to {} has a weight below 1"),
    ):
        if bad.any():
            refuse(name, int(numbers[source[first(bad)]]), why.format(int(target[first(bad)]) + 1))
    key, mirror = source * nodes + target, target * nodes + source
    if np.array_equal(np.sort(key), np.sort(mirror)):
        return
    absent = ~np.isin(key, mirror)
    if absent.any():
        at = first(absent)
        refuse(
            name, int(numbers[source[at]]),
            f"neighbour {int(target[at]) + 1} does not list node {int(source[at]) + 1} in turn",
        )  # fmt: skip
