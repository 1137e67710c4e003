"""Hypotheses while they are written and when they are found: slots with back-pointers, no lists of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.model import TextModel
from sysgym.text.models.interface import Memory, State
from sysgym.text.search_kernels import best_tokens

ROWS = 320  # hypotheses that are stepped together; their number changes no result

WIDEST = 256


class Hypotheses(NamedTuple):
    """Up to B hypotheses of each of S sentences, best first; slots without one have a score of -inf."""

    tokens: Array  # (S, B, T) int64; behind a hypothesis the end token
    lengths: Array  # (S, B) int64, without the end token
    logp: Array  # (S, B) float64, with the end token where there is one
    scores: Array  # (S, B) float64, by which they are ranked
    ended: Array  # (S, B) bool
    forwards: Array  # (S,) int64: steps of hypotheses, those that had ended not counted

    def best(self, sentence: int, place: int = 0) -> Array:
        """The tokens of one hypothesis, without the end token."""
        found: Array = self.tokens[sentence, place, : self.lengths[sentence, place]]
        return found

    def take(self, sentences: Array) -> Hypotheses:
        """The hypotheses of some sentences."""
        return Hypotheses(*(part[sentences] for part in self))


class Begin(NamedTuple):
    """Where a search begins: one hypothesis of each sentence."""

    memory: Memory
    state: State
    tokens: Array  # (S,) last tokens


Search = Callable[[TextModel, Begin, int], Hypotheses]


def in_chunks(
    model: TextModel, sources: Sequence[Array], width: int, max_length: int | None, search: Search
) -> Hypotheses:
    """Search sentences of like length together, `ROWS` hypotheses at a time."""
    limit = model.max_length if max_length is None else max_length
    check_whole(model, len(sources), limit)
    order = np.argsort([len(source) for source in sources], kind="stable")
    many, parts = max(1, ROWS // width), list[Hypotheses]()
    for first in range(0, len(order), many):
        chunk = [sources[i] for i in order[first : first + many]]
        parts.append(search(model, Begin(*model.begin(chunk)), limit))
    return joined(parts, model.special.end).take(np.argsort(order))


def check_whole(model: TextModel, sentences: int, limit: int) -> None:
    """UsageError where nothing can be decoded, or a model has segments and cannot be decoded in one go."""
    if limit < 1 or not sentences:
        raise UsageError("there is nothing to decode: no sentence, or no token that it may have.")
    if model.special.segment:
        raise UsageError(
            f"{model.name} reads what it has written anew every {model.special.segment} tokens: decode it with "
            "segment_beams or stochastic_beams (width 1 and samples 1 for plain sampling)."
        )


def joined(parts: Sequence[Hypotheses], end: int) -> Hypotheses:
    """The sentences of several results, one after the other."""
    longest = max(part.tokens.shape[2] for part in parts)
    wide = [((0, 0), (0, 0), (0, longest - part.tokens.shape[2])) for part in parts]
    tokens = [np.pad(part.tokens, pad, constant_values=end) for part, pad in zip(parts, wide, strict=True)]
    others = (np.concatenate(fields) for fields in zip(*(part[1:] for part in parts), strict=True))
    return Hypotheses(np.concatenate(tokens), *others)


def length_penalty(lengths: Array, alpha: float) -> Array:
    """((5 + |Y|) / 6)^alpha."""
    found: Array = ((5.0 + lengths) / 6.0) ** alpha
    return found


def top_tokens(values: Array, count: int) -> tuple[Array, Array]:
    """The greatest values of each row (N, V) and their tokens, (N, count) each, in order, equal ones by token."""
    tokens = np.empty((len(values), count), dtype=np.int64)
    found = np.empty((len(values), count), dtype=values.dtype)
    best_tokens(values, tokens, found)
    return tokens, found


def candidates(logp: Array, count: int, end: int) -> tuple[Array, Array]:
    """Next tokens of each row, the end token first and the `count` best others behind: tokens and log-probabilities
    (N, count + 1). `logp` (N, V) loses its end token's."""
    of_end = logp[:, end].copy()
    logp[:, end] = -np.inf
    tokens, values = top_tokens(logp, count)
    tokens = np.concatenate([np.full((len(logp), 1), end), tokens], axis=1)
    return tokens, np.concatenate([of_end[:, None], values], axis=1).astype(np.float64)


def greatest(scores: Array, tokens: Array, count: int) -> Array:
    """Places (S, count) of the greatest scores (S, M) of each row, in order; equal ones by token, then by place."""
    order: Array = np.lexsort((tokens, -scores), axis=-1)[:, :count]
    return order


class Trail(NamedTuple):
    """How the beam of one sentence went: what stood in its B slots after each of T steps, best first."""

    parents: Array  # (T, B) int64: the slot that each was made of
    tokens: Array  # (T, B) int64: its last token; where a slot is empty anything
    logp: Array  # (T, B) float64; -inf where a slot is empty


class Slots:
    """B slots of each of S sentences: hypotheses that go on, whose states stand in the rows of one State."""

    def __init__(self, begin: Begin, width: int) -> None:
        many = len(begin.tokens)
        self.memory, self.state, self.width = begin.memory, begin.state, width
        self.row = np.full((many, width), -1)  # of the state; -1 where a slot is empty or has ended
        self.row[:, 0] = np.arange(many)
        self.last = np.zeros((many, width), dtype=np.int64)
        self.last[:, 0] = begin.tokens
        self.total = np.full((many, width), -np.inf)  # log P
        self.total[:, 0] = 0.0
        self.forwards = np.zeros(many, dtype=np.int64)
        self.parents, self.tokens, self.totals = list[Array](), list[Array](), list[Array]()  # (S, B) of every step

    @property
    def live(self) -> Array:
        """Sentences (L,) with a hypothesis that goes on."""
        return np.flatnonzero((self.row >= 0).any(axis=1))

    def step(self, model: TextModel) -> tuple[Array, Array, tuple[Array, Array]]:
        """One step of all that go on: log-probabilities (N, V), attention (N, S), and sentence and slot of each."""
        at = np.nonzero(self.row >= 0)
        logp, attention, self.state = model.network.step(self.memory, self.state.take(self.row[at]), self.last[at])
        self.row[at] = np.arange(len(at[0]))
        self.forwards += np.bincount(at[0], minlength=len(self.forwards))
        return logp, attention, (at[0], at[1])

    def advance(self, live: Array, parents: Array, tokens: Array, total: Array, on: Array) -> None:
        """Put the chosen (L, B) into the slots of the live sentences; `on` says which of them go on."""
        rows = np.take_along_axis(self.row[live], parents, axis=1)
        self.row[live] = np.where(on, rows, -1)
        self.last[live], self.total[live] = tokens, total
        whole_parents = np.tile(np.arange(self.width), (len(self.row), 1))
        whole_tokens = self.last.copy()
        whole_parents[live] = parents
        self.parents.append(whole_parents)
        self.tokens.append(whole_tokens)
        self.totals.append(self.total.copy())

    def traced(self, slots: Array, steps: Array) -> Array:
        """Tokens (S, K, T) of hypotheses that stood in slots (S, K) behind so many steps (S, K); behind them -1."""
        long = len(self.tokens)
        found = np.full((*slots.shape, long), -1, dtype=np.int64)
        at = slots.copy()
        for t in reversed(range(long)):
            inside = steps > t
            found[:, :, t] = np.where(inside, np.take_along_axis(self.tokens[t], at, axis=1), -1)
            at = np.where(inside, np.take_along_axis(self.parents[t], at, axis=1), at)
        return found

    def trail(self) -> Trail:
        """Every slot of every step so far, of one sentence."""
        return Trail(*(np.concatenate(each) for each in (self.parents, self.tokens, self.totals)))
