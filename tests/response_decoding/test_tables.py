"""The tables of answers by length, of answers whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from sysgym_zoo.embed.answers import line, tables


def under(own: float, others: float) -> np.ndarray:
    """log P under a message and fourteen others alike."""
    return np.array([own, *[others] * 14])


def test_answers_are_counted_by_their_length() -> None:
    short, long = ("a b a b", under(-5.0, -50.0)), ("word " * 19, under(-60.0, -40.0))
    found = line([short, long])
    assert found["n"] == 2 and found["chars"] == (7 + 95) / 2 and found["short"] == 0.5 and found["first"] == 0.5
    assert found["log P"] == -32.5 and found["distinct2"] == (2 + 1) / (3 + 18)
    assert found["mmi"] == pytest.approx((0 - 10) / 2)  # no less than -10
    whole, parts = tables({"mine": [short, long], "yours": [short]})
    assert [row.split(" | ")[0:3] for row in whole.splitlines()[2:]] == [["| mine", "2", "-5"], ["| yours", "1", "0"]]
    lines = [row.split(" | ")[:3] for row in parts.splitlines()[2:]]
    assert lines == [["| 0-20", "mine", "1"], ["| 0-20", "yours", "1"], ["| 80+", "mine", "1"]]
