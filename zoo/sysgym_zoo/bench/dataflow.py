"""`sysgym bench dataflow`: the simulator, its floor and its peers.

The peers are no packages, so their figures are recorded, with no ratio to ours: CPU time an operator of three
simulators, of which 190 to 340, 220 to 650 and 1,400 to 22,000 us were seen.
"""

from __future__ import annotations

import resource
from typing import Any

import gymnasium as gym
import numpy as np

from sysgym import make_problem
from sysgym.core.problem import Array
from sysgym.dataflow.graphs.fusion import fuse, fused_graph
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.simulator import kernels, lean_kernels
from sysgym.dataflow.simulator.job import Job
from sysgym.dataflow.simulator.rules import Rules
from sysgym.dataflow.simulator.simulate import evaluate_batch, simulate
from sysgym_agents.core import Budget
from sysgym_agents.dataflow.gdp import GDP
from sysgym_zoo.jobs.measuring import LEAST, Recorded, beside, cpu, each, row

SEEN = ("date unknown, by 2026-11-23", "two shared cores of an unknown processor")
PEERS_NS = {  # an operator
    "Placeto's": Recorded(250_000.0, *SEEN), "Baechi's": Recorded(220_000.0, *SEEN),
    "DOPPLER's SimPy": Recorded(1_400_000.0, *SEEN),
}  # fmt: skip


def _floor(graph: DataflowGraph, seconds: float) -> float:
    finish = np.empty(graph.nodes, np.int64)
    return each(lambda: kernels.longest_path(graph.in_ptr, graph.edge_src, graph.time_ns, finish), seconds)


def simulator(name: str, seconds: float) -> list[dict[str, Any]]:
    """Nanoseconds an operator of single, expert and random placements, and ratios."""
    graph = make_problem("DevicePlacement").load(name)
    job = Job(graph, Rules())
    floor = _floor(graph, seconds)
    rows = [row(f"{name}: one longest-path pass", 1e9 * floor / graph.nodes, "ns/op")]
    scattered = np.random.default_rng(0).integers(0, job.devices, graph.nodes)
    for title, placement in (("single", job.single), ("expert", job.expert), ("random", scattered)):
        spent = each(lambda p=placement: simulate(graph, job.times, job.cluster, p), seconds)  # type: ignore[misc]
        expert = title == "expert"
        peers = PEERS_NS if expert else {}
        rows += beside(f"{name}: {title} placement, memory on", 1e9 * spent / graph.nodes, "ns/op", "", peers)
        rows.append(row(f"{name}: {title} / longest path", spent / floor, "x", "<= 130" if expert else ""))
        rows += lean(name, title, job, placement, (spent, seconds))
    grouped = fuse(graph, job.expert, np.ones(graph.nodes, np.int64))
    spent = each(lambda: fuse(graph, job.expert, np.ones(graph.nodes, np.int64)), seconds)
    rows.append(row(f"{name}: fusion", 1e3 * spent, "ms"))
    spent = each(lambda: fused_graph(graph, grouped, job.times), seconds)
    rows.append(row(f"{name}: the fused graph", 1e3 * spent, "ms"))
    return rows


def lean(name: str, title: str, job: Job, placement: Array, shipped: tuple[float, float]) -> list[dict[str, Any]]:
    """How much faster searches simulate; `shipped` is what the simulator takes, and seconds to measure for."""
    spent, seconds = shipped
    net, machines, place, load = job.lean.net, job.lean.machines, placement.astype(np.int8), job.lean.loads(placement)
    scratch, none, limit = job.lean.scratch(), np.zeros(1, np.int64), 2**61
    tail = job.lean.tails(placement)
    rows = []
    for bounded, bar in ((False, ">= 2" if title == "expert" else ""), (True, "")):
        again = each(lambda b=bounded: lean_kernels.makespan(net, machines, place, none, True, load, b, limit,  # type: ignore[misc]
                                                              tail, scratch), seconds)  # fmt: skip
        what = "for searches, bounds watched" if bounded else "for searches"
        rows.append(row(f"{name}: {title}, shipped simulator / the one {what}", spent / again, "x", bar))
    return rows


def environment(name: str, seconds: float) -> list[dict[str, Any]]:
    """Evaluations a second through `env.step`, and in a batch."""
    env = gym.make("sysgym/DevicePlacement-v0", instance=name, mode="oneshot", obs="raw", disable_env_checker=True)
    inner: Any = env.unwrapped
    rng = np.random.default_rng(0)
    actions = [rng.integers(0, inner.size.choices[0], inner.size.nodes) for _ in range(64)]

    def play() -> None:
        for action in actions:
            env.reset()
            env.step(action)

    rows = [row(f"{name}: reset and step, obs raw", 64 / each(play, seconds), "evaluations/s", ">= 1000")]
    job, placements = inner.problem.job(inner.instance), np.stack(actions)
    batch = each(lambda: evaluate_batch(job.graph, job.times, job.cluster, placements, threads=1), seconds)
    rows.append(row(f"{name}: evaluate_batch, one thread", 64 / batch, "evaluations/s"))
    return rows


def one_pass(name: str) -> list[dict[str, Any]]:
    """CPU seconds and memory of a decision for every operator by an untuned network."""
    problem = make_problem("DevicePlacement", mode="oneshot", schedule="critical_path")
    agent, graph = GDP(), problem.load(name)
    agent.fit(problem, [problem.load("layered/train-0")], np.random.default_rng(0), Budget(steps=32))
    spent = cpu(lambda: agent.solve(problem, graph, np.random.default_rng(0), Budget()), LEAST)
    rows = [row(f"{name}: gdp's one pass over {graph.nodes} operators", spent, "CPU s", "<= 20")]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return [*rows, row(f"{name}: largest memory of this process", peak, "GB", "<= 6")]


def rows(quick: bool) -> list[dict[str, Any]]:
    """Speed of the simulator, the environment and one pass of the network."""
    large, middle = ("seeds/rnnlm_2l", "seeds/txl_2l") if quick else ("seeds/gnmt_8l", "seeds/inception_v3_b32")
    seconds = 0.05 if quick else 1.0
    return [*simulator(large, seconds), *environment(middle, seconds), *one_pass(large)]
