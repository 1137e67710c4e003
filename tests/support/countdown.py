"""The least that a problem can be: no features, and actions that are no nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sysgym import ArraySpec, Size, Verdict


@dataclass(frozen=True)
class Nothing:
    count: int
    name: str = ""


class Plain:
    """Count down by 1, 2 or 3; nodes, edges and actions have no features, and actions are no nodes."""

    def generate(self, rng: np.random.Generator) -> Nothing:
        return Nothing(int(rng.integers(4, 9)))

    def static(self, instance: Nothing) -> dict[str, Any]:
        return {"nodes": np.zeros((instance.count, 0), np.float32)}

    def size(self, instance: Nothing) -> Size:
        return Size(instance.count, 0, (3,))

    def solution_arrays(self, instance: Nothing) -> dict[str, ArraySpec]:
        return {"steps": ArraySpec((instance.count,), "int", 1, 3, "what is taken away", varying=True)}

    def judge(self, instance: Nothing, solution: Any) -> Verdict:
        left = instance.count - int(solution["steps"].sum())
        return Verdict(left == 0, float(len(solution["steps"])) if left == 0 else np.inf, {"left": float(left)})

    def start(self, instance: Nothing, rng: np.random.Generator, solution: Any = None) -> list[int]:
        return []

    def allowed(self, instance: Nothing, state: list[int]) -> Any:
        return np.arange(1, 4) <= instance.count - sum(state)

    def step(self, instance: Nothing, state: list[int], action: int) -> list[int]:
        return [*state, action + 1]

    def solution(self, instance: Nothing, state: list[int]) -> dict[str, Any]:
        return {"steps": np.array(state, np.int64)}
