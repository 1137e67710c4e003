"""What an operator costs: floating-point operations, bytes of memory traffic, and its class in the rules of fusion.

Names are those of PyTorch's `aten` operators. Flops follow the shipped graphs: twice the multiply-adds of products and
convolutions, 1 per element written otherwise, 4 where an exponential or its like is taken, 8 in normalisations, none
where data is only moved. An operator that is in no table counts 1 per element, is never fused, and is announced.
"""

from __future__ import annotations

from collections.abc import Sequence

from sysgym.dataflow.graphs.graph import ELEMENTWISE, HEAVY, NEVER, REDUCTION
from sysgym_zoo.tools.tracing.products import HEAVIES, Shape, elements, heavy_flops

LEAVES = frozenset({"param", "input", "const", "state"})  # they take no time
BAGS = frozenset({"_embedding_bag", "_embedding_bag_forward_only"})  # sums of rows of a table
UPDATES = {"sgd": (0, 2), "momentum": (1, 4), "adam": (2, 12)}  # states a parameter has, and flops per element
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
FREE = MOVES | SPLITS | {"_sparse_coo_tensor_with_dims_and_tensors", "cat", "stack", "embedding"}  # no flops
LIGHT = frozenset({
    "_to_copy", "arange", "ones", "full", "full_like", "new_full", "new_ones", "scalar_tensor", "gather", "cumsum",
    "where", "tril", "triu", *(f"{name}_update" for name in UPDATES),
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
    "_native_batch_norm_legit_no_training", "_fused_rms_norm_backward", "skip_layer_normalization",
    "skip_simplified_layer_normalization", "embed_layer_normalization", "simplified_layer_normalization", "group_norm",
    "skip_group_norm", "instance_normalization", "mean_variance_normalization", "lp_normalization",
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

FAMILIES = ("pool", "_loss", "_pad", "upsample", "index", "scatter", "grid_sampler", "_shuffle", "pixel_", "dropout",
            "rand", "batch_norm", "cross_entropy", "embedding")  # fmt: skip
LIGHTER = frozenset({  # 1 per element is about right
    "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "sort", "topk", "kthvalue", "median", "nanmedian", "mode",
    "take", "gather", "masked_scatter", "masked_select", "bernoulli", "normal", "uniform", "exponential", "multinomial",
    "linspace", "logspace", "eye", "tril_indices", "triu_indices", "tril", "triu", "diag_embed", "diag", "trace",
    "bucketize", "searchsorted", "unfold", "unfold_backward", "renorm", "glu", "mse_loss", "huber_loss", "histc",
    "bincount", "one_hot", "repeat_interleave", "polar", "complex", "view_as_real", "count_nonzero", "aminmax",
    "_prelu_kernel", "hardshrink", "softshrink", "rrelu_with_noise", "_local_scalar_dense", "_to_dense", "linalg_cross",
    "nonzero_static", "_assert_async", "_efficientzerotensor", "_conj_physical", "block_diag", "addr", "ger", "outer",
    "_masked_softmax", "_fused_dropout", "_weight_norm_interface", "copysign", "heaviside", "isin", "_chunk_cat",
    "resize", "set", "detach", "alias", "lift", "nan_to_num", "celu", "selu", "hardswish", "_sparse_sum",
    "shrink", "scatter", "non_max_suppression", "dequantize_linear", "quantize_linear", "dynamic_quantize_linear",
    "range", "size", "depth_to_space", "space_to_depth", "scatter_nd", "gather_nd", "lrn",
    "instance_normalization", "mean_variance_normalization", "lp_normalization", "lp_pool", "global_lp_pool",
    "reduce_sum_square", "reduce_l1", "reduce_log_sum", "reduce_log_sum_exp", "hardmax", "is_inf", "is_nan", "mod",
    "rotary_embedding", "eye_like", "compress", "reverse_sequence", "softmax_cross_entropy_loss", "bitwise_xor",
    "thresholded_relu", "xor", "bit_shift", "det", "unique", "affine_grid", "tensor_scatter", "bias_add",
    "bias_gelu", "fast_gelu", "quick_gelu", "bias_split_gelu",
    "bias_softmax", "qlinear_add", "qlinear_mul", "qlinear_leaky_relu", "qlinear_concat", "qlinear_sigmoid",
    "qlinear_softmax", "expand_dims", "bias_dropout",
})  # fmt: skip


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
        return heavy_flops(op, inputs, outputs, transposed)
    if op.removesuffix("_update") in UPDATES:
        return UPDATES[op.removesuffix("_update")][1] * elements(inputs[0])
    if op in BAGS:
        return elements(inputs[1]) * inputs[0][-1]
    most = max(written, sum(map(elements, inputs)))
    if op in NORMS:
        return 8 * most
    if op in PRICEY:
        return 4 * elements(outputs[0]) if outputs else 0
    if op in REDUCTIONS or "pool" in op or op.startswith("nll_loss") or op == "cumsum":
        return most
    return written


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


def is_known(op: str, pointwise: bool = False, reduction: bool = False) -> bool:
    """Whether what an operator computes is told by a table, or by the family that its name says it is of."""
    base = _base(op)
    tables = (LEAVES, HEAVIES, FREE, LIGHT, PRICEY, NORMS, REDUCTIONS, POINTWISE, LIGHTER)
    if pointwise or reduction or any(base in table for table in tables):
        return True
    if "." in base:  # of a library of one's own
        return False
    forward = base.removesuffix("_data").removesuffix("_backward").removesuffix("_forward")
    return forward in LIGHTER or (forward != base and is_known(forward)) or any(part in base for part in FAMILIES)
