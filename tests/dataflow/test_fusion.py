"""Fusion against reference values and against slow definitions."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from public import DATAFLOW, needs_dataflow

from sysgym import UsageError
from sysgym.dataflow.graphs.cluster import uniform
from sysgym.dataflow.graphs.fusion import MAX_GROUP, SLICES, fuse, fused_graph
from sysgym.dataflow.graphs.graph import DataflowGraph, check_graph
from sysgym.dataflow.graphs.io import read_graph
from sysgym.dataflow.graphs.roofline import Roofline
from sysgym.dataflow.simulator.simulate import critical_path_priority, simulate

FUSED = [
    "inception_v3_b1_infer", "inception_v3_b32_infer", "gpt2_12l_b4_infer", "resnet50_b8_infer",
    "inception_v3_b32_train", "bert_base_b16_train", "gpt2_12l_b8_train", "txl_2l_train", "txl_4l_train",
    "rnnlm_2l_train", "rnnlm_4l_train", "wavenet_2s_train", "amoebanet_d18_train", "gnmt_2l_train",
]  # fmt: skip
TYPES, CLASSES = ("param", "add", "mm", "sum", "slice", "mul"), (0, 1, 2, 3, 1, 1)


def make_graph(
    op: list[int], tensor_src: list[int], reads: list[tuple[int, int]], tensor_bytes: list[int] | None = None,
    **columns: Any,
) -> DataflowGraph:  # fmt: skip
    """Operators of TYPES; reads are pairs of a tensor and an operator."""
    edges = np.array(sorted(reads, key=lambda pair: (pair[1], pair[0])), np.int32).reshape(-1, 2)
    zero, none = np.zeros(len(op), np.int64), np.zeros(0, np.int64)
    values = {
        "time_ns": zero + 10_000,
        "flops": zero,
        "traffic": zero,
        "param_bytes": zero,
        "layer": zero,
        "phase": zero.astype(np.int8),
        "coloc": zero - 1,
        "time_cpu_ns": none,
        "human_expert": none,
        **columns,
    }
    graph = DataflowGraph(
        name="made", devices=2, op_types=TYPES, op_class=np.array(CLASSES, np.int8), op=np.array(op, np.int32),
        tensor_src=np.array(tensor_src, np.int32), edge_tensor=edges[:, 0].copy(), edge_dst=edges[:, 1].copy(),
        tensor_bytes=np.array(tensor_bytes or [8] * len(tensor_src), np.int64), **values,
    )  # fmt: skip
    check_graph(graph)
    return graph


def random_graph(seed: int, nodes: int = 40) -> DataflowGraph:
    """Layers of operators, up to three tensors each, that read some of the ten operators before them."""
    rng = np.random.default_rng(seed)
    op = rng.choice(6, nodes, p=[0.08, 0.3, 0.12, 0.1, 0.1, 0.3]).tolist()
    src = sorted([*range(nodes - 1), *rng.integers(0, nodes, nodes // 4).tolist()])
    reads = set()
    for v in range(1, nodes):
        near = [x for x, s in enumerate(src) if v - 10 <= s < v]
        reads |= {(int(x), v) for x in rng.choice(near, min(len(near), int(rng.integers(0, 4))), replace=False)}
    phase = (np.arange(nodes) >= nodes * 3 // 4).astype(np.int8)
    return make_graph(
        op, src, sorted(reads), rng.integers(0, 10**7, len(src)).tolist(), phase=phase,
        time_ns=rng.integers(1, 10**5, nodes), flops=rng.integers(0, 3 * 10**7, nodes),
        param_bytes=np.where(np.array(op) == 0, 100, 0), layer=np.arange(nodes) // 8,
    )  # fmt: skip


def measured_in_part(seed: int, nodes: int) -> DataflowGraph:
    """A third of the operators as the roofline has it, others measured; bytes of half of them are known."""
    rng, graph = np.random.default_rng([seed, 1]), random_graph(seed, nodes)
    graph = replace(graph, traffic=np.where(rng.random(nodes) < 0.5, rng.integers(0, 10**7, nodes), 0))
    usual = Roofline().times(graph.flops, graph.traffic)
    return replace(graph, time_ns=np.where(rng.random(nodes) < 0.4, usual, graph.time_ns))


def arcs(graph: DataflowGraph) -> list[tuple[int, int]]:
    return list(zip(graph.edge_src.tolist(), graph.edge_dst.tolist(), strict=True))


def kahn(group: list[int], links: list[tuple[int, int]]) -> list[int] | None:
    """Names of groups in Kahn's order, the smallest name of those ready first; None if there is a cycle."""
    before: dict[int, set[int]] = {g: set() for g in group}
    for u, v in links:
        if group[u] != group[v]:
            before[group[v]].add(group[u])
    order: list[int] = []
    while before:
        ready = [g for g, needed in before.items() if needed <= {*order}]
        if not ready:
            return None
        order.append(min(ready))
        del before[order[-1]]
    return order


def leads_elsewhere(a: int, b: int, group: list[int], links: list[tuple[int, int]]) -> bool:
    """Whether a path from group a to group b has another group in between."""
    seen = {group[v] for u, v in links if group[u] == a} - {a, b}
    while True:
        more = {group[v] for u, v in links if group[u] in seen} - seen - {a}
        if b in more:
            return True
        if not more:
            return False
        seen |= more


def slow_groups(graph: DataflowGraph, placement: list[int], priority: list[int], limit: int) -> list[int]:
    """The rule, with a breadth-first search of the whole graph of groups before each merge."""
    group, links, kind = list(range(graph.nodes)), arcs(graph), graph.classes.tolist()
    for v in sorted(range(graph.nodes), key=lambda v: (-priority[v], v)):
        if priority[v] <= 0 or kind[v] in (0, 3):
            continue
        for x in np.flatnonzero(graph.tensor_src == v).tolist():
            for c in sorted(graph.edge_dst[graph.edge_tensor == x].tolist()):
                a, b = group[v], group[c]
                if kind[c] in (0, 2) or placement[c] != placement[v] or graph.phase[c] != graph.phase[v] or a == b:
                    continue
                if group.count(a) + group.count(b) > limit or any(
                    kind[u] == 2 for u in range(len(group)) if group[u] == b
                ):
                    continue
                if not leads_elsewhere(a, b, group, links):
                    group = [min(a, b) if g in (a, b) else g for g in group]
    order = kahn(group, links)
    assert order is not None
    return [order.index(g) for g in group]


def slow_time(graph: DataflowGraph, members: list[int]) -> int:
    """Nanoseconds of a group, tensor by tensor."""
    if len(members) == 1:
        return int(graph.time_ns[members[0]])
    moved = 0
    for x, (src, size) in enumerate(zip(graph.tensor_src.tolist(), graph.tensor_bytes.tolist(), strict=True)):
        readers = graph.edge_dst[graph.edge_tensor == x].tolist()
        if src in members:
            moved += size if not readers or any(c not in members for c in readers) else 0
            continue
        taken = [0]
        for c in {*readers} & {*members}:
            written = int(graph.tensor_bytes[graph.tensor_src == c].sum())
            taken.append(min(size, written) if TYPES[graph.op[c]] in SLICES else size)
        moved += max(taken)
    computing, bytes_moved, slower_bytes = 0.0, 0, 0.0
    for v in members:
        flops, size, time = int(graph.flops[v]), int(graph.traffic[v]), int(graph.time_ns[v])
        expected = max(flops / (9.3e12 * 0.6), size / (732e9 * 0.75)) * 1e9
        beyond = max(time - 5000, 0)
        pace = 1.0 if time == 0 or not expected or time == 5000 + round(expected) else beyond / expected
        computing += pace * flops / (9.3e12 * 0.6) * 1e9 + (0 if expected else beyond)
        bytes_moved += size
        slower_bytes += pace * size
    moving = moved / (732e9 * 0.75) * 1e9 * (slower_bytes / bytes_moved if bytes_moved else 1)
    return min(5000 + round(max(computing, moving)), int(graph.time_ns[members].sum()))


@pytest.mark.parametrize("seed", range(60))
def test_groups_and_their_times_are_those_of_slow_definitions(seed: int) -> None:
    rng, graph = np.random.default_rng(seed), (random_graph, measured_in_part)[seed % 2](seed, 30 + seed % 3 * 15)
    priority = rng.integers(-2, 6, graph.nodes) if seed % 4 else np.ones(graph.nodes, np.int64)
    placement = rng.integers(0, 2, graph.nodes) if seed % 3 else np.zeros(graph.nodes, np.int64)
    limit = 5 if seed % 5 == 0 else MAX_GROUP
    groups = fuse(graph, placement, priority, limit)
    assert groups.dtype == np.int32 and groups.tolist() == slow_groups(graph, *map(list, (placement, priority)), limit)
    fused = fused_graph(graph, groups, graph.time_ns)
    members = [np.flatnonzero(groups == g).tolist() for g in range(fused.graph.nodes)]
    assert fused.times.tolist() == [[slow_time(graph, rows) for rows in members]]
    assert fused.first.tolist() == [rows[0] for rows in members]
    assert fused.largest(priority).tolist() == [max(priority[rows]) for rows in members]


@pytest.mark.parametrize("seed", range(8))
def test_what_leaves_a_group_stays_and_nothing_else(seed: int) -> None:
    graph = random_graph(seed)
    fused = fused_graph(graph, fuse(graph, np.zeros(graph.nodes), np.ones(graph.nodes)), graph.time_ns)
    check_graph(fused.graph)
    group, small = fused.group.tolist(), fused.graph
    assert small.nodes < graph.nodes
    wanted = []
    for x, (src, size) in enumerate(zip(graph.tensor_src.tolist(), graph.tensor_bytes.tolist(), strict=True)):
        readers = graph.edge_dst[graph.edge_tensor == x].tolist()
        outside = {group[c] for c in readers} - {group[src]}
        if outside or not readers:
            wanted.append((group[src], x, size, sorted(outside)))
    wanted.sort()
    found = [small.use_node[small.use_ptr[x] : small.use_ptr[x + 1]].tolist() for x in range(small.tensors)]
    assert small.tensor_src.tolist() == [row[0] for row in wanted]
    assert small.tensor_bytes.tolist() == [row[2] for row in wanted] and found == [row[3] for row in wanted]
    assert small.param_bytes.sum() == graph.param_bytes.sum() and small.flops.sum() == graph.flops.sum()


def test_a_group_is_named_after_its_heavy_member() -> None:
    graph = make_graph([2, 1, 3], [0, 1, 2], [(0, 1), (1, 2)], coloc=np.array([3, -1, -1]))
    groups = fuse(graph, np.zeros(3), np.array([0, 1, 0]))
    assert groups.tolist() == [0, 1, 1]  # nothing starts at 0; a reduction is taken in
    groups = fuse(graph, np.zeros(3), np.array([1, 1, 0]))
    small = fused_graph(graph, groups, graph.time_ns).graph
    assert groups.tolist() == [0, 0, 0] and small.op.tolist() == [2] and small.coloc.tolist() == [3]


def test_no_merge_closes_a_cycle() -> None:
    """0 -> 1 -> 2 with 0 -> 2, the 1 in between never fused: 2 cannot join 0."""
    graph = make_graph([1, 0, 1], [0, 1], [(0, 1), (0, 2), (1, 2)])
    assert fuse(graph, np.zeros(3), np.ones(3)).tolist() == [0, 1, 2]
    with pytest.raises(UsageError, match="topological order"):
        fused_graph(graph, np.array([0, 1, 0]), graph.time_ns)


def test_other_devices_take_the_members_share_of_the_groups_time() -> None:
    graph = replace(random_graph(3), time_cpu_ns=random_graph(3).time_ns * 7)
    groups = fuse(graph, np.zeros(graph.nodes), np.ones(graph.nodes))
    fused = fused_graph(graph, groups, np.stack([graph.time_ns, graph.time_ns * 3, graph.time_cpu_ns]))
    alone = (np.bincount(groups) == 1).tolist()
    assert np.array_equal(fused.times[0], fused.graph.time_ns) and not all(alone) and any(alone)
    assert np.array_equal(fused.times[1], fused.times[0] * 3)
    assert np.array_equal(fused.times[2], fused.times[0] * 7) and np.array_equal(
        fused.times[2], fused.graph.time_cpu_ns
    )
    late = np.where(graph.time_ns > 0, graph.time_ns + 4000, 0)
    slow = fused_graph(replace(graph, time_ns=late, machine=Roofline(launch_ns=9000)), groups, late)
    runs = np.bincount(groups, graph.time_ns) > 0
    assert (slow.times[0] - fused.times[0]).tolist() == (4000 * runs).tolist()


def test_two_milliseconds_of_unknown_work_stay_two_milliseconds() -> None:
    graph = make_graph([1, 1], [0], [(0, 1)], [1000], time_ns=np.array([10**6, 10**6]))
    fused = fused_graph(graph, np.zeros(2, np.int32), graph.time_ns)
    assert fused.graph.time_ns.tolist() == [2 * 10**6 - 5000]  # a launch is saved


def test_fusion_never_takes_longer_on_the_machine_that_was_given() -> None:
    fast = Roofline(peak_flops=312e12, bandwidth=2039e9, launch_ns=3000)
    saved = 0
    for seed in range(20):
        graph = random_graph(seed)
        graph = replace(graph, traffic=np.full(graph.nodes, 10**6), machine=fast)
        graph = replace(graph, time_ns=fast.times(graph.flops, graph.traffic))
        groups = fuse(graph, np.zeros(graph.nodes), np.ones(graph.nodes))
        fused = fused_graph(graph, groups, graph.time_ns).graph.time_ns
        assert (fused <= np.bincount(groups, graph.time_ns)).all() and (fused >= fast.launch_ns).all()
        saved += graph.total_ns - fused.sum()
    assert saved > 0


def test_graphs_without_tensors_or_priorities() -> None:
    for graph in (make_graph([1], [], []), make_graph([1, 2], [0], [])):
        fused = fused_graph(graph, fuse(graph, np.zeros(graph.nodes), np.ones(graph.nodes)), graph.time_ns)
        assert fused.graph.nodes == graph.nodes and fused.graph.tensors == graph.tensors
    graph = random_graph(1)
    fused = fused_graph(graph, fuse(graph, np.zeros(graph.nodes), np.zeros(graph.nodes)), graph.time_ns)
    assert fused.graph.nodes == graph.nodes and fused.graph.edges == graph.edges


@needs_dataflow
@pytest.mark.parametrize("name", FUSED)
def test_reference_fusions(name: str) -> None:
    wanted = json.loads((DATAFLOW / "fusion_reference.json").read_text())["graphs"][name]
    layers = json.loads((DATAFLOW / "reference.json").read_text())["graphs"][name]["layer_to_device"]
    graph = read_graph(DATAFLOW / f"{name}.json.gz")
    ids, cluster = np.arange(graph.nodes), uniform(graph.devices)
    placements = {"single": 0 * ids, "expert_layer_blocks": np.array(layers)[graph.layer]}
    priorities = {"none": 0 * ids, "ones": 0 * ids + 1, "reverse": ids + 1, "mod16": ids % 16}
    assert len(wanted) == 8
    for key, row in wanted.items():
        place, level = key.split("/")
        groups = fuse(graph, placements[place], priorities[level])
        fused = fused_graph(graph, groups, cluster.times(graph))
        own = placements[place][fused.first]
        fifo = simulate(fused.graph, fused.times, cluster, own)
        rank = critical_path_priority(fused.graph, fused.times, cluster, 0.75)
        found = {
            "groups": fused.graph.nodes, "max_group": int(np.bincount(groups).max()),
            "sum_time_ns": int(fused.times[0].sum()), "makespan_fifo_ns": fifo.makespan_ns,
            "makespan_cp_ns": simulate(fused.graph, fused.times, cluster, own, rank).makespan_ns,
            "peak_bytes": fifo.peak_bytes.tolist(), "transfer_bytes": fifo.transfer_bytes,
        }  # fmt: skip
        assert found == row, key


@needs_dataflow
def test_random_priorities_keep_every_public_graph_acyclic() -> None:
    rng, count = np.random.default_rng(0), 0
    for path in sorted(DATAFLOW.glob("*.json.gz")):
        if path.name == "placements.json.gz":
            continue
        graph, count = read_graph(path), count + 1
        groups = fuse(graph, np.zeros(graph.nodes), rng.integers(0, 16, graph.nodes))
        check_graph(fused_graph(graph, groups, graph.time_ns).graph)  # ids of groups are a topological order
        assert np.array_equal(np.unique(groups), np.arange(groups.max() + 1))
        if not graph.op_class.any():
            assert np.array_equal(groups, np.arange(graph.nodes))
    assert count == 45
