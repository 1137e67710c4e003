"""What traced graphs charge: rows that are touched, memory changed in place, products by formula, what is trained."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode
from torch_modules import MODULES, PICTURE, Calls, X

from sysgym import UsageError
from sysgym.core.errors import Notice
from sysgym.dataflow.graphs.graph import DataflowGraph, check_graph
from sysgym.dataflow.simulator.job import Job
from sysgym.dataflow.simulator.rules import Rules
from sysgym_zoo.tools.tracing.build import Heading
from sysgym_zoo.tools.tracing.capture import trace_module
from sysgym_zoo.tools.tracing.cost import read_profile
from sysgym_zoo.tools.tracing.devices import Sites
from sysgym_zoo.tools.tracing.products import HEAVIES, heavy_flops

Inline = Callable[..., Any]


def traced(module: Any, *inputs: Any, **heading: Any) -> DataflowGraph:
    """The checked graph of a module, for one device."""
    graph = trace_module(module, inputs, Heading("mine", 1, **heading))
    check_graph(graph)
    return graph


def names(graph: DataflowGraph) -> list[str]:
    """The operator of every node."""
    return [graph.op_types[op] for op in graph.op]


def node(graph: DataflowGraph, op: str) -> int:
    """The first node of an operator."""
    return names(graph).index(op)


ROWS, WIDTH, PICKED = 100_000, 16, 32
IDS = torch.zeros(PICKED, dtype=torch.int64)
WIDE = IDS[:, None].expand(PICKED, WIDTH)
CHANGED = 4 * PICKED * WIDTH


@pytest.mark.parametrize(
    ("op", "function", "bytes_moved"),
    [  # indices are 8 bytes each; what is copied is read and written
        ("index", lambda ids, table: table[ids] + 1, 8 * PICKED + 2 * CHANGED),
        ("index_select", lambda ids, table: table.index_select(0, ids), 8 * PICKED + 2 * CHANGED),
        ("gather", lambda ids, table: table.gather(0, ids[:, None].repeat(1, WIDTH)), 2 * CHANGED + 2 * CHANGED),
        ("_embedding_bag", lambda ids, table: nn.functional.embedding_bag(ids[None], table, mode="sum"), None),
    ],
)
def test_lookups_read_the_rows_they_name(op: str, function: Any, bytes_moved: int | None) -> None:
    graph = traced(Calls(function, (ROWS, WIDTH)), IDS)
    moved = int(graph.traffic[node(graph, op)])
    assert moved == bytes_moved if bytes_moved is not None else CHANGED < moved < 2 * CHANGED


@pytest.mark.parametrize(
    ("op", "change", "bytes_moved"),
    [  # values and indices are read, rows are written, and read where something is added to them
        ("index_put_", lambda t, ids, new: t.index_put_((ids,), new), 8 * PICKED + 2 * CHANGED),
        ("index_put_", lambda t, ids, new: t.index_put_((ids,), new, accumulate=True), 8 * PICKED + 3 * CHANGED),
        ("index_copy_", lambda t, ids, new: t.index_copy_(0, ids, new), 8 * PICKED + 2 * CHANGED),
        ("index_add_", lambda t, ids, new: t.index_add_(0, ids, new), 8 * PICKED + 3 * CHANGED),
        ("index_fill_", lambda t, ids, new: t.index_fill_(0, ids, 2.0), 8 * PICKED + CHANGED),
        ("scatter_", lambda t, ids, new: t.scatter_(0, WIDE, new), 2 * CHANGED + 2 * CHANGED),
        ("copy_", lambda t, ids, new: t[:PICKED].copy_(new), 2 * CHANGED),
    ],
)
def test_changes_in_place_move_the_rows_they_change(op: str, change: Any, bytes_moved: int) -> None:
    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.empty(ROWS, WIDTH, device="meta"))

        def forward(self, ids: Any, new: Any) -> Any:
            change(self.table, ids, new)
            return self.table[:3].sum()

    graph = traced(Cached(), IDS, torch.empty(PICKED, WIDTH))
    found, table = node(graph, op), 4 * ROWS * WIDTH
    assert graph.traffic[found] == bytes_moved and graph.coloc[found] == graph.coloc[node(graph, "param")]
    assert graph.flops[found] == (0 if op == "copy_" else PICKED * WIDTH)  # not one for each element of the table
    assert "slice" not in names(graph) and found in graph.edge_src[graph.edge_dst == node(graph, "sum")]
    job = Job(graph, Rules())
    assert table <= job.score(job.single).outcome.peak_bytes.max() < 1.01 * table


def counted(module: Any, inputs: tuple[Any, ...], train: bool) -> int:
    """Flops of an eager run, by torch."""
    module.train(train)
    with warnings.catch_warnings(), FlopCounterMode(display=False) as counter:
        warnings.simplefilter("ignore")
        with torch.set_grad_enabled(train), sdpa_kernel(SDPBackend.MATH):
            out = module(*inputs)
            if train:
                leaves = [each for each in torch.utils._pytree.tree_leaves(out) if each.requires_grad]
                torch.autograd.grad(sum(each.sum() for each in leaves), list(module.parameters()), allow_unused=True)
    return int(counter.get_total_flops())


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", MODULES)
def test_products_are_those_that_torch_counts(name: str, train: bool) -> None:
    module, inputs = MODULES[name]
    graph = traced(module, *inputs, train=train)
    heavy = np.array([op in HEAVIES for op in graph.op_types])[graph.op]
    before = torch._C._get_mkldnn_enabled(), torch.backends.mha.get_fastpath_enabled()
    torch._C._set_mkldnn_enabled(False)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        assert int(graph.flops[heavy].sum()) == pytest.approx(counted(module, inputs, train), rel=0.05)
    finally:
        torch._C._set_mkldnn_enabled(before[0])
        torch.backends.mha.set_fastpath_enabled(before[1])
    statistics = [] if train else [each for each in module.buffers() if each.is_floating_point()]  # read in inference
    assert graph.param_bytes.sum() == sum(4 * each.numel() for each in [*module.parameters(), *statistics])


def test_products_of_other_kinds() -> None:
    whole = torch.zeros(64, 64, dtype=torch.int8)
    graph = traced(Calls(torch._int_mm), whole, whole)
    assert graph.flops.sum() == 2 * 64**3 and graph.classes[-1] == 2
    grouped = traced(nn.Conv2d(8, 16, 3, groups=4, bias=False), PICTURE, train=True)
    assert grouped.flops[node(grouped, "convolution_backward")] == 2 * (2 * 16 * 7 * 7) * (2 * 9)  # of the weight
    heads = traced(Calls(lambda q, k: scaled_dot_product_attention(q, k, k)), X(2, 4, 6, 8), X(2, 4, 7, 8))
    products = heads.flops[[op == "bmm" for op in names(heads)]].sum()
    query, key = (2, 4, 6, 8), (2, 4, 7, 8)
    assert products == heavy_flops("_scaled_dot_product_flash_attention", [query, key, key], [query]) == 4 * 48 * 7 * 8


@pytest.mark.filterwarnings("ignore:.*quantize:UserWarning")
@pytest.mark.filterwarnings("ignore:.*quantization:DeprecationWarning")
def test_packed_weights_are_weights() -> None:
    plain = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
    graph = traced(torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8), X(4, 64))
    assert graph.param_bytes.sum() == 64 * 32 + 4 * 32 and graph.flops[node(graph, "quantized.linear_dynamic")] == (
        2 * 4 * 64 * 32
    )


def test_an_operator_in_no_table_is_named() -> None:
    with pytest.warns(Notice, match=r"no table knows what these operators compute: _linalg_svd \(.* % of the time\)"):
        traced(Calls(torch.linalg.svdvals), X(8, 8))


class Two(nn.Module):
    """A number that is no loss, what the body computes, and a text."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.body = nn.Parameter(torch.zeros(1)), nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        return {"scale": self.scale.exp(), "out": [self.body(x) * self.scale.exp(), "text"]}


def test_the_loss_is_chosen_and_what_it_leaves_out_is_named() -> None:
    with pytest.warns(Notice, match="does not reach 2 of 3 parameters, .*: body.weight, body.bias; name another"):
        traced(Two(), X(3, 8), train=True)
    graph = traced(Two(), X(3, 8), train=True, loss="out.0")
    assert graph.param_bytes.sum() == 4 * (1 + 32 + 4) and names(graph).count("sgd_update") == 3
    with pytest.raises(UsageError, match=r"unknown output of mine 'out'.*Known: out\.0, scale"):
        traced(Two(), X(3, 8), train=True, loss="out")


@pytest.mark.parametrize(("optimizer", "states", "passes"), [("sgd", 0, 3), ("momentum", 1, 5), ("adam", 2, 7)])
def test_optimisers_hold_their_moments(optimizer: str, states: int, passes: int) -> None:
    graph = traced(nn.Linear(8, 4, bias=False), X(3, 8), train=True, optimizer=optimizer)
    assert graph.param_bytes.sum() == (1 + states) * 128 and graph.traffic[node(graph, f"{optimizer}_update")] == (
        passes * 128
    )


class Split(nn.Module):
    """Two layers, each on a device of its own, as tutorials of model parallelism write it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)

    def forward(self, x: Any) -> Any:
        y = self.first(x.to("cuda:0")).relu()
        return self.second(y.to(device="cuda:1", dtype=torch.float32)).sum()


def test_a_model_split_by_hand_keeps_the_authors_placement() -> None:
    graph = trace_module(Split(), (X(4, 8),), Heading("mine", 2, train=True))
    assert "_to_copy" not in names(graph) and graph.devices == 2
    found = dict(zip(zip(names(graph), graph.phase.tolist(), strict=True), graph.human_expert.tolist(), strict=True))
    assert found["relu", 0] == 0 and found["sum", 0] == 1 and found["threshold_backward", 1] == 0
    updates = [op == "sgd_update" for op in names(graph)]
    assert graph.human_expert[updates].tolist() == [0, 1] and Job(graph, Rules()).expert.tolist() == (
        graph.human_expert.tolist()
    )


def test_a_model_built_on_its_devices() -> None:
    x = torch.zeros(2)
    with Sites():  # as while the user's function runs; modules say `to(device, dtype or None, non_blocking)`
        module = nn.Sequential(nn.Linear(8, 8).to("cuda:0"), nn.Linear(8, 8).to("cuda:1", torch.float16))
        moved = [x.to("cuda:1", None, False), x.to("cuda", torch.float64, True, True), x.to(None, torch.int8)]
    assert [each.dtype for each in module.parameters()] == 2 * [torch.float32] + 2 * [torch.float16]
    assert moved[0] is x and [each.dtype for each in moved[1:]] == [torch.float64, torch.int8]
    assert {each.device.type for each in (*module.parameters(), *moved)} == {"cpu"}


@pytest.mark.parametrize("sparse", [False, True])
def test_the_step_of_a_sparse_gradient_computes_the_rows_it_names(sparse: bool) -> None:
    table = nn.Sequential(nn.Embedding(ROWS, WIDTH, sparse=sparse, device="meta"), nn.Flatten())
    graph = trace_module(table, IDS, Heading("mine", 1, train=True, optimizer="adam"))
    rows = PICKED if sparse else ROWS  # of a sparse gradient, with their numbers, two words each
    assert graph.flops[node(graph, "adam_update")] == 12 * rows * (WIDTH + 2 * sparse)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_wrappers() -> None:
    plain = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    expected = names(traced(plain, X(2, 8)))
    assert names(traced(nn.DataParallel(plain), X(2, 8))) == expected
    for module in (torch.jit.script(plain), nn.Sequential(torch.jit.script(plain))):
        with pytest.raises(UsageError, match=r"scripted or traced .* as it was before torch\.jit\.script"):
            traced(module, X(2, 8))


def test_kernels_of_a_gpu_belong_to_the_operators_that_started_them(tmp_path: Path) -> None:
    def event(cat: str, name: str, start: float, length: float, **links: int) -> dict[str, Any]:
        links = {key.replace("_", " "): value for key, value in links.items()}
        return {"ph": "X", "cat": cat, "name": name, "ts": start, "dur": length, "pid": 1, "tid": 1, "args": links}

    events = [
        event("cpu_op", "aten::linear", 0, 40, External_id=1), event("cpu_op", "aten::addmm", 5, 12, External_id=2),
        event("cuda_runtime", "cudaLaunchKernel", 6, 5, External_id=2, correlation=7),
        event("cpu_op", "aten::relu", 50, 9, External_id=3), event("kernel", "sgemm", 20, 900, correlation=7),
        event("kernel", "split_k", 920, 100, External_id=2), event("kernel", "relu", 1020, 30, External_id=3),
        event("cpu_op", "aten::view", 60, 3, External_id=4),
    ]  # fmt: skip
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"traceEvents": events}))
    assert read_profile(path) == {"linear": 1_000_000, "addmm": 1_000_000, "relu": 30_000}
    path.write_text(json.dumps([each for each in events if each["cat"] == "kernel"]))
    with pytest.raises(UsageError, match="holds 3 kernels of a GPU that belong to no operator; record the CPU too"):
        read_profile(path)


def test_prints_of_a_model_go_to_stderr(inline: Inline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tracedloud.py").write_text(
        "import torch\nprint('importing')\ndef build():\n    print('loading')\n"
        "    return torch.nn.Linear(2, 2), (torch.zeros(1, 2),)\n"
    )
    found = inline("trace", "tracedloud:build", "--json", "-o", "x.json.gz")
    assert json.loads(found.stdout)["param_bytes"] == 24
    for options, sentence in (
        (("--optimizer", "adam"), "--optimizer and --loss are of a training step"),
        (("--train", "--optimizer", "adan"), "unknown optimizer 'adan'. Did you mean 'adam'"),
        (("--size", "N=1"), "--size is for the free sizes of ONNX files"),
    ):
        assert sentence in inline("trace", "tracedloud:build", "-o", "x.json.gz", *options, code=2).stderr
