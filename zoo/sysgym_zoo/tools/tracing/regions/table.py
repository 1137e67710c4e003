"""What an operator is to an accelerator, and how many vector operations it takes."""

from __future__ import annotations

from sysgym.accelerator_design.workloads.builder import ADD, LSTM_CELL, MUL, RELU, SIGMOID, TANH
from sysgym.core.errors import UsageError
from sysgym_zoo.tools.tracing import ops
from sysgym_zoo.tools.tracing.regions.tape import Step

POINTWISE, FREE, REDUCE, POOL, NORM, BATCH_NORM, SOFTMAX = (
    "pointwise",
    "free",
    "reduce",
    "pool",
    "norm",
    "bn",
    "softmax",
)
MATMUL, CONV, ATTENTION, RECURRENT, LOOKUP = "matmul", "conv", "attention", "recurrent", "lookup"
NORM_OPS, BATCH_NORM_OPS, SOFTMAX_OPS = 6, 2, 5  # an element
GATED = 4  # of `glu`, an element written: a sigmoid and a product
OPS = {  # an element
    **dict.fromkeys(("add", "sub", "rsub", "mul", "neg", "square", "relu", "relu6", "hardtanh", "clamp", "clamp_min",
                     "masked_fill", "where", "threshold", "sum"), 1),
    "silu": 4, "sigmoid": 3, "tanh": 3, "gelu": 8, "glu": GATED,
}  # fmt: skip
CELLS = {  # products of a cell, and vector operations of each of its numbers a step, what is added to them included
    "lstm": (4, LSTM_CELL + 4 * ADD), "gru": (3, 2 * SIGMOID + TANH + 3 * MUL + 2 * ADD + 3 * ADD),
    "rnn_tanh": (1, TANH + ADD), "rnn_relu": (1, RELU + ADD),
}  # fmt: skip
MOVED = ops.MOVES | ops.SPLITS | {  # layout and copies, which an accelerator's memories do on the way
    "_to_copy", "cat", "stack", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "_unsafe_view", "unfold",
    "alias", "lift_fresh", "lift_fresh_copy", "contiguous", "pad", "reflection_pad2d", "replication_pad2d",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_unsafe_index", "index", "index_select",
    "gather", "repeat_interleave", "expand", "_reshape_copy", "index_put", "_index_put_impl", "view_as_real",
    "view_as_complex", "depth_to_space", "space_to_depth", "copy", "detach", "concat", "slice", "split", "transpose",
}  # fmt: skip
REDUCTIONS = frozenset({"sum", "mean", "amax", "amin", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "max", "min",
                        "adaptive_max_pool2d", "adaptive_max_pool3d"})  # fmt: skip
GUESSED = frozenset({"prod", "var", "var_mean", "std", "linalg_vector_norm", "norm", "logsumexp", "any", "all",
                     "argmax", "argmin", "cumsum", "reduce_sum_square", "reduce_l1"})  # fmt: skip
AVERAGES = frozenset({"avg_pool1d", "avg_pool2d", "avg_pool3d"})
MAXIMA = frozenset(
    {"max_pool2d_with_indices", "max_pool3d_with_indices", "max_pool1d", "max_pool2d", "mkldnn_max_pool2d"}
)
OWN_STATISTICS = "norm_of_own_statistics"  # a batch or instance normalisation by what the data themselves are
NORMS = frozenset({"native_layer_norm", "native_group_norm", "_fused_rms_norm", "rms_norm", "layer_norm", "group_norm",
                   "instance_norm", "instance_normalization", OWN_STATISTICS, "skip_layer_normalization",
                   "simplified_layer_normalization"})  # fmt: skip
BATCH_NORMS = frozenset({"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
                         "_native_batch_norm_legit", "_batch_norm_no_update"})  # fmt: skip
SOFTMAXES = frozenset({"_softmax", "_safe_softmax", "softmax", "_log_softmax"})
LOOKUPS = frozenset({"embedding", "index", "index_select", "gather", "_unsafe_index", "take"})


def role_of(step: Step, constant_table: bool) -> str:
    """What a step is; `constant_table`: the first value it reads is constant. UsageError for what has no place."""
    op = step.op
    if step.free:
        return FREE
    if op in LOOKUPS:
        return LOOKUP if constant_table else FREE
    if op in (MATMUL, CONV, ATTENTION, RECURRENT):
        return op
    for names, role in (
        (SOFTMAXES, SOFTMAX), (NORMS, NORM), (BATCH_NORMS, BATCH_NORM), (MAXIMA | AVERAGES, POOL),
        (REDUCTIONS | GUESSED, REDUCE), (MOVED, FREE),
    ):  # fmt: skip
        if op in names:
            return role
    if op in OPS or step.pointwise or op in ops.POINTWISE:
        return POINTWISE
    where = f" (in {step.layer})" if step.layer else ""
    raise UsageError(
        f"operator {op}{where} has no place in a region: it is no product, convolution, attention, recurrent layer, "
        "pooling, normalisation, softmax or element-wise operator; take it out of the model, or trace the parts before "
        "and after it."
    )


def each(step: Step, role: str) -> int:
    """Vector operations an element: written, or read where a reduction, normalisation or softmax reads all of it."""
    if role == RECURRENT:
        return CELLS[step.given["cell"]][1]
    known = {NORM: NORM_OPS, BATCH_NORM: BATCH_NORM_OPS, SOFTMAX: SOFTMAX_OPS, POINTWISE: OPS.get(step.op, 1)}
    return known.get(role, 1)


def is_told(op: str) -> bool:
    """Whether the model's table of vector operations has an operator or cell; the others count by rules of our own."""
    return op in TOLD


TOLD = AVERAGES | MAXIMA | BATCH_NORMS | REDUCTIONS - {"amin", "min"} | SOFTMAXES - {"_log_softmax"} | {
    "add", "mul", "relu", "silu", "sigmoid", "tanh", "gelu", "native_layer_norm", "layer_norm", "lstm",
}  # fmt: skip
