"""Candidate sets: the segments that a state offers, drawn by counter-based noise from (seed, message, position).

The sampler is Shao's stochastic beam search (`sysgym.text.segments`), run again and again until there are enough
different token sequences: hypotheses of one beam resemble each other, those of several do not. The same state has the
same candidates, alone, in any batch and in a replay.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sysgym.core.problem import Array
from sysgym.text.model import NONE, TextModel
from sysgym.text.scoring import mmi
from sysgym.text.segments import Stochastic, Written, candidate_segments, resumed

KEPT = 2**15
ROUNDS, MOST = 4, 64  # beams are drawn in rounds, as many as would do for MOST candidates at most


class Sampler(NamedTuple):
    """How candidates are drawn."""

    many: int  # candidates
    beam: Stochastic


class Asked(NamedTuple):
    """A message and what is written to it."""

    sample: list[Array]  # Phi: token ids of the message and of the others
    place: int  # number of the message in its instance
    tokens: Array  # (t,) int64, without an end token
    under: Array  # (Q,) float64, log P of them under each source of Phi
    room: int  # tokens that may still be written


class Drawn(NamedTuple):
    """Candidates, by S from the best, and last what it is to stop here."""

    parts: list[Array]  # tokens (<= H,) without an end token; none of the last
    ended: Array  # (n + 1,) bool
    logp: Array  # (n + 1,) float64, of the part, its end among it
    under: Array  # (n + 1, Q) float64, of all that would be written, under each source of Phi
    s: Array  # (n + 1,) float64


Key = tuple[str, Sampler, int, bytes, bytes]  # hash of the model, sampler, message's place, Phi, what is written
_known: OrderedDict[Key, Drawn] = OrderedDict()  # of this process; what is drawn again is the same


def draw(model: TextModel, asked: Asked, how: Sampler) -> Drawn:
    """The candidates of a state."""
    beam = replace(how.beam, segment=min(how.beam.segment, asked.room))
    sample = b"|".join(source.tobytes() for source in asked.sample)
    key = model.hash, how._replace(beam=beam), asked.place, sample, asked.tokens.tobytes()
    if key not in _known:
        _known[key] = _scored(model, asked, _offers(model, asked, key[1]))
        if len(_known) > KEPT:
            _known.popitem(last=False)
    return _known[key]


Offer = tuple[Array, bool]  # tokens of a part without an end, and whether it ends


def _offers(model: TextModel, asked: Asked, how: Sampler) -> list[Offer]:
    """Different segments in the order drawn, `many` at most, and none with a token that no answer holds."""
    found, beams = dict[bytes, Offer](), -(-how.many // how.beam.width)
    sources, written = [asked.sample[0]] * beams, [Written(asked.tokens, False, 0.0)] * beams
    for turn in range(ROUNDS):
        numbers = asked.place * ROUNDS * MOST + turn * beams + np.arange(beams)
        for there in candidate_segments(model, sources, written, how.beam, numbers)[0]:
            for part, over in zip(there.parts, there.ended.tolist(), strict=True):
                if len(found) < how.many and not np.isin(part, model.unwritten).any():
                    found.setdefault(part.tobytes() + bytes([over]), (part, over))
        if len(found) == how.many:
            break
    return list(found.values())


def _scored(model: TextModel, asked: Asked, offers: list[Offer]) -> Drawn:
    """Candidates with their figures, by S, and what it is to stop behind them."""
    offers = [*offers, (NONE, True)]
    parts = [np.append(part, model.special.end) if over else part for part, over in offers]
    logp = likelihoods_of_parts(model, asked.sample, asked.tokens, parts)
    under = asked.under + logp
    s = mmi(under[:, 0], under[:, 1:])
    order = [*np.argsort(-s[:-1], kind="stable").tolist(), len(s) - 1]
    ended = np.array([over for _, over in offers])
    return Drawn([offers[i][0] for i in order], ended[order], logp[order, 0], under[order], s[order])


def likelihoods_of_parts(model: TextModel, sample: list[Array], prefix: Array, parts: Sequence[Array]) -> Array:
    """log P (n, Q) float64 of each part behind the prefix, under each source: the bits of `score_parts`. Parts that
    begin alike share the network's steps.
    """
    count = len(sample)
    begin, _ = resumed(model, sample, [Written(prefix, False, 0.0)] * count)
    total, at = np.zeros((len(parts), count)), np.zeros(len(parts), np.int64)  # at: the node of each part
    state, last = begin.state, begin.tokens
    for t in range(max(map(len, parts))):
        logp, _, after = model.network.step(begin.memory, state, last)
        values = logp.reshape(-1, count, logp.shape[1])
        nodes: dict[tuple[int, int], int] = {}
        for i, part in enumerate(parts):
            if t < len(part):
                total[i] += values[at[i], :, part[t]]
            if t + 1 < len(part):
                at[i] = nodes.setdefault((int(at[i]), int(part[t])), len(nodes))
        if nodes:
            parents = np.array([parent for parent, _ in nodes])
            state = after.take((parents[:, None] * count + np.arange(count)).ravel())
            last = np.repeat([token for _, token in nodes], count)
    return total
