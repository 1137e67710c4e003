"""Classical searches of accelerator design, within a number of evaluations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

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


def import_solver() -> None:
    """Import what judging a design exactly takes: no budget counts it."""
    import scipy.optimize

    from sysgym_agents.accelerator_design import evaluations

    assert scipy.optimize is not None and evaluations is not None


def random_designs(rng: np.random.Generator, count: int) -> Array:
    """Values drawn evenly, (count, 16)."""
    return np.asarray(rng.integers(0, COUNTS, (count, len(COUNTS))))


def crossed(people: Array, rng: np.random.Generator, count: int, mutation: float = 0.12) -> Array:
    """Children (count, 16) of designs that stand best first: parents win tournaments of three, crossover is uniform,
    a mutated value is a step away or drawn anew.
    """
    parents = rng.integers(0, len(people), (2, count, 3)).min(axis=2)
    mixed = np.where(rng.random((count, len(COUNTS))) < 0.5, people[parents[0]], people[parents[1]])
    steps = np.clip(mixed + rng.choice([-1, 1], mixed.shape), 0, COUNTS - 1)
    changed = np.where(rng.random(mixed.shape) < 0.5, steps, random_designs(rng, count))
    return np.where(rng.random(mixed.shape) < mutation, changed, mixed)


class Genetic:
    """A genetic algorithm with uniform crossover and mutation, then steps to better neighbours.

    Parents win tournaments of three; the best fifth of a generation survives. Children that the budgets of area and
    power do not allow are changed until they do. A tenth of a number of evaluations goes to neighbours of the best.
    Where nothing improved for `patience` generations, all but the best is drawn anew. `start`: "random", or "known",
    the best designs of other workloads (those of `fast/train`) first.
    """

    problems = ("AcceleratorDesign",)
    step = "an evaluation: a design whose cost the greedy model finds"
    indivisible = "a generation, or a design that is judged exactly"

    def __init__(
        self, *, population: Annotated[int, Range(4, 10_000)] = 50, mutation: Annotated[float, Range(0, 1)] = 0.12,
        patience: Annotated[int, Range(1, 10_000)] = 30, start: Literal["random", "known"] = "random",
    ) -> None:  # fmt: skip
        self.population, self.mutation, self.patience, self.start = population, mutation, patience, start

    def prepare(self) -> None:
        """Import the kernels and the solver."""
        import_solver()

    def solve(
        self, problem: AcceleratorDesign, instance: Workloads, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The best design, by the judge."""
        from sysgym_agents.accelerator_design.evaluations import Evaluations

        evaluate = Evaluations(problem, instance, budget, USUAL)
        self.search(evaluate, rng)
        return evaluate.answer()

    def search(self, evaluate: Evaluations, rng: np.random.Generator) -> None:
        """Evaluate designs until nothing more may be."""

        def breed(people: Array, count: int) -> Array:
            return crossed(people, rng, count, self.mutation)

        evolve(evaluate, rng, self._first(evaluate, rng), breed, self.patience)

    def _first(self, evaluate: Evaluations, rng: np.random.Generator) -> Array:
        """The first generation."""
        from sysgym.accelerator_design.catalogue import known_designs

        drawn = random_designs(rng, self.population)
        if self.start == "known":
            known = known_designs()[: self.population]
            drawn[: len(known)] = known
        return evaluate.fitting(drawn, rng)


def evolve(
    evaluate: Evaluations, rng: np.random.Generator, people: Array, breed: Callable[[Array, int], Array], patience: int
) -> None:
    """Generations of `people` until nothing more may be evaluated; `breed` makes children of designs, best first."""
    size, fitness = len(people), evaluate(people)
    still, best = 0, float(fitness.min())
    reserve = max(evaluate.most // 10, 2 * len(COUNTS)) if evaluate.most < 2**62 else 0
    while not evaluate.spent:
        if evaluate.most - evaluate.count <= reserve or still == patience:
            if not polished(evaluate, rng) and evaluate.most - evaluate.count <= reserve:
                reserve //= 2
            if still == patience:
                fresh = evaluate.fitting(random_designs(rng, size - 1), rng)
                people = np.concatenate([np.array(evaluate.best(1)), fresh])
                fitness, still, best = evaluate(people), 0, np.inf
            continue
        order = np.argsort(fitness, kind="stable")
        people, fitness = people[order], fitness[order]
        children = evaluate.fitting(breed(people, size), rng)
        kept = size // 5
        people = np.concatenate([people[:kept], children])
        fitness = np.concatenate([fitness[:kept], evaluate(children)])
        order = np.argsort(fitness, kind="stable")[:size]
        people, fitness = people[order], fitness[order]
        still = still + 1 if fitness[0] >= best else 0
        best = min(best, float(fitness[0]))


def polished(evaluate: Evaluations, rng: np.random.Generator) -> bool:
    """Look at the neighbours of the best design; whether one is better."""
    from sysgym_agents.accelerator_design.evaluations import neighbours

    best = evaluate.best(1)[0]
    before = evaluate.known[best.tobytes()]
    return bool(evaluate(evaluate.fitting(neighbours(best), rng)).min() < before)
