"""The rules and libraries that learners of partitions are measured by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sysgym import UsageError, make_problem
from sysgym.graphs import from_edges
from sysgym_agents import Budget, make_agent
from sysgym_agents.partitioning.baselines import cut_of


def solved(name: str, problem: Any, graph: Any, budget: Budget = Budget(), **hyper: Any) -> Any:  # noqa: B008
    return make_agent(name, **hyper).solve(problem, graph, np.random.default_rng(0), budget)["part"]


def test_repair_after_spectral_parts_never_makes_them_worse() -> None:
    problem = make_problem("Partitioning", k=4)
    for name in ("tiny/delaunay-test", "tiny/geometric-test", "tiny/grid-test"):
        graph = problem.load(name)
        before, after = (cut_of(graph, solved(agent, problem, graph)) for agent in ("spectral", "spectral-fm"))
        assert after <= before and problem.judge(graph, {"part": solved("spectral-fm", problem, graph)}).feasible


def test_more_calls_of_metis_answer_no_worse_than_the_first() -> None:
    pytest.importorskip("pymetis")
    problem = make_problem("Partitioning", k=4)
    for name in ("delaunay/test-0", "tiny/geometric-test"):
        graph = problem.load(name)
        one, many = (
            problem.judge(graph, {"part": solved("metis-restarts", problem, graph, Budget(steps=steps))})
            for steps in (1, 20)
        )
        first = problem.judge(graph, {"part": solved("metis", problem, graph)})
        assert (one.cost, one.feasible) == (first.cost, first.feasible)
        assert (not many.feasible, many.cost) <= (not one.feasible, one.cost)


@pytest.mark.parametrize("preset", ["default", "quality", "deterministic"])
def test_mt_kahypar_splits_weighted_graphs_within_the_limit(preset: str) -> None:
    pytest.importorskip("mtkahypar")
    problem = make_problem("Partitioning", k=2)
    graph = from_edges("two triangles", 6, [0, 1, 2, 3, 4, 5, 2], [1, 2, 0, 4, 5, 3, 3], [5, 5, 5, 5, 5, 5, 1])
    part = solved("mtkahypar", problem, graph, preset=preset)
    assert problem.judge(graph, {"part": part}).feasible and cut_of(graph, part) == 1
    with pytest.raises(UsageError, match="cannot split the 6 nodes"):
        solved("mtkahypar", make_problem("Partitioning", k=7), graph)


def test_the_same_seed_has_mt_kahypar_answer_the_same() -> None:
    pytest.importorskip("mtkahypar")
    problem = make_problem("Partitioning", k=4)
    graph = problem.load("delaunay/test-0")
    one, two = (solved("mtkahypar", problem, graph, preset="deterministic") for _ in range(2))
    assert (one == two).all()


def test_the_top_gain_is_taken_where_gains_are_listed() -> None:
    problem = make_problem("Partitioning", k=2, eps=0.2, mode="refine", start="random")
    graph = problem.load("tiny/delaunay-test")
    start = problem.dynamics.start(graph, np.random.default_rng(0))
    before = cut_of(graph, problem.dynamics.solution(graph, start)["part"])
    greedy = problem.judge(graph, {"part": solved("greedy", problem, graph)})
    assert greedy.feasible and greedy.cost < before / 2
    with pytest.raises(UsageError, match="lists no gain of its actions"):
        solved("greedy", make_problem("Partitioning", k=2, mode="assign"), graph)


def test_the_first_action_is_what_the_reference_of_completed_problems_plays() -> None:
    problem = make_problem("Partitioning", k=2, mode="assign")
    graph = problem.load("tiny/delaunay-test")
    part = solved("first", problem, graph)
    assert problem.judge(graph, {"part": part}).feasible and part[:1].tolist() in ([0], [1])
