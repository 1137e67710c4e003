"""Small instances for the learner `cnc`, what they should give by plain numpy, and quick trainings on them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from sysgym.clustering.instance import Affinity
from sysgym_agents.clustering.cnc import CNC
from sysgym_agents.core import Budget

UNIT = 2.0**-24
FAST = {"hidden": 16, "learning_rate": 1e-2, "repair": "none"}


def affinity(w: np.ndarray, x: np.ndarray | None, name: str = "points") -> Affinity:
    """An instance of a dense symmetric matrix (n, n), rounded to multiples of 2^-24."""
    whole = np.rint(w / UNIT).astype(np.int64)
    own, edges = np.diag(whole), whole - np.diag(np.diag(whole))
    rows, columns = np.nonzero(edges)
    xadj = np.searchsorted(rows, np.arange(len(w) + 1)).astype(np.int64)
    vwgt = edges.sum(axis=1) + own
    points = None if x is None else x.astype(np.float32)
    return Affinity(name, xadj, columns.astype(np.int32), edges[rows, columns], vwgt, x=points, unit=UNIT)


def nearest(x: np.ndarray, neighbours: int = 10, name: str = "points") -> Affinity:
    """The Gaussian graph of the nearest neighbours, made symmetric."""
    square = ((x[:, None].astype(np.float64) - x[None]) ** 2).sum(axis=2)
    np.fill_diagonal(square, np.inf)
    near = np.argsort(square, axis=1)[:, :neighbours]
    kept = np.take_along_axis(square, near, axis=1)
    scale = float(np.median(kept[:, -1])) or 1.0
    w = np.zeros_like(square)
    np.put_along_axis(w, near, np.exp(-kept / (2 * scale)), axis=1)
    return affinity((w + w.T) / 2, x, name)


def blobs(seed: int = 0, each: int = 40, clusters: int = 3) -> tuple[Affinity, np.ndarray]:
    """Gaussian blobs, shuffled, as an instance; and which of them each point is of."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(clusters), each))
    x = 6 * np.eye(clusters, 4)[truth] + rng.normal(size=(len(truth), 4))
    return nearest(x, name=f"blobs{seed}"), truth


def triangles() -> Affinity:
    """Two triangles and a bridge: the example of CNC's own code, whose optimum is 2/7."""
    w = np.zeros((6, 6))
    for i, j in [(0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5), (2, 3)]:
        w[i, j] = w[j, i] = 1
    return affinity(w, np.eye(6))


def problem(k: int) -> Any:
    return SimpleNamespace(name="Clustering", clusters=lambda _: k)


def dense(instance: Affinity) -> np.ndarray:
    w = np.zeros((instance.nodes, instance.nodes))
    w[instance.sources, instance.adjncy] = instance.adjwgt * instance.unit
    return w + np.diag((instance.vwgt - instance.degree) * instance.unit)


def ncut(w: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The normalised cut by its definition; an empty cluster counts 1."""
    total = 0.0
    for c in range(k):
        mine = labels == c
        total += w[mine][:, ~mine].sum() / w[mine].sum() if mine.any() else 1.0
    return total


def agreement(labels: np.ndarray, truth: np.ndarray) -> float:
    """Share of the points whose label is the commonest of their class, each class having its own."""
    table = np.array([[np.sum((truth == a) & (labels == b)) for b in range(4)] for a in range(3)])
    return float(table.max(axis=1).sum() / len(truth)) if len(set(table.argmax(axis=1))) == len(table) else 0.0


def soft(rows: int, k: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random probabilities (b, k) and a random symmetric affinity (b, b), float64."""
    rng = np.random.default_rng(seed)
    w = rng.random((rows, rows)) * (rng.random((rows, rows)) < 0.4)
    return torch.from_numpy(rng.dirichlet(np.ones(k), rows)), torch.from_numpy(w + w.T)


def fitted(steps: int = 150, seed: int = 0, **hyper: Any) -> CNC:
    agent = CNC(**(FAST | hyper))
    agent.fit(problem(3), [blobs()[0]], np.random.default_rng(seed), Budget(steps=steps))
    return agent


def same(one: CNC, other: CNC) -> bool:
    first, second = one.net.state_dict(), other.net.state_dict()
    return all(torch.equal(first[key], second[key]) for key in first)
