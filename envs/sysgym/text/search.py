"""Greedy and beam search over many sentences at once, in the two conventions that published figures use.

`wu` (tf-seq2seq; Wu et al. 2016, section 7): every step keeps the B candidates of greatest log P / lp + cp, lp =
((5 + |Y|) / 6)^alpha, |Y| without the end token; ended hypotheses keep their slots; stops when all have ended.
`length` (CTranslate2): every step keeps the B greatest log P that have not ended; ended ones go to a list, ranked by
log P / length^alpha with the end token counted; stops when B are on it (with alpha 0 when the best candidate ends).
With alpha above 0 `wu` prefers going on to ending, so a beam of one is greedy search only without it.
Equal scores go to the lower token, then to the lower slot. Hypotheses are back-pointers until the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.hypotheses import (
    WIDEST,
    Begin,
    Hypotheses,
    Slots,
    Trail,
    candidates,
    check_whole,
    greatest,
    in_chunks,
    length_penalty,
)
from sysgym.text.model import TextModel
from sysgym.text.models.interface import Memory
from sysgym.text.search_kernels import coverage_penalties


@dataclass(frozen=True, kw_only=True)
class Beam:
    """How to search."""

    width: int = 5
    alpha: float = 1.0  # of the length penalty
    beta: float = 0.0  # of the coverage penalty
    convention: Literal["wu", "length"] = "wu"
    best: int = 0  # hypotheses that are asked for, at most the width; 0 for all (`length` may stop earlier for fewer)

    def check(self) -> None:
        """UsageError for what cannot be searched with."""
        if not 1 <= self.width <= WIDEST or not 0 <= self.best <= self.width:
            raise UsageError(f"a beam is 1 to {WIDEST} wide, and gives no more; got {self.width} and {self.best}.")
        if not 0 <= self.alpha <= 10 or not 0 <= self.beta <= 10:
            raise UsageError(f"alpha and beta are 0 to 10, got {self.alpha} and {self.beta}.")
        if self.convention == "length" and self.beta:
            raise UsageError("the coverage penalty goes with the convention wu.")


def beam_search(
    model: TextModel, sources: Sequence[Array], beam: Beam | None = None, max_length: int | None = None
) -> Hypotheses:
    """The hypotheses of sentences, each its token ids (`model.ids`), by beam search; at most `max_length` tokens, the
    end among them (the model's own length if None)."""
    beam = beam or Beam()
    beam.check()
    run = wu_beams if beam.convention == "wu" else length_beams
    return in_chunks(model, sources, beam.width, max_length, lambda of, begin, limit: run(of, begin, limit, beam))


def beam_trail(model: TextModel, source: Array, beam: Beam, max_length: int | None = None) -> tuple[Hypotheses, Trail]:
    """The hypotheses of one sentence, and every slot of every step on the way to them: the beam as a tree."""
    beam.check()
    limit, begin = max_length or model.max_length, Begin(*model.begin([source]))
    check_whole(model, 1, limit)
    slots = Slots(begin, beam.width)
    found = (wu_beams if beam.convention == "wu" else length_beams)(model, begin, limit, beam, slots)
    return found, slots.trail()


def greedy(model: TextModel, sources: Sequence[Array], max_length: int | None = None) -> Hypotheses:
    """The most probable token at every step: one hypothesis of each sentence."""
    return in_chunks(model, sources, 1, max_length, greedy_beams)


def greedy_beams(model: TextModel, begin: Begin, limit: int) -> Hypotheses:
    """Greedy search from where it begins."""
    many, end = len(begin.tokens), model.special.end
    tokens = np.full((many, 1, limit), end)
    lengths, forwards = np.zeros(many, dtype=np.int64), np.zeros(many, dtype=np.int64)
    total, ended, rows = np.zeros(many), np.zeros(many, dtype=bool), np.arange(many)
    state, last = begin.state, begin.tokens
    for t in range(limit):
        logp, _, state = model.network.step(begin.memory, state, last)
        last = logp.argmax(axis=1)
        forwards[rows] += 1
        total[rows] += logp[np.arange(len(rows)), last]
        tokens[rows, 0, t] = last
        on = last != end
        lengths[rows[on]] += 1
        ended[rows[~on]] = True
        if not on.all():
            rows, last, state = rows[on], last[on], state.take(np.flatnonzero(on))
        if not len(rows):
            break
    cut, logp_all = tokens[:, :, : int(forwards.max())], total[:, None]
    return Hypotheses(cut, lengths[:, None], logp_all, logp_all, ended[:, None], forwards)


def wu_beams(model: TextModel, begin: Begin, limit: int, beam: Beam, slots: Slots | None = None) -> Hypotheses:
    """Beam search in the convention `wu` from where it begins, in slots that a caller may look at afterwards."""
    search = WuSearch(begin, beam, model.special.end, slots)
    while search.steps < limit and len(search.slots.live):
        search.step(model)
    return search.results()


class WuSearch:
    """Beam search in the convention `wu` of S sentences, step by step. The B slots of a sentence stand in order, best
    first: `scores` (S, B), -inf where one is empty, and `length` (S, B), tokens without the end."""

    def __init__(self, begin: Begin, beam: Beam, end: int, slots: Slots | None = None) -> None:
        self.beam, self.end, self.slots, self.steps = beam, end, slots or Slots(begin, beam.width), 0
        shape = (len(begin.tokens), beam.width)
        self.length, self.scores = np.zeros(shape, dtype=np.int64), np.full(shape, -np.inf)
        self.coverage = _Coverage(begin.memory, beam)

    def step(self, model: TextModel) -> None:
        """One token for every hypothesis that goes on."""
        slots, width, end = self.slots, self.beam.width, self.end
        many, live = len(self.length), slots.live
        logp, attention, at = slots.step(model)
        tokens = np.full((many, width, width + 1), end)
        values = np.full((many, width, width + 1), -np.inf)
        values[:, :, 0] = np.where(slots.row < 0, 0.0, -np.inf)  # ended hypotheses stand again as they are
        tokens[at], values[at] = candidates(logp, width, end)
        total = slots.total[:, :, None] + values
        longer = self.length[:, :, None] + (tokens != end)
        with np.errstate(invalid="ignore"):
            ranked = total / length_penalty(longer, self.beam.alpha) + self.coverage.after(attention, at)[:, :, None]
        flat = [each[live].reshape(len(live), -1) for each in (ranked, tokens, total, longer)]
        place = greatest(flat[0], flat[1], width)
        new, chosen, totals, lengths = (np.take_along_axis(each, place, axis=1) for each in flat)
        parents = place // (width + 1)
        slots.advance(live, parents, chosen, totals, (chosen != end) & (new > -np.inf))
        self.length[live], self.scores[live] = lengths, new
        self.coverage.move(live, parents)
        self.steps += 1

    def keep(self, counts: Array) -> None:
        """Empty the slots of each sentence behind the first `counts` (S,) of them, before the next step."""
        gone = np.arange(self.beam.width) >= counts[:, None]
        self.slots.row[gone], self.slots.total[gone], self.scores[gone] = -1, -np.inf, -np.inf

    def results(self) -> Hypotheses:
        """What there is."""
        slots, many = self.slots, len(self.length)
        every = np.tile(np.arange(self.beam.width), (many, 1))
        found = slots.traced(every, np.full((many, self.beam.width), self.steps))
        ranked = (slots.total, self.scores)
        return _results(found, self.length, ranked, slots.row < 0, (slots.forwards, self.end))


class _Coverage:
    """The attention that each source position has had in every hypothesis, if it is penalised."""

    def __init__(self, memory: Memory, beam: Beam) -> None:
        self.beta, self.lengths = beam.beta, memory.lengths
        many, long = len(memory.lengths), memory.keys.shape[2] if beam.beta else 0
        self.sums = np.zeros((many, beam.width, long), dtype=np.float32)
        self.penalties = np.zeros((many, beam.width))

    def after(self, attention: Array, at: tuple[Array, Array]) -> Array:
        """Penalties (S, B) with the attention (N, S) of a step of some hypotheses."""
        if self.beta:
            self.sums[at] += attention
            found = np.empty(len(attention))
            coverage_penalties(self.sums[at], self.lengths[at[0]], found)
            self.penalties[at] = self.beta * found
        return self.penalties

    def move(self, live: Array, parents: Array) -> None:
        """Every slot of the live sentences takes over what its parent has."""
        if self.beta:
            self.sums[live] = self.sums[live[:, None], parents]
            self.penalties[live] = self.penalties[live[:, None], parents]


def length_beams(model: TextModel, begin: Begin, limit: int, beam: Beam, slots: Slots | None = None) -> Hypotheses:
    """Beam search in the convention `length` from where it begins, in slots that a caller may look at afterwards."""
    width, end, slots = beam.width, model.special.end, slots or Slots(begin, beam.width)
    many, wanted = len(begin.tokens), beam.best or beam.width
    done = _Ended(many, 2 * width, beam.alpha)
    for t in range(limit):
        live = slots.live
        if not len(live):
            break
        logp, _, at = slots.step(model)
        tokens = np.full((many, width, 2 * width + 1), end)
        values = np.full((many, width, 2 * width + 1), -np.inf)
        tokens[at], values[at] = candidates(logp, 2 * width, end)
        total = (slots.total[:, :, None] + values)[live].reshape(len(live), -1)
        flat = tokens[live].reshape(len(live), -1)
        place = greatest(total, flat, 2 * width)
        chosen, totals = np.take_along_axis(flat, place, axis=1), np.take_along_axis(total, place, axis=1)
        parents, there = place // (2 * width + 1), totals > -np.inf
        ends = (chosen == end) & there
        if t + 1 == limit:  # cut: the best go on the list as they are
            rows, places = np.nonzero(there[:, :width])
        else:
            rows, places = np.nonzero(ends[:, :width])
        done.add(live[rows], t, parents[rows, places], totals[rows, places], chosen[rows, places])
        stop = done.count[live] >= (width if beam.alpha else wanted)
        stop &= ends[:, 0] | (done.count[live] >= width)
        kept = np.argsort(chosen == end, axis=1, kind="stable")[:, :width]
        parents, chosen, totals = (np.take_along_axis(each, kept, axis=1) for each in (parents, chosen, totals))
        slots.advance(live, parents, chosen, totals, ~stop[:, None] & (totals > -np.inf) & (chosen != end))
    return done.results(slots, wanted, end)


class _Ended:
    """The list of ended hypotheses of each sentence."""

    def __init__(self, many: int, most: int, alpha: float) -> None:
        self.alpha, self.count = alpha, np.zeros(many, dtype=np.int64)
        self.steps, self.parents = np.zeros((many, most), dtype=np.int64), np.zeros((many, most), dtype=np.int64)
        self.token = np.zeros((many, most), dtype=np.int64)
        self.logp = np.full((many, most), -np.inf)

    def add(self, sentences: Array, step: int, parents: Array, logp: Array, tokens: Array) -> None:
        """Hypotheses that end at a step: those of one sentence stand next to each other."""
        before = np.searchsorted(sentences, sentences)  # the first of each sentence
        place = self.count[sentences] + np.arange(len(sentences)) - before
        self.steps[sentences, place], self.parents[sentences, place] = step, parents
        self.logp[sentences, place], self.token[sentences, place] = logp, tokens
        self.count += np.bincount(sentences, minlength=len(self.count))

    def results(self, slots: Slots, wanted: int, end: int) -> Hypotheses:
        """The best of each sentence, ranked by log P / length^alpha."""
        ended = self.token == end
        scores = np.where(self.logp > -np.inf, self.logp, -np.inf) / (self.steps + 1.0) ** self.alpha
        order = np.argsort(-scores, axis=1, kind="stable")[:, :wanted]
        steps, parents, logp, token, scores, ended = (
            np.take_along_axis(each, order, axis=1)
            for each in (self.steps, self.parents, self.logp, self.token, scores, ended)
        )
        found = slots.traced(parents, steps)
        rows, places = np.nonzero(logp > -np.inf)
        found[rows, places, steps[rows, places]] = token[rows, places]
        return _results(found, steps + ~ended, (logp, scores), ended, (slots.forwards, end))


def _results(
    tokens: Array, lengths: Array, ranked: tuple[Array, Array], ended: Array, more: tuple[Array, int]
) -> Hypotheses:
    forwards, end = more
    logp, scores = ranked
    there = scores > -np.inf
    lengths = np.where(there, lengths, 0)
    inside = np.arange(tokens.shape[2]) < lengths[:, :, None]
    return Hypotheses(np.where(inside, tokens, end), lengths, logp, scores, ended & there, forwards)


def texts(model: TextModel, found: Hypotheses) -> Iterator[str]:
    """The text of every sentence's best hypothesis."""
    for sentence in range(len(found.lengths)):
        yield model.text(found.best(sentence))
