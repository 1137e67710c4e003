"""A learner for the knapsack: it packs by a score of value and weight, and learns the weights of the score."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from sysgym import Solution, UsageError
from sysgym.core.options import Choices, Search
from sysgym.core.problem import Array
from sysgym_agents import Budget
from sysgym_agents.core import Callback, Clock

MODEL = "model.safetensors"


class Rule:
    """Packs the item of the highest score that still fits; an evolution strategy learns the score.

    Untrained, the score is value over weight.

    Hyper-parameters:
        sigma: size of the changes that are tried. population: how many a generation.
    """

    problems = ("Knapsack",)
    step = "a generation"
    needs_training = False
    default_instances = "small/train"
    default_budget = Budget(steps=20)

    def __init__(
        self, *, sigma: Annotated[float, Search(0.01, 3.0, log=True)] = 0.3,
        population: Annotated[int, Choices(2, 4, 8, 16)] = 8,
    ) -> None:  # fmt: skip
        if not 0 < sigma < 1e3 or population < 1:
            raise UsageError(f"sigma and population of agent 'knapsack-rule' must be positive, got {sigma!r}.")
        self.hyper = {"sigma": sigma, "population": population}
        self.weights = np.array([0.0, 0.0, 1.0])

    def _pack(self, problem: Any, instance: Any, weights: Array) -> Array:
        value, weight = instance.value / instance.value.mean(), instance.weight / instance.weight.mean()
        score = np.stack([value, weight, value / weight], axis=1) @ weights
        packed, room = np.zeros(len(score), np.int64), problem.capacity(instance)
        for item in np.argsort(-score, kind="stable"):
            if instance.weight[item] <= room:
                packed[item] = 1
                room -= instance.weight[item]
        return packed

    def solve(self, problem: Any, instance: Any, rng: np.random.Generator, budget: Budget) -> Solution:
        """One pass over the items."""
        return {"packed": self._pack(problem, instance, self.weights)}

    def fit(
        self, problem: Any, instances: Sequence[Any], rng: np.random.Generator, budget: Budget,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Evolve the weights for the mean cost; a step is a generation."""

        def cost(weights: Array) -> float:
            packed = [self._pack(problem, item, weights) for item in instances]
            pairs = zip(instances, packed, strict=True)
            return float(np.mean([problem.judge(item, {"packed": one}).cost for item, one in pairs]))

        clock, steps, best = Clock(budget), 0, cost(self.weights)
        while not clock.spent(steps):
            noise = self.hyper["sigma"] * rng.standard_normal((self.hyper["population"], 3))
            tried = [(cost(self.weights + row), i) for i, row in enumerate(noise)]
            found, i = min(tried)
            if found < best:
                best, self.weights = found, self.weights + noise[i]
            steps += 1
            row = {"steps": float(steps), "seconds": clock.seconds, "loss": best}
            if callback is not None and not callback(row):
                return

    def save(self, path: Path) -> None:
        """Write `agent.json` and `model.safetensors`."""
        path.mkdir(parents=True, exist_ok=True)
        (path / "agent.json").write_text(json.dumps({"hyper": self.hyper}) + "\n")
        save_file({"weights": self.weights}, path / MODEL)

    def load(self, path: Path) -> None:
        """Read what `save` wrote."""
        try:
            hyper, weights = json.loads((path / "agent.json").read_text())["hyper"], load_file(path / MODEL)["weights"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise UsageError(f"{path} holds no weights of agent 'knapsack-rule' ({error}); train it again.") from error
        self.hyper, self.weights = Rule(**hyper).hyper, weights
