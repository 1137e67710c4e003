"""Recurrent cells and stacks of them, over rows.

Gates stand in PyTorch's order: GRU r, z, n (reset after the recurrent product); LSTM i, f, g, o. A state is h, or of an
LSTM h and c side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sysgym.core.problem import Array
from sysgym.text.models.linear import Linear, linear, product, sigmoid


class Cell(NamedTuple):
    """One layer."""

    kind: str
    input: Linear
    recurrent: Linear
    units: int

    @property
    def width(self) -> int:
        """Width of its state."""
        return self.units * (2 if self.kind == "lstm" else 1)


class Stack(NamedTuple):
    """Layers on top of each other, with residual connections or none."""

    cells: tuple[Cell, ...]
    transform: Linear | None  # of the input, where residuals need another width
    residual: str


def stack(tensors: Mapping[str, Array], name: str, kind: str, units: int, residual: str) -> Stack:
    """The stack whose tensors begin with a name."""
    cells: list[Cell] = []
    while f"{name}.{len(cells)}.input" in tensors:
        of = f"{name}.{len(cells)}"
        inner = linear(tensors[f"{of}.recurrent"], tensors.get(f"{of}.recurrent_bias"))
        cells.append(Cell(kind, linear(tensors[f"{of}.input"], tensors[f"{of}.bias"]), inner, units))
    transform = f"{name}.transform.weight"
    first = linear(tensors[transform], tensors[f"{name}.transform.bias"]) if transform in tensors else None
    return Stack(tuple(cells), first, residual)


def cell_step(cell: Cell, projected: Array, state: Array) -> Array:
    """The next state (N, width) of a cell, whose input (N, gates units) is already multiplied."""
    n, h = cell.units, state[:, : cell.units]
    inner = product(h, cell.recurrent)
    if cell.kind == "gru":
        gates = sigmoid(projected[:, : 2 * n] + inner[:, : 2 * n])
        new = np.tanh(projected[:, 2 * n :] + gates[:, :n] * inner[:, 2 * n :])
        mixed: Array = new + gates[:, n:] * (h - new)
        return mixed
    if cell.kind == "lstm":
        gates = projected + inner
        keep = sigmoid(gates[:, : 2 * n])
        c = keep[:, n:] * state[:, n:] + keep[:, :n] * np.tanh(gates[:, 2 * n : 3 * n])
        return np.concatenate([sigmoid(gates[:, 3 * n :]) * np.tanh(c), c], axis=1)
    plain: Array = np.tanh(projected + inner)
    return plain


def _joined(residual: str, output: Array, inputs: list[Array]) -> Array:
    """What the next layer reads: the cell's output; plus its input; or plus the inputs of all layers so far."""
    if residual == "add":
        return output + inputs[-1]
    if residual == "dense":
        for each in inputs:
            output = output + each
    return output


def stack_step(layers: Stack, x: Array, state: Array) -> tuple[Array, Array]:
    """One step of a stack: inputs (N, d) and states (N, W) to outputs (N, units) and new states (N, W)."""
    x = x if layers.transform is None else product(x, layers.transform)
    inputs, states, first = list[Array](), list[Array](), 0
    for cell in layers.cells:
        states.append(cell_step(cell, product(x, cell.input), state[:, first : first + cell.width]))
        first += cell.width
        inputs.append(x)
        x = _joined(layers.residual, states[-1][:, : cell.units], inputs)
    return x, np.concatenate(states, axis=1)


def stack_run(layers: Stack, x: Array, lengths: Array, backward: bool) -> tuple[Array, Array]:
    """A stack over whole sources (B, S, d), from either end: outputs (B, S, units), zeros behind the ends, and the top
    cell's last output (B, units). Padding is never read.

    Sources stand in order of their lengths, and their tokens packed by position: a step is a slice of the first ones.
    """
    count, long = x.shape[:2]
    order = np.argsort(-lengths, kind="stable")
    at, row = np.nonzero(np.arange(long)[:, None] < lengths[order])
    there = np.bincount(at, minlength=long)  # sources that have a token at each position
    begin = np.cumsum(there) - there
    flat = x[order[row], at]
    flat = flat if layers.transform is None else product(flat, layers.transform)
    inputs = list[Array]()
    state = np.empty((count, 0), dtype=np.float32)
    for cell in layers.cells:
        projected = product(flat, cell.input)
        state = np.zeros((count, cell.width), dtype=np.float32)
        outputs = np.empty((len(flat), cell.units), dtype=np.float32)
        for t in reversed(range(int(lengths.max()))) if backward else range(int(lengths.max())):
            now, live = slice(begin[t], begin[t] + there[t]), there[t]
            state[:live] = cell_step(cell, projected[now], state[:live])
            outputs[now] = state[:live, : cell.units]
        inputs.append(flat)
        flat = _joined(layers.residual, outputs, inputs)
    found = np.zeros((count, long, flat.shape[1]), dtype=np.float32)
    found[order[row], at] = flat
    last = np.empty((count, layers.cells[-1].units), dtype=np.float32)
    last[order] = state[:, : last.shape[1]]
    return found, last
