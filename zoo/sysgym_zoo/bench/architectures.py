"""`sysgym bench architectures`: steps of environments a second, and how far searches stay from the best."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from sysgym import make_problem
from sysgym.core.problem import Array
from sysgym.nmt_architecture.instance import table
from sysgym_agents.core import Budget, make_agent
from sysgym_agents.general.random import sample_action
from sysgym_leaderboards.statistics import bootstrap_interval
from sysgym_zoo.jobs.measuring import each, row

NAME = "NMTArchitecture"
SEARCHES = ("random-search", "factor-effects", "successive-halving", "regularised-evolution")
SEEDS = 50  # of the noise, those of the registered instances


def stepped(mode: str, form: str, count: int, seconds: float) -> list[dict[str, Any]]:
    """Steps a second of environments side by side, with random actions."""
    vector: Any = gym.make_vec(
        f"sysgym/{NAME}-v0", num_envs=count, vectorization_mode="vector_entry_point", obs=form, mode=mode,
        instances=["published/test-0"],
    )  # fmt: skip
    inner, rng = vector.unwrapped, np.random.default_rng(0)
    vector.reset(seed=0)

    def play() -> None:
        for _ in range(16):
            vector.step(
                np.array([sample_action(rng, inner.single_action_space, mask) for mask in inner.action_masks()])
            )

    return [row(f"{mode}, {count} environments, obs {form}", 16 * count / each(play, seconds), "steps/s")]


def built(seconds: float) -> list[dict[str, Any]]:
    """All configurations of the published space."""
    space = make_problem(NAME).load("published/test-0").space
    spent = each(lambda: table.__wrapped__(space), seconds)
    return [row("table of 105,600 configurations", 1e3 * spent, "ms")]


def regrets(name: str, seeds: int) -> Array:
    """BLEU below the best configuration, (1, seeds): mean of three runs an instance."""
    problem, agent, found = make_problem(NAME), make_agent(name), []
    for number in range(seeds):
        instance = problem.load(f"published/test-{number}")
        runs = [agent.solve(problem, instance, np.random.default_rng([seed, number]), Budget()) for seed in range(3)]
        found.append(np.mean([problem.judge(instance, solution).metrics["regret"] for solution in runs]))
    return np.array(found)[None]


def searched(seeds: int) -> list[dict[str, Any]]:
    """Regret of the searches, and its difference to that of random search, paired, with its interval."""
    usual = regrets(SEARCHES[0], seeds)
    found = [row(f"regret, 20 evaluations: {SEARCHES[0]}", float(usual.mean()), "BLEU")]
    for name in SEARCHES[1:]:
        mine = regrets(name, seeds)
        low, high = bootstrap_interval(mine - usual, lambda x: x.mean(axis=(-2, -1))).tolist()
        found.append(row(f"regret, 20 evaluations: {name}", float(mine.mean()), "BLEU"))
        found.append(
            row(f"the same less random search's, {low:+.2f} to {high:+.2f}", float((mine - usual).mean()), "BLEU")
        )
    return found


def rows(quick: bool) -> list[dict[str, Any]]:
    """All of it."""
    seconds = 0.3 if quick else 2.0
    found = built(seconds)
    for mode in ("sequential", "oneshot"):
        for form in ("raw", "dynamic"):
            found += stepped(mode, form, 64, seconds)
    return found + searched(5 if quick else SEEDS)
