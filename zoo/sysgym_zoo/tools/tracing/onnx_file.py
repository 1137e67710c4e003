"""ONNX files as dataflow graphs: the forward pass, with the sizes that the file fixes or one gives; no weight is read.

Operators get the names of PyTorch's where they do the same, so that both sources share a vocabulary; the others keep
their ONNX name in small letters, and those of other domains the domain before it. Functions of the model are their
bodies. Views are folded, initialisers and constants are parameters, and layers are numbered by how many products and
convolutions lie before an operator; what follows one belongs to its layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sysgym.core.errors import UsageError, reading
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym_zoo.tools.tracing.build import GraphBuilder, Heading
from sysgym_zoo.tools.tracing.cost import Timing
from sysgym_zoo.tools.tracing.onnx_model.flops import formula, is_known
from sysgym_zoo.tools.tracing.onnx_model.load import load
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
LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND", "EmbedLayerNormalization"})  # they read the rows named
BOOL = 9  # TensorProto.BOOL
BITS = {
    "FLOAT": 32, "DOUBLE": 64, "FLOAT16": 16, "BFLOAT16": 16, "INT64": 64, "UINT64": 64, "INT32": 32, "UINT32": 32,
    "INT16": 16, "UINT16": 16, "INT8": 8, "UINT8": 8, "BOOL": 8, "COMPLEX64": 64, "COMPLEX128": 128, "INT4": 4,
    "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2,
}  # fmt: skip


def trace_onnx(
    path: Path, heading: Heading, timing: Timing | None = None, sizes: Mapping[str, int] | None = None
) -> DataflowGraph:
    """The dataflow graph of an ONNX file. UsageError for free sizes that `sizes` lacks, branches and loops."""
    with reading(path):
        return _traced(path, heading, timing, sizes or {})


def _traced(path: Path, heading: Heading, timing: Timing | None, sizes: Mapping[str, int]) -> DataflowGraph:
    model = load(path, sizes)
    graph = model.graph
    reader = Reader(path, graph)
    for node in graph.node:
        reader.add(node)
    roots = [reader.tensor(each.name) for each in graph.output]
    source = f"ONNX, {model.producer_name or 'unknown producer'}; views folded into their producer"
    config = " ".join(f"{name}={size}" for name, size in sizes.items())
    heading = Heading(heading.name, heading.devices, False, config or heading.config, source, "onnx")
    return reader.builder.finish(heading, roots, timing or Timing())


class Reader:
    """Goes through the operators of an ONNX graph once, in order."""

    def __init__(self, path: Path, graph: Any) -> None:
        """Know the shape and size of every tensor, and declare parameters and inputs."""
        self.path, self.builder = path, GraphBuilder()
        self.shapes: dict[str, Shape] = {}
        self.bits: dict[str, int] = {}
        self.found: dict[str, int] = {}  # of each name, the tensor of the graph
        self.stored: dict[str, int] = {}  # bytes of sparse weights
        self.odd: dict[str, str] = {}  # of tensors without a shape, why
        self.depth: dict[int, int] = {}  # of each tensor, products and convolutions before it
        weights = [*graph.initializer, *(each.values for each in graph.sparse_initializer)]
        for each in weights:
            self._know(each.name, tuple(each.dims), each.data_type)
        for sparse in graph.sparse_initializer:  # as it lies in the file: values, and 8 bytes for each index
            self.stored[sparse.values.name] = (elements(tuple(sparse.indices.dims)) * 64 // 8) + self._size(
                sparse.values.name
            )
            self.shapes[sparse.values.name] = tuple(sparse.dims)
        self.flags = {each.name for each in graph.initializer if each.data_type == BOOL and any(_flag(each))}
        for each in [*graph.input, *graph.value_info, *graph.output]:
            self._describe(each)
        for each in weights:
            if self.bits[each.name]:  # texts have no size, and are refused where they are read
                self.found[each.name] = self.builder.leaf("param", self._size(each.name))
        for each in graph.input:
            if each.name not in self.found:
                self.found[each.name] = self.builder.leaf("input", self._size(each.name))

    def _know(self, name: str, shape: Shape, kind: int) -> None:
        import onnx

        self.shapes[name] = shape
        label = onnx.TensorProto.DataType.Name(kind)
        self.bits[name] = BITS.get(label, 8 if label.startswith("FLOAT8") else 0)

    def _describe(self, info: Any) -> None:
        """Shape and type of a tensor, where the file or the inference gives them."""
        kind = info.type.tensor_type
        other = info.type.WhichOneof("value")
        if other not in (None, "tensor_type"):
            self.odd[info.name] = f"is of type {other.removesuffix('_type')}, not a tensor"
        if info.name in self.shapes or not kind.elem_type or not kind.HasField("shape"):
            return
        sizes = tuple(axis.dim_value if axis.HasField("dim_value") else -1 for axis in kind.shape.dim)
        if min(sizes, default=0) >= 0:
            self._know(info.name, sizes, kind.elem_type)

    def _shape(self, name: str) -> Shape:
        """Shape of a tensor; UsageError if it is not fixed."""
        if name not in self.shapes:
            why = self.odd.get(name, "has no shape in the file")
            raise UsageError(f"{self.path}: tensor {name!r} {why}; export the model with fixed sizes of all tensors.")
        return self.shapes[name]

    def _size(self, name: str) -> int:
        """Bytes of a tensor."""
        if name in self.stored:
            return self.stored[name]
        shape = self._shape(name)
        if self.bits[name] == 0:
            raise UsageError(f"{self.path}: tensor {name!r} is of a type without a size, such as text.")
        return (elements(shape) * self.bits[name] + 7) // 8

    def tensor(self, name: str) -> int:
        """The tensor of the graph that a name stands for."""
        if name not in self.found:
            if name in self.bits and self.bits[name] == 0:
                self._size(name)
            raise UsageError(f"{self.path}: tensor {name!r} is read before any operator writes it.")
        return self.found[name]

    def add(self, node: Any) -> None:
        """Add an operator, or fold it."""
        kind = node.op_type
        if (not node.domain and kind in BRANCHES) or any(each.HasField("g") or each.graphs for each in node.attribute):
            raise UsageError(f"{self.path} holds {kind}, a branch or loop; unroll it before the model is exported.")
        reads, writes = [name for name in node.input if name], [name for name in node.output if name]
        for name in writes:
            if name in self.found:
                raise UsageError(f"{self.path}: tensor {name!r} is written twice; ONNX allows a single writer.")
        for name in writes:
            self.odd.setdefault(name, _reason(node))
        if not node.domain and kind in ("Shape", "Size") and writes:  # known before the model runs
            self.found[writes[0]] = self.builder.leaf("const", self._size(writes[0]))
        elif not node.domain and kind in VIEWS and reads and not self._drops(node):
            self._fold(node)
        elif writes:
            self._operator(node, reads, writes)

    def _drops(self, node: Any) -> bool:
        """Whether a Dropout is told to train, so that it drops and is no view."""
        return node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] in self.flags

    def _fold(self, node: Any) -> None:
        """A view is its input; the mask of a Dropout that drops nothing is all true."""
        if node.output[0]:
            self.found[node.output[0]] = self.tensor(node.input[0])
        for name in filter(None, node.output[1:]):
            size, shape = self._size(name), self._shape(name)
            self.found[name] = self.builder.operator("ones_like", [], [size], [], [shape], (0, size), layer=0)[0]

    def _operator(self, node: Any, reads: list[str], writes: list[str]) -> None:
        """Add an operator that runs."""
        kind, op = node.op_type, self._op(node)
        tensors = [self.tensor(name) for name in reads]
        shapes, outputs = [self._shape(name) for name in reads], [self._shape(name) for name in writes]
        sizes = [self._size(name) for name in writes]
        heavy = op in HEAVIES and kind != "Einsum"
        depth = max((self.depth.get(tensor, 0) for tensor in tensors), default=0)
        new = self.builder.operator(
            op, tensors, sizes, shapes, outputs, (self._moved(node, reads, sum(sizes)), sum(sizes)),
            layer=depth if heavy else max(0, depth - 1), flops=self._flops(node, outputs),
        )  # fmt: skip
        for name, tensor in zip(writes, new, strict=True):
            self.found[name], self.depth[tensor] = tensor, depth + heavy

    def _moved(self, node: Any, reads: list[str], written: int) -> int:
        """Bytes that an operator reads: its tensors, or the rows of a table that its indices name."""
        if node.op_type not in LOOKUPS or node.domain not in ("", "com.microsoft"):
            return sum(map(self._size, dict.fromkeys(reads)))
        if node.op_type == "EmbedLayerNormalization":  # ids, segments, then tables of words, positions and segments
            tables = [name for name in node.input[2:5] if name]
            others = sum(self._size(name) for name in dict.fromkeys(reads) if name not in tables)
            return others + len(tables) * self._size(node.output[0])
        return sum(self._size(name) for name in dict.fromkeys(node.input[1:]) if name) + written

    def _flops(self, node: Any, outputs: Sequence[Shape]) -> int | None:
        """Flops by the formula of its operator; None where its elements tell."""
        import onnx

        count = formula(node.domain, node.op_type)
        if count is None:
            return None
        given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        given = {key: value.decode() if isinstance(value, bytes) else value for key, value in given.items()}
        try:
            return count(given, [self._shape(name) if name else () for name in node.input], outputs)
        except (IndexError, KeyError, ValueError, TypeError) as error:
            raise UsageError(
                f"{self.path}: {node.op_type} {node.name or node.output[0]!r} has inputs or attributes that do not fit."
            ) from error

    def _op(self, node: Any) -> str:
        """The name of an operator in the vocabulary of the graphs."""
        kind, reads = node.op_type, [name for name in node.input if name]
        small = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
        if not is_known(node.domain, kind):
            return f"{node.domain}.{small}"
        if node.domain:
            return small
        if kind == "Gemm":
            return "addmm" if len(reads) > 2 else "mm"
        if kind == "MatMul":
            return "mm" if len(self._shape(reads[1])) <= 2 else "bmm"
        return ATEN.get(kind, small)


def _reason(node: Any) -> str:
    """Why the shape of what a node writes may be unknown."""
    name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    if node.domain:
        return f"has no shape in the file, and {name} is no operator of ONNX from which it follows"
    return f"has no fixed shape: it follows from values of tensors, or cannot be inferred, behind {name}"


def _flag(tensor: Any) -> list[bool]:
    """The values of a small tensor of true and false."""
    import onnx

    return onnx.numpy_helper.to_array(tensor).reshape(-1).tolist() if elements(tuple(tensor.dims)) == 1 else []
