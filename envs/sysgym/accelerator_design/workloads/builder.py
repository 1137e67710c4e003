"""Regions one after the other, with the shapes that they leave behind."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from sysgym.accelerator_design.instance import (
    BMM,
    CONV,
    DWCONV,
    KINDS,
    LSTM,
    MATMUL,
    SOFTMAX,
    VECTOR,
    Workloads,
)
from sysgym.core.errors import UsageError, shortened

BIAS, RELU, SWISH, SIGMOID, TANH, GELU, ADD, MUL, SOFTMAX_OPS, LAYER_NORM, LSTM_CELL = 1, 1, 4, 3, 3, 8, 1, 1, 5, 6, 12
MOST, MOST_MACS = 2**44, 2**60  # of any size and of what a tensor holds; of the multiply-adds of a region
BATCH_NORM = 2  # where it is not folded into weights and bias


@dataclass(frozen=True)
class Tensor:
    """What a region writes: channels last."""

    id: int
    shape: tuple[int, ...]

    @property
    def elems(self) -> int:
        """Number of elements of an item."""
        return math.prod(self.shape)


@dataclass
class Builder:
    """Collects the regions of one network."""

    name: str
    rows: list[tuple[int, ...]] = field(default_factory=list)  # kind, then COLUMNS
    weights: list[int] = field(default_factory=list)
    vec_ops: list[int] = field(default_factory=list)
    reads: list[list[int]] = field(default_factory=list)
    out: list[int] = field(default_factory=list)
    regions: list[str] = field(default_factory=list)
    elems: list[int] = field(default_factory=list)
    producer: list[int] = field(default_factory=list)
    params: int = 0  # all values of the model: weights, biases, four values a channel of batch normalisation

    def input(self, *shape: int) -> Tensor:
        """A tensor that nothing here produces."""
        return self._tensor(shape, -1)

    def _tensor(self, shape: tuple[int, ...], producer: int) -> Tensor:
        made = Tensor(len(self.elems), shape)
        self.elems.append(made.elems)
        self.producer.append(producer)
        return made

    def region(
        self, kind: int, name: str, inputs: list[Tensor], shape: tuple[int, ...], dims: tuple[int, ...], *,
        weights: int = 0, vec_ops: int = 0, extra: int = 0,
    ) -> Tensor:  # fmt: skip
        """Add a region: its kind, inputs, output shape, `dims` as in COLUMNS; `extra` values of biases and norms."""
        self.rows.append((kind, *dims))
        self.weights.append(weights)
        self.vec_ops.append(vec_ops)
        self.reads.append(list(dict.fromkeys(tensor.id for tensor in inputs)))
        self.regions.append(name)
        self.params += weights + extra
        made = self._tensor(shape, len(self.rows) - 1)
        self.out.append(made.id)
        return made

    def conv(
        self, name: str, x: Tensor, filters: int, kernel: int = 1, stride: int = 1, *, norm: bool = True, ops: int = 1,
        more: list[Tensor] | None = None, extra_ops: int = 0, same: bool = True,
    ) -> Tensor:  # fmt: skip
        """A convolution with a bias, folded from a batch normalisation where `norm`; `ops` an output element."""
        high, wide, channels = x.shape
        p, q = (-(-high // stride), -(-wide // stride)) if same else (high - kernel + 1, wide - kernel + 1)
        dims = (1, high, wide, p, q, channels, filters, kernel, kernel, stride, 1)
        return self.region(
            CONV, name, [x, *(more or [])], (p, q, filters), dims, weights=channels * filters * kernel**2,
            vec_ops=p * q * filters * ops + extra_ops, extra=filters * (4 if norm else 1),
        )  # fmt: skip

    def valid_conv(self, name: str, x: Tensor, filters: int, kernel: tuple[int, int], stride: int) -> Tensor:
        """A convolution without padding or bias, its output rounded up as SCALE-Sim does."""
        (high, wide, channels), (r, s) = x.shape, kernel
        p, q = (-(-(size - k + stride) // stride) for size, k in ((high, r), (wide, s)))
        dims = (1, high, wide, p, q, channels, filters, r, s, stride, 1)
        return self.region(CONV, name, [x], (p, q, filters), dims, weights=channels * filters * r * s)

    def depthwise(self, name: str, x: Tensor, kernel: int, stride: int, ops: int) -> Tensor:
        """A depthwise convolution with folded batch normalisation."""
        high, wide, channels = x.shape
        p, q = -(-high // stride), -(-wide // stride)
        dims = (channels, high, wide, p, q, 1, 1, kernel, kernel, stride, 1)
        return self.region(
            DWCONV, name, [x], (p, q, channels), dims, weights=channels * kernel**2, vec_ops=p * q * channels * ops,
            extra=4 * channels,
        )  # fmt: skip

    def matmul(
        self, name: str, x: Tensor, filters: int, ops: int = BIAS, *, rows: int = 1, more: list[Tensor] | None = None,
        bias: int | None = None, channels: int | None = None, flat: bool = False,
    ) -> Tensor:  # fmt: skip
        """A matrix product with a bias: `rows` by the last dimension of x (or `channels`) by `filters`."""
        depth = channels or x.shape[-1]
        dims = (1, rows, 1, rows, 1, depth, filters, 1, 1, 1, 1)
        shape = (rows, filters) if rows > 1 or flat else (1, 1, filters)
        return self.region(
            MATMUL, name, [x, *(more or [])], shape, dims, weights=depth * filters, vec_ops=rows * filters * ops,
            extra=filters if bias is None else bias,
        )  # fmt: skip

    def product(
        self, name: str, moving: Tensor, stationary: Tensor, groups: int, sizes: tuple[int, int, int], ops: int = 0,
        merged: bool = False,
    ) -> Tensor:  # fmt: skip
        """A batched product of two activations, `sizes` rows, depth and columns of each group."""
        rows, depth, columns = sizes
        shape = (rows, groups * columns) if merged else (groups, rows, columns)
        dims = (groups, rows, 1, rows, 1, depth, columns, 1, 1, 1, 1)
        return self.region(BMM, name, [moving, stationary], shape, dims, vec_ops=groups * rows * columns * ops)

    def lstm(self, name: str, x: Tensor, hidden: int) -> Tensor:
        """The recurrent half of an LSTM layer, one step after the other over the rows of x, the input half."""
        steps = x.shape[0]
        dims = (1, 1, 1, 1, 1, hidden, 4 * hidden, 1, 1, 1, steps)
        ops = steps * hidden * (LSTM_CELL + 4 * ADD)
        return self.region(LSTM, name, [x], (steps, hidden), dims, weights=4 * hidden**2, vec_ops=ops)

    def vector(self, name: str, inputs: list[Tensor], shape: tuple[int, ...], vec_ops: int, extra: int = 0) -> Tensor:
        """Element-wise operators alone."""
        return self.region(VECTOR, name, inputs, shape, (1,) * 11, vec_ops=vec_ops, extra=extra)

    def softmax(self, name: str, x: Tensor) -> Tensor:
        """A softmax over the last dimension."""
        return self.region(SOFTMAX, name, [x], x.shape, (1,) * 11, vec_ops=SOFTMAX_OPS * x.elems)

    def finish(self) -> Workloads:
        """The network as an instance; UsageError where a region is beyond any machine."""
        if not self.rows:
            raise UsageError(f"{shortened(self.name, 200)} has no region: nothing in it is computed.")
        for name, row, reads, weights in zip(self.regions, self.rows, self.reads, self.weights, strict=True):
            largest = max(*row, weights, *(self.elems[tensor] for tensor in reads))
            if largest > MOST or math.prod(row[i] for i in (1, *range(4, 10), 11)) > MOST_MACS:
                raise UsageError(
                    f"region {shortened(name, 60)!r} of {shortened(self.name, 200)} is larger than any machine could "
                    f"run: sizes go to {MOST:.3g}, multiply-adds to {MOST_MACS:.3g}."
                )
        if max(self.elems) > MOST:
            raise UsageError(f"a tensor of {shortened(self.name, 200)} has more than {MOST:.3g} elements.")
        table = np.array(self.rows, np.int64)
        assert int(table[:, 0].max()) < len(KINDS)
        return Workloads(
            name=self.name, kind=table[:, 0].astype(np.int8), shape=table[:, 1:].copy(),
            weights=np.array(self.weights, np.int64), vec_ops=np.array(self.vec_ops, np.int64),
            in_ptr=np.cumsum([0, *map(len, self.reads)]).astype(np.int64),
            in_tensor=np.array([tensor for row in self.reads for tensor in row], np.int64),
            out=np.array(self.out, np.int64), elems=np.array(self.elems, np.int64),
            producer=np.array(self.producer, np.int64), first=np.array([0, len(table)], np.int64),
            networks=(self.name,), regions=tuple(self.regions), params=(self.params,),
        )  # fmt: skip
