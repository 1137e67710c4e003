"""Designs to evaluate next, where a surrogate and what was evaluated say how much they will cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from sysgym.core.problem import Array
from sysgym_agents.accelerator_design.evaluations import Evaluations, neighbours
from sysgym_agents.accelerator_design.searches import crossed, random_designs

Estimate = Callable[[Array], Array]  # log of the cost of designs (n, 16)
IMAGINED, FIRST, LATER = 256, 40, 6  # designs of a search on the surrogate; its generations at first, and later
STARTS = 512  # random designs that the first one begins with
ELITE, CHILDREN = 30, 400  # of what was evaluated: parents, and how many children a round are ranked
POINTS = 600  # that the correction is fitted to, the best ones
REACH, NOISE = 6.0, 0.02  # of the correction: steps in the table until it is 1/e, and variance beside its own of 1
MOST_WRONG = 1.0  # a design over budget counts as e times worse than the surrogate says


class Correction:
    """What the surrogate gets wrong: a Gaussian process on differences of logarithms, over steps in the table."""

    def __init__(self, designs: Array, wrong: Array) -> None:
        self.designs, self.mean = designs, float(np.median(wrong))
        kernel = self._kernel(designs, designs) + NOISE * np.eye(len(designs))
        self.weights = np.linalg.solve(kernel, wrong - self.mean)

    @staticmethod
    def _kernel(one: Array, two: Array) -> Array:
        return np.exp(-np.abs(one[:, None, :] - two[None]).sum(axis=-1) / REACH)

    def __call__(self, designs: Array) -> Array:
        """(n,) of designs (n, 16)."""
        return self.mean + self._kernel(designs, self.designs) @ self.weights


class Acquisition:
    """Rounds of designs for a workload: from a search on the corrected surrogate, children of the best, neighbours."""

    def __init__(self, evaluate: Evaluations, estimate: Estimate, rng: np.random.Generator) -> None:
        self.evaluate, self.estimate, self.rng = evaluate, estimate, rng
        self.found: list[Array] = []
        self.wrong: list[float] = []
        self.imagined = np.empty((0, 16), np.int64)

    def first(self, count: int) -> Array:
        """What the surrogate thinks best, some steps apart."""
        start = self.evaluate.fitting(random_designs(self.rng, STARTS), self.rng)
        self.imagined = self._imagine(start, self.estimate, FIRST)
        return self._apart(self.imagined, count, 3)

    def learn(self, designs: Array, fitness: Array) -> None:
        """Take note of what designs really cost."""
        wrong = np.log(fitness) - self.estimate(designs)
        self.found += list(designs)
        self.wrong += np.clip(wrong, -MOST_WRONG, MOST_WRONG).tolist()

    def next(self, count: int) -> Array:
        """The next round; at least one design."""
        known = np.array([self.evaluate.known[design.tobytes()] for design in self.found])
        kept = np.argsort(known, kind="stable")[:POINTS]
        correction = Correction(np.array(self.found)[kept], np.array(self.wrong)[kept])

        def corrected(designs: Array) -> Array:
            return np.asarray(self.estimate(designs) + correction(designs))

        elite = np.array(self.evaluate.best(ELITE))
        children = self._ranked(crossed(elite, self.rng, CHILDREN), corrected)
        near = self._ranked(np.concatenate([neighbours(design) for design in elite[:3]]), corrected)
        start = np.concatenate([elite, self.imagined[:100], children[:100]])
        self.imagined = self._imagine(np.unique(start, axis=0), corrected, LATER)
        chosen = list(self._apart(self.imagined, 2 * count // 5, 2))
        chosen += list(self._apart(children, 3 * count // 10, 1, chosen))
        chosen += list(self._apart(near, count - len(chosen), 1, chosen))
        if not chosen:
            chosen = list(self.evaluate.fitting(random_designs(self.rng, count), self.rng))
        return np.array(chosen)

    def _ranked(self, designs: Array, estimate: Estimate) -> Array:
        fitting = np.unique(self.evaluate.fitting(designs, self.rng), axis=0)
        return fitting[np.argsort(estimate(fitting), kind="stable")]

    def _imagine(self, people: Array, estimate: Estimate, generations: int) -> Array:
        """The best designs of a genetic search on an estimate, best first."""
        costs = estimate(people)
        for _ in range(generations):
            order = np.argsort(costs, kind="stable")
            people, costs = people[order], costs[order]
            children = np.unique(self.evaluate.fitting(crossed(people, self.rng, IMAGINED), self.rng), axis=0)
            together = np.concatenate([people, children])
            people, first = np.unique(together, axis=0, return_index=True)
            costs = np.concatenate([costs, estimate(children)])[first]
            order = np.argsort(costs, kind="stable")[:IMAGINED]
            people, costs = people[order], costs[order]
        return people

    def _apart(self, designs: Iterable[Array], count: int, steps: int, taken: list[Array] | None = None) -> Array:
        """The first ones that were not evaluated or taken yet, that many steps from each other."""
        chosen: list[Array] = []
        others = {design.tobytes() for design in taken or []}
        for design in designs:
            if len(chosen) == count:
                break
            new = design.tobytes() not in self.evaluate.known and design.tobytes() not in others
            if new and all(np.abs(design - other).sum() >= steps for other in chosen):
                chosen.append(design)
        return np.array(chosen, np.int64).reshape(-1, 16)
