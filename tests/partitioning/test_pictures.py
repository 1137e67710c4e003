"""Pictures of partitions: nothing that is written lies over something else or beyond the page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import ImageDraw

from sysgym import make_problem
from sysgym.graphs.generate import generate_graph


@pytest.mark.parametrize("k", [2, 8, 10, 40])
def test_texts_do_not_meet(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: list[tuple[float, float, float, float]] = []
    written: list[str] = []
    text = ImageDraw.ImageDraw.text

    def spy(self: Any, at: Any, words: str, fill: Any = None, font: Any = None, **more: Any) -> None:
        boxes.append(self.textbbox(at, words, font))
        written.append(words)
        text(self, at, words, fill, font, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    graph = generate_graph("delaunay:n=200,seed=9")
    for part in (np.arange(200) % k, np.arange(200) // 101):  # even, and far too heavy
        problem = make_problem("Partitioning", k=k)
        height, width, _ = problem.render(graph, {"part": part}).shape
        for i, (left, top, right, bottom) in enumerate(boxes):
            assert left >= 0 and top >= 0 and right <= width and bottom <= height, written[i]
            for other in boxes[:i]:
                assert left >= other[2] or right <= other[0] or top >= other[3] or bottom <= other[1], written[i]
        assert ("red: more" in written[-1]) != problem.judge(graph, {"part": part}).feasible
        boxes.clear()
        written.clear()
