"""Products of rows and weights whose bits do not depend on how many rows there are.

BLAS sums a row of a product in another order when the number of rows changes. Here rows are multiplied in blocks of
`ROWS`, the last one filled with zeros, and wide weights in slices of at most `COLUMNS`: the library sees products of
one shape only (small ones, for which its kernels are fastest). In larger blocks the bits may depend on a row's place:
those of 16 rows do with OpenBLAS's kernels for Haswell and Zen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sysgym.core.problem import Array

ROWS = 4
COLUMNS = 600


class Linear(NamedTuple):
    """A weight and a bias, cut for `product`."""

    slices: Array  # (C, inputs, m) float32; C m >= outputs, zeros behind
    bias: Array | None  # (outputs,) float32
    outputs: int


def linear(weight: Array, bias: Array | None = None) -> Linear:
    """x -> weight x + bias for a weight of (outputs, inputs)."""
    outputs, inputs = weight.shape
    count = max(1, -(-outputs // COLUMNS))
    wide = -(-outputs // count)
    whole = np.zeros((count * wide, inputs), dtype=np.float32)
    whole[:outputs] = weight
    slices = np.ascontiguousarray(whole.reshape(count, wide, inputs).transpose(0, 2, 1))
    return Linear(slices, None if bias is None else np.ascontiguousarray(bias, dtype=np.float32), outputs)


def weight_of(layer: Linear) -> Array:
    """The weight (outputs, inputs) that `linear` cut."""
    inputs = layer.slices.shape[1]
    found: Array = layer.slices.transpose(0, 2, 1).reshape(-1, inputs)[: layer.outputs]
    return found


def product(x: Array, layer: Linear) -> Array:
    """Rows (N, inputs) float32 through a layer: (N, outputs) float32."""
    count, (slices, inputs, wide) = len(x), layer.slices.shape
    blocks = max(1, -(-count // ROWS))
    if count != blocks * ROWS or not x.flags.c_contiguous:
        rows = np.zeros((blocks * ROWS, inputs), dtype=np.float32)
        rows[:count] = x
    else:
        rows = x
    out = np.empty((blocks * ROWS, slices * wide), dtype=np.float32)
    if slices == 1:
        np.matmul(rows.reshape(blocks, ROWS, inputs), layer.slices[0], out=out.reshape(blocks, ROWS, wide))
    else:
        cut = out.reshape(blocks, ROWS, slices, wide).transpose(0, 2, 1, 3)
        np.matmul(rows.reshape(blocks, 1, ROWS, inputs), layer.slices, out=cut)
    found: Array = out[:count, : layer.outputs]
    if layer.bias is not None:
        found += layer.bias
    return found


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without an overflow."""
    found: Array = np.tanh(x * np.float32(0.5))
    found *= np.float32(0.5)
    found += np.float32(0.5)
    return found


def log_softmax(logits: Array) -> Array:
    """Log-probabilities (N, V) of logits, each row by itself."""
    found: Array = logits - logits.max(axis=1, keepdims=True)
    found -= np.log(np.exp(found).sum(axis=1, keepdims=True))
    return found
