"""Rules of one line: the standard configuration, and of each factor the value of the best effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from sysgym.core.options import Range
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget
from sysgym_agents.nmt_architecture.searches import Search, new_design

if TYPE_CHECKING:
    from sysgym.nmt_architecture.instance import Configurations
    from sysgym.nmt_architecture.problem import NMTArchitecture
    from sysgym_agents.nmt_architecture.laboratory import Laboratory


class Standard:
    """The baseline of the instance, without any evaluation: of the published tables that of the paper."""

    problems = ("NMTArchitecture",)

    def solve(
        self, problem: NMTArchitecture, instance: Configurations, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The baseline."""
        return {"design": instance.space.baseline.copy()}


class FactorEffects(Search):
    """Evaluates random designs, then again and again that of each factor's value of the best effect.

    explore: the share of the evaluations that are random. by: the "mean" of the results with a value, or its "effect"
    in a ridge regression on all values, which is 0 of values that were not tried.
    """

    def __init__(
        self, *, explore: Annotated[float, Range(0, 1)] = 0.9, by: Literal["mean", "effect"] = "effect"
    ) -> None:
        self.explore, self.by = explore, by

    def search(self, lab: Laboratory, rng: np.random.Generator) -> None:
        """First the random ones."""
        first = max(1, round(self.explore * lab.left))
        while lab.left:
            lab(new_design(lab, rng) if lab.count < first else self.chosen(lab))

    def chosen(self, lab: Laboratory) -> Array:
        """Each factor's best value, of those that are possible; by means untried ones come last."""
        design = np.zeros(len(lab.counts), np.int64)
        for place, count in enumerate(lab.counts.tolist()):
            tried = np.bincount(lab.designs[:, place], minlength=count)
            means = np.bincount(lab.designs[:, place], lab.results, count) / np.maximum(tried, 1)
            scores = np.where(tried > 0, means, 1e9)
            if self.by == "effect":
                first = int(lab.counts[:place].sum())
                scores = lab.effects[first : first + count]
            design[place] = np.where(lab.allowed(design[:place]), scores, np.inf).argmin()
        return design
