"""How the episodes of a vector environment began and what was played since, so that they can be played again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sysgym.core.problem import Array


class Replay:
    """Beginnings and actions of all rows, from the oldest episode under way on."""

    def __init__(self, num_envs: int, shape: tuple[int, ...]) -> None:
        """`shape` is that of one action."""
        self.shape = shape
        self.refused = np.zeros(num_envs, bool)  # rows whose last action was illegal, so that it changed nothing
        self._episodes: list[dict[str, Any]] = [{} for _ in range(num_envs)]
        self._played: list[Array] = []
        self._began = np.zeros(num_envs, np.int64)  # where in `_played` each row's episode begins

    def begin(self, row: int, episode: dict[str, Any]) -> None:
        """A row starts an episode: `chosen`, `solution` and `rng`."""
        self._episodes[row], self._began[row] = episode, len(self._played)

    def play(self, actions: Array) -> None:
        """All rows act, (B, ...) int64."""
        self._played.append(actions)

    def forget(self) -> None:
        """Drop the actions older than every episode under way."""
        oldest = int(self._began.min())
        del self._played[:oldest]
        self._began -= oldest

    def saved(self, row: int) -> dict[str, Any]:
        """The episode of a row, with its `actions` (T, ...) int64."""
        actions = [step[row] for step in self._played[self._began[row] :]]
        if self.refused[row]:
            del actions[-1:]
        empty = np.zeros((0, *self.shape), np.int64)
        return {**self._episodes[row], "actions": np.stack(actions).astype(np.int64) if actions else empty}

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]], shape: tuple[int, ...]) -> Replay:
        """The counterpart of `saved` for all rows."""
        found = cls(len(rows), shape)
        longest = max(len(saved["actions"]) for saved in rows)
        found._played = [np.zeros((len(rows), *shape), np.int64) for _ in range(longest)]
        for row, saved in enumerate(rows):
            found._episodes[row] = {key: saved[key] for key in ("chosen", "solution", "rng")}
            found._began[row] = longest - len(saved["actions"])
            for step, action in enumerate(saved["actions"], longest - len(saved["actions"])):
                found._played[step][row] = action
        return found
