"""Training of the rule by evolution strategies (Salimans et al. 2017): no gradient goes through a schedule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sysgym.core.problem import Array
from sysgym.dataflow.graphs.generate import random_graph
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym_agents.dataflow.learnt_list.state import Read, judged, placed
from sysgym_agents.learning import evolution
from sysgym_agents.learning.evolution import Setting
from sysgym_agents.learning.snapshot import Snapshot
from sysgym_agents.learning.stepwise import rate

MOMENTA = (0.9, 0.99)  # of Adam
WORST, BEST = -1.5, 2.0  # between which a reward counts
PENALTY = 4.0  # of a placement that memory does not hold: times its cost
ARRAYS = ("theta", "mean", "slope", "square", "level")
FORGETS = 0.1  # of the mean loss of a rule, at each of its steps


def layered(count: int, rng: np.random.Generator) -> list[DataflowGraph]:
    """Random layered networks of 4 to 29 layers of 2 to 9 operators for 2, 4 or 8 devices."""
    found = []
    for _ in range(count):
        depth, width, devices = int(rng.integers(4, 30)), int(rng.integers(2, 10)), int(rng.choice([2, 4, 8]))
        found.append(random_graph(f"layered:depth={depth},width={width},devices={devices}", rng))
    return found


class Evolution:
    """A training of rules (R, NUMBERS), in turn, between two steps."""

    def __init__(self, graphs: Sequence[Read], setting: Setting, seed: int, start: Array) -> None:
        self.graphs, self.setting, self.seed, self.done = list(graphs), setting, seed, 0
        self.scale = np.log([max(each.job.expert_ns, 1.0) for each in self.graphs])
        self.theta, self.mean = start.copy(), start.copy()  # mean: what the training ends with
        self.slope, self.square, self.level = np.zeros(start.shape), np.zeros(start.shape), np.zeros(len(start))

    @property
    def rules(self) -> Array:
        """What was learnt, the rule of the least loss first, and those that had no step yet last."""
        level = np.where(np.arange(len(self.level)) < self.done, self.level, np.inf)
        return np.asarray(self.mean[np.argsort(level, kind="stable")])

    def step(self, share: float) -> dict[str, float]:
        """One step along the estimated slope of the mean logarithm of the expert's time over the rule's."""
        setting, rng = self.setting, np.random.default_rng([self.seed, self.done])
        share = max(share, self.done / setting.iterations)
        rounds, row = divmod(self.done, len(self.theta))
        theta = self.theta[row]
        chosen = rng.choice(len(self.graphs), min(setting.batch, len(self.graphs)), replace=False)
        noise = rng.normal(size=(setting.pairs, len(theta)))
        sides = np.array([[self._rewards(theta + sign * setting.sigma * each, chosen) for sign in (1, -1)]
                          for each in noise])  # fmt: skip
        gain = sides[:, 0] - sides[:, 1]
        found = (gain / (gain.std(axis=0) + 1e-2)).mean(axis=1) @ noise / setting.pairs
        self.done += 1
        for kept, value, keep in ((self.slope, found, MOMENTA[0]), (self.square, found**2, MOMENTA[1])):
            kept[row] = keep * kept[row] + (1 - keep) * value
        first, second = (1 - keep ** (rounds + 1) for keep in MOMENTA)
        speed = rate(setting.learning_rate, rounds, 1, share)
        theta = theta + speed * (self.slope[row] / first) / (np.sqrt(self.square[row] / second) + 1e-8)
        self.theta[row] = theta
        self.mean[row] += max(0.03, 1 / (1 + (rounds + 1) / 5)) * (theta - self.mean[row])
        self.level[row] += max(FORGETS, 1 / (rounds + 1)) * (-sides.mean() - self.level[row])
        ratio = float(np.exp(-sides.mean()))
        return {"loss": -float(sides.mean()), "cost_ratio": ratio, "grad_norm": float(np.linalg.norm(found))}

    def _rewards(self, theta: Array, chosen: Array) -> Array:
        """Logarithm of the expert's time over that of the rule's placement, of each graph."""
        found = np.empty(len(chosen))
        for row, number in enumerate(chosen):
            given = self.graphs[number]
            costs, over = judged(given, placed(given, theta)[None])
            found[row] = self.scale[number] - np.log(max(costs[0], 1.0) * (PENALTY if over[0] else 1.0))
        return np.clip(found, WORST, BEST)

    def snapshot(self) -> Snapshot:
        """The training as it stands."""
        return evolution.snapshot(self, ARRAYS)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of the same setting and graphs."""
        evolution.restore(self, ARRAYS, snapshot)
