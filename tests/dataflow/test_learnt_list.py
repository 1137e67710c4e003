"""Learnt list scheduling: what it is untrained, what it may not depend on, and that training helps and goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym import UsageError, make_problem
from sysgym_agents import Budget, make_agent
from sysgym_agents.dataflow.baselines import HEFT
from sysgym_agents.dataflow.learnt_list import search
from sysgym_agents.dataflow.learnt_list.rule_kernels import CHOICES, NUMBERS
from sysgym_agents.dataflow.learnt_list.state import beginning, earliest_finish, placed, read, weights_of

PROBLEM = make_problem("DevicePlacement", schedule="critical_path")
GRAPHS = [
    PROBLEM.load(f"layered:depth={depth},width=4,devices={d},seed={depth}") for depth, d in ((4, 2), (6, 4), (9, 3))
]


def fitted(steps: int = 4, seed: int = 0, **hyper: Any) -> Any:
    agent = make_agent("learnt-list", **{"pairs": 2, "batch": 3, "generated": 2, **hyper})
    agent.fit(PROBLEM, GRAPHS, np.random.default_rng(seed), Budget(steps=steps))
    return agent


def cost(agent: Any, graph: Any, steps: int = 1, seed: int = 0) -> float:
    verdict = PROBLEM.judge(graph, agent.solve(PROBLEM, graph, np.random.default_rng(seed), Budget(steps=steps)))
    assert verdict.feasible
    return float(verdict.cost)


def by_hand(problem: Any, graph: Any) -> np.ndarray:
    """HEFT's choice in plain Python: operators along the critical path, one unit each, where they end first."""
    work = problem.work(graph)
    job, pace, latency = work.job, *work.link
    assert work.units.count == graph.nodes
    place, finish, sent = np.full(graph.nodes, -1), np.zeros(graph.nodes), {}
    free, out_free, in_free, load = (np.zeros(job.devices) for _ in range(4))
    even = work.mean_work.sum() / job.devices
    for v in np.lexsort((np.arange(graph.nodes), -job.critical_path)):
        inputs = [int(t) for t in graph.edge_tensor[graph.in_ptr[v] : graph.in_ptr[v + 1]]]

        def ready(device: int, inputs: list[int] = inputs) -> float:
            times = [0.0]
            for t in inputs:
                source = graph.tensor_src[t]
                there = place[source]
                takes = graph.tensor_bytes[t] / pace
                known = sent.get((t, device))
                apart = (
                    max(finish[source], out_free[there], in_free[device]) + takes + latency if known is None else known
                )
                times.append(finish[source] if there == device else apart)
            return max(times)

        ends = np.array([max(ready(d), free[d]) + job.times[d, v] for d in range(job.devices)])
        late = ends - ends.min()
        scores = -np.minimum(4 * late / even, 3) - late / (late + job.times[:, v] + 1e-3 * even)
        empty = np.flatnonzero(load == 0)
        scores[empty[1:]] = -np.inf
        place[v] = int(np.argmax(scores))
        start = 0.0
        for t in inputs:
            source = graph.tensor_src[t]
            there, here = place[source], place[v]
            if there == here:
                start = max(start, finish[source])
                continue
            if (t, here) not in sent:
                end = max(finish[source], out_free[there], in_free[here]) + graph.tensor_bytes[t] / pace
                out_free[there] = in_free[here] = end
                sent[t, here] = end + latency
            start = max(start, sent[t, here])
        finish[v] = max(start, free[place[v]]) + job.times[place[v], v]
        free[place[v]] = finish[v]
        load[place[v]] += job.times[place[v], v]
    return place


@pytest.mark.parametrize("seed", range(4))
def test_untrained_it_is_the_earliest_finish(seed: int) -> None:
    problem = make_problem("DevicePlacement", schedule="critical_path", grouping="op", mode="oneshot")
    graph = problem.load(f"layered:depth=5,width=4,devices=3,seed={seed}")
    assert np.array_equal(placed(read(problem.work(graph)), earliest_finish()), by_hand(problem, graph))


def test_the_rule_is_no_heft_by_name_only() -> None:
    """Where transfers cost nothing and operators nothing but time, it balances as HEFT does."""
    problem = make_problem("DevicePlacement", schedule="critical_path", grouping="op", bandwidth=1e6, latency_ns=0)
    graph = problem.load("layered:depth=1,width=12,devices=3,seed=1,train=0,heavy=1")
    job = problem.job(graph)
    ours = job.score(placed(read(problem.work(graph)), earliest_finish())).cost
    theirs = job.score(HEFT(colocate=False).place(job, np.random.default_rng(0))).cost
    assert ours <= 1.1 * theirs


def test_numbers_are_cut_into_weights_once() -> None:
    theta = np.arange(NUMBERS, dtype=float)
    weights = weights_of(theta)
    assert np.array_equal(np.concatenate([each.ravel() for each in weights]), theta)
    start = beginning(2, np.random.default_rng(0))[1]
    assert np.array_equal(start[-CHOICES:], earliest_finish()[-CHOICES:]) and not weights_of(start).second.any()


def test_the_rule_does_not_see_sizes_of_time() -> None:
    """All times, latencies and bytes ten times as large change no decision."""
    from dataclasses import replace

    graph = GRAPHS[1]
    larger = replace(graph, time_ns=graph.time_ns * 10, tensor_bytes=graph.tensor_bytes * 10)
    theta = np.random.default_rng(3).normal(size=NUMBERS)
    theta[: NUMBERS - CHOICES] = 0  # the context holds logarithms
    one = placed(read(make_problem("DevicePlacement", latency_ns=1000).work(graph)), theta)
    other = placed(read(make_problem("DevicePlacement", latency_ns=10000).work(larger)), theta)
    assert np.array_equal(one, other)


def test_more_simulations_never_cost_more_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, graph, seen = make_agent("learnt-list"), GRAPHS[2], []
    true = search.judged
    monkeypatch.setattr(search, "judged", lambda given, rows: seen.append(len(rows)) or true(given, rows))
    costs = []
    for steps in (1, 10, 65):
        seen.clear()
        costs.append(cost(agent, graph, steps))
        assert sum(seen) == steps
    assert costs == sorted(costs, reverse=True) and costs[-1] < costs[0]


def test_with_the_heuristics_it_is_never_worse_than_their_best() -> None:
    starts = make_agent("best-start")
    ours = make_agent("learnt-list", starts="heuristics")
    for graph in GRAPHS:
        for steps in (1, 4, 30):
            assert cost(ours, graph, steps) <= cost(starts, graph, steps)


def test_training_places_faster() -> None:
    def mean(agent: Any) -> float:
        return float(np.mean([np.log(cost(agent, graph)) for graph in GRAPHS]))

    assert mean(fitted(12, pairs=6, generated=0, rules=1)) < mean(make_agent("learnt-list"))


def test_weights_come_back_and_others_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    agent = fitted()
    agent.save(tmp_path)
    again = make_agent("learnt-list")
    again.load(tmp_path)
    assert np.array_equal(again.theta, agent.theta)
    length = np.linalg.norm(agent.theta)
    assert again.forget(np.random.default_rng(0)) and np.isclose(np.linalg.norm(again.theta), length)
    save_file({"theta": np.zeros(4)}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=f"must hold 'theta' of 4 x {NUMBERS} numbers"):
        again.load(tmp_path)


def test_training_goes_on_exactly_where_it_was_saved(tmp_path: Path) -> None:
    whole = fitted(10, generated=1, pairs=1)
    half, more = (make_agent("learnt-list", pairs=1, batch=3, generated=1) for _ in range(2))
    half.fit(PROBLEM, GRAPHS, np.random.default_rng(0), Budget(steps=10), lambda row: row["steps"] < 5)
    half.save(tmp_path)
    assert half.save_training(tmp_path) and not np.array_equal(half.theta, whole.theta)
    more.load(tmp_path)
    assert more.load_training(tmp_path, Budget(steps=5))
    more.fit(PROBLEM, GRAPHS, np.random.default_rng(0), Budget(steps=5))
    assert np.array_equal(more.theta, whole.theta)


def test_a_rule_that_had_no_step_yet_comes_last() -> None:
    agent = fitted(2, generated=1, pairs=1)  # two steps for four rules
    rng = np.random.default_rng(0)
    rng.integers(2**31)  # the seed of the strategy is drawn first
    start = beginning(4, rng)
    untouched = [any(np.array_equal(row, each) for each in start) for row in agent.theta]
    assert untouched == [False, False, True, True]


@pytest.mark.parametrize(
    "options", [{"objective": "throughput"}, {"noise": 0.1}, {"simulator": "placeto"}, {"devices": 1}]
)
def test_it_answers_every_kind_of_simulator(options: dict[str, Any]) -> None:
    problem = make_problem("DevicePlacement", **options)
    found = make_agent("learnt-list").solve(problem, GRAPHS[0], np.random.default_rng(0), Budget(steps=20))
    assert problem.judge(GRAPHS[0], found).feasible
