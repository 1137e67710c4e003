"""Encoder-decoders of recurrent cells with attention (`RecurrentConfig`), one step at a time.

A decoder step as in tf-seq2seq (Britz et al. 2017): cells on [embedding; what is fed], attention by their output s,
output = tanh(W [s; context] + b), logits = softmax weight x output + bias. The State's `hidden` holds the cells'
states and what is fed; its `cache` the decoder's own outputs, where it attends to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sysgym.core.problem import Array
from sysgym.text.models.attention_kernels import dot_scores, mix, own_scores, weighted_scores
from sysgym.text.models.cells import stack, stack_run, stack_step
from sysgym.text.models.config import RecurrentConfig
from sysgym.text.models.interface import Memory, State, fresh_state, pad_sources, writable_cache
from sysgym.text.models.linear import Linear, linear, log_softmax, product


class Recurrent:
    """A recurrent network with its weights, float32."""

    def __init__(self, config: RecurrentConfig, tensors: Mapping[str, Array]) -> None:
        self.config, self.vocabulary = config, config.target_vocabulary
        self.source = tensors["source.embedding"]
        self.target = self.source if config.tied else tensors["target.embedding"]
        self.encoders = {
            direction: stack(tensors, f"encoder.{direction}", config.cell, config.units, config.encoder_residual)
            for direction in ("forward", "backward") if f"encoder.{direction}.0.input" in tensors
        }  # fmt: skip
        self.decoder = stack(tensors, "decoder", config.decoder, config.units, config.decoder_residual)
        self.maps = {
            name.removesuffix(".weight"): linear(tensors[name], tensors.get(name.removesuffix("weight") + "bias"))
            for name in tensors if name.endswith(".weight") and not name.startswith(("softmax", "encoder", "decoder"))
        }  # fmt: skip
        self.score = tensors.get("attention.score")
        self.softmax: Linear = linear(
            self.source if config.tied else tensors["softmax.weight"], tensors["softmax.bias"]
        )

    def encode(self, sources: Sequence[Array]) -> Memory:
        """The memory of sources, read as they are (their end token included)."""
        ids, lengths = pad_sources(sources, self.config.source_vocabulary)
        embedded = self.source[ids]
        runs = [stack_run(each, embedded, lengths, way == "backward") for way, each in self.encoders.items()]
        outputs = np.concatenate([run[0] for run in runs], axis=2)
        final = np.concatenate([run[1] for run in runs], axis=1)
        return Memory(lengths, *self._keys_and_values(outputs), self._first(final))

    def _keys_and_values(self, outputs: Array) -> tuple[Array, Array]:
        """What queries are compared with (B, A, S), and what is averaged (B, S, E)."""
        count, long = outputs.shape[:2]
        if self.config.attention == "none":
            return np.zeros((count, 0, long), dtype=np.float32), np.zeros((count, long, 0), dtype=np.float32)
        flat = outputs.reshape(count * long, -1)
        keys = product(flat, self.maps["attention.key"]).reshape(count, long, -1)
        if self.config.attention_values:
            outputs = product(flat, self.maps["attention.value"]).reshape(count, long, -1)
        return np.ascontiguousarray(keys.transpose(0, 2, 1)), np.ascontiguousarray(outputs)

    def _first(self, final: Array) -> Array:
        """The decoder's first state, and what is fed at the first step, of the encoder's last outputs."""
        wide = self.config.decoder_depth * self.config.cell_state
        state = np.zeros((len(final), wide), dtype=np.float32)
        if self.config.bridge != "zero":
            state = product(final, self.maps["bridge"])
            state = np.tanh(state) if self.config.bridge == "tanh" else state
        fed = final if self.config.feed == "final" else np.zeros((len(final), self.config.fed), dtype=np.float32)
        return np.concatenate([state, fed], axis=1)

    def start(self, memory: Memory, rows: Array | None = None) -> State:
        """One hypothesis without a token for each row of the memory, or for those named."""
        own = self.config.units if self.config.self_attention else 0
        return fresh_state(memory, rows, own, self.config.units)

    def step(self, memory: Memory, state: State, tokens: Array) -> tuple[Array, Array, State]:
        """Log-probabilities (N, V) behind one more token (N,), attention (N, S), and the next state."""
        config = self.config
        wide = config.decoder_depth * config.cell_state
        x = self.target[tokens]
        if config.fed:
            x = np.concatenate([x, state.hidden[:, wide:]], axis=1)
        top, hidden = stack_step(self.decoder, x, state.hidden[:, :wide])
        context, attention = self._attend(memory, state, top)
        parts, cache, filled = [top, context], state.cache, state.filled
        if config.self_attention:
            own, cache, filled = self._attend_itself(state, top)
            parts.append(own)
        output = top
        if "mix" in self.maps:
            output = np.tanh(product(np.concatenate(parts, axis=1), self.maps["mix"]))
        if config.fed:
            fed = context if config.feed == "context" else state.hidden[:, wide:]
            hidden = np.concatenate([hidden, fed], axis=1)
        after = State(state.source, state.position + 1, hidden, cache, filled, output)
        return log_softmax(product(output, self.softmax)), attention, after

    def _attend(self, memory: Memory, state: State, top: Array) -> tuple[Array, Array]:
        """The context (N, E) and the attention (N, S) of the cells' output (N, units)."""
        count, long = len(top), memory.keys.shape[2]
        weights = np.zeros((count, 1, long), dtype=np.float32)
        context = np.zeros((count, self.config.context), dtype=np.float32)
        if self.config.attention == "none":
            return context, weights[:, 0]
        query = product(top, self.maps["attention.query"])
        if self.config.attention == "additive":
            hidden = np.tanh(memory.keys[state.source] + query[:, :, None])
            weighted_scores(hidden, self.score, state.source, memory.lengths, weights)
        else:
            scale = query.shape[1] ** -0.5 if self.config.attention_scale else 1.0
            query = np.ascontiguousarray(query)
            dot_scores(query, memory.keys, state.source, memory.lengths, 0, 1, np.float32(scale), weights)
        weights -= weights.max(axis=2, keepdims=True)
        np.exp(weights, out=weights)
        mix(weights, memory.values, state.source, memory.lengths, 0, context)
        return context, weights[:, 0]

    def _attend_itself(self, state: State, top: Array) -> tuple[Array, Array, Array]:
        """The average of a decoder's own outputs so far (N, units), weighted by scaled products with a map of the
        newest; the cache that holds them, and how far."""
        cache, filled = writable_cache(state)
        rows = np.arange(len(top))
        cache[rows, state.position] = top
        filled += 1
        query = np.ascontiguousarray(product(top, self.maps["self_attention.query"]))
        weights = np.empty((len(top), 1, int(state.position.max()) + 1), dtype=np.float32)
        own_scores(query, cache, state.position + 1, 0, 1, np.float32(query.shape[1] ** -0.5), weights)
        weights -= weights.max(axis=2, keepdims=True)
        np.exp(weights, out=weights)
        mean = np.empty_like(query)
        mix(weights, cache, rows, state.position + 1, 0, mean)
        return mean, cache, filled
