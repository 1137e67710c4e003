"""What an operator costs: floating-point operations, bytes of memory traffic, and its class in the rules of fusion.

Names are those of PyTorch's `aten` operators. Flops follow the shipped graphs: twice the multiply-adds of products and
convolutions, 1 per element written otherwise, 4 where an exponential or its like is taken, 8 in normalisations, none
where data is only moved. An operator that is in no table counts 1 per element and is never fused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sysgym.dataflow.graphs.graph import ELEMENTWISE, HEAVY, NEVER, REDUCTION

Shape = tuple[int, ...]

LEAVES = frozenset({"param", "input", "const"})  # they take no time
CONVOLUTIONS = frozenset({"convolution", "convolution_overrideable", "_convolution"})
PRODUCTS = frozenset({"mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addmv", "addbmm", "_addmm_activation"})
HEAVIES = PRODUCTS | CONVOLUTIONS | {"convolution_backward"}
SPLITS = frozenset(
    {"split", "split_with_sizes", "unbind", "chunk", "unsafe_split", "unsafe_chunk"}
)  # several tensors from one
READ_PART = SPLITS | {"embedding", "slice", "select", "narrow"}  # they read no more than they write
MOVES = frozenset({
    "clone", "slice", "select", "narrow", "slice_backward", "select_backward", "slice_scatter", "select_scatter",
    "constant_pad_nd", "ones_like", "zeros", "zeros_like", "new_zeros", "new_empty", "new_empty_strided", "empty",
    "empty_like", "empty_strided", "copy", "copy_", "fill", "fill_", "zero_", "flip", "roll", "repeat", "as_strided",
    "diagonal", "im2col", "col2im",
})  # fmt: skip
FREE = MOVES | SPLITS | {"cat", "stack", "embedding"}  # no flops
LIGHT = frozenset({
    "_to_copy", "arange", "ones", "full", "full_like", "new_full", "new_ones", "scalar_tensor", "gather", "cumsum",
    "where", "sgd_update", "tril", "triu",
})  # fmt: skip
PRICEY = frozenset({
    "exp", "exp2", "expm1", "log", "log2", "log1p", "log10", "sqrt", "rsqrt", "pow", "div", "reciprocal", "sin", "cos",
    "tan", "erf", "erfc", "sigmoid", "tanh", "gelu", "silu", "mish", "softplus", "elu", "hardswish", "log_sigmoid",
    "log_sigmoid_forward", "sigmoid_backward", "tanh_backward", "gelu_backward", "silu_backward", "mish_backward",
    "softplus_backward", "elu_backward", "log_sigmoid_backward", "_softmax", "_log_softmax", "_safe_softmax",
    "_softmax_backward_data", "_log_softmax_backward_data", "sinh", "cosh", "atan", "atan2",
})  # fmt: skip
NORMS = frozenset({
    "native_batch_norm", "native_batch_norm_backward", "native_layer_norm", "native_layer_norm_backward",
    "native_group_norm", "native_group_norm_backward", "_native_batch_norm_legit", "_fused_rms_norm",
    "_native_batch_norm_legit_no_training", "_fused_rms_norm_backward",
})  # fmt: skip
REDUCTIONS = frozenset({
    "sum", "mean", "amax", "amin", "max", "min", "prod", "argmax", "argmin", "var", "var_mean", "std", "logsumexp",
    "linalg_vector_norm", "norm", "any", "all", "topk", "sort", "_softmax", "_log_softmax", "_safe_softmax",
    "_softmax_backward_data", "_log_softmax_backward_data",
})  # fmt: skip
POINTWISE = frozenset({
    "add", "sub", "rsub", "mul", "neg", "abs", "sign", "relu", "leaky_relu", "hardtanh", "hardsigmoid", "clamp", "eq",
    "ne", "lt", "le", "gt", "ge", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_not", "logical_and",
    "logical_or", "logical_not", "threshold_backward", "masked_fill", "floor", "ceil", "round", "trunc",
    "hardtanh_backward", "leaky_relu_backward", "mse_loss_backward", "square", "prelu", "lerp", "addcmul", "addcdiv",
}) | PRICEY - REDUCTIONS  # fmt: skip


def elements(shape: Shape) -> int:
    """Number of elements of a tensor."""
    return math.prod(shape)


def _base(op: str) -> str:
    """The name without the underscore of an in-place variant."""
    return op[:-1] if op.endswith("_") and not op.endswith("__") and op not in MOVES else op


def flops_of(op: str, inputs: Sequence[Shape], outputs: Sequence[Shape], transposed: bool = False) -> int:
    """Floating-point operations of an operator from the shapes of the tensors it reads and writes, in their order."""
    op = _base(op)
    written = sum(map(elements, outputs))
    if op in LEAVES or op in FREE:
        return 0
    if op in HEAVIES:
        return _heavy_flops(op, inputs, outputs, transposed)
    if op == "sgd_update":
        return 2 * elements(inputs[0])
    most = max(written, sum(map(elements, inputs)))
    if op in NORMS:
        return 8 * most
    if op in PRICEY:
        return 4 * elements(outputs[0]) if outputs else 0
    if op in REDUCTIONS or "pool" in op or op.startswith("nll_loss") or op == "cumsum":
        return most
    return written


def _heavy_flops(op: str, inputs: Sequence[Shape], outputs: Sequence[Shape], transposed: bool) -> int:
    """Flops of products and convolutions; what is added to a product counts 1 per element."""
    if op == "convolution_backward":  # of the input and of the weight, each as much as forward
        gradient, data, weight = inputs[:3]
        once = 2 * elements(data if transposed else gradient) * elements(weight) // max(1, weight[0])
        return once * sum(len(shape) > 1 for shape in outputs)
    if op in CONVOLUTIONS:
        data, weight = inputs[:2]
        return 2 * elements(data if transposed else outputs[0]) * elements(weight) // max(1, weight[0])
    added = op.startswith(("add", "badd", "_add"))
    inner = inputs[1 if added else 0][-1]
    written = elements(outputs[0])
    sums = inputs[1][0] if op == "addbmm" else 1
    return 2 * written * inner * sums + (written if added else 0)


def traffic_of(op: str, read: int, written: int) -> int:
    """Bytes of memory traffic from the bytes of the tensors read and written."""
    if op in LEAVES:
        return 0
    return 2 * written if op in READ_PART else read + written


def class_of(op: str, train: bool, pointwise: bool = False, reduction: bool = False) -> int:
    """Class in the rules of fusion. The flags say what is known of an operator that no table names.

    In training, a batch normalisation needs the whole batch before it can write anything, so it is never fused.
    """
    base = _base(op)
    if base in HEAVIES:
        return HEAVY
    if base in ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"):
        return NEVER if train else ELEMENTWISE
    if base in LEAVES or base in SPLITS or base in ("cat", "stack", "embedding") or "batch_norm" in base:
        return NEVER
    if base in REDUCTIONS or base in NORMS:
        return REDUCTION
    if base in MOVES or base in LIGHT or base in POINTWISE or pointwise:
        return ELEMENTWISE
    return REDUCTION if reduction else NEVER
