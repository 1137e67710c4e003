"""An ONNX file as a tape: the forward pass, with the sizes that the file fixes or one gives; no weight is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sysgym.core.errors import UsageError, reading
from sysgym_zoo.tools.tracing.onnx_file import VIEWS, Reader
from sysgym_zoo.tools.tracing.onnx_model.load import load
from sysgym_zoo.tools.tracing.products import Shape
from sysgym_zoo.tools.tracing.regions.table import CONV, MATMUL, RECURRENT
from sysgym_zoo.tools.tracing.regions.tape import Tape, batch_of, last

FREE = VIEWS | {"Slice", "Split", "Concat", "Pad", "Tile", "Cast", "CastLike"}
CELLS = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn_tanh"}


def tape_of_onnx(path: Path, name: str, sizes: Mapping[str, int]) -> Tape:
    """The tape of an ONNX file. UsageError for free sizes that `sizes` lacks, branches, loops, and several batches."""
    with reading(path):
        graph = load(path, sizes).graph
        reader = Taping(path, graph, name)
        for node in graph.node:
            reader.add(node)
        reader.tape.outputs = [reader.value(each.name) for each in graph.output]
        return reader.tape


class Taping(Reader):
    """Goes through the operators of an ONNX graph once, in order, and writes them down."""

    def __init__(self, path: Path, graph: Any, name: str) -> None:
        """Know the shape of every tensor, and declare weights and inputs."""
        super().__init__(path, graph)
        weights = {each.name for each in graph.initializer} | {each.values.name for each in graph.sparse_initializer}
        inputs = [each.name for each in graph.input if each.name not in weights]
        self.tape = Tape(name, batch_of(name, [self._shape(each) for each in inputs]))
        self.values = {each: self.tape.input(self._shape(each)) for each in inputs}
        for each in graph.initializer:
            if each.data_type in (1, 10, 11, 16):  # numbers of 32, 16, 64 and 16 bits
                self.tape.params += math.prod(each.dims)

    def value(self, name: str) -> int:
        """The value of a tensor; a constant where no operator on an input wrote it."""
        if name not in self.values:
            self.tensor(name)  # refuses what nobody writes
            self.values[name] = self.tape.value(self._shape(name), True)
        return self.values[name]

    def _fold(self, node: Any) -> None:
        super()._fold(node)
        self._step("view", node, [node.input[0]], {}, free=True)

    def _operator(self, node: Any, reads: list[str], writes: list[str]) -> None:
        for name in writes:
            self.found[name] = -1  # written; the graph itself is not built
        op, names, given = self._described(node, reads)
        self._step(op, node, names, given, free=not node.domain and node.op_type in FREE)

    def _step(self, op: str, node: Any, names: list[str], given: dict[str, Any], free: bool) -> None:
        """Write an operator down."""
        writes = [name for name in node.output if name]
        shapes = [self._shape(name) for name in writes]
        layer = (node.name or "").strip("/").replace("/", ".")
        new = self.tape.step(op, [self.value(name) for name in names], shapes, layer=layer, given=given, free=free)
        self.values |= dict(zip(writes, new, strict=True))

    def _described(self, node: Any, reads: list[str]) -> tuple[str, list[str], dict[str, Any]]:
        """The name of an operator on a tape, what it reads in order, and what it must say besides."""
        import onnx

        kind = node.op_type if not node.domain else ""
        given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        if kind in ("MatMul", "Gemm"):
            left, right = (self._shape(name) for name in reads[:2])
            left = left[:-2] + left[:-3:-1] if given.get("transA") else left
            right = right[:-2] + right[:-3:-1] if given.get("transB") else right
            return MATMUL, reads, {"sizes": _sizes(left, right), "bias": len(reads) > 2}
        if kind in ("Conv", "ConvTranspose"):
            more = {
                "stride": last(given.get("strides")), "dilation": last(given.get("dilations")),
                "transposed": kind != "Conv", "bias": len(reads) > 2,
            }  # fmt: skip
            return CONV, reads[:2], more
        if kind in CELLS:
            return RECURRENT, reads[:1], self._cell(node, kind, given)
        more = {"window": math.prod(given["kernel_shape"])} if "kernel_shape" in given else {}
        op = self._op(node)
        constant = len(reads) > 1 and self.value(reads[1]) >= 0 and self.tape.values[self.value(reads[1])].constant
        if op == "div" and constant:
            op = "mul"
        return op, reads, more

    def _cell(self, node: Any, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Sizes of a recurrent layer, whose data are (steps, batch, channels), or (batch, steps, channels) where it
        says so; UsageError for cells of other functions.
        """
        functions = {each.decode().lower() for each in given.get("activations", ())}
        usual = {"LSTM": {"sigmoid", "tanh"}, "GRU": {"sigmoid", "tanh"}}.get(kind, functions)
        if (functions and functions != usual) or not usual <= {"sigmoid", "tanh", "relu"} or len(node.input) > 7:
            raise UsageError(
                f"{self.path}: the {kind} {node.name} has peepholes or functions of its own, which have no place in a "
                "region."
            )
        rows, steps, _ = self._shape(node.input[0])
        if not given.get("layout"):
            rows, steps = steps, rows
        return {
            "cell": "rnn_relu" if functions == {"relu"} else CELLS[kind], "layers": 1,
            "ways": self._shape(node.input[2])[0], "hidden": self._shape(node.input[2])[2], "steps": steps,
            "rows": rows,
        }  # fmt: skip


def _sizes(left: Shape, right: Shape) -> tuple[int, int, int, int]:
    """Groups, rows, depth and columns of a product; a plain matrix is multiplied with all groups at once."""
    left, right = left if len(left) > 1 else (1, *left), right if len(right) > 1 else (*right, 1)
    if len(right) == 2:
        return 1, math.prod(left[:-1]), left[-1], right[-1]
    groups = max(math.prod(left[:-2]), math.prod(right[:-2]))
    if left[-1] != right[-2]:
        raise UsageError(f"a product of {left} and {right} does not fit.")
    return groups, left[-2], left[-1], right[-1]
