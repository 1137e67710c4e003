"""HDP and Placeto: learners of device placement."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sysgym
from sysgym.core.registry import make_problem
from sysgym.dataflow.simulator.simulate import evaluate_batch
from sysgym_agents.core import Budget, Callback, Learner, completed
from sysgym_agents.dataflow.hdp import HDP
from sysgym_agents.dataflow.placeto import Placeto

AGENTS = [pytest.param(HDP, id="hdp"), pytest.param(Placeto, id="placeto")]
TINY = "layered:depth=2,width=2,train=0,devices=2,seed=4,heavy=0,size=400"
OTHER = "layered:depth=4,width=3,devices=3,seed=2"


def problem(**options: Any) -> Any:
    return make_problem("sysgym/DevicePlacement-v0", **options)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def cost(task: Any, graph: Any, solution: Any) -> float:
    verdict = task.judge(graph, solution)
    assert verdict.feasible
    return float(verdict.cost)


def listener(rows: list[dict[str, float]], go_on: bool) -> Callback:
    """A callback that keeps what it hears."""

    def hear(row: dict[str, float]) -> bool:
        rows.append(row)
        return go_on

    return hear


def random_costs(task: Any, graph: Any, count: int) -> Any:
    """Costs of random placements of units, (count,)."""
    work = task.work(graph)
    rows = rng(9).integers(0, work.job.devices, (count, work.units.count))[:, work.units.of]
    return evaluate_batch(graph, work.job.times, work.job.cluster, rows)[0]


@pytest.mark.parametrize("make", AGENTS)
def test_they_come_close_to_the_optimum_of_a_tiny_graph(make: Any) -> None:
    task = problem(mode="oneshot", latency_ns=100)
    graph = task.load(TINY)
    job = task.job(graph)
    assert graph.nodes <= 10
    every = np.array(list(itertools.product(range(2), repeat=graph.nodes)))
    optimum = float(evaluate_batch(graph, job.times, job.cluster, every)[0].min())
    assert optimum < job.single_ns
    found = cost(task, graph, make().solve(task, graph, rng(), Budget(steps=400)))
    assert found <= 1.05 * optimum


@pytest.mark.parametrize(("make", "name"), [
    pytest.param(HDP, "layered/train-0", id="hdp-train"),
    pytest.param(Placeto, OTHER, id="placeto-other"),
    pytest.param(HDP, OTHER, id="hdp-other-DevicePlacement", marks=pytest.mark.full),
    pytest.param(Placeto, "layered/train-0", id="placeto-train-DevicePlacement", marks=pytest.mark.full),
])  # fmt: skip
def test_they_beat_as_many_random_placements(make: Any, name: str) -> None:
    task = problem()
    graph = task.load(name)
    found = cost(task, graph, make().solve(task, graph, rng(), Budget(steps=400)))
    assert found < random_costs(task, graph, 400).min()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "steps"), [pytest.param(HDP, 800, id="hdp"), pytest.param(Placeto, 500, id="placeto")]
)
def test_they_beat_a_single_device_on_a_language_model(make: Any, steps: int) -> None:
    task = problem()
    graph = task.load("seeds/rnnlm_2l")
    found = cost(task, graph, make().solve(task, graph, rng(), Budget(steps=steps)))
    assert found < 0.95 * task.job(graph).single_ns
    assert found < random_costs(task, graph, steps).min()


@pytest.mark.parametrize("make", AGENTS)
def test_weights_solve_other_graphs_and_survive_the_disk(make: Any, tmp_path: Path) -> None:
    task = problem()
    one, other = task.load("layered/train-0"), task.load(OTHER)
    agent = make(hidden=8)
    rows: list[dict[str, float]] = []
    agent.fit(task, [one], rng(), Budget(steps=200), listener(rows, True))
    completed(type(agent))
    assert isinstance(agent, Learner)
    assert rows[-1]["steps"] == 200 and {"seconds", "reward", "cost_ratio", "best_ratio", "feasible"} <= set(rows[-1])
    agent.save(tmp_path)
    again = make()
    again.load(tmp_path)
    for graph in (one, other):
        ours, theirs = (item.solve(task, graph, rng(1), Budget(steps=60))["placement"] for item in (agent, again))
        assert np.array_equal(ours, theirs)
        cost(task, graph, {"placement": ours})
    assert cost(task, one, agent.solve(task, one, rng(1), Budget(steps=60))) < random_costs(task, one, 200).mean()
    again.fit(task, [one, other], rng(2), Budget(steps=40))  # on from the weights


@pytest.mark.parametrize("make", AGENTS)
def test_they_are_deterministic_and_keep_to_budgets(make: Any) -> None:
    task = problem(devices=5)
    graph = task.load(OTHER)
    first, second, third = (
        make().solve(task, graph, rng(seed), Budget(steps=50))["placement"] for seed in (3, 3, 4)
    )  # fmt: skip
    assert np.array_equal(first, second) and first.dtype == np.int32 and first.shape == (graph.nodes,)
    assert third.shape == first.shape
    calls: list[dict[str, float]] = []
    make().fit(task, [graph], rng(), Budget(steps=10**6), listener(calls, False))
    assert len(calls) == 1
    make().solve(task, graph, rng(), Budget(seconds=0.2))
    make().solve(task, graph, rng(), Budget(steps=1))


@pytest.mark.parametrize("make", AGENTS)
@pytest.mark.parametrize(
    "options", [{"objective": "throughput"}, {"simulator": "placeto"}, {"mode": "oneshot", "noise": 0.1}]
)
def test_they_follow_the_rules_of_the_problem(make: Any, options: dict[str, Any]) -> None:
    task = problem(**options)
    graph = task.load("layered/train-0")
    agent = make()
    found = task.judge(graph, agent.solve(task, graph, rng(), Budget(steps=60))).cost
    assert found <= task.judge(graph, {"placement": rng().integers(0, 2, graph.nodes)}).cost


@pytest.mark.parametrize("make", AGENTS)
def test_memory_is_kept_to(make: Any) -> None:
    task = problem(mem_factor=0.8)
    graph = task.load(OTHER)
    assert not task.judge(graph, {"placement": np.zeros(graph.nodes, np.int32)}).feasible
    cost(task, graph, make().solve(task, graph, rng(), Budget(steps=400)))


@pytest.mark.parametrize(
    ("make", "hyper"),
    [(HDP, {"groups": 0}), (HDP, {"tanh": float("nan")}), (HDP, {"hidden": 8.0}), (HDP, {"warm": True}),
     (Placeto, {"episodes": 0}), (Placeto, {"discount": 1.5}), (Placeto, {"start": "expert"}),
     (Placeto, {"rounds": "4"})],
)  # fmt: skip
def test_hyper_parameters_are_checked(make: Any, hyper: dict[str, Any]) -> None:
    with pytest.raises(sysgym.UsageError, match=next(iter(hyper))):
        make(**hyper)


@pytest.mark.parametrize("make", AGENTS)
def test_damaged_weights_are_refused(make: Any, tmp_path: Path) -> None:
    task = problem()
    graph = task.load("layered/train-0")
    agent = make(hidden=8)
    with pytest.raises(sysgym.UsageError, match="no weights"):
        agent.save(tmp_path)
    with pytest.raises(sysgym.UsageError, match="at least one graph"):
        agent.fit(task, [], rng(), Budget(steps=1))
    agent.fit(task, [graph], rng(), Budget(steps=8))
    agent.save(tmp_path)
    good = json.loads((tmp_path / "agent.json").read_text())
    for change in (
        {"agent": "gap"}, {"hyper": {**good["hyper"], "hidden": 16}}, {"hyper": {"colour": 1}}, {"hyper": [1]},
        {"vocabulary": None}, {"vocabulary": ["mm"]}, {"vocabulary": [1, 2]}, {"hyper": {"hidden": -1}},
    ):  # fmt: skip
        (tmp_path / "agent.json").write_text(json.dumps({**good, **change}))
        with pytest.raises(sysgym.UsageError):
            make().load(tmp_path)
    with pytest.raises(sysgym.UsageError):
        make().load(tmp_path / "nowhere")
