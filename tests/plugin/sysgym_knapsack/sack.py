"""A whole problem in eight methods: pack the most value without exceeding a weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from sysgym import ArraySpec, Range, Verdict, complete


@dataclass(frozen=True)
class Items:
    """What may be packed."""

    value: Any  # (n,) int64
    weight: Any  # (n,) int64
    name: str = ""


@complete
class Sack:
    """Pack the most value without exceeding `fill` of the total weight. cost = -value.

    Options:
        items: how many there are. fill: share of their weight that the sack holds.

    Version history: v0, first release.
    """

    items: Annotated[int, Range(1, 10_000)] = 12
    fill: Annotated[float, Range(0.2, 1)] = 0.5

    def generate(self, rng: np.random.Generator) -> Items:
        """Random items."""
        return Items(rng.integers(1, 50, self.items), rng.integers(1, 20, self.items))

    def static(self, items: Items) -> dict[str, Any]:
        """Value and weight of each item."""
        return {"nodes": np.stack([items.value / 50, items.weight / 20], axis=1)}

    def solution_arrays(self, items: Items) -> dict[str, ArraySpec]:
        """`packed`: 0 or 1 an item."""
        return {"packed": ArraySpec(items.value.shape, "int", 0, 1, "1 = packed")}

    def room(self, items: Items, packed: Any) -> int:
        """Weight that is left; the lightest item always fits into an empty sack."""
        return max(int(self.fill * items.weight.sum()), int(items.weight.min())) - int(items.weight @ packed)

    def judge(self, items: Items, solution: Any) -> Verdict:
        """Minus the packed value; infeasible if it is too heavy."""
        over = -self.room(items, solution["packed"])
        violations = (f"the sack is {over} too heavy",) if over > 0 else ()
        return Verdict(over <= 0, -float(items.value @ solution["packed"]), {"over": float(max(over, 0))}, violations)

    def start(self, items: Items, rng: np.random.Generator, solution: Any = None) -> Any:
        """An empty sack, or the one given."""
        return np.zeros(len(items.value), np.int64) if solution is None else solution["packed"].copy()

    def allowed(self, items: Items, packed: Any) -> Any:
        """Items that still fit."""
        return (packed == 0) & (items.weight <= self.room(items, packed))

    def step(self, items: Items, packed: Any, action: int) -> Any:
        """Pack an item."""
        packed[action] = 1
        return packed

    def solution(self, items: Items, packed: Any) -> Any:
        """What is packed."""
        return {"packed": packed.copy()}
