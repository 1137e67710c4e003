"""Message passing in batches of graphs: stored sparse products on features (B, N, H), forward and backward.

The rows of a batch may stand on different graphs. Each graph is stored once, sorted by the target and by the source
of its edges, so that neither pass sorts, gathers a copy of the edges' features or scatters.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sysgym.compiled import njit
from sysgym.core.problem import Array
from sysgym_agents.learning.layers import SparseOperator, csr_tensor
from sysgym_agents.learning.layers import multiply as spread


class Csr(NamedTuple):
    """Sparse matrices of G graphs, row by row: entries ptr[g, v]..ptr[g, v + 1] of `column` and `value` are row v."""

    ptr: Array  # (G, N + 1) int64
    column: Array  # (G, E) int32
    value: Array  # (G, E) float32


class MeanOperator(NamedTuple):
    """The weighted mean over incoming edges in G graphs, and its transpose."""

    matrix: Csr
    transposed: Csr


@njit
def sort_edges(key: Array, other: Array, value: Array, mask: Array, nodes: int) -> tuple[Array, Array, Array]:
    """Counting sort of the real edges of G graphs by `key`; stable."""
    graphs, edges = key.shape
    ptr = np.zeros((graphs, nodes + 1), np.int64)
    column = np.zeros((graphs, edges), np.int32)
    sorted_value = np.zeros((graphs, edges), np.float32)
    for g in range(graphs):
        for e in range(edges):
            if mask[g, e]:
                ptr[g, key[g, e] + 1] += 1
        for v in range(nodes):
            ptr[g, v + 1] += ptr[g, v]
        place = ptr[g, :-1].copy()
        for e in range(edges):
            if mask[g, e]:
                at = place[key[g, e]]
                column[g, at], sorted_value[g, at] = other[g, e], value[g, e]
                place[key[g, e]] += 1
    return ptr, column, sorted_value


@njit
def _mean_weights(target: Array, weight: Array, mask: Array, nodes: int) -> Array:
    """Weights divided by the sum of those into the same target; 0 where that sum is 0."""
    value = np.zeros(weight.shape, np.float32)
    for g in range(len(target)):
        total = np.zeros(nodes, np.float32)
        for e in range(target.shape[1]):
            if mask[g, e]:
                total[target[g, e]] += weight[g, e]
        for e in range(target.shape[1]):
            if mask[g, e]:
                value[g, e] = weight[g, e] / max(total[target[g, e]], np.float32(1e-9))
    return value


@njit
def _multiply(ids: Array, ptr: Array, column: Array, value: Array, x: Array, out: Array) -> None:
    """out[b] = matrix of graph ids[b] times x[b]."""
    batch, nodes, width = x.shape
    for b in range(batch):
        g = ids[b]
        for v in range(nodes):
            for h in range(width):
                out[b, v, h] = 0.0
            for e in range(ptr[g, v], ptr[g, v + 1]):
                u, w = column[g, e], value[g, e]
                for h in range(width):
                    out[b, v, h] += w * x[b, u, h]


def mean_operator(edge_index: Array, weight: Array, mask: Array, nodes: int) -> MeanOperator:
    """Operators of G graphs: edge_index (G, 2, E) int, weight (G, E) float32, mask (G, E) of real edges, N nodes."""
    index = np.ascontiguousarray(edge_index, np.int32)
    source, target = np.ascontiguousarray(index[:, 0]), np.ascontiguousarray(index[:, 1])
    real = np.ascontiguousarray(mask).astype(np.bool_)
    value = _mean_weights(target, np.ascontiguousarray(weight, np.float32), real, nodes)
    return MeanOperator(
        Csr(*sort_edges(target, source, value, real, nodes)), Csr(*sort_edges(source, target, value, real, nodes))
    )


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: MeanOperator, ids: Array) -> Tensor:
        ctx.operator, ctx.ids = operator, ids
        out = torch.empty(x.shape, dtype=x.dtype)
        _multiply(ids, *operator.matrix, x.detach().contiguous().numpy(), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        operator: MeanOperator = ctx.operator
        turned = MeanOperator(operator.transposed, operator.matrix)
        product: Tensor = _Product.apply(grads[0], turned, ctx.ids)  # differentiable again: TRPO needs that
        return product, None, None


Parts = tuple[Tensor, Tensor, Tensor]  # of a Csr


def csr_on(matrix: Csr, device: torch.device) -> Parts:
    """The arrays of sparse matrices as tensors on a device."""
    ptr, column, value = (torch.from_numpy(part).to(device) for part in matrix)
    return ptr, column, value


def parts_on(operator: MeanOperator, device: torch.device) -> tuple[Parts, Parts]:
    """The arrays of an operator and of its transpose as tensors on a device, for `blocks`."""
    return csr_on(operator.matrix, device), csr_on(operator.transposed, device)


def blocks(parts: tuple[Parts, Parts], ids: Tensor) -> SparseOperator:
    """The matrices of graphs ids (B,) int64 as one block-diagonal operator of features (B * N, H), on their device."""
    return SparseOperator(*(_block(*matrix, ids) for matrix in parts))


def _block(ptr: Tensor, column: Tensor, value: Tensor, ids: Tensor) -> Tensor:
    device, nodes, count = ids.device, ptr.shape[1] - 1, ptr[ids, -1]
    first = count.cumsum(0) - count
    whole = torch.cat([(ptr[ids, :-1] + first[:, None]).reshape(-1), count.sum()[None]])
    real = torch.arange(column.shape[1], device=device) < count[:, None]
    shifted = column[ids] + torch.arange(len(ids), device=device)[:, None] * nodes
    return csr_tensor(whole.int(), shifted[real].int(), value[ids][real], len(ids) * nodes)


def multiply(operator: MeanOperator | SparseOperator, ids: Array, x: Tensor) -> Tensor:
    """Row b of features (B, N, H) times the matrix of graph ids[b], (B,) int64; differentiable in x, twice too.

    Away from the CPU the operator is the `blocks` of those graphs.
    """
    if isinstance(operator, SparseOperator):
        batch, nodes, width = x.shape
        return spread(operator, x.reshape(batch * nodes, width)).reshape(x.shape)
    product: Tensor = _Product.apply(x, operator, ids)
    return product


def scatter_multiply(operator: MeanOperator, ids: Array, x: Tensor) -> Tensor:
    """The same by gather and scatter, the slow way."""
    batch, nodes, width = x.shape
    ptr, column, value = (torch.from_numpy(part[ids]).to(x.device) for part in operator.matrix)
    real = torch.arange(column.shape[1], device=x.device) < ptr[:, -1:]
    first = torch.arange(batch, device=x.device)[:, None] * nodes
    target = torch.repeat_interleave(torch.arange(batch * nodes, device=x.device), ptr.diff(dim=1).reshape(-1))
    source, weight = (column.long() + first)[real], value[real][:, None]
    flat = x.reshape(batch * nodes, width)
    return torch.zeros_like(flat).index_add(0, target, flat[source] * weight).reshape(x.shape)
