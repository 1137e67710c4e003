"""Pictures of chips: captions whose terms add up to what they show."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from PIL import ImageDraw

from sysgym import make_problem
from sysgym.core.problem import Solution

WEIGHTS: list[dict[str, float]] = [
    {}, {"wirelength_weight": 0.0}, {"density_weight": 1.0, "congestion_weight": 0.01},
    {"wirelength_weight": 1 / 3, "density_weight": 2 / 7, "congestion_weight": 1e-9},
    {"wirelength_weight": 12345.678, "density_weight": 1e6, "congestion_weight": 9.87},
]  # fmt: skip


def answer(problem: Any, chip: Any, seed: int) -> Solution:
    """Macros anywhere on the canvas."""
    specs, rng = problem.solution_arrays(chip), np.random.default_rng(seed)
    found = {key: rng.uniform(0.1, 0.9, spec.shape) for key, spec in specs.items()}
    found["x"] *= chip.canvas.width
    found["y"] *= chip.canvas.height
    return {**found, "orientation": np.zeros(specs["orientation"].shape, int)}


@pytest.mark.parametrize("weights", WEIGHTS)
def test_terms_of_a_caption_add_up(weights: dict[str, float]) -> None:
    problem = make_problem("ChipPlacement", **weights)
    chip = problem.load("tiles/test-0")
    for seed in range(3):
        solution = answer(problem, chip, seed)
        line = problem.describe(chip, solution).splitlines()[1]
        total, rest = re.fullmatch(r"proxy ([\d.]+) = (.*); (?:legal|ILLEGAL: .*)", line).groups()  # type: ignore[union-attr]
        terms = [re.fullmatch(r"(?:(\S+) x )?\w+ ([\d.]+)", term).groups() for term in rest.split(" + ")]  # type: ignore[union-attr]
        assert f"{sum(float(weight or 1) * float(value) for weight, value in terms):.4f}" == total
        assert [float(weight or 1) for weight, _ in terms] == list(problem.weights)
        verdict = problem.judge(chip, solution)
        assert total == f"{verdict.cost:.4f}"
        for (_, value), name in zip(terms, ("wirelength", "density", "congestion"), strict=True):
            assert value == f"{verdict.metrics[name + '_cost']:.{len(value.partition('.')[2])}f}"


def test_captions_of_each_mode_end_within_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, str]] = []
    text = ImageDraw.ImageDraw.text

    def spy(self: Any, at: Any, words: str, fill: Any = None, font: Any = None, **more: Any) -> None:
        drawn.append((at[0] + self.textlength(words, font) - self.im.size[0], words))
        text(self, at, words, fill, font, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    for mode in ("sequential", "refine", "hpwl"):
        problem = make_problem("ChipPlacement", mode=mode)
        chip = problem.load("tiles/test-0")
        solution = answer(problem, chip, 0)
        pages = [problem.render(chip, solution), *problem.frames(chip, solution)]
        assert len({page.shape for page in pages[1:]}) == 1
        cost = problem.judge(chip, solution).cost
        expected = (
            f"wirelength between macros {cost:.6g} microns" if mode == "hpwl" else f"proxy {cost:.4f} = wirelength "
        )
        assert sum(words.startswith(expected) for _, words in drawn) == 2  # the picture and the last frame
        assert any(words.startswith("ILLEGAL: ") and words.endswith(" ...") for _, words in drawn)
        assert max(beyond for beyond, _ in drawn) <= 0
        drawn.clear()
