"""`sysgym bench placing`: what the learners of chip placement reach, from scratch, pre-trained and on unseen chips."""

from __future__ import annotations

from typing import Any

import numpy as np

from sysgym import UsageError, make_problem
from sysgym.core.env import ProblemEnv
from sysgym.core.problem import AnyProblem
from sysgym_agents.core import Budget
from sysgym_agents.general.random import sample_action
from sysgym_zoo.jobs.measuring import left_out, row
from sysgym_zoo.jobs.runs import set_threads
from sysgym_zoo.lookup.naming import make
from sysgym_zoo.lookup.resolve import instance_names

TARGET = "designs/ariane133_NanGate45"
MANY: dict[str, Any] = {"num_envs": 16, "n_epochs": 3, "batch_size": 304}  # for several netlists
LEVELS = (0.90, 0.85, 0.80)  # of the mean of the last 100 episodes: steps until they are compared
TUNED = {"learning_rate": 2e-3, "ent_coef": 0.0}  # for a policy that knows its trade


class Watch:
    """Mean return of the last 100 episodes by the steps taken."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.costs: list[float] = []

    def __call__(self, metrics: dict[str, float]) -> bool:
        if "rollout/ep_rew_mean" in metrics:
            self.steps.append(metrics["steps"])
            self.costs.append(-metrics["rollout/ep_rew_mean"])
        return True

    def steps_to(self, level: float) -> float:
        """Steps until the mean cost was at or below a level; infinite if it never was."""
        return next((s for s, cost in zip(self.steps, self.costs, strict=True) if cost <= level), np.inf)


def best_random(problem: AnyProblem, chip: Any, count: int) -> float:
    """Best cost of random legal placements."""
    env, rng, costs = ProblemEnv(problem, instance=chip, obs="raw"), np.random.default_rng(0), []
    for seed in range(count):
        env.reset(seed=seed)
        over = False
        while not over:
            _, _, over, _, info = env.step(sample_action(rng, env.action_space, env.action_masks()))
        costs.append(info["verdict"]["cost"] if info["verdict"]["feasible"] else np.inf)
    return float(min(costs))


def scratch(name: str, steps: int, bar: str, **hyper: Any) -> tuple[list[dict[str, Any]], Watch]:
    """A learner on the target chip alone."""
    problem, watch = make_problem("ChipPlacement", mode="sequential"), Watch()
    chip = problem.load(TARGET)
    agent = make(name, **hyper)
    agent.fit(problem, [chip], np.random.default_rng(0), Budget(steps=steps), watch)
    cost = problem.judge(chip, agent.solve(problem, chip, np.random.default_rng(0), Budget())).cost
    what = f"{name} from scratch, {steps} steps on {TARGET}"
    return [
        row(f"{what}: mean of the last 100 episodes", watch.costs[-1], "proxy", bar),
        row(f"{what}: one greedy episode", cost, "proxy"),
    ], watch


def transfer(steps: int, tuning: int, alone: Watch) -> list[dict[str, Any]]:
    """`edge-gnn` pre-trained on ct/train: one rollout on each test chip, then tuned on the target, as from scratch."""
    problem = make_problem("ChipPlacement", mode="sequential")
    agent, rows = make("edge-gnn", **MANY), []
    train = [problem.load(name) for name in instance_names(problem, "ct/train")]
    agent.fit(problem, train, np.random.default_rng(0), Budget(steps=steps))
    for name in instance_names(problem, "ct/test"):
        chip = problem.load(name)
        cost = problem.judge(chip, agent.solve(problem, chip, np.random.default_rng(0), Budget())).cost
        rows.append(row(f"edge-gnn zero-shot on {name}, one rollout", cost, "proxy"))
        best = best_random(problem, chip, 12)
        rows.append(row(f"edge-gnn zero-shot on {name} / best of 12 random", cost / best, "x", "<= 0.95"))
    watch, chip, plain = Watch(), problem.load(TARGET), make("edge-gnn", **TUNED)
    for name in (*MANY, *TUNED):
        setattr(agent, name, getattr(plain, name))
    agent.fit(problem, [chip], np.random.default_rng(1), Budget(steps=tuning), watch)
    cost = problem.judge(chip, agent.solve(problem, chip, np.random.default_rng(0), Budget())).cost
    rows += [
        row(f"edge-gnn tuned on {TARGET}, {tuning} steps: mean of the last 100 episodes", watch.costs[-1], "proxy"),
        row(f"edge-gnn tuned on {TARGET}: one greedy episode", cost, "proxy", "<= 0.76"),
    ]
    for level in LEVELS:
        slow, fast = alone.steps_to(level), watch.steps_to(level)
        what = f"edge-gnn, steps to a mean of {level:.2f}"
        rows += [row(f"{what}, from scratch", slow, "steps"), row(f"{what}, pre-trained", fast, "steps")]
        if np.isfinite(slow) and np.isfinite(fast):
            rows.append(row(f"{what}: from scratch / pre-trained", slow / fast, "x", ">= 3"))
    return rows


def rows(quick: bool) -> list[dict[str, Any]]:
    """All figures; those on public chips only where they are on this machine."""
    set_threads(1)
    rows, _ = scratch("ppo-place", 2_200 if quick else 150_000, "" if quick else "<= 0.8")
    more, alone = scratch("edge-gnn", 1_100 if quick else 36_000, "", pretrain=0)
    rows += more
    if quick:
        return rows
    try:
        return rows + transfer(70_000, 17_000, alone)
    except UsageError as error:
        return [*rows, left_out(f"transfer left out: {error}")]
