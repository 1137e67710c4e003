"""`sysgym trace`: a module of torch becomes a dataflow graph with the nodes, flops and bytes one counts by hand."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sysgym import UsageError
from sysgym.core.errors import Notice
from sysgym.dataflow.graphs.graph import BACKWARD, FORWARD, UPDATE, DataflowGraph, check_graph
from sysgym.dataflow.graphs.io import read_graph
from sysgym.dataflow.graphs.roofline import Roofline
from sysgym_zoo import models
from sysgym_zoo.tools.tracing.build import Heading
from sysgym_zoo.tools.tracing.capture import trace_module
from sysgym_zoo.tools.tracing.cost import Timing, read_profile, read_times
from sysgym_zoo.tools.tracing.load import build_model, current_folder

Inline = Callable[..., Any]
Rows = list[tuple[Any, ...]]
UNREACHED = pytest.mark.filterwarnings("ignore:the loss of:sysgym.core.errors.Notice")  # of WaveNet


def names(graph: DataflowGraph) -> list[str]:
    """The operator of every node."""
    return [graph.op_types[op] for op in graph.op]


def traced(module: Any, *inputs: Any, train: bool = False, timing: Timing | None = None) -> DataflowGraph:
    """The checked graph of a module."""
    graph = trace_module(module, inputs, Heading("mine", train=train), timing)
    check_graph(graph)
    return graph


def reads(graph: DataflowGraph, node: int) -> list[int]:
    """The nodes that a node reads, ascending."""
    return sorted(int(src) for src in graph.edge_src[graph.in_ptr[node] : graph.in_ptr[node + 1]])


def rows(graph: DataflowGraph) -> Rows:
    """Operator, what it reads, flops, bytes of traffic, and bytes written, of every node that runs."""
    return [
        (name, reads(graph, v), int(graph.flops[v]), int(graph.traffic[v]),
         graph.tensor_bytes[graph.out_ptr[v] : graph.out_ptr[v + 1]].tolist())
        for v, name in enumerate(names(graph)) if name not in ("param", "input", "const")
    ]  # fmt: skip


@pytest.fixture
def mlp() -> Any:
    """4 -> 8 -> 2."""
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(8, 2))


FORWARD_ROWS: Rows = [  # nodes 0 to 3 are the parameters, 4 is the input (3, 4) of 48 bytes
    ("addmm", [0, 1, 4], 2 * 3 * 4 * 8 + 24, 128 + 32 + 48 + 96, [96]),
    ("relu_", [5], 24, 192, [96]),
    ("addmm", [2, 3, 6], 2 * 3 * 8 * 2 + 6, 64 + 8 + 96 + 24, [24]),
]
TRAINING_ROWS: Rows = [
    *FORWARD_ROWS,
    ("sum", [7], 6, 24 + 4, [4]),  # no loss is returned, so the outputs are added
    ("ones_like", [8], 0, 8, [4]),
    ("mm", [2, 9], 2 * 3 * 2 * 8, 64 + 24 + 96, [96]),  # the gradient is read expanded, 24 bytes
    ("mm", [6, 9], 2 * 3 * 2 * 8, 96 + 24 + 64, [64]),
    ("sum", [9], 6, 24 + 8, [8]),
    ("threshold_backward", [6, 10], 24, 3 * 96, [96]),
    ("mm", [4, 13], 2 * 3 * 4 * 8, 48 + 96 + 128, [128]),
    ("sum", [13], 24, 96 + 32, [32]),
    ("sgd_update", [0, 14], 64, 3 * 128, []),
    ("sgd_update", [1, 15], 16, 3 * 32, []),
    ("sgd_update", [2, 11], 32, 3 * 64, []),
    ("sgd_update", [3, 12], 4, 3 * 8, []),
]


def test_inference_of_an_mlp(mlp: Any) -> None:
    graph = traced(mlp, torch.empty(3, 4))
    assert names(graph)[:5] == ["param"] * 4 + ["input"] and rows(graph) == FORWARD_ROWS
    assert graph.param_bytes.tolist() == [128, 32, 64, 8, 0, 0, 0, 0] and not graph.phase.any()
    assert graph.layer.tolist() == [0, 0, 1, 1, 0, 0, 0, 1] and graph.task == "infer"
    assert graph.time_ns.tolist() == [0] * 5 + [5000 + round(b / (732e9 * 0.75) * 1e9) for b in (304, 192, 192)]
    assert dict(zip(graph.op_types, graph.op_class.tolist(), strict=True)) == {
        "addmm": 2, "input": 0, "param": 0, "relu_": 1,
    }  # fmt: skip


def test_training_of_an_mlp(mlp: Any) -> None:
    mlp.eval()
    graph = traced(mlp, torch.empty(3, 4), train=True)
    assert rows(graph) == TRAINING_ROWS and graph.task == "train"
    assert graph.phase.tolist() == [FORWARD] * 9 + [BACKWARD] * 7 + [UPDATE] * 4
    assert graph.coloc.tolist() == [0, 1, 2, 3, *[-1] * 12, 0, 1, 2, 3]
    assert graph.layer.tolist() == [0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1]
    assert not mlp.training and mlp[2].p == 0.3 and torch._C._get_mkldnn_enabled()
    assert traced(mlp, torch.empty(3, 4, device="meta"), train=True).op.tolist() == graph.op.tolist()


class Tied(nn.Module):
    """An embedding that is the projection too, three uses of a split, and a parameter without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(10, 6), nn.Linear(6, 10, bias=False)
        self.out.weight = self.table.weight
        self.idle = nn.Parameter(torch.zeros(3))
        self.register_buffer("scale", torch.ones(6))

    def forward(self, x: Any) -> Any:
        a, b, c = (self.table(x) * self.scale).split([1, 2, 3], -1)
        return nn.functional.cross_entropy(self.out(torch.cat([c, b.relu(), a], -1)), x)


def test_tied_parameters_and_several_outputs() -> None:
    with pytest.warns(Notice, match="does not reach 1 of 2 parameters, which are not trained: idle;"):
        graph = traced(Tied(), torch.zeros(5, dtype=torch.int64), train=True)
    counts = Counter(names(graph))
    assert counts["param"] == 2 and counts["sgd_update"] == 1  # the idle one is not in the graph, a buffer stays
    assert graph.param_bytes.sum() == 4 * (60 + 6)
    split = names(graph).index("split_with_sizes")
    tensors = range(graph.out_ptr[split], graph.out_ptr[split + 1])
    assert graph.tensor_bytes[list(tensors)].tolist() == [20, 40, 60] and graph.traffic[split] == 240
    readers = [graph.use_node[graph.use_ptr[x] : graph.use_ptr[x + 1]].tolist() for x in tensors]
    assert [[names(graph)[v] for v in each] for each in readers] == [["cat"], ["relu"], ["cat"]]
    loss = names(graph).index("nll_loss_forward")
    assert graph.out_ptr[loss + 1] - graph.out_ptr[loss] == 2  # a loss and a weight
    update = names(graph).index("sgd_update")
    assert graph.coloc[update] == graph.coloc[0] == 0 and names(graph)[reads(graph, update)[1]] == "add"


class InPlace(nn.Module):
    """Changes half of a tensor through a view."""

    def forward(self, x: Any) -> Any:
        y = x * 2
        part = y[0]
        y[:, 0] = 1
        return part + 1, y.exp().view(-1)


def test_changes_in_place_are_seen_through_views() -> None:
    graph = traced(InPlace(), torch.empty(3, 4))
    found = names(graph)
    assert found == ["input", "mul", "const", "fill_", "add", "exp"]  # what is overwritten is not read
    assert reads(graph, 3) == [1, 2] and reads(graph, 4) == reads(graph, 5) == [1, 3]
    assert graph.tensor_bytes[graph.out_ptr[3]] == 12 and graph.traffic[3] == 4 + 12  # the column, no second copy


@UNREACHED
def test_every_parameter_has_its_update_and_every_gradient_its_layer() -> None:
    for function, sizes in SMALL.items():
        module, inputs = getattr(models, function)(**sizes)
        graph = traced(module, *inputs, train=True)
        found = np.array(names(graph))
        updated = graph.coloc[found == "sgd_update"]
        assert sorted(updated) == np.flatnonzero(found == "param").tolist(), function
        assert graph.param_bytes.sum() <= sum(4 * each.numel() for each in module.parameters())
        layers = max(each.sysgym_layer for each in module.modules() if hasattr(each, "sysgym_layer"))
        for phase in (FORWARD, BACKWARD):
            assert set(graph.layer[graph.phase == phase]) == set(range(layers + 1)), (function, phase)
        assert (graph.layer[found == "sgd_update"] == graph.layer[updated]).all()
        assert set(np.unique(graph.phase)) == {FORWARD, BACKWARD, UPDATE}


SMALL: dict[str, dict[str, int]] = {
    "rnnlm": {"steps": 3, "hidden": 8, "vocabulary": 20, "batch": 2},
    "gnmt": {"layers": 3, "steps": 3, "hidden": 8, "vocabulary": 20, "batch": 2},
    "transformer_xl": {"segments": 2, "steps": 4, "width": 8, "heads": 2, "inner": 8, "vocabulary": 20, "batch": 2},
    "wavenet": {"stacks": 1, "depth": 3, "samples": 32, "width": 4, "levels": 8, "batch": 1},
    "bert_base": {"layers": 2, "steps": 4, "width": 8, "heads": 2, "vocabulary": 20, "batch": 2},
    "gpt2": {"layers": 2, "steps": 4, "width": 8, "heads": 2, "vocabulary": 20, "batch": 2},
    "resnet50": {"batch": 1, "size": 64},
    "vgg16": {"batch": 1, "size": 64},
    "inception_v3": {"batch": 2, "size": 96},
    "amoebanet": {"depth": 3, "filters": 32, "batch": 2, "size": 64},
}


def test_models_compute_what_they_say() -> None:
    """With weights, in plain torch: logits in evaluation, a loss in training."""
    for function, shape in (("rnnlm", (3, 2, 20)), ("gnmt", (3, 2, 20)), ("transformer_xl", (2, 8, 20)),
                            ("wavenet", (1, 8, 32)), ("bert_base", (8, 20)), ("gpt2", (8, 20))):  # fmt: skip
        module, inputs = getattr(models, function)(**SMALL[function])
        module = module.to_empty(device="cpu")
        inputs = [torch.zeros_like(each, device="cpu") for each in inputs]
        with torch.no_grad():
            for each in module.parameters():
                each.fill_(0.01)
            assert module.eval()(*inputs).shape == shape, function
            assert module.train()(*inputs).shape == (), function


def test_layers_of_a_module_that_names_none() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(4, 4)
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(2))
            self.drop, self.head = nn.Dropout(), nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            x = self.embed(x)
            for block in self.blocks:
                x = block(x).tanh()
            return self.head(x).sum()

    found = list(zip(names(graph := traced(Model(), torch.empty(2, 4))), graph.layer.tolist(), strict=True))
    assert [layer for name, layer in found if name == "addmm"] == [0, 1, 1, 2, 2, 3]
    assert [layer for name, layer in found if name in ("tanh", "sum")] == [1, 2, 3]
    wrong = nn.Linear(4, 4)
    wrong.sysgym_layer = "one"  # type: ignore[assignment]
    with pytest.raises(UsageError, match="sysgym_layer of Linear must be a whole number from 0"):
        traced(wrong, torch.empty(2, 4))


def test_recurrent_layers_norms_and_attention_are_spelt_out() -> None:
    recurrent = names(traced(nn.LSTM(4, 4, 2, dropout=0.5), torch.empty(3, 2, 4), train=True))
    assert recurrent.count("addmm") == 8 and "mkldnn_rnn_layer" not in recurrent
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3)
    for train in (False, True):
        found = names(traced(block, torch.empty(3, 2, 8), train=train))
        assert found.count("bmm") == (6 if train else 2) and not {"native_dropout", "bernoulli_"} & set(found)
    assert block.self_attn.dropout == 0.3
    norm = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    graph = traced(norm, torch.empty(2, 3, 8, 8), train=True)
    assert names(graph).count("param") == 3 and norm[1].track_running_stats and norm[1].num_batches_tracked == 0
    assert graph.op_class[graph.op_types.index("native_batch_norm")] == 0
    graph = traced(norm, torch.empty(2, 3, 8, 8))
    assert names(graph).count("param") == 5 and graph.op_class[graph.op_types.index("native_batch_norm")] == 1
    once = 2 * (2 * 4 * 6 * 6) * 27
    assert graph.flops[names(graph).index("convolution")] == once
    up = traced(nn.ConvTranspose2d(3, 4, 3, bias=False), torch.empty(2, 3, 8, 8), train=True)
    assert up.flops[names(up).index("convolution")] == 2 * (2 * 3 * 8 * 8) * 36
    assert up.flops[names(up).index("convolution_backward")] == 2 * (2 * 3 * 8 * 8) * 36  # of the weight alone


# ------------------------------------------------------------------------------------------------ refusals


class Calls(nn.Module):
    """Runs a function in place of a model."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.zeros(3))

    def forward(self, x: Any) -> Any:
        return self.function(x + self.weight)


@pytest.mark.parametrize(
    ("function", "train", "sentence"),
    [
        (lambda x: x if x.sum() > 0 else -x, False, "mine does something that depends on the values of tensors"),
        (lambda x: x[x > 0], False, "depends on the values of tensors .*nonzero"),
        (lambda x: x * x.max().item(), False, "depends on the values of tensors"),
        (lambda x: "text", False, "must return tensors, or lists, tuples and dicts of them; it returned a str"),
        (lambda x: None, False, "it returned nothing"),
        (lambda x: x @ x.new_zeros(7, 7), False, "mine failed on its example inputs: RuntimeError: "),
        (lambda x: {}["key"], False, "mine failed on its example inputs: KeyError: 'key'"),
        (lambda x: x.detach(), True, "mine cannot be trained: its output depends on no parameter"),
        (lambda x: x.argmax(), True, "it returned whole numbers only"),
    ],
)
def test_refusals(function: Any, train: bool, sentence: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UsageError, match=sentence) as raised:
        traced(Calls(function), torch.zeros(3), train=train)
    assert "\n" not in str(raised.value) and str(raised.value).endswith(".") and not caplog.records


def test_refusals_of_what_is_no_model() -> None:
    for module, inputs, sentence in (
        (3, (), "expected a torch.nn.Module to trace, got int"),
        (nn.Identity(), (torch.zeros(3),), "mine runs no operator"),
        (nn.Identity(), 3, "example inputs must be a tuple of arguments or a dict of named ones, got 3"),
        (nn.LazyLinear(3), (torch.zeros(3),), "weight has no shape yet"),
        (nn.ReLU(), (torch.zeros(3).to_sparse(),), "tensors must be dense, got one of layout torch.sparse_coo"),
    ):
        with pytest.raises(UsageError, match=sentence):
            trace_module(module, inputs, Heading("mine"))


MODEL = """
import torch
from torch import nn

WIDTH = 5


def build(width=8, bias: bool = True, *, depth: int = 1):
    layers = [nn.Linear(4 if i == 0 else width, width, bias) for i in range(depth)]
    return nn.Sequential(*layers), {"input": torch.zeros(3, 4)}


def sized(width: int):
    return build(width)


def three():
    return 1, 2, 3


def broken():
    raise RuntimeError("no luck\\nat all")
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of the user's."""
    (tmp_path / "tracedmine.py").write_text(MODEL)
    (tmp_path / "tracedbad.py").write_text("1 / 0\n")
    (tmp_path / "tracedneeds.py").write_text("import tracedabsent\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "tracedmine", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("target", "pairs", "sentence"),
    [
        ("tracedmine", [], "expected module:function, such as sysgym_zoo.models.rnn:rnnlm, or a file .onnx"),
        ("tracedmin:build", [], "there is no module 'tracedmin', neither in the current folder nor installed"),
        ("tracedneeds:build", [], "module 'tracedneeds' needs tracedabsent, which is not installed"),
        ("tracedbad:build", [], "module 'tracedbad' cannot be imported: ZeroDivisionError: division by zero"),
        ("tracedmine:biuld", [], "unknown function of tracedmine 'biuld'. Did you mean 'build'"),
        ("math:hypot", [], "math:hypot does not say its arguments; expected a Python function of a model"),
        ("tracedmine:WIDTH", [], "tracedmine:WIDTH is a int; expected a function that returns"),
        ("tracedmine:three", [], "tracedmine:three must return .module, example inputs., it returned 3 values"),
        ("tracedmine:broken", [], "tracedmine:broken failed: RuntimeError: no luck.$"),
        ("tracedmine:sized", [], "tracedmine:sized needs a value for width; give it with --arg width=VALUE"),
        ("tracedmine:build", ["wdth=3"], "unknown argument of tracedmine:build 'wdth'. Did you mean 'width'"),
        ("tracedmine:build", ["width=x"], "option width of tracedmine:build must be a whole number, got 'x'"),
        ("tracedmine:build", ["width"], "expected key=value, got 'width'"),
    ],
)
def test_refusals_of_names(target: str, pairs: list[str], sentence: str, mine: Path) -> None:
    with current_folder(), pytest.raises(UsageError, match=sentence):
        build_model(target, pairs)
    assert str(mine) not in sys.path


# ------------------------------------------------------------------------------------------------ times


def test_roofline_overrides_and_profile(mlp: Any, tmp_path: Path) -> None:
    slow = Roofline(peak_flops=1e9, bandwidth=1e12, compute_efficiency=1.0, launch_ns=7)
    graph = traced(mlp, torch.empty(3, 4), timing=Timing(slow))
    assert graph.time_ns[5:].tolist() == [7 + 216, 7 + 24, 7 + 102] and graph.time_model.startswith("roofline 1e+09")
    (tmp_path / "times.json").write_text('{"addmm": 41000, "conv": 3}')
    assert read_times(tmp_path / "times.json") == {"addmm": 41000, "conv": 3}
    events = [{"name": "aten::relu_", "dur": each, "ph": "X"} for each in (1.5, 2.5)]
    events += [{"name": "aten::addmm", "dur": 3}, {"name": "step", "ph": "i"}, {"name": 3, "dur": 3}]
    (tmp_path / "profile.json").write_text(json.dumps({"traceEvents": events}))
    assert read_profile(tmp_path / "profile.json") == {"relu_": 2000, "addmm": 3000}
    for line, sentence in (
        ('{"addmm": 1.5}', "'addmm' must take a whole number of ns from 0 to .*, got 1.5"),
        ('{"param": 1}', "'param' takes no time; name operators such as 'addmm'"),
        ("[]", "must be an object such as .* of nanoseconds, got list"),
        ("{", "is damaged or not of its format"),
    ):
        (tmp_path / "wrong.json").write_text(line)
        with pytest.raises(UsageError, match=sentence):
            read_times(tmp_path / "wrong.json")
    (tmp_path / "wrong.json").write_text("[]")
    with pytest.raises(UsageError, match="holds no event with a name and a duration"):
        read_profile(tmp_path / "wrong.json")
    for keywords in ({"bandwidth": 0.0}, {"compute_efficiency": 1.5}, {"peak_flops": float("nan")}, {"launch_ns": -1}):
        with pytest.raises(UsageError, match="must be a"):
            Roofline(**keywords)  # type: ignore[arg-type]


def test_a_profile_that_torch_writes(mlp: Any, tmp_path: Path) -> None:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        mlp(torch.zeros(3, 4))
    found.export_chrome_trace(str(tmp_path / "trace.json"))
    times = read_profile(tmp_path / "trace.json")
    assert {"addmm", "relu_"} <= set(times) and all(value >= 0 for value in times.values())


def test_command(inline: Inline, mine: Path) -> None:
    (mine / "times.json").write_text('{"addmm": 1000, "adm": 3}')
    (mine / "profile.json").write_text('[{"name": "aten::mm", "dur": 12.5}, {"name": "aten::mm", "dur": 13.5}]')
    line = "trace tracedmine:build --train -o mine.json.gz --arg width=6 --arg depth=2 --name own --devices 4"
    own = ("--times", "times.json", "--profile", "profile.json")
    found = json.loads(inline(*line.split(), *own, "--json").stdout)
    graph = read_graph(mine / "mine.json.gz", "own")
    assert found["schema"] == "sysgym-trace/1" and found["output"] == "mine.json.gz" and found["name"] == "own"
    assert (found["nodes"], found["tensors"], found["edges"]) == (graph.nodes, graph.tensors, graph.edges)
    assert found["total_time_ns"] == graph.total_ns and found["param_bytes"] == 4 * (24 + 6 + 36 + 6)
    assert found["flops"] == graph.flops.sum() and found["devices"] == graph.devices == 4
    assert graph.config == "width=6 depth=2" and graph.family == "build" and graph.task == "train"
    times = {name: set(graph.time_ns[graph.op == i].tolist()) for i, name in enumerate(graph.op_types)}
    assert times["addmm"] == {1000} and times["mm"] == {13000} and min(times["sum"]) >= 5000
    assert (found["operators_measured"], found["operators"], found["times_unused"]) == (2, 5, ["adm"])
    shown = inline(*line.split(), "--times", "times.json").stdout
    assert "1 of 5 operators, 2 nodes" in shown and "not in graph adm" in shown
    first = (mine / "mine.json.gz").read_bytes()
    inline(*line.split(), "--times", "times.json")
    assert (mine / "mine.json.gz").read_bytes() == first
