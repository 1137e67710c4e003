"""Linear combination swarm: fireflies that fly towards better ones, as in Vizier's eagle strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np

from sysgym.accelerator_design.space import COUNTS
from sysgym.core.options import Range
from sysgym.core.problem import Array, Solution
from sysgym_agents.accelerator_design.searches import USUAL, import_solver
from sysgym_agents.core import Budget

if TYPE_CHECKING:
    from sysgym.accelerator_design.instance import Workloads
    from sysgym.accelerator_design.problem import AcceleratorDesign

PULL, PUSH = 1.5, 0.3  # of a better firefly, and of a worse one
SIGHT = 4.0  # how fast the pull fades with the mean square distance, of parameters from 0 to 1
FADING = 0.9  # of the noise of a firefly after a flight that was no better


def rows_of(points: Array) -> Array:
    """Designs (n, 16) of points (n, 16) of the unit cube: the table's rows, evenly."""
    return np.clip((np.asarray(points) * COUNTS).astype(np.int64), 0, COUNTS - 1)


class Swarm:
    """Fireflies fly by a linear combination of the ways to the others, and some noise of heavy tails.

    Vizier's default besides Bayesian optimisation, and what FAST found best at large budgets ("LCS"). A firefly whose
    noise has died away is drawn anew, the best one excepted. Designs over the budgets of area and power are changed
    until they are within.
    """

    problems = ("AcceleratorDesign",)
    step = "an evaluation: a design whose cost the greedy model finds"
    indivisible = "a flight of all fireflies, or a design that is judged exactly"

    def __init__(
        self, *, fireflies: Annotated[int, Range(2, 10_000)] = 40, noise: Annotated[float, Range(0, 10)] = 0.3
    ) -> None:
        self.fireflies, self.noise = fireflies, noise

    def prepare(self) -> None:
        """Import the kernels and the solver."""
        import_solver()

    def solve(
        self, problem: AcceleratorDesign, instance: Workloads, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The best design, by the judge."""
        from sysgym_agents.accelerator_design.evaluations import Evaluations

        evaluate = Evaluations(problem, instance, budget, USUAL)
        places = rng.random((self.fireflies, len(COUNTS)))
        costs, noise = evaluate(evaluate.fitting(rows_of(places), rng)), np.full(self.fireflies, self.noise)
        while not evaluate.spent:
            moved = np.clip(self._flown(places, costs, noise, rng), 0, 1 - 1e-9)
            found = evaluate(evaluate.fitting(rows_of(moved), rng))
            better = found < costs
            places[better], costs[better] = moved[better], found[better]
            noise[~better] *= FADING
            tired = noise < 0.02
            tired[costs.argmin()] = False
            noise[costs.argmin()] = max(noise[costs.argmin()], 0.05)
            places[tired], costs[tired], noise[tired] = rng.random((int(tired.sum()), len(COUNTS))), np.inf, self.noise
        return evaluate.answer()

    @staticmethod
    def _flown(places: Array, costs: Array, noise: Array, rng: np.random.Generator) -> Array:
        """Where each firefly flies to."""
        ways = places[None] - places[:, None]
        force = np.exp(-SIGHT * (ways**2).mean(axis=2)) * rng.random((len(places), len(places)))
        force = np.where(costs[None] < costs[:, None], PULL * force, -PUSH * force) / len(places) * 4
        shaken = rng.laplace(size=places.shape)
        shaken /= np.abs(shaken).max(axis=1, keepdims=True)
        return np.asarray(places + (force[..., None] * ways).sum(axis=1) + noise[:, None] * shaken)
