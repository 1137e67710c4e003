"""The Transformer (`TransformerConfig`), decoded with a cache of keys and values: no position is computed twice.

x = embedding sqrt(d) + position, positions from 1; blocks x + f(norm(x)); a norm at the end of encoder and decoder. A
position p has sin(p r_j) in its first half and cos(p r_j) in its second, r_j = exp(-j ln(10000) / (d/2 - 1)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sysgym.core.problem import Array
from sysgym.text.models.attention_kernels import dot_scores, mix, normalise, own_scores
from sysgym.text.models.config import TransformerConfig
from sysgym.text.models.interface import Memory, State, fresh_state, pad_sources, writable_cache
from sysgym.text.models.linear import Linear, linear, log_softmax, product


class Transformer:
    """A Transformer with its weights, float32."""

    def __init__(self, config: TransformerConfig, tensors: Mapping[str, Array]) -> None:
        self.config, self.vocabulary = config, config.target_vocabulary
        self.tensors = tensors
        self.maps: dict[str, Linear] = {
            name.removesuffix("/weight"): linear(tensors[name], tensors[name.removesuffix("weight") + "bias"])
            for name in tensors if name.endswith("/weight") and not name.endswith("embeddings/weight")
        }  # fmt: skip
        self.softmax = self.maps["decoder/projection"]
        self.scale = np.float32((config.width // config.heads) ** -0.5)

    def encode(self, sources: Sequence[Array]) -> Memory:
        """The memory of sources: keys and values of every decoder layer."""
        ids, lengths = pad_sources(sources, self.config.source_vocabulary)
        (count, long), wide = ids.shape, self.config.width
        x = self._embedded("encoder", ids.reshape(-1), np.tile(np.arange(1, long + 1), count))
        for layer in range(self.config.encoder_layers):
            block = f"encoder/layer_{layer}"
            whole = self._map(f"{block}/self_attention/linear_0", self._norm(f"{block}/self_attention/layer_norm", x))
            keys = np.ascontiguousarray(whole[:, wide : 2 * wide].reshape(count, long, wide).transpose(0, 2, 1))
            values = np.ascontiguousarray(whole[:, 2 * wide :].reshape(count, long, wide))
            part = Memory(lengths, keys, values, keys[:, :0, 0])
            mean, _ = self._attend(np.ascontiguousarray(whole[:, :wide]), part, np.repeat(np.arange(count), long), 0)
            x = x + self._map(f"{block}/self_attention/linear_1", mean)
            x = self._feed_forward(block, x)
        return self._memory(self._norm("encoder/layer_norm", x), lengths)

    def _memory(self, outputs: Array, lengths: Array) -> Memory:
        """Keys (B, L d, S) and values (B, S, L d) of all decoder layers for the encoder's outputs (B S, d)."""
        count, wide = len(lengths), self.config.width
        blocks = [f"decoder/layer_{layer}/attention/linear_1" for layer in range(self.config.decoder_layers)]
        whole = [self._map(block, outputs).reshape(count, -1, 2 * wide) for block in blocks]
        keys = np.concatenate([each[:, :, :wide] for each in whole], axis=2).transpose(0, 2, 1)
        values = np.concatenate([each[:, :, wide:] for each in whole], axis=2)
        return Memory(lengths, np.ascontiguousarray(keys), values, np.zeros((count, 0), dtype=np.float32))

    def start(self, memory: Memory, rows: Array | None = None) -> State:
        """One hypothesis without a token for each row of the memory, or for those named."""
        return fresh_state(memory, rows, 2 * self.config.decoder_layers * self.config.width, self.config.width)

    def step(self, memory: Memory, state: State, tokens: Array) -> tuple[Array, Array, State]:
        """Log-probabilities (N, V) behind one more token (N,), attention (N, S) of the last layer (mean of its heads),
        and the next state."""
        wide, position = self.config.width, state.position
        cache, filled = writable_cache(state)
        x = self._embedded("decoder", tokens, position + 1)
        attention = np.zeros((len(tokens), memory.keys.shape[2]), dtype=np.float32)
        for layer in range(self.config.decoder_layers):
            block = f"decoder/layer_{layer}"
            x = x + self._attend_itself(block, x, cache, position, 2 * wide * layer)
            query = self._map(f"{block}/attention/linear_0", self._norm(f"{block}/attention/layer_norm", x))
            mean, weights = self._attend(query, memory, state.source, wide * layer)
            x = x + self._map(f"{block}/attention/linear_2", mean)
            x = self._feed_forward(block, x)
            attention = weights[:, 0]
            for head in range(1, self.config.heads):  # one after the other: a sum of numpy's may regroup
                attention = attention + weights[:, head]
        filled += 1
        output = self._norm("decoder/layer_norm", x)
        logp = log_softmax(self._map("decoder/projection", output))
        after = State(state.source, position + 1, state.hidden, cache, filled, output)
        return logp, attention / np.float32(self.config.heads), after

    def _attend_itself(self, block: str, x: Array, cache: Array, position: Array, first: int) -> Array:
        """Self-attention of the newest position, whose key and value are written into the cache (N, C, L 2 d)."""
        wide, heads, rows = self.config.width, self.config.heads, np.arange(len(x))
        whole = self._map(f"{block}/self_attention/linear_0", self._norm(f"{block}/self_attention/layer_norm", x))
        cache[rows, position, first : first + 2 * wide] = whole[:, wide:]
        weights = np.empty((len(x), heads, int(position.max(initial=0)) + 1), dtype=np.float32)
        own_scores(np.ascontiguousarray(whole[:, :wide]), cache, position + 1, first, heads, self.scale, weights)
        _exponentials(weights)
        mean = np.empty_like(x)
        mix(weights, cache, rows, position + 1, first + wide, mean)
        return self._map(f"{block}/self_attention/linear_1", mean)

    def _attend(self, query: Array, memory: Memory, source: Array, first: int) -> tuple[Array, Array]:
        """Averages (N, d) of a memory's values from channel `first`, and the weights (N, H, S)."""
        weights = np.empty((len(query), self.config.heads, memory.keys.shape[2]), dtype=np.float32)
        dot_scores(query, memory.keys, source, memory.lengths, first, self.config.heads, self.scale, weights)
        _exponentials(weights)
        mean = np.empty_like(query)
        mix(weights, memory.values, source, memory.lengths, first, mean)
        return mean, weights

    def _feed_forward(self, block: str, x: Array) -> Array:
        inner = self._map(f"{block}/ffn/linear_0", self._norm(f"{block}/ffn/layer_norm", x))
        return x + self._map(f"{block}/ffn/linear_1", np.maximum(inner, np.float32(0.0)))

    def _embedded(self, side: str, ids: Array, positions: Array) -> Array:
        """Embeddings (N, d) of tokens at positions that count from 1."""
        wide = self.config.width
        rates = np.exp(-np.log(1e4) / (wide // 2 - 1) * np.arange(wide // 2))
        angles = positions[:, None] * rates
        where = np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
        found: Array = self.tensors[f"{side}/embeddings/weight"][ids] * np.float32(wide**0.5) + where
        return found

    def _norm(self, name: str, x: Array) -> Array:
        out = np.empty_like(x)
        normalise(x, self.tensors[f"{name}/gamma"], self.tensors[f"{name}/beta"], out)
        return out

    def _map(self, name: str, x: Array) -> Array:
        return product(x, self.maps[name])


def _exponentials(weights: Array) -> None:
    """Scores become exp(score - greatest), in place; `mix` divides by the sum."""
    weights -= weights.max(axis=2, keepdims=True)
    np.exp(weights, out=weights)
