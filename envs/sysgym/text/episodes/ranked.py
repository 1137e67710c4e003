"""Answers as arrays, with or without references, and their judge where there are none: the network itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sysgym.core.errors import InvalidSolution, UsageError
from sysgym.core.problem import Array, ArraySpec, Solution, Verdict
from sysgym.text.episodes.rows import Task
from sysgym.text.episodes.sentences import LONGEST
from sysgym.text.episodes.tokens import answer_arrays
from sysgym.text.model import NONE, TextModel
from sysgym.text.scoring import score


def encoded(model: TextModel, text: str) -> Array:
    """Token ids (t,) of an answer of any length, in the vocabulary's own cut."""
    return model.target.encode(text, None) if text else NONE


def fitted(model: TextModel, tokens: Array, limit: int) -> Array:
    """Tokens without those that no answer holds, cut until they, and their text as the vocabulary cuts it, have room
    for an end within the limit."""
    tokens = tokens[~np.isin(tokens, model.unwritten)][: limit - 1]
    while len(encoded(model, model.text(tokens))) >= limit:
        tokens = tokens[:-1]
    return tokens


def answer_specs(model: TextModel, task: Task) -> dict[str, ArraySpec]:
    """The arrays of answers: `text` and `ends`; where log P ranks, `tokens` too."""
    count = len(task.sources)
    found = {
        "text": ArraySpec((count * LONGEST,), "int", 0, 255, "the answers in UTF-8, one after the other", True),
        "ends": ArraySpec((count,), "int", 0, count * LONGEST, "where each answer ends in `text`"),
    }
    if task.score is not None:
        return found
    shape = (count, max(task.limits))
    about = "token ids, the end token behind each answer"
    return found | {"tokens": ArraySpec(shape, "int", 0, model.vocabulary - 1, about)}


def written(model: TextModel, task: Task, texts: list[str], tokens: list[Array] | None) -> Solution:
    """The solution of answers; where log P ranks, texts without tokens are cut into them by the model's vocabulary.
    InvalidSolution if their number is wrong, UsageError if one is too long.
    """
    if len(texts) != len(task.sources):
        raise InvalidSolution(
            f"there are {len(texts)} answers for {len(task.sources)} sentences: one a line is needed."
        )
    if task.score is not None:
        return answer_arrays(model, task, texts, [])
    ids = tokens or [model.target.encode(text) if text else NONE for text in texts]
    for row, (each, limit) in enumerate(zip(ids, task.limits, strict=True), start=1):
        if len(each) >= limit:
            raise UsageError(f"answer {row} has {len(each)} tokens; with its end it may have {limit} (max_len).")
    return answer_arrays(model, task, texts, ids)


def judge_tokens(model: TextModel, task: Task, texts: Sequence[str], tokens: Array) -> Verdict:
    """Judge token ids (n, most), the end token behind each answer, by the model alone: cost = the mean over sentences
    of -log P / length, the end token counted in both. An empty answer is infeasible: the model prefers it too often.

    Metrics: `logprob`, the sum of log P, and `tokens`, their mean number. InvalidSolution where a row is no text's.
    """
    end, answers, violations = model.special.end, list[Array](), list[str]()
    for row, (text, ids, limit) in enumerate(zip(texts, tokens, task.limits, strict=True), start=1):
        length = int((ids != end).argmin()) if (ids == end).any() else len(ids)
        if (ids[length:] != end).any():
            raise InvalidSolution(f"row {row} of `tokens` has a token behind its end.")
        if length >= limit:
            raise InvalidSolution(f"row {row} of `tokens` has {length} tokens; with its end it may have {limit}.")
        answers.append(ids[:length])
        if np.isin(answers[-1], model.unwritten).any():
            raise InvalidSolution(f"row {row} of `tokens` holds a token that no answer has (padding, begin, unknown).")
        if model.text(answers[-1]) != text:
            raise InvalidSolution(f"row {row} of `tokens` is not the text of line {row}: {model.text(answers[-1])!r}.")
        if not length:
            violations.append(f"line {row} is empty")
    logp = score(model, task.sources, answers)
    cost = 0.0
    for each, answer in zip(logp.tolist(), answers, strict=True):  # in this order, as episodes add it up
        cost += -each / (len(answer) + 1) / len(answers)
    metrics = {"logprob": float(logp.sum()), "tokens": sum(map(len, answers)) / len(answers)}
    return Verdict(not violations, cost, metrics, tuple(violations))
