"""`sysgym bench clustering`: steps of environments, graphs of neighbours, what a search and what a network reach.

The figures of peers were recorded once, on the points of `mnist/train10k` and, unseen, of `mnist/t10k`, with one
thread: medians over three seeds where they do not say one. pgcuts has no kernel for this processor; SciPy's function
took its place. Its own network is one layer on batches of 8192 edges; 512-512-10 on batches of 512 edges did better.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from sysgym import make_problem
from sysgym.clustering.agreement import agreement
from sysgym.clustering.catalogue import truth
from sysgym.clustering.neighbours import affinity_graph
from sysgym.core.data import find
from sysgym.core.instances import find_entry
from sysgym_agents.core import Budget, make_agent
from sysgym_zoo.jobs.measuring import LEAST, Measured, Recorded, beside, cpu, left_out, median, row

SMALL, LARGE = "digits/test-0", "blobs:n=10000,k=10,seed=1"
LIBRARY = "scikit-learn"
SEEN = ("2026-11-27", "two shared cores of an unknown processor")
PEER = Recorded(0.7165, *SEEN)  # spectralnet 1.1.0, 512-512-10, 30 epochs in 26 CPU s
PEERS = {
    "SpectralNet, 26 CPU s": PEER, "pgcuts' HyCut, 29 CPU s": Recorded(0.5111, *SEEN),
    "pgcuts' HyCut, 512-512-10, 62 CPU s, one seed": Recorded(0.8756, *SEEN),
}  # fmt: skip
PEER_CPU, AHEAD = 25.0, 0.1  # what `cnc` may spend, and by how much its share is to be larger


def _drawn(mask: Any, rng: np.random.Generator) -> Any:
    return np.where(mask != 0, rng.random(mask.shape), -1.0).argmax(axis=-1)


def _stepping(step: Callable[[Any], Any], draw: Callable[[], Any], count: int) -> float:
    """CPU seconds of a step, what draws the actions not counted."""
    spent = 0.0
    for _ in range(count):
        actions, started = draw(), time.process_time()
        step(actions)
        spent += time.process_time() - started
    return spent / count


def single(instance: str, form: str, count: int) -> Measured:
    """CPU seconds of a step of `assign`, resets counted."""
    env: Any = gym.make("sysgym/Clustering-v0", instance=instance, obs=form, disable_env_checker=True).unwrapped
    rng = np.random.default_rng(0)
    env.reset(seed=0)

    def step(action: Any) -> None:
        if env.step(int(action))[2]:
            env.reset()

    _stepping(step, lambda: _drawn(env.state.mask, rng), 50)
    return median([_stepping(step, lambda: _drawn(env.state.mask, rng), count) for _ in range(LEAST)])


def vector(form: str, count: int, num_envs: int = 64) -> Measured:
    """CPU seconds of a step of one of many environments of 256 points."""
    env: Any = gym.make_vec(
        "sysgym/Clustering-v0", num_envs=num_envs, vectorization_mode="vector_entry_point", instances="digits/test",
        obs=form,
    ).unwrapped  # fmt: skip
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    _stepping(env.step, lambda: _drawn(env.batch.rows["mask"], rng), 5)
    found = [_stepping(env.step, lambda: _drawn(env.batch.rows["mask"], rng), count) for _ in range(LEAST)]
    return median(found) / num_envs


def steps(count: int) -> list[dict[str, Any]]:
    """Steps a second, alone and side by side, and what the number of points costs."""
    small, raw = single(SMALL, "dynamic", count), single(SMALL, "raw", count)
    large = single(LARGE, "raw", count)
    return [
        row("assign, 256 points, obs dynamic", 1 / small, "steps/s", ">= 100000"),
        row("assign, 256 points, obs raw", 1 / raw, "steps/s", ">= 100000"),
        row("assign, obs raw, 10,000 points / 256", large / raw, "x", "<= 2"),
        row("assign, 64 environments of 256 points, obs raw", 1 / vector("raw", count // 20), "steps/s", ">= 1000000"),
        row("assign, 64 environments of 256 points, obs dynamic", 1 / vector("dynamic", count // 20), "steps/s"),
    ]


def graphs(points: int) -> list[dict[str, Any]]:
    """The graph of neighbours against a library's search for the same neighbours."""
    from sklearn.neighbors import NearestNeighbors

    x = np.random.default_rng(0).standard_normal((points, 50))
    affinity_graph(x[:50])
    own = cpu(lambda: affinity_graph(x), 3)
    peer = cpu(lambda: NearestNeighbors(n_neighbors=11, algorithm="brute").fit(x).kneighbors(x), 3)
    return [
        row(f"graph of {points} points in 50 dimensions", own, "CPU s"),
        row(f"graph / neighbours by {LIBRARY}", own / peer, "x"),
    ]


def _absent(*names: str) -> list[dict[str, Any]]:
    """A line for the first of the instances whose file is not here."""
    for name in names:
        entry = find_entry(make_problem("Clustering").instance_sets(), name)
        if entry is None or entry.file is None or find(entry.file) is None:
            return [left_out(f"{name} is not on this machine")]
    return []


def search() -> list[dict[str, Any]]:
    """Merging and splitting on the test images of MNIST."""
    problem, name = make_problem("Clustering"), "mnist-alone/t10k"
    if gone := _absent(name):
        return gone
    graph, classes = problem.load(name), truth(name)
    assert classes is not None
    agent, found = make_agent("merge-split"), dict[int, Any]()
    agent.prepare()
    agent.solve(problem, problem.load(SMALL), np.random.default_rng(0), Budget())

    def solve() -> None:
        seed = len(found)
        found[seed] = agent.solve(problem, graph, np.random.default_rng(seed), Budget())

    spent = cpu(solve, 3)
    costs = [problem.judge(graph, answer).cost for answer in found.values()]
    right = [agreement(answer["labels"], classes, 0)["acc"] for answer in found.values()]
    return [
        row("merge-split on the test images of MNIST: time", spent, "CPU s", "<= 3"),
        row("merge-split on the test images of MNIST: ncut", float(np.median(costs)), "", "<= 0.27"),
        row("merge-split on the test images of MNIST: ACC", float(np.median(right)), "", ">= 0.96"),
    ]


def network() -> list[dict[str, Any]]:
    """What `cnc` tells of unseen images, without a search, beside its peers."""
    problem, names = make_problem("Clustering"), ("mnist/train10k", "mnist/t10k")
    if gone := _absent(*names):
        return gone
    (graph, unseen), classes, right = [problem.load(name) for name in names], truth(names[1]), list[float]()
    assert classes is not None
    for seed in range(LEAST):
        agent = make_agent("cnc")
        agent.prepare()
        agent.fit(problem, [graph], np.random.default_rng(seed), Budget(cpu_seconds=PEER_CPU))
        right.append(agreement(agent.predict(unseen.x), classes, 0)["acc"])
    what = f"cnc, {PEER_CPU:g} CPU s, unseen images of MNIST: ACC"
    return beside(what, median(right), "", f">= {PEER.value + AHEAD:g}", PEERS)


def rows(quick: bool) -> list[dict[str, Any]]:
    """Figures of clustering."""
    found = steps(500 if quick else 10_000) + graphs(1000 if quick else 10_000)
    return found if quick else found + search() + network()
