"""Pictures of designs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from written import Written

from sysgym import make_problem
from sysgym.accelerator_design.fastsim_kernels import area_and_power
from sysgym.accelerator_design.joint.plans import planned_solution
from sysgym.accelerator_design.pictures.facts import area_parts, power_parts
from sysgym.accelerator_design.pictures.panels import CELL, grid_of
from sysgym.accelerator_design.space import COUNTS, indices, machines

KNOWN = indices({
    "pe_x": 4, "pe_y": 16, "sa_x": 64, "sa_y": 8, "vm": 4, "l1cfg": "private", "l1i": 32, "l1w": 2, "l1o": 8,
    "l2cfg": "disabled", "l2i": 1, "l2w": 1, "l2o": 1, "gm": 128, "ch": 2, "batch": 2,
})  # fmt: skip


def test_parts_add_up_to_area_and_power() -> None:
    for machine in machines(np.random.default_rng(0).integers(0, COUNTS, (200, 16))):
        assert (area_parts(machine).sum(), power_parts(machine).sum()) == pytest.approx(area_and_power(machine))


@pytest.mark.parametrize(("name", "options"), [
    ("cnns/train-0", {}), ("fast/efficientnet-b7", {"fusion": "greedy"}), ("fast/multi5", {}), ("bert:tokens=128", {}),
    ("cnn:seed=3,blocks=1", {}), ("fast/efficientnet-b0", {"latency_ms": 0.001}), ("fast/resnet50", {"fusion": "none"}),
    ("fast/mobilenet-v2", {"mode": "joint"}),
])  # fmt: skip
def test_texts_do_not_meet(name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Designs at random, most of them beyond a budget, some of which cannot work; every violation is written out."""
    problem: Any = make_problem("AcceleratorDesign", **options)
    work, written, most = problem.load(name), Written(monkeypatch), 0
    for design in [KNOWN, *np.random.default_rng(1).integers(0, COUNTS, (3, 16))]:
        solution = planned_solution(problem, work, design)
        words = written.check(problem.render(work, solution))
        verdict = problem.judge(work, solution)
        most = max(most, len(verdict.violations))
        assert {word.strip() for word in words} >= set(verdict.violations)
        assert verdict.feasible != any("INFEASIBLE" in word for word in words)
    assert most >= 2


def test_small_networks_have_small_pages_and_large_cells() -> None:
    problem: Any = make_problem("AcceleratorDesign")
    small, large = (problem.render(problem.load(name), {"design": KNOWN}) for name in ("cnns/train-0", "fast/multi5"))
    assert small.shape[0] < large.shape[0] - 100
    side, rows = grid_of(problem.load("cnns/train-0"), 418, 400)
    assert len(rows) == 1 and side > CELL


def test_pictures_are_of_one_width_and_the_same_again() -> None:
    problem: Any = make_problem("AcceleratorDesign")
    work = problem.load("cnns/train-0")
    heights = set()
    for design in np.random.default_rng(0).integers(0, COUNTS, (12, 16)):
        page = problem.render(work, {"design": design})
        assert page.dtype == np.uint8 and page.shape[1:] == (1160, 3) and page.std() > 5
        assert (page == problem.render(work, {"design": design})).all()
        heights.add(page.shape[0])
    assert len(heights) > 2  # some of them cannot work, and each reason has a line
