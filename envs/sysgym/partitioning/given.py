"""What a user gives beside a graph: nodes that are fixed in a part, and a partition to start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.data import read_text
from sysgym.core.errors import InvalidSolution, UsageError, shortened, unknown
from sysgym.core.problem import Array
from sysgym.core.solutions import read_solution
from sysgym.graphs.csr import Graph
from sysgym.graphs.hypergraph import Hypergraph

STARTS = ("grow", "greedy", "random")  # that need no file


def check_start(start: str | None) -> None:
    """UsageError unless it is None, one of STARTS or a file."""
    if start is not None and start not in STARTS and not Path(start).is_file():
        known = str(unknown("start", start, STARTS)).removesuffix(".")
        raise UsageError(f"{known}, or the file of a partition to start from.")


def with_given(problem: Any, graph: Graph | Hypergraph) -> Graph | Hypergraph:
    """The graph with the fixed nodes and the start that options of the problem, a `Partitioning`, name; UsageError if
    they do not fit.
    """
    if problem.fixed is not None:
        graph = replace(graph, fixed=read_fixed(graph, problem.fixed, problem.k))
    if problem.start is not None and problem.start not in STARTS:
        try:
            start = read_solution(problem, graph, problem.start)["part"].astype(np.int32)
        except InvalidSolution as error:
            raise UsageError(f"option start: {error}") from error
        check_kept(graph, start, problem.start)
        graph = replace(graph, start=start)
    return graph


def check_kept(graph: Graph | Hypergraph, part: Array, source: str) -> None:
    """UsageError if a partition (n,) puts a fixed node into another part than it is fixed in."""
    moved = np.flatnonzero((graph.given >= 0) & (graph.given != part))
    if len(moved):
        node = int(moved[0])
        raise UsageError(
            f"{source} puts node {shown(graph, node)} into part {int(part[node])}, where {int(graph.given[node])} is "
            f"fixed for it ({len(moved)} such nodes); change one of the two."
        )


def shown(graph: Graph | Hypergraph, node: int) -> int:
    """What the graph's file calls a node."""
    return node if graph.ids is None else int(graph.ids[node])


def read_fixed(graph: Graph | Hypergraph, path: str, parts: int) -> Array:
    """The part that each node is fixed in, (n,) int32, -1 where it is free.

    The file has a line a node with its part or -1, as hMETIS, KaHyPar and Mt-KaHyPar read it, or lines `id part` for
    fixed nodes alone, in any order. Comments start with % or #. UsageError names a wrong line; at least one node must
    be free.
    """
    rows: list[tuple[int, list[int]]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split("%")[0].split("#")[0].split()
        if not words:
            continue
        try:
            row = [int(word) for word in words]
        except ValueError:
            row = []
        if not row or len(row) > 2 or (rows and len(row) != len(rows[0][1])):
            raise UsageError(
                f"{path} line {number}: expected the part of a node or -1 on each line, or 'id part' on each, got "
                f"{shortened(line.strip(), 60)!r}."
            )
        if not -1 <= row[-1] < parts:
            raise UsageError(
                f"{path} line {number}: {row[-1]} is no part; expected 0 to {parts - 1}, or -1 for a free node."
            )
        rows.append((number, row))
    fixed = _by_id(graph, path, rows) if rows and len(rows[0][1]) == 2 else _in_order(graph, path, rows)
    if (fixed >= 0).all():
        raise UsageError(f"{path} fixes all {graph.nodes} nodes of {graph.name}; leave one free at least.")
    return fixed


def _in_order(graph: Graph | Hypergraph, path: str, rows: list[tuple[int, list[int]]]) -> Array:
    if len(rows) != graph.nodes:
        raise UsageError(
            f"{path} holds {len(rows)} lines for the {graph.nodes} nodes of {graph.name}; give a part or -1 for each, "
            "or lines 'id part' for the fixed ones."
        )
    return np.array([row[0] for _, row in rows], np.int32)


def _by_id(graph: Graph | Hypergraph, path: str, rows: list[tuple[int, list[int]]]) -> Array:
    fixed, seen = np.full(graph.nodes, -1, np.int32), set()
    index = {node: i for i, node in enumerate(range(graph.nodes) if graph.ids is None else graph.ids.tolist())}
    for number, (node, part) in rows:
        if node not in index:
            raise UsageError(f"{path} line {number}: node {node} is none of {graph.name}.")
        if node in seen:
            raise UsageError(f"{path} line {number}: node {node} is named twice.")
        seen.add(node)
        fixed[index[node]] = part
    return fixed
