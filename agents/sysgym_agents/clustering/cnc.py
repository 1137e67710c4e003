"""CNC: a network that learns clusters from the expected normalised cut of batches (Nazi et al., arXiv 1910.07623)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from sysgym.clustering.instance import Affinity
from sysgym.core.errors import UsageError
from sysgym.core.options import Choices, Range, Search
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.learning.devices import device_for, placed, weights_of
from sysgym_agents.learning.stepped import SteppedLearner

if TYPE_CHECKING:
    from sysgym.clustering.problem import Clustering
    from sysgym_agents.clustering.cnc_model import CncNet, Training

TOLD = 100  # steps between two reports of a training
SOLVE_SHARE = 0.7  # of the time of `solve` that a fit on the instance itself may take
MOST = 2**20  # features, or clusters, of weights that are read


def points_of(instance: Affinity) -> Array:
    """The points (n, d) float32; UsageError where an instance has none, or they have no columns."""
    if instance.x is None:
        raise UsageError(
            f"agent 'cnc' needs points, and {instance.name} has affinities alone; choose an agent that needs the graph "
            "only, such as 'merge-split'."
        )
    if min(instance.x.shape) == 0:
        raise UsageError(f"{instance.name} has points of shape {instance.x.shape}; agent 'cnc' needs at least (1, 1).")
    return instance.x


@dataclass(kw_only=True, eq=False)
class CNC(SteppedLearner):
    """A network from points to clusters, trained without labels on batches of their affinity graph.

    `fit` lowers the expected normalised cut of the graph restricted to a batch (some points at random and neighbours
    of each), by Gumbel-softmax samples, and keeps an average of the weights. The frozen network assigns unseen points
    in one forward pass (`predict`), each by itself. `solve` then moves points while that lowers NCut. Without weights
    it first trains on the instance itself. The weights are for points of one width and for one k.

    With `guided`, which is no part of CNC, a search merges and splits the network's clusters of the training graphs
    after a quarter of the training, and the network imitates what it found for a while.

    Hyper-parameters:
        loss: `expected-ncut` is CNC's with `balance` times the expected imbalance of sizes; `neuncut` is NeuNcut's,
            whose orthogonality counts `penalty`; `pgcuts` is PGCuts' bound in the place of CNC's cut.
        gumbel: whether noise is added to the logits in training; else it is a softmax.
        hidden, layers: width and number of hidden layers.
        learning_rate: of Adam, after a warm-up; cosine decay in the last part. average: share of the averaged weights
            that stays in a step. guided: whether a search takes part; else the gradient finds the way alone.
        memory: share of running averages over batches in the estimates of volumes, cuts and sizes, in the last step; it
            grows from 0, which is CNC's own.
        trials: trainings that share the steps, of which the one of least normalised cut on the training graphs counts.
        iterations: gradient steps on a family. solve_iterations: those on a single instance. An explicit budget of
            steps takes their place.
        seeds, neighbours: points of a batch that are drawn, and neighbours that come with each.
        hops: the network sees the means of the points over 1..hops steps of the graph's random walk beside a point's
            own features (SIGN, arXiv 2004.11198). Its weights then assign points of instances, not points alone.
        affinity: `graph` is the instance's; `batch` is CNC's own, between the nearest of seeds * (1 + neighbours)
            random points; `siamese` the same in an embedding by a Siamese network, which the first fifth of the
            training learns from neighbours in the graph. Only the training uses it.
        repair: `refine` moves points while that lowers NCut, `merge-split` merges and splits clusters too.
    """

    name: ClassVar[str] = "cnc"
    problems: ClassVar[tuple[str, ...]] = ("Clustering",)
    needs_training: ClassVar[bool] = False  # it can fit the instance itself
    default_budget: ClassVar[Budget] = Budget(seconds=120)
    step: ClassVar[str] = "a gradient step: a batch of points whose expected cut and imbalance are computed"
    indivisible: ClassVar[str] = "a gradient step, the search in a training, a forward pass, or refinement"

    loss: Literal["expected-ncut", "neuncut", "pgcuts"] = "expected-ncut"
    gumbel: bool = True
    hidden: Annotated[int, Range(1, 8192), Choices(128, 256, 512)] = 512
    layers: Annotated[int, Range(0, 16)] = 2
    learning_rate: Annotated[float, Range(1e-9, 1.0), Search(2e-4, 5e-3, log=True)] = 1e-3
    balance: Annotated[float, Range(0.0, 1e9), Search(1.0, 30.0, log=True)] = 6.55
    penalty: Annotated[float, Range(0.0, 1e9), Search(10.0, 300.0, log=True)] = 80.0
    memory: Annotated[float, Range(0.0, 0.999999), Choices(0.0, 0.5, 0.9)] = 0.0
    guided: bool = False
    average: Annotated[float, Range(0.0, 0.999999)] = 0.999
    trials: Annotated[int, Range(1, 1000)] = 1
    iterations: Annotated[int, Range(1, 10**9)] = 12000
    solve_iterations: Annotated[int, Range(1, 10**9)] = 2000
    seeds: Annotated[int, Range(1, 100_000), Choices(32, 64, 128)] = 64
    neighbours: Annotated[int, Range(0, 10_000)] = 3
    hops: Annotated[int, Range(0, 8)] = 0
    affinity: Literal["graph", "batch", "siamese"] = "graph"
    repair: Literal["none", "refine", "merge-split"] = "refine"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.net: CncNet | None = None
        self.prepared: str | None = None  # how the points of its training were, where that is known

    def fit(
        self, problem: Clustering, instances: Sequence[Affinity], rng: np.random.Generator, budget: Budget,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Train on graphs of one width and k, on from weights that are there already, or from `load_training`.

        `callback` hears loss, expected ncut and imbalance of the batches, and the contrastive loss while an embedding
        is learnt, every 100 steps and after the last one.
        """
        from sysgym_agents.clustering.cnc_batches import compare
        from sysgym_agents.clustering.cnc_trials import Trials
        from sysgym_agents.learning.stepwise import resumed, run

        _, clusters = self._shape(problem, instances)
        self.prepared = instances[0].prepared if self.net is None else self.prepared
        for instance in instances:
            compare(instance, self.prepared)
        clock, (resume, self._resume) = Clock(budget), (self._resume, None)
        planned = self.iterations if budget.steps is None else max(budget.steps, 1)
        total = planned if resume is None else resume.facts["iterations"]
        start = None if resume is not None else self.net
        progress = Trials(instances, self._setting(clusters, total), rng, self.trials, start)
        resumed(progress, resume, self.name)
        self._progress, self.net = progress, progress.net

        def told(row: dict[str, float]) -> bool:
            self.net = progress.net
            return callback is None or callback(row)

        run(progress, total, clock, told, TOLD)
        if progress.count > 1:
            progress.close()
        self.net = progress.net

    def solve(self, problem: Clustering, instance: Affinity, rng: np.random.Generator, budget: Budget) -> Solution:
        """The network's labels (after a fit on the instance if there are no weights), then repaired."""
        from sysgym_agents.clustering.cnc_batches import compare, inputs_of

        clock, k = Clock(budget), problem.clusters(instance)
        self._shape(problem, [instance])
        if self.net is not None:
            compare(instance, self.prepared)
        net = self.net or self._fit_one(k, instance, rng, budget)
        net = placed(net, device_for(net.rows))
        labels = net.labels(inputs_of(instance, net.hops))
        if self.repair == "none" or clock.spent():
            return {"labels": labels}
        from sysgym_agents.clustering.local_search import merge_split, refined

        if self.repair == "refine":
            return {"labels": refined(instance, labels, k, rng)}
        return {"labels": merge_split(instance, labels, k, rng, clock)}

    def predict(self, x: Array | Affinity) -> Array:
        """The clusters (m,) int32 of any points (m, d) or of an instance's, by the frozen network.

        UsageError if there are no weights, or they look at neighbours (`hops`) and `x` is no instance.
        """
        from sysgym_agents.clustering.cnc_batches import compare, inputs_of

        if self.net is None:
            raise UsageError("agent 'cnc' has no weights to predict with; call fit or load first.")
        points = points_of(x) if isinstance(x, Affinity) else np.asarray(x)
        if points.ndim != 2 or points.shape[1] != self.net.features:
            raise UsageError(
                f"these weights of agent 'cnc' are for points of {self.net.features} features, got an array of shape "
                f"{points.shape}; give (points, {self.net.features}), prepared as those of the training."
            )
        if isinstance(x, Affinity):
            compare(x, self.prepared)
            return self.net.labels(inputs_of(x, self.net.hops))
        if self.net.hops:
            raise UsageError(
                f"these weights of agent 'cnc' look at a point's neighbours (hops={self.net.hops}), which points alone "
                "do not have; give an instance, such as affinity_graph(x)."
            )
        return self.net.labels(points)

    def weights(self) -> Mapping[str, Any] | None:
        """Those of the network, which are averages, and the mean and spread of the points that it was trained on."""
        return None if self.net is None else weights_of(self.net)

    def facts(self) -> dict[str, Any]:
        """For how many features and clusters the weights are."""
        if self.net is None:
            return {}
        known = {} if self.prepared is None else {"prepared": self.prepared}
        return {"features": self.net.features, "clusters": self.net.clusters, **known}

    def forget(self, rng: np.random.Generator) -> bool:
        """Draw the network's weights anew; mean and spread of the points stay."""
        import torch

        if self.net is None:
            return False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            fresh = self._empty(self.net.features, self.net.clusters, self.net.hops)
        fresh.mean, fresh.scale = self.net.mean.cpu(), self.net.scale.cpu()
        self.net = fresh
        return True

    def restore(self, facts: Mapping[str, Any], weights: Mapping[str, Any], path: Path) -> None:
        """The network, and for what it is."""
        import torch

        from sysgym_agents.learning.weights import filled

        features: Any = facts.get("features")
        clusters: Any = facts.get("clusters")
        if not all(type(size) is int and 1 <= size <= MOST for size in (features, clusters)):
            raise UsageError(
                f"{path}/agent.json must say under 'features' and 'clusters' for how many its weights are; train and "
                "save the agent again."
            )
        prepared = facts.get("prepared")
        if prepared is not None and not isinstance(prepared, str):
            raise UsageError(f"{path}/agent.json must say under 'prepared' how points were prepared, by a text.")
        self.prepared = prepared
        with torch.random.fork_rng(devices=[]):
            self.net = filled(lambda: self._empty(features, clusters, self.hops), weights, path)

    def prepare(self) -> None:
        """Import the network and the kernels."""
        super().prepare()
        from sysgym_agents.clustering import cnc_model

        assert cnc_model is not None

    def _shape(self, problem: Clustering, instances: Sequence[Affinity]) -> tuple[int, int]:
        """Features and clusters of all instances; UsageError if they differ, or do not fit the weights."""
        if not instances:
            raise UsageError("agent 'cnc' needs at least one graph to train on.")
        shapes = [(points_of(instance).shape[1], problem.clusters(instance)) for instance in instances]
        wanted, what = shapes[0], f"{instances[0].name} has"
        if self.net is not None and self.net.hops != self.hops:
            raise UsageError(
                f"these weights of agent 'cnc' are for hops={self.net.hops}, not {self.hops}; leave hops as it was in "
                "their training, or train a new agent."
            )
        if self.net is not None:
            wanted, what = (self.net.features, self.net.clusters), "these weights of agent 'cnc' are for"
        for instance, found in zip(instances, shapes, strict=True):
            if found != wanted:
                raise UsageError(
                    f"{what} points of {wanted[0]} features and {wanted[1]} clusters, {instance.name} has "
                    f"{found[0]} features and {found[1]} clusters; prepare its points alike and ask for "
                    f"k={wanted[1]}, or train a new agent."
                )
        return wanted

    def _empty(self, features: int, clusters: int, hops: int) -> CncNet:
        from sysgym_agents.clustering.cnc_model import CncNet

        return CncNet(features, self.hidden, self.layers, clusters, hops)

    def _setting(self, clusters: int, iterations: int) -> Training:
        from sysgym_agents.clustering.cnc_model import Training

        return Training(
            hidden=self.hidden, layers=self.layers, clusters=clusters, learning_rate=self.learning_rate,
            iterations=iterations, seeds=self.seeds, neighbours=self.neighbours, loss=self.loss, balance=self.balance,
            penalty=self.penalty, gumbel=self.gumbel, memory=self.memory, guided=self.guided, average=self.average,
            hops=self.hops, affinity=self.affinity,
        )  # fmt: skip

    def _fit_one(self, clusters: int, instance: Affinity, rng: np.random.Generator, budget: Budget) -> CncNet:
        """A network for this instance only; the agent keeps none of it."""
        from sysgym_agents.clustering.cnc_model import Progress
        from sysgym_agents.learning.stepwise import run

        total = self.solve_iterations if budget.steps is None else max(budget.steps, 1)
        clock = Clock(budget.share(SOLVE_SHARE)._replace(steps=budget.steps))
        progress = Progress([instance], self._setting(clusters, total), rng)
        run(progress, total, clock, None, TOLD)
        return progress.net
