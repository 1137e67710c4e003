"""Metrics of written text. sacreBLEU is the judge of a corpus; of one sentence its scores with the reference's n-grams
kept, equal to 1e-9. BLEU: 13a, mixed case, exponential smoothing. chrF2: characters without spaces, 1- to 6-grams.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.metric_kernels import edit_distance

CHARACTERS, WORDS = 6, 4  # longest n-grams
BETA = 2  # of chrF2: how much more recall counts


def corpus_bleu(texts: Sequence[str], references: Sequence[str]) -> float:
    """sacreBLEU's corpus BLEU (nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp)."""
    _same_length(texts, references)
    return float(_bleu().corpus_score(list(texts), [list(references)]).score)


def corpus_chrf(texts: Sequence[str], references: Sequence[str]) -> float:
    """sacreBLEU's corpus chrF2 (nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no)."""
    from sacrebleu.metrics import CHRF

    _same_length(texts, references)
    return float(CHRF().corpus_score(list(texts), [list(references)]).score)


@lru_cache(maxsize=1)
def _bleu() -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU()


@lru_cache(maxsize=1)
def _tokeniser() -> Any:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()


def _same_length(texts: Sequence[str], references: Sequence[str]) -> None:
    if len(texts) != len(references) or not len(texts):
        raise UsageError(f"there are {len(texts)} texts for {len(references)} references.")


class SentenceChrF:
    """chrF2 of texts against one reference, whose n-grams are counted once.

    >>> round(SentenceChrF("ein Hund läuft")("ein Hund rennt"), 4)
    46.9547
    """

    def __init__(self, reference: str) -> None:
        self.counts = _character_ngrams(reference)
        self.totals = [sum(each.values()) for each in self.counts]

    def stats(self, text: str) -> Array:
        """What a corpus score sums up, (18,) int64: n-grams of text and reference, and matches, each by order.
        As in sacreBLEU, orders that the reference is too short for count nothing.
        """
        ours = _character_ngrams(text)
        matches = [_overlap(*pair) for pair in zip(ours, self.counts, strict=True)]
        written = [sum(each.values()) if of_theirs else 0 for each, of_theirs in zip(ours, self.totals, strict=True)]
        return np.array([*written, *self.totals, *matches], np.int64)

    def __call__(self, text: str) -> float:
        """The score, 0 to 100."""
        precision = recall = 0.0
        orders = 0
        for ours, theirs, of_theirs in zip(_character_ngrams(text), self.counts, self.totals, strict=True):
            of_ours = sum(ours.values())
            if of_ours and of_theirs:
                matches = _overlap(ours, theirs)
                precision += matches / of_ours
                recall += matches / of_theirs
                orders += 1
        if not orders or not precision + recall:
            return 0.0
        precision, recall = precision / orders, recall / orders
        return 100.0 * (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


class SentenceBLEU:
    """BLEU of texts against one reference with effective order, whose n-grams are counted once.

    >>> round(SentenceBLEU("the cat sat on the mat")("the cat sat on a mat"), 4)
    53.7285
    """

    def __init__(self, reference: str) -> None:
        words = _words(reference)
        self.counts, self.length = _word_ngrams(words), len(words)

    def stats(self, text: str) -> Array:
        """What a corpus score sums up, (10,) int64: matches and n-grams by order, words of text and reference."""
        words = _words(text)
        matches = [_overlap(*pair) for pair in zip(_word_ngrams(words), self.counts, strict=True)]
        totals = [max(0, len(words) - order + 1) for order in range(1, WORDS + 1)]
        return np.array([*matches, *totals, len(words), self.length], np.int64)

    def __call__(self, text: str) -> float:
        """The score, 0 to 100."""
        words = _words(text)
        logs, orders, smooth = 0.0, 0, 1.0
        for order, (ours, theirs) in enumerate(zip(_word_ngrams(words), self.counts, strict=True), start=1):
            total = max(0, len(words) - order + 1)
            if not total:
                break
            matches = _overlap(ours, theirs)
            if order == 1 and not matches:
                return 0.0
            orders = order
            if not matches:  # Chen and Cherry 2014, technique 3: exponential decay
                smooth *= 2
                logs += math.log(100.0 / (smooth * total))
            else:
                logs += math.log(100.0 * matches / total)
        if not orders:
            return 0.0
        short = math.exp(1 - self.length / len(words)) if len(words) < self.length else 1.0
        return short * math.exp(logs / orders)


def _words(text: str) -> list[str]:
    tokens: str = _tokeniser()(text.rstrip())
    return tokens.split()


def _word_ngrams(words: list[str]) -> list[Counter[Any]]:
    found: list[Counter[Any]] = [Counter(words)]
    for order in range(2, WORDS + 1):
        found.append(Counter(zip(*(words[i:] for i in range(order)), strict=False)))
    return found


def _character_ngrams(text: str) -> list[Counter[str]]:
    text = "".join(text.split())
    return [Counter([text[i : i + n] for i in range(len(text) - n + 1)]) for n in range(1, CHARACTERS + 1)]


def _overlap(ours: Counter[Any], theirs: Counter[Any]) -> int:
    """Matches, each as often as both have it."""
    total = 0
    for ngram, count in ours.items():
        there = theirs.get(ngram, 0)
        total += count if count < there else there
    return total


def distinct(texts: Iterable[Sequence[Any]], order: int) -> float:
    """distinct-n (Li et al. 2016): different n-grams of all texts over their number, each text a list of tokens; 0
    where there is none."""
    seen, total = set[Any](), 0
    for tokens in texts:
        grams = list(zip(*(tokens[i:] for i in range(order)), strict=False))
        seen.update(grams)
        total += len(grams)
    return len(seen) / total if total else 0.0


def edits(text: str, reference: str) -> int:
    """Characters to insert, delete or substitute."""
    a, b = (np.array([ord(character) for character in each], dtype=np.int64) for each in (text, reference))
    return int(edit_distance(a, b))


def character_error_rate(texts: Sequence[str], references: Sequence[str]) -> float:
    """CER: edits of all texts over the characters of all references."""
    _same_length(texts, references)
    characters = sum(map(len, references))
    if not characters:
        raise UsageError("the references hold no character, so there is no error rate.")
    return sum(edits(*pair) for pair in zip(texts, references, strict=True)) / characters


def least_risk(texts: Sequence[str], weights: Array | None = None, bleu: bool = False) -> int:
    """Minimum Bayes risk: the place of the text with the greatest expected chrF2 (or BLEU) when each of the texts is
    the reference with its weight (equal ones if None); the first of equals."""
    if not len(texts):
        raise UsageError("there is no text to choose from.")
    share = np.full(len(texts), 1.0 / len(texts)) if weights is None else np.asarray(weights, dtype=np.float64)
    judges: list[SentenceBLEU | SentenceChrF] = [SentenceBLEU(each) if bleu else SentenceChrF(each) for each in texts]
    gains = [sum(w * judge(text) for w, judge in zip(share, judges, strict=True)) for text in texts]
    return int(np.argmax(gains))
