"""How probable given texts are under a model, and the scores made of that: MMI against other sources, N-choose-K."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.model import NONE, TextModel

ROWS = 256  # targets that are scored together; their number changes no result


def score(model: TextModel, sources: Sequence[Array], targets: Sequence[Array], end: bool = True) -> Array:
    """log P (N,) float64 of each target (token ids without an end) given its source, the end token counted unless `end`
    is False. A model with segments reads its source anew with each segment.
    """
    wanted = [_whole(model, target, end) for target in targets]
    owners, rows = list[int](), list[tuple[Array, Array, Array]]()
    for place, (source, target) in enumerate(zip(sources, wanted, strict=True)):
        for first in range(0, max(1, len(target)), model.special.segment or max(1, len(target))):
            last = first + (model.special.segment or len(target))
            rows.append((source, target[:first], target[first:last]))
            owners.append(place)
    found = np.zeros(len(wanted))
    np.add.at(found, owners, score_parts(model, rows))  # segments of a target in their order
    return found


def _whole(model: TextModel, target: Array, end: bool) -> Array:
    target = np.asarray(target, dtype=np.int64)
    if len(target) and (target.min() < 0 or target.max() >= model.vocabulary):
        raise UsageError(f"a target holds a token that the model's vocabulary of {model.vocabulary} has not.")
    return np.append(target, model.special.end) if end else target


Row = tuple[Array, Array, Array]  # source, what is written before, and the part that is scored, as token ids


def score_parts(model: TextModel, rows: Sequence[Row]) -> Array:
    """log P (N,) float64 of each (source, prefix, part): of the part, all its tokens as they are, behind the prefix."""
    found = np.zeros(len(rows))
    keys = [_key(model, row) for row in rows]
    lengths = [len(part) if model.special.segment else len(prefix) + len(part) for _, prefix, part in rows]
    order = sorted(range(len(rows)), key=lambda row: (lengths[row], keys[row]))
    for first in range(0, len(order), ROWS):
        chosen = order[first : first + ROWS]
        found[chosen] = _score_chunk(model, [rows[i] for i in chosen], [keys[i] for i in chosen])
    return found


def _key(model: TextModel, row: Row) -> tuple[bytes, bytes]:
    """What is encoded for a row: rows of the same share it."""
    source, prefix, _ = row
    return source.tobytes(), prefix.tobytes() if model.special.segment else b""


def _score_chunk(model: TextModel, rows: Sequence[Row], keys: Sequence[tuple[bytes, bytes]]) -> Array:
    """The same for rows in order of their lengths: those that are through are left behind."""
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    first_of = {places[key]: row for row, key in zip(reversed(range(len(keys))), reversed(keys), strict=True)}
    begun, segmented = [rows[first_of[place]] for place in range(len(places))], bool(model.special.segment)
    prefixes = [prefix if segmented else NONE for _, prefix, _ in begun]
    memory, state, last = model.begin([source for source, _, _ in begun], prefixes)
    at = np.array([places[key] for key in keys])
    state, last = state.take(at), last[at]
    forced = [part if segmented else np.concatenate([prefix, part]) for _, prefix, part in rows]
    skipped = np.array([0 if segmented else len(prefix) for _, prefix, _ in rows])  # a decoder runs over its prefix
    lengths = np.array([len(each) for each in forced])
    tokens = np.zeros((len(rows), int(lengths.max(initial=0))), dtype=np.int64)
    for row, each in enumerate(forced):
        tokens[row, : len(each)] = each
    total, first = np.zeros(len(rows)), 0
    for t in range(tokens.shape[1]):
        through = int(np.searchsorted(lengths, t, side="right"))
        if through > first:
            state, last, first = state.take(np.arange(through - first, len(last))), last[through - first :], through
        logp, _, state = model.network.step(memory, state, last)
        last = tokens[first:, t]
        total[first:] += np.where(skipped[first:] <= t, logp[np.arange(len(last)), last], 0.0)
    return total


def attentions(model: TextModel, source: Array, target: Array) -> list[tuple[Array, Array]]:
    """What the network read, (S,) token ids, and its attention to that, (T, S) float32, as it writes a target: one pair
    for each segment, one in all for a model without segments."""
    every = model.special.segment or max(1, len(target))
    found = []
    for first in range(0, max(1, len(target)), every):
        prefix = target[:first]
        memory, state, last = model.begin([source], [prefix])
        read, rows = model.read(source, prefix), list[Array]()
        for token in target[first : first + every]:
            _, attention, state = model.network.step(memory, state, last)
            rows.append(attention[0, : len(read)])
            last = np.array([token])
        found.append((read, np.stack(rows) if rows else np.zeros((0, len(read)), dtype=np.float32)))
    return found


def mmi(own: Array, others: Array) -> Array:
    """S(X, Y) = log P(Y | X) - log sum over X' in Phi of P(Y | X'), with X in Phi, so S <= 0.

    Shao et al. (EMNLP 2017), their reranking score, whose denominator estimates P(Y) from |Phi| = Q = 15 sources. `own`
    (N,) is log P(Y | X), `others` (N, Q - 1) log P(Y | X') of the sources besides X.

    >>> float(mmi(np.array([-1e4]), np.array([[-1e4]])).round(6)[0])
    -0.693147
    """
    both = np.concatenate([own[:, None], others], axis=1)
    greatest = both.max(axis=1, keepdims=True)
    found: Array = own - greatest[:, 0] - np.log(np.exp(both - greatest).sum(axis=1))
    return np.minimum(found, 0.0)


def mmi_scores(
    model: TextModel, sources: Sequence[Array], targets: Sequence[Array], phi: Sequence[Array], end: bool = True
) -> Array:
    """S (N,) of each target with its source, against the sources of a sample; X itself in the sample counts once."""
    samples = [with_others(source, phi) for source in sources]
    pairs = [(each, target) for sample, target in zip(samples, targets, strict=True) for each in sample]
    logp = score(model, [source for source, _ in pairs], [target for _, target in pairs], end)
    return mmi_of_samples(samples, logp)


def with_others(source: Array, phi: Sequence[Array]) -> list[Array]:
    """The sample Phi of a source: itself first, then those that are not the same."""
    return [source, *(each for each in phi if not np.array_equal(each, source))]


def mmi_of_samples(samples: Sequence[Sequence[Array]], logp: Array) -> Array:
    """S (N,) of log-probabilities of a target under each source of its sample, one sample after the other."""
    ends = np.cumsum([len(sample) for sample in samples])
    parts = [logp[end - len(sample) : end] for sample, end in zip(samples, ends, strict=True)]
    return np.array([mmi(part[:1], part[None, 1:])[0] for part in parts])


def choose(
    model: TextModel, sources: Sequence[Array], targets: Sequence[Array], wrong: Sequence[Sequence[Array]],
    phi: Sequence[Array], best: int = 1,
) -> float:  # fmt: skip
    """N-choose-K: the share of sources whose true response is among the `best` of it and N - 1 wrong ones, ranked
    by S against the sources `phi`; a wrong one of the same S ranks before it.
    """
    if not len(sources) or best < 1:
        raise UsageError("N-choose-K needs a source, and a K of at least 1.")
    hits = 0
    for source, target, others in zip(sources, targets, wrong, strict=True):
        answers = [target, *others]
        found = mmi_scores(model, [source] * len(answers), answers, phi)
        hits += int((found[1:] >= found[0]).sum()) < best
    return hits / len(sources)
