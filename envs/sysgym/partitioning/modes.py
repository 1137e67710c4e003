"""The action modes of graph partitioning: labels on a graph that cost the cut, no part above its limit."""

from __future__ import annotations

from sysgym.graphs.labels.modes import Assign, LabelMode, OneShot, RefineCandidates, RefineOptions, RefineRaw, Rules


def choose_mode(mode: str, moves: str, order: str, rules: Rules, refine: RefineOptions) -> LabelMode:
    """The dynamics of a mode, by the options of the problem."""
    if mode == "oneshot":
        return OneShot(rules)
    if mode == "assign":
        return Assign(rules, order)
    return RefineRaw(rules, refine) if moves == "raw" else RefineCandidates(rules, refine)
