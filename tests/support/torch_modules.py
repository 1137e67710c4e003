"""Thirty modules of torch with example inputs, whose traced costs are compared with what torch counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Calls(nn.Module):
    """A function of inputs and parameters of the given shapes."""

    def __init__(self, function: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.held = nn.ParameterList(nn.Parameter(torch.rand(shape)) for shape in shapes)

    def forward(self, *given: Any) -> Any:
        return self.function(*given, *self.held)


X = torch.rand
PICTURE = X(2, 8, 9, 9)
IDS = torch.zeros(8, 5, dtype=torch.int64)
MODULES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "linear": (nn.Linear(64, 64), (X(32, 64),)),
    "conv1d": (nn.Conv1d(8, 8, 5), (X(2, 8, 16),)),
    "conv2d": (nn.Conv2d(8, 16, 3), (PICTURE,)),
    "conv3d": (nn.Conv3d(2, 4, 3), (X(1, 2, 6, 6, 6),)),
    "unbatched": (nn.Conv2d(3, 4, 3), (X(3, 8, 8),)),
    "dilated": (nn.Conv2d(8, 8, 3, dilation=2, stride=2), (PICTURE,)),
    "transposed": (nn.ConvTranspose2d(8, 4, 3, stride=2), (PICTURE,)),
    "lstm": (nn.LSTM(64, 64, 2, bidirectional=True), (X(3, 4, 64),)),
    "gru": (nn.GRU(64, 64), (X(3, 4, 64),)),
    "rnn": (nn.RNN(64, 64), (X(3, 4, 64),)),
    "attention": (nn.MultiheadAttention(64, 4), (X(5, 2, 64),) * 3),
    "encoder": (nn.TransformerEncoderLayer(64, 4, 64, batch_first=True), (X(2, 5, 64),)),
    "decoder": (nn.TransformerDecoderLayer(64, 4, 64), (X(5, 2, 64), X(6, 2, 64))),
    "einsum": (Calls(lambda a, w: torch.einsum("bij,jk->bik", a, w), (32, 32)), (X(2, 3, 32),)),
    "squared": (Calls(lambda a, w: (a * w) @ (a * w), (32,)), (X(32, 32),)),
    "repeated": (Calls(lambda a, w: a @ torch.addmm(w, w, w), (64, 64)), (X(128, 64),)),
    "batched": (Calls(lambda a, w: torch.baddbmm(w, a, a), (2, 64, 64)), (X(2, 64, 64),)),
    "gated": (nn.Sequential(nn.Linear(16, 32), nn.GLU(), nn.Linear(16, 4)), (X(8, 16),)),
    "transposed1d": (nn.ConvTranspose1d(4, 6, 3, stride=2), (X(2, 4, 9),)),
    "transposed3d": (nn.ConvTranspose3d(2, 3, 2), (X(1, 2, 4, 4, 4),)),
    "lstm_cell": (nn.LSTMCell(16, 24), (X(3, 16),)),
    "gru_cell": (nn.GRUCell(16, 24), (X(3, 16),)),
    "projected": (nn.LSTM(16, 24, proj_size=8, batch_first=True), (X(2, 5, 16),)),
    "crossed": (
        nn.MultiheadAttention(32, 4, kdim=16, vdim=24, batch_first=True), (X(2, 5, 32), X(2, 7, 16), X(2, 7, 24)),
    ),
    "transformer": (nn.Transformer(32, 4, 1, 1, 48, dropout=0.0, batch_first=True), (X(2, 5, 32), X(2, 4, 32))),
    "mlp": (nn.Sequential(nn.Linear(64, 96), nn.GELU(), nn.LayerNorm(96), nn.Linear(96, 8)), (X(32, 64),)),
    "residual": (
        Calls(lambda a, w: (nn.functional.conv2d(a, w, padding=1).relu() + a).mean((2, 3)), (8, 8, 3, 3)), (PICTURE,),
    ),
    "normed": (nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2)), (PICTURE,)),
    "bag": (nn.Sequential(nn.EmbeddingBag(64, 16, mode="sum"), nn.Linear(16, 4)), (IDS,)),
    "unfolded": (
        Calls(lambda a, w: w @ nn.functional.unfold(a, 3), (5, 72)), (PICTURE,),
    ),
}  # fmt: skip
