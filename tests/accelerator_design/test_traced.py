"""Workloads traced from modules of torch and from ONNX files, against those by formula and what torch counts."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import whole_networks as nets
from mutations import check, mutated_json
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import sysgym as suite
from sysgym import UsageError
from sysgym.accelerator_design.catalogue import NETWORKS, is_workload, load_workloads
from sysgym.accelerator_design.instance import KINDS, Workloads
from sysgym.accelerator_design.simulator import Simulator
from sysgym.accelerator_design.space import TPU_V3
from sysgym.accelerator_design.workloads.files import format_workload
from sysgym.core.data import decompress
from sysgym.core.errors import Notice
from sysgym.core.problem import content_hash
from sysgym_zoo.tools.tracing.regions.build import workload_of, workload_of_onnx

IDS = torch.zeros(2, 16, dtype=torch.int64)
QUIET = pytest.mark.filterwarnings("ignore:.*table of vector operations:sysgym.core.errors.Notice")


def kinds(work: Workloads) -> list[str]:
    return [KINDS[kind] for kind in work.kind]


def by_kind(work: Workloads, column: Any) -> dict[str, int]:
    return {kind: int(column[work.kind == i].sum()) for i, kind in enumerate(KINDS)}


def counted(module: Any, *inputs: Any) -> float:
    """Multiply-adds of an item as torch counts them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        module.eval()(*inputs)
    return counter.get_total_flops() / 2 / len(inputs[0])


@QUIET
@pytest.mark.parametrize(("name", "apart"), [
    ("resnet50", 0.01), ("mobilenet-v1", 0.0), ("mobilenet-v2", 0.0), ("bert-base-128", 0.002),
])  # fmt: skip
def test_networks_equal_their_formula(name: str, apart: float) -> None:
    """The times of ResNet-50 differ by at most 1 % since the shortcut, not the third convolution, adds; those of BERT
    by 0.2 %, since rows of the three tables are read, and two additions join them, not three.
    """
    with torch.device("meta"):
        if name.startswith("bert"):
            module, inputs = nets.Bert(), (torch.zeros(2, 128, dtype=torch.int64),) * 2
        else:
            module, inputs = getattr(nets, name.replace("-", "_"))(), (torch.empty(2, 3, 224, 224),)
    work, known = workload_of(module, inputs, name), NETWORKS[name]()
    assert by_kind(work, work.macs) == by_kind(known, known.macs) and work.params == known.params
    assert by_kind(work, work.weights) == by_kind(known, known.weights)
    assert Counter(kinds(work)) == Counter(kinds(known))
    added = 128 * 768 if apart == 0.002 else 0
    assert work.vec_ops.sum() == known.vec_ops.sum() - added
    for schedule in (0, 2):
        times = [Simulator(each, schedule).exact(TPU_V3).seconds[0] for each in (work, known)]
        assert abs(times[0] / times[1] - 1) <= apart


@QUIET
@pytest.mark.parametrize("make", [nets.Gpt2, nets.Llama])
def test_language_models_count_what_torch_counts_whatever_the_batch(make: Callable[[], Any]) -> None:
    module = make()
    work = workload_of(module, (IDS,))
    assert work.macs.sum() == counted(module, IDS)
    for batch in (1, 4):
        assert content_hash(workload_of(module, (IDS[:1].expand(batch, -1),))) == content_hash(work)
    block = ["vector", "matmul", "matmul", "matmul", "bmm", "softmax", "bmm", "matmul", "vector"]
    if make is nets.Gpt2:  # queries, keys and values of their own, the spelt-out GELU behind its product
        assert kinds(work) == ["vector", *(block + ["matmul"] * 2) * 2, "vector", "matmul"]
    else:  # rotation behind queries and keys, the gate's product behind the last of the two
        assert kinds(work) == [*(block + ["matmul"] * 3) * 2, "vector", "matmul"]
        row = work.regions.index("blocks.0.q")
        assert work.vec_ops[row : row + 3].tolist() == [int(3.5 * 16 * 64), int(3.5 * 16 * 32), 0]


def test_what_the_table_lacks_is_named_with_its_number() -> None:
    with pytest.warns(
        Notice, match=r"lacks erf \(1, 33 %\), exp \(1, 33 %\); in brackets how many each counts"
    ) as told:
        work = workload_of(nets_of(lambda x: (x.erf() + x).exp()), (torch.rand(2, 5),))
    assert work.vec_ops.tolist() == [15] and len(told) == 1
    picture = torch.rand(2, 8, 9, 9)
    for module, data, word in (
        (nn.GRU(6, 7, batch_first=True), torch.rand(2, 5, 6), "gru (17, 85 %)"),
        (nn.GroupNorm(2, 8), picture, "native_group_norm (6, 100 %)"),
        (nn.InstanceNorm2d(8), picture, "norm_of_own_statistics (6, 100 %)"), (nn.ReLU6(), picture, "hardtanh (1, "),
        (nn.GLU(1), picture, "glu (4, 100 %)"), (nn.RMSNorm(9), picture, "rms_norm (6, 100 %)"),
        (nets_of(lambda x: x.masked_fill(x > 0, 0.0)), picture, "gt (1, 50 %), masked_fill (1, 50 %)"),
    ):  # fmt: skip
        with pytest.warns(Notice, match=re.escape(word)):
            workload_of(module, (data,))
    for spec, each in ((nn.SiLU, 4), (nn.Sigmoid, 3), (nn.Tanh, 3), (nn.GELU, 8), (nn.ReLU, 1)):
        assert workload_of(spec(), (picture,)).vec_ops.sum() == each * 8 * 81
    for pool, ops in ((nn.MaxPool2d(3), 9 * 9), (nn.AvgPool2d(3), 81), (nn.AdaptiveMaxPool2d(3), 81)):
        assert workload_of(pool, (picture,)).vec_ops.sum() == ops * 8


def test_slices_and_dilations_are_told_where_they_matter() -> None:
    with pytest.warns(Notice, match=r"read a slice of a tensor read all of it here, 82 % of all"):
        workload_of(nets_of(lambda x: x[:, :1].relu() @ x[:, 1:2].mT), (torch.rand(2, 8, 9),))
    with pytest.warns(Notice, match="depthwise convolution 0 and 1 more has a dilation"):
        deep = [nn.Conv2d(8, 8, 3, dilation=2, groups=8) for _ in range(2)]
        workload_of(nn.Sequential(*deep), (torch.rand(2, 8, 9, 9),))
    work = workload_of(nn.Conv2d(8, 8, 3, (1, 2), dilation=2), (torch.rand(2, 8, 9, 9),))
    assert work.shape[0, 9] == 2 and work.macs.tolist() == [5 * 3 * 8 * 8 * 9]


@pytest.mark.parametrize("need", [True, False])
def test_multi_head_attention(need: bool) -> None:
    """Queries, keys and values of their own, a softmax between two products, and the multiply-adds by hand."""
    layer = nn.MultiheadAttention(64, 4, batch_first=True)
    work = workload_of(nets_with(layer, lambda x: layer(x, x, x, need_weights=need)[0]), (torch.rand(2, 5, 64),))
    assert kinds(work) == ["matmul"] * 3 + ["bmm", "softmax", "bmm", "matmul"]
    assert work.macs.tolist() == [5 * 64 * 64] * 3 + [4 * 5 * 5 * 16, 0, 4 * 5 * 5 * 16, 5 * 64 * 64]
    assert work.vec_ops[4] == 5 * 4 * 25


def nets_with(layer: Any, function: Callable[..., Any]) -> Any:
    module = nets_of(function)
    module.layer = layer
    return module


def nets_of(function: Callable[..., Any]) -> Any:
    class Calls(nn.Module):
        def forward(self, *given: Any) -> Any:
            return function(*given)

    return Calls()


@pytest.mark.parametrize(("function", "shapes", "sentence"), [
    (lambda x: x.sort().values, [(2, 4)], "operator sort has no place in a region"),
    (lambda x: torch.fft.rfft(x).real, [(2, 4)], "operator _fft_r2c has no place"),
    (lambda x, y: x + y, [(2, 4), (3, 4)], "the first axis of every input must be the batch; the inputs have 2, 3"),
    (lambda x: x @ x.T, [(2, 4)], "the product matmul mixes the items of a batch"),
    (lambda x: x.mean(), [(2, 4)], "is not the same for every item of a batch of 2: 1 does not divide"),
    (lambda x: torch.ones(3), [(2, 4)], "no output depends on an input"),
])  # fmt: skip
def test_refusals(function: Callable[..., Any], shapes: list[Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        workload_of(nets_of(function), tuple(torch.rand(shape) for shape in shapes))


@QUIET
def test_layers() -> None:
    """Groups, what is transposed, and recurrent layers, whose multiply-adds torch counts too."""
    picture = torch.rand(2, 8, 9, 9)
    for module, kind in (
        (nn.Conv2d(8, 16, 3, groups=4), "conv"), (nn.Conv2d(8, 8, 3, groups=8), "dwconv"),
        (nn.ConvTranspose2d(8, 4, 3, stride=2), "conv"), (nn.Conv2d(8, 16, 3, groups=8), "conv"),
    ):  # fmt: skip
        work = workload_of(module, (picture,))
        assert kinds(work) == [kind] and work.macs.sum() == counted(module, picture)
        assert work.weights.sum() == module.weight.numel()
    whole, cut = (workload_of(nn.Conv2d(64, 64, 3, groups=g), (torch.rand(1, 64, 9, 9),)) for g in (1, 4))
    times = [Simulator(each).compute(TPU_V3)[0][0] for each in (whole, cut)]
    assert times[1] > times[0] / 2  # four groups do not run at once
    data = torch.rand(2, 5, 6)
    for cell, gates in ((nn.LSTM, 4), (nn.GRU, 3)):
        work = workload_of(cell(6, 7, 2, batch_first=True, bidirectional=True), (data,))
        assert kinds(work) == ["matmul", "lstm"] * 4
        assert work.macs.sum() == 5 * gates * 7 * 2 * (6 + 7 + 14 + 7)
    with pytest.raises(UsageError, match="gru runs over 5 sequences, but the batch is 2"):
        workload_of(nn.GRU(6, 7), (data,))


def test_onnx_equals_torch(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    make, weights = onnx.helper.make_node, {"w": [8, 3, 3, 3], "d": [8, 1, 3, 3], "f": [5, 8], "b": [5], "n": [8]}
    nodes = [
        make("Conv", ["x", "w"], ["c"], pads=[1] * 4, strides=[2, 2]),
        make("BatchNormalization", ["c", *"nnnn"], ["e"]),
        make("Relu", ["e"], ["r"]), make("Conv", ["r", "d"], ["g"], pads=[1] * 4, group=8),
        make("Add", ["g", "r"], ["s"]), make("MaxPool", ["s"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        make("GlobalAveragePool", ["m"], ["a"]), make("Flatten", ["a"], ["v"]),
        make("Gemm", ["v", "f", "b"], ["y"], transB=1),
    ]  # fmt: skip
    tensors = [onnx.helper.make_tensor(name, 1, shape, bytes(4 * int(np.prod(shape))), raw=True)
               for name, shape in weights.items()]  # fmt: skip
    ends = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", [2, 3, 16, 16]), ("y", None))]
    graph = onnx.helper.make_graph(nodes, "mine", ends[:1], ends[1:], tensors)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8),
              tmp_path / "x.onnx")  # fmt: skip

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.deep = nets.conv(3, 8, 3, 2), nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
            self.end = nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            return self.end(self.deep(x) + x)

    assert content_hash(workload_of_onnx(tmp_path / "x.onnx", "x")) == content_hash(
        workload_of(Net(), (torch.rand(4, 3, 16, 16),), "x")
    )


def lstm_file(path: Path, **given: Any) -> Path:
    onnx = pytest.importorskip("onnx")
    make, shapes = onnx.helper.make_node, {"w": [2, 28, 6], "r": [2, 28, 7], "b": [2, 56], "p": [2, 21]}
    tensors = [onnx.helper.make_tensor(name, 1, shape, bytes(4 * int(np.prod(shape))), raw=True)
               for name, shape in shapes.items()]  # fmt: skip
    peep = ["", "", "", "p"] if given.pop("peep", False) else []
    nodes = [
        make("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        make("LSTM", ["t", "w", "r", "b", *peep], ["s"], hidden_size=7, direction="bidirectional", **given),
        make("Transpose", ["s"], ["u"], perm=[2, 0, 1, 3]), make("Relu", ["u"], ["y"]),
    ]  # fmt: skip
    ends = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", [2, 5, 6]), ("y", None))]
    graph = onnx.helper.make_graph(nodes, "mine", ends[:1], ends[1:], tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def test_onnx_recurrent_layers(tmp_path: Path) -> None:
    cell = nn.LSTM(6, 7, batch_first=True, bidirectional=True)
    own = workload_of(nets_with(cell, lambda x: cell(x)[0].relu()), (torch.rand(2, 5, 6),))
    work = workload_of_onnx(lstm_file(tmp_path / "a.onnx"), "x")
    assert kinds(work) == ["matmul", "lstm"] * 2 + ["vector"] and work.macs.sum() == 5 * 28 * 2 * (6 + 7)
    assert (work.macs.tolist(), work.vec_ops.tolist()) == (own.macs.tolist(), own.vec_ops.tolist())
    for given in ({"peep": True}, {"activations": ["Relu", "Tanh", "Tanh"] * 2}):
        with pytest.raises(UsageError, match="has peepholes or functions of its own, which have no place"):
            workload_of_onnx(lstm_file(tmp_path / "b.onnx", **given), "x")


def test_files(tmp_path: Path) -> None:
    """What is written is read again, and damaged files get one sentence each."""
    work, path = NETWORKS["mobilenet-v1"](), tmp_path / "work.json.gz"
    path.write_bytes(format_workload(work))
    head = decompress("x", path.read_bytes())
    assert is_workload(str(path), head[:100]) and content_hash(load_workloads(str(path))) == content_hash(work)
    small = format_workload(load_workloads("cnn:seed=1,blocks=1"))
    found: dict[str, Any] = json.loads(decompress("x", small))
    for change, sentence in (
        ({"format": "x"}, "must be an object with format 'sysgym.workload/1', got 'x'"),
        ({"regions": []}, "regions must be a list of 1 to 65536 objects"),
        ({"regions": [{"kind": "cnv", "reads": [0], "writes": 1}]}, "Did you mean 'conv'"),
        ({"regions": [{"kind": "bmm", "reads": [0], "writes": 1}]}, "region 0: a bmm reads two tensors"),
        ({"regions": [{"kind": "conv", "reads": [9999], "writes": 1}]}, "reads must be whole numbers from 0 to"),
        ({"regions": [{"kind": "vector", "reads": [a], "writes": b} for a, b in ((1, 2), (0, 1))]},
         "region 0 reads tensor 1, which region 1 writes later"),
    ):  # fmt: skip
        (tmp_path / "bad.json").write_text(json.dumps({**found, **change}))
        with pytest.raises(UsageError, match=sentence):
            load_workloads(str(tmp_path / "bad.json"))
    problem = suite.make_problem("AcceleratorDesign", fusion="greedy")

    def use(content: bytes) -> None:
        (tmp_path / "m.json").write_bytes(content)
        problem.judge(problem.load(str(tmp_path / "m.json")), {"design": np.zeros(16, np.int64)})

    check(use, decompress("x", small), mutated_json, 60)


def test_command_line(sysgym: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n\n\ndef net(wide: int = 8):\n"
        "    layers = [torch.nn.Conv2d(3, wide, 3), torch.nn.Hardswish(), torch.nn.Flatten()]\n"
        "    layers.append(torch.nn.Linear(36 * wide, 9))\n"
        "    return torch.nn.Sequential(*layers), torch.rand(2, 3, 8, 8)\n"
    )
    done = sysgym("trace", "mine:net", "--regions", "--arg", "wide=16", "-o", "work.json.gz")
    assert "2 (1 conv, 1 matmul)" in done.stdout and "lacks hardswish" in done.stderr
    sysgym("solve", "work.json.gz", "--steps", "200", "-o", "s.json")
    assert "feasible" in sysgym("judge", "work.json.gz", "s.json").stdout
    told = sysgym("trace", "mine:net", "--regions", "--train", "-o", "work.json.gz", code=2).stderr
    assert "--regions has no training step, devices or times" in told
