"""Workloads: networks as graphs of regions, which are what an accelerator is designed for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sysgym.core.problem import Array

CONV, DWCONV, MATMUL, BMM, LSTM, VECTOR, SOFTMAX = range(7)
KINDS = ("conv", "dwconv", "matmul", "bmm", "lstm", "vector", "softmax")
G, H, W, P, Q, C, K, R, S, STRIDE, STEPS = range(11)  # columns of `shape`
COLUMNS = ("G", "H", "W", "P", "Q", "C", "K", "R", "S", "stride", "steps")


@dataclass(frozen=True, eq=False, repr=False)
class Workloads:
    """One network or several, whose regions stand one network after the other; all counts are per item (batch 1).

    A region is at most one matrix operator with the element-wise operators before and after it fused. `shape` names its
    groups G, input H x W, output P x Q, channels C and filters K of a group, kernel R x S, stride and sequential steps;
    a matrix product has its rows in P. A tensor that nothing produces is an input of its network.
    """

    name: str
    kind: Array  # (R,) int8, rows of KINDS
    shape: Array  # (R, 11) int64, columns COLUMNS
    weights: Array  # (R,) int64 elements, biases not counted
    vec_ops: Array  # (R,) int64 element operations of what is fused
    in_ptr: Array  # (R+1,) int64, region r reads in_tensor[in_ptr[r] : in_ptr[r + 1]]
    in_tensor: Array  # (I,) int64, each once a region; of a `bmm` the moving one first, then the stationary one
    out: Array  # (R,) int64, the tensor that a region writes
    elems: Array  # (T,) int64 elements of a tensor
    producer: Array  # (T,) int64, the region that writes it, or -1
    first: Array  # (M+1,) int64, the regions of network m are first[m] : first[m + 1]
    networks: tuple[str, ...] = field(default=(), metadata={"hashed": False})
    regions: tuple[str, ...] = field(default=(), metadata={"hashed": False})  # names
    params: tuple[int, ...] = field(default=(), metadata={"hashed": False})  # of each network, all of its values

    def __repr__(self) -> str:
        """One line."""
        return f"<Workloads {self.name}: {len(self.networks)} networks, {len(self.kind)} regions>"

    @cached_property
    def macs(self) -> Array:
        """Multiply-adds of each region, (R,) int64; 0 of vector regions."""
        columns = self.shape[:, [G, P, Q, C, K, R, S, STEPS]]
        matrix = ~np.isin(self.kind, (VECTOR, SOFTMAX))
        return np.asarray(np.where(matrix, columns.prod(axis=1), 0))

    @cached_property
    def network(self) -> Array:
        """The network of each region, (R,) int64."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))

    @cached_property
    def consumers(self) -> tuple[Array, Array]:
        """The regions that read each tensor in order of execution: rows `ptr` (T+1,) and `region` (I,), int64."""
        regions = np.repeat(np.arange(len(self.kind)), np.diff(self.in_ptr))
        order = np.argsort(self.in_tensor, kind="stable")
        counts = np.bincount(self.in_tensor, minlength=len(self.elems))
        return np.concatenate([[0], np.cumsum(counts)]), regions[order]


def joined(name: str, parts: list[Workloads]) -> Workloads:
    """Several workloads as one instance."""
    tensors = np.cumsum([0, *(len(part.elems) for part in parts)])
    regions = np.cumsum([0, *(len(part.kind) for part in parts)])
    reads = np.cumsum([0, *(len(part.in_tensor) for part in parts)])
    producer = [np.where(part.producer < 0, -1, part.producer + r) for part, r in zip(parts, regions[:-1], strict=True)]
    return Workloads(
        name=name,
        kind=np.concatenate([part.kind for part in parts]),
        shape=np.concatenate([part.shape for part in parts]),
        weights=np.concatenate([part.weights for part in parts]),
        vec_ops=np.concatenate([part.vec_ops for part in parts]),
        in_ptr=np.concatenate([[0], *(part.in_ptr[1:] + i for part, i in zip(parts, reads[:-1], strict=True))]),
        in_tensor=np.concatenate([part.in_tensor + t for part, t in zip(parts, tensors[:-1], strict=True)]),
        out=np.concatenate([part.out + t for part, t in zip(parts, tensors[:-1], strict=True)]),
        elems=np.concatenate([part.elems for part in parts]),
        producer=np.concatenate(producer),
        first=np.concatenate([[0], *(part.first[1:] + r for part, r in zip(parts, regions[:-1], strict=True))]),
        networks=tuple(name for part in parts for name in part.networks),
        regions=tuple(name for part in parts for name in part.regions),
        params=tuple(count for part in parts for count in part.params),
    )
