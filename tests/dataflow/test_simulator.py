"""The simulator against reference values, against a slow rewrite of its rules, and against what must not change it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import cache
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np
import pytest
from public import DATAFLOW, needs_dataflow

from sysgym import UsageError
from sysgym.core.problem import Array
from sysgym.dataflow.graphs.cluster import LINK_MODES, Cluster, uniform
from sysgym.dataflow.graphs.generate import generate_graph
from sysgym.dataflow.graphs.graph import DataflowGraph, check_graph
from sysgym.dataflow.graphs.groups import block_bounds, expert_placement, layer_times
from sysgym.dataflow.graphs.io import parse_graph
from sysgym.dataflow.graphs.load import load_graph
from sysgym.dataflow.simulator import kernels
from sysgym.dataflow.simulator.simulate import (
    Outcome,
    check_range,
    critical_path_ns,
    critical_path_priority,
    evaluate_batch,
    lower_bound_ns,
    simulate,
)

SEEDS = ("rnnlm", "gnmt", "txl", "wavenet", "amoebanet")


@cache
def read_json(name: str) -> Any:
    return json.loads((DATAFLOW / name).read_text())


def graph_names() -> list[str]:
    return sorted(read_json("reference.json")["graphs"]) if DATAFLOW.is_dir() else ["none"]


def case_names() -> list[str]:
    return [case["name"] for case in read_json("sim_cases.json")["cases"]] if DATAFLOW.is_dir() else ["none"]


def packaged(name: str) -> str:
    """The registered name of a graph of the reference files."""
    for folder in ("msr", "pipedream", "doppler"):
        if name.startswith(f"{folder}_"):
            return name.replace("_", "/", 1)
    if name.startswith(SEEDS) or name in ("inception_v3_b32_train", "inception_v3_b64_train"):
        return f"seeds/{name.removesuffix('_train')}"
    return f"models/{name}"


@needs_dataflow
@pytest.mark.parametrize("name", case_names())
def test_cases_checked_by_hand(name: str) -> None:
    case = next(case for case in read_json("sim_cases.json")["cases"] if case["name"] == name)
    graph = parse_graph(name, json.dumps(case["graph"]).encode())
    cluster = uniform(case["devices"], case["bandwidth_bytes_per_ns"], case["latency_ns"], link_mode=case["link_mode"])
    priority = None if case["priority"] is None else np.array(case["priority"])
    found = simulate(graph, cluster.times(graph), cluster, np.array(case["place"]), priority)
    shown = {
        "makespan_ns": found.makespan_ns, "start_ns": found.start.tolist(), "finish_ns": found.finish.tolist(),
        "transfers": found.transfers, "transfer_bytes": found.transfer_bytes,
        "peak_bytes": found.peak_bytes.tolist(), "busy_ns": found.busy_ns.tolist(),
    }  # fmt: skip
    assert case["expect"] and {key: shown[key] for key in case["expect"]} == case["expect"], case["explain"]


def reference_placements(name: str, graph: DataflowGraph, known: dict[str, Any]) -> dict[str, Array]:
    """Placements of the reference file that can be rebuilt; those of searches are in a file of their own."""
    v, devices = np.arange(graph.nodes), known["devices"]
    found = {
        "single": v * 0, "round_robin": v % devices, "blocks": v * devices // graph.nodes,
        "random_seed0": np.random.RandomState(0).randint(0, devices, graph.nodes),
    }  # fmt: skip
    if "layer_to_device" in known:
        found["expert_layer_blocks"] = block_bounds(layer_times(graph), devices)[graph.layer]
    if len(graph.human_expert):
        found["human_expert"] = graph.human_expert
    searched = stored_placements()[name]
    return {**found, **{key: np.array(searched[key]) for key in ("metis", "best_known")}}


@cache
def stored_placements() -> Any:
    import gzip

    return json.loads(gzip.decompress((DATAFLOW / "placements.json.gz").read_bytes()))


@needs_dataflow
@pytest.mark.parametrize("name", graph_names())
def test_reference_makespans_transfers_and_peaks(name: str) -> None:
    known = read_json("reference.json")["graphs"][name]
    graph, devices = load_graph(packaged(name)), known["devices"]
    assert (graph.nodes, graph.devices, graph.total_ns) == (known["num_nodes"], devices, known["total_time_ns"])
    places = reference_placements(name, graph, known)
    assert set(known["results"]) <= set(places)
    clusters = {mode: uniform(devices, link_mode=mode) for mode in LINK_MODES}
    usual = clusters["egress_ingress"]
    times = usual.times(graph)
    critical = critical_path_priority(graph, times, usual)
    wrong = []
    for who, results in known["results"].items():
        found: dict[str, Any] = {}
        for mode, cluster in clusters.items():
            outcome = simulate(graph, times, cluster, places[who])
            found[mode] = outcome.makespan_ns
        found |= {"transfers": outcome.transfers, "transfer_bytes": outcome.transfer_bytes}
        found |= {"peak_bytes": outcome.peak_bytes.tolist(), "busy_ns": outcome.busy_ns.tolist()}
        for key, priority in (("mod7", np.arange(graph.nodes) % 7), ("cp", critical)):
            outcome = simulate(graph, times, usual, places[who], priority, memory=False)
            found[f"egress_ingress_prio_{key}"] = outcome.makespan_ns
        wrong += [(who, key, found[key], value) for key, value in results.items() if found[key] != value]
    assert not wrong
    assert LINK_MODES[-1] == "egress_ingress"  # whose transfers and peaks the file holds
    assert critical_path_ns(graph, times[0]) == known["critical_path_ns"]
    assert abs(lower_bound_ns(graph, times) - known["lower_bound_ns"]) <= 1  # the file rounds the even share
    if "layer_to_device" in known:
        assert block_bounds(layer_times(graph), devices).tolist() == known["layer_to_device"]
    if not len(graph.human_expert):
        assert np.array_equal(expert_placement(graph, devices), places["expert_layer_blocks"])


class Slow:
    """The rules once more: sets of readers, sets of missing inputs, one heap of events."""

    def __init__(self, graph: DataflowGraph, times: Array, cluster: Cluster, place: Array, priority: Array | None):
        self.graph, self.times, self.cluster, self.place = graph, times, cluster, place.tolist()
        self.priority = [0] * graph.nodes if priority is None else priority.tolist()
        devices, nodes = cluster.devices, graph.nodes
        self.uses: dict[int, list[int]] = {x: [] for x in range(graph.tensors)}
        self.missing: list[set[int]] = [set() for _ in range(nodes)]
        for x, v in zip(graph.edge_tensor.tolist(), graph.edge_dst.tolist(), strict=True):
            self.uses[x].append(v)
            self.missing[v].add(x)
        self.inputs = [set(tensors) for tensors in self.missing]
        self.outputs: list[list[int]] = [[] for _ in range(nodes)]
        for x, v in enumerate(graph.tensor_src.tolist()):
            self.outputs[v].append(x)
        self.ready: list[list[tuple[int, int, int]]] = [[] for _ in range(devices)]
        self.running: list[int | None] = [None] * devices
        self.events: list[tuple[int, int, int]] = []  # time, 0 end or 1 arrival, device or number of the transfer
        self.order = count()
        self.free: dict[Any, int] = {}  # when a resource of the links is free
        self.readers: dict[tuple[int, int], set[Any]] = {}
        self.memory = [int(graph.param_bytes[place == d].sum()) for d in range(devices)]
        self.peaks = list(self.memory)
        self.start, self.finish, self.moves = [-1] * nodes, [-1] * nodes, []  # type: ignore[var-annotated]
        self.spans: list[list[int]] = []
        for v in range(nodes):
            self.wake(v)

    def wake(self, v: int) -> None:
        if not self.missing[v]:
            heappush(self.ready[self.place[v]], (-self.priority[v], next(self.order), v))

    def hold(self, d: int, amount: int) -> None:
        self.memory[d] += amount
        self.peaks[d] = max(self.peaks[d], self.memory[d])

    def drop(self, x: int, d: int, reader: Any) -> None:
        source = int(self.graph.tensor_src[x])
        self.readers[x, d].discard(reader)
        if not self.readers[x, d]:
            del self.readers[x, d]
            if d != self.place[source] or not self.graph.param_bytes[source]:
                self.memory[d] -= int(self.graph.tensor_bytes[x])

    def run(self) -> Slow:
        self.dispatch(0)
        while self.events:
            t = self.events[0][0]
            while self.events and self.events[0][0] == t:
                _, kind, which = heappop(self.events)
                self.arrive(which) if kind else self.end(which, t)
            self.dispatch(t)
        assert not self.readers and not any(self.missing)
        return self

    def dispatch(self, t: int) -> None:
        for d, queue in enumerate(self.ready):
            if self.running[d] is None and queue:
                v = self.running[d] = heappop(queue)[2]
                self.start[v] = t
                heappush(self.events, (t + int(self.times[d, v]), 0, d))
                if not self.graph.param_bytes[v]:
                    self.hold(d, sum(int(self.graph.tensor_bytes[x]) for x in self.outputs[v]))

    def end(self, d: int, t: int) -> None:
        v = self.running[d]
        assert v is not None
        self.running[d], self.finish[v] = None, t
        for x in self.inputs[v]:
            self.drop(x, d, v)
        for x in self.outputs[v]:
            homes = {self.place[u] for u in self.uses[x]} - {d}
            self.readers[x, d] = {u for u in self.uses[x] if self.place[u] == d} | {("sent to", p) for p in homes}
            if not self.readers[x, d]:
                self.drop(x, d, None)
            self.give(x, d)
            for p in sorted(homes):
                self.send(x, d, p, t)

    def give(self, x: int, d: int) -> None:
        for u in sorted(self.uses[x]):
            if self.place[u] == d:
                self.missing[u].discard(x)
                self.wake(u)

    def send(self, x: int, d: int, p: int, t: int) -> None:
        occupied = -(-int(self.graph.tensor_bytes[x]) * 1000 // int(self.cluster.bandwidth[d, p]))
        ports = {"none": [], "pair": [(d, p)], "egress_ingress": [("out", d), ("in", p)]}[self.cluster.link_mode]
        s = max([t, *(self.free.get(port, 0) for port in ports)])
        self.free |= dict.fromkeys(ports, s + occupied)
        heappush(self.events, (s + occupied + int(self.cluster.latency_ns[d, p]), 1, len(self.moves)))
        self.moves.append([x, p])
        self.spans.append([s, s + occupied])
        self.readers[x, p] = {u for u in self.uses[x] if self.place[u] == p}
        self.hold(p, int(self.graph.tensor_bytes[x]))

    def arrive(self, which: int) -> None:
        x, p = self.moves[which]
        self.drop(x, self.place[int(self.graph.tensor_src[x])], ("sent to", p))
        self.give(x, p)


def tangled_graph(seed: int) -> DataflowGraph:
    """Operators with none to three tensors, some empty, some unread; operators that take no time; parameters."""
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(1, 45))
    src = np.sort(np.repeat(np.arange(nodes), rng.integers(0, 4, nodes)))
    pairs = [(v, x) for v in range(nodes) for x in np.flatnonzero(src < v) if rng.random() < 4 / (1 + len(src))]
    reads = np.array(pairs, np.int32).reshape(-1, 2)
    base = generate_graph("layered:depth=1,width=1,train=0,heavy=0")
    zero, none = np.zeros(nodes, np.int64), np.zeros(0, np.int64)
    held = np.where(np.isin(np.arange(nodes), reads[:, 0]), 0, rng.integers(0, 2, nodes) * 1000)
    graph = replace(
        base, op=zero.astype(np.int32), flops=zero, traffic=zero, param_bytes=held, layer=zero.astype(np.int32),
        phase=zero.astype(np.int8), coloc=zero.astype(np.int32) - 1, tensor_src=src.astype(np.int32),
        tensor_bytes=rng.integers(0, 5, len(src)) * 100, edge_tensor=reads[:, 1].copy(), edge_dst=reads[:, 0].copy(),
        time_ns=rng.integers(0, 5, nodes) * 20, time_cpu_ns=rng.integers(0, 9, nodes) * 10, human_expert=none,
    )  # fmt: skip
    check_graph(graph)
    return graph


def random_cluster(rng: np.random.Generator, unlike: bool, quick: bool = False) -> Cluster:
    """One to five devices; `unlike` ones differ in kind, speed and links."""
    devices, mode = int(rng.integers(1, 6)), str(rng.choice(LINK_MODES))
    like = uniform(devices, float(rng.choice([0.7, 12, 300])), int(rng.choice([0, 700, 10_000])), link_mode=mode)
    if quick:
        like = uniform(devices, float(rng.choice([1, 3])), int(rng.choice([0, 10, 50])), link_mode=mode)
    if not unlike:
        return like
    return replace(
        like, kinds=tuple(rng.choice(["gpu", "cpu"], devices).tolist()), speed=rng.choice([0.5, 1.0, 1.7], devices),
        bandwidth=like.bandwidth * rng.integers(1, 4, (devices, devices)),
        latency_ns=like.latency_ns * rng.integers(0, 3, (devices, devices)),
    )  # fmt: skip


def random_priority(rng: np.random.Generator, nodes: int) -> Array | None:
    choices = [None, rng.integers(-3, 3, nodes), rng.integers(-(2**30), 2**30, nodes), rng.permutation(nodes)]
    return choices[int(rng.integers(4))]


def assert_same(found: Outcome, slow: Slow) -> None:
    assert found.start.tolist() == slow.start and found.finish.tolist() == slow.finish
    assert found.makespan_ns == max(slow.finish) and found.peak_bytes.tolist() == slow.peaks
    assert found.moves.tolist() == slow.moves and found.spans.tolist() == slow.spans
    assert found.transfers == len(slow.moves)
    assert found.transfer_bytes == sum(int(slow.graph.tensor_bytes[x]) for x, _ in slow.moves)


@pytest.mark.parametrize("kind", ["layered", "tangled"])
@pytest.mark.parametrize("unlike", [False, True])
def test_a_slow_rewrite_of_the_rules_agrees(kind: str, unlike: bool) -> None:
    seen = set()
    for seed in range(150):
        rng = np.random.default_rng(seed)
        recipe = f"layered:depth={rng.integers(1, 7)},width={rng.integers(1, 6)},fan_in=3,train={seed % 2},seed={seed}"
        graph = generate_graph(recipe) if kind == "layered" else tangled_graph(seed)
        cluster = random_cluster(rng, unlike, quick=kind == "tangled")
        place = rng.integers(0, cluster.devices, graph.nodes)
        priority, times = random_priority(rng, graph.nodes), cluster.times(graph)
        found = simulate(graph, times, cluster, place, priority)
        assert_same(found, Slow(graph, times, cluster, place, priority).run())
        busy = np.bincount(place, times[place, np.arange(graph.nodes)], cluster.devices)
        assert found.busy_ns.tolist() == busy.tolist()
        plain = simulate(graph, times, cluster, place, priority, memory=False)
        held = np.bincount(place, graph.param_bytes, cluster.devices)
        assert plain.peak_bytes.tolist() == held.tolist() and plain.finish.tolist() == found.finish.tolist()
        seen.add((cluster.link_mode, cluster.devices, priority is None))
    assert len(seen) >= 25  # of 30


def test_no_execution_beats_the_bounds() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        graph, cluster = generate_graph(f"layered:depth=5,seed={seed}"), random_cluster(rng, True)
        times = cluster.times(graph)
        place = rng.integers(0, cluster.devices, graph.nodes)
        found = simulate(graph, times, cluster, place, random_priority(rng, graph.nodes))
        assert found.makespan_ns >= lower_bound_ns(graph, times) >= critical_path_ns(graph, times.min(axis=0))
        assert found.makespan_ns >= found.busy_ns.max()
        assert ((found.finish - found.start) == times[place, np.arange(graph.nodes)]).all()


@pytest.mark.parametrize("mode", ["none", "pair"])
def test_like_devices_may_change_their_numbers(mode: str) -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        graph, cluster = generate_graph(f"layered:depth=5,width=4,seed={seed}"), uniform(4, link_mode=mode)
        times, place, order = cluster.times(graph), rng.integers(0, 4, graph.nodes), rng.permutation(4)
        priority = rng.permutation(graph.nodes)  # ties would be broken by the numbers of devices
        one = simulate(graph, times, cluster, place, priority)
        other = simulate(graph, times, cluster, order[place], priority)
        assert other.makespan_ns == one.makespan_ns and np.array_equal(other.start, one.start)
        assert other.busy_ns[order].tolist() == one.busy_ns.tolist()


@pytest.mark.parametrize("mode", LINK_MODES)
def test_a_slower_clock_scales_everything(mode: str) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        graph = generate_graph(f"layered:depth=5,width=4,seed={seed}")
        graph = replace(graph, tensor_bytes=graph.tensor_bytes // 12 * 12)  # so that no occupancy is rounded
        place, priority = rng.integers(0, 3, graph.nodes), random_priority(rng, graph.nodes)
        one, three = uniform(3, 12.0, 7000, link_mode=mode), uniform(3, 4.0, 21_000, link_mode=mode)
        found = simulate(graph, one.times(graph), one, place, priority)
        slower = simulate(graph, 3 * one.times(graph), three, place, priority)
        assert slower.makespan_ns == 3 * found.makespan_ns and np.array_equal(slower.start, 3 * found.start)
        assert np.array_equal(slower.spans, 3 * found.spans)
        assert slower.peak_bytes.tolist() == found.peak_bytes.tolist()


def test_a_faster_link_is_never_slower_for_one_transfer() -> None:
    graph = generate_graph("layered:depth=6,width=1,train=0,heavy=0,seed=3")
    line = np.arange(graph.nodes, dtype=np.int32)
    graph = replace(graph, edge_tensor=line[:-1], edge_dst=line[1:])
    place = (line >= 4).astype(np.int64)
    before = None
    for bandwidth in (0.5, 1, 2, 3, 5, 12, 40, 1000):
        cluster = uniform(2, bandwidth)
        found = simulate(graph, cluster.times(graph), cluster, place)
        assert found.transfers == 1
        sent = int(np.diff(found.spans).item())
        assert found.makespan_ns == graph.total_ns + sent + 10_000
        assert before is None or found.makespan_ns <= before
        before = found.makespan_ns


def test_batches_equal_single_runs_whatever_the_threads() -> None:
    graph, cluster = load_graph("layered/test-0"), uniform(3)
    times, rng = cluster.times(graph), np.random.default_rng(0)
    places, orders = rng.integers(0, 3, (7, graph.nodes)), rng.integers(-9, 9, (7, graph.nodes))
    for priorities in (None, orders[:1], orders[0], orders):
        rows = [None] * 7 if priorities is None else np.broadcast_to(priorities, orders.shape)
        single = [simulate(graph, times, cluster, p, q) for p, q in zip(places, rows, strict=True)]
        for threads in (None, 1, 2, 3, 16):
            makespans, peaks = evaluate_batch(graph, times, cluster, places, priorities, threads=threads)
            assert makespans.tolist() == [found.makespan_ns for found in single]
            assert peaks.tolist() == [found.peak_bytes.tolist() for found in single]
    makespans, peaks = evaluate_batch(graph, times, cluster, places, memory=False)
    assert (peaks.sum(axis=1) == graph.param_bytes.sum()).all()
    assert makespans.tolist() == [simulate(graph, times, cluster, p).makespan_ns for p in places]
    assert evaluate_batch(graph, times, cluster, places[:0])[0].shape == (0,)


def test_times_out_of_range_are_refused() -> None:
    graph = generate_graph("layered:depth=5,seed=1")
    cluster = uniform(3)
    check_range(graph, cluster.times(graph), cluster)
    late = replace(cluster, latency_ns=np.full((3, 3), 2**50))
    narrow = replace(cluster, bandwidth=np.ones((3, 3), np.int64))
    large = replace(graph, tensor_bytes=graph.tensor_bytes * 2**20)
    whole = replace(graph, tensor_bytes=np.where(np.arange(graph.tensors) == 3, 2**52, 0))
    wide = replace(cluster, bandwidth=np.full((3, 3), 10**9))
    for made, links, times in (
        (graph, late, cluster.times(graph)), (large, narrow, cluster.times(graph)), (whole, wide, cluster.times(graph)),
        (graph, cluster, cluster.times(graph) * 2**40),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=r"more than the simulator counts .* use a higher bandwidth"):
            check_range(made, times, links)


def cpu_seconds(work: Any, repeats: int) -> float:
    found = []
    for _ in range(repeats):
        before = time.process_time()
        work()
        found.append(time.process_time() - before)
    return min(found)


@pytest.mark.slow
def test_an_execution_costs_at_most_130_longest_paths() -> None:
    graph = load_graph("seeds/gnmt_8l")
    cluster = uniform(graph.devices)
    times, place = cluster.times(graph), expert_placement(graph, graph.devices)
    finish, source, alone = np.empty(graph.nodes, np.int64), graph.edge_src, np.ascontiguousarray(times[0])
    kernels.longest_path(graph.in_ptr, source, alone, finish)
    simulate(graph, times, cluster, place)

    def longest() -> None:
        for _ in range(20):
            kernels.longest_path(graph.in_ptr, source, alone, finish)

    floor = cpu_seconds(longest, 20) / 20
    assert cpu_seconds(lambda: simulate(graph, times, cluster, place), 20) <= 130 * floor
