"""The only definition of cost and validity of responses."""

from __future__ import annotations

from collections.abc import Sequence

from sysgym.core.problem import Array, Verdict
from sysgym.response_decoding.worth import chunk_cost, information, likelihoods, metrics_of
from sysgym.text.episodes.ranked import encoded, judge_tokens
from sysgym.text.episodes.rows import Task
from sysgym.text.model import TextModel


def judge_texts(model: TextModel, task: Task, samples: Sequence[list[Array]], texts: Sequence[str]) -> Verdict:
    """Judge texts, one a message, against references: cost = 100 (1 - [0.5 chrF2 / 100 + 0.3 (1 + S / 10) + 0.2
    distinct-2]), chrF2 and distinct-2 (of words) of all answers together and S the mean of each answer's, which is no
    less than -10. An empty answer has S = -10, and distinct-2 shrinks by the share of empty ones. A text of more tokens
    than an answer may have is infeasible.

    Metrics: `chrf` and those of `metrics_of`.
    """
    assert task.score is not None
    violations = list[str]()
    for row, (text, limit) in enumerate(zip(texts, task.limits, strict=True), start=1):
        length = len(encoded(model, text))
        if length >= limit:
            violations.append(f"line {row} has {length} tokens; with its end it may have {limit}")
    logp = likelihoods(model, list(zip(samples, texts, strict=True)))
    s = [information(text, each) for text, each in zip(texts, logp, strict=True)]
    metrics = {"chrf": task.score.chrf(task.score.counts(texts)), **metrics_of(texts, logp)}
    return Verdict(not violations, chunk_cost(task.score, texts, s), metrics, tuple(violations))


def judge_ranked(
    model: TextModel, task: Task, samples: Sequence[list[Array]], texts: Sequence[str], tokens: Array
) -> Verdict:
    """Judge token ids by the model alone (`judge_tokens`); metrics: its `logprob` and `tokens`, and the rest of
    `metrics_of`.
    """
    told = judge_tokens(model, task, texts, tokens)
    logp = likelihoods(model, list(zip(samples, texts, strict=True)))
    return Verdict(told.feasible, told.cost, {**metrics_of(texts, logp), **told.metrics}, told.violations)
