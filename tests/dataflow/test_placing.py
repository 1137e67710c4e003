"""Answers with the names of operators and modules, and placements applied to the modules they are for."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sysgym import InvalidSolution, UsageError, make_problem
from sysgym.core.errors import Notice
from sysgym.core.problem import content_hash
from sysgym.core.solutions import read_solution, write_solution
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.graphs.io import format_graph, parse_graph
from sysgym_zoo.tools.placing import apply_placement, by_module
from sysgym_zoo.tools.tracing.build import Heading
from sysgym_zoo.tools.tracing.capture import trace_module

QUIET = pytest.mark.filterwarnings("ignore::sysgym.core.errors.Notice")
X = torch.arange(30.0).reshape(2, 5, 3).sin()


class Tied(nn.Module):
    """An embedding whose weight is its output layer's too, a recurrent layer, attention, a buffer, a sum of parts."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(7, 8), nn.Linear(8, 7, bias=False)
        self.out.weight = self.words.weight
        self.parts = nn.ModuleDict({"rnn": nn.RNN(8, 8, batch_first=True)})
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.register_buffer("shift", torch.ones(8))

    def forward(self, words: Any, scale: Any = None) -> dict[str, Any]:
        x = self.words(words)
        y, _ = self.parts["rnn"](x)
        z, _ = self.attention(y, y, y, need_weights=False)
        found = self.out(self.norm(x + z * scale + self.shift))
        return {"logits": found, "all": found.logsumexp(-1)}


WORDS = {"words": torch.tensor([[1, 2, 3], [4, 5, 6]]), "scale": torch.tensor(0.5)}


def encoder() -> Any:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.Sequential(nn.Linear(3, 8), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 2))


def traced(module: Any, inputs: Any = (X,), train: bool = True, devices: int = 2) -> DataflowGraph:
    return trace_module(module, inputs, Heading("mine", devices, train))


def scattered(graph: DataflowGraph, devices: int = 2) -> dict[str, Any]:
    return {"placement": np.random.default_rng(1).integers(0, devices, graph.nodes)}


def by_name(graph: DataflowGraph, **devices: int) -> dict[str, Any]:
    """The modules whose path holds a word on a device; the others on device 0."""
    place = [max((d for word, d in devices.items() if word in graph.modules[row]), default=0) for row in graph.module]
    return {"placement": np.array(place)}


def test_every_operator_knows_its_module() -> None:
    graph = traced(encoder())
    rows = {(graph.op_types[op], graph.modules[row], phase) for op, row, phase in
            zip(graph.op, graph.module, graph.phase, strict=True)}  # fmt: skip
    for row in (
        ("param", "1.layers.0.self_attn.out_proj", 0), ("addmm", "1.layers.1.linear2", 0), ("relu", "1.layers.0", 0),
        ("bmm", "1.layers.0.self_attn", 1), ("native_layer_norm_backward", "1.layers.1.norm1", 1), ("addmm", "2", 0),
        ("sgd_update", "1.layers.1.linear1", 2), ("sgd_update", "0", 2), ("input", "0", 0),
    ):  # fmt: skip
        assert row in rows, row
    assert "" not in graph.modules  # a Sequential computes nothing itself, nor does the sum that is differentiated
    again = parse_graph("mine", format_graph(graph))
    assert again.modules == graph.modules and np.array_equal(again.module, graph.module)
    assert content_hash(again) == content_hash(graph)  # names are no part of the problem
    assert traced(Tied(), WORDS, train=False).modules == (
        "", "attention", "attention.out_proj", "norm", "out", "parts.rnn", "words"
    )  # fmt: skip


@pytest.mark.parametrize("name", ["DevicePlacement", "GraphOptimization"])
def test_answers_name_operators_and_modules(name: str, tmp_path: Path) -> None:
    graph, problem, file = traced(encoder()), make_problem(name), tmp_path / "a.json"
    answer = {key: np.arange(graph.nodes) % 2 for key in problem.solution_arrays(graph)}
    write_solution(problem, graph, answer, file)
    content = json.loads(file.read_text())
    node = next(v for v, row in enumerate(content["nodes"]) if row["op"] == "relu")
    others = {key: answer[key][node] for key in answer if key != "placement"}
    assert content["nodes"][node] == {
        "op": "relu", "layer": 1, "module": "1.layers.0", "phase": "forward", "device": node % 2, **others
    }  # fmt: skip
    assert all(np.array_equal(read_solution(problem, graph, file)[key], answer[key]) for key in answer)
    for change, sentence in (
        ({"op": "gelu"}, f'nodes.{node}. says .*"gelu".* but the instance and the arrays say .*"relu"'),
        ({"device": 1 - node % 2}, "make them agree, or leave 'nodes' out"),
        ({"module": "1.layers.1"}, "1.layers.1.* but the instance and the arrays say .*1.layers.0"),
    ):
        wrong = copy.deepcopy(content)
        wrong["nodes"][node].update(change)
        file.write_text(json.dumps(wrong))
        with pytest.raises(InvalidSolution, match=sentence):
            read_solution(problem, graph, file)
    for value, sentence in (([], "'nodes' holds 0 rows, expected a list of"), ({}, "'nodes' holds a dict, expected")):
        file.write_text(json.dumps({**content, "nodes": value}))
        with pytest.raises(InvalidSolution, match=sentence):
            read_solution(problem, graph, file)
    del content["nodes"]  # as all files were
    file.write_text(json.dumps(content))
    assert np.array_equal(read_solution(problem, graph, file)["placement"], answer["placement"])


def test_shipped_graphs_have_operators_and_layers_but_no_modules(tmp_path: Path) -> None:
    problem = make_problem("DevicePlacement")
    graph = problem.load("doppler/ffnn")
    write_solution(problem, graph, scattered(graph), tmp_path / "a.json")
    row = json.loads((tmp_path / "a.json").read_text())["nodes"][0]
    assert list(row) == ["op", "layer", "phase", "device"]
    with pytest.raises(UsageError, match="does not say which modules its operators are from; trace the model again"):
        apply_placement(encoder(), graph, scattered(graph))


@QUIET
@pytest.mark.parametrize(("make", "inputs"), [(encoder, (X,)), (Tied, WORDS)])
def test_a_placed_module_computes_what_it_did(make: Callable[[], Any], inputs: Any) -> None:
    module = make().train(False)
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    expected, graph = module(*args, **kwargs), traced(module, inputs)
    found = apply_placement(module, graph, scattered(graph), ("cpu", "cpu"))
    torch.testing.assert_close(module(*args, **kwargs), expected, rtol=0, atol=0)
    found.remove()
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())


def replaced(module: Any, change: Callable[[Any], Any], recurse: bool) -> None:
    """`Module._apply` for fake tensors, which torch cannot change in place."""
    assert not recurse
    for key, tensor in module.named_parameters(recurse=False):
        setattr(module, key, nn.Parameter(change(tensor)))
    for key, tensor in module.named_buffers(recurse=False):
        setattr(module, key, change(tensor))


@QUIET
@pytest.mark.parametrize(("make", "inputs"), [(encoder, (X,)), (Tied, WORDS)])
def test_no_operator_meets_tensors_of_two_devices(
    make: Callable[[], Any], inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fake tensors refuse operands of two devices, and pretend to be on accelerators that are not there."""
    monkeypatch.setattr(nn.Module, "_apply", replaced)
    monkeypatch.setattr(nn.RNNBase, "_apply", replaced)
    graph = traced(make(), inputs, devices=3)
    seen = set()
    for seed in range(4):
        place = {"placement": np.random.default_rng(seed).integers(0, 3, len(graph.modules))[graph.module]}
        module = make().train(False)
        cudnn = torch.backends.cudnn.flags(enabled=False)
        with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad(), cudnn:
            args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
            args, kwargs = torch.utils._pytree.tree_map_only(torch.Tensor, mode.from_tensor, (args, kwargs))
            found = apply_placement(module, graph, place, ("cuda:0", "cuda:1", "cuda:2"))
            out = module(*args, **kwargs)
        out = out["all"] if isinstance(out, dict) else out
        last = "" if isinstance(module, Tied) else "2"
        assert out.device == found.devices[last]
        for path, each in module.named_modules():
            assert {tensor.device for tensor in [*each.parameters(False), *each.buffers(False)]} <= {
                found.devices.get(path)
            }
        seen |= set(found.devices.values())
    assert len(seen) == 3


def test_tensors_move_to_where_they_are_read() -> None:
    module = encoder()
    graph = traced(module)
    found = apply_placement(module, graph, by_name(graph, **{"1.layers.1": 1}), ("cpu", "meta"))
    where = {path: device.type for path, device in found.devices.items()}
    assert where["0"] == where["1.layers.0.linear1"] == "cpu" and where["1.layers.1.norm2"] == "meta"
    assert (found.moved, found.applied.cost) == (0, found.asked.cost)  # nothing to announce, or the test would fail
    assert module[1](module[0](X)).device.type == "meta" and module[1].layers[0](module[0](X)).device.type == "cpu"
    assert np.array_equal(found.solution["placement"], by_name(graph, **{"1.layers.1": 1})["placement"])


def test_what_cannot_be_split_is_announced_with_its_cost(tmp_path: Path) -> None:
    module = encoder()
    graph = traced(module)
    answer = by_name(graph, **{"1.layers": 1})
    node = next(v for v in range(graph.nodes) if graph.op_types[graph.op[v]] == "relu")
    answer["placement"][node] = 0
    with pytest.warns(Notice) as told:
        found = apply_placement(module, graph, answer, ("cpu", "cpu"))
    assert found.moved == 1 and found.solution["placement"][node] == 1 and found.applied.cost < found.asked.cost
    assert str(told[0].message) == (
        f"1 of {(graph.time_ns > 0).sum()} operators follow their module to another device than the placement asks for "
        f"(modules: 1.layers.0), for a module runs on one device; the simulated cost is {found.applied.cost:.6g} ns as "
        f"applied, {found.asked.cost:.6g} ns as asked for."
    )
    problem = make_problem("GraphOptimization", capacity=1e-6)
    many = {key: np.zeros(graph.nodes, int) for key in problem.solution_arrays(graph)}
    with pytest.warns(Notice) as told:
        apply_placement(module, graph, many, ("cpu",), problem)
    first, second = (str(each.message) for each in told)
    assert first.startswith("the placement as applied does not fit: device 0")
    assert second.startswith("priority and fusion are not applied")


def test_modules_that_share_parameters_stay_together() -> None:
    graph = traced(Tied(), WORDS)
    for place in (by_name(graph, out=1), by_name(graph, words=1), by_name(graph, out_proj=1)):
        chosen = dict(zip(graph.modules, by_module(graph, place["placement"]).tolist(), strict=True))
        assert chosen["words"] == chosen["out"] and chosen["attention"] == chosen["attention.out_proj"]
    time = [graph.time_ns[graph.module == graph.modules.index(path)].sum() for path in ("words", "out")]
    chosen = by_module(graph, by_name(graph, words=1)["placement"])
    assert chosen[graph.modules.index("out")] == (time[0] > time[1])


def test_files_of_the_commands_and_refusals(tmp_path: Path) -> None:
    module = encoder()
    (tmp_path / "m.json.gz").write_bytes(format_graph(traced(module)))
    problem = make_problem("DevicePlacement", devices=3, latency_ns=77)
    graph = problem.load(str(tmp_path / "m.json.gz"))
    answer = by_name(graph, **{"1.layers.1": 2, "1.layers.0": 1})
    write_solution(problem, graph, answer, tmp_path / "a.json")
    found = apply_placement(module, tmp_path / "m.json.gz", str(tmp_path / "a.json"), ["cpu"] * 3)
    assert found.asked.cost == problem.judge(graph, answer).cost  # with the options in the file
    for given, sentence in (
        ((module, graph, answer, ("cpu", "cpu"), problem), "the placement uses 3 devices; give that many"),
        ((module, graph, answer, "cpu", problem), "devices must be a list, such as .*, got 'cpu'"),
        ((module, graph, answer, ("cpu", "cpu", "gpu"), problem), "torch cannot use the device 'gpu': "),
        ((module[1], graph, answer, ["cpu"] * 3, problem), "operators of a module '0', which TransformerEncoder does"),
        ((encoder().to("meta"), graph, answer, ["cpu"] * 3), "Sequential has parameters without data"),
        ((module, graph, answer, ["cpu"] * 3), "expected 0 to 1"),
        ((module, graph, {"fusion": answer["placement"]}, ["cpu"], make_problem("GraphOptimization", tasks="fusion")),
         "the solution holds fusion and no placement"),
    ):  # fmt: skip
        with pytest.raises((UsageError, InvalidSolution), match=sentence):
            apply_placement(*given)  # type: ignore[arg-type]
