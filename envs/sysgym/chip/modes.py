"""The state machine that the options of the problem name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sysgym.chip.hpwl_mode import WireMaskMode
from sysgym.chip.oneshot import OneShot
from sysgym.chip.refine import Refine
from sysgym.chip.sequence import Sequential

if TYPE_CHECKING:
    from sysgym.chip.problem import ChipPlacement


def make_mode(problem: ChipPlacement) -> Any:
    """A Machine; see `sysgym.core.problem`."""
    if problem.mode == "hpwl":
        return WireMaskMode(problem.order or "nets")
    if problem.mode == "refine":
        return Refine(problem.judge, problem.rules, problem.start, problem.steps)
    kind = OneShot if problem.mode == "oneshot" else Sequential
    orientations = 4 if problem.orient and problem.mode == "sequential" else 1
    return kind(problem.judge, problem.rules, problem.order or "area", problem.spacing, orientations, problem.soft)
