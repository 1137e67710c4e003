"""What a policy is shown of candidates and of the answer so far. No reference is among it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sysgym.core.problem import Array
from sysgym.response_decoding.drawn import Drawn
from sysgym.text.metrics import distinct

CANDIDATE_FEATURES = (
    "log_p", "log_p_mean", "s", "s_rank", "log_p_rank", "log_p_all", "best_other", "mean_other", "tokens", "characters",
    "so_far", "short", "distinct_1", "distinct_2", "overlap", "repeats", "held", "new_pairs", "pairs", "ends",
    "backs_off", "stops",
)  # fmt: skip
GLOBAL_FEATURES = (
    "segment", "so_far", "message", "distinct_2", "pairs", "answers_done", "messages", "progress",
)  # fmt: skip
Pair = tuple[str, ...]


class Shown(NamedTuple):
    """What is written, as policies see it."""

    text: str
    words: list[str]
    pairs: Counter[Pair]  # word bigrams of the answer so far
    held: Counter[Pair]  # those of earlier answers of the chunk

    @staticmethod
    def of(text: str, earlier: Sequence[str]) -> Shown:
        """Of the answer so far and those that are over."""
        held: Counter[Pair] = Counter()
        for each in earlier:
            held.update(pairs_of(each.split()))
        words = text.split()
        return Shown(text, words, Counter(pairs_of(words)), held)


def pairs_of(words: Sequence[str]) -> list[Pair]:
    """Word bigrams."""
    return list(pairwise(words))


def candidate_rows(
    drawn: Drawn, texts: Sequence[str], shown: Shown, message: str, min_chars: int
) -> Array:  # fmt: skip
    """Features (n + 1, F) float32 of candidates whose whole answers would be `texts`, stopping the last."""
    lengths = np.array([len(part) for part in drawn.parts]) + drawn.ended
    others = drawn.under[:, 1:]
    best = others.max(axis=1) if others.shape[1] else drawn.under[:, 0]
    mean = others.mean(axis=1) if others.shape[1] else drawn.under[:, 0]
    chars = np.array([len(text) for text in texts])
    short = chars < min_chars
    found = np.zeros((len(texts), len(CANDIDATE_FEATURES)), np.float64)
    found[:, 0], found[:, 1] = drawn.logp / 10, drawn.logp / np.maximum(lengths, 1)
    found[:, 2], found[:, 3] = drawn.s / 5, _ranks(drawn.s)
    found[:, 4], found[:, 5] = _ranks(drawn.logp), drawn.under[:, 0] / 50
    found[:, 6], found[:, 7] = (best - drawn.under[:, 0]) / 10, (mean - drawn.under[:, 0]) / 10
    found[:, 8], found[:, 9] = lengths / 10, (chars - len(shown.text)) / 40
    found[:, 10], found[:, 11] = chars / 40, short
    asked = set(message.lower().split())
    for row, text in enumerate(texts):
        words = text.split()
        added = Counter(pairs_of(words)) - shown.pairs
        count, fresh = added.total(), [word.lower() for word in words[len(shown.words) :]]
        found[row, 12], found[row, 13] = distinct([words], 1), distinct([words], 2)
        found[row, 14] = sum(word in asked for word in fresh) / max(len(fresh), 1)
        found[row, 15] = sum(n for pair, n in added.items() if pair in shown.pairs) / max(count, 1)
        found[row, 16] = sum(n for pair, n in added.items() if pair in shown.held) / max(count, 1)
        found[row, 17] = sum(pair not in shown.held and pair not in shown.pairs for pair in added) / 10
        found[row, 18] = count / 10
    found[:, 19], found[:, 20], found[-1, 21] = drawn.ended, drawn.ended & short, 1
    return np.clip(found, -1e3, 1e3).astype(np.float32)


def _ranks(values: Array) -> Array:
    """The place of each from the greatest, over their number; the first of equals before the others."""
    places = np.empty(len(values))
    places[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return places / len(values)


def global_row(shown: Shown, segments: int, length: int, done: tuple[int, int]) -> Array:
    """Features (8,) float32 of an episode: `length` tokens of the message, answers that are over and all of them."""
    over, count = done
    total = shown.held.total()
    share = len(shown.held) / total if total else 1.0
    part = segments / (segments + 1) if over < count else 0.0
    row = [segments / 5, len(shown.text) / 40, length / 64, share, min(total / 1000, 10.0), over / count,
           min(count / 100, 10.0), (over + part) / count]  # fmt: skip
    return np.array(row, np.float32)
