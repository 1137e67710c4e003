"""Edge lists: `u v [weight]` a line, as SNAP, KONECT, networkx and many others write them."""

from __future__ import annotations

import re

import numpy as np

from sysgym.core.errors import announce
from sysgym.core.problem import Array
from sysgym.graphs.csr import MAX_WEIGHT, Graph, from_edges
from sysgym.graphs.lines import integers, refuse, refuse_sparse_ids, simple_edges, text_lines

SNAP = re.compile(r"#\s*nodes:\s*(\d+)", re.IGNORECASE)
KONECT = re.compile(r"%\s*\d+\s+(\d+)\s+\1\s*$")
ATTRIBUTES = re.compile(r"\{([^{}]*)\}\s*$")  # of networkx: a dictionary after the two ends
WEIGHT = re.compile(r"['\"]weight['\"]:\s*([^,\s]+)")
WHOLE = re.compile(r"[+-]?\d+\.0*(?:e[+]?0+)?$", re.IGNORECASE)  # an integer that was written as a float


def parse_edge_list(name: str, data: bytes, nodes: int | None = None) -> Graph:
    """A graph from lines `u v [weight]`; an edge may stand in both directions. Ids are numbers of any kind.

    Ids that do not occur are no nodes: the others are numbered in their order, which is announced, and the graph keeps
    them as `ids`. `nodes`, or the header of a SNAP or KONECT file, says how many nodes there are with those that have
    no edge: they are 0..nodes-1, or 1..nodes where the largest id is `nodes` and in files of KONECT.
    """
    rows, comments = text_lines(name, data, ("#", "%"))
    plain = _plain if b"{" in data or b"." in data else str
    said = [line for _, line in rows if line.strip()]
    rows = [(number, plain(line)) for number, line in rows if line.strip()]
    if any("{" in line for line in said) and any(len(line.split()) == 3 for _, line in rows):
        rows = [  # a dictionary without a weight means 1, as in networkx, where others have one
            (number, f"{line} 1" if "{" in whole and len(line.split()) == 2 else line)
            for (number, line), whole in zip(rows, said, strict=True)
        ]
    if not rows:
        refuse(name, 1, "the file holds no edges")
    values, counts = integers(name, rows)
    wrong = np.flatnonzero(((counts != 2) & (counts != 3)) | (counts != counts[0]))
    if len(wrong):
        number, found = rows[wrong[0]][0], counts[wrong[0]]
        refuse(name, number, f"expected 'u v' or 'u v weight' like the first line, got {found} numbers")
    table = values.reshape(len(rows), -1)
    weights = table[:, 2] if table.shape[1] == 3 else np.ones(len(rows), np.int64)
    for bad, why in (((table[:, :2] < 0).any(axis=1), "a node id is negative"), (weights <= 0, "a weight below 1")):
        if bad.any():
            refuse(name, rows[int(np.flatnonzero(bad)[0])][0], why)
    if nodes is not None:
        refuse_sparse_ids(name, nodes, len(rows))
    ids, index = np.unique(table[:, :2], return_inverse=True)
    ids, index = _numbered(name, ids, index.reshape(-1, 2), nodes, comments)
    found = simple_edges(name, index[:, 0], index[:, 1], weights, lambda i: f"{name}, line {rows[i][0]}")
    return from_edges(name, len(ids), found.u, found.v, found.weights, None, ids)


def _plain(line: str) -> str:
    """A line as numbers: networkx' attributes give the weight, or none; integers written as floats are integers."""
    if "{" in line:
        said = ATTRIBUTES.search(line)
        if said:
            weight = WEIGHT.search(said[1])
            line = line[: said.start()] + (weight[1] if weight else "")
    words = line.split()
    if words and WHOLE.match(words[-1]) and abs(float(words[-1])) < MAX_WEIGHT:
        words[-1] = str(int(float(words[-1])))
    return " ".join(words)


def _numbered(name: str, ids: Array, index: Array, nodes: int | None, comments: list[str]) -> tuple[Array, Array]:
    """The id of each node, (n,), and the nodes of each entry, (t, 2), from the ids that occur."""
    count, last = len(ids), int(ids[-1])
    header = next((found for line in comments if (found := SNAP.match(line) or KONECT.match(line))), None)
    wanted = nodes if nodes is not None else int(header[1]) if header else None
    from_one = ids[0] >= 1 and (last == wanted or (header is not None and header.re is KONECT))
    if nodes is not None and nodes < count:
        refuse(name, 1, f"nodes={nodes}, but {count} different ids occur")
    if wanted is not None and wanted > count:
        if from_one and last <= wanted:
            return np.arange(1, wanted + 1), ids[index] - 1
        if last < wanted:
            if ids[0] >= 1:
                announce(
                    f"{name}: of {wanted} nodes, ids from {ids[0]} to {last} have an edge; as none is {wanted}, ids "
                    "are taken to count from 0, and line i of a partition is node i - 1."
                )
            return np.arange(wanted), ids[index]
        if nodes is not None:
            refuse(name, 1, f"nodes={nodes}, but an id is {last}; ids must be below it, or 1 to {nodes}")
        announce(f"{name}: its header says {wanted} nodes, {count} occur; those that do not are left out.")
    if last >= count:
        announce(
            f"{name}: {count} ids from {ids[0]} to {last} occur, which are nodes 0 to {count - 1} in this order; "
            "partitions are written with the file's ids. Nodes without an edge need -O nodes=N."
        )
    return ids, index
