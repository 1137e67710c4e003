"""The dynamics that the options of the problem name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sysgym.chip_placement.modes.oneshot import OneShot
from sysgym.chip_placement.modes.refine import Refine
from sysgym.chip_placement.modes.sequence import Sequential
from sysgym.chip_placement.modes.wiremask import WireMaskMode

if TYPE_CHECKING:
    from sysgym.chip_placement.problem import ChipPlacement


def make_mode(problem: ChipPlacement) -> Any:
    """A Dynamics; see `sysgym.core.problem`."""
    if problem.mode == "hpwl":
        return WireMaskMode(problem.order or "nets")
    if problem.mode == "refine":
        return Refine(problem.judge, problem.rules, problem.start, problem.steps)
    kind = OneShot if problem.mode == "oneshot" else Sequential
    orientations = 4 if problem.orient and problem.mode == "sequential" else 1
    return kind(problem.judge, problem.rules, problem.order or "area", problem.spacing, orientations, problem.soft)
