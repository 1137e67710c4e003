"""The only definition of cost and validity of a decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sysgym.core.errors import InvalidSolution
from sysgym.core.problem import Array, Verdict
from sysgym.text.episodes.chunk import ChunkScore, mixed_cost
from sysgym.text.episodes.rows import Task
from sysgym.text.episodes.steering import Replays
from sysgym.text.episodes.widths import Narrowed


def judge_texts(scorer: ChunkScore, texts: Sequence[str]) -> Verdict:
    """Judge texts, one a sentence, against references: cost = 100 - (0.5 BLEU + 0.5 chrF2) of them all together,
    sacreBLEU's (13a, exponential smoothing, effective order). Any text is feasible.

    Metrics: `bleu`, `chrf`, and `length_ratio`, words written over words of the references.
    """
    counts = scorer.counts(texts)
    bleu, chrf = scorer.bleu(counts), scorer.chrf(counts)
    metrics = {"bleu": bleu, "chrf": chrf, "length_ratio": scorer.length_ratio(counts)}
    return Verdict(True, mixed_cost(bleu, chrf), metrics)


class Steered(Protocol):
    """What judging settings asks of its problem."""

    def task(self, instance: Any) -> Task: ...
    def replays(self, instance: Any) -> Replays: ...
    def price(self, instance: Any, forwards: int) -> float: ...
    def replay(self, instance: Any, widths: Array) -> Narrowed: ...


def judge_settings(problem: Steered, instance: Any, texts: Sequence[str], settings: Array) -> Verdict:
    """Judge settings of the search, (n,), by searching again: `judge_texts` of their answers, and a price for the
    forward passes. InvalidSolution where a text is not what its setting answers.

    Metrics: those of texts, and `forwards`, over the forward passes of greedy decoding.
    """
    task, replays = problem.task(instance), problem.replays(instance)
    if task.score is None:
        raise InvalidSolution("settings are weighed against references, and there are none.")
    found = replays.of(settings.tolist())
    for row, (text, each) in enumerate(zip(texts, found, strict=True), start=1):
        if text != each.text:
            raise InvalidSolution(f"line {row} is not what its setting answers, which is {each.text!r}.")
    told, forwards = judge_texts(task.score, texts), sum(each.forwards for each in found)
    metrics = {**told.metrics, "forwards": forwards / replays.greedy}
    return Verdict(True, told.cost + problem.price(instance, forwards), metrics)


def judge_widths(problem: Steered, instance: Any, texts: Sequence[str], widths: Array) -> Verdict:
    """Judge how many hypotheses go on, (n, T), by searching again: `judge_texts` of their answers, and a price for the
    forward passes. InvalidSolution where a text is not what its widths answer, or their number is not that of the
    search's steps.

    Metrics: those of texts, and `forwards`, over the forward passes of greedy decoding.
    """
    task = problem.task(instance)
    if task.score is None:
        raise InvalidSolution("widths are weighed against references, and there are none.")
    found = problem.replay(instance, widths)
    steps, wanted = (widths > 0).sum(axis=1), (found.widths > 0).sum(axis=1)
    for row, (text, each) in enumerate(zip(texts, found.texts, strict=True), start=1):
        if (widths[row - 1] != found.widths[row - 1]).any():
            raise InvalidSolution(
                f"row {row} of `widths` decides {steps[row - 1]} steps, and its search has {wanted[row - 1]}: from the "
                "first on there is one for each, of at least 1, and zeros behind."
            )
        if text != each:
            raise InvalidSolution(f"line {row} is not what its widths answer, which is {each!r}.")
    told, forwards = judge_texts(task.score, texts), int(found.forwards.sum())
    metrics = {**told.metrics, "forwards": forwards / problem.replays(instance).greedy}
    return Verdict(True, told.cost + problem.price(instance, forwards), metrics)
