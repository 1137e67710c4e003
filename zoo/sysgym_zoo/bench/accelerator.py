"""`sysgym bench accelerator`: designs a second, steps of environments, and what the searches reach."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from sysgym import make_problem
from sysgym.accelerator_design.simulator import Simulator, works
from sysgym.accelerator_design.space import COUNTS, machines
from sysgym.core.problem import Array
from sysgym_agents.accelerator_design.evaluations import Evaluations
from sysgym_agents.accelerator_design.searches import Genetic
from sysgym_agents.core import Budget, make_agent
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


def transferred(evaluations: int, quick: bool) -> list[dict[str, Any]]:
    """What a surrogate reaches on networks that it was not trained on, over the genetic search at as many evaluations:
    geometric means of three seeds, of the best design and of the area under the best so far.
    """
    problem: Any = make_problem("AcceleratorDesign", fusion="greedy")
    given = [problem.load(f"fast/{name}") for name in ("efficientnet-b0", "mobilenet-v1", "bert-base-128", "resnet50")]
    learner = make_agent("surrogate", **({"hidden": 32, "networks": 20} if quick else {}))
    learner.fit(problem, given, np.random.default_rng(0), Budget(steps=300 if quick else 12_000))
    found = []
    for name in ("ocr-recognizer-like",) if quick else ("ocr-recognizer-like", "resnet50v2", "efficientnet-b7"):
        work = problem.load(f"fast/{name}")
        ends, areas = [], []
        for seed in range(3):
            ours, theirs = (course(agent, problem, work, seed, evaluations) for agent in (learner, Genetic()))
            ends.append(ours[-1] - theirs[-1])
            areas.append(float(ours.mean() - theirs.mean()))
        title = f"surrogate over genetic, {evaluations} evaluations: {name}"
        found.append(row(title, float(np.exp(np.mean(ends))), "x"))
        found.append(row(f"the same, area under the best so far: {name}", float(np.exp(np.mean(areas))), "x", ">= 1"))
    return found


def course(agent: Any, problem: Any, work: Any, seed: int, evaluations: int) -> Array:
    """Log of how many times better than TPU-v3 the best design is after each evaluation, (evaluations,)."""
    evaluate = Evaluations(problem, work, Budget(steps=evaluations), evaluations)
    agent.search(evaluate, np.random.default_rng(seed))
    return np.asarray(-np.log(np.minimum.accumulate(list(evaluate.known.values()))))


def rows(quick: bool) -> list[dict[str, Any]]:
    """All of it."""
    seconds = 0.3 if quick else 2.0
    found = [line for name in BARS for line in simulator(name, seconds)]
    names = ["efficientnet-b0"] if quick else list(REACHED)
    return [*found, *environment(64, seconds), *searched(names, 1000 if quick else 5000),
            *transferred(100 if quick else 500, quick)]  # fmt: skip
