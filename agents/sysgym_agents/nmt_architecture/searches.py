"""Classical searches under a budget of noisy evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np

from sysgym.core.options import Range
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget

if TYPE_CHECKING:
    from sysgym.nmt_architecture.instance import Configurations
    from sysgym.nmt_architecture.problem import NMTArchitecture
    from sysgym_agents.nmt_architecture.laboratory import Laboratory

STEP = "a noisy evaluation; there are as many as the instance has, or fewer"
TRIES = 64  # draws of a design that was not evaluated yet


class Search:
    """What they share: a laboratory, and its answer."""

    problems = ("NMTArchitecture",)
    step = STEP
    indivisible = "an evaluation"

    def prepare(self) -> None:
        """Import the kernels."""
        from sysgym_agents.nmt_architecture import laboratory

        assert laboratory is not None

    def solve(
        self, problem: NMTArchitecture, instance: Configurations, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The design of the best mean result that was seen."""
        from sysgym_agents.nmt_architecture.laboratory import Laboratory

        lab = Laboratory(instance, budget)
        if lab.left:
            self.search(lab, rng)
        return lab.answer()

    def search(self, lab: Laboratory, rng: np.random.Generator) -> None:
        """Evaluate while anything is left."""
        raise NotImplementedError


def new_design(lab: Laboratory, rng: np.random.Generator) -> Array:
    """A random design, one that was not evaluated if such a one is found soon."""
    design = lab.drawn(rng)
    for _ in range(TRIES):
        if not (lab.designs == design).all(axis=1).any():
            break
        design = lab.drawn(rng)
    return design


def mutated(lab: Laboratory, rng: np.random.Generator, parent: Array) -> Array:
    """The parent with one value changed, if soon found one that exists and was not evaluated; else as it comes."""
    free = np.flatnonzero(lab.counts > 1)
    found = parent
    for _ in range(TRIES if len(free) else 0):
        child = parent.copy()
        place = int(rng.choice(free))
        child[place] = (child[place] + rng.integers(1, lab.counts[place])) % lab.counts[place]
        if lab.exists(child):
            found = child
            if not (lab.designs == child).all(axis=1).any():
                break
    return found


class RandomSearch(Search):
    """Evaluates random designs, each once."""

    def search(self, lab: Laboratory, rng: np.random.Generator) -> None:
        """As many as there are."""
        while lab.left:
            lab(new_design(lab, rng))


class RegularisedEvolution(Search):
    """Regularised evolution (Real et al. 2019): the oldest dies, the best of a sample has a child of one new value."""

    def __init__(
        self, *, population: Annotated[int, Range(1, 10_000)] = 8, sample: Annotated[int, Range(1, 10_000)] = 8
    ) -> None:
        self.population, self.sample = population, sample

    def search(self, lab: Laboratory, rng: np.random.Generator) -> None:
        """Random designs first, then children."""
        while lab.left:
            if lab.count < self.population:
                lab(new_design(lab, rng))
                continue
            alive = np.arange(lab.count - self.population, lab.count)
            drawn = rng.choice(alive, min(self.sample, self.population), replace=False)
            parent = drawn[lab.results[drawn].argmin()]
            lab(mutated(lab, rng, lab.designs[parent].copy()))


class SuccessiveHalving(Search):
    """Successive halving (Jamieson and Talwalkar 2016) whose fidelity is repeats: of random designs that were evaluated
    once, the best 1/eta are evaluated again, and so on; what is left goes to new ones.
    """

    def __init__(self, *, eta: Annotated[int, Range(2, 100)] = 4) -> None:
        self.eta = eta

    def rungs(self, most: int) -> list[int]:
        """How many designs each round evaluates: the largest first round that the budget allows."""
        for first in range(most, 0, -1):
            found = [first]
            while found[-1] >= self.eta:
                found.append(found[-1] // self.eta)
            if sum(found) <= most:
                return found
        return [1]

    def search(self, lab: Laboratory, rng: np.random.Generator) -> None:
        """Round after round."""
        first, *later = self.rungs(lab.left)
        for _ in range(first):
            if lab.left:
                lab(new_design(lab, rng))
        for count in later:
            for design in best_means(lab)[:count]:
                if lab.left:
                    lab(design)
        while lab.left:
            lab(new_design(lab, rng))


def best_means(lab: Laboratory) -> list[Array]:
    """The designs that were evaluated, those of the least mean results first."""
    designs, owner = np.unique(lab.designs, axis=0, return_inverse=True)
    owner = owner.reshape(-1)
    means = np.bincount(owner, lab.results) / np.bincount(owner)
    return list(designs[np.argsort(means, kind="stable")])
