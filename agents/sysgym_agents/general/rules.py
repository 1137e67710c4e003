"""Rules of one line that play any problem's episode: the first legal action, or the one of the largest listed gain.

What learns in an action mode is worth its training only where it beats them in the same mode.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from sysgym.core.env import ProblemEnv
from sysgym.core.errors import UsageError
from sysgym.core.problem import AnyProblem, Array, Instance, Solution
from sysgym.core.registry import options_of
from sysgym_agents.core import Budget, Clock

GAIN = "gain"  # name of the column of the candidates that says what an action takes off the cost
LOOK = 64  # moves between two looks at the clock


class First:
    """Plays the first legal action at every step: the head of the list where candidates are sorted."""

    problems: tuple[str, ...] = ()
    step = "an episode, of which it plays one"
    indivisible = f"the episode until its answer is feasible, or {LOOK} moves"

    def solve(self, problem: AnyProblem, instance: Instance, rng: np.random.Generator, budget: Budget) -> Solution:
        """One episode; the answer so far where the time is up and it is feasible."""
        clock = Clock(budget)
        env = ProblemEnv(problem, instance=instance, obs="raw")
        env.reset(seed=int(rng.integers(2**31)))
        played, over = 0, False
        while not over:
            _, _, over, _, _ = env.step(self.choose(env))
            played += 1
            if played % LOOK == 0 and budget.timed and clock.spent() and env.verdict().feasible:
                break
        return env.solution()

    def choose(self, env: ProblemEnv) -> Any:
        """The action at the state of an environment."""
        return first_action(env.action_space, env.dynamics.mask(env.instance, env.state, env.size))


class Greedy(First):
    """Plays the action of the largest gain, in modes that list one for each candidate.

    Hyper-parameters:
        ties: of equal gains the "first" listed action is played, or the "last".
    """

    def __init__(self, *, ties: Literal["first", "last"] = "first") -> None:
        self.ties = ties

    def choose(self, env: ProblemEnv) -> Any:
        """The top gain among the legal actions; UsageError where no gain is listed."""
        names = env.dynamics.candidate_features
        if GAIN not in names or not isinstance(env.action_space, spaces.Discrete):
            chosen = ", ".join(f"{key}={value}" for key, value in options_of(env.problem).items() if key == "mode")
            raise UsageError(
                f"{env.problem.name} ({chosen or 'as it is'}) lists no gain of its actions; use a mode that lists "
                "candidates with their gains, or another agent."
            )
        gains = env.dynamics.candidates(env.instance, env.state, env.size)[0][:, names.index(GAIN)]
        legal = np.asarray(env.dynamics.mask(env.instance, env.state, env.size), bool)
        gains = np.where(legal, gains, -np.inf)
        return int(gains.argmax() if self.ties == "first" else len(gains) - 1 - gains[::-1].argmax())


def first_action(space: spaces.Space[Any], mask: Array) -> Any:
    """The first legal action: an int for Discrete, an (d,) int64 array for MultiDiscrete.

    >>> first_action(spaces.Discrete(3), np.array([0, 1, 1]))
    1
    """
    if isinstance(space, spaces.Discrete):
        return int(np.flatnonzero(mask)[0])
    assert isinstance(space, spaces.MultiDiscrete)
    pieces = np.split(np.asarray(mask), np.cumsum(space.nvec)[:-1])
    return np.array([np.flatnonzero(piece)[0] for piece in pieces])
