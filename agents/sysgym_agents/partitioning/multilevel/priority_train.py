"""Training of move priorities by evolution strategies (Salimans et al. 2017): no gradient goes through a search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph
from sysgym.partitioning.judge import balance_limit
from sysgym_agents.learning import evolution
from sysgym_agents.learning.evolution import Setting
from sysgym_agents.learning.snapshot import Snapshot
from sysgym_agents.partitioning.multilevel.fm import Search

PARTS = (2, 4, 8, 16)  # numbers of parts that are trained on
MOMENTUM = 0.9
ARRAYS = ("theta", "speed", "mean")


class Evolution:
    """A training between two steps."""

    def __init__(
        self, instances: Sequence[Graph], eps: float, setting: Setting, rng: np.random.Generator, start: Array
    ) -> None:
        self.items = [(graph, k) for graph in instances for k in PARTS if 8 * k <= graph.nodes]
        self.eps, self.setting, self.done, self.seed = eps, setting, 0, int(rng.integers(2**31))
        self.theta, self.speed = start.copy(), np.zeros(len(start))
        self.mean = start.copy()  # of the second half of the training, which is what it ends with

    def step(self, share: float) -> dict[str, float]:
        """One step along the estimated slope of the mean logarithm of the cut, which is the loss."""
        setting, rng = self.setting, np.random.default_rng([self.seed, self.done])
        share = max(share, self.done / setting.iterations)
        noise = rng.normal(size=(setting.pairs, len(self.theta)))
        costs = np.empty((setting.pairs, 2))
        for i, each in enumerate(noise):
            chosen = rng.integers(len(self.items), size=setting.batch)
            seeds = rng.integers(2**31, size=setting.batch)
            for side, sign in enumerate((1, -1)):
                theta = self.theta + sign * setting.sigma * each
                costs[i, side] = np.mean(
                    [self._cost(theta, self.items[j], seed) for j, seed in zip(chosen, seeds, strict=True)]
                )
        slopes = costs[:, 0] - costs[:, 1]
        slope = slopes @ noise / (setting.pairs * max(np.sqrt(np.mean(slopes**2)), 1e-9))
        self.speed = MOMENTUM * self.speed - (1 - MOMENTUM) * slope
        self.theta = self.theta + setting.learning_rate * (1 - 0.8 * min(share, 1.0)) * self.speed
        self.done += 1
        self.mean = self.theta if share < 0.5 else self.mean + (self.theta - self.mean) * 0.05
        return {"loss": float(costs.mean()), "grad_norm": float(np.linalg.norm(slope))}

    def _cost(self, theta: Array, item: tuple[Graph, int], seed: int) -> float:
        """Logarithm of the cut of one run, and of what it weighs above the limit."""
        graph, k = item
        limit = balance_limit(graph, k, self.eps).weight
        found = Search(graph, k, limit, theta, np.random.default_rng(seed)).run()
        return float(np.log(max(found.key[1], 1)) + found.key[0] / limit)

    def snapshot(self) -> Snapshot:
        """The training as it stands."""
        return evolution.snapshot(self, ARRAYS)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of the same setting and graphs."""
        evolution.restore(self, ARRAYS, snapshot)
