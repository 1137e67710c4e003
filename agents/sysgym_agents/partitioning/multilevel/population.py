"""The evolution of partitions that multilevel searches share: fresh runs, then combinations and V-cycles of members.

Combinations as in KaFFPaE (Sanders and Schulz 2012): a hierarchy that contracts no edge that a parent cuts, refined up
from the better one. So a child is never worse than that parent, but for what the rules of balance ask.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from sysgym.core.problem import Array
from sysgym_agents.core import Clock

FIRST = 0.2  # share of the budget for the first population
MEMBERS = (2, 12)  # of the population, at least and at most
STILL = 4  # steps a member without a better best, at least 20, after which a population makes way
COMBINED = 0.8  # share of the later steps that combine two members


class Member(NamedTuple):
    """A partition and how good it is."""

    key: tuple[int, int]  # what parts weigh too much, then the cost; less is better
    part: Array


class Steps(Protocol):
    """What a search can do."""

    rng: np.random.Generator

    def run(self) -> Member: ...  # a partition from nothing

    def given(self, part: Array) -> Member: ...  # a partition, improved

    def cycle(self, better: Array, other: Array | None = None) -> Member: ...  # refined within parts


class Population:
    """Members, and the best of populations before them. One that stands still makes way for a fresh one; the best of
    three of them begin the next, which fresh runs complete.
    """

    def __init__(self, search: Steps, start: Array | None) -> None:
        self.search, self.start = search, start
        self.members: list[Member] = []
        self.elite: list[Member] = []
        self.wanted = 0  # members before the first step of evolution; 0: the clock says
        self.still = 0  # steps since the best became better

    @property
    def best(self) -> Member:
        """The best of all."""
        return min((*self.members, *self.elite), key=lambda m: m.key)

    def step(self, grown: bool) -> None:
        """A fresh member, or a child of some; `grown` says that the first population is complete."""
        if self.start is not None and not self.members:
            self.members.append(self.search.given(self.start))
            return
        if self.wanted == 0 and grown:
            self.wanted = len(self.members)
        if self.start is None and (self.wanted == 0 or len(self.members) < self.wanted):
            self.members.append(self.search.run())
            return
        before = min(m.key for m in self.members)
        self.evolve()
        self.still = self.still + 1 if min(m.key for m in self.members) == before else 0
        if self.still >= max(STILL * self.wanted, 20) and self.start is None:
            self.still = 0
            self.elite.append(min(self.members, key=lambda m: m.key))
            self.members = []
            if len(self.elite) == 3:
                self.members, self.elite = self.elite, []

    def evolve(self) -> None:
        """Combine two members, or cycle one; the child takes the place of a parent or of the worst that it beats."""
        members, rng = self.members, self.search.rng
        if len(members) > 1 and rng.random() < COMBINED:
            pair = sorted(rng.choice(len(members), 2, replace=False).tolist(), key=lambda i: members[i].key)
            child, parent = self.search.cycle(members[pair[0]].part, members[pair[1]].part), pair[0]
        else:
            best = min(range(len(members)), key=lambda i: members[i].key)
            parent = best if rng.random() < 0.5 else int(rng.integers(len(members)))
            child = self.search.cycle(members[parent].part)
        worst = max(range(len(members)), key=lambda i: members[i].key)
        if child.key < members[parent].key:
            members[parent] = child
        elif child.key < members[worst].key and all(child.key != m.key for m in members):
            members[worst] = child


def evolved(search: Steps, start: Array | None, clock: Clock, runs: int) -> Member:
    """The best of the steps that the budget allows, one at least; `runs` of them without a budget.

    A step begins only where 0.8 of what the last ones took is left.
    """
    population = Population(search, start)
    step, longest = 0, 0.0
    while step == 0 or not _over(clock, step, longest, runs):
        before = clock.share
        population.step(not _first(clock, len(population.members), runs))
        step, longest = step + 1, max(clock.share - before, longest / 2)
    return population.best


def _over(clock: Clock, step: int, longest: float, runs: int) -> bool:
    """Whether no further step may begin."""
    if not clock.budget.timed and clock.budget.steps is None:
        return step >= runs
    return clock.spent(step) or clock.share + 0.8 * longest > 1


def _first(clock: Clock, members: int, runs: int) -> bool:
    """Whether the first population is still to grow."""
    if clock.budget.timed:
        return members < MEMBERS[0] or (members < MEMBERS[1] and clock.share < FIRST)
    return members < min(max(MEMBERS[0], int(FIRST * (clock.budget.steps or runs))), MEMBERS[1])
