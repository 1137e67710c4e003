"""WaveNet: stacks of gated convolutions whose reach doubles from layer to layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sysgym_zoo.models.parts import layer, loss_or_logits, numbers, tokens


class GatedLayer(nn.Module):
    """A gated convolution with a residual and a skip connection."""

    def __init__(self, width: int, reach: int) -> None:
        """Channels, and the distance of the two samples that are read."""
        super().__init__()
        self.reach = reach
        self.filter, self.gate = (nn.Conv1d(width, width, 2, dilation=reach) for _ in range(2))
        self.skip, self.residual = (nn.Conv1d(width, width, 1) for _ in range(2))

    def forward(self, x: Any) -> tuple[Any, Any]:
        """The next state and what is skipped to the end, (batch, channels, samples)."""
        padded = nn.functional.pad(x, (self.reach, 0))
        bent = torch.tanh(self.filter(padded)) * torch.sigmoid(self.gate(padded))
        return x + self.residual(bent), self.skip(bent)


class Head(nn.Module):
    """Two convolutions that turn the sum of what was skipped into logits."""

    def __init__(self, width: int, levels: int) -> None:
        """Channels, and levels of the signal."""
        super().__init__()
        self.first, self.second = nn.Conv1d(width, width, 1), nn.Conv1d(width, levels, 1)

    def forward(self, x: Any) -> Any:
        """Logits (batch, levels, samples)."""
        return self.second(torch.relu(self.first(torch.relu(x))))


class WaveNet(nn.Module):
    """Layer 0 reads the signal, then the gated layers, then the head."""

    def __init__(self, stacks: int, depth: int, width: int, levels: int) -> None:
        """Stacks, layers in each, channels, levels of the signal."""
        super().__init__()
        self.front = layer(0, nn.Conv1d(1, width, 1))
        self.layers = nn.ModuleList(layer(1 + i, GatedLayer(width, 2 ** (i % depth))) for i in range(stacks * depth))
        self.head = layer(1 + stacks * depth, Head(width, levels))

    def forward(self, signal: Any, target: Any) -> Any:
        """The loss, or logits (batch, levels, samples). The signal is (batch, 1, samples), targets lack the 1."""
        x, skipped = self.front(signal), None
        for each in self.layers:
            x, skip = each(x)
            skipped = skip if skipped is None else skipped + skip
        return loss_or_logits(self, self.head(skipped), target)


def wavenet(
    stacks: int = 2, depth: int = 9, batch: int = 8, samples: int = 8000, width: int = 256, levels: int = 256
) -> tuple[Any, Any]:
    """WaveNet without weights, and (signal, target)."""
    with torch.device("meta"):
        module = WaveNet(stacks, depth, width, levels)
    return module, (numbers(batch, 1, samples), tokens(batch, samples))
