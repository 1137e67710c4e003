"""From the rule to an answer: its placement, samples of it, then one region after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sysgym.core.problem import Array
from sysgym_agents.dataflow.learnt_list.state import Read, homes, judged, placed

HEATS = (-3.2, -0.2)  # range of the logarithm of the heat of a sample
TRIES = 50  # draws of a region that changes something new


class Found(NamedTuple):
    """A placement and what it costs."""

    over: int  # bytes beyond the memories
    cost: float  # ns
    placement: Array  # (N,) int32
    home: Array  # (U,) int32

    @property
    def key(self) -> tuple[int, float]:
        """What is minimised."""
        return self.over, self.cost


def region(given: Read, rng: np.random.Generator) -> Array:
    """Units that belong together, (U,) bool: a stretch of depth, a unit with some neighbours, or a layer."""
    units = given.shape[0]
    kind, unit = rng.random(), int(rng.integers(units))
    some = np.zeros(units, bool)
    if 0.25 <= kind < 0.6:
        begin, end = given.work.link_ptr[unit : unit + 2]
        near = given.work.links[1][begin:end]
        some[near[rng.random(len(near)) < rng.choice([0.0, 0.3])]] = True
        some[unit] = True
        return some
    if kind < 0.25:
        width = np.exp(rng.uniform(np.log(0.02), np.log(0.4)))
        low = rng.uniform(-width / 2, 1 - width / 2)
        some = (given.depth >= low) & (given.depth < low + width)
    else:
        some = np.abs(given.depth - given.depth[unit]) < 1e-9
    if rng.random() < 0.5:
        some &= given.backward == given.backward[unit]
    if not some.any():
        some[unit] = True
    return np.asarray(some)


class Search:
    """The best placement of a graph within a number of simulations."""

    def __init__(
        self, given: Read, rules: Array, rng: np.random.Generator, limit: float, spent: Callable[[int], bool]
    ) -> None:
        self.given, self.rules, self.rng, self.limit, self._spent = given, rules, rng, limit, spent
        self.best: Found | None = None
        self.judged = 0
        self.seen: set[bytes] = set()

    def spent(self) -> bool:
        """Whether nothing more may be simulated; one placement always may."""
        return self.best is not None and (self.judged >= self.limit or self._spent(self.judged))

    def offer(self, placement: Array) -> bool:
        """Simulate a placement (N,); whether it is the best so far."""
        costs, over = judged(self.given, placement[None])
        self.judged += 1
        if self.best is not None and (int(over[0]), float(costs[0])) >= self.best.key:
            return False
        self.best = Found(int(over[0]), float(costs[0]), placement, homes(self.given.work, placement))
        return True

    def place(self, samples: int) -> None:
        """The placement of each rule, then samples by Gumbel noise on their scores, in turn: one and so many more."""
        for number in range(1 + samples):
            if self.spent():
                return
            rule = self.rules[number % len(self.rules)]
            if number < len(self.rules):
                self.offer(placed(self.given, rule))
            else:
                heat = float(np.exp(self.rng.uniform(*HEATS)))
                self.offer(placed(self.given, rule, self.rng.gumbel(size=self.given.shape), heat))

    def move(self) -> None:
        """Move a region of the best placement to another device, again and again, until the budget is spent."""
        while not self.spent():
            assert self.best is not None
            home, of = self.best.home, self.given.work.units.of
            for _ in range(TRIES):
                device = int(self.rng.integers(self.given.shape[1]))
                units = region(self.given, self.rng) & (home != device)
                after = np.where(units, device, home).astype(np.int32).tobytes()
                if units.any() and after not in self.seen:
                    break
            else:
                return
            self.seen.add(after)
            self.offer(np.where(units[of], device, self.best.placement).astype(np.int32))
