"""hMETIS hypergraph files, `.hgr`: a header `nets nodes [fmt]`, a line a net, then a line a node weight.

fmt 1 puts a weight before the pins of each net, 10 adds the node weights, 11 both. Pins count from 1, lines that start
with % are comments, blank lines are passed over. A pin that a net names again counts once, as Mt-KaHyPar and KaHyPar
take it, which is announced (hMETIS says nothing of it). Nets of one pin are kept: no partition cuts them.
"""

from __future__ import annotations

import numpy as np

from sysgym.core.errors import announce
from sysgym.core.problem import Array
from sysgym.graphs.hypergraph import Hypergraph, from_nets
from sysgym.graphs.lines import integers, refuse, text_lines

Lines = list[tuple[int, str]]


def _header(name: str, number: int, line: str) -> tuple[int, int, bool, bool]:
    words = line.split()
    if not 2 <= len(words) <= 3 or not all(word.isdigit() for word in words):
        refuse(name, number, f"the header must be 'nets nodes [fmt]', got {line.strip()[:60]!r}")
    fmt = words[2] if len(words) > 2 else "0"
    if fmt.zfill(2) not in ("00", "01", "10", "11"):
        refuse(name, number, f"fmt must be 1 (net weights), 10 (node weights) or 11 (both), got {fmt!r}")
    nets, nodes = int(words[0]), int(words[1])
    if nodes == 0:
        refuse(name, number, "the header announces no nodes; a hypergraph needs at least one")
    if nodes >= 2**31 or nets >= 2**31:
        refuse(name, number, f"{nets} nets and {nodes} nodes are more than can be held")
    return nets, nodes, fmt.zfill(2)[1] == "1", fmt.zfill(2)[0] == "1"


def parse_hmetis(name: str, data: bytes) -> Hypergraph:
    """A hypergraph from the bytes of an hMETIS file; UsageError names the line that is wrong."""
    lines = [row for row in text_lines(name, data, ("%",))[0] if row[1].strip()]
    if not lines:
        refuse(name, 1, "the file holds no header")
    nets, nodes, has_net_weights, has_node_weights = _header(name, *lines[0])
    rows, loads = lines[1 : nets + 1], lines[nets + 1 :]
    wanted, last = nodes if has_node_weights else 0, lines[-1][0]
    if len(rows) < nets:
        refuse(name, last, f"the file ends after {len(rows)} of the {nets} nets that the header announces")
    if len(loads) < wanted:
        refuse(name, last, f"the file ends after {len(loads)} of the {nodes} node weights that the header announces")
    if len(loads) > wanted:
        said = f"{nets} nets and {nodes} node weights" if has_node_weights else f"{nets} nets"
        refuse(name, loads[wanted][0], f"more lines than the {said} that the header announces")
    pins, net_ptr, weights = _nets(name, rows, nodes, has_net_weights)
    vwgt = _node_weights(name, loads) if has_node_weights else None
    found = from_nets(name, nodes, net_ptr, pins, weights, vwgt)
    if len(found.pins) < len(pins):
        announce(f"{name}: {len(pins) - len(found.pins)} pins are named again in their net; each counts once.")
    return found


def _nets(name: str, rows: Lines, nodes: int, weighted: bool) -> tuple[Array, Array, Array | None]:
    """Pins from 0, where each net begins among them, and the weights of the nets."""
    values, counts = integers(name, rows)
    numbers, lead = np.array([number for number, _ in rows], np.int64), int(weighted)
    empty = np.flatnonzero(counts <= lead)
    if len(empty):
        refuse(name, int(numbers[empty[0]]), "the net has a weight, but no pin")
    starts = np.cumsum(counts) - counts
    body = np.ones(len(values), bool)
    body[starts[:, None] + np.arange(lead)] = False
    pins, net_of = values[body], np.repeat(np.arange(len(rows)), counts - lead)
    outside = np.flatnonzero((pins < 1) | (pins > nodes))
    if len(outside):
        at = int(outside[0])
        refuse(name, int(numbers[net_of[at]]), f"pin {int(pins[at])} is outside 1..{nodes}")
    if weighted and (values[starts] <= 0).any():
        refuse(name, int(numbers[np.flatnonzero(values[starts] <= 0)[0]]), "the net has a weight below 1")
    net_ptr = np.concatenate([[0], np.cumsum(counts - lead)]).astype(np.int64)
    return pins - 1, net_ptr, values[starts] if weighted else None


def _node_weights(name: str, rows: Lines) -> Array:
    values, counts = integers(name, rows)
    for bad, why in ((counts != 1, "expected one node weight"), (values < 0, "a node weight is negative")):
        if bad.any():
            refuse(name, rows[int(np.flatnonzero(bad)[0])][0], why)
    return values


def format_hmetis(graph: Hypergraph) -> str:
    """The hypergraph as an hMETIS file, with the weights that are not all 1."""
    net_weights, node_weights = bool((graph.net_weights != 1).any()), bool((graph.vwgt != 1).any())
    fmt = ("", " 1", " 10", " 11")[net_weights + 2 * node_weights]
    lines = [f"{graph.edges} {graph.nodes}{fmt}"]
    pins = (graph.pins + 1).tolist()
    for e in range(graph.edges):
        words = [int(graph.net_weights[e])] if net_weights else []
        lines.append(" ".join(map(str, words + pins[graph.net_ptr[e] : graph.net_ptr[e + 1]])))
    if node_weights:
        lines += map(str, graph.vwgt.tolist())
    return "\n".join(lines) + "\n"
