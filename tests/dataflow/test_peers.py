"""Objectives of other systems: Placeto's simulator and the pipelines of Tarnawski et al., against their figures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from public import DATAFLOW, needs_dataflow

from sysgym.dataflow.graphs.graph import BACKWARD, DataflowGraph
from sysgym.dataflow.graphs.io import parse_graph, read_graph
from sysgym.dataflow.simulator.placeto import placeto_us
from sysgym.dataflow.simulator.throughput import device_loads, max_load_ns

LAYER_GRAPHS = 2**31 / 1e6  # bytes per nanosecond of the sources' costs of layer graphs
EXPERTS = {  # milliseconds of the human expert and of one device, and a half of the last digit printed
    "bert24_inference": (20.0840, 92.406, 5e-5), "gnmt_inference": (46.2085, 182.563, 5e-5),
    "resnet50_inference": (43.9183, 201.45, 5e-5), "inceptionv3_inference": (102.482, 310.969, 5e-4),
    "bert24_training": (49.4049, 217.813, 5e-5),
}  # fmt: skip


def made(times: list[int], tensors: list[tuple[int, int]], reads: list[tuple[int, int]]) -> DataflowGraph:
    """Operators of these times, tensors as (producer, bytes), reads as (tensor, reader)."""
    reads = sorted(reads, key=lambda pair: (pair[1], pair[0]))
    content = {
        "format": "sysgym.dataflow/1", "op_types": ["op"], "nodes": {"op": [0] * len(times), "time_ns": times},
        "tensors": {"src": [row[0] for row in tensors], "bytes": [row[1] for row in tensors]},
        "edges": {"tensor": [row[0] for row in reads], "dst": [row[1] for row in reads]},
    }  # fmt: skip
    return parse_graph("made", json.dumps(content).encode())


def test_placeto_counts_one_tensor_of_a_pair_and_the_rests() -> None:
    graph = made([1000, 2000], [(0, 76000), (0, 15200)], [(0, 1), (1, 1)])
    place = np.array([0, 1])
    assert placeto_us(graph, place, bus_rest_us=0, device_rest_us=0) == pytest.approx(1 + 2 + 2)
    assert placeto_us(graph, place) == pytest.approx(1 + 2 + 25)  # the bus rests longest
    assert placeto_us(graph, place, bus_rest_us=0) == pytest.approx(5 + 5.7)
    assert placeto_us(graph, 0 * place) == pytest.approx(1 + 5.7 + 2 + 5.7)
    by_device = np.array([[4.0, 9.0], [9.0, 3.0]])
    assert placeto_us(graph, place, by_device, 0, 0, bytes_per_us=15200) == pytest.approx(4 + 1 + 3)
    assert placeto_us(graph, place, np.array([0.0, 3.0])) == pytest.approx(2 + 25)
    assert placeto_us(graph, 0 * place, np.array([0.0, 3.0])) == pytest.approx(3 + 5.7)  # no rest where no time passed


def test_placetos_bus_does_not_send_what_is_not_computed_yet() -> None:
    """The bus is free again at 5; the second operator's tensor is ready at 11, and 1 more under way."""
    graph = made([1000, 10000, 1000, 2000], [(0, 7600), (1, 7600)], [(0, 2), (1, 3)])
    assert placeto_us(graph, np.array([0, 0, 1, 1]), None, 0, 3) == pytest.approx(11 + 1 + 3)
    assert placeto_us(graph, np.array([0, 0, 1, 1]), None, 0, 0) == pytest.approx(11 + 1 + 2)


def test_placeto_sends_a_tensor_to_all_devices_at_once_and_the_first_readers_first() -> None:
    graph = made([1000, 10000, 10000, 1000], [(0, 7600), (0, 7600)], [(0, 3), (1, 1), (1, 2)])
    place = np.array([0, 1, 2, 3])
    assert placeto_us(graph, place, None, 0, 3) == pytest.approx(1 + 1 + 10)  # tensor 1 until 2, tensor 0 from 5 to 6
    assert placeto_us(graph, place, np.array([1.0, 10, 10, 20]), 0, 3) == pytest.approx(6 + 20)
    assert placeto_us(graph, np.array([0, 0, 2, 3]), np.array([1.0, 50, 10, 1]), 0, 3) == pytest.approx(1 + 50)


@needs_dataflow
def test_placeto_gives_the_reference_figures() -> None:
    count = 0
    for name, row in json.loads((DATAFLOW / "reference.json").read_text())["graphs"].items():
        if "placeto_us" not in row:
            continue
        graph = read_graph(DATAFLOW / f"{name}.json.gz")
        ids, devices = np.arange(graph.nodes), graph.devices
        placements = {
            "single": 0 * ids, "round_robin": ids % devices, "blocks": ids * devices // graph.nodes,
            "random_seed0": np.random.RandomState(0).randint(0, devices, graph.nodes),
        }  # fmt: skip
        for key, wanted in row["placeto_us"].items():
            assert placeto_us(graph, placements[key]) == pytest.approx(wanted, rel=1e-12), (name, key)
            count += 1
    assert count == 168


def slow_loads(graph: DataflowGraph, place: list[int], times: list[list[int]], bandwidth: float) -> list[float]:
    """Loads by sets of the tensors that enter and leave each device."""
    loads = []
    for d, row in enumerate(times):
        load = float(sum(t for t, p in zip(row, place, strict=True) if p == d))
        crossing = set()
        for x, c in zip(graph.edge_tensor.tolist(), graph.edge_dst.tolist(), strict=True):
            if (place[graph.tensor_src[x]] == d) != (place[c] == d):
                crossing.add(x)
        loads.append(load + sum(int(graph.tensor_bytes[x]) for x in crossing) / bandwidth)
    return loads


@pytest.mark.parametrize("seed", range(20))
def test_loads_are_those_of_a_slow_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tensors = sorted((int(s), int(b)) for s, b in zip(rng.integers(0, 19, 25), rng.integers(0, 99, 25), strict=True))
    reads = {(x, int(rng.integers(s + 1, 20))) for x, (s, _) in enumerate(tensors) for _ in range(3)}
    graph = made([1] * 20, tensors, sorted(reads))
    times, place = rng.integers(0, 50, (4, 20)), rng.integers(0, 4, 20)
    loads = device_loads(graph, place, times, 0.7)
    assert loads.shape == (4,) and loads.tolist() == pytest.approx(slow_loads(graph, [*place], times.tolist(), 0.7))
    assert max_load_ns(graph, place, times, 0.7) == loads.max()


def source_costs(graph: DataflowGraph) -> DataflowGraph:
    """Bytes of backward operators' tensors as those of their forward partners, from which the source takes costs."""
    size = np.zeros(graph.nodes, np.int64)
    size[graph.tensor_src] = graph.tensor_bytes
    forward = {int(graph.coloc[v]): int(size[v]) for v in np.flatnonzero(graph.phase != BACKWARD)}
    return replace(graph, tensor_bytes=np.array([forward[int(graph.coloc[s])] for s in graph.tensor_src], np.int64))


@needs_dataflow
@pytest.mark.parametrize("name", EXPERTS)
def test_pipelines_of_human_experts_have_the_published_loads(name: str) -> None:
    expert, single, half = EXPERTS[name]
    graph = read_graph(DATAFLOW / f"msr_layer_{name}.json.gz")
    if name == "bert24_training":
        graph = source_costs(graph)
    times = np.stack([graph.time_ns] * graph.devices)
    assert max_load_ns(graph, graph.human_expert, times, LAYER_GRAPHS) / 1e6 == pytest.approx(expert, abs=half)
    assert max_load_ns(graph, 0 * graph.human_expert, times, LAYER_GRAPHS) / 1e6 == pytest.approx(single, rel=1e-9)
