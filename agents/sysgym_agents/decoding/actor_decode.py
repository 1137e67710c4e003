"""An actor that corrects a frozen model's scores, as a network of its own, in numpy: every search goes on as before,
and a sentence's answer is the same alone and among others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sysgym.core.problem import Array
from sysgym.text.episodes.rows import next_tokens
from sysgym.text.model import TextModel
from sysgym.text.models.interface import Memory, State
from sysgym.text.models.linear import linear, log_softmax, product, weight_of

ROWS = 320  # answers that are followed together; their number changes no result
ACTOR = ("enter", "leave")  # its layers
LEAST, SCALE = -10.0, 5.0  # of a log-probability, as the actor reads it


def features(vector: Array, last: Array, logp: Array) -> Array:
    """What the actor reads, (N, 2 W + K) float32: vectors before the softmax (N, W), the softmax weights of the last
    tokens (N, W), and log-probabilities of candidates (N, K)."""
    return np.concatenate([vector, last, np.maximum(logp, LEAST) / SCALE], axis=1, dtype=np.float32)


class Corrected:
    """A network whose most probable next tokens, `count` of them, have scores that an actor has moved; all others have
    a probability of 0. Weights are those of `ActorNet`."""

    def __init__(self, model: TextModel, weights: Mapping[str, Array], count: int) -> None:
        self.model, self.inner, self.count = model, model.network, count
        self.vocabulary, self.softmax, self.encode, self.start = (
            self.inner.vocabulary, self.inner.softmax, self.inner.encode, self.inner.start,
        )  # fmt: skip
        self.tokens = weight_of(self.softmax)
        self.enter, self.leave = (linear(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in ACTOR)

    def step(self, memory: Memory, state: State, tokens: Array) -> tuple[Array, Array, State]:
        """See `sysgym.text.models.interface.Network`."""
        logp, attention, after = self.inner.step(memory, state, tokens)
        never = np.zeros(len(tokens), bool)
        chosen, found = next_tokens(self.model, logp, self.count, never, never)
        logp[:] = -np.inf
        there = np.nonzero(chosen >= 0)
        logp[there[0], chosen[there]] = log_softmax(self.scores(after.output, tokens, chosen, found))[there]
        return logp, attention, after

    def scores(self, vector: Array, last: Array, tokens: Array, logp: Array) -> Array:
        """Scores (N, K) float32 of candidate tokens (N, K) of some log-probabilities behind the tokens `last` (N,)."""
        hidden = np.tanh(product(features(vector, self.tokens[last], logp), self.enter))
        found, wide = product(hidden, self.leave), vector.shape[1]
        moved = (self.tokens[tokens] * found[:, None, :wide]).sum(axis=2)
        ends = found[:, -1:] * (tokens == self.model.special.end)
        return np.where(tokens >= 0, logp + moved + found[:, wide:-1] + ends, -np.inf).astype(np.float32)


def corrected(model: TextModel, weights: Mapping[str, Array], count: int) -> TextModel:
    """The model with a corrected network."""
    found, network = replace(model), Corrected(model, weights, count)
    found.__dict__["network"] = network  # in the place that `cached_property` keeps it
    return found


class Position(NamedTuple):
    """Places of texts where a model was led along given tokens; N of them."""

    vector: Array  # (N, W) float16
    last: Array  # (N,) int64
    tokens: Array  # (N, K) int64, the candidates
    logp: Array  # (N, K) float32
    place: Array  # (N,) int64, the given token's among them

    @classmethod
    def join(cls, parts: Sequence[Position]) -> Position:
        """Those of several texts."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def take(self, rows: Array) -> Position:
        """Some of them."""
        return Position(*(part[rows] for part in self))


def follow(model: TextModel, sources: Sequence[Array], answers: Sequence[Array], count: int) -> Position:
    """Lead the model along answers, and note what it says before each of their tokens, the end counted; where that
    is not among its candidates there is nothing to note."""
    order = np.argsort([len(answer) for answer in answers], kind="stable")[::-1]
    found = list[Position]()
    for first in range(0, len(order), ROWS):
        rows = order[first : first + ROWS]
        found += _follow(model, [sources[i] for i in rows], [answers[i] for i in rows], count)
    return Position.join(found)


def _follow(model: TextModel, sources: Sequence[Array], answers: Sequence[Array], count: int) -> list[Position]:
    """Of answers of which none is longer than the one before."""
    lengths = np.array([len(answer) + 1 for answer in answers])
    wanted = np.full((len(answers), int(lengths.max())), model.special.end)
    for row, answer in enumerate(answers):
        wanted[row, : len(answer)] = answer
    found, network = list[Position](), model.network
    memory, state, last = model.begin(sources)
    for step in range(wanted.shape[1]):
        many = int((lengths > step).sum())
        if many < len(last):
            state, last = state.take(np.arange(many)), last[:many]
        logp, _, state = network.step(memory, state, last)
        never = np.zeros(many, bool)
        tokens, values = next_tokens(model, logp, count, never, never)
        hit = tokens == wanted[:many, step, None]
        part = Position(state.output.astype(np.float16), last, tokens, values.astype(np.float32), hit.argmax(axis=1))
        found.append(part.take(np.flatnonzero(hit.any(axis=1))))
        last = wanted[:many, step]
    return found
