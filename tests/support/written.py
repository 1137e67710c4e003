"""What a picture writes, and that none of it lies over something else or beyond the page."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import ImageDraw

from sysgym.core.problem import Array


class Written:
    """Everything that is written into pictures from now on: the words, and the boxes that they take."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.boxes: list[tuple[float, float, float, float]] = []
        self.words: list[str] = []
        text = ImageDraw.ImageDraw.text

        def spy(pen: Any, at: Any, words: str, fill: Any = None, font: Any = None, **more: Any) -> None:
            if words:
                self.boxes.append(pen.textbbox(at, words, font, **more))
                self.words.append(words)
            text(pen, at, words, fill, font, **more)

        patch.setattr(ImageDraw.ImageDraw, "text", spy)

    def check(self, page: Array) -> list[str]:
        """Fail if words meet, or leave the page; the words, which are forgotten."""
        height, width, _ = page.shape
        for i, (left, top, right, bottom) in enumerate(self.boxes):
            here = self.words[i]
            assert left >= 0 and top >= 0 and right <= width and bottom <= height, here
            for j, other in enumerate(self.boxes[:i]):
                apart = left >= other[2] or right <= other[0] or top >= other[3] or bottom <= other[1]
                assert apart, (here, self.words[j])
        words = list(self.words)
        self.boxes.clear()
        self.words.clear()
        return words
