"""Reward functions. All go through the problem's cost, so an episode's return and `judge` cannot disagree.

`improvement` pays each step (cost before - cost after) / scale; the return telescopes to the total improvement.
`final` pays -cost / scale once, at the end; `log` pays -log(cost / scale) then, for costs that differ by factors (of a
cost of LEAST scales or less, 0 too, -log(LEAST)). Each way an answer that `judge` finds infeasible costs its relative
violation (`metrics["excess"]`, else 1) at the end, and an illegal action costs ILLEGAL and ends the episode.
"""

from __future__ import annotations

import math

from sysgym.core.errors import unknown
from sysgym.core.problem import Verdict

REWARDS = ("improvement", "final", "log")
LEAST = 1e-9
ILLEGAL = 2.0


def check_reward(name: str) -> str:
    """Return `name` if it is one of REWARDS, else raise UsageError."""
    if name not in REWARDS:
        raise unknown("reward", name, REWARDS)
    return name


def reward(name: str, before: float, after: float, scale: float, verdict: Verdict | None) -> float:
    """Reward of one legal step; `verdict` is given at the end of the episode only."""
    value = (before - after) / scale if name == "improvement" else 0.0
    if verdict is not None:
        if name == "final" and math.isfinite(verdict.cost):
            value -= verdict.cost / scale
        if name == "log" and math.isfinite(verdict.cost):
            value -= math.log(max(verdict.cost / scale, LEAST))
        if not verdict.feasible:
            value -= float(verdict.metrics.get("excess", 1.0))
    return float(value)
