"""Recurrent models, unrolled in time: RNNLM, and GNMT with attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sysgym_zoo.models.parts import LSTMCell, Project, layer, numbers, tokens, total

State = tuple[Any, Any]


class RNNLM(nn.Module):
    """A language model: embedding (layer 0), LSTM layers, projection onto the vocabulary."""

    def __init__(self, layers: int, hidden: int, vocabulary: int) -> None:
        """Number of LSTM layers, size of their state, number of tokens."""
        super().__init__()
        self.embedding = layer(0, nn.Embedding(vocabulary, hidden))
        self.cells = nn.ModuleList(layer(1 + i, LSTMCell(hidden, hidden)) for i in range(layers))
        self.project = layer(1 + layers, Project(hidden, vocabulary))

    def forward(self, source: Any, target: Any, zero: Any) -> Any:
        """The loss, or logits (steps, batch, vocabulary). Tokens are (batch, steps), `zero` is (batch, hidden)."""
        states = [(zero, zero) for _ in self.cells]
        steps = []
        for x, y in zip(self.embedding(source).unbind(1), target.unbind(1), strict=True):
            for i, cell in enumerate(self.cells):
                states[i] = cell(x, states[i])
                x = states[i][0]
            steps.append(self.project(x, y))
        return total(steps)


class Attention(nn.Module):
    """Additive attention to the states of an encoder."""

    def __init__(self, hidden: int) -> None:
        """Size of all states."""
        super().__init__()
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key = nn.Linear(hidden, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, state: Any, memory: Any, keys: Any) -> Any:
        """The context (batch, hidden) for a state, of `memory` and its keys, (batch, steps, hidden)."""
        weights = torch.softmax(self.score(torch.tanh(keys + self.query(state).unsqueeze(1))), 1)
        return (memory * weights).sum(1)


class GNMT(nn.Module):
    """Translation: a bidirectional layer and more in the encoder, as many in the decoder, additive attention.

    Layers: 0 embeddings, 1 the bidirectional one, then those of the encoder, those of the decoder, the projection.
    """

    def __init__(self, layers: int, hidden: int, vocabulary: int) -> None:
        """Number of layers of encoder and decoder, size of their state, number of tokens."""
        super().__init__()
        self.source = layer(0, nn.Embedding(vocabulary, hidden))
        self.target = layer(0, nn.Embedding(vocabulary, hidden))
        self.there, self.back = (layer(1, LSTMCell(hidden, hidden)) for _ in range(2))
        self.encoder = nn.ModuleList(
            layer(i + 1, LSTMCell(2 * hidden if i == 1 else hidden, hidden)) for i in range(1, layers)
        )
        self.attention = layer(layers + 1, Attention(hidden))
        layer(layers + 1, self.attention.key)  # it runs once, before the decoder
        self.decoder = nn.ModuleList(layer(layers + 1 + i, LSTMCell(2 * hidden, hidden)) for i in range(layers))
        self.project = layer(2 * layers + 1, Project(hidden, vocabulary))

    def forward(self, source: Any, target: Any, labels: Any, zero: Any) -> Any:
        """The loss, or logits (steps, batch, vocabulary). Tokens are (batch, steps), `zero` is (batch, hidden)."""
        inputs, wanted = self.target(target).unbind(1), labels.unbind(1)
        memory = torch.stack(self.encode(self.source(source).unbind(1), zero), 1)
        keys = self.attention.key(memory)
        states, context, steps = [(zero, zero) for _ in self.decoder], zero, []
        for x, y in zip(inputs, wanted, strict=True):
            for i, cell in enumerate(self.decoder):
                states[i] = cell(torch.cat([x, context], 1), states[i])
                x = x + states[i][0] if i >= 2 else states[i][0]
                if i == 0:
                    context = self.attention(x, memory, keys)
            steps.append(self.project(x, y))
        return total(steps)

    def encode(self, steps: Any, zero: Any) -> list[Any]:
        """The states of the last layer of the encoder, (batch, hidden) a step."""
        there = _run(self.there, steps, zero)
        back = _run(self.back, steps[::-1], zero)[::-1]
        found = [torch.cat(pair, 1) for pair in zip(there, back, strict=True)]
        for i, cell in enumerate(self.encoder):
            out = _run(cell, found, zero)
            found = [x + y for x, y in zip(found, out, strict=True)] if i >= 1 else out
        return found


def _run(cell: Any, steps: Any, zero: Any) -> list[Any]:
    """The hidden states of a cell over time."""
    state: State = (zero, zero)
    found = []
    for x in steps:
        state = cell(x, state)
        found.append(state[0])
    return found


def rnnlm(
    layers: int = 2, batch: int = 64, steps: int = 32, hidden: int = 2048, vocabulary: int = 32000
) -> tuple[Any, Any]:
    """RNNLM without weights, and (source, target, zero state)."""
    with torch.device("meta"):
        module = RNNLM(layers, hidden, vocabulary)
    return module, (tokens(batch, steps), tokens(batch, steps), numbers(batch, hidden))


def gnmt(
    layers: int = 2, batch: int = 64, steps: int = 40, hidden: int = 1024, vocabulary: int = 32000
) -> tuple[Any, Any]:
    """GNMT without weights, and (source, target, labels, zero state); the seeds unroll 8 layers over 80 steps."""
    with torch.device("meta"):
        module = GNMT(layers, hidden, vocabulary)
    words = [tokens(batch, steps) for _ in range(3)]
    return module, (*words, numbers(batch, hidden))
