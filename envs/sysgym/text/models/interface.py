"""What every network offers: `encode` sources, `start` hypotheses on them, `step` all of them by one token.

A `State` holds N hypotheses, on any rows of a `Memory` and at any positions; beams of one sentence share its memory.
Every row's result is the same bits whatever stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.models.linear import Linear

MULTIPLE = 8  # padded lengths are multiples of it


class Memory(NamedTuple):
    """Encoded sources, padded to S positions; `step` reads it and never writes."""

    lengths: Array  # (B,) int64
    keys: Array  # (B, A, S) float32, what queries are compared with
    values: Array  # (B, S, E) float32, what is averaged
    hidden: Array  # (B, W) float32, the decoder's first state

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """One memory of several, rows in order."""
        longest = max(part.keys.shape[2] for part in parts)
        keys = [widened(part.keys, 2, longest) for part in parts]
        values = [widened(part.values, 1, longest) for part in parts]
        return cls(
            np.concatenate([part.lengths for part in parts]),
            np.concatenate(keys),
            np.concatenate(values),
            np.concatenate([part.hidden for part in parts]),
        )

    def take(self, rows: Array) -> Self:
        """The memory of some rows."""
        return type(self)(*(part[rows] for part in self))


class State(NamedTuple):
    """N hypotheses between two steps. Steps leave a state as it is, so that it can be stepped again."""

    source: Array  # (N,) int64, row of the memory
    position: Array  # (N,) int64, tokens so far
    hidden: Array  # (N, W) float32: recurrent states, and the context that is fed
    cache: Array  # (N, C, D) float32: keys and values of a hypothesis' own tokens; [:position] is its own
    filled: Array  # (N,) int64: how far the cache is written by some state that shares it
    output: Array  # (N, F) float32: the vector before the softmax; zeros at the start

    def take(self, rows: Array) -> State:
        """The hypotheses of some rows, repeated where a row is; what a search's back-pointers ask for."""
        position = self.position[rows]
        end = min(self.cache.shape[1], padded(int(position.max(initial=0)) + 1))
        return State(
            self.source[rows], position, self.hidden[rows], self.cache[rows, :end], position.copy(), self.output[rows]
        )

    @staticmethod
    def join(parts: Sequence[State]) -> State:
        """The hypotheses of several states in order; `source` as it is, so they stand on one memory."""
        longest = max(part.cache.shape[1] for part in parts)
        caches = [widened(part.cache, 1, longest) for part in parts]
        position = np.concatenate([part.position for part in parts])
        return State(
            np.concatenate([part.source for part in parts]),
            position,
            np.concatenate([part.hidden for part in parts]),
            np.concatenate(caches),
            position.copy(),
            np.concatenate([part.output for part in parts]),
        )


class Network(Protocol):
    """A trained network."""

    vocabulary: int  # size V of the target vocabulary
    softmax: Linear  # from the vector before the softmax to the logits of V tokens

    def encode(self, sources: Sequence[Array]) -> Memory:
        """The memory of some sources, each its token ids as the network was trained to read them."""

    def start(self, memory: Memory, rows: Array | None = None) -> State:
        """One hypothesis without a token for each row of the memory, or for those named."""

    def step(self, memory: Memory, state: State, tokens: Array) -> tuple[Array, Array, State]:
        """After each hypothesis' last token (N,): log-probabilities of the next one (N, V) float32, the attention
        to the source (N, S) float32, and the state behind that token."""


def widened(values: Array, axis: int, length: int) -> Array:
    """The array with zeros behind, up to a length of one axis."""
    if values.shape[axis] == length:
        return values
    return np.pad(values, [(0, length - size if place == axis else 0) for place, size in enumerate(values.shape)])


def padded(length: int) -> int:
    """The next multiple of MULTIPLE."""
    return -(-length // MULTIPLE) * MULTIPLE


def pad_sources(sources: Sequence[Array], vocabulary: int) -> tuple[Array, Array]:
    """Sources as one array (B, S) int64, zeros behind their ends, and their lengths (B,)."""
    lengths = np.array([len(source) for source in sources], dtype=np.int64)
    if not len(sources) or lengths.min() == 0:
        raise UsageError("an empty sentence has nothing to decode.")
    ids = np.zeros((len(sources), padded(int(lengths.max()))), dtype=np.int64)
    for row, source in enumerate(sources):
        ids[row, : len(source)] = source
    if ids.min() < 0 or ids.max() >= vocabulary:
        raise UsageError(f"a source holds the token {ids.max()}; the model knows 0 to {vocabulary - 1}.")
    return ids, lengths


def fresh_state(memory: Memory, rows: Array | None, cache: int, output: int) -> State:
    """Hypotheses without a token, whose cache is `cache` wide and whose output `output`."""
    source = np.arange(len(memory.lengths)) if rows is None else np.asarray(rows, dtype=np.int64)
    count = len(source)
    return State(
        source,
        np.zeros(count, dtype=np.int64),
        memory.hidden[source],
        np.zeros((count, MULTIPLE if cache else 0, cache), dtype=np.float32),
        np.zeros(count, dtype=np.int64),
        np.zeros((count, output), dtype=np.float32),
    )


def writable_cache(state: State) -> tuple[Array, Array]:
    """The cache with room for one more position, and how far it is filled: the state's own where no other state that
    shares it has gone further, else a copy."""
    room = int(state.position.max(initial=0)) + 1
    cache, filled = state.cache, state.filled
    if room > cache.shape[1]:
        grown = np.zeros((cache.shape[0], padded(room + room // 2), cache.shape[2]), dtype=np.float32)
        grown[:, : cache.shape[1]] = cache
        cache, filled = grown, state.position.copy()
    elif not np.array_equal(filled, state.position):
        cache, filled = cache.copy(), state.position.copy()
    return cache, filled
