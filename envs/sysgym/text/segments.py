"""Stochastic beam search with segment-by-segment reranking (Shao, Gouws, Britz, Goldie, Strope, Kurzweil, EMNLP 2017).

At each step every hypothesis that has not ended samples D different next tokens; of all candidates B are sampled
without replacement in proportion to their probability within the segment. After H tokens the B hypotheses are reranked,
and the best becomes the prefix of the next segment. Published: B = 2, D = 10, H = 10, and Q = 15 sources for the score
S.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.hypotheses import ROWS, WIDEST, Begin, Hypotheses, Slots, greatest, length_penalty, top_tokens
from sysgym.text.model import NONE, TextModel
from sysgym.text.models.interface import State
from sysgym.text.sampling import gumbels
from sysgym.text.scoring import Row, mmi_of_samples, score, score_parts, with_others
from sysgym.text.search import Beam, length_beams, wu_beams


@dataclass(frozen=True, kw_only=True)
class Stochastic:
    """Numbers of the search, as published."""

    width: int = 2  # B
    samples: int = 10  # D
    segment: int = 10  # H
    seed: int = 0

    def check(self) -> None:
        """UsageError for what cannot be searched with."""
        if not (1 <= self.width <= WIDEST and 1 <= self.samples <= 1024 and self.segment >= 1):
            raise UsageError(f"a beam is 1 to {WIDEST} wide, D is 1 to 1024 and H no less than 1.")
        if not 0 <= self.seed < 2**63:
            raise UsageError("a seed is 0 to 2^63 - 1.")


class Written(NamedTuple):
    """What a sentence has so far."""

    tokens: Array  # (t,) int64, without an end token
    ended: bool
    logp: float  # of all its tokens, the end token among them if it has ended
    state: State | None = None  # of one hypothesis, before its last token; where None, a decoder runs over the tokens


class Candidates(NamedTuple):
    """Candidates of one sentence for its next segment, in the order of their slots."""

    parts: list[Array]  # tokens (<= H,) without an end token
    ended: Array  # (n,) bool
    logp: Array  # (n,) float64, of the part
    states: list[State | None]  # of those that go on, where their model continues from a state


Rerank = Callable[[Sequence[Array], Sequence[Written], Sequence[Candidates]], Sequence[Array]]
# sources, what is written, and candidates of S sentences -> for each the scores (n,) of its candidates


def segment_samples(
    model: TextModel, begin: Begin, limit: int, how: Stochastic, where: tuple[Array, Array], slots: Slots | None = None
) -> Hypotheses:
    """B sampled continuations of up to `limit` tokens from where sentences stand; `scores` and `logp` are of the
    segment alone. `where` are the number and the position of each sentence (S,), by which noise is drawn.
    """
    sentences, positions = where
    width, wide, end, slots = how.width, how.samples, model.special.end, slots or Slots(begin, how.width)
    many, steps = len(begin.tokens), 0
    length = np.zeros((many, width), dtype=np.int64)
    while steps < limit and len(live := slots.live):
        logp, _, at = slots.step(model)
        now = positions + steps
        tokens, phi = np.full((many, width, wide), end), np.full((many, width, wide), -np.inf)
        phi[:, :, 0] = np.where(slots.row < 0, slots.total, -np.inf)  # what has ended is one candidate
        tokens[at], drawn = _without_replacement(logp, wide, how.seed, (sentences[at[0]], now[at[0]], at[1]))
        phi[at] = slots.total[at][:, None] + drawn
        flat_tokens, flat = tokens[live].reshape(len(live), -1), phi[live].reshape(len(live), -1)
        noise = gumbels(how.seed, (sentences[live], now[live], np.full(len(live), WIDEST)), flat.shape[1])
        place = greatest(flat + noise, flat_tokens, width)
        chosen, totals = (np.take_along_axis(each, place, axis=1) for each in (flat_tokens, flat))
        parents = place // wide
        on = (chosen != end) & (totals > -np.inf)
        slots.advance(live, parents, chosen, totals, on)
        length[live] = np.take_along_axis(length[live], parents, axis=1) + on
        steps += 1
    found = slots.traced(np.tile(np.arange(width), (many, 1)), np.full((many, width), steps))
    inside = np.arange(found.shape[2]) < length[:, :, None]
    ended = (slots.row < 0) & (slots.total > -np.inf)
    return Hypotheses(np.where(inside, found, end), length, slots.total, slots.total, ended, slots.forwards)


def _without_replacement(logp: Array, count: int, seed: int, places: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """`count` different tokens of each row (N, V) by their probabilities, and their log-probabilities, (N, count); end
    tokens and -inf where there are no more."""
    tokens, _ = top_tokens(logp + gumbels(seed, places, logp.shape[1]), count)
    there = np.maximum(tokens, 0)
    return there, np.where(tokens >= 0, np.take_along_axis(logp, there, axis=1).astype(np.float64), -np.inf)


def candidate_segments(
    model: TextModel, sources: Sequence[Array], written: Sequence[Written], how: Stochastic, sentences: Array
) -> tuple[list[Candidates], Array]:
    """B candidates for the next segment of each sentence, and the forwards (S,) that they took.

    Noise is drawn by the sentence's number and its position, so the same prefix has the same candidates.
    """
    how.check()
    found, forwards = list[Candidates](), list[Array]()
    many = max(1, ROWS // how.width)
    for first in range(0, len(sources), many):
        chunk = slice(first, first + many)
        begin, extra = resumed(model, sources[chunk], written[chunk])
        position = np.array([len(each.tokens) for each in written[chunk]])
        slots, where = Slots(begin, how.width), (np.asarray(sentences[chunk]), position)
        part = segment_samples(model, begin, how.segment, how, where, slots)
        found += [as_candidates(part, row, None if model.special.segment else slots) for row in range(len(position))]
        forwards.append(part.forwards + extra)
    return found, np.concatenate(forwards)


def check_segment(model: TextModel, segment: int) -> None:
    """UsageError if a model reads what it has written anew at other places than those where a search stops."""
    if model.special.segment not in (0, segment):
        raise UsageError(f"{model.name} has segments of {model.special.segment} tokens, so H cannot be {segment}.")


def as_candidates(found: Hypotheses, row: int, slots: Slots | None) -> Candidates:
    """The hypotheses of one sentence that there are; with the states of their slots."""
    there = np.flatnonzero(found.scores[row] > -np.inf)
    parts, states = [found.best(row, int(slot)) for slot in there], list[State | None]()
    for slot in there:
        at = -1 if slots is None else int(slots.row[row, slot])
        states.append(None if slots is None or at < 0 else slots.state.take(np.array([at])))
    return Candidates(parts, found.ended[row, there], found.logp[row, there], states)


def resumed(model: TextModel, sources: Sequence[Array], written: Sequence[Written]) -> tuple[Begin, Array]:
    """Where sentences stand behind what is written, and the steps (S,) that it took to get there: a model with segments
    encodes the prefix; another one goes on from its state, or runs its decoder over what is written."""
    prefixes = [each.tokens for each in written]
    if model.special.segment:
        return Begin(*model.begin(sources, prefixes)), np.zeros(len(sources), dtype=np.int64)
    begin = Begin(*model.begin(sources))
    states = [each.state for each in written if each.state is not None]
    if len(states) == len(written):
        state = State.join(states)._replace(source=np.arange(len(sources)))
        return begin._replace(state=state, tokens=np.array([prefix[-1] for prefix in prefixes])), 0 * begin.tokens
    return _run_over(model, begin, prefixes)


def _run_over(model: TextModel, begin: Begin, prefixes: Sequence[Array]) -> tuple[Begin, Array]:
    """Where a decoder stands behind prefixes, and its steps to there: all but the last token of each is read."""
    steps = np.array([len(prefix) for prefix in prefixes])
    if not steps.any():
        return begin, steps
    state, tokens = begin.state, begin.tokens.copy()
    parts, order = list[tuple[Array, Begin]](), np.arange(len(prefixes))
    for t in range(int(steps.max()) + 1):
        through = steps[order] == t
        if through.any():
            at = np.flatnonzero(through)
            parts.append((order[at], Begin(begin.memory, state.take(at), tokens[at])))
            order, state, tokens = order[~through], state.take(np.flatnonzero(~through)), tokens[~through]
        if len(order):
            _, _, state = model.network.step(begin.memory, state, tokens)
            tokens = np.array([prefixes[int(row)][t] for row in order])
    back = np.argsort(np.concatenate([rows for rows, _ in parts]))
    joint = State.join([each.state for _, each in parts]).take(back)
    return Begin(begin.memory, joint, np.concatenate([each.tokens for _, each in parts])[back]), steps


def stochastic_beams(
    model: TextModel, sources: Sequence[Array], how: Stochastic, rerank: Rerank, sentences: Array | None = None,
    max_length: int | None = None,
) -> tuple[list[Written], Array]:  # fmt: skip
    """Whole texts of sentences, segment by segment, and their forwards (S,). Ties in the reranking go to the first."""
    numbers = np.arange(len(sources)) if sentences is None else np.asarray(sentences, dtype=np.int64)
    check_segment(model, how.segment)

    def write(rows: Array, written: Sequence[Written], room: int) -> tuple[list[Written], Array]:
        chosen = [sources[row] for row in rows]
        now = replace(how, segment=min(how.segment, room))
        there, forwards = candidate_segments(model, chosen, written, now, numbers[rows])
        scores = rerank(chosen, written, there)
        best = [int(np.argmax(each)) for each in scores]
        return [committed(*each) for each in zip(written, there, best, strict=True)], forwards

    return by_segments(len(sources), max_length or model.max_length, write)


def segment_beams(
    model: TextModel, sources: Sequence[Array], beam: Beam, segment: int = 0, max_length: int | None = None,
    rerank: Rerank | None = None,
) -> tuple[list[Written], Array]:  # fmt: skip
    """Beam search segment by segment: the best hypothesis of each, by the search or by `rerank`, becomes the prefix of
    the next. What a model with segments has for a beam search; with width 1 its greedy search. `segment` is the model's
    own, or 10, if 0."""
    beam.check()
    every = segment or model.special.segment or 10
    check_segment(model, every)
    run = wu_beams if beam.convention == "wu" else length_beams
    many = max(1, ROWS // beam.width)

    def write(rows: Array, written: Sequence[Written], room: int) -> tuple[list[Written], Array]:
        found, forwards = list[Written](), list[Array]()
        for first in range(0, len(rows), many):
            before = written[first : first + many]
            begin, extra = resumed(model, [sources[row] for row in rows[first : first + many]], before)
            slots = Slots(begin, beam.width)
            part = run(model, begin, min(every, room), beam, slots)
            kept = slots if not model.special.segment and beam.convention == "wu" else None
            there = [as_candidates(part, row, kept) for row in range(len(before))]
            chosen = [sources[row] for row in rows[first : first + many]]
            scores = rerank(chosen, before, there) if rerank else [np.zeros(1)] * len(there)
            best = [int(np.argmax(each)) for each in scores]
            found += [committed(*each) for each in zip(before, there, best, strict=True)]
            forwards.append(part.forwards + extra)
        return found, np.concatenate(forwards)

    return by_segments(len(sources), max_length or model.max_length, write)


Write = Callable[[Array, Sequence[Written], int], tuple[list[Written], Array]]


def by_segments(many: int, limit: int, write: Write) -> tuple[list[Written], Array]:
    """Write segments until all sentences have ended or are `limit` tokens long. Those that have not are of one length,
    so one number says how much they may still grow."""
    written, forwards = [Written(NONE, False, 0.0)] * many, np.zeros(many, dtype=np.int64)
    while len(rows := np.array([i for i, each in enumerate(written) if not each.ended and len(each.tokens) < limit])):
        room = limit - len(written[rows[0]].tokens)
        found, count = write(rows, [written[row] for row in rows], room)
        forwards[rows] += count
        for row, each in zip(rows, found, strict=True):
            written[row] = each
    return written, forwards


def committed(before: Written, there: Candidates, place: int) -> Written:
    """What is written once a candidate is chosen."""
    tokens = np.concatenate([before.tokens, there.parts[place]])
    return Written(tokens, bool(there.ended[place]), before.logp + float(there.logp[place]), there.states[place])


def by_logp(alpha: float = 1.0) -> Rerank:
    """Rerank by log P of all that is written over Wu's length penalty."""

    def rerank(sources: Sequence[Array], written: Sequence[Written], there: Sequence[Candidates]) -> Sequence[Array]:
        found = list[Array]()
        for before, each in zip(written, there, strict=True):
            lengths = np.array([len(before.tokens) + len(part) for part in each.parts])
            found.append((before.logp + each.logp) / length_penalty(lengths, alpha))
        return found

    return rerank


def by_mmi(model: TextModel, phi: Sequence[Array]) -> Rerank:
    """Rerank by S of all that is written against a sample of sources (token ids)."""
    known: dict[tuple[bytes, bytes], Array] = {}  # log P of what is written; segments are scored once, in their order

    def past(source: Array, sample: Sequence[Array], tokens: Array) -> Array:
        kept = known.get((source.tobytes(), tokens.tobytes()))
        return score(model, sample, [tokens] * len(sample), end=False) if kept is None else kept

    def rerank(sources: Sequence[Array], written: Sequence[Written], there: Sequence[Candidates]) -> Sequence[Array]:
        samples = [with_others(source, phi) for source in sources]
        segmented = bool(model.special.segment)  # another model runs over what is written in any case
        places = [(s, n) for s, each in enumerate(there) for n in range(len(each.parts))]
        rows = list[Row]()
        for s, n in places:
            part = np.append(there[s].parts[n], model.special.end) if there[s].ended[n] else there[s].parts[n]
            prefix, part = (written[s].tokens, part) if segmented else (NONE, np.concatenate([written[s].tokens, part]))
            rows += [(source, prefix, part) for source in samples[s]]
        texts = [each.tokens for each in written]
        before = [past(*each) for each in zip(sources, samples, texts, strict=True)] if segmented else []
        known.clear()
        logp, first, found = score_parts(model, rows), 0, [np.zeros(len(each.parts)) for each in there]
        for s, n in places:
            whole = logp[first : first + len(samples[s])]
            first += len(whole)
            if segmented:
                whole = before[s] + whole
                text = np.concatenate([written[s].tokens, there[s].parts[n]])
                known[sources[s].tobytes(), text.tobytes()] = whole
            found[s][n] = mmi_of_samples([samples[s]], whole)[0]
        return found

    return rerank
