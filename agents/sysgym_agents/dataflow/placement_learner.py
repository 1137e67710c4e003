"""What the learners of device placement share: checks, the loop within a budget, and weights on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.dataflow.baselines import FALLBACK, fitting
from sysgym_agents.learning.devices import weights_of
from sysgym_agents.learning.learner import planned_steps, spend, steady

if TYPE_CHECKING:
    from sysgym.dataflow.graphs.graph import DataflowGraph
    from sysgym.dataflow.problem import GraphProblem

Stop = Callable[[], bool]  # whether time is up


class Best:
    """The best placement that was simulated: first of those that fit in memory, then by cost."""

    def __init__(self) -> None:
        self.key: tuple[bool, float] = (True, np.inf)
        self.placement: Array | None = None

    def offer(self, costs: Array, over: Array, placement: Callable[[int], Array]) -> int | None:
        """Keep the best of costs (B,) with bytes over capacity (B,) if it is better, and return its row.

        placement: gives the devices (N,) of a row.
        """
        b = int(np.lexsort((costs, over > 0))[0])
        key = (bool(over[b] > 0), float(costs[b]))
        if self.placement is not None and key >= self.key:
            return None
        self.key, self.placement = key, np.asarray(placement(b), np.int32)
        return b


class Trainer(Protocol):
    """Simulates and learns, a graph after the other."""

    best: list[Best]  # of each graph
    simulations: int  # so far
    metrics: dict[str, float]  # of the last update

    def prepare(self, stop: Stop) -> None: ...  # before the first update of fresh weights

    def update(self, progress: float, left: int, stop: Stop) -> None: ...

    def sample(self, left: int, stop: Stop, greedy: bool) -> None: ...


class NetOverTypes:
    """A learner's network over types of operators, kept with its vocabulary; the learner has `make_net`."""

    net: Any = None
    vocabulary: tuple[str, ...] = ()  # types of operators that the weights tell apart

    def make_net(self, vocabulary: int) -> Any:
        """A network of these hyper-parameters for so many types of operators, the unknown not counted."""
        raise NotImplementedError

    def fresh_net(self, vocabulary: Sequence[str], seed: int) -> Any:
        """A new network by a seed."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make_net(len(vocabulary))

    def prepare(self) -> None:
        """Import the networks, and what an optimiser imports: every `solve` has one."""
        super().prepare()  # type: ignore[misc]
        import torch._dynamo

        from sysgym_agents.dataflow import gdp_net

        assert gdp_net is not None and torch is not None

    def weights(self) -> Mapping[str, Any] | None:
        """Those of the network."""
        return None if self.net is None else weights_of(self.net)

    def facts(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"vocabulary": list(self.vocabulary)}

    def forget(self, rng: np.random.Generator) -> bool:
        """Draw the network's weights anew; the vocabulary stays."""
        if self.net is None:
            return False
        self.net = self.fresh_net(self.vocabulary, int(rng.integers(2**31)))
        return True

    def restore(self, facts: Mapping[str, Any], weights: Mapping[str, Any], path: Path) -> None:
        """Network and vocabulary; UsageError if they do not fit."""
        from sysgym_agents.learning.weights import filled

        vocabulary = facts.get("vocabulary")
        if not isinstance(vocabulary, list) or not all(isinstance(item, str) for item in vocabulary):
            raise UsageError(
                f"{path}/agent.json must list types of operators under 'vocabulary'; train and save the agent again."
            )
        self.net, self.vocabulary = filled(lambda: self.fresh_net(vocabulary, 0), weights, path), tuple(vocabulary)


class PlacementLearner:
    """`fit` trains on a family, `solve` draws placements and returns the best, or trains on the instance itself.

    A learner has the hyper-parameters `simulations`, `solve_simulations` and `samples`, and makes the trainer.
    """

    problems: ClassVar[tuple[str, ...]] = ("DevicePlacement",)
    needs_training: ClassVar[bool] = False  # it can train on the instance itself
    default_instances: ClassVar[str] = "layered/train"
    fallback: ClassVar[str] = FALLBACK
    fell_back = False
    name: ClassVar[str]
    net: Any
    vocabulary: tuple[str, ...]
    hyper: Mapping[str, Any]
    fresh_net: Callable[[Sequence[str], int], Any]

    def make_trainer(
        self, net: Any, vocabulary: Sequence[str], problem: GraphProblem, instances: Sequence[DataflowGraph], seed: int
    ) -> Trainer:
        """A trainer on graphs, with the network itself, moved to where it is computed."""
        raise NotImplementedError

    def fit(
        self,
        problem: GraphProblem,
        instances: Sequence[DataflowGraph],
        rng: np.random.Generator,
        budget: Budget,
        callback: Callback | None = None,
    ) -> None:
        """Train on a family, on from weights that are there already. A budget's steps count simulations.

        `callback` hears, after each update, reward (and return, which is the same), cost_ratio and best_ratio (over the
        cost of one device), feasible (the share of placements drawn that fit in memory; of Placeto whether the best
        does) and entropy.
        """
        clock = Clock(budget)
        if not instances:
            raise UsageError(f"agent {self.name!r} needs at least one graph to train on.")
        fresh = self.net is None
        if fresh:
            vocabulary = sorted({name for graph in instances for name in graph.op_types})
            self.net, self.vocabulary = self.fresh_net(vocabulary, int(rng.integers(2**31))), tuple(vocabulary)
        trainer = self.make_trainer(self.net, self.vocabulary, problem, instances, int(rng.integers(2**31)))
        self._train(trainer, clock, self.hyper["simulations"], fresh, callback)

    @steady()
    def solve(
        self, problem: GraphProblem, instance: DataflowGraph, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The best placement of those simulated: while training on the instance, or drawn by the weights there are.

        Where none of them fits in memory, it is the fallback if that does.
        """
        clock = Clock(budget)
        if self.net is not None:
            net = deepcopy(self.net)  # it may be in training on another device
            trainer = self.make_trainer(net, self.vocabulary, problem, [instance], int(rng.integers(2**31)))
            self._sample(trainer, clock, self.hyper["samples"])
        else:
            net = self.fresh_net(instance.op_types, int(rng.integers(2**31)))
            trainer = self.make_trainer(net, instance.op_types, problem, [instance], int(rng.integers(2**31)))
            self._train(trainer, clock, self.hyper["solve_simulations"], True, None)
        found, job = trainer.best[0], problem.job(instance)
        other = fitting(problem, job) if found.key[0] else None
        self.fell_back = other is not None
        if other is not None:
            return other
        return {"placement": job.single if found.placement is None else found.placement}

    def _train(self, trainer: Trainer, clock: Clock, steps: int, fresh: bool, callback: Callback | None) -> None:
        """Update until the budget is spent; without one, for `steps` simulations."""
        limit = planned_steps(clock.budget, steps)
        if fresh:
            trainer.prepare(clock.spent)
        if clock.spent():
            return

        def update(share: float) -> dict[str, float]:
            trainer.update(share, _left(limit, trainer), clock.spent)
            return {"steps": float(trainer.simulations), **trainer.metrics}

        spend(clock, limit, update, callback)

    def _sample(self, trainer: Trainer, clock: Clock, steps: int) -> None:
        """The likeliest placement, then drawn ones until the budget is spent; without one, `steps` simulations."""
        limit, greedy = planned_steps(clock.budget, steps), True
        while greedy or (trainer.simulations < limit and not clock.spent()):
            trainer.sample(_left(limit, trainer), clock.spent, greedy)
            greedy = False


def _left(limit: float, trainer: Trainer) -> int:
    return int(min(limit - trainer.simulations, 2**31))
