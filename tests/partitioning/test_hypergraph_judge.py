"""Cuts and balance of hypergraphs against recorded answers, loops over nets, and all answers of small cases."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypergraphs import as_nets, weighted

from sysgym.core.errors import UsageError
from sysgym.core.registry import make_problem
from sysgym.core.solutions import read_solution
from sysgym.graphs.csr import from_edges
from sysgym.graphs.generate import generate_graph
from sysgym.graphs.hypergraph import from_nets
from sysgym.graphs.netlists import generate_hypergraph


def by_hand(graph, part) -> tuple[int, int]:
    """Cut and km1 net by net."""
    cut = km1 = 0
    for e in range(graph.edges):
        reached = {int(part[v]) for v in graph.pins[graph.net_ptr[e] : graph.net_ptr[e + 1]]}
        cut += int(graph.net_weights[e]) * (len(reached) > 1)
        km1 += int(graph.net_weights[e]) * (len(reached) - 1)
    return cut, km1


@pytest.mark.parametrize(("name", "cut"), [("ibm01", 203), ("ibm02", 326)])
def test_recorded_answers_are_what_they_claim(partition_data: Path, name: str, cut: int) -> None:
    problem = make_problem("Partitioning", ubfactor=2)
    graph = problem.load(str(partition_data / "hypergraphs" / f"{name}.hgr.gz"))
    verdict = problem.judge(
        graph, read_solution(problem, graph, partition_data / f"hypergraphs/{name}.ub2.best.part2.gz")
    )
    assert verdict.feasible and verdict.cost == verdict.metrics["km1"] == cut


@pytest.mark.parametrize("k", [2, 3, 5])
def test_both_objectives_agree_with_a_loop_over_the_nets(k: int) -> None:
    for seed in range(20):
        graph = weighted(seed)
        part = np.random.default_rng(seed).integers(k, size=graph.nodes)
        cut, km1 = by_hand(graph, part)
        for objective, cost in (("cut", cut), ("km1", km1)):
            verdict = make_problem("Partitioning", k=k, objective=objective).judge(graph, {"part": part})
            assert verdict.cost == cost and verdict.metrics["cut"] == cut and verdict.metrics["km1"] == km1


def test_nets_of_two_pins_cost_what_the_edges_of_a_graph_do() -> None:
    graph = generate_graph("delaunay:n=50,seed=1")
    nets = as_nets(graph)
    part = np.random.default_rng(0).integers(4, size=50)
    for objective in ("cut", "km1"):
        problem = make_problem("Partitioning", k=4, objective=objective)
        assert problem.judge(nets, {"part": part}).as_dict() == problem.judge(graph, {"part": part}).as_dict()


def test_names_of_parts_do_not_matter() -> None:
    graph, problem = weighted(3), make_problem("Partitioning", k=4, objective="km1")
    part = np.random.default_rng(1).integers(4, size=graph.nodes)
    renamed = np.array([2, 0, 3, 1])[part]
    mine, other = (problem.judge(graph, {"part": p}).metrics for p in (part, renamed))
    assert mine == other


@pytest.mark.parametrize(("weight", "ubfactor", "most"), [(100, 2, 52), (101, 2, 52), (99, 1, 50), (12752, 2, 6631)])
def test_ubfactor_bounds_both_parts(weight: int, ubfactor: float, most: int) -> None:
    graph = from_nets("row", weight, [0, 2], [0, 1])
    problem = make_problem("Partitioning", ubfactor=ubfactor)
    for heavy, feasible in ((most, True), (most + 1, False)):
        for first in (0, 1):
            part = np.full(weight, first)
            part[:heavy] = 1 - first
            verdict = problem.judge(graph, {"part": part})
            assert verdict.feasible == feasible and verdict.metrics["l_min"] == weight - most
            share = 100 * verdict.metrics["min_load"] / weight
            assert feasible == (share >= 50 - ubfactor)
    assert "at ubfactor" in verdict.violations[1] and "at least" in verdict.violations[1]


def test_ubfactor_is_for_two_parts_of_a_hypergraph() -> None:
    with pytest.raises(UsageError, match="ubfactor is a rule for two parts, k=3 were asked for"):
        make_problem("Partitioning", ubfactor=2, k=3)
    graph = from_edges("pair", 2, [0], [1])
    with pytest.raises(UsageError, match="ubfactor is a rule of hypergraphs, pair is a graph"):
        make_problem("Partitioning", ubfactor=2).judge(graph, {"part": np.array([0, 1])})


@pytest.mark.parametrize("objective", ["cut", "km1"])
def test_all_answers_of_a_small_case(objective: str) -> None:
    graph = generate_hypergraph("netlist:n=8,seed=4")
    problem = make_problem("Partitioning", k=3, eps=0.4, objective=objective)
    index = 1 if objective == "km1" else 0
    for answer in product(range(3), repeat=8):
        verdict = problem.judge(graph, {"part": np.array(answer)})
        assert verdict.cost == by_hand(graph, answer)[index]
        assert verdict.feasible == (max(map(answer.count, range(3))) <= 4)
