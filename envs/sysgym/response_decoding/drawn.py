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
from sysgym.text.scoring import Row, mmi, score_parts
from sysgym.text.segments import Stochastic, Written, candidate_segments

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


def draw(model: TextModel, asked: Sequence[Asked], how: Sampler) -> list[Drawn]:
    """The candidates of each state; those that are not known are drawn together."""
    keys = [_key(model, each, how) for each in asked]
    found = {key: _known[key] for key in keys if key in _known}
    rooms: dict[int, dict[Key, Asked]] = {}
    for key, each in zip(keys, asked, strict=True):
        if key not in found:
            rooms.setdefault(key[1].beam.segment, {})[key] = each
    for group in rooms.values():
        made = _scored(model, list(group.values()), _offers(model, list(group.values()), next(iter(group))[1]))
        found.update(zip(group, made, strict=True))
        _known.update(zip(group, made, strict=True))
    while len(_known) > KEPT:
        _known.popitem(last=False)
    return [found[key] for key in keys]


def _key(model: TextModel, asked: Asked, how: Sampler) -> Key:
    now = how._replace(beam=replace(how.beam, segment=min(how.beam.segment, asked.room)))
    sample = b"|".join(source.tobytes() for source in asked.sample)
    return model.hash, now, asked.place, sample, asked.tokens.tobytes()


Offers = dict[bytes, tuple[Array, bool]]  # tokens of a part without an end, and whether it ends; in the order drawn


def _offers(model: TextModel, asked: Sequence[Asked], how: Sampler) -> list[Offers]:
    """Different segments of each state, `many` at most, and none with a token that no answer holds."""
    found: list[Offers] = [{} for _ in asked]
    beams = -(-how.many // how.beam.width)
    for turn in range(ROUNDS):
        lacking = [i for i, offers in enumerate(found) if len(offers) < how.many]
        rows = [(i, turn * beams + beam) for i in lacking for beam in range(beams)]
        if not rows:
            break
        sources, written = (
            [asked[i].sample[0] for i, _ in rows],
            [Written(asked[i].tokens, False, 0.0) for i, _ in rows],
        )
        numbers = np.array([asked[i].place * ROUNDS * MOST + beam for i, beam in rows])
        sets, _ = candidate_segments(model, sources, written, how.beam, numbers)
        for (i, _), there in zip(rows, sets, strict=True):
            for part, over in zip(there.parts, there.ended.tolist(), strict=True):
                if len(found[i]) < how.many and not np.isin(part, model.unwritten).any():
                    found[i].setdefault(part.tobytes() + bytes([over]), (part, over))
    return found


def _scored(model: TextModel, asked: Sequence[Asked], offered: Sequence[Offers]) -> list[Drawn]:
    """Candidates with their figures, by S, and what it is to stop behind them."""
    choices = [[*offers.values(), (NONE, True)] for offers in offered]
    rows, end = list[Row](), np.array([model.special.end])
    for each, offers in zip(asked, choices, strict=True):
        for part, over in offers:
            whole = np.concatenate([part, end]) if over else part
            rows += [(source, each.tokens, whole) for source in each.sample]
    logp, first, found = score_parts(model, rows), 0, list[Drawn]()
    for each, offers in zip(asked, choices, strict=True):
        rest = len(offers) * len(each.sample)
        part_logp = logp[first : first + rest].reshape(len(offers), -1)
        first += rest
        under = each.under + part_logp
        s = mmi(under[:, 0], under[:, 1:])
        order = [*np.argsort(-s[:-1], kind="stable").tolist(), len(s) - 1]
        ended = np.array([over for _, over in offers])
        parts = [offers[i][0] for i in order]
        found.append(Drawn(parts, ended[order], part_logp[order, 0], under[order], s[order]))
    return found
