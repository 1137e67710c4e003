"""`sysgym bench partitioning`: speeds as ratios to peers and to the kernel's own floor, measured in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from sysgym import make_problem
from sysgym.core.env import ProblemEnv
from sysgym.graphs.csr import Graph, to_networkx
from sysgym_zoo.jobs.measuring import LEAST, cpu, median, row


def _raw_env(graph: Graph, steps: int) -> ProblemEnv:
    return gym.make(
        "sysgym/Partitioning-v0", instance=graph, obs="raw", disable_env_checker=True, k=8, mode="refine", moves="raw",
        start="random", steps=steps,
    )  # type: ignore[return-value]  # fmt: skip


def _moves(rng: np.random.Generator, nodes: int, count: int) -> Any:
    return np.stack([rng.integers(nodes, size=count), rng.integers(8, size=count)], axis=1)


def raw_moves(nodes: int, count: int) -> list[dict[str, Any]]:
    """`env.step` on a grid against the kernel alone."""
    from sysgym.graphs.labels import kernels

    problem = make_problem("Partitioning", k=8)
    graph = problem.load(f"grid:n={nodes}")
    env = _raw_env(graph, 4 * count)
    env.reset(seed=0)
    reset = cpu(lambda: env.reset(seed=0), 3)
    actions = _moves(np.random.default_rng(0), graph.nodes, count)

    def play() -> None:
        for action in actions:
            env.step(action)

    stepped = cpu(play) / count
    state = env.unwrapped.state  # type: ignore[attr-defined]
    arrays = (
        graph.xadj,
        graph.adjncy,
        graph.adjwgt,
        graph.vwgt,
        graph.degree,
        state.part,
        state.conn,
        state.load,
        state.volume,
        state.inside,
        state.trail,
        state.s,
        state.f,
    )
    kernels.random_moves(*arrays, actions[:1])
    floor = cpu(lambda: kernels.random_moves(*arrays, actions)) / count
    title = f"raw moves, grid of {graph.nodes} nodes"
    large = graph.nodes >= 1_000_000  # the bars are for a million nodes
    return [
        row(f"{title}: env.step", 1 / stepped, "steps/s", ">= 100000" if large else ""),
        row(f"{title}: kernel alone", 1 / floor, "moves/s"),
        row(f"{title}: env.step / kernel", stepped / floor, "x"),
        row(f"{title}: shell beyond the kernel", 1e6 * (stepped - floor), "us/step", "<= 40"),
        row(f"{title}: reset", reset, "s", "<= 1" if large else ""),
    ]


def recomputation(name: str) -> list[dict[str, Any]]:
    """One incremental step against recomputing the cut with networkx, and with `judge`."""
    import networkx as nx

    problem = make_problem("Partitioning", k=8)
    graph = problem.load(name)
    twin = to_networkx(graph)
    env = _raw_env(graph, 10**6)
    env.reset(seed=0)
    part = env.unwrapped.solution()["part"]  # type: ignore[attr-defined]
    blocks = [set(np.flatnonzero(part == p).tolist()) for p in range(8)]
    peer = cpu(lambda: sum(nx.cut_size(twin, block, weight="weight") for block in blocks) / 2, 3)
    judged = cpu(lambda: [problem.judge(graph, {"part": part}) for _ in range(20)], 3) / 20
    actions = _moves(np.random.default_rng(0), graph.nodes, 2000)
    stepped = cpu(lambda: [env.step(action) for action in actions], 3) / len(actions)
    return [
        row(f"{name}: networkx recomputation / env.step", peer / stepped, "x"),
        row(f"{name}: judge / env.step", judged / stepped, "x"),
    ]


def _sampler(env: Any, num_envs: int, raw: bool, rng: np.random.Generator) -> Callable[[], Any]:
    """Legal random actions for all rows: raw moves on the smallest graph's nodes, or by the mask of the batch."""
    nodes = min(item.nodes for item in env.instances.items)

    def draw() -> Any:
        if raw:
            return np.stack([rng.integers(nodes, size=num_envs), rng.integers(4, size=num_envs)], axis=1)
        mask = env.batch.rows["mask"] if num_envs > 1 else env.state.mask[None]
        chosen = np.where(mask != 0, rng.random(mask.shape), -1.0).argmax(axis=1)
        return chosen if num_envs > 1 else chosen[0]

    return draw


def _stepping(step: Callable[[Any], Any], draw: Callable[[], Any], count: int) -> float:
    """CPU seconds of a step, what draws the actions not counted."""
    spent = 0.0
    for _ in range(count):
        actions = draw()
        started = time.process_time()
        step(actions)
        spent += time.process_time() - started
    return spent / count


def vectors(count: int, num_envs: int = 256) -> list[dict[str, Any]]:
    """The native vector environment against one environment, per step, with episode ends and resets."""
    found = []
    cases: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("refine, raw moves, raw observation", "raw", {"mode": "refine", "moves": "raw", "steps": 500}),
        ("refine, raw moves, dynamic observation", "dynamic", {"mode": "refine", "moves": "raw", "steps": 500}),
        ("refine, candidates, dynamic observation", "dynamic", {"mode": "refine", "steps": 500}),
        ("assign, dynamic observation", "dynamic", {"mode": "assign"}),
        ("assign, full observation", "full", {"mode": "assign"}),
    )
    for title, form, options in cases:
        keywords: dict[str, Any] = {"instances": "tiny/train", "obs": form, "k": 4, "eps": 0.1, **options}
        raw = options.get("moves") == "raw"
        many: Any = gym.make_vec(
            "sysgym/Partitioning-v0", num_envs=num_envs, vectorization_mode="vector_entry_point", **keywords
        ).unwrapped
        one: Any = gym.make("sysgym/Partitioning-v0", disable_env_checker=True, **keywords)
        draw = _sampler(many, num_envs, raw, np.random.default_rng(0))
        draw_one = _sampler(one.unwrapped, 1, raw, np.random.default_rng(0))
        many.reset(seed=0), one.reset(seed=0)

        def alone(action: Any, one: Any = one) -> None:
            if one.step(action)[2]:
                one.reset()

        each_row = (lambda draw=draw_one: draw()[0]) if raw else draw_one  # type: ignore[misc]
        rounds, steps = max(count // num_envs // LEAST, 64), max(count // 4 // LEAST, 300)  # whole episodes at least
        batched = median([_stepping(many.step, draw, rounds) for _ in range(LEAST)]) / num_envs
        single = median([_stepping(alone, each_row, steps) for _ in range(LEAST)])
        found.append(row(f"one environment: {title}", 1e6 * single, "us/step"))
        found.append(row(f"{num_envs} in a vector / one: {title}", single / batched, "x", ">= 10"))
    return found


def search(nodes: int, seconds: float) -> list[dict[str, Any]]:
    """The recommended agent against one call of METIS: six families, perfect balance, and a large grid."""
    from sysgym_agents.core import Budget, make_agent

    def cut(agent: str, graph: Graph, budget: Budget, **options: Any) -> float:
        problem = make_problem("Partitioning", **options)
        verdict = problem.judge(graph, make_agent(agent).solve(problem, graph, np.random.default_rng(1), budget))
        return verdict.cost if verdict.feasible else float("inf")

    problem, once = make_problem("Partitioning"), Budget()
    graphs = [
        problem.load(entry.name) for entry in problem.instance_sets()["families"].entries if entry.split == "test"
    ]
    found = []
    for eps, peer in ((0.03, "metis"), (0.0, "spectral")):
        ratios = [cut("fm", graph, Budget(cpu_seconds=seconds), k=8, eps=eps) / cut(peer, graph, once, k=8, eps=eps)
                  for graph in graphs]  # fmt: skip
        title = f"fm in {seconds:g} CPU s over {peer}: cut, families/test, k=8, eps={eps:g}"
        found.append(row(title, float(np.exp(np.mean(np.log(ratios)))), "x", "<= 1"))
    grid = problem.load(f"grid:n={nodes}")
    begun = time.process_time()
    ours = cut("fm", grid, Budget(steps=1), k=8)
    spent, large = time.process_time() - begun, nodes >= 1_000_000
    found.append(row(f"one run of fm, grid of {grid.nodes} nodes, k=8", spent, "CPU s", "<= 60" if large else ""))
    found.append(row("its cut over that of metis", ours / cut("metis", grid, once, k=8), "x", "<= 1.03"))
    return found


def rows(quick: bool) -> list[dict[str, Any]]:
    """Figures of graph partitioning."""
    found = raw_moves(10_000 if quick else 1_000_000, 2_000 if quick else 200_000)
    found += recomputation("delaunay:n=1000,seed=1" if quick else "delaunay:n=10000,seed=1")
    return found + vectors(2_000 if quick else 40_000) + search(10_000 if quick else 1_000_000, 0.2 if quick else 1.0)
