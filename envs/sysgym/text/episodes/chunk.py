"""The score of a chunk of sentences against references, kept up to date sentence by sentence.

Both metrics are functions of counts that add up over sentences: matching and written n-grams, lengths. What a sentence
adds is counted once; the score is sacreBLEU's, of the sums (BLEU nrefs:1|case:mixed|tok:13a|smooth:exp; chrF2). BLEU
has effective order: that changes nothing where the answers have n-grams of every order, and else counts those that they
have, so that single names are right or wrong instead of all worth 0.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from sysgym.core.problem import Array
from sysgym.text.metrics import BETA, CHARACTERS, WORDS, SentenceBLEU, SentenceChrF

COUNTS = (
    2 * WORDS + 2 + 3 * CHARACTERS
)  # of a sentence: BLEU's matches, totals and lengths; chrF's three counts an order
KEPT = 4096  # texts whose counts are remembered


class ChunkScore:
    """Scores of answers to one chunk of sentences.

    >>> score = ChunkScore(["ein Hund rennt", "zwei Katzen"])
    >>> round(score.cost(score.counts(["ein Hund rennt", ""])), 3)
    43.561
    """

    def __init__(self, references: Sequence[str]) -> None:
        self.references = list(references)
        self._made: dict[int, tuple[SentenceBLEU, SentenceChrF]] = {}
        self._known: OrderedDict[tuple[int, str], Array] = OrderedDict()
        self._scored: tuple[bytes, float, float] = b"", 0.0, 0.0

    def of(self, place: int, text: str) -> Array:
        """The counts (COUNTS,) int64 of one sentence's text; not to be written to."""
        found = self._known.get((place, text))
        if found is None:
            if place not in self._made:
                self._made[place] = SentenceBLEU(self.references[place]), SentenceChrF(self.references[place])
            bleu, chrf = self._made[place]
            found = self._known[place, text] = np.concatenate([bleu.stats(text), chrf.stats(text)])
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found

    def counts(self, texts: Sequence[str]) -> Array:
        """The sums (COUNTS,) int64 of all sentences."""
        total = np.zeros(COUNTS, np.int64)
        for place, text in enumerate(texts):
            total += self.of(place, text)
        return total

    def scores(self, counts: Array) -> tuple[float, float]:
        """BLEU and chrF2 of summed counts; those that were asked for last are remembered."""
        key = counts.tobytes()
        if self._scored[0] != key:
            self._scored = key, _bleu_of(counts), _chrf_of(counts)
        return self._scored[1:]

    def bleu(self, counts: Array) -> float:
        """BLEU of summed counts."""
        return self.scores(counts)[0]

    def chrf(self, counts: Array) -> float:
        """chrF2 of summed counts: precision and recall averaged over the orders that both sides have."""
        return self.scores(counts)[1]

    def cost(self, counts: Array) -> float:
        """`mixed_cost` of summed counts."""
        return mixed_cost(*self.scores(counts))

    @cached_property
    def nothing(self) -> tuple[Array, float]:
        """Sums and cost where every answer is empty; not to be written to."""
        counts = self.counts([""] * len(self.references))
        return counts, self.cost(counts)

    def length_ratio(self, counts: Array) -> float:
        """Words written over words of the references."""
        ours, theirs = counts[2 * WORDS : 2 * WORDS + 2].tolist()
        return float(ours / max(theirs, 1))


def mixed_cost(bleu: float, chrf: float) -> float:
    """100 - (0.5 BLEU + 0.5 chrF2), and no less than 0, as a perfect score may round to a little more than 100: chrF2
    alone rewards length, and BLEU alone brevity.
    """
    return max(0.0, 100.0 - (0.5 * bleu + 0.5 * chrf))


def _bleu_of(counts: Array) -> float:
    from sacrebleu.metrics import BLEU

    matches, totals, (ours, theirs) = np.split(counts[: 2 * WORDS + 2], [WORDS, 2 * WORDS])
    return float(
        BLEU.compute_bleu(
            matches.tolist(), totals.tolist(), int(ours), int(theirs), smooth_method="exp", effective_order=True
        ).score
    )


def _chrf_of(counts: Array) -> float:
    written, wanted, matches = counts[2 * WORDS + 2 :].reshape(3, CHARACTERS).tolist()
    pairs = [(m / w, m / r) for w, r, m in zip(written, wanted, matches, strict=True) if w and r]
    precision, recall = (sum(side) / max(len(pairs), 1) for side in (zip(*pairs, strict=True) if pairs else ((), ())))
    if not precision + recall:
        return 0.0
    return float(100.0 * (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall))
