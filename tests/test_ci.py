"""What CI runs in full after a change."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

TOUCHED = runpy.run_path(str(Path(__file__).parents[1] / ".ci" / "touched.py"))["touched"]


@pytest.mark.parametrize(
    ("changed", "problems"),
    [
        ("envs/sysgym/partitioning/problem.py", ["Partitioning-v0"]),
        ("agents/sysgym_agents/chip_placement/wiremask.py", ["ChipPlacement-v0"]),
        ("tests/chip_placement/test_wire.py", ["ChipPlacement-v0"]),
        ("envs/sysgym/dataflow/simulator/kernels.py", ["DevicePlacement-v0", "GraphOptimization-v0"]),
        ("README.md", []),
    ],
)
def test_a_change_names_its_problems(changed: str, problems: list[str]) -> None:
    assert set(TOUCHED([changed])) >= set(problems) and bool(problems) == bool(TOUCHED([changed]))


def test_a_change_of_the_core_names_all_problems() -> None:
    assert TOUCHED(["envs/sysgym/core/env.py"]) == TOUCHED(None)
    assert len(TOUCHED(None)) >= 4 > len(TOUCHED(["envs/sysgym/partitioning/problem.py"]))
