"""Pictures of designs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sysgym import make_problem
from sysgym.accelerator_design.fastsim_kernels import area_and_power
from sysgym.accelerator_design.pictures.facts import area_parts, power_parts
from sysgym.accelerator_design.space import COUNTS, machines


def test_parts_add_up_to_area_and_power() -> None:
    for machine in machines(np.random.default_rng(0).integers(0, COUNTS, (200, 16))):
        assert (area_parts(machine).sum(), power_parts(machine).sum()) == pytest.approx(area_and_power(machine))


def test_pictures_are_of_one_width_and_the_same_again() -> None:
    problem: Any = make_problem("AcceleratorDesign")
    work = problem.load("cnns/train-0")
    heights = set()
    for design in np.random.default_rng(0).integers(0, COUNTS, (30, 16)):
        page = problem.render(work, {"design": design})
        assert page.dtype == np.uint8 and page.shape[1:] == (1160, 3) and page.std() > 5
        assert (page == problem.render(work, {"design": design})).all()
        heights.add(page.shape[0])
    assert len(heights) == 2  # some of them cannot work
