"""Classical searches of accelerator design, within a number of evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np

from sysgym.accelerator_design.space import COUNTS
from sysgym.core.options import Range
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget

if TYPE_CHECKING:
    from sysgym.accelerator_design.instance import Workloads
    from sysgym.accelerator_design.problem import AcceleratorDesign
    from sysgym_agents.accelerator_design.evaluations import Evaluations

USUAL = 5_000  # evaluations without a budget, as in FAST


def random_designs(rng: np.random.Generator, count: int) -> Array:
    """Values drawn evenly, (count, 16)."""
    return np.asarray(rng.integers(0, COUNTS, (count, len(COUNTS))))


class Genetic:
    """A genetic algorithm with uniform crossover and mutation, then steps to better neighbours.

    Parents win tournaments of three; the best fifth of a generation survives. A tenth of the evaluations goes to
    neighbours of the best designs. Where nothing improved for `patience` generations, all but the best is drawn anew.
    """

    problems = ("AcceleratorDesign",)
    step = "an evaluation: a design whose cost the greedy model finds"
    indivisible = "a generation, or a design that is judged exactly"

    def __init__(
        self, *, population: Annotated[int, Range(4, 10_000)] = 50, mutation: Annotated[float, Range(0, 1)] = 0.12,
        patience: Annotated[int, Range(1, 10_000)] = 30,
    ) -> None:  # fmt: skip
        self.population, self.mutation, self.patience = population, mutation, patience

    def solve(
        self, problem: AcceleratorDesign, instance: Workloads, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The best design, by the judge."""
        from sysgym_agents.accelerator_design.evaluations import Evaluations

        evaluate = Evaluations(problem, instance, budget, USUAL)
        people = evaluate.fitting(random_designs(rng, self.population), rng)
        fitness = evaluate(people)
        still, best = 0, float(fitness.min())
        reserve = max(evaluate.most // 10, 2 * len(COUNTS)) if evaluate.most < 2**62 else 0
        while not evaluate.spent:
            if evaluate.most - evaluate.count <= reserve or still == self.patience:
                if not self._polished(evaluate) and evaluate.most - evaluate.count <= reserve:
                    reserve //= 2
                if still == self.patience:
                    people = np.concatenate([np.array(evaluate.best(1)), evaluate.fitting(random_designs(rng, self.population - 1), rng)])
                    fitness, still = evaluate(people), 0
                    best = np.inf
                continue
            children = evaluate.fitting(self._children(people, fitness, rng), rng)
            scored = evaluate(children)
            kept = np.argsort(fitness, kind="stable")[: self.population // 5]
            people, fitness = np.concatenate([people[kept], children]), np.concatenate([fitness[kept], scored])
            order = np.argsort(fitness, kind="stable")[: self.population]
            people, fitness = people[order], fitness[order]
            still = still + 1 if fitness[0] >= best else 0
            best = min(best, float(fitness[0]))
        return evaluate.answer()

    def _children(self, people: Array, fitness: Array, rng: np.random.Generator) -> Array:
        """A generation of mixed and changed designs."""
        drawn = rng.integers(0, len(people), (2, self.population, 3))
        parents = np.take_along_axis(drawn, fitness[drawn].argmin(axis=2)[..., None], axis=2)[..., 0]
        mixed = np.where(rng.random((self.population, len(COUNTS))) < 0.5, people[parents[0]], people[parents[1]])
        steps = np.clip(mixed + rng.choice([-1, 1], mixed.shape), 0, COUNTS - 1)
        changed = np.where(rng.random(mixed.shape) < 0.5, steps, random_designs(rng, self.population))
        return np.where(rng.random(mixed.shape) < self.mutation, changed, mixed)

    @staticmethod
    def _polished(evaluate: Evaluations) -> bool:
        """Look at the neighbours of the best design; whether one is better."""
        from sysgym_agents.accelerator_design.evaluations import neighbours

        best = evaluate.best(1)[0]
        before = evaluate.known[best.tobytes()]
        return bool(evaluate(neighbours(best)).min() < before)
