"""The random agent: any problem, any mode, legal actions drawn uniformly."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from sysgym.core.env import ProblemEnv
from sysgym.core.problem import AnyProblem, Array, Instance, Solution
from sysgym_agents.core import Budget, Clock


def sample_action(rng: np.random.Generator, space: spaces.Space[Any], mask: Array) -> Any:
    """A uniform legal action: an int for Discrete, an (d,) int64 array for MultiDiscrete."""
    if isinstance(space, spaces.Discrete):
        return int(rng.choice(np.flatnonzero(mask)))
    assert isinstance(space, spaces.MultiDiscrete)
    if (space.nvec == space.nvec[0]).all():  # one table for all choices: draw them at once
        table = np.asarray(mask, bool).reshape(len(space.nvec), -1)
        return np.where(table, rng.random(table.shape), -1.0).argmax(axis=1)
    pieces = np.split(np.asarray(mask), np.cumsum(space.nvec)[:-1])
    return np.array([rng.choice(np.flatnonzero(piece)) for piece in pieces])


class Random:
    """Plays uniformly random legal actions, keeps the best feasible of `episodes` (of a sealed problem plays one)."""

    problems: tuple[str, ...] = ()
    step = "an episode, whose last state is judged"
    indivisible = "an episode"

    def __init__(self, *, episodes: int = 1) -> None:
        self.episodes = episodes

    def solve(self, problem: AnyProblem, instance: Instance, rng: np.random.Generator, budget: Budget) -> Solution:
        """The best feasible solution of the episodes that the budget allows (at least one)."""
        env = ProblemEnv(problem, instance=instance, obs="raw")
        clock, best, best_key = Clock(budget), None, (True, np.inf)
        for episode in range(self.episodes):
            if episode and (problem.sealed or clock.spent(episode)):
                break
            env.reset(seed=int(rng.integers(2**31)))
            over = False
            while not over:
                mask = env.dynamics.mask(instance, env.state, env.size)
                _, _, over, _, info = env.step(sample_action(rng, env.action_space, mask))
            key = (not info["verdict"]["feasible"], info["verdict"]["cost"])
            if best is None or key < best_key:
                best, best_key = env.solution(), key
        assert best is not None
        return best
