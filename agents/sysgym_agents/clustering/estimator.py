"""CNC as an estimator of scikit-learn: `CNCClusterer(n_clusters=10).fit(x)`, then `predict` of unseen points."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym_agents.clustering.cnc import CNC
from sysgym_agents.core import Budget


class CNCClusterer(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Clusters points by the expected normalised cut of their graph of nearest neighbours, and assigns unseen ones.

    `labels_` are those of the network for the points of `fit`, so `predict` gives them again. The affinities fall with
    Euclidean distances: scale the columns before where their units differ.

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
        from sysgym.clustering.neighbours import affinity_graph

        for name in ("n_clusters", "neighbours", "steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} of CNCClusterer must be at least 1, got {getattr(self, name)!r}.")
        x = validate_data(self, X, dtype=np.float32, ensure_min_samples=2)
        k = min(self.n_clusters, len(x))
        instance = affinity_graph(x, neighbours=min(self.neighbours, len(x) - 1))
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        agent = CNC(loss=self.loss, hidden=self.hidden, layers=self.layers, learning_rate=self.learning_rate)  # type: ignore[arg-type]
        problem: Any = SimpleNamespace(clusters=lambda _: k)
        agent.fit(problem, [instance], rng, Budget(steps=self.steps))
        self.agent_ = CNC(**agent.hyper)  # without the state of the training
        self.agent_.net = agent.net
        self.labels_ = self.agent_.predict(x)
        return self

    def predict(self, X: Any) -> Array:
        """The clusters (m,) int32 of points (m, d), each by itself."""
        check_is_fitted(self)
        return self.agent_.predict(validate_data(self, X, dtype=np.float32, reset=False))
