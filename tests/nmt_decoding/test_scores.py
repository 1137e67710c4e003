"""Costs of answers against sacreBLEU, against the pencil, and against the network that wrote them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sacrebleu

import sysgym
from sysgym.core.errors import InvalidSolution
from sysgym.text.episodes.chunk import ChunkScore
from sysgym.text.episodes.sentences import Sentences, arrays_of, lines_of, sentences
from sysgym.text.metrics import SentenceBLEU, SentenceChrF
from sysgym.text.search import Beam, beam_search

WORDS = ["ein", "Hund", "rennt", "über", "grüne", "Wiese", ",", "zwei", "Katzen", "sitzen", "auf", "Dach", "und", "."]


def drawn(rng: np.random.Generator, count: int, longest: int = 14) -> list[str]:
    """Lines of random words; the first has one word of each order at least."""
    return [" ".join(rng.choice(WORDS, int(rng.integers(4 if i == 0 else 0, longest)))) for i in range(count)]


def named(sources: list[str], references: list[str]) -> Sentences:
    return sentences("by hand", "translit", sources, references)


@pytest.mark.parametrize("seed", range(4))
def test_chunks_score_as_the_metric_library_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    references = [line or "ein" for line in drawn(rng, 12)]
    answers = [references[0], *drawn(rng, 11)]
    score = ChunkScore(references)
    counts = score.counts(answers)
    assert score.bleu(counts) == pytest.approx(sacrebleu.corpus_bleu(answers, [references]).score, abs=1e-9)
    assert score.chrf(counts) == pytest.approx(sacrebleu.corpus_chrf(answers, [references]).score, abs=1e-9)
    for answer, reference in zip(answers, references, strict=True):
        alone = ChunkScore([reference])
        assert alone.bleu(alone.of(0, answer)) == pytest.approx(SentenceBLEU(reference)(answer), abs=1e-9)
        assert alone.chrf(alone.of(0, answer)) == pytest.approx(SentenceChrF(reference)(answer), abs=1e-9)


def test_a_cost_by_pencil() -> None:
    """One of two words is right and the other missing: BLEU = exp(1 - 2 / 1); chrF2 has P = 1 and R = 1/2."""
    problem = sysgym.make_problem("NMTDecoding")
    instance = named(["اب", "اس"], ["abc", "def"])
    verdict = problem.judge(instance, problem.answer(instance, ["abc", ""]))
    bleu, chrf = 100 * math.exp(-1), 100 * 5 * 0.5 / 4.5
    assert verdict.metrics["bleu"] == pytest.approx(bleu) and verdict.metrics["chrf"] == pytest.approx(chrf)
    assert verdict.cost == pytest.approx(100 - (bleu + chrf) / 2) and verdict.metrics["length_ratio"] == 0.5
    assert problem.judge(instance, problem.answer(instance, ["", ""])).cost == 100.0
    assert problem.judge(instance, problem.answer(instance, ["abc", "def"])).cost == 0.0


def test_without_references_the_network_says_what_an_answer_is_worth() -> None:
    """log P of CTranslate2's first two answers for one name: -0.7546 and -0.8580."""
    problem = sysgym.make_problem("NMTDecoding")
    instance = named(["آزا"], [])
    for text, logp in (("azza", -0.7546), ("aza", -0.8580)):
        verdict = problem.judge(instance, problem.answer(instance, [text]))
        assert verdict.metrics["logprob"] == pytest.approx(logp, abs=1e-4)
        assert verdict.cost == pytest.approx(-logp / (len(text) + 1), abs=1e-4)
    empty = problem.judge(instance, problem.answer(instance, [""]))
    assert not empty.feasible and empty.violations == ("line 1 is empty",)


def wrong(solution: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {**solution, **changed}


def test_answers_that_are_none_are_refused_in_a_sentence() -> None:
    problem = sysgym.make_problem("NMTDecoding")
    instance = named(["آزا", "آب"], [])
    good = dict(problem.answer(instance, ["azza", "ab"]))
    end = problem.model_of(instance).special.end
    other = good["tokens"].copy()
    other[0, 0] = other[0, 1]
    behind = good["tokens"].copy()
    behind[1, -1] = other[0, 0]
    begin = good["tokens"].copy()
    begin[0, 0] = problem.model_of(instance).special.begin
    for solution, said in (
        (wrong(good, ends=good["ends"][::-1].copy()), "must rise"),
        (wrong(good, ends=good["ends"] - 1), "must rise"),
        (wrong(good, text=np.full(len(good["text"]), 255)), "no UTF-8"),
        (wrong(good, text=np.full(len(good["text"]), 10)), "holds a line end"),
        (wrong(good, tokens=other), "is not the text of line 1"),
        (wrong(good, tokens=behind), "a token behind its end"),
        (wrong(good, tokens=begin), "no answer has"),
        (wrong(good, tokens=np.full_like(good["tokens"], end + 1)), "it may have"),
    ):
        with pytest.raises(InvalidSolution, match=said):
            problem.judge(instance, solution)


def test_text_goes_through_arrays_and_files() -> None:
    lines = ["", "ab", "später, über", "日本"]
    assert lines_of(*arrays_of(lines)) == lines and lines_of(*arrays_of([])) == []
    problem = sysgym.make_problem("NMTDecoding")
    instance = named(["آزا", "آب"], ["azza", "ab"])
    solution = problem.answer(instance, ["azzah", ""])
    written = problem.format_solution(instance, solution, "a.txt")
    assert written == b"azzah\n\n"
    again = problem.parse_solution(instance, written, "a.txt")
    assert all(np.array_equal(again[key], solution[key]) for key in solution)
    assert problem.legend(instance, solution)[0] == {"source": "آزا", "answer": "azzah"}


def test_the_search_finds_what_the_judge_values() -> None:
    """Where log P ranks, the judge's value of a beam's answer is the beam's own."""
    problem = sysgym.make_problem("NMTDecoding")
    instance = named(["آزتمون", "آزا", "آب"], [])
    model, task = problem.model_of(instance), problem.task(instance)
    found = beam_search(model, task.sources, Beam(width=4, alpha=1.0, convention="length"))
    answers = [found.best(i) for i in range(3)]
    verdict = problem.judge(instance, problem.answer(instance, [model.text(each) for each in answers], answers))
    assert verdict.cost == pytest.approx(-float(found.scores[:, 0].mean()), abs=1e-6)
