"""ONNX files as dataflow graphs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutations import check, mutated

from sysgym import UsageError
from sysgym.core.errors import MissingDependency, Notice
from sysgym.dataflow.graphs.graph import DataflowGraph, check_graph
from sysgym.dataflow.graphs.io import read_graph
from sysgym_zoo.tools.tracing.build import Heading
from sysgym_zoo.tools.tracing.onnx_file import trace_onnx

onnx = pytest.importorskip("onnx")
helper, FLOAT, INT64 = onnx.helper, 1, 7
Inline = Callable[..., Any]


def save(path: Path, nodes: list[Any], inputs: dict[str, list[Any]], weights: dict[str, list[int]], out: str) -> Path:
    """Write a model whose weights are zeros."""
    graph = helper.make_graph(
        nodes, "mine",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(out, FLOAT, None)],
        [helper.make_tensor(name, FLOAT, shape, bytes(4 * count(shape)), raw=True) for name, shape in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def count(shape: list[int]) -> int:
    """Elements of a shape."""
    return shape[0] * count(shape[1:]) if shape else 1


def rows(graph: DataflowGraph) -> list[tuple[str, int, int, int]]:
    """Operator, flops, bytes of traffic and layer of every node."""
    check_graph(graph)
    return [
        (graph.op_types[graph.op[v]], int(graph.flops[v]), int(graph.traffic[v]), int(graph.layer[v]))
        for v in range(graph.nodes)
    ]


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    """4 -> 8 -> 2 with a view between; one weight is of no use."""
    shape = helper.make_tensor("shape", INT64, [2], [3, 8])
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Constant", [], ["s"], value=shape),
        helper.make_node("Reshape", ["r", "s"], ["v"]),
        helper.make_node("MatMul", ["v", "w2"], ["y"]),
    ]
    weights = {"w": [8, 4], "b": [8], "w2": [8, 2], "idle": [9]}
    return save(tmp_path / "mlp.onnx", nodes, {"x": [3, 4]}, weights, "y")


def test_mlp(mlp: Path) -> None:
    graph = trace_onnx(mlp, Heading("mine"))
    assert rows(graph) == [
        ("param", 0, 0, 0),
        ("param", 0, 0, 0),
        ("param", 0, 0, 1),
        ("input", 0, 0, 0),
        ("addmm", 2 * 3 * 4 * 8 + 24, 128 + 32 + 48 + 96, 0),
        ("relu", 24, 192, 0),
        ("mm", 2 * 3 * 8 * 2, 96 + 64 + 24, 1),
    ]
    assert graph.param_bytes.tolist() == [128, 32, 64, 0, 0, 0, 0] and graph.task == "infer" and graph.nodes == 7
    assert graph.time_ns[4] == 5000 + round(304 / (732e9 * 0.75) * 1e9) and graph.coloc.tolist()[:4] == [0, 1, 2, -1]
    assert graph.op_class.tolist() == [{"addmm": 2, "mm": 2, "relu": 1}.get(op, 0) for op in graph.op_types]


def test_pictures(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", *["a"] * 4], ["n"]),
        helper.make_node("MaxPool", ["n"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("ConvTranspose", ["p", "u"], ["t"]),
        helper.make_node("Split", ["t"], ["left", "right"], axis=1),
        helper.make_node("Einsum", ["left", "right"], ["y"], equation="bchw,bchw->bc"),
    ]
    weights = {"w": [6, 3, 3, 3], "a": [6], "u": [6, 4, 3, 3]}
    graph = trace_onnx(save(tmp_path / "x.onnx", nodes, {"x": [1, 3, 8, 8]}, weights, "y"), Heading("mine"))
    picture = 6 * 8 * 8
    assert rows(graph)[4:] == [
        ("convolution", 2 * picture * 27, 4 * (3 * 64 + 162 + picture), 0),
        ("native_batch_norm", 8 * (picture + 24), 4 * (2 * picture + 6), 0),
        ("max_pool2d_with_indices", picture, 4 * (picture + picture // 4), 0),
        ("convolution", 2 * (6 * 16) * 36, 4 * (96 + 216 + 4 * 36), 1),
        ("split", 0, 8 * 4 * 36, 1),
        ("einsum", 2 * 2 * 36, 4 * (4 * 36 + 2), 1),
    ]
    assert graph.tensor_bytes[graph.out_ptr[8] : graph.out_ptr[9]].tolist() == [288, 288]


def test_recurrent_layer(tmp_path: Path) -> None:
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["", "y"], hidden_size=5)]
    weights = {"w": [1, 20, 3], "r": [1, 20, 5]}
    graph = trace_onnx(save(tmp_path / "x.onnx", nodes, {"x": [7, 2, 3]}, weights, "y"), Heading("mine"))
    assert rows(graph)[-1][:2] == ("lstm", 2 * 7 * 2 * 20 * (3 + 5))


def test_refusals(tmp_path: Path) -> None:
    free = save(tmp_path / "free.onnx", [helper.make_node("Relu", ["x"], ["y"])], {"x": ["n", 3]}, {}, "y")
    with pytest.raises(UsageError, match="sizes that are not fixed: n; give each, such as --size n=1"):
        trace_onnx(free, Heading("mine"))
    found = save(tmp_path / "found.onnx", [helper.make_node("NonZero", ["x"], ["y"])], {"x": [3]}, {}, "y")
    with pytest.raises(UsageError, match="tensor 'y' has no fixed shape"):
        trace_onnx(found, Heading("mine"))
    then = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["t"])], "then", [], [helper.make_tensor_value_info("t", FLOAT, [3])]
    )
    branch = helper.make_node("If", ["q"], ["y"], then_branch=then, else_branch=then)
    branched = save(tmp_path / "branch.onnx", [branch], {"x": [3], "q": [1]}, {}, "y")
    with pytest.raises(UsageError, match=r"(holds If, a branch or loop; unroll it|cannot be inferred)"):
        trace_onnx(branched, Heading("mine"))
    (tmp_path / "text.onnx").write_text("hello\n")
    (tmp_path / "empty.onnx").write_text("")
    for name, sentence in (
        ("text.onnx", "text.onnx is no ONNX file"),
        ("empty.onnx", "is no ONNX model with operators"),
        ("none.onnx", "none.onnx cannot be read: No such file or directory"),
    ):
        with pytest.raises(UsageError, match=sentence):
            trace_onnx(tmp_path / name, Heading("mine"))


def test_functions_domains_constants_and_masks(tmp_path: Path) -> None:
    body = helper.make_function(
        "local", "Layer", ["a", "b"], ["c"],
        [helper.make_node("MatMul", ["a", "b"], ["p"]), helper.make_node("Relu", ["p"], ["c"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Constant", [], ["w"], value=helper.make_tensor("w", FLOAT, [8, 4], [0.0] * 32)),
        helper.make_node("Layer", ["x", "w"], ["h"], domain="local"),
        helper.make_node("Dropout", ["h"], ["d", "m"]),
        helper.make_node("Cast", ["m"], ["f"], to=FLOAT),
        helper.make_node("Mul", ["d", "f"], ["y"]),
    ]
    path = save(tmp_path / "x.onnx", nodes, {"x": ["N", 8]}, {}, "y")
    model = onnx.load(path)
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid("local", 1))
    onnx.save(model, path)
    graph = trace_onnx(path, Heading("mine"), None, {"N": 3})
    assert [row[:2] for row in rows(graph)] == [
        ("param", 0), ("input", 0), ("mm", 2 * 3 * 8 * 4), ("relu", 12), ("ones_like", 0), ("_to_copy", 12), ("mul", 12)
    ]  # fmt: skip
    assert graph.param_bytes.sum() == 128 and graph.config == "N=3"
    with pytest.raises(UsageError, match=r"unknown free size of .*'M'.*Known: N, x\.0"):
        trace_onnx(path, Heading("mine"), None, {"M": 3})
    model.opset_import.append(helper.make_opsetid("acme", 1))
    model.graph.value_info.append(helper.make_tensor_value_info("t", FLOAT, [3, 8]))
    del model.graph.node[:]
    model.graph.node.extend(
        [helper.make_node("Reshape", ["x"], ["t"], domain="acme"), helper.make_node("Relu", ["t"], ["y"])]
    )
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    onnx.save(model, path)
    with pytest.raises(UsageError, match=r"not fixed: x\.0; give each, such as --size x\.0=1"):
        trace_onnx(path, Heading("mine"))
    with pytest.warns(Notice, match=r"compute: acme\.reshape"):
        graph = trace_onnx(path, Heading("mine"), None, {"x.0": 3})
    assert [row[0] for row in rows(graph)] == ["input", "acme.reshape", "relu"]


MICROSOFT = [  # operator, attributes, its inputs after x (2, 6, 16), its shape and flops
    ("FusedMatMul", {"transB": 1}, [[2, 5, 16]], (2, 6, 5), 2 * 2 * 6 * 5 * 16),
    ("Attention", {"num_heads": 4}, [[16, 48], [48]], (2, 6, 16), 2 * 12 * 16 * 48 + 4 * 2 * 6 * 6 * 16),
    ("MultiHeadAttention", {"num_heads": 4}, [[2, 7, 16]] * 2, (2, 6, 16), 4 * 2 * 6 * 7 * 16),
    ("SkipLayerNormalization", {}, [[2, 6, 16], [16], [16]], (2, 6, 16), 8 * 192),
    ("MatMulNBits", {"N": 9, "K": 16}, [[9, 1, 8], [9]], (2, 6, 9), 2 * 12 * 9 * 16),
]


@pytest.mark.parametrize(("kind", "attributes", "shapes", "shape", "flops"), MICROSOFT)
def test_fused_operators_of_onnxruntime(
    kind: str, attributes: dict[str, Any], shapes: list[Any], shape: tuple[int, ...], flops: int, tmp_path: Path
) -> None:
    weights = {f"w{i}": each for i, each in enumerate(shapes)}
    nodes = [
        helper.make_node(kind, ["x", *weights], ["t"], domain="com.microsoft", **attributes),
        helper.make_node("Relu", ["t"], ["y"]),
    ]
    path = save(tmp_path / "x.onnx", nodes, {"x": [2, 6, 16]}, weights, "y")
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    graph = trace_onnx(path, Heading("mine"))
    assert graph.flops[-2] == flops and graph.tensor_bytes[-2] == 4 * np.prod(shape)


def test_integer_products(tmp_path: Path) -> None:
    kinds = [helper.make_tensor_value_info(name, 3, [64, 64]) for name in "ab"]  # int8
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    graph = helper.make_graph([node], "mine", kinds, [helper.make_tensor_value_info("y", 6, None)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
    found = trace_onnx(tmp_path / "x.onnx", Heading("mine"))
    assert found.flops[-1] == 2 * 64**3 and found.classes[-1] == 2


def test_command(inline: Inline, mlp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = inline("trace", "mlp.onnx", "-o", "mlp.json.gz", "--devices", "3").stdout
    graph = read_graph(Path("mlp.json.gz"), "mlp")
    assert "nodes        7" in shown and graph.devices == 3 and graph.family == "onnx"
    said = inline("trace", "mlp.onnx", "-o", "x.json", "--arg", "n=3", code=2).stderr
    assert said.endswith("leave out --arg.\n")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependency, match=r"reading ONNX files needs onnx: pip install 'sysgym\[onnx\]'"):
        trace_onnx(mlp, Heading("mine"))
    assert inline("trace", "mlp.onnx", "-o", "x.json", code=4).stderr.startswith(
        "sysgym: reading ONNX files needs onnx"
    )


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.full)])
def test_mutations_of_a_model_get_a_graph_or_a_sentence(count: int, mlp: Path, tmp_path: Path) -> None:
    path = tmp_path / "mutated.onnx"

    def use(content: bytes) -> None:
        path.write_bytes(content)
        check_graph(trace_onnx(path, Heading("mine")))

    assert check(use, mlp.read_bytes(), mutated, count)["sentence"] > count / 20


def test_a_tensor_that_two_operators_write(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Exp", ["x"], ["y"])]
    with pytest.raises(UsageError, match="tensor 'y' is written twice; ONNX allows a single writer"):
        trace_onnx(save(tmp_path / "x.onnx", nodes, {"x": [2, 2]}, {}, "y"), Heading("x", 1))
