"""Device placement and graph optimisation: what options mean, what is judged, modes against the simulator."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import sysgym
from sysgym import make_problem
from sysgym.core.env import ProblemEnv
from sysgym.dataflow.graphs.cluster import uniform
from sysgym.dataflow.graphs.fusion import fuse, fused_graph
from sysgym.dataflow.graphs.generate import generate_graph
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.graphs.io import parse_graph
from sysgym.dataflow.simulator.simulate import critical_path_priority, simulate
from sysgym_agents.general.random import sample_action

SMALL = "layered:depth=3,width=3,devices=3,seed=7"
UNROLLED = "seeds/rnnlm_2l"


def graph_of(name: str = SMALL) -> DataflowGraph:
    return generate_graph(name)


def scattered(graph: DataflowGraph, devices: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, devices, graph.nodes)


def test_judge_is_the_simulator() -> None:
    graph = graph_of()
    place = scattered(graph, 3)
    cluster = uniform(3)
    outcome = simulate(graph, cluster.times(graph), cluster, place)
    verdict = make_problem("DevicePlacement").judge(graph, {"placement": place})
    assert verdict.feasible and verdict.cost == outcome.makespan_ns == verdict.metrics["makespan_ns"]
    assert verdict.metrics["peak_bytes"] == outcome.peak_bytes.max()
    assert verdict.metrics["transfers"] == outcome.transfers
    assert verdict.metrics["transfer_bytes"] == outcome.transfer_bytes
    assert verdict.metrics["busy_ns"] == outcome.busy_ns.max()
    ranked = make_problem("DevicePlacement", schedule="critical_path").judge(graph, {"placement": place})
    priority = critical_path_priority(graph, cluster.times(graph), cluster)
    assert ranked.cost == simulate(graph, cluster.times(graph), cluster, place, priority).makespan_ns


def test_speedups_are_against_plain_execution() -> None:
    problem = make_problem("GraphOptimization")
    graph = problem.load("seeds/txl_2l")
    job = problem.job(graph)
    found = problem.judge(graph, {"placement": job.expert, "priority": job.critical_path, "fusion": 0 * job.expert})
    assert problem.reference_costs(graph)["expert"] == job.expert_ns == pytest.approx(504.3e6, rel=1e-4)
    assert found.metrics["speedup_vs_expert"] == job.expert_ns / found.cost
    assert found.metrics["speedup_vs_single"] == job.single_ns / found.cost
    assert job.single_ns == graph.total_ns


def test_each_option_changes_what_it_says() -> None:
    graph = graph_of()
    place = scattered(graph, 3)

    def cost(**options: Any) -> float:
        return float(make_problem("DevicePlacement", **options).judge(graph, {"placement": place}).cost)

    base = cost()
    assert cost(bandwidth=1.0) > base > cost(bandwidth=1000.0)
    assert cost(latency_ns=10**6) > base
    assert cost(link_mode="none") <= cost(link_mode="pair") <= base
    assert cost(devices=5) == base  # devices without work change nothing
    assert cost(noise=0.3, noise_seed=1) != cost(noise=0.3, noise_seed=2) != base
    assert cost(noise=0.3) == cost(noise=0.3)
    assert cost(noise=0.05, noise_samples=400) == pytest.approx(base, rel=0.1)
    assert cost(simulator="placeto") != base
    assert cost(objective="throughput") < base


def test_memory_decides_feasibility() -> None:
    graph = graph_of()
    single = {"placement": np.zeros(graph.nodes, np.int64)}
    problem = make_problem("DevicePlacement")
    peak = problem.judge(graph, single).metrics["peak_bytes"]
    fits = make_problem("DevicePlacement", capacity=peak).judge(graph, single)
    short = make_problem("DevicePlacement", capacity=peak - 1).judge(graph, single)
    assert fits.feasible and not short.feasible
    assert (
        short.cost == fits.cost and short.metrics["excess"] >= 10 and "device 0 is out of memory" in short.violations[0]
    )
    half = make_problem("DevicePlacement", mem_factor=0.5)
    assert not half.judge(graph, single).feasible
    gnmt = make_problem("DevicePlacement")
    large = gnmt.load("seeds/gnmt_8l")
    job = gnmt.job(large)
    assert not gnmt.judge(large, {"placement": job.single}).feasible  # 16.5 GB on one device of 16
    assert gnmt.judge(large, {"placement": job.expert}).feasible


def test_a_file_describes_unlike_devices(tmp_path: Path) -> None:
    graph = graph_of()
    file = tmp_path / "cluster.json"
    rows = [{"kind": "gpu"}, {"kind": "gpu", "speed": 0.5, "capacity": 1e9}]
    file.write_text(json.dumps({"devices": rows, "bandwidth": [[1, 24], [6, 1]], "latency_ns": 5000}))
    problem = make_problem("DevicePlacement", devices=str(file))
    job = problem.job(graph)
    assert job.devices == 2 and job.capacity.tolist() == [16 * 10**9, 10**9]
    slow = problem.judge(graph, {"placement": np.ones(graph.nodes, np.int64)}).cost
    assert slow == pytest.approx(2 * graph.total_ns, rel=1e-4)
    assert job.cluster.bandwidth.tolist() == [[1000, 24000], [6000, 1000]]
    env = gym.make("sysgym/DevicePlacement-v0", devices=str(file), mode="sequential", instance=SMALL)
    assert env.action_space.n == 2


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("DevicePlacement", {"mode": "grouped ", "x": 1}, "unknown option"),
        ("DevicePlacement", {"mode": "groups"}, "unknown mode"),
        ("DevicePlacement", {"devices": 0}, "devices must be a whole number from 1 to 64"),
        ("DevicePlacement", {"devices": 2.5}, "devices must be a whole number"),
        ("DevicePlacement", {"devices": "none.json"}, "none.json cannot be read"),
        ("DevicePlacement", {"bandwidth": "fast"}, "bandwidth must be a number"),
        ("DevicePlacement", {"capacity": -1}, "capacity must be a number"),
        ("DevicePlacement", {"link_mode": "bus"}, "unknown link_mode"),
        ("DevicePlacement", {"mode": "oneshot", "grouping": "layers"}, "use mode='grouped'"),
        ("DevicePlacement", {"simulator": "placeto", "noise": 0.1}, "no noise"),
        ("DevicePlacement", {"noise": True}, "noise must be a number"),
        ("GraphOptimization", {"tasks": "placement+fuse"}, "unknown task"),
        ("GraphOptimization", {"tasks": "fusion+fusion"}, "names a task twice"),
        ("GraphOptimization", {"levels": 1}, "levels must be a whole number from 2"),
        ("GraphOptimization", {"rounds": 0}, "rounds must be a whole number from 1"),
    ],
)
def test_wrong_options_get_a_sentence(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(sysgym.UsageError, match=words):
        problem = make_problem(name, **options)
        problem.job(graph_of())


def test_oneshot_pays_what_the_judge_says() -> None:
    graph = graph_of("layered:depth=2,width=2,train=0,devices=2,seed=3")
    problem = make_problem("DevicePlacement", mode="oneshot")
    costs = {
        place: problem.judge(graph, {"placement": np.array(place)}).cost
        for place in itertools.product(range(2), repeat=graph.nodes)
    }
    env = ProblemEnv(problem, instance=graph)
    for place in list(costs)[:: max(1, len(costs) // 40)]:
        env.reset(seed=0)
        _, reward, over, _, info = env.step(np.array(place))
        assert over and info["verdict"]["cost"] == costs[place]
        assert reward == pytest.approx(1 - costs[place] / problem.job(graph).single_ns)


def test_sequential_visits_every_unit_once_and_rewards_add_up() -> None:
    env = gym.make("sysgym/DevicePlacement-v0", mode="sequential", instance=UNROLLED).unwrapped
    observation, _ = env.reset(seed=0)
    total, rng, visited = 0.0, np.random.default_rng(0), []
    over = False
    while not over:
        visited.append(int(observation["focus"][0]))
        action = sample_action(rng, env.action_space, env.action_masks())
        observation, reward, over, _, info = env.step(action)
        total += reward
    units = env.dynamics.work(env.instance).units
    assert visited == list(range(units.count))
    single = env.problem.job(env.instance).single_ns
    assert total == pytest.approx(1 - info["verdict"]["cost"] / single)
    assert len(np.unique(env.solution()["placement"][units.of == 3])) == 1


def test_sequential_masks_devices_without_room() -> None:
    graph = graph_of("layered:depth=6,width=4,heavy=1,devices=3,seed=2")
    held = int(graph.param_bytes.sum())
    env = ProblemEnv("DevicePlacement", instance=graph, mode="sequential", capacity=held / 2, grouping="op")
    env.reset(seed=0)
    over, full = False, False
    while not over:
        mask = env.action_masks()
        full |= not mask.all()
        over = env.step(int(np.argmax(mask)))[2]  # always the first device that is allowed
    place = env.solution()["placement"]
    assert full and np.bincount(place, weights=graph.param_bytes, minlength=3).max() <= held / 2


def test_refine_starts_from_a_solution_and_keeps_the_best() -> None:
    problem = make_problem("DevicePlacement", mode="refine", steps=30)
    graph = problem.load(UNROLLED)
    start = {"placement": scattered(graph, 2)}
    env = ProblemEnv(problem, instance=graph)
    env.reset(seed=0, options={"solution": start})
    assert np.array_equal(env.solution()["placement"], start["placement"])
    rng, best = np.random.default_rng(1), problem.judge(graph, start).cost
    over, total = False, 0.0
    units = problem.work(graph).units
    current = start["placement"].copy()
    while not over:
        unit, device = int(rng.integers(units.count)), int(rng.integers(2))
        current[units.of == unit] = device
        best = min(best, problem.judge(graph, {"placement": current}).cost)
        _, reward, over, _, info = env.step(np.array([unit, device]))
        total += reward
    assert info["verdict"]["cost"] == best
    assert total == pytest.approx(10 * (problem.judge(graph, start).cost - best) / problem.job(graph).single_ns)


def test_rounds_show_the_last_decision_and_keep_the_best() -> None:
    problem = make_problem("DevicePlacement", mode="grouped", rounds=3)
    graph = problem.load(UNROLLED)
    env = ProblemEnv(problem, instance=graph)
    env.reset(seed=0)
    rng, costs = np.random.default_rng(0), []
    for step in range(3):
        action = rng.integers(0, 2, env.size.nodes)
        place = action[problem.work(graph).units.of]
        costs.append(problem.judge(graph, {"placement": place}).cost)
        observation, _, over, _, info = env.step(action)
        column = list(env.dynamics.node_features).index("device") - len(env.dynamics.node_features)
        assert np.allclose(observation["nodes"][:, column], (action + 0.5) / 2)
        assert over == (step == 2)
    assert info["verdict"]["cost"] == min(costs)


def test_joint_decisions_are_fused_then_simulated() -> None:
    problem = make_problem("GraphOptimization", schedule="fifo")
    graph = problem.load("layered/test-0")
    rng = np.random.default_rng(0)
    place = rng.integers(0, 4, graph.nodes)
    priority, fusion = rng.integers(-50, 50, graph.nodes), rng.integers(0, 16, graph.nodes)
    verdict = problem.judge(graph, {"placement": place, "priority": priority, "fusion": fusion})
    cluster = uniform(4)
    fused = fused_graph(graph, fuse(graph, place, fusion), cluster.times(graph))
    assert verdict.metrics["groups"] == fused.graph.nodes < graph.nodes
    top = np.array([priority[fused.group == g].max() for g in range(fused.graph.nodes)])
    owner = np.array([place[fused.group == g][0] for g in range(fused.graph.nodes)])
    assert verdict.cost == simulate(fused.graph, fused.times, cluster, owner, top).makespan_ns


@pytest.mark.parametrize("tasks", ["placement", "schedule", "fusion", "placement+fusion", "fusion+schedule+placement"])
@pytest.mark.parametrize("mode", ["oneshot", "sequential"])
def test_any_subset_of_tasks(tasks: str, mode: str) -> None:
    problem = make_problem("GraphOptimization", tasks=tasks, mode=mode, levels=4)
    graph = problem.load("layered/valid-0")
    env = ProblemEnv(problem, instance=graph)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    over, steps = False, 0
    while not over:
        over = env.step(sample_action(rng, env.action_space, env.action_masks()))[2]
        steps += 1
    assert steps == (1 if mode == "oneshot" else len(tasks.split("+")))
    names = {"schedule": "priority"}
    assert {*env.solution()} == {names.get(task, task) for task in tasks.split("+")}
    assert env.verdict() == problem.judge(graph, env.solution())


def test_levels_of_the_schedule_rule_and_the_critical_path_breaks_ties() -> None:
    problem = make_problem("GraphOptimization", tasks="schedule", levels=4, grouping="op")
    graph = problem.load("layered/valid-0")
    env = ProblemEnv(problem, instance=graph)
    env.reset(seed=0)
    levels = np.random.default_rng(0).integers(0, 4, graph.nodes)
    env.step(levels)
    priority, path = env.solution()["priority"], problem.job(graph).critical_path
    assert np.array_equal(np.lexsort((path, levels)), np.lexsort((priority,)))


def test_twins_look_alike() -> None:
    """Features do not tell operators by their number: two products of the same input differ in nothing."""
    content = {
        "format": "sysgym.dataflow/1", "name": "twins", "devices": 2, "op_types": ["input", "mm", "add"],
        "op_class": [0, 2, 1], "nodes": {"op": [0, 1, 1, 2], "time_ns": [0, 900, 900, 50]},
        "tensors": {"src": [0, 1, 2], "bytes": [64, 32, 32]},
        "edges": {"tensor": [0, 0, 1, 2], "dst": [1, 2, 3, 3]},
    }  # fmt: skip
    problem = make_problem("DevicePlacement", mode="oneshot")
    rows = problem.static(parse_graph("twins.json", json.dumps(content).encode()))["nodes"]
    assert np.array_equal(rows[1], rows[2]) and not np.array_equal(rows[1], rows[3])


def test_features_are_of_unit_scale() -> None:
    problem = make_problem("DevicePlacement", mode="oneshot")
    rows = problem.static(problem.load("seeds/gnmt_2l"))["nodes"]
    assert np.isfinite(rows).all() and rows.min() >= 0 and rows.max() <= 5


def test_raw_form_plays_52313_operators() -> None:
    env = gym.make("sysgym/DevicePlacement-v0", instance="seeds/gnmt_8l", mode="oneshot", obs="raw").unwrapped
    observation, _ = env.reset(seed=0)
    assert {*observation} == {"globals", "focus"}
    job = env.problem.job(env.instance)
    verdict = env.step(job.expert)[4]["verdict"]
    assert verdict["feasible"] and verdict["cost"] == job.expert_ns


@pytest.mark.parametrize("count", ["0", "65", "99", "²", "-1"])
def test_devices_given_as_text_are_checked(count: str) -> None:
    with pytest.raises(sysgym.UsageError, match=r"devices must be a whole number|no valid JSON|cannot be read"):
        make_problem("DevicePlacement", devices=count).job(graph_of())
    assert make_problem("DevicePlacement", devices="4").job(graph_of()).devices == 4


def test_extreme_priorities_keep_their_order() -> None:
    graph = generate_graph("layered:depth=1,width=3,heavy=0,train=0,devices=1,seed=1")
    problem = make_problem("GraphOptimization", tasks="schedule", devices=1)
    high = problem.solution_arrays(graph)["priority"]
    inputs, work = np.flatnonzero(graph.time_ns == 0), np.flatnonzero(graph.time_ns > 0)
    priority = np.zeros(graph.nodes, np.int64)
    priority[work] = np.array([high.low, 0, high.high])
    cluster = uniform(1)
    start = simulate(graph, cluster.times(graph), cluster, np.zeros(graph.nodes, int), priority).start
    assert len(inputs) == 3 and np.array_equal(np.argsort(start[work]), [2, 1, 0])


def test_sequential_moves_the_operators_of_its_unit_and_no_others() -> None:
    """Also where the start splits units."""
    problem = make_problem("DevicePlacement", mode="sequential", start="expert", groups=4)
    graph = problem.load("layered/test-1")
    units = problem.work(graph).units
    env = ProblemEnv(problem, instance=graph)
    env.reset(seed=0)
    wanted = problem.job(graph).expert.copy()
    over, rng = False, np.random.default_rng(0)
    while not over:
        unit, device = env.state.current, int(rng.integers(4))
        if rng.random() < 0.5:
            device = int(env.state.device[unit])  # what is shown
        wanted[units.of == unit] = device
        over = env.step(device)[2]
        assert np.array_equal(env.solution()["placement"], wanted)


def test_without_the_task_of_placement_the_experts_is_shown() -> None:
    problem = make_problem("GraphOptimization", tasks="schedule+fusion", grouping="op")
    graph = problem.load("layered/test-1")
    env = ProblemEnv(problem, instance=graph)
    env.reset(seed=0)
    assert np.array_equal(env.state.device, problem.job(graph).expert)


def test_policies_see_the_links() -> None:
    def seen(**options: Any) -> dict[str, Any]:
        env = gym.make("sysgym/DevicePlacement-v0", instance="layered/test-0", **options)
        return env.reset(seed=0)[0]

    base = seen()
    for options in ({"bandwidth": 1.0}, {"latency_ns": 10**6}, {"link_mode": "pair"}):
        other = seen(**options)
        assert any(not np.array_equal(base[key], other[key]) for key in ("edges", "globals"))


def test_throughput_counts_parameters() -> None:
    problem = make_problem("DevicePlacement", objective="throughput", mem_factor=0.5)
    graph = problem.load("layered/train-1")
    assert not problem.judge(graph, {"placement": np.zeros(graph.nodes, int)}).feasible


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"objective": "throughput", "noise": 0.1}, "no order and no noise"),
        ({"objective": "throughput", "schedule": "critical_path"}, "no order and no noise"),
        ({"simulator": "placeto", "bandwidth": 1.0}, "leave out bandwidth"),
        ({"generator": "foo"}, "unknown generator"),
        ({"bandwidth": None}, "bandwidth must be a number"),
        ({"latency_ns": None}, "latency_ns must be a whole number"),
    ],
)
def test_options_that_would_not_be_heard_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(sysgym.UsageError, match=words):
        make_problem("DevicePlacement", **options)


def test_a_file_of_devices_rules_alone(tmp_path: Path) -> None:
    file = tmp_path / "two.json"
    file.write_text(json.dumps({"devices": [{}, {}]}))
    with pytest.raises(sysgym.UsageError, match="leave out capacity, mem_factor"):
        make_problem("DevicePlacement", devices=str(file), capacity=1e9, mem_factor=0.5)
    file.write_text(json.dumps({"devices": [{}, {}], "bandwidth": [1, 2]}))
    with pytest.raises(sysgym.UsageError, match="bandwidth must be a number or numbers of shape"):
        make_problem("DevicePlacement", devices=str(file)).job(graph_of())
    file.write_text(json.dumps({"devices": [{}, {}, {}], "bandwidth": [[0, 1, 1], [1, 0, 2], [1, 1, 0]]}))
    with pytest.raises(sysgym.UsageError, match="links of one bandwidth"):
        make_problem("DevicePlacement", devices=str(file), objective="throughput").job(graph_of())


def test_long_rows_of_layers_are_cut_as_short_ones() -> None:
    from sysgym.dataflow.graphs.groups import _greedy_blocks, block_bounds

    rng = np.random.default_rng(0)
    for _ in range(30):
        weights = rng.integers(1, 100, int(rng.integers(5, 40)))
        blocks = int(rng.integers(1, 6))
        exact, fast = block_bounds(weights, blocks), _greedy_blocks(weights, blocks)
        assert np.bincount(exact, weights).max() == np.bincount(fast, weights).max()
        assert (np.diff(fast) >= 0).all() and fast.max() < blocks
