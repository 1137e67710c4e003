"""Sizes of an ONNX model: those that a user gives for free ones, and those that follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sysgym.core.errors import UsageError, unknown

Shape = tuple[int, ...]
KEPT = 1024  # elements of a weight whose values shapes may follow from
MOST = 2**40


def parse_sizes(pairs: Sequence[str]) -> dict[str, int]:
    """`N=1` words as sizes by name."""
    found: dict[str, int] = {}
    for pair in pairs:
        name, equals, text = pair.rpartition("=")
        if not (equals and name and text.isascii() and text.isdigit() and 0 < int(text) <= MOST):
            raise UsageError(f"expected --size NAME=NUMBER, such as --size N=1, got {pair!r}.")
        if found.setdefault(name, int(text)) != int(text):
            raise UsageError(f"--size gives {name} twice, {found[name]} and {text}; give it once.")
    return found


def free_axes(info: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """The axes of an input without a size, and the names one can give it by."""
    for number, axis in enumerate(info.type.tensor_type.shape.dim):
        if not axis.HasField("dim_value") or axis.dim_value < 0:
            place = f"{info.name}.{number}"
            yield axis, (axis.dim_param, place) if axis.HasField("dim_param") and axis.dim_param else (place,)


def fix_sizes(path: Any, model: Any, sizes: Mapping[str, int]) -> None:
    """Give free axes their sizes, and forget all sizes that followed from none; UsageError for those not given."""
    held = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in held]
    rows = [(axis, names) for each in inputs for axis, names in list(free_axes(each))]
    known = {name for _, names in rows for name in names}
    for name in sizes:
        if name not in known:
            if not known:
                raise UsageError(f"{path} has no free sizes; leave out --size {name}={sizes[name]}.")
            raise unknown(f"free size of {path}", name, known)
    missing = list(dict.fromkeys(names[0] for _, names in rows if not any(name in sizes for name in names)))
    if missing:
        words = " ".join(f"--size {name}=1" for name in missing)
        raise UsageError(
            f"{path}: its inputs have sizes that are not fixed: {', '.join(missing)}; give each, such as {words}."
        )
    for axis, names in rows:
        axis.dim_value = next(sizes[name] for name in reversed(names) if name in sizes)
    for info in [*model.graph.value_info, *model.graph.output]:
        for axis, _ in list(free_axes(info)):
            axis.Clear()
    kept = [each for each in model.graph.value_info if not any(True for _ in free_axes(each))]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)


def without_values(model: Any) -> None:
    """Drop the values of large weights, which nothing follows from."""
    for each in model.graph.initializer:
        count = 1
        for size in each.dims:
            count *= size
        if count > KEPT:
            for part in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                each.ClearField(part)


def infer(model: Any, path: Any) -> Any:
    """The model with the shapes of its tensors, those behind operators of onnxruntime included."""
    import onnx

    try:
        for _ in range(1 + sum(each.domain == "com.microsoft" for each in model.graph.node)):
            model = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
            if not _fill(model):
                break
    except Exception as error:  # its checker raises several kinds, none of them public
        line = (str(error).strip().splitlines() or ["?"])[0]
        raise UsageError(f"the shapes in {path} cannot be inferred: {line}") from error
    return model


def _fill(model: Any) -> bool:
    """Add the shapes that follow from rules of onnxruntime's operators; whether there are any."""
    import onnx

    graph = model.graph
    known = {each.name: (tuple(each.dims), each.data_type) for each in graph.initializer}
    for each in [*graph.input, *graph.value_info, *graph.output]:
        kind = each.type.tensor_type
        if kind.elem_type and kind.HasField("shape") and not any(True for _ in free_axes(each)):
            known.setdefault(each.name, (tuple(axis.dim_value for axis in kind.shape.dim), kind.elem_type))
    before = len(known)
    for node in graph.node:
        rule = RULES.get(node.op_type) if node.domain == "com.microsoft" else None
        if rule is None or not node.output or node.output[0] in known or not node.input or node.input[0] not in known:
            continue
        given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        inputs = [known.get(name, ((), 0))[0] for name in node.input]
        shape = rule(given, inputs)
        typed = node.input[TYPED.get(node.op_type, 0)]
        kind = known[typed if typed in known else node.input[0]][1]
        for name in filter(None, [node.output[0], *(node.output[3:4] if node.op_type.startswith("Skip") else ())]):
            known[name] = shape, kind
            graph.value_info.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    return len(known) > before


TYPED = {"MatMulIntegerToFloat": 2, "EmbedLayerNormalization": 2, "QAttention": 3}  # the input of the output's type
Rule = Callable[[Mapping[str, Any], Sequence[Shape]], Shape]


def _same(given: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    return inputs[0]


def _broadcast(*positions: int) -> Rule:
    def shape(given: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
        import numpy as np

        return tuple(int(n) for n in np.broadcast_shapes(*(inputs[i] for i in positions)))

    return shape


def _matmul(right: int) -> Rule:
    """Of a product of input 0 and input `right`, with attributes transA and transB."""

    def shape(given: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
        import numpy as np

        left, other = inputs[0], inputs[right]
        rows = left[-1] if given.get("transA") else left[-2]
        columns = other[-2] if given.get("transB") else other[-1]
        return (*(int(n) for n in np.broadcast_shapes(left[:-2], other[:-2])), rows, columns)

    return shape


def _convolved(given: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    """As ONNX infers for Conv with the same attributes."""
    import onnx

    keys = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], **{key: given[key] for key in keys if key in given})
    values = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in zip("xw", inputs, strict=False)]
    graph = onnx.helper.make_graph([node], "one", values, [onnx.helper.make_tensor_value_info("y", 1, None)])
    found = onnx.shape_inference.infer_shapes(onnx.helper.make_model(graph)).graph.output[0]
    return tuple(axis.dim_value for axis in found.type.tensor_type.shape.dim)


def _attended(given: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    """Of Attention, which projects (batch, length, size) with weights of the size of queries, keys and values."""
    sizes = given.get("qkv_hidden_sizes") or [inputs[1][1] // 3] * 3
    return (*inputs[0][:2], int(sizes[2]))


def _headed(given: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    query, value = inputs[0], inputs[2] if len(inputs) > 2 else ()
    if len(query) == 5:
        return (*query[:2], query[2] * query[4])
    return (*query[:2], value[1] * value[3] if len(value) == 4 else value[2] if value else query[2])


def _query(given: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    """Of GroupQueryAttention; without keys, the queries hold them too."""
    size = inputs[0][2]
    if len(inputs) < 2 or not inputs[1]:
        heads = int(given["num_heads"])
        size = size * heads // (heads + 2 * int(given["kv_num_heads"]))
    return (*inputs[0][:2], size)


def _embedded(given: Mapping[str, Any], inputs: Sequence[Shape]) -> Shape:
    return (*inputs[0], inputs[2][-1])


RULES: dict[str, Rule] = {
    **dict.fromkeys(("BiasGelu", "FastGelu", "QuickGelu", "Gelu", "BiasAdd", "SkipLayerNormalization", "GroupNorm",
                     "SkipSimplifiedLayerNormalization", "SimplifiedLayerNormalization", "RotaryEmbedding",
                     "SkipGroupNorm", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "BiasSoftmax"), _same),
    "QLinearAdd": _broadcast(0, 3), "QLinearMul": _broadcast(0, 3),
    **dict.fromkeys(("FusedMatMul", "TransposeMatMul", "FusedGemm", "GemmFastGelu", "MatMulInteger16",
                     "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "FusedMatMulActivation"), _matmul(1)),
    "MatMulNBits": lambda given, inputs: (*inputs[0][:-1], int(given["N"])),
    "MatMulBnb4": lambda given, inputs: (*inputs[0][:-1], int(given["N"])),
    "FusedConv": _convolved, "Attention": _attended, "QAttention": _attended, "MultiHeadAttention": _headed,
    "GroupQueryAttention": _query, "EmbedLayerNormalization": _embedded,
}  # fmt: skip
