"""Products, convolutions, attention and what else is bound by arithmetic: floating-point operations from shapes.

Every formula counts twice the multiply-adds, as the shipped graphs do; what is added to a product counts 1 per element.
Names are those of PyTorch's `aten` operators, `quantized.linear` those of other families.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Shape = tuple[int, ...]
Shapes = Sequence[Shape]

CONVOLUTIONS = frozenset({
    "convolution", "convolution_overrideable", "_convolution", "_convolution_mode", "cudnn_convolution",
    "mkldnn_convolution", "miopen_convolution", "_slow_conv2d_forward", "slow_conv3d_forward", "slow_conv_dilated2d",
    "slow_conv_dilated3d", "conv_depthwise3d", "_conv_depthwise2d", "conv1d", "conv2d", "conv3d", "_trilinear",
    *(f"quantized.conv{d}d{more}" for d in (1, 2, 3) for more in ("", "_relu", "_dynamic")),
})  # fmt: skip
ADDING = frozenset({"addmm", "baddbmm", "addmv", "addbmm", "_addmm_activation", "sparse_addmm"})
PRODUCTS = ADDING | frozenset({
    "mm", "bmm", "mv", "dot", "vdot", "matmul", "linear", "_int_mm", "_scaled_mm", "_scaled_mm_v2", "_grouped_mm",
    "_scaled_grouped_mm", "_scaled_grouped_mm_v2", "_weight_int8pack_mm", "_weight_int4pack_mm",
    "_weight_int4pack_mm_for_cpu", "_weight_int4pack_mm_with_scales_and_zeros", "_dyn_quant_matmul_4bit",
    "_wrapped_quantized_linear_prepacked", "_sparse_semi_structured_mm", "_sparse_semi_structured_linear",
    "_cslt_sparse_mm",
    *(f"quantized.linear{more}" for more in ("", "_relu", "_dynamic", "_relu_dynamic", "_dynamic_fp16",
                                             "_leaky_relu", "_tanh", "_with_input_q_dq_qweight_dq_output_fp32")),
})  # fmt: skip
DECOMPOSITIONS: dict[str, Callable[[int, int], float]] = {  # of a matrix (n, n), and k columns of a right-hand side
    "linalg_inv_ex": lambda n, k: 2 * n**3, "inverse": lambda n, k: 2 * n**3,
    "linalg_cholesky_ex": lambda n, k: n**3 / 3, "cholesky": lambda n, k: n**3 / 3,
    "linalg_lu_factor_ex": lambda n, k: 2 * n**3 / 3, "linalg_lu": lambda n, k: 2 * n**3 / 3,
    "_linalg_det": lambda n, k: 2 * n**3 / 3, "_linalg_slogdet": lambda n, k: 2 * n**3 / 3,
    "_linalg_solve_ex": lambda n, k: 2 * n**3 / 3 + 2 * n**2 * k,
    "linalg_solve_triangular": lambda n, k: n**2 * k, "triangular_solve": lambda n, k: n**2 * k,
    "linalg_lu_solve": lambda n, k: 2 * n**2 * k, "cholesky_solve": lambda n, k: 2 * n**2 * k,
    "cholesky_inverse": lambda n, k: 2 * n**3 / 3,
}  # fmt: skip
ATTENTIONS = frozenset({
    "scaled_dot_product_attention", "_scaled_dot_product_attention_math", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_attention_math_for_mps",
})  # fmt: skip
ATTENTIONS_BACKWARD = frozenset(
    f"{name}_backward" for name in ATTENTIONS if name.startswith("_scaled")
)  # the gradient comes first
DISTANCES = frozenset({"_cdist_forward", "_euclidean_dist"})
ONNX = frozenset({  # their flops come with them
    "einsum", "lstm", "gru", "rnn", "attention", "mat_mul_integer", "qlinear_mat_mul", "conv_integer", "qlinear_conv",
    "deform_conv", "fused_mat_mul", "transpose_mat_mul", "fused_mat_mul_activation", "fused_gemm", "gemm_fast_gelu",
    "gemm_float8", "qgemm", "mat_mul_nbits", "mat_mul_bnb4", "mat_mul_fp_q4", "mat_mul_integer16",
    "mat_mul_integer_to_float", "dynamic_quantize_mat_mul", "fused_conv", "nhwc_fused_conv", "nhwc_conv",
    "qlinear_conv_transpose", "conv_transpose_with_dynamic_pads", "qattention", "multi_head_attention",
    "decoder_masked_multi_head_attention", "group_query_attention",
})  # fmt: skip
HEAVIES = (
    PRODUCTS | CONVOLUTIONS | ATTENTIONS | ATTENTIONS_BACKWARD | DISTANCES | set(DECOMPOSITIONS)
    | {"convolution_backward"} | ONNX
)  # fmt: skip


def elements(shape: Shape) -> int:
    """Number of elements of a tensor."""
    return math.prod(shape)


def heavy_flops(op: str, inputs: Shapes, outputs: Shapes, transposed: bool = False) -> int:
    """Flops of one of HEAVIES from the shapes of its tensors, in the order of its arguments, repeated ones repeated.

    >>> heavy_flops("addmm", [(2,), (3, 4), (4, 2)], [(3, 2)])
    54
    """
    if op == "convolution_backward":  # of the input and of the weight, each as much as forward
        gradient, data, weight = inputs[:3]
        once = 2 * elements(data if transposed else gradient) * elements(weight) // max(1, weight[0])
        return once * sum(len(shape) > 1 for shape in outputs)
    if op in CONVOLUTIONS:
        data, weight = inputs[:2]
        return 2 * elements(data if transposed else outputs[0]) * elements(weight) // max(1, weight[0])
    if op in ATTENTIONS:
        return attention_flops(*inputs[:3])
    if op in ATTENTIONS_BACKWARD:  # the scores once more, and the gradients of them, queries, keys and values
        query, key, value = inputs[1:4]
        return 2 * elements(query[:-1]) * key[-2] * (3 * query[-1] + 2 * value[-1])
    if op in DISTANCES:
        return (2 if op == "_euclidean_dist" else 3) * elements(outputs[0]) * inputs[0][-1]
    if op in DECOMPOSITIONS:
        return _decomposed(op, inputs)
    return _product(op, inputs, outputs)


def attention_flops(query: Shape, key: Shape, value: Shape) -> int:
    """Flops of both products of attention: query (..., S, E), key (..., L, E), value (..., L, V)."""
    return 2 * elements(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _product(op: str, inputs: Shapes, outputs: Shapes) -> int:
    """Flops of a product of two factors, which in ADDING come after what is added."""
    added = op in ADDING
    first, second = inputs[1 if added else 0], inputs[2 if added else 1] if len(inputs) > 1 + added else ()
    written = elements(outputs[0])
    sums = first[0] if op == "addbmm" else 1
    if op in ("_grouped_mm", "_scaled_grouped_mm") and len(first) == len(second) == 2 and len(outputs[0]) == 3:
        return 2 * written // max(1, outputs[0][0]) * first[-1]  # the groups share the dimension that is summed
    return 2 * written * (first[-1] if first else 1) * sums + (written if added else 0)


def _decomposed(op: str, inputs: Shapes) -> int:
    """Flops of a factorisation or a solution, times the matrices of a batch."""
    square = next((shape for shape in inputs if len(shape) > 1 and shape[-1] == shape[-2]), inputs[0])
    other = next((shape for shape in inputs if shape is not square and len(shape) > 1), ())
    columns = other[-1] if other else 1
    return round(DECOMPOSITIONS[op](square[-1], columns) * elements(square[:-2]))
