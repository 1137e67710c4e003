"""What executions look like: memory over time, charts, text and traces."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sysgym import InvalidSolution, UsageError, make_problem
from sysgym.core.drawing.tools import duration, size, unit_of
from sysgym.core.problem import Array
from sysgym.dataflow.graphs.cluster import LINK_MODES, Cluster, uniform
from sysgym.dataflow.graphs.generate import generate_graph
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.graphs.load import load_graph
from sysgym.dataflow.pictures.chrome import chrome_trace, lanes
from sysgym.dataflow.pictures.render import BLUE, LEFT, OVER, PLOT, SENDS, TOP, draw, frames, highest
from sysgym.dataflow.pictures.summary import coverage, describe
from sysgym.dataflow.pictures.timeline import execute, memory_timeline
from sysgym.dataflow.simulator.job import Job
from sysgym.dataflow.simulator.rules import Rules
from sysgym.dataflow.simulator.simulate import simulate


def assert_memory(graph: DataflowGraph, cluster: Cluster, place: Array, priority: Array | None) -> None:
    found = simulate(graph, cluster.times(graph), cluster, place, priority)
    lines = memory_timeline(graph, cluster, place, found, priority)
    assert [int(held.max()) for _, held in lines] == found.peak_bytes.tolist()
    held = np.bincount(place, graph.param_bytes, cluster.devices)
    assert [int(line[-1]) for _, line in lines] == held.tolist()  # nothing leaks
    for times, line in lines:
        assert len(times) == len(line) and times[0] == 0 and (np.diff(times) >= 0).all() and line.min() >= 0
        assert times[-1] <= found.makespan_ns


def test_the_peak_of_the_timeline_is_the_peak_of_the_simulator() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        recipe = f"layered:depth={rng.integers(1, 8)},width={rng.integers(1, 6)},fan_in=3,train={seed % 2},seed={seed}"
        graph, devices = generate_graph(recipe), int(rng.integers(1, 6))
        cluster = uniform(
            devices, float(rng.choice([0.5, 12, 90])), int(rng.choice([0, 9000])), link_mode=LINK_MODES[seed % 3]
        )
        if seed % 5 == 0:  # many things at once
            graph = replace(
                graph, time_ns=np.where(graph.time_ns > 0, 10_000, 0), tensor_bytes=graph.tensor_bytes * 0 + 12_000
            )
        priority = None if seed % 4 == 0 else rng.integers(-5, 5, graph.nodes)
        assert_memory(graph, cluster, rng.integers(0, devices, graph.nodes), priority)


@pytest.mark.parametrize("name", [
    "seeds/gnmt_8l", "seeds/rnnlm_2l", "models/gpt2_12l_b8_train", "doppler/ffnn", "msr/layer_bert24_training",
    "pipedream/vgg16_train", "seeds/inception_v3_b32",
])  # fmt: skip
def test_the_timeline_of_real_graphs(name: str) -> None:
    graph, rng = load_graph(name), np.random.default_rng(0)
    for place in (np.zeros(graph.nodes, int), rng.integers(0, graph.devices, graph.nodes)):
        for priority in (None, np.arange(graph.nodes) % 7):
            assert_memory(graph, uniform(graph.devices), place, priority)


def test_memory_of_a_small_case_by_hand() -> None:
    graph = replace(generate_graph("layered:depth=2,width=1,train=0,heavy=0"), time_ns=np.array([0, 100, 100]),
                    tensor_bytes=np.array([50, 30, 20]), edge_tensor=np.array([0, 1], np.int32),
                    edge_dst=np.array([1, 2], np.int32))  # fmt: skip
    cluster, place = uniform(2, 1.0, 10), np.array([0, 0, 1])
    found = simulate(graph, cluster.times(graph), cluster, place)
    near, far = memory_timeline(graph, cluster, place, found)
    assert [near[0].tolist(), near[1].tolist()] == [[0, 0, 0, 100, 140], [0, 50, 80, 30, 0]]
    assert [far[0].tolist(), far[1].tolist()] == [[0, 100, 140, 240, 240], [0, 30, 50, 20, 0]]


def test_columns() -> None:
    rng = np.random.default_rng(0)
    begin = rng.uniform(0, 20, 40)
    end, weight = np.minimum(begin + rng.exponential(1.5, 40), 20), rng.random(40)
    wanted = [np.clip(np.minimum(end, c + 1) - np.maximum(begin, c), 0, None) for c in range(20)]
    assert np.allclose(coverage(begin, end, 20), [row.sum() for row in wanted])
    assert np.allclose(coverage(begin, end, 20, weight), [(row * weight).sum() for row in wanted])
    assert coverage(np.zeros(0), np.zeros(0), 3).tolist() == [0, 0, 0]
    assert highest(np.array([0, 0.5, 0.7, 2.0, 3.0]), np.array([1, 9, 2, 4, 0]), 3).tolist() == [9, 2, 4]
    assert [duration(t) for t in (0, 12, 1500, 2_345_678, 5.4321e10)] == [
        "0 ns",
        "12 ns",
        "1.5 us",
        "2.346 ms",
        "54.32 s",
    ]
    assert [size(b) for b in (0, 999, 1e3, 1.236e6, 16e9)] == ["0 B", "999 B", "1 kB", "1.24 MB", "16 GB"]
    assert unit_of(1e10) == (1e9, "s")


def job_of(name: str = "layered/train-1", **rules: Any) -> Job:
    return Job(load_graph(name), Rules(**rules))


def random_place(job: Job) -> dict[str, Array]:
    return {"placement": np.random.default_rng(0).integers(0, job.devices, job.graph.nodes)}


@pytest.mark.parametrize("rules", [
    {}, {"devices": 1}, {"devices": 8}, {"devices": 20}, {"devices": 64}, {"link_mode": "none"}, {"link_mode": "pair"},
    {"objective": "throughput"}, {"objective": "throughput", "devices": 30}, {"simulator": "placeto"}, {"noise": 0.2},
    {"mem_factor": 0.1}, {"schedule": "critical_path"}, {"mem_factor": 0.1, "objective": "throughput"},
], ids=str)  # fmt: skip
def test_every_rule_can_be_drawn(rules: dict[str, Any]) -> None:
    job = job_of(**rules)
    page, text = draw(job, random_place(job)), describe(job, random_place(job))
    assert page.dtype == np.uint8 and page.shape[1:] == (1120, 3) and page.shape[0] >= 120
    cost = job.score(random_place(job)["placement"]).cost
    figure = "largest load" if rules.get("objective") else "makespan"
    assert f"{figure} {duration(cost)}, speed-up {job.expert_ns / cost:.2f} over the expert" in text
    assert ("OUT OF MEMORY" in text) == ("mem_factor" in rules) == bool((page == OVER).all(axis=2).any())
    assert ("of Placeto's simulator" in text) == ("simulator" in rules)
    assert ("mean of 5 noisy executions" in text) == ("noise" in rules)
    assert ("more devices" in text) == (job.devices > 16)


def test_bars_stand_where_operators_run() -> None:
    job = job_of("layered/train-0")
    place = {"placement": np.arange(job.graph.nodes) % 2}
    page, run = draw(job, place), execute(job, place)
    assert run.outcome is not None
    scale = PLOT / run.outcome.makespan_ns
    for d in range(2):
        row = page[TOP + d * 56 + 27, LEFT : LEFT + PLOT].astype(int)
        drawn = (np.ptp(row, axis=1) > 30).sum()
        few = (run.placement == d).sum() * 2
        assert abs(drawn - run.outcome.busy_ns[d] * scale) <= few
    sent = (page[:, LEFT : LEFT + PLOT] == SENDS).all(axis=2)[TOP:].any(axis=0)
    span = np.concatenate([np.arange(int(a), int(b)) for a, b in run.outcome.spans * scale])
    assert abs(sent.sum() - len(np.unique(span))) <= 2 * len(run.outcome.spans)
    loads = draw(job_of("layered/train-0", objective="throughput"), place)
    assert (loads == BLUE).all(axis=2).sum() > 1000


def test_frames_grow_into_the_picture() -> None:
    job = job_of()
    pages = frames(job, random_place(job))
    assert len(pages) == 48 and np.array_equal(pages[-1], draw(job, random_place(job)))
    left = [int((page != pages[-1]).any(axis=2).sum()) for page in pages]
    assert left[0] > 1000 and left[-1] == 0 and (np.diff(left) <= 0).all()
    assert len(frames(job_of(objective="throughput"), random_place(job))) == 1


def test_an_execution_without_any_time() -> None:
    graph = load_graph("layered/train-1")
    job = Job(replace(graph, time_ns=graph.time_ns * 0), Rules(latency_ns=0, devices=1))
    assert draw(job, job.single).shape[1] == 1120 and "makespan 0 ns" in describe(job, job.single)
    assert len(frames(job, job.single)) == 48 and chrome_trace(job, job.single)["traceEvents"]


def test_fused_and_partial_solutions() -> None:
    problem, graph = make_problem("GraphOptimization"), load_graph("seeds/txl_2l")
    zero = np.zeros(graph.nodes, int)
    solution = {"placement": np.arange(graph.nodes) * 2 // graph.nodes, "priority": zero, "fusion": zero + 1}
    groups = execute(problem.job(graph), solution).graph.nodes
    text = problem.describe(graph, solution)
    assert groups < graph.nodes and f"{graph.nodes} operators in {groups} groups, 2 devices" in text
    assert duration(problem.judge(graph, solution).cost) in text
    assert problem.render(graph, solution).shape[1] == 1120
    names = [event["name"] for event in problem.timeline(graph, solution)["traceEvents"] if event.get("tid") == 0]
    assert any(" +" in name for name in names)
    partial = make_problem("GraphOptimization", tasks="schedule")
    run = execute(partial.job(graph), {"priority": zero})
    assert np.array_equal(run.placement, partial.job(graph).expert)
    assert "speed-up 1.00 over the expert" in make_problem("DevicePlacement").describe(
        graph, {"placement": run.placement}
    )
    assert partial.render(graph, {"priority": zero}).dtype == np.uint8


def test_bad_solutions_are_refused() -> None:
    job = job_of()
    for solution, sentence in (
        ({"placement": np.zeros(3, int)}, "has shape"), ({"placement": job.single + 9}, "expected 0 to"),
        ({"place": job.single}, "expected the arrays"), ({"fusion": job.single - 1}, "expected 0 to"),
        (job.single + 0.5, "expected int values"),
    ):  # fmt: skip
        for show in (draw, describe, frames, chrome_trace):
            with pytest.raises(InvalidSolution, match=sentence):
                show(job, solution)


@pytest.mark.parametrize("mode", LINK_MODES)
def test_traces_hold_every_operator_and_transfer(mode: str) -> None:
    problem, graph = make_problem("DevicePlacement", link_mode=mode), load_graph("seeds/txl_4l")
    solution = {"placement": np.random.default_rng(0).integers(0, 4, graph.nodes)}
    run = execute(problem.job(graph), solution)
    trace = json.loads(json.dumps(problem.timeline(graph, solution)))
    assert run.outcome is not None and trace["displayTimeUnit"] == "ms" and trace["otherData"]["graph"] == graph.name
    events = trace["traceEvents"]
    assert {event["ph"] for event in events} == {"M", "X", "C"}
    threads: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in events:
        assert isinstance(event["pid"], int) and isinstance(event["name"], str)
        if event["ph"] == "X":
            assert event["dur"] >= 0
            threads.setdefault((event["pid"], event["tid"]), []).append(event)
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert named == set(threads)
    for (d, thread), found in threads.items():
        found.sort(key=lambda event: (event["ts"], event["dur"]))
        ends = [round(1000 * (event["ts"] + event["dur"])) for event in found]
        assert all(end <= round(1000 * event["ts"]) for end, event in zip(ends, found[1:], strict=False)), (d, thread)
    operators = {event["args"]["id"]: event for (_, thread), found in threads.items() if thread == 0 for event in found}
    assert len(operators) == graph.nodes
    for v in range(0, graph.nodes, 37):
        event = operators[v]
        assert (event["pid"], event["ts"]) == (run.placement[v], run.outcome.start[v] / 1000)
        assert event["name"] == graph.op_types[graph.op[v]] and event["args"]["layer"] == graph.layer[v]
    for category in ("send", "receive"):
        assert sum(event.get("cat") == category for event in events) == run.outcome.transfers
    if mode == "egress_ingress":
        assert all(len([pair for pair in threads if pair[0] == d]) <= 3 for d in range(4))
    for d in range(4):
        values = [event["args"]["bytes"] for event in events if event["ph"] == "C" and event["pid"] == d]
        assert max(values) == run.outcome.peak_bytes[d]


def test_lanes_never_overlap() -> None:
    rng = np.random.default_rng(1)
    begin = rng.integers(0, 50, 60)
    spans, owner = np.stack([begin, begin + rng.integers(0, 9, 60)], axis=1), rng.integers(0, 3, 60)
    found = lanes(owner, spans)
    for i in range(60):
        for j in range(i):
            if owner[i] == owner[j] and found[i] == found[j]:
                assert spans[i, 1] <= spans[j, 0] or spans[j, 1] <= spans[i, 0]
    most = max(int(((spans[:, 0] <= t) & (t < spans[:, 1]) & (owner == d)).sum()) for t in range(60) for d in range(3))
    assert max(found) + 1 <= most + 1 and lanes(owner[:0], spans[:0]) == []


def test_throughput_has_no_trace() -> None:
    job = job_of(objective="throughput")
    with pytest.raises(UsageError, match="a trace needs objective='latency'"):
        chrome_trace(job, job.single)
