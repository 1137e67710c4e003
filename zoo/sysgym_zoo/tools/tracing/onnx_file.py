"""ONNX files as dataflow graphs: the forward pass, with the sizes that the file fixes; the weights are not read.

Operators get the names of PyTorch's where they do the same, so that both sources share a vocabulary; the others keep
their ONNX name in small letters. Views are folded, initialisers are parameters, and layers are numbered by how many
products and convolutions lie before an operator; what follows one belongs to its layer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sysgym.core.errors import MissingDependency, UsageError, reading
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym_zoo.tools.tracing.build import GraphBuilder, Heading
from sysgym_zoo.tools.tracing.cost import Timing
from sysgym_zoo.tools.tracing.products import HEAVIES, Shape, elements

ATEN = {
    "Conv": "convolution", "ConvTranspose": "convolution", "BatchNormalization": "native_batch_norm",
    "LayerNormalization": "native_layer_norm", "GroupNormalization": "native_group_norm",
    "RMSNormalization": "_fused_rms_norm", "Softmax": "_softmax", "LogSoftmax": "_log_softmax", "Concat": "cat",
    "MaxPool": "max_pool2d_with_indices", "AveragePool": "avg_pool2d", "GlobalAveragePool": "mean",
    "GlobalMaxPool": "amax",
    "ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "amax", "ReduceMin": "amin", "ReduceProd": "prod",
    "ArgMax": "argmax", "ArgMin": "argmin", "Pad": "constant_pad_nd", "Gather": "embedding", "GatherElements": "gather",
    "Cast": "_to_copy", "Clip": "clamp", "Range": "arange", "ConstantOfShape": "full", "Equal": "eq", "Less": "lt",
    "LessOrEqual": "le", "Greater": "gt", "GreaterOrEqual": "ge", "And": "logical_and", "Or": "logical_or",
    "Not": "logical_not", "Max": "maximum", "Min": "minimum", "Swish": "silu", "LeakyRelu": "leaky_relu",
    "HardSigmoid": "hardsigmoid", "HardSwish": "hardswish", "Tile": "repeat", "CumSum": "cumsum", "TopK": "topk",
    "Trilu": "tril", "Reciprocal": "reciprocal", "ReduceL2": "norm",
}  # fmt: skip
VIEWS = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Expand", "Dropout"})
BRANCHES = frozenset({"If", "Loop", "Scan", "SequenceMap"})
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
BITS = {
    "FLOAT": 32, "DOUBLE": 64, "FLOAT16": 16, "BFLOAT16": 16, "INT64": 64, "UINT64": 64, "INT32": 32, "UINT32": 32,
    "INT16": 16, "UINT16": 16, "INT8": 8, "UINT8": 8, "BOOL": 8, "COMPLEX64": 64, "COMPLEX128": 128, "INT4": 4,
    "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2,
}  # fmt: skip


def trace_onnx(path: Path, heading: Heading, timing: Timing | None = None) -> DataflowGraph:
    """The dataflow graph of an ONNX file. UsageError for dynamic sizes, branches and loops."""
    with reading(path):
        return _traced(path, heading, timing)


def _traced(path: Path, heading: Heading, timing: Timing | None) -> DataflowGraph:
    model = _load(path)
    graph = model.graph
    reader = Reader(path, graph)
    for node in graph.node:
        reader.add(node)
    roots = [reader.tensor(each.name) for each in graph.output]
    source = f"ONNX, {model.producer_name or 'unknown producer'}; views folded into their producer"
    heading = Heading(heading.name, heading.devices, False, heading.config, source, "onnx")
    return reader.builder.finish(heading, roots, timing or Timing())


def _load(path: Path) -> Any:
    """The model of a file with the shapes of all its tensors inferred."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingDependency("reading ONNX files needs onnx: pip install 'sysgym[onnx]'.") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except DecodeError as error:
        raise UsageError(f"{path} is no ONNX file: {error}.") from error
    if not model.graph.node:
        raise UsageError(f"{path} is no ONNX model with operators; export one with torch.onnx.export or the like.")
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    except Exception as error:  # its checker raises several kinds, none of them public
        line = (str(error).strip().splitlines() or ["?"])[0]
        raise UsageError(f"the shapes in {path} cannot be inferred: {line}") from error


class Reader:
    """Goes through the operators of an ONNX graph once, in order."""

    def __init__(self, path: Path, graph: Any) -> None:
        """Know the shape and size of every tensor, and declare parameters and inputs."""
        self.path, self.builder = path, GraphBuilder()
        self.shapes: dict[str, Shape] = {}
        self.bits: dict[str, int] = {}
        self.found: dict[str, int] = {}  # of each name, the tensor of the graph
        self.depth: dict[int, int] = {}  # of each tensor, products and convolutions before it
        weights = {each.name: each for each in graph.initializer}
        for each in graph.initializer:
            self._know(each.name, tuple(each.dims), each.data_type)
        for each in [*graph.input, *graph.value_info, *graph.output]:
            self._describe(each)
        for name in weights:
            self.found[name] = self.builder.leaf("param", self._size(name))
        for each in graph.input:
            if each.name not in weights:
                self.found[each.name] = self.builder.leaf("input", self._size(each.name))

    def _know(self, name: str, shape: Shape, kind: int) -> None:
        import onnx

        self.shapes[name] = shape
        label = onnx.TensorProto.DataType.Name(kind)
        self.bits[name] = BITS.get(label, 8 if label.startswith("FLOAT8") else 0)

    def _describe(self, info: Any) -> None:
        """Shape and type of a tensor, where the file or the inference gives them."""
        kind = info.type.tensor_type
        if info.name in self.shapes or not kind.elem_type or not kind.HasField("shape"):
            return
        free = next((axis for axis in kind.shape.dim if not axis.HasField("dim_value")), None)
        if free is None:
            self._know(info.name, tuple(axis.dim_value for axis in kind.shape.dim), kind.elem_type)

    def _shape(self, name: str) -> Shape:
        """Shape of a tensor; UsageError if it is not fixed."""
        if name not in self.shapes:
            raise UsageError(
                f"{self.path}: tensor {name!r} has no fixed shape; export the model with fixed sizes (no dynamic axes)."
            )
        return self.shapes[name]

    def _size(self, name: str) -> int:
        """Bytes of a tensor."""
        shape = self._shape(name)
        if self.bits[name] == 0:
            raise UsageError(f"{self.path}: tensor {name!r} is of a type without a size, such as text.")
        return (elements(shape) * self.bits[name] + 7) // 8

    def tensor(self, name: str) -> int:
        """The tensor of the graph that a name stands for."""
        if name not in self.found:
            raise UsageError(f"{self.path}: tensor {name!r} is read before any operator writes it.")
        return self.found[name]

    def add(self, node: Any) -> None:
        """Add an operator, or fold it."""
        kind = node.op_type
        if kind in BRANCHES or any(each.HasField("g") for each in node.attribute):
            raise UsageError(f"{self.path} holds {kind}, a branch or loop; unroll it before the model is exported.")
        reads, writes = [name for name in node.input if name], [name for name in node.output if name]
        if kind == "Constant":
            self.found[writes[0]] = self.builder.leaf("const", self._size(writes[0]))
            return
        if kind in VIEWS:
            self.found[writes[0]] = self.tensor(reads[0])
            return
        op = self._op(node, reads)
        shapes, outputs = [self._shape(name) for name in reads], [self._shape(name) for name in writes]
        sizes, tensors = [self._size(name) for name in writes], [self.tensor(name) for name in reads]
        heavy = op in HEAVIES or kind in RECURRENT
        depth = max((self.depth.get(tensor, 0) for tensor in tensors), default=0)
        shapes = self._product(node, shapes) if op in HEAVIES else shapes
        new = self.builder.operator(
            op, tensors, sizes, shapes, outputs, (sum(map(self._size, dict.fromkeys(reads))), sum(sizes)),
            layer=depth if heavy else max(0, depth - 1), transposed=kind == "ConvTranspose",
        )  # fmt: skip
        if kind in RECURRENT:
            self.builder.nodes[-1].flops = _recurrent(shapes)
        if kind == "Einsum":
            self.builder.nodes[-1].flops = _einsum(node, shapes)
        for name, tensor in zip(writes, new, strict=True):
            self.found[name], self.depth[tensor] = tensor, depth + heavy

    def _op(self, node: Any, reads: Sequence[str]) -> str:
        """The name of an operator in the vocabulary of the graphs."""
        kind = node.op_type
        if kind == "Gemm":
            return "addmm" if len(reads) > 2 else "mm"
        if kind == "MatMul":
            return "mm" if len(self._shape(reads[1])) <= 2 else "bmm"
        if kind in ATEN:
            return ATEN[kind]
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()

    def _product(self, node: Any, shapes: list[Shape]) -> list[Shape]:
        """The shapes of a product as PyTorch has them: what is added first, then both factors, not transposed."""
        if node.op_type != "Gemm":
            return shapes
        turned = any(each.name == "transA" and each.i for each in node.attribute)
        first = shapes[0][::-1] if turned else shapes[0]
        return [*shapes[2:], first, shapes[1]]


def _recurrent(shapes: Sequence[Shape]) -> int:
    """Flops of all steps of a recurrent layer: X (steps, batch, inputs), W (directions, gates * hidden, inputs), R."""
    steps, batch = shapes[0][:2]
    return 2 * steps * batch * (elements(shapes[1]) + elements(shapes[2]))


def _einsum(node: Any, shapes: Sequence[Shape]) -> int:
    """Flops of a product by letters of dimensions, done at once; an ellipsis counts as one letter a dimension."""
    equation = next(each.s.decode() for each in node.attribute if each.name == "equation").replace(" ", "")
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.partition("->")[0].split(","), shapes, strict=True):
        hidden = len(shape) - len(term.replace("...", ""))
        letters = [*term.partition("...")[0], *(f"...{i}" for i in range(hidden)), *term.partition("...")[2]]
        sizes |= {letter: max(size, sizes.get(letter, 1)) for letter, size in zip(letters, shape, strict=True)}
    return 2 * elements(tuple(sizes.values()))
