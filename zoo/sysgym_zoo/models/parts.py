"""What the models share: labels of layers, and building without weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import nn

M = TypeVar("M")


def layer(number: int, module: M) -> M:
    """The module, marked as layer `number`; 0 is the embedding or stem."""
    module.sysgym_layer = number  # type: ignore[attr-defined]
    return module


def tokens(*shape: int) -> Any:
    """Indices of tokens, without data."""
    return torch.empty(shape, dtype=torch.int64, device="meta")


def numbers(*shape: int) -> Any:
    """Real numbers, without data."""
    return torch.empty(shape, dtype=torch.float32, device="meta")


class LSTMCell(nn.Module):
    """One step of an LSTM, as one product and the operators on its four gates."""

    def __init__(self, inputs: int, hidden: int) -> None:
        """Sizes of the input and of the state."""
        super().__init__()
        self.gates = nn.Linear(inputs + hidden, 4 * hidden)

    def forward(self, x: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        """The next hidden and cell state; all are (batch, size)."""
        hidden, cell = state
        i, f, g, o = self.gates(torch.cat([x, hidden], 1)).chunk(4, 1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell


class Project(nn.Module):
    """Logits of one step in evaluation; the loss in training."""

    def __init__(self, inputs: int, vocabulary: int) -> None:
        """Sizes of the state and of the vocabulary."""
        super().__init__()
        self.linear = nn.Linear(inputs, vocabulary)

    def forward(self, x: Any, target: Any) -> Any:
        """Of states (batch, inputs) and tokens (batch,)."""
        return loss_or_logits(self, self.linear(x), target)


def loss_or_logits(module: Any, logits: Any, target: Any) -> Any:
    """The cross entropy if the module is in training, otherwise the logits."""
    return nn.functional.cross_entropy(logits, target) if module.training else logits


def total(steps: Sequence[Any]) -> Any:
    """The sum of the losses of steps, or their logits as one tensor."""
    stacked = torch.stack(list(steps))
    return stacked.sum() if stacked.dim() == 1 else stacked
