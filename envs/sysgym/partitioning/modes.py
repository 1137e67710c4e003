"""The action modes of graph partitioning: labels on a graph that cost the cut, no part above its limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sysgym.graphs.labels.modes import Assign, LabelMode, OneShot, RefineCandidates, RefineOptions, RefineRaw, Rules

if TYPE_CHECKING:
    from sysgym.partitioning.problem import Partitioning


def make_mode(problem: Partitioning) -> LabelMode:
    """The dynamics that the options of the problem name."""
    rules = Rules(problem.k, problem.limit, slack=problem.eps)
    if problem.mode == "oneshot":
        return OneShot(rules)
    if problem.mode == "assign":
        return Assign(rules, problem.order)
    options = RefineOptions(problem.start, problem.steps, problem.candidates, problem.tenure)
    return RefineRaw(rules, options) if problem.moves == "raw" else RefineCandidates(rules, options)
