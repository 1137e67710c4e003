"""The learnt order of moves: what it may change, and what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym import UsageError, make_problem
from sysgym.graphs.generate import generate_graph
from sysgym_agents import Budget, make_agent

GRAPHS = [generate_graph(name) for name in ("delaunay:n=80,seed=1", "barabasi_albert:n=70,seed=2")]


def fitted(**hyper: Any) -> Any:
    agent = make_agent("learnt-fm", pairs=2, batch=2, **hyper)
    agent.fit(make_problem("Partitioning", k=2), GRAPHS, np.random.default_rng(0), Budget(steps=4))
    return agent


def solved(agent: Any, graph: Any, k: int = 4) -> np.ndarray:
    problem = make_problem("Partitioning", k=k)
    return agent.solve(problem, graph, np.random.default_rng(1), Budget(steps=6))["part"]


def test_untrained_it_is_fm_and_trained_it_is_not() -> None:
    graph = generate_graph("geometric:n=600,seed=3")
    same = solved(make_agent("fm"), graph)
    assert np.array_equal(solved(make_agent("learnt-fm"), graph), same)
    trained = fitted()
    assert np.linalg.norm(trained.theta) > 0.01 and not np.array_equal(solved(trained, graph), same)
    assert make_problem("Partitioning", k=4).judge(graph, {"part": solved(trained, graph)}).feasible


def test_fresh_weights_have_the_length_of_the_learnt_ones() -> None:
    agent = fitted()
    learnt = agent.theta.copy()
    assert agent.forget(np.random.default_rng(0))
    assert np.isclose(np.linalg.norm(agent.theta), np.linalg.norm(learnt)) and not np.allclose(agent.theta, learnt)
    assert not make_agent("learnt-fm").forget(np.random.default_rng(0))


def test_weights_come_back_and_others_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    agent = fitted()
    agent.save(tmp_path)
    again = make_agent("learnt-fm")
    again.load(tmp_path)
    assert np.array_equal(again.theta, agent.theta)
    save_file({"theta": np.zeros(4)}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="must hold 'theta' of 5 numbers"):
        again.load(tmp_path)


def test_training_goes_on_exactly_where_it_was_saved(tmp_path: Path) -> None:
    problem, budget = make_problem("Partitioning", k=2), Budget(steps=10)
    whole, half, more = (make_agent("learnt-fm", pairs=1, batch=2) for _ in range(3))
    whole.fit(problem, GRAPHS, np.random.default_rng(0), budget)
    half.fit(problem, GRAPHS, np.random.default_rng(0), budget, lambda row: row["steps"] < 5)
    half.save(tmp_path)
    assert half.save_training(tmp_path) and not np.array_equal(half.theta, whole.theta)
    more.load(tmp_path)
    assert more.load_training(tmp_path, Budget(steps=5))
    more.fit(problem, GRAPHS, np.random.default_rng(0), Budget(steps=5))
    assert np.array_equal(more.theta, whole.theta)
