"""Metrics against sacreBLEU, its stored figures, and definitions."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from sysgym.core.errors import UsageError
from sysgym.text.metrics import (
    SentenceBLEU,
    SentenceChrF,
    character_error_rate,
    corpus_bleu,
    corpus_chrf,
    distinct,
    edits,
    least_risk,
)

WORDS = [*["a", "b", "the", "Haus", "c.", "d,", "1,000", "e!", "(f)", "ß", "“g”", "x-y", "&amp;", "é", "-"],
         "  ", "\u3000", "\t"]  # fmt: skip


def sentences(count: int, seed: int) -> list[str]:
    drawn = random.Random(seed)
    return [" ".join(drawn.choices(WORDS, k=drawn.randint(0, 9))) for _ in range(count)]


def test_sentences_score_as_with_sacrebleu() -> None:
    """Empty texts, spaces of all kinds, punctuation and texts without a match among them."""
    bleu, chrf = BLEU(effective_order=True), CHRF()
    for text, reference in zip(sentences(500, 1), sentences(500, 2), strict=True):
        assert abs(SentenceBLEU(reference)(text) - bleu.sentence_score(text, [reference]).score) < 1e-9
        assert abs(SentenceChrF(reference)(text) - chrf.sentence_score(text, [reference]).score) < 1e-9
    for text, reference in (("", ""), ("a", ""), ("", "a"), ("a", "a"), ("ab cd", "ab cd")):
        assert abs(SentenceBLEU(reference)(text) - bleu.sentence_score(text, [reference]).score) < 1e-9
        assert abs(SentenceChrF(reference)(text) - chrf.sentence_score(text, [reference]).score) < 1e-9


def test_stored_figures_of_newstest(
    decoding_data: Path, golden: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored sentence BLEU was taken without a tokeniser (tok:none); the corpus figures are of 13a."""

    def lines(name: str) -> list[str]:
        with gzip.open(decoding_data / "metrics_golden" / f"wmt17_ende.{name}.de.gz", "rt") as stream:
            return stream.read().splitlines()

    references = lines("ref")
    monkeypatch.setattr("sysgym.text.metrics._tokeniser", lambda: str)
    for name, told in golden("metrics_golden/wmt17_ende.json")["systems"].items():
        texts = lines(name)
        assert abs(corpus_bleu(texts, references) - told["bleu_13a"]) < 1e-9
        assert abs(corpus_chrf(texts, references) - told["chrf2"]) < 1e-9
        for place in range(50):
            assert abs(SentenceChrF(references[place])(texts[place]) - told["sent_chrf2"][place]) < 1e-5
            assert abs(SentenceBLEU(references[place])(texts[place]) - told["sent_bleu_exp"][place]) < 1e-5


def test_a_corpus_is_not_the_mean_of_its_sentences_and_must_be_whole() -> None:
    texts, references = ["a b c d e f g h", "x"], ["a b c d e f g h", "y z"]
    mean = np.mean([SentenceBLEU(each)(text) for text, each in zip(texts, references, strict=True)])
    assert abs(corpus_bleu(texts, references) - mean) > 5
    for score in (corpus_bleu, corpus_chrf, character_error_rate):
        with pytest.raises(UsageError, match="1 texts for 2 references"):
            score(texts[:1], references)


def test_edits_are_the_least() -> None:
    assert [edits(*pair) for pair in (("", ""), ("abc", ""), ("", "ab"), ("kitten", "sitting"), ("ab", "ba"))] == [
        0, 3, 2, 3, 2,
    ]  # fmt: skip
    assert character_error_rate(["ab", "x"], ["abcd", "y"]) == 3 / 5
    with pytest.raises(UsageError, match="no character"):
        character_error_rate(["a"], [""])


def test_distinct_counts_over_all_texts() -> None:
    texts = [["a", "b", "a"], ["a", "b"], []]
    assert distinct(texts, 1) == 2 / 5 and distinct(texts, 2) == 2 / 3 and distinct(texts, 4) == 0.0


def test_least_risk_is_the_expected_best() -> None:
    texts = ["the cat sat", "the cat sat down", "a dog", "the cat sat on"]
    chrf, share = CHRF(), np.array([0.1, 0.2, 0.6, 0.1])
    gains = np.array([[chrf.sentence_score(text, [other]).score for other in texts] for text in texts])
    assert least_risk(texts) == int(np.argmax(gains.mean(axis=1)))
    assert least_risk(texts, share) == int(np.argmax(gains @ share)) == 2
    assert least_risk(texts, bleu=True) in (0, 1, 3) and least_risk(["b", "b"]) == 0
    with pytest.raises(UsageError, match="no text"):
        least_risk([])
