"""CNC as an estimator of scikit-learn: `CNCClusterer(n_clusters=10).fit(x)`, then `predict` of unseen points."""

from __future__ import annotations

from numbers import Integral
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sysgym.core.errors import UsageError, announce
from sysgym.core.problem import Array
from sysgym_agents.clustering.cnc import CNC
from sysgym_agents.core import Budget


class CNCClusterer(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Clusters points by the expected normalised cut of their graph of nearest neighbours, and assigns unseen ones.

    `labels_` are those of the network for the points of `fit`, so `predict` gives them again. The affinities fall with
    Euclidean distances: scale the columns before where their units differ. Points far from the origin are moved by
    `origin_`, those of `predict` too.

    Parameters:
        n_clusters: k. neighbours: of the graph, fewer where there are fewer points.
        steps: of the training. loss, hidden, layers, learning_rate: as those of the agent `cnc`.
        random_state: None, a seed, or numpy's RandomState.
    """

    def __init__(
        self, n_clusters: int = 8, *, neighbours: int = 10, steps: int = 2000, loss: str = "expected-ncut",
        hidden: int = 512, layers: int = 2, learning_rate: float = 4e-3, random_state: Any = None,
    ) -> None:  # fmt: skip
        self.n_clusters = n_clusters
        self.neighbours = neighbours
        self.steps = steps
        self.loss = loss
        self.hidden = hidden
        self.layers = layers
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> CNCClusterer:
        """Build the graph of points (n, d) and train on it; `y` is not looked at."""
        from sysgym.clustering.neighbours import affinity_graph, origin_of

        for name in ("n_clusters", "neighbours", "steps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise UsageError(f"{name} of CNCClusterer must be a whole number, at least 1, got {value!r}.")
        x = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        k = min(self.n_clusters, len(x))
        if k < self.n_clusters:
            announce(f"CNCClusterer: {len(x)} points are too few for n_clusters={self.n_clusters}; it makes {k}.")
        moved = origin_of(x)
        self.origin_ = np.zeros(x.shape[1]) if moved is None else moved
        x = x - self.origin_
        instance = affinity_graph(x, neighbours=min(self.neighbours, len(x) - 1))
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        agent = CNC(loss=self.loss, hidden=self.hidden, layers=self.layers, learning_rate=self.learning_rate)  # type: ignore[arg-type]
        problem: Any = SimpleNamespace(clusters=lambda _: k)
        agent.fit(problem, [instance], rng, Budget(steps=self.steps))
        self.agent_ = CNC(**agent.hyper)  # without the state of the training
        self.agent_.net = agent.net.cpu()  # type: ignore[union-attr]
        self.labels_ = self.agent_.predict(x.astype(np.float32))
        return self

    def predict(self, X: Any) -> Array:
        """The clusters (m,) int32 of points (m, d), each by itself."""
        from sysgym.clustering.neighbours import MOST

        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False) - self.origin_
        if np.abs(x).max() > MOST:
            raise UsageError(f"coordinates reach {np.abs(x).max():.3g}, expected {MOST:g} at most; scale the points.")
        return self.agent_.predict(x.astype(np.float32))
