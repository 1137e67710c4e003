"""Graphs from files, recipes and the package; descriptions of devices; units that graphs are cut into."""

from __future__ import annotations

import copy
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym import UsageError, content_hash
from sysgym.core.errors import MissingDependency
from sysgym.core.instances import find_entry, load_index
from sysgym.dataflow.graphs.cluster import CAPACITY, Cluster, read_cluster, uniform
from sysgym.dataflow.graphs.generate import OP_TYPES, generate_graph, is_recipe, parse_recipe, random_graph
from sysgym.dataflow.graphs.graph import BACKWARD, FORWARD, UPDATE, DataflowGraph, check_graph
from sysgym.dataflow.graphs.groups import (
    Units,
    block_bounds,
    expert_placement,
    layer_chunks,
    layer_times,
    make_units,
    metis_groups,
    units_of,
)
from sysgym.dataflow.graphs.io import FORMAT, format_graph, parse_graph, read_graph
from sysgym.dataflow.graphs.load import load_graph

SMALL: dict[str, Any] = {
    "format": FORMAT, "name": "small", "devices": 2, "op_types": ["param", "mm"], "op_class": [0, 2],
    "nodes": {
        "op": [0, 1, 1], "time_ns": [0, 5, 7], "flops": [0, 1, 2], "bytes": [0, 3, 4], "param_bytes": [8, 0, 0],
        "layer": [0, 0, 1], "phase": [0, 0, 1], "coloc": [0, -1, -1],
    },
    "tensors": {"src": [0, 1, 1], "bytes": [8, 6, 4]}, "edges": {"tensor": [0, 0, 1], "dst": [1, 2, 2]},
}  # fmt: skip
NAMES = [name for group in load_index("dataflow").values() for name in group.names()]


def changed(path: str, value: Any) -> bytes:
    """The small graph with one value replaced, `nodes.op` style; None removes it."""
    content = copy.deepcopy(SMALL)
    *parents, key = path.split(".")
    table = content
    for parent in parents:
        table = table[parent]
    if value is None:
        del table[key]
    else:
        table[key] = value
    return json.dumps(content).encode()


def assert_equal(one: DataflowGraph, other: DataflowGraph) -> None:
    for item in fields(DataflowGraph):
        a, b = getattr(one, item.name), getattr(other, item.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and np.array_equal(a, b), item.name
        else:
            assert a == b, item.name


@pytest.mark.parametrize("name", ["layered/train-1", "msr/layer_bert24_inference", "doppler/ffnn", "seeds/txl_2l"])
def test_a_graph_survives_its_file(name: str, tmp_path: Path) -> None:
    graph = load_graph(name)
    data = format_graph(graph)
    assert data == format_graph(graph) and data[:2] == b"\x1f\x8b"
    assert_equal(parse_graph("x", data, name), graph)
    assert_equal(parse_graph("x", gzip.decompress(data), name), graph)
    (tmp_path / "x.json.gz").write_bytes(data)
    (tmp_path / "x.json").write_bytes(gzip.decompress(data))
    assert_equal(read_graph(tmp_path / "x.json", name), graph)
    mine = load_graph(str(tmp_path / "x.json.gz"))
    assert mine.name == str(tmp_path / "x.json.gz") and content_hash(mine) == content_hash(graph)


def test_what_a_file_leaves_out_has_a_meaning() -> None:
    content = {key: SMALL[key] for key in ("format", "name", "op_types", "tensors", "edges")}
    content["nodes"] = {key: SMALL["nodes"][key] for key in ("op", "time_ns")}
    graph = parse_graph("file", json.dumps(content).encode())
    assert (graph.name, graph.devices, graph.op_class.tolist()) == ("small", 1, [0, 0])
    assert not any(getattr(graph, key).any() for key in ("flops", "traffic", "param_bytes", "layer", "phase"))
    assert graph.coloc.tolist() == [-1] * 3 and not len(graph.time_cpu_ns) and not len(graph.human_expert)
    full = parse_graph("file", changed("nodes.time_cpu_ns", [1, 50, 70]))
    assert full.time_cpu_ns.tolist() == [1, 50, 70] and full.traffic.tolist() == [0, 3, 4]
    assert full.in_ptr.tolist() == [0, 0, 1, 3] and full.out_ptr.tolist() == [0, 1, 3, 3]
    assert full.use_ptr.tolist() == [0, 2, 3, 3] and full.use_node.tolist() == [1, 2, 2]
    assert full.edge_src.tolist() == [0, 0, 1] and full.classes.tolist() == [0, 2, 2] and full.total_ns == 12


@pytest.mark.parametrize(("path", "value", "sentence"), [
    ("format", "sysgym.dataflow/9", "must be an object with format 'sysgym.dataflow/1', got 'sysgym.dataflow/9'"),
    ("nodes", None, "'nodes' must be an object of arrays, got NoneType"),
    ("edges", [1], "'edges' must be an object of arrays, got list"),
    ("op_types", [], "op_types must be a list of names"),
    ("op_types", ["mm", 3], "op_types must be a list of names"),
    ("devices", 0, "devices must be a whole number from 1 to 64, got 0"),
    ("devices", True, "devices must be a whole number from 1 to 64, got True"),
    ("devices", 2.0, "devices must be a whole number from 1 to 64, got 2.0"),
    ("nodes.op", None, "nodes.op must be a list of whole numbers, got NoneType"),
    ("nodes.time_ns", "5", "nodes.time_ns must be a list of whole numbers, got str"),
    ("nodes.flops", [0, 1.5, 2], "only, but entry 1 is 1.5"),
    ("nodes.flops", [0, True, 2], "nodes.flops must hold whole numbers from"),
    ("nodes.flops", [0, None, 2], "nodes.flops must hold whole numbers from"),
    ("nodes.flops", [[0], [1], [2]], "nodes.flops must hold whole numbers from"),
    ("nodes.flops", [0, 10**30, 2], "nodes.flops must hold whole numbers from"),
    ("nodes.phase", [0, 0, 300], "nodes.phase must hold whole numbers from -128 to 127 only, but entry 2 is 300"),
    ("nodes.op", [0, 1], "time_ns has 3 entries, expected one for each of the 2 nodes"),
    ("nodes.layer", [0, 1], "layer has 2 entries, expected one for each of the 3 nodes"),
    ("nodes.human_expert", [0, 1], "human_expert has 2 entries, expected one for each of the 3 nodes"),
    ("modules", ["a", 1], "modules must be a list of names"),
    ("nodes.module", [0, 0, 0], "module of node 0 is 0, expected 0 to -1"),
    ("nodes.op", [0, 1, 2], "op of node 2 is 2, expected 0 to 1"),
    ("nodes.time_ns", [0, -1, 2], "time_ns of node 1 is -1, expected 0 to"),
    ("nodes.bytes", [0, 2, 2**51], "bytes of node 2 is 2251799813685248, expected 0 to"),
    ("nodes.param_bytes", [-8, 0, 0], "param_bytes of node 0 is -8, expected 0 to"),
    ("nodes.layer", [0, 0, -1], "layer of node 2 is -1, expected 0 to"),
    ("nodes.phase", [0, 3, 0], "phase of node 1 is 3, expected 0 to 2"),
    ("nodes.coloc", [0, -2, 0], "coloc of node 1 is -2, expected -1 to"),
    ("op_class", [0], "op_class has 1 entries for 2 op_types"),
    ("op_class", [0, 4], "op_class 1 is 4, expected 0 to 3"),
    ("tensors.src", [0, 1, 3], "src of tensor 2 is 3, expected 0 to 2"),
    ("tensors.src", [1, 0, 1], "tensors must be listed by their producer; sort them by src"),
    ("tensors.bytes", [8, -6, 4], "bytes of tensor 1 is -6, expected 0 to"),
    ("tensors.bytes", [8, 6], "src and bytes of tensors, or tensor and dst of edges, differ in length"),
    ("tensors.bytes", [8, 6, 2**51], "bytes of tensor 2 is 2251799813685248, expected 0 to"),
    ("edges.tensor", [0, 0, 5], "tensor of edge 2 is 5, expected 0 to 2"),
    ("edges.dst", [1, 2, 3], "dst of edge 2 is 3, expected 0 to 2"),
    ("edges.dst", [1, 2], "src and bytes of tensors, or tensor and dst of edges, differ in length"),
    ("edges.tensor", [0, 1, 0], "edges must be unique pairs sorted by dst, then tensor"),
    ("edges.tensor", [0, 1, 1], "edges must be unique pairs sorted by dst, then tensor"),
    ("edges.tensor", [1, 0, 1], "node 1 reads a tensor of node 1; nodes must be listed in a topological order"),
])  # fmt: skip
def test_refusals_of_a_graph_file(path: str, value: Any, sentence: str) -> None:
    parse_graph("file", json.dumps(SMALL).encode())
    with pytest.raises(UsageError, match=re.escape(sentence)):
        parse_graph("file", changed(path, value), "label")


def test_refusals_of_other_files(tmp_path: Path) -> None:
    for data, sentence in (
        (b"{", "file: this is no valid JSON"), (b"\xff\xfe\x00", "no valid JSON"),
        (b"[]", "must be an object with format"),
        (b"\x1f\x8b\x08broken", "file is a damaged gzip file"),
        (format_graph(load_graph("doppler/ffnn"))[:900], "file is a damaged gzip file"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=sentence):
            parse_graph("file", data)
    empty = {**SMALL, "nodes": {"op": [], "time_ns": []}, "tensors": {"src": [], "bytes": []},
             "edges": {"tensor": [], "dst": []}}  # fmt: skip
    with pytest.raises(UsageError, match="has 0 nodes; a graph has between 1 and"):
        parse_graph("file", json.dumps(empty).encode())
    for name in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            read_graph(name)
    with pytest.raises(UsageError, match="cannot be read"):
        load_graph(str(tmp_path / "none.json.gz"))
    with pytest.raises(UsageError, match=r"Did you mean 'seeds/rnnlm_2l'\? Give a registered name"):
        load_graph("seeds/rnnlm_2")


@pytest.mark.parametrize("name", NAMES)
def test_registered_graphs_are_what_their_index_says(name: str) -> None:
    entry = find_entry(load_index("dataflow"), name)
    graph = load_graph(name)
    assert entry is not None and content_hash(graph) == entry.hash
    assert (graph.name, graph.nodes, graph.edges) == (name, entry.nodes, entry.edges)
    check_graph(graph)
    assert load_graph(name) is graph
    assert graph.devices in range(2, 9) and graph.family and graph.licence and graph.source
    assert graph.task in ("train", "infer")
    if not name.startswith(("msr/", "doppler/")):  # they have no phases
        assert (graph.task == "train") == bool((graph.phase > 0).any())


def test_recipes_make_valid_layered_networks() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        depth, width, train = int(rng.integers(1, 9)), int(rng.integers(1, 7)), seed % 2
        recipe = f"layered:depth={depth},width={width},fan_in={rng.integers(1, 5)},train={train},seed={seed},devices=3"
        graph = generate_graph(recipe)
        check_graph(graph)
        assert_equal(generate_graph(recipe), graph)
        assert (graph.name, graph.devices, graph.task) == (recipe, 3, "train" if train else "infer")
        params = int((graph.param_bytes > 0).sum())
        assert graph.nodes == width + depth * width * (1 + train) + params * (1 + train)
        kind = np.array(OP_TYPES)[graph.op]
        assert {*kind[graph.time_ns == 0]} <= {"param", "input"} and graph.time_ns[graph.time_ns > 0].min() >= 5000
        assert (graph.param_bytes > 0).sum() == (kind == "param").sum() == (kind == "mm").sum()
        assert (np.isin(kind, ["sgd_update"]) == (graph.phase == UPDATE)).all()
        assert (graph.phase == FORWARD).sum() == width + depth * width + params
        assert (graph.phase == BACKWARD).sum() == depth * width * train
        assert graph.layer.max() == depth - 1
    other = generate_graph("layered:depth=3,seed=1"), generate_graph("layered:depth=3,seed=2")
    assert content_hash(other[0]) != content_hash(other[1])
    drawn = random_graph("layered:depth=3", np.random.default_rng(5))
    assert drawn.name.startswith("layered:depth=3,seed=")
    assert_equal(drawn, random_graph("layered:depth=3", np.random.default_rng(5)))
    assert random_graph("layered", np.random.default_rng(5)).name.startswith("layered:seed=")
    assert load_graph("layered:depth=2").nodes > 8 and is_recipe("layered") and not is_recipe("layered/train-0")


@pytest.mark.parametrize(("text", "sentence"), [
    ("layered:deep=3", "unknown option of layered 'deep'"), ("layered:depth=x", "depth must be a number, got 'x'"),
    ("layered:depth=", "depth must be a number, got ''"), ("layered:depth=2.5", "depth must be a number, got '2.5'"),
    ("layered:depth=0", "depth must be from 1 to 100000, got 0"), ("layered:heavy=nan", "heavy must be from 0 to 1"),
    ("layered:heavy=1.5", "heavy must be from 0 to 1, got 1.5"), ("layered:train=2", "train must be from 0 to 1"),
    ("layered:devices=65", "devices must be from 1 to 64"), ("layered:seed=-1", "seed must be from 0 to"),
    ("layered:depth=100000,width=10000", "depth x width is limited to 2000000 operators"),
])  # fmt: skip
def test_refusals_of_recipes(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        parse_recipe(text)


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_devices_from_a_file(tmp_path: Path) -> None:
    plain = read_cluster(write(tmp_path / "d.json", {"devices": [{}, {}, {}]}))
    usual = uniform(3)
    for item in fields(Cluster):
        assert np.array_equal(getattr(plain, item.name), getattr(usual, item.name)), item.name
    content = {
        "devices": [{"kind": "gpu", "speed": 2.0, "capacity": 8e9}, {"kind": "cpu"}], "link_mode": "pair",
        "bandwidth": [[1, 0.5], [12, 1]], "latency_ns": [[0, 5], [7, 0]],
    }  # fmt: skip
    found = read_cluster(write(tmp_path / "d.json", content))
    assert (found.kinds, found.devices, found.link_mode) == (("gpu", "cpu"), 2, "pair")
    assert found.capacity.tolist() == [8_000_000_000, CAPACITY] and found.latency_ns.tolist() == [[0, 5], [7, 0]]
    assert found.bandwidth.tolist() == [[1000, 500], [12_000, 1000]]
    graph = parse_graph("file", changed("nodes.time_cpu_ns", [1, 50, 70]))
    assert found.times(graph).tolist() == [[0, 2, 4], [1, 50, 70]]  # 2.5 and 3.5 go to the even neighbour
    assert found.times(parse_graph("file", json.dumps(SMALL).encode())).tolist() == [[0, 2, 4], [0, 5, 7]]


@pytest.mark.parametrize(("content", "sentence"), [
    ("{", "this is no valid JSON"), ("[]", "must be an object whose `devices` lists 1 to 64 objects"),
    ({"devices": []}, "lists 1 to 64 objects"), ({"devices": [{}] * 65}, "lists 1 to 64 objects"),
    ({"devices": 2}, "lists 1 to 64 objects"), ({"devices": [1, 2]}, "lists 1 to 64 objects"),
    ({"devices": [{}], "bandwith": 3}, "'bandwith'. Did you mean 'bandwidth'?"),
    ({"devices": [{"sped": 1}]}, "'sped'. Did you mean 'speed'?"),
    ({"devices": [{}], "link_mode": "bus"}, "unknown link_mode 'bus'"),
    ({"devices": [{"speed": "fast"}]}, "speed must be a number or numbers of shape (1,)"),
    ({"devices": [{"speed": 0}]}, "speed must lie between 1e-06 and 1e+06"),
    ('{"devices": [{"speed": NaN}]}', "NaN is not a JSON number"),
    ({"devices": [{"capacity": -1}]}, "capacity must lie between 0 and"),
    ({"devices": [{}, {}], "bandwidth": [[1, 2, 3]]}, "bandwidth must be a number or numbers of shape (2, 2)"),
    ({"devices": [{}, {}], "bandwidth": 0}, "bandwidth must lie between 0.001 and 1e+06"),
    ({"devices": [{}, {}], "latency_ns": [[0, -1], [0, 0]]}, "latency_ns must lie between 0 and 1e+12"),
])  # fmt: skip
def test_refusals_of_descriptions_of_devices(content: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        read_cluster(write(tmp_path / "d.json", content))
    with pytest.raises(UsageError, match="cannot be read"):
        read_cluster(tmp_path / "none.json")


def assert_units(graph: DataflowGraph, units: Units) -> None:
    """Units cover the operators once, in the order of their first; links carry every tensor read across once."""
    assert units.of.shape == (graph.nodes,) and np.array_equal(np.unique(units.of), np.arange(units.count))
    assert (np.diff(np.unique(units.of, return_index=True)[1]) > 0).all()
    links: dict[tuple[int, int], int] = {}
    for x in range(graph.tensors):
        source = int(units.of[graph.tensor_src[x]])
        readers = graph.use_node[graph.use_ptr[x] : graph.use_ptr[x + 1]]
        for target in {int(unit) for unit in units.of[readers]} - {source}:
            links[source, target] = links.get((source, target), 0) + int(graph.tensor_bytes[x])
    found = [(int(a), int(b)) for a, b in units.edge_index.T]
    assert len({*found}) == len(found) and dict(zip(found, units.edge_bytes.tolist(), strict=True)) == links


@pytest.mark.parametrize("name", ["layered/test-1", "seeds/txl_2l", "models/vgg16_b32_train", "doppler/llama_block"])
def test_units_conserve_operators_and_bytes(name: str) -> None:
    graph = load_graph(name)
    alone = make_units(graph, "op")
    assert alone.of.tolist() == list(range(graph.nodes))
    assert_units(graph, alone)
    rng = np.random.default_rng(0)
    makers: list[Callable[[], Units]] = [lambda: make_units(graph, "layers"), lambda: make_units(graph, "layers", 20)]
    for make in makers:
        assert_units(graph, make())
    label = np.unique(rng.integers(0, 9, graph.nodes), return_inverse=True)[1]
    shuffled = units_of(graph, label)
    assert shuffled.count == label.max() + 1 and shuffled.edge_bytes.sum() >= 0
    together = units_of(graph, np.zeros(graph.nodes, np.int64))
    assert together.count == 1 and together.edge_index.shape == (2, 0)


def test_chunks_are_about_as_many_as_wanted() -> None:
    for name in ("seeds/txl_4l", "seeds/rnnlm_2l", "models/gpt2_12l_b8_train"):
        graph = load_graph(name)
        phase = np.where(graph.param_bytes > 0, UPDATE, graph.phase)
        parts = len({*zip(graph.layer.tolist(), phase.tolist(), strict=True)})
        for wanted in (None, 1, 100, 400):
            label = layer_chunks(graph, wanted)
            count, aim = len(np.unique(label)), max(parts, 64 if wanted is None else wanted)
            assert 0.6 * aim <= count <= 1.5 * aim, (name, wanted, count, aim)
            for group in (graph.layer, phase):  # a chunk never mixes layers or phases
                pairs = {*zip(label.tolist(), group.tolist(), strict=True)}
                assert len(pairs) == count
    fine = generate_graph("layered:depth=300,width=1,seed=1")
    assert len(np.unique(layer_chunks(fine))) < 150  # neighbouring layers are joined
    assert len(np.unique(layer_chunks(fine, 900))) > 400


def test_the_expert_cuts_layers_into_light_blocks() -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        weights, blocks = rng.integers(1, 50, int(rng.integers(1, 9))), int(rng.integers(1, 5))
        owner = block_bounds(weights, blocks)
        assert owner[0] == 0 and set(np.diff(owner).tolist()) <= {0, 1} and owner[-1] == min(blocks, len(weights)) - 1
        heaviest = int(np.bincount(owner, weights).max())
        assert heaviest == least(weights.tolist(), min(blocks, len(weights)))
    graph = load_graph("seeds/rnnlm_4l")
    assert layer_times(graph).sum() == graph.total_ns
    assert {*expert_placement(graph, 4).tolist()} == {0, 1, 2, 3}
    human = load_graph("msr/layer_bert24_inference")
    assert expert_placement(human, human.devices) is human.human_expert
    fewer = expert_placement(human, int(human.human_expert.max()))  # too few devices for what the source says
    assert np.array_equal(fewer, block_bounds(layer_times(human), 5)[human.layer])


def least(weights: list[int], blocks: int) -> int:
    """Lightest heaviest block over all ways to cut a row."""
    if blocks == 1:
        return sum(weights)
    cuts = range(1, len(weights) - blocks + 2)
    return min(max(sum(weights[:i]), least(weights[i:], blocks - 1)) for i in cuts)


def test_metis_groups_are_balanced() -> None:
    pytest.importorskip("pymetis")
    graph = load_graph("seeds/txl_4l")
    part = metis_groups(graph, 4)
    assert np.array_equal(part, metis_groups(graph, 4)) and {*part.tolist()} == {0, 1, 2, 3}
    load = np.bincount(part, graph.time_ns, 4)
    assert load.max() < 1.1 * load.mean()
    crossing = part[graph.edge_src] != part[graph.edge_dst]
    anyhow = np.random.default_rng(0).integers(0, 4, graph.nodes)
    size = graph.tensor_bytes[graph.edge_tensor]
    assert size[crossing].sum() < 0.3 * size[anyhow[graph.edge_src] != anyhow[graph.edge_dst]].sum()
    heavy = metis_groups(graph, 2, weights=np.arange(graph.nodes))
    assert abs(np.bincount(heavy, np.arange(graph.nodes))[0] / np.arange(graph.nodes).sum() - 0.5) < 0.1
    units = make_units(graph, "metis", 40)
    assert_units(graph, units)
    assert 30 <= units.count <= 40


def test_metis_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pymetis", None)
    with pytest.raises(MissingDependency, match=r"install sysgym\[partitioners\]"):
        metis_groups(load_graph("doppler/ffnn"), 2)


def test_sums_that_overflow_are_refused() -> None:
    """2^14 operators of 2^50 ns each add up to 2^64."""
    many = 2**14
    content = {
        "format": "sysgym.dataflow/1", "name": "long", "op_types": ["op"],
        "nodes": {"op": [0] * many, "time_ns": [2**50] * many}, "tensors": {"src": [], "bytes": []},
        "edges": {"tensor": [], "dst": []},
    }  # fmt: skip
    with pytest.raises(UsageError, match="times add up to more than"):
        parse_graph("long.json", json.dumps(content).encode())
