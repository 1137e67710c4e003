"""`sysgym bench accelerator`: designs a second, steps of environments, and what the searches reach."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from sysgym import make_problem
from sysgym.accelerator_design.simulator import Simulator, works
from sysgym.accelerator_design.space import COUNTS, machines
from sysgym_agents.accelerator_design.searches import Genetic
from sysgym_agents.core import Budget
from sysgym_agents.general.random import sample_action
from sysgym_zoo.jobs.measuring import LEAST, each, median, row

DESIGNS = 1000
BARS = {"efficientnet-b7": ">= 8000", "efficientnet-b0": ">= 25000"}
REACHED = {"efficientnet-b7": ">= 4.54", "efficientnet-b0": ">= 6.0", "multi5": ">= 1.92"}


def simulator(name: str, seconds: float) -> list[dict[str, Any]]:
    """Random designs that can work, a second on one core, with and without greedy fusion."""
    work = make_problem("AcceleratorDesign").load(f"fast/{name}")
    drawn = machines(np.random.default_rng(0).integers(0, COUNTS, (8 * DESIGNS, len(COUNTS))))
    valid = drawn[works(drawn)][:DESIGNS]
    found = []
    for fusion in (False, True):
        model = Simulator(work, 2, fusion)
        spent = each(lambda m=model: m.seconds(valid), seconds)  # type: ignore[misc]
        title = f"{name}: valid designs, {'greedy' if fusion else 'no'} fusion"
        found.append(row(title, len(valid) / spent, "designs/s", BARS.get(name, "") if fusion else ""))
    return found


def environment(count: int, seconds: float) -> list[dict[str, Any]]:
    """Steps a second of sequential environments side by side, greedy fusion."""
    vector: Any = gym.make_vec(
        "sysgym/AcceleratorDesign-v0", num_envs=count, vectorization_mode="vector_entry_point", obs="raw",
        instances=["fast/efficientnet-b0"], fusion="greedy",
    )  # fmt: skip
    inner, rng = vector.unwrapped, np.random.default_rng(0)
    vector.reset(seed=0)

    def play() -> None:
        for _ in range(16):
            masks = inner.action_masks()
            vector.step(np.array([sample_action(rng, inner.single_action_space, mask) for mask in masks]))

    return [row(f"sequential, {count} environments, obs raw", 16 * count / each(play, seconds), "steps/s", ">= 15000")]


def searched(names: list[str], evaluations: int) -> list[dict[str, Any]]:
    """How many times better than TPU-v3 the genetic search is, exactly fused: median of five seeds."""
    problem: Any = make_problem("AcceleratorDesign")
    found = []
    for name in names:
        work = problem.load(f"fast/{name}")
        better = []
        for seed in range(max(LEAST, 5)):
            solution = Genetic().solve(problem, work, np.random.default_rng(seed), Budget(steps=evaluations))
            better.append(1 / problem.judge(work, solution).cost)
        bar = REACHED[name] if evaluations >= 5000 else ""
        found.append(row(f"genetic, {evaluations} evaluations: {name}", median(better), "x", bar))
    return found


def rows(quick: bool) -> list[dict[str, Any]]:
    """All of it."""
    seconds = 0.3 if quick else 2.0
    found = [line for name in BARS for line in simulator(name, seconds)]
    names = ["efficientnet-b0"] if quick else list(REACHED)
    return [*found, *environment(64, seconds), *searched(names, 1000 if quick else 5000)]
