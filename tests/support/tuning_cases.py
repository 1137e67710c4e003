"""A learner that trains in milliseconds, and studies of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from sysgym_knapsack.agent import Rule

from sysgym import UsageError
from sysgym.core.options import Choices, Search
from sysgym_zoo.tuning.tune import Asked, tune

BASE: dict[str, Any] = {"word": "knapsack-rule", "problem": "Knapsack", "steps": 8, "every": 2, "trials": 6}
WORDS = (
    "tune",
    "knapsack-rule",
    "-p",
    "Knapsack",
    "--steps",
    "8",
    "--eval-every",
    "2",
    "--trials",
    "6",
    "--study",
    "s",
)


class Dial(Rule):
    """Its answers are the worse the larger sigma is; it learns nothing, and fails where sigma is 7."""

    def __init__(
        self, *, sigma: Annotated[float, Search(0.01, 3.0, log=True)] = 0.3,
        population: Annotated[int, Choices(2, 4)] = 4, spare: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(sigma=sigma, population=population)
        self.weights = np.array([0.0, -sigma, 1.0])

    def fit(self, problem: Any, instances: Any, rng: Any, budget: Any, callback: Any = None) -> None:
        if self.hyper["sigma"] == 7:
            raise UsageError("nothing can be learnt.")
        for step in range(1, budget.steps + 1):
            if not callback({"steps": float(step), "seconds": 0.0}):
                return


def tuned(folder: Path, **changes: Any) -> Any:
    return tune(Asked(**{**BASE, **changes}), folder)


def records(folder: Path) -> dict[str, Any]:
    """The record of every training of a study."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("trials/*/run.json"))}
