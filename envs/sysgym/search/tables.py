"""Tables of designs: what every choice of a value for each of P parameters costs, and how far its results scatter."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array

MOST = 2**20  # designs of a table
ABSENT = 100.0  # what is shown of the cost of a design that is not in the table: nothing costs more


class Lookup(Protocol):
    """What a search may ask of designs; `Table` says what each member is."""

    @property
    def counts(self) -> Array: ...  # (P,) int64

    @property
    def present(self) -> Array: ...  # (D,) bool

    def number(self, designs: Array) -> Array: ...

    def allowed(self, chosen: Array) -> Array: ...

    def first(self) -> Array: ...

    def mean(self, number: int) -> float: ...

    def result(self, seed: int, turn: int, number: int) -> float: ...

    def figures(self, number: int) -> dict[str, float]: ...

    def at_hand(self, number: int) -> bool: ...


class Table(NamedTuple):
    """All D designs, numbered with the last parameter changing fastest."""

    counts: Array  # (P,) int64, how many values each parameter has
    strides: Array  # (P,) int64, what a step of a parameter adds to the number of a design
    cost: Array  # (D,) float64, the mean; ABSENT where there is no such design
    spread: Array  # (D,) float64, the standard deviation of a result; 0 where there is no such design
    present: Array  # (D,) bool
    whole: bool  # whether all are present
    best: int  # the design of least cost, of equal ones the first

    def number(self, designs: Array) -> Array:
        """The numbers of designs (..., P)."""
        return np.asarray(designs, np.int64) @ self.strides

    def design(self, number: int) -> Array:
        """The design of a number, (P,) int64."""
        return np.asarray(number // self.strides % self.counts)

    def allowed(self, chosen: Array) -> Array:
        """Which values of the next parameter lead to a design of the table, (count,) bool: `chosen` (k,) are those of
        the first k < P parameters.
        """
        place = len(chosen)
        if self.whole:
            return np.ones(int(self.counts[place]), bool)
        first = int(np.asarray(chosen, np.int64) @ self.strides[:place])
        inside = self.present[first : first + int(self.counts[place] * self.strides[place])]
        return np.asarray(inside.reshape(int(self.counts[place]), -1).any(axis=1))

    def first(self) -> Array:
        """The first design of the table, (P,) int64."""
        return self.design(int(self.present.argmax()))

    def mean(self, number: int) -> float:
        """The cost of a design, without noise."""
        return float(self.cost[number])

    def figures(self, number: int) -> dict[str, float]:
        """`regret`, the cost of a design less the least of the table, and the `spread` of its results."""
        return {"regret": self.mean(number) - self.mean(self.best), "spread": float(self.spread[number])}

    def at_hand(self, number: int) -> bool:
        """Whether the cost of a design is known without work."""
        return bool(self.present[number])

    def result(self, seed: int, turn: int, number: int) -> float:
        """What an evaluation shows of the cost of a design: its mean with Gaussian noise that follows from the seed,
        the number of the evaluation and that of the design. A design that is not in the table shows ABSENT.
        """
        if not self.present[number]:
            return ABSENT
        noise = np.random.default_rng([seed, turn, number]).standard_normal()
        return float(self.cost[number] + self.spread[number] * noise)


def counted(counts: Array) -> tuple[int, Array]:
    """How many designs parameters of so many values have, and their strides; UsageError if they are too many."""
    total = math.prod(int(count) for count in counts)
    if total > MOST:
        raise UsageError(f"parameters of {', '.join(map(str, counts))} values make {total} designs, {MOST} at most.")
    strides = np.cumprod(np.concatenate([[1], counts[:0:-1]]))[::-1].astype(np.int64)
    return total, np.ascontiguousarray(strides)


def table_of(counts: Array, cost: Array, spread: Array, present: Array) -> Table:
    """A table of (D,) costs; UsageError where no design is present."""
    _, strides = counted(counts)
    if not present.any():
        raise UsageError("a table needs a design.")
    shown = np.where(present, cost, ABSENT)
    best = int(np.where(present, cost, np.inf).argmin())
    return Table(
        np.asarray(counts, np.int64), strides, shown, np.where(present, spread, 0.0), present, bool(present.all()), best
    )
