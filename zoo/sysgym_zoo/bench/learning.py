"""`sysgym bench learning`: what partitioning learners reach on unseen graphs after half a minute of training."""

from __future__ import annotations

from typing import Any

import numpy as np

from sysgym import UsageError, make_problem
from sysgym.core.env import ProblemEnv
from sysgym_agents.core import Budget
from sysgym_zoo.jobs.measuring import geomean, lacking, left_out, row
from sysgym_zoo.jobs.runs import set_threads
from sysgym_zoo.lookup.naming import make
from sysgym_zoo.lookup.resolve import instance_names

METIS = ("pymetis", "partitioners")  # where it comes from
FAMILY = [f"delaunay:n={n},seed={seed}" for seed, n in enumerate(np.linspace(400, 1200, 8).astype(int), 1)]
MESHES = [
    "delaunay:n=4000,seed=21", "delaunay:n=5500,seed=22", "delaunay:n=8000,seed=23", "delaunay:n=10000,seed=24",
    "walshaw/3elt", "walshaw/whitaker3", "walshaw/crack", "walshaw/fe_4elt2",
]  # fmt: skip


def refine(trained: int, start: str, steps: int | None, bar: str) -> list[dict[str, Any]]:
    """Best cut over starting cut of `ppo-refine`, untrained and trained, beside the random agent and METIS."""
    problem = make_problem("Partitioning", k=4, eps=0.05, mode="refine", start=start, steps=steps)
    what = f"refine, start={start}, {steps or 'twice the boundary'} moves: best / start cut"
    train = [problem.load(name) for name in instance_names(problem, "delaunay/train")]
    test = [problem.load(name) for name in instance_names(problem, "delaunay/test")]

    def ratio(agent: Any) -> float:
        found = []
        for seed, graph in enumerate(test):
            cost = problem.judge(graph, agent.solve(problem, graph, np.random.default_rng(seed), Budget())).cost
            env = ProblemEnv(problem, instance=graph, obs="raw")
            env.reset(seed=int(np.random.default_rng(seed).integers(2**31)))  # as the agents' first episode starts
            found.append(cost / env.dynamics.cost(graph, env.state))
        return geomean(found)

    agent = make("ppo-refine")
    rows = [
        row(f"{what}, random candidates", ratio(make("random")), "x"),
        row(f"{what}, ppo-refine untrained", ratio(agent), "x"),
    ]
    agent.fit(problem, train, np.random.default_rng(0), Budget(steps=trained))
    rows.append(row(f"{what}, ppo-refine after {trained:,} steps", ratio(agent), "x", bar))
    gone = lacking("METIS", *METIS)
    return rows + (gone or [row(f"{what}, METIS from scratch", ratio(make("metis", seed=1)), "x")])


def gap(epochs: int | None, meshes: list[str]) -> list[dict[str, Any]]:
    """Cut of the argmax partition of `gap`, before repair, over METIS (k-way, seed 1) at k = 4, and its imbalance."""
    if gone := lacking("gap beside METIS", *METIS):
        return gone
    problem = make_problem("Partitioning", k=4)
    agent, metis = make("gap"), make("metis", seed=1)
    agent.fit(problem, [problem.load(name) for name in FAMILY], np.random.default_rng(0), Budget(steps=epochs))
    rows, ratios = [], []
    for name in meshes:
        try:
            graph = problem.load(name)
        except UsageError:
            rows.append(left_out(f"gap / METIS: {name} is not on this machine"))
            continue
        found = problem.judge(graph, {"part": agent.predict(problem, graph)})
        peer = problem.judge(graph, metis.solve(problem, graph, np.random.default_rng(0), Budget()))
        ratios.append(found.cost / peer.cost)
        rows.append(row(f"gap / METIS: {name} (imbalance {100 * found.metrics['imbalance']:.1f} %)", ratios[-1], "x"))
    rows.append(row(f"gap / METIS: geometric mean of {len(ratios)} unseen meshes", geomean(ratios), "x", "<= 1.5"))
    return rows


def rows(quick: bool) -> list[dict[str, Any]]:
    """Trained by steps, so that a figure does not depend on how fast the machine was."""
    set_threads(1)
    trained = 5_000 if quick else 60_000
    rows = refine(trained, "grow", 120, "<= 0.80") + refine(trained, "greedy", None, "")
    return rows + (gap(200, MESHES[:1]) if quick else gap(None, MESHES))
