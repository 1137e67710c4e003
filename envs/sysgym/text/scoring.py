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


def score_parts(model: TextModel, rows: Sequence[tuple[Array, Array, Array]]) -> Array:
    """log P (N,) float64 of each (source, prefix, part): of the part, all its tokens as they are, behind the prefix."""
    found = np.zeros(len(rows))
    order = np.argsort([len(part) for _, _, part in rows], kind="stable")
    for first in range(0, len(order), ROWS):
        chosen = order[first : first + ROWS]
        found[chosen] = _score_chunk(model, [rows[i] for i in chosen])
    return found


def _score_chunk(model: TextModel, rows: Sequence[tuple[Array, Array, Array]]) -> Array:
    """The same for rows in order of their parts' lengths: those that are through are left behind."""
    lengths = np.array([len(part) for _, _, part in rows])
    parts = np.zeros((len(rows), int(lengths.max(initial=0))), dtype=np.int64)
    for row, (_, _, part) in enumerate(rows):
        parts[row, : len(part)] = part
    segmented = bool(model.special.segment)
    begun = rows if segmented else [(source, NONE, NONE) for source, _, _ in rows]
    memory, state, last = model.begin([source for source, _, _ in begun], [prefix for _, prefix, _ in begun])
    total, first = np.zeros(len(rows)), 0
    for t in range(parts.shape[1]):
        through = int(np.searchsorted(lengths, t, side="right"))
        if through > first:
            state, last, first = state.take(np.arange(through - first, len(last))), last[through - first :], through
        logp, _, state = model.network.step(memory, state, last)
        last = parts[first:, t]
        total[first:] += logp[np.arange(len(last)), last]
    return total


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
    pairs = [(source, target) for source, target in zip(sources, targets, strict=True)]
    for source, target in zip(sources, targets, strict=True):
        pairs += [(each, target) for each in phi if not np.array_equal(each, source)]
    logp = score(model, [source for source, _ in pairs], [target for _, target in pairs], end)
    found, at = np.empty(len(sources)), len(sources)
    for row, source in enumerate(sources):
        many = sum(not np.array_equal(each, source) for each in phi)
        found[row] = mmi(logp[row : row + 1], logp[None, at : at + many])[0]
        at += many
    return found


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
