"""What the learners of device placement share: checks, the loop within a budget, and weights on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from sysgym.core.errors import UsageError, unknown
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget, Callback, Clock

if TYPE_CHECKING:
    from sysgym.dataflow.graphs.graph import DataflowGraph

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


class StoredLearner:
    """Base of learners on dataflow graphs: hyper-parameters within their ranges, and weights on disk.

    Subclasses give `name`, `whole` and `real` (least and most of each hyper-parameter), and make the network.
    """

    name: ClassVar[str]
    whole: ClassVar[Mapping[str, tuple[int, int]]]
    real: ClassVar[Mapping[str, tuple[float, float]]]

    def __init__(self, **hyper: Any) -> None:
        self.hyper = hyper
        self.net: Any = None
        self.vocabulary: tuple[str, ...] = ()  # types of operators that the weights tell apart
        for kind, ranges, what in ((int, self.whole, "whole number"), (int | float, self.real, "number")):
            for name, (least, most) in ranges.items():
                value = hyper[name]
                if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
                    raise UsageError(
                        f"{name} of agent {self.name!r} must be a {what} from {least:g} to {most:g}, got {value!r}."
                    )

    def make_net(self, vocabulary: int) -> Any:
        """A network of these hyper-parameters for so many types of operators, the unknown not counted."""
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Write `agent.json` and `model.safetensors` into a folder."""
        from sysgym_agents.learning.weights import save_agent

        if self.net is None:
            raise UsageError(f"agent {self.name!r} has no weights to save; train it first.")
        description = {"hyper": self.hyper, "vocabulary": list(self.vocabulary)}
        save_agent(path, self.name, description, self.net.state_dict())

    def load(self, path: Path) -> None:
        """Restore hyper-parameters and weights from a folder that `save` wrote."""
        from sysgym_agents.learning.weights import fill, load_agent

        found, weights = load_agent(path, self.name)
        hyper, vocabulary = found["hyper"], found.get("vocabulary")
        for name in hyper:
            if name not in self.hyper:
                raise unknown(f"hyper-parameter of agent {self.name!r}", name, self.hyper)
        if not isinstance(vocabulary, list) or not all(isinstance(item, str) for item in vocabulary):
            raise UsageError(
                f"{path}/agent.json must list types of operators under 'vocabulary'; train and save the agent again."
            )
        fresh = type(self)(**hyper)
        net = fresh._fresh(vocabulary, 0)
        fill(net, weights, path)
        self.hyper, self.net, self.vocabulary = fresh.hyper, net, tuple(vocabulary)

    def _fresh(self, vocabulary: Sequence[str], seed: int) -> Any:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make_net(len(vocabulary))


class PlacementLearner(StoredLearner):
    """Base: `fit` trains on a family, `solve` draws placements and returns the best, or trains on the instance itself.

    Subclasses have the hyper-parameters `simulations`, `solve_simulations` and `samples`, and make the trainer.
    """

    problems = ("DevicePlacement",)
    needs_training = False  # it can train on the instance itself
    default_instances = "layered/train"
    default_budget = Budget(seconds=60)

    def make_trainer(
        self, net: Any, vocabulary: Sequence[str], problem: Any, instances: Sequence[DataflowGraph], seed: int
    ) -> Trainer:
        """A trainer on graphs."""
        raise NotImplementedError

    def fit(
        self,
        problem: Any,
        instances: Sequence[DataflowGraph],
        rng: np.random.Generator,
        budget: Budget,
        callback: Callback | None = None,
    ) -> None:
        """Train on a family, on from weights that are there already. A budget's steps count simulations.

        `callback` hears, after each update, reward, cost and best (over the cost of one device), feasible (the share of
        placements drawn that fit in memory; of Placeto whether the best does) and entropy.
        """
        clock = Clock(budget)
        if not instances:
            raise UsageError(f"agent {self.name!r} needs at least one graph to train on.")
        fresh = self.net is None
        if fresh:
            vocabulary = sorted({name for graph in instances for name in graph.op_types})
            self.net, self.vocabulary = self._fresh(vocabulary, int(rng.integers(2**31))), tuple(vocabulary)
        trainer = self.make_trainer(self.net, self.vocabulary, problem, instances, int(rng.integers(2**31)))
        self._train(trainer, clock, self.hyper["simulations"], fresh, callback)

    def solve(self, problem: Any, instance: DataflowGraph, rng: np.random.Generator, budget: Budget) -> Solution:
        """The best placement of those simulated: while training on the instance, or drawn by the weights there are."""
        clock = Clock(budget)
        if self.net is not None:
            trainer = self.make_trainer(self.net, self.vocabulary, problem, [instance], int(rng.integers(2**31)))
            self._sample(trainer, clock, self.hyper["samples"])
        else:
            net = self._fresh(instance.op_types, int(rng.integers(2**31)))
            trainer = self.make_trainer(net, instance.op_types, problem, [instance], int(rng.integers(2**31)))
            self._train(trainer, clock, self.hyper["solve_simulations"], True, None)
        found = trainer.best[0].placement
        return {"placement": problem.job(instance).single if found is None else found}

    def _train(self, trainer: Trainer, clock: Clock, steps: int, fresh: bool, callback: Callback | None) -> None:
        """Update until the budget is spent; without one, for `steps` simulations."""
        limit, seconds = _limit(clock.budget, steps), clock.budget.seconds
        going = True
        if fresh:
            trainer.prepare(clock.spent)
        while going and trainer.simulations < limit and not clock.spent():
            shares = [trainer.simulations / limit if np.isfinite(limit) else 0.0]
            if seconds:
                shares.append(clock.seconds / seconds)
            trainer.update(max(shares), _left(limit, trainer), clock.spent)
            if callback is not None:
                row = {"steps": float(trainer.simulations), "seconds": clock.seconds, **trainer.metrics}
                going = callback(row)

    def _sample(self, trainer: Trainer, clock: Clock, steps: int) -> None:
        """The likeliest placement, then drawn ones until the budget is spent; without one, `steps` simulations."""
        limit, greedy = _limit(clock.budget, steps), True
        while greedy or (trainer.simulations < limit and not clock.spent()):
            trainer.sample(_left(limit, trainer), clock.spent, greedy)
            greedy = False


def _limit(budget: Budget, steps: int) -> float:
    """Simulations that may be spent; inf where seconds alone count."""
    if budget.steps is not None:
        return max(budget.steps, 1)
    return steps if budget.seconds is None else np.inf


def _left(limit: float, trainer: Trainer) -> int:
    return int(min(limit - trainer.simulations, 2**31))
