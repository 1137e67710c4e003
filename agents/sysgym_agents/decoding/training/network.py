"""The recurrent networks of `RecurrentConfig` in torch, whole batches at a time, with tensors of the same names.

Padding stands behind and is never attended to; a backward encoder reads each source turned by its own length. Where no
context is fed the decoder's layers run over all positions in one call, else step by step.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.core.problem import Array
from sysgym.text.models.config import RecurrentConfig
from sysgym_agents.learning.devices import dropped

RUNS = {"gru": torch.gru, "lstm": torch.lstm, "vanilla": torch.rnn_tanh}


class Encoded(NamedTuple):
    """Sources as the decoder sees them."""

    keys: Tensor  # (B, S, A)
    values: Tensor  # (B, S, E)
    real: Tensor  # (B, S) bool
    state: Tensor  # (B, W), the decoder's first one
    final: Tensor  # (B, directions units)


class RecurrentNet(nn.Module):
    """A network under training; dropout is on the input of every cell and on what the softmax reads."""

    def __init__(self, config: RecurrentConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config, self.share = config, dropout
        drawn = {name: nn.Parameter(_drawn(name, shape, config.units)) for name, shape in config.shapes().items()}
        self.held = nn.ParameterDict({_key(name): value for name, value in drawn.items()})

    def tensors(self) -> dict[str, Array]:
        """Copies of the weights under the names of the configuration, float32."""
        return {name: self.at(name).detach().float().cpu().numpy().copy() for name in self.config.shapes()}

    def put(self, tensors: Mapping[str, Array]) -> None:
        """Take given weights."""
        with torch.no_grad():
            for name in self.config.shapes():
                self.at(name).copy_(torch.from_numpy(np.ascontiguousarray(tensors[name], dtype=np.float32)))

    def dropout(self, x: Tensor) -> Tensor:
        """In training, without a share of its numbers."""
        return dropped(x, self.share) if self.training else x

    def at(self, name: str) -> Tensor:
        """A weight by its name."""
        return self.held[_key(name)]

    def has(self, name: str) -> bool:
        """Whether the configuration has a weight."""
        return _key(name) in self.held

    def outputs(self, sources: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
        """What the softmax reads (B, T, units) behind each of the tokens (B, T) of the targets so far, given sources
        (B, S) of some lengths (B,)."""
        encoded = self.encode(sources, lengths)
        embedded = self.at("source.embedding" if self.config.tied else "target.embedding")[tokens]
        if self.config.feed == "context":
            top, context = self._step_by_step(encoded, embedded)
        else:
            top, context = self._at_once(encoded, embedded)
        parts = [top] + ([context] if self.config.attention != "none" else [])
        if self.config.self_attention:
            parts.append(self._attend_itself(top))
        output = torch.tanh(self._affine("mix", torch.cat(parts, dim=2))) if len(parts) > 1 else top
        return self.dropout(output)

    def logits(self, output: Tensor) -> Tensor:
        """Logits (..., V) of what the softmax reads."""
        weight = self.at("source.embedding" if self.config.tied else "softmax.weight")
        return nn.functional.linear(output, weight, self.at("softmax.bias"))

    # -------------------------------------------------------------------------------------------- encoder

    def encode(self, sources: Tensor, lengths: Tensor) -> Encoded:
        """Sources (B, S) with padding behind their lengths (B,)."""
        config, place = self.config, torch.arange(sources.shape[1], device=sources.device)
        real = place < lengths[:, None]
        embedded = self.at("source.embedding")[sources]
        turned = torch.where(real, lengths[:, None] - 1 - place, place)
        ways = {"bidirectional": ("forward", "backward"), "reversed": ("backward",)}.get(config.encoder, ("forward",))
        runs = [self._run(f"encoder.{way}", embedded, lengths, turned if way == "backward" else None) for way in ways]
        outputs, final = torch.cat([run[0] for run in runs], dim=2), torch.cat([run[1] for run in runs], dim=1)
        keys = values = outputs
        if config.attention != "none":
            keys = self._affine("attention.key", outputs)
            values = self._affine("attention.value", outputs) if config.attention_values else outputs
        state = torch.zeros(len(sources), config.decoder_depth * config.cell_state, device=sources.device)
        if config.bridge != "zero":
            state = self._affine("bridge", final)
            state = torch.tanh(state) if config.bridge == "tanh" else state
        return Encoded(keys, values, real, state.float(), final)

    def _run(self, name: str, x: Tensor, lengths: Tensor, turned: Tensor | None) -> tuple[Tensor, Tensor]:
        """A stack over whole sources: outputs (B, S, units), and the top cell's last output (B, units)."""
        x = x if turned is None else _gathered(x, turned)
        layers = self.config.layers
        width = layers * self.config.units * (2 if self.config.cell == "lstm" else 1)
        state = torch.zeros(len(x), width, device=x.device)
        found, raw, _ = self._stack(name, self.config.cell, layers, self.config.encoder_residual, x, state)
        last = raw[torch.arange(len(x), device=x.device), lengths - 1]
        return found if turned is None else _gathered(found, turned), last

    # -------------------------------------------------------------------------------------------- cells

    def _stack(
        self, name: str, kind: str, layers: int, residual: str, x: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Layers over positions: what they give on (B, T, units), the top cell's own output, and the states (B, W)."""
        x = self._affine(f"{name}.transform", x) if self.has(f"{name}.transform.weight") else x
        inputs, after, output = list[Tensor](), list[Tensor](), x
        for layer, before in enumerate(state.chunk(layers, dim=1)):
            output, last = self._cell(f"{name}.{layer}", kind, self.dropout(x), before)
            after.append(last)
            inputs.append(x)
            if residual == "add":
                x = output + x
            elif residual == "dense":
                x = output + torch.stack(inputs).sum(dim=0)
            else:
                x = output
        return x, output, torch.cat(after, dim=1)

    def _cell(self, name: str, kind: str, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One layer over positions: outputs (B, T, units) and its last state."""
        bias = self.at(f"{name}.bias")
        inner = self.at(f"{name}.recurrent_bias") if self.config.recurrent_bias else torch.zeros_like(bias)
        weights = [self.at(f"{name}.input"), self.at(f"{name}.recurrent"), bias, inner]
        begin = tuple(part.contiguous()[None] for part in state.chunk(2 if kind == "lstm" else 1, dim=1))
        first = begin if kind == "lstm" else begin[0]
        with _quiet() if x.is_cuda else nullcontext():
            output, *last = RUNS[kind](x, first, weights, True, 1, 0.0, self.training, False, True)
        return output, torch.cat([part[0] for part in last], dim=1)

    # -------------------------------------------------------------------------------------------- decoder

    def _decoded(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        config = self.config
        kind, depth = config.decoder, config.decoder_depth
        top, _, state = self._stack("decoder", kind, depth, config.decoder_residual, x, state)
        return top, state

    def _at_once(self, encoded: Encoded, x: Tensor) -> tuple[Tensor, Tensor]:
        """The cells' outputs and the contexts of all positions, where no context is fed."""
        if self.config.feed == "final":
            x = torch.cat([x, encoded.final[:, None].expand(-1, x.shape[1], -1).to(x.dtype)], dim=2)
        top, _ = self._decoded(x, encoded.state)
        return top, self._attend(encoded, top)

    def _step_by_step(self, encoded: Encoded, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same where each step reads the context of the one before."""
        tops, contexts, state = list[Tensor](), list[Tensor](), encoded.state
        fed = torch.zeros(len(x), 1, self.config.fed, device=x.device)
        for t in range(x.shape[1]):
            top, state = self._decoded(torch.cat([x[:, t : t + 1], fed.to(x.dtype)], dim=2), state)
            fed = self._attend(encoded, top)
            tops.append(top)
            contexts.append(fed)
        return torch.cat(tops, dim=1), torch.cat(contexts, dim=1)

    def _attend(self, encoded: Encoded, top: Tensor) -> Tensor:
        """Contexts (B, T, E) of the cells' outputs."""
        if self.config.attention == "none":
            return top[:, :, :0]
        query = self._affine("attention.query", top)
        if self.config.attention == "additive":
            hidden = torch.tanh(encoded.keys[:, None] + query[:, :, None])
            scores = torch.matmul(hidden, self.at("attention.score").to(hidden.dtype))
        else:
            scale = query.shape[2] ** -0.5 if self.config.attention_scale else 1.0
            scores = torch.bmm(query, encoded.keys.transpose(1, 2)) * scale
        weights = scores.float().masked_fill(~encoded.real[:, None], -torch.inf).softmax(dim=2)
        return torch.bmm(weights.to(encoded.values.dtype), encoded.values)

    def _attend_itself(self, top: Tensor) -> Tensor:
        """Averages (B, T, units) of a decoder's own outputs so far."""
        query = self._affine("self_attention.query", top)
        scores = torch.bmm(query, top.to(query.dtype).transpose(1, 2)).float() * self.config.units**-0.5
        later = torch.ones(top.shape[1], top.shape[1], dtype=torch.bool, device=top.device).triu(1)
        weights = scores.masked_fill(later, -torch.inf).softmax(dim=2)
        return torch.bmm(weights.to(top.dtype), top)

    def _affine(self, name: str, x: Tensor) -> Tensor:
        bias = self.at(f"{name}.bias") if self.has(f"{name}.bias") else None
        return nn.functional.linear(x, self.at(f"{name}.weight"), bias)


@contextmanager
def _quiet() -> Iterator[None]:
    """No word of cuDNN's about its copy of a cell's weights, which is made anew at every call."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single", category=UserWarning)
        yield


def _key(name: str) -> str:
    """A name as torch takes it."""
    return name.replace(".", "/")


def _gathered(x: Tensor, places: Tensor) -> Tensor:
    """Each row of x (B, S, d) with its positions in the order of places (B, S)."""
    return x.gather(1, places[:, :, None].expand(-1, -1, x.shape[2]))


def _drawn(name: str, shape: tuple[int, ...], units: int) -> Tensor:
    """A weight before training: biases are 0, embeddings normal, cells uniform by their units, maps by both sides."""
    kind = name.rpartition(".")[2]
    if kind in ("bias", "recurrent_bias"):
        return torch.zeros(shape)
    if kind == "embedding" or name == "softmax.weight":
        return torch.randn(shape) * shape[1] ** -0.5
    found = torch.empty(shape)
    if kind in ("input", "recurrent", "score"):
        return found.uniform_(-(units**-0.5), units**-0.5)
    return nn.init.xavier_uniform_(found)
