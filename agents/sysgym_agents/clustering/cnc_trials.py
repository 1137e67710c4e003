"""Trainings of CNC one after the other, of which the one of least normalised cut on the training graphs counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from sysgym.clustering.instance import Affinity
from sysgym.clustering.judge import judge_clusters
from sysgym_agents.clustering.cnc_model import CncNet, Progress, Training
from sysgym_agents.learning.devices import weights_of
from sysgym_agents.learning.snapshot import Snapshot

BEST = "best/"


class Trials:
    """So many trainings as one: the steps, or the budget, are shared out evenly. Labels count for nothing.

    CNC's loss has minima in which two clusters are divided along a wrong line, which about every other training ends
    in; the cut of the whole graph tells them apart.
    """

    def __init__(
        self, instances: Sequence[Affinity], setting: Training, rng: np.random.Generator, count: int,
        start: CncNet | None = None,
    ) -> None:  # fmt: skip
        self.instances, self.rng, self.count = instances, rng, count if start is None else 1
        self.iterations = setting.iterations
        self.setting = setting._replace(iterations=max(-(-setting.iterations // self.count), 1))
        self.current = Progress(instances, self.setting, rng, start)
        self.trial, self.before = 0, 0  # trainings that are over, and their steps
        self.best: CncNet | None = None
        self.cost = np.inf

    @property
    def done(self) -> int:
        """Steps so far."""
        return self.before + self.current.done

    @property
    def net(self) -> CncNet:
        """The best network of a training that is over, else the one under training."""
        return self.best or self.current.net

    def step(self, share: float) -> dict[str, float]:
        """One step of the training whose turn it is at a share of the budget."""
        share = max(share, self.done / self.iterations)
        if min(int(share * self.count + 1e-9), self.count - 1) > self.trial and self.current.done:
            self.close()
            self.trial += 1
            self.before += self.current.done
            self.current = Progress(self.instances, self.setting, self.rng)
        return self.current.step(max(0.0, min(1.0, share * self.count - self.trial)))

    def close(self) -> None:
        """Let the network under training compete; the last one does when all is over."""
        cost = self._cost(self.current.net)
        if cost < self.cost:
            self.best, self.cost = self.current.net, cost

    def _cost(self, net: CncNet) -> float:
        """Mean normalised cut of a network's labels of the training graphs."""
        k = self.setting.clusters
        pairs = zip(self.instances, self.current.sources, strict=True)
        return float(np.mean([judge_clusters(graph, net.labels(s.x.numpy()), k).cost for graph, s in pairs]))

    def snapshot(self) -> Snapshot:
        """The trainings as they stand."""
        inner = self.current.snapshot()
        weights: dict[str, Tensor] = {} if self.best is None else weights_of(self.best)
        best = {f"{BEST}{name}": value.clone() for name, value in weights.items()}
        cost = self.cost if np.isfinite(self.cost) else None
        own = {"done": self.done, "iterations": self.iterations, "trial": self.trial, "count": self.count, "cost": cost,
               "steps_before": self.before}  # fmt: skip
        facts = inner.facts | own
        return Snapshot(inner.tensors | best, facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of the same setting and graphs."""
        facts: dict[str, Any] = snapshot.facts
        before, done = int(facts["steps_before"]), int(facts["done"])
        if facts["count"] != self.count or not 0 <= facts["trial"] < self.count or not 0 <= before <= done:
            raise ValueError(f"it is of {facts['count']} trainings, this is of {self.count}")
        best = snapshot.part(BEST)
        if best:
            self.best, self.cost = self.current.empty(), float(facts["cost"])
            self.best.load_state_dict(best)
        rest = {name: value for name, value in snapshot.tensors.items() if not name.startswith(BEST)}
        self.current.restore(Snapshot(rest, facts | {"done": done - before}))
        self.trial, self.before = int(facts["trial"]), before
