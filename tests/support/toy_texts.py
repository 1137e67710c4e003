"""What the tests of text share: all texts of a small model, and how far counts may be from probabilities."""

from __future__ import annotations

import itertools

import numpy as np

from sysgym.core.problem import Array
from sysgym.text.hypotheses import Hypotheses
from sysgym.text.model import TextModel
from sysgym.text.scoring import score_parts

LIMIT, END, DRAWS = 3, 2, 4000
SOURCE = np.array([3, 4, 3])


def leaves(model: TextModel, limit: int = LIMIT) -> tuple[list[tuple[int, ...]], Array, Array]:
    """All texts of at most `limit` tokens: those that end (their end token not listed), then those that are cut; log P
    of each, and which of them ended."""
    others = [token for token in range(model.vocabulary) if token != END]
    ended = [text for size in range(limit) for text in itertools.product(others, repeat=size)]
    cut = list(itertools.product(others, repeat=limit))
    empty = np.zeros(0, dtype=np.int64)
    whole = [np.array([*text, END]) for text in ended] + [np.array(text) for text in cut]
    logp = score_parts(model, [(SOURCE, empty, text) for text in whole])
    return ended + cut, logp, np.arange(len(whole)) < len(ended)


def listed(found: Hypotheses, row: int = 0) -> list[tuple[int, ...]]:
    """The hypotheses of one sentence."""
    there = np.flatnonzero(found.scores[row] > -np.inf)
    return [tuple(found.best(row, int(place)).tolist()) for place in there]


def within(count: int, probability: float, draws: int = DRAWS) -> bool:
    """Whether a count of independent draws is within four standard deviations (and half a count)."""
    return bool(abs(count - draws * probability) <= 4 * np.sqrt(draws * probability * (1 - probability)) + 0.5)
