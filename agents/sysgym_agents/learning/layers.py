"""Sparse message passing: a graph as a fixed operator on node-major features, and a GraphSAGE layer on top of it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.core.errors import unknown
from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph

NORMS = ("none", "row", "symmetric")


class SparseOperator(NamedTuple):
    """A fixed sparse matrix and its transpose, (N, N) torch CSR each. Features (N, H) pass through `multiply`."""

    matrix: Tensor
    transposed: Tensor

    def to(self, device: torch.device) -> SparseOperator:
        """The same on a device."""
        if self.matrix.device == device:
            return self
        matrix = _moved(self.matrix, device)
        return SparseOperator(matrix, matrix if self.transposed is self.matrix else _moved(self.transposed, device))


class _Multiply(torch.autograd.Function):
    """A x forward, A^T g backward; both matrices are stored, so that no step transposes or sorts."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: SparseOperator) -> Tensor:
        ctx.operator = operator
        return operator.matrix @ x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        reverse = SparseOperator(ctx.operator.transposed, ctx.operator.matrix)
        return multiply(reverse, grads[0].contiguous()), None


def multiply(operator: SparseOperator, x: Tensor) -> Tensor:
    """The operator applied to node features (N, H) of its dtype, differentiable in x."""
    product: Tensor = _Multiply.apply(x, operator)
    return product


def _csr(graph: Graph, values: Array, dtype: torch.dtype) -> Tensor:
    """The graph's pattern with the given values (2m,) as a torch CSR matrix; int32 indices take the fast kernels."""
    ptr, column = torch.from_numpy(graph.xadj.astype(np.int32)), torch.from_numpy(graph.adjncy.astype(np.int32))
    return csr_tensor(ptr, column, torch.from_numpy(values).to(dtype), graph.nodes)


def csr_tensor(ptr: Tensor, column: Tensor, value: Tensor, nodes: int) -> Tensor:
    """A square torch CSR matrix on the device of its parts; that they are one is the caller's to know."""
    with warnings.catch_warnings():  # the first since torch 2.11, whatever `check_invariants` says
        for message in ("Sparse invariant checks are implicitly disabled", "Sparse CSR tensor support is in beta"):
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        return torch.sparse_csr_tensor(ptr, column, value, size=(nodes, nodes), check_invariants=False)


def _moved(matrix: Tensor, device: torch.device) -> Tensor:
    """A CSR matrix on a device, made from its parts: torch would warn where it copies the whole."""
    ptr, column, value = matrix.crow_indices(), matrix.col_indices(), matrix.values()
    return csr_tensor(ptr.to(device), column.to(device), value.to(device), matrix.shape[0])


def graph_operator(graph: Graph, norm: str = "row", dtype: torch.dtype = torch.float32) -> SparseOperator:
    """The graph as an operator: A ("none"), D^-1 A ("row", the mean over neighbours) or D^-1/2 A D^-1/2 ("symmetric").

    A holds the edge weights, D the weighted degrees. The row of an isolated node is zero.
    """
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    weight, degree = graph.adjwgt.astype(np.float64), np.maximum(graph.degree, 1).astype(np.float64)
    if norm == "row":
        forward = _csr(graph, weight / degree[graph.sources], dtype)
        return SparseOperator(forward, _csr(graph, weight / degree[graph.adjncy], dtype))
    if norm == "symmetric":
        weight = weight / np.sqrt(degree[graph.sources] * degree[graph.adjncy])
    matrix = _csr(graph, weight, dtype)
    return SparseOperator(matrix, matrix)


def stack_graphs(graphs: Sequence[Graph]) -> tuple[Graph, Array]:
    """One block-diagonal graph of several, and the index of the graph that each node is from, (N,) int64.

    Operators of the stack act on concatenated features as those of the parts would.
    """
    sizes = np.array([graph.nodes for graph in graphs], np.int64)
    entries = np.array([len(graph.adjncy) for graph in graphs], np.int64)
    first_node, first_entry = np.cumsum(sizes) - sizes, np.cumsum(entries) - entries
    xadj = [graph.xadj[:-1] + first for graph, first in zip(graphs, first_entry, strict=True)]
    adjncy = [graph.adjncy + first for graph, first in zip(graphs, first_node, strict=True)]
    stacked = Graph(
        name="+".join(graph.name for graph in graphs),
        xadj=np.concatenate([*xadj, [entries.sum()]]).astype(np.int64),
        adjncy=np.concatenate([*adjncy, np.zeros(0)]).astype(np.int32),
        adjwgt=np.concatenate([graph.adjwgt for graph in graphs] or [np.zeros(0, np.int64)]),
        vwgt=np.concatenate([graph.vwgt for graph in graphs] or [np.zeros(0, np.int64)]),
    )
    return stacked, np.repeat(np.arange(len(graphs)), sizes)


class SAGEConv(nn.Module):
    """GraphSAGE with the mean aggregator (Hamilton et al., arXiv 1706.02216, algorithm 1): W_self h + W_near mean."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.own = nn.Linear(width_in, width_out)
        self.near = nn.Linear(width_in, width_out, bias=False)

    def forward(self, x: Tensor, mean: SparseOperator) -> Tensor:
        """Features (N, width_in) to (N, width_out); `mean` is the operator of norm "row"."""
        return self.own(x) + self.near(multiply(mean, x))
