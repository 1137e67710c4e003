"""Our own model definitions, traced, against the graphs of the public data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sysgym.dataflow.graphs.graph import DataflowGraph, check_graph
from sysgym.dataflow.graphs.io import read_graph
from sysgym_zoo import models
from sysgym_zoo.tools.tracing.build import Heading
from sysgym_zoo.tools.tracing.capture import trace_module

pytestmark = pytest.mark.filterwarnings("ignore:the loss of:sysgym.core.errors.Notice")  # the last block of WaveNet


def traced(module: Any, *inputs: Any, train: bool) -> DataflowGraph:
    graph = trace_module(module, inputs, Heading("mine", train=train), None)
    check_graph(graph)
    return graph


def shipped(folder: Path, name: str) -> DataflowGraph:
    """A graph of the public data."""
    path = folder / "dataflow" / f"{name}.json.gz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not here")
    return read_graph(path, name)


def kinds(graph: DataflowGraph) -> Counter[tuple[Any, ...]]:
    """How many nodes there are of each operator, class, cost and sizes."""
    return Counter(
        (graph.op_types[graph.op[v]], *(int(each[v]) for each in
         (graph.classes, graph.flops, graph.traffic, graph.time_ns, graph.param_bytes, graph.phase)),
         tuple(graph.tensor_bytes[graph.out_ptr[v] : graph.out_ptr[v + 1]].tolist()),
         tuple(sorted(graph.tensor_bytes[graph.edge_tensor[graph.in_ptr[v] : graph.in_ptr[v + 1]]].tolist())))
        for v in range(graph.nodes)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "function", "sizes", "train"),
    [
        ("vgg16_b32_train", "vgg16", {}, True),
        ("resnet50_b8_infer", "resnet50", {"batch": 8}, False),
        ("wavenet_2s_train", "wavenet", {}, True),
    ],
)
def test_small_graphs_are_those_of_the_public_data(
    name: str, function: str, sizes: dict[str, int], train: bool, public_data: Path
) -> None:
    module, inputs = getattr(models, function)(**sizes)
    assert kinds(traced(module, *inputs, train=train)) == kinds(shipped(public_data, name))


def test_few_steps_have_the_same_operators(public_data: Path) -> None:
    module, inputs = models.rnnlm(steps=3)
    graph, reference = traced(module, *inputs, train=True), shipped(public_data, "rnnlm_2l_train")
    vocabularies = [dict(zip(each.op_types, each.op_class.tolist(), strict=True)) for each in (graph, reference)]
    assert vocabularies[0] == vocabularies[1]
    assert set(kinds(graph)) & set(kinds(reference)) and graph.param_bytes.sum() == reference.param_bytes.sum()


EXACT, NEAR = 0.0, 0.06  # part of the nodes that may differ; of time, a tenth of that
MODELS: list[tuple[str, str, dict[str, int], float]] = [
    *((f"rnnlm_{n}l_train", "rnnlm", {"layers": n}, EXACT) for n in (2, 4, 8)),
    *((f"gnmt_{n}l_train", "gnmt", {"layers": n, "steps": t}, EXACT) for n, t in ((2, 40), (4, 40), (8, 80))),
    *((f"txl_{n}l_train", "transformer_xl", {"layers": n}, NEAR) for n in (2, 4, 8)),
    *((f"wavenet_{n}s_train", "wavenet", {"stacks": n}, EXACT) for n in (2, 4)),
    *((f"inception_v3_b{n}_train", "inception_v3", {"batch": n}, NEAR) for n in (32, 64)),
    *((f"inception_v3_b{n}_infer", "inception_v3", {"batch": n}, EXACT) for n in (1, 32)),
    ("amoebanet_d18_train", "amoebanet", {}, EXACT),
    ("resnet50_b32_train", "resnet50", {}, EXACT),
    ("resnet50_b8_infer", "resnet50", {"batch": 8}, EXACT),
    ("vgg16_b32_train", "vgg16", {}, EXACT),
    ("bert_base_b16_train", "bert_base", {}, NEAR),
    ("gpt2_12l_b8_train", "gpt2", {}, NEAR),
    ("gpt2_12l_b4_infer", "gpt2", {"batch": 4, "steps": 256}, NEAR),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "function", "sizes", "tolerance"), MODELS, ids=[row[0] for row in MODELS])
def test_all_graphs_are_near_those_of_the_public_data(
    name: str, function: str, sizes: dict[str, int], tolerance: float, public_data: Path
) -> None:
    reference = shipped(public_data, name)
    module, inputs = getattr(models, function)(**sizes)
    graph = traced(module, *inputs, train=name.endswith("train"))
    if tolerance == EXACT:
        assert kinds(graph) == kinds(reference)
    assert graph.nodes == pytest.approx(reference.nodes, rel=tolerance)
    assert graph.total_ns == pytest.approx(reference.total_ns, rel=tolerance / 10)
    assert int(graph.flops.sum()) == pytest.approx(int(reference.flops.sum()), rel=tolerance / 10)
