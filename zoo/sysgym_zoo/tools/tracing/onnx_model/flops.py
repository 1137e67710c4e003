"""Floating-point operations of ONNX operators that are products, convolutions, attention or recurrent layers, those of
onnxruntime (domain com.microsoft) with them.

Every formula takes the attributes of a node, the shapes of its inputs by position (() for one left out or a scalar) and
those of its outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sysgym_zoo.tools.tracing.products import Shape, elements

Given = Mapping[str, Any]
Formula = Callable[[Given, Sequence[Shape], Sequence[Shape]], int]


def _product(left: int, turned: str = "", added: int = 0) -> Formula:
    """Of a product whose first factor is input `left`, turned if attribute `turned` is set; `added` adds input 2."""

    def count(given: Given, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        first = inputs[left]
        inner = first[-2] if len(first) > 1 and given.get(turned) else first[-1]
        written = elements(outputs[0])
        return 2 * written * inner + (written if added and len(inputs) > 2 else 0)

    return count


def _convolution(weight: int, transposed: bool = False) -> Formula:
    """Of a convolution with input `weight`: (outputs, inputs of a group, ...); transposed: (inputs, ...)."""

    def count(given: Given, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        written = elements(inputs[0] if transposed else outputs[0])
        return 2 * written * elements(inputs[weight]) // max(1, inputs[weight][0])

    return count


def _attention(given: Given, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Of ONNX: queries, keys, values (batch, heads, length, size) or (batch, length, heads * size), and a past."""
    query, key, value = inputs[:3]
    if len(query) == 4:
        batch, heads, length, size = query
        return 2 * batch * heads * length * (key[2] + _past(inputs, 4)) * (size + value[3])
    heads, groups = int(given["q_num_heads"]), int(given["kv_num_heads"])
    sizes = query[2] + value[2] // max(1, groups) * heads
    return 2 * query[0] * query[1] * (key[1] + _past(inputs, 4)) * sizes


def _past(inputs: Sequence[Shape], position: int, axis: int = 2) -> int:
    """Length of the keys of earlier steps, 0 where there are none."""
    return inputs[position][axis] if len(inputs) > position and len(inputs[position]) > axis else 0


def _projected(past: int) -> Formula:
    """Of onnxruntime's Attention and QAttention, which project the input (batch, length, size) first."""

    def count(given: Given, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        (batch, length, _), weight = inputs[0], inputs[1]
        sizes = given.get("qkv_hidden_sizes") or [weight[1] // 3] * 3
        total = length + _past(inputs, past, 3)
        return 2 * batch * length * elements(weight) + 2 * batch * length * total * (sizes[0] + sizes[2])

    return count


def _heads(past: int) -> Formula:
    """Of onnxruntime's MultiHeadAttention: queries (batch, length, size), or all three packed."""

    def count(given: Given, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        query, key = (*inputs[:2], ())[:2]
        batch, length = query[:2]
        written = elements(outputs[0])
        if len(query) == 5:  # (batch, length, heads, 3, size)
            return 4 * written * length
        other = key[2] if len(key) == 4 else key[1] if key else length
        return 2 * batch * length * (other + _past(inputs, past)) * query[2] + 2 * written * (
            other + _past(inputs, past)
        )

    return count


def _grouped(given: Given, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Of onnxruntime's GroupQueryAttention: as much as if every head had keys of its own, over all that is cached."""
    length = inputs[0][1]
    cached = outputs[1][2] if len(outputs) > 1 and len(outputs[1]) == 4 else length + _past(inputs, 3)
    return 4 * elements(outputs[0]) * max(cached, length)


def _recurrent(given: Given, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Of all steps of a recurrent layer: X (steps, batch, inputs), W (directions, gates * hidden, inputs), R."""
    steps, batch = inputs[0][:2]
    return 2 * steps * batch * (elements(inputs[1]) + elements(inputs[2]))


def _einsum(given: Given, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Of a product by letters of dimensions, done at once; an ellipsis counts as one letter a dimension."""
    sizes: dict[str, int] = {}
    terms = str(given["equation"]).replace(" ", "").partition("->")[0].split(",")
    for term, shape in zip(terms, inputs, strict=True):
        hidden = len(shape) - len(term.replace("...", ""))
        letters = [*term.partition("...")[0], *(f"...{i}" for i in range(hidden)), *term.partition("...")[2]]
        sizes |= {letter: max(size, sizes.get(letter, 1)) for letter, size in zip(letters, shape, strict=True)}
    return len(inputs) * elements(tuple(sizes.values()))


def _normal(given: Given, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    return 8 * elements(outputs[0])


def _pricey(given: Given, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    return 4 * elements(outputs[0])


STANDARD: dict[str, Formula] = {
    "Gemm": _product(0, "transA", added=1), "MatMul": _product(0), "MatMulInteger": _product(0),
    "QLinearMatMul": _product(0), "Conv": _convolution(1), "ConvTranspose": _convolution(1, True),
    "ConvInteger": _convolution(1), "QLinearConv": _convolution(3), "DeformConv": _convolution(1),
    "Attention": _attention, "LSTM": _recurrent, "GRU": _recurrent, "RNN": _recurrent, "Einsum": _einsum,
}  # fmt: skip
MICROSOFT: dict[str, Formula] = {
    "FusedMatMul": _product(0, "transA"), "TransposeMatMul": _product(0, "transA"),
    "FusedMatMulActivation": _product(0, "transA"),
    "FusedGemm": _product(0, "transA", added=1), "GemmFastGelu": _product(0), "GemmFloat8": _product(0, "transA"),
    "QGemm": _product(0, "transA"), "MatMulNBits": _product(0), "MatMulBnb4": _product(0), "MatMulFpQ4": _product(0),
    "MatMulInteger16": _product(0), "MatMulIntegerToFloat": _product(0), "DynamicQuantizeMatMul": _product(0),
    "QLinearMatMul": _product(0), "FusedConv": _convolution(1), "NhwcFusedConv": _convolution(1),
    "NhwcConv": _convolution(1), "QLinearConv": _convolution(3), "QLinearConvTranspose": _convolution(3, True),
    "ConvTransposeWithDynamicPads": _convolution(1, True), "Attention": _projected(4), "QAttention": _projected(8),
    "MultiHeadAttention": _heads(6), "DecoderMaskedMultiHeadAttention": _heads(5), "GroupQueryAttention": _grouped,
    "SkipLayerNormalization": _normal, "SkipSimplifiedLayerNormalization": _normal, "EmbedLayerNormalization": _normal,
    "SimplifiedLayerNormalization": _normal, "GroupNorm": _normal, "SkipGroupNorm": _normal,
    "BiasGelu": _pricey, "FastGelu": _pricey, "QuickGelu": _pricey, "Gelu": _pricey, "BiasSplitGelu": _pricey,
    "QLinearSigmoid": _pricey, "QLinearSoftmax": _pricey, "BiasSoftmax": _pricey,
}  # fmt: skip
LIGHT = frozenset({  # of com.microsoft, 1 for each element written
    "BiasAdd", "BiasDropout", "RotaryEmbedding", "QuantizeLinear", "DequantizeLinear", "QLinearAdd", "QLinearMul",
    "QLinearLeakyRelu", "QLinearConcat", "QLinearAveragePool", "QLinearGlobalAveragePool", "Inverse", "Trilu", "Rfft",
    "Pad", "Unique", "ExpandDims", "CDist", "GatherND", "Range", "Sampling", "Tokenizer", "NhwcMaxPool",
}) - {"Inverse", "Rfft", "CDist", "Sampling", "Tokenizer"}  # fmt: skip


def formula(domain: str, kind: str) -> Formula | None:
    """How an operator's flops are counted; None if by its elements or not at all."""
    return (STANDARD if domain == "" else MICROSOFT if domain == "com.microsoft" else {}).get(kind)


def is_known(domain: str, kind: str) -> bool:
    """Whether a table tells what an operator computes; those of ONNX itself are left to the names of operators."""
    return domain == "" or (domain == "com.microsoft" and (kind in MICROSOFT or kind in LIGHT))
