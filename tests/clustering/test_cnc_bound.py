"""The bound of PGCuts: its envelope against an adaptive quadrature, and above the expectation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cnc_cases import blobs, fitted, problem
from scipy.integrate import quad

from sysgym.clustering.judge import judge_clusters
from sysgym_agents.clustering.cnc import CNC
from sysgym_agents.clustering.cnc_loss import envelope, pgcuts
from sysgym_agents.core import Budget


@pytest.mark.parametrize("m", [1, 10, 240])
@pytest.mark.parametrize("q", [0.3, 1.0, 2.5, 20.0])
def test_the_envelope_is_its_integral(q: float, m: int) -> None:
    for z in (0.0, 0.01, 0.1, 0.5, 0.99):
        whole = quad(lambda y, z=z: q * np.exp(-q * y) * (1 - z + z * np.exp(-y)) ** m, 0, np.inf, limit=400)[0]
        assert float(envelope(torch.tensor(q), torch.tensor(z), m)) == pytest.approx(whole, rel=2e-3)
    assert float(envelope(torch.tensor(q), torch.tensor(1.0), m)) == pytest.approx(q / (q + m), rel=2e-3)


def expected(w: np.ndarray, p: np.ndarray, rng: np.random.Generator) -> float:
    """The normalised cut of labels drawn from p (n, k), by 4,000 draws; an empty cluster counts 0."""
    degree = w.sum(axis=1)
    drawn = (p.cumsum(axis=1) < rng.random((4000, len(p), 1))).sum(axis=2)
    total = 0.0
    for label in range(p.shape[1]):
        inside = (drawn == label).astype(float)
        volume = inside @ degree
        within = np.einsum("ri,ij,rj->r", inside, w, inside)
        total += float(np.mean(np.where(volume > 0, (volume - within) / np.maximum(volume, 1e-12), 0)))
    return total


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_lies_above_the_expectation_and_not_far(seed: int) -> None:
    """With few points it need not: the means of the bins hold the two ends of an edge as well."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((60, 2))
    w = np.exp(-((x[:, None] - x) ** 2).sum(axis=2))
    np.fill_diagonal(w, 0)
    p = rng.dirichlet(np.full(3, 0.6), 60)
    bound = float(pgcuts(torch.tensor(p, dtype=torch.float32), torch.tensor(w, dtype=torch.float32)))
    assert expected(w, p, rng) <= bound <= 2 * expected(w, p, rng)


def test_a_training_with_the_bound_learns_and_its_gradient_is_finite() -> None:
    agent = fitted(150, loss="pgcuts")
    (graph, _), fresh = blobs(), CNC(hidden=8, loss="pgcuts")
    fresh.fit(problem(3), [graph], np.random.default_rng(0), Budget(steps=1))
    costs = [judge_clusters(graph, each.predict(graph.x), 3).cost for each in (agent, fresh)]
    assert np.isfinite(costs).all() and costs[0] < 0.7 * costs[1]
