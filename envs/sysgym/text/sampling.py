"""Sampling, with and without replacement. All noise follows from (seed, sentence, position, slot) alone.

A sentence is told by a number of its own (`Draw.sentences`), so its samples do not depend on what else is in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.hypotheses import (
    ROWS,
    WIDEST,
    Begin,
    Hypotheses,
    Slots,
    candidates,
    check_whole,
    greatest,
    joined,
    top_tokens,
)
from sysgym.text.model import TextModel
from sysgym.text.models.linear import log_softmax
from sysgym.text.search_kernels import fill_uniform, keys_of


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How to sample a token."""

    seed: int = 0
    temperature: float = 1.0
    top: int = 0  # only the `top` most probable tokens; 0 for all
    uniform: bool = False  # all of those equally probable: random in the top

    def check(self) -> None:
        """UsageError for what cannot be sampled with."""
        if not self.temperature > 0 or not 0 <= self.seed < 2**63 or self.top < 0:
            raise UsageError("a temperature is above 0, a seed 0 to 2^63 - 1, and top no less than 0.")
        if self.uniform and not self.top:
            raise UsageError("uniform sampling is among the `top` most probable tokens; say how many.")


def uniforms(seed: int, places: tuple[Array, Array, Array], count: int) -> Array:
    """Uniform numbers (N, count) float32 between 0 and 1 of the streams (sentence, position, slot), (N,) int64 each."""
    keys = np.empty(len(places[0]), dtype=np.uint64)
    keys_of(seed, *(np.asarray(place, dtype=np.int64) for place in places), keys)
    found = np.empty((len(keys), count), dtype=np.float32)
    fill_uniform(keys, found)
    return found


def gumbels(seed: int, places: tuple[Array, Array, Array], count: int) -> Array:
    """Standard Gumbel noise (N, count) float32 of the same streams; adding it to log-probabilities and taking the
    greatest is sampling, taking the k greatest is sampling without replacement."""
    found = uniforms(seed, places, count)
    np.log(found, out=found)
    np.negative(found, out=found)
    np.log(found, out=found)
    np.negative(found, out=found)
    return found


def sample(
    model: TextModel, sources: Sequence[Array], draw: Draw | None = None, sentences: Array | None = None,
    max_length: int | None = None,
) -> Hypotheses:  # fmt: skip
    """One sampled hypothesis of each sentence; `logp` is the model's own, whatever temperature or `top` say.

    `sentences` (S,) are the numbers by which noise is drawn; 0, 1, ... if None.
    """
    draw = draw or Draw()
    draw.check()
    numbers = np.arange(len(sources)) if sentences is None else np.asarray(sentences, dtype=np.int64)
    limit, parts = max_length or model.max_length, list[Hypotheses]()
    check_whole(model, len(sources), limit)
    for first in range(0, len(sources), ROWS):
        chunk = slice(first, first + ROWS)
        parts.append(sample_from(model, Begin(*model.begin(sources[chunk])), limit, draw, numbers[chunk]))
    return joined(parts, model.special.end)


def sample_from(
    model: TextModel, begin: Begin, limit: int, draw: Draw, sentences: Array, written: int = 0
) -> Hypotheses:  # fmt: skip
    """Sampled hypotheses from where they begin, behind so many tokens that are `written`."""
    many, end = len(begin.tokens), model.special.end
    tokens = np.full((many, 1, limit), end)
    lengths, forwards, rows = np.zeros(many, dtype=np.int64), np.zeros(many, dtype=np.int64), np.arange(many)
    total, ended = np.zeros(many), np.zeros(many, dtype=bool)
    state, last = begin.state, begin.tokens
    for t in range(limit):
        logp, _, state = model.network.step(begin.memory, state, last)
        places = np.full(len(rows), written + t)
        last = drawn(logp, draw, (sentences[rows], places, np.zeros(len(rows), dtype=np.int64)))
        forwards[rows] += 1
        total[rows] += logp[np.arange(len(rows)), last]
        tokens[rows, 0, t] = last
        on = last != end
        lengths[rows[on]] += 1
        ended[rows[~on]] = True
        rows, last, state = rows[on], last[on], state.take(np.flatnonzero(on))
        if not len(rows):
            break
    cut, logp_all = tokens[:, :, : int(forwards.max())], total[:, None]
    return Hypotheses(cut, lengths[:, None], logp_all, logp_all, ended[:, None], forwards)


def drawn(logp: Array, draw: Draw, places: tuple[Array, Array, Array]) -> Array:
    """One token (N,) of each row of log-probabilities (N, V)."""
    if not draw.top:
        tempered = logp if draw.temperature == 1.0 else logp / np.float32(draw.temperature)
        whole: Array = (tempered + gumbels(draw.seed, places, logp.shape[1])).argmax(axis=1)
        return whole
    tokens, values = top_tokens(logp, min(draw.top, logp.shape[1]))
    values = np.where(tokens >= 0, 0.0, -np.inf) if draw.uniform else values / draw.temperature
    place = (values + gumbels(draw.seed, places, values.shape[1])).argmax(axis=1)
    found: Array = tokens[np.arange(len(tokens)), place]
    return found


def gumbel_beams(
    model: TextModel, sources: Sequence[Array], width: int, seed: int = 0, sentences: Array | None = None,
    max_length: int | None = None,
) -> Hypotheses:  # fmt: skip
    """`width` different hypotheses of each sentence, sampled without replacement (stochastic beam search; Kool, van
    Hoof and Welling, ICML 2019, algorithm 1). `scores` are their perturbed log-probabilities G, in order.
    """
    if not 1 <= width <= WIDEST or not 0 <= seed < 2**63:
        raise UsageError(f"a beam is 1 to {WIDEST} wide and a seed 0 to 2^63 - 1, got {width} and {seed}.")
    numbers = np.arange(len(sources)) if sentences is None else np.asarray(sentences, dtype=np.int64)
    many, limit, parts = max(1, ROWS // width), max_length or model.max_length, list[Hypotheses]()
    check_whole(model, len(sources), limit)
    for first in range(0, len(sources), many):
        chunk = slice(first, first + many)
        parts.append(_gumbel_chunk(model, Begin(*model.begin(sources[chunk])), limit, width, (seed, numbers[chunk])))
    return joined(parts, model.special.end)


def _gumbel_chunk(model: TextModel, begin: Begin, limit: int, width: int, noise: tuple[int, Array]) -> Hypotheses:
    (seed, sentences), end, slots = noise, model.special.end, Slots(begin, width)
    many, steps = len(begin.tokens), 0
    perturbed = np.full((many, width), -np.inf)  # G of every slot
    perturbed[:, 0] = 0.0
    length = np.zeros((many, width), dtype=np.int64)
    while steps < limit and len(live := slots.live):
        logp, _, at = slots.step(model)
        where = (sentences[at[0]], np.full(len(at[0]), steps), at[1])
        noisy = logp + gumbels(seed, where, logp.shape[1]) + slots.total[at].astype(np.float32)[:, None]
        tokens = np.full((many, width, width + 1), end)
        g = np.full((many, width, width + 1), -np.inf)
        phi = g.copy()
        ended = slots.row < 0
        g[:, :, 0], phi[:, :, 0] = np.where(ended, perturbed, -np.inf), np.where(ended, slots.total, -np.inf)
        kept = logp.astype(np.float64)
        tokens[at], raw = candidates(noisy, width, end)
        there = np.where(tokens[at] >= 0, tokens[at], end)
        phi[at] = slots.total[at][:, None] + np.where(raw > -np.inf, np.take_along_axis(kept, there, axis=1), -np.inf)
        g[at] = conditioned(perturbed[at], raw)
        flat = [each[live].reshape(len(live), -1) for each in (g, tokens, phi)]
        place = greatest(flat[0], flat[1], width)
        perturbed[live], chosen, totals = (np.take_along_axis(each, place, axis=1) for each in flat)
        parents = place // (width + 1)
        on = (chosen != end) & (perturbed[live] > -np.inf)
        slots.advance(live, parents, chosen, totals, on)
        length[live] = np.take_along_axis(length[live], parents, axis=1) + on
        steps += 1
    every = np.tile(np.arange(width), (many, 1))
    found = slots.traced(every, np.full((many, width), steps))
    inside = np.arange(found.shape[2]) < length[:, :, None]
    over = (slots.row < 0) & (perturbed > -np.inf)
    return Hypotheses(np.where(inside, found, end), length, slots.total, perturbed, over, slots.forwards)


def conditioned(parent: Array, raw: Array) -> Array:
    """Gumbels (N, M) of children given that their greatest is their parent's (N,); raw (N, M) holds each row's
    greatest. Kool et al. 2019, appendix B.3, in its stable form."""
    raw = raw.astype(np.float64)
    greatest_raw = raw.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        v = parent[:, None] - raw + np.log1p(-np.exp(raw - greatest_raw))
        found = parent[:, None] - np.maximum(v, 0.0) - np.log1p(np.exp(-np.abs(v)))
    kept: Array = np.where(raw > -np.inf, np.where(raw == greatest_raw, parent[:, None], found), -np.inf)
    return kept


def redistributed(logp: Array, draw: Draw) -> Array:
    """The log-probabilities (N, V) that `drawn` samples from: what a sample's own probability is."""
    tempered = logp / np.float32(draw.temperature)
    if not draw.top:
        return log_softmax(tempered)
    tokens, values = top_tokens(tempered, min(draw.top, logp.shape[1]))
    found = np.full_like(logp, -np.inf)
    np.put_along_axis(found, tokens, log_softmax(np.zeros_like(values) if draw.uniform else values), axis=1)
    return found
