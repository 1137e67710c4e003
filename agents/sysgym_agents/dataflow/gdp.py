"""GDP and GO: one network decides all units of a dataflow graph at once, and transfers to graphs it has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.options import Choices, Range, Search
from sysgym.core.problem import Solution
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.dataflow.baselines import FALLBACK, fitting, pick, tasks_of
from sysgym_agents.dataflow.placement_learner import NetOverTypes
from sysgym_agents.learning.devices import device_for, of
from sysgym_agents.learning.learner import StoredLearner, planned_steps, spend, steady
from sysgym_agents.learning.memory import afford

if TYPE_CHECKING:
    from sysgym.dataflow.graphs.graph import DataflowGraph
    from sysgym.dataflow.problem import GraphProblem
    from sysgym_agents.dataflow.gdp_net import Example, PlacerNet
    from sysgym_agents.dataflow.gdp_train import Trainer

COOLING = 0.2  # how far learning rate and entropy fall in training on several graphs: sharp policies transfer badly
HASTE = 1.5  # of epochs and learning rate in the few large updates of fine-tuning
TRIED_UNITS = 100_000  # units of all trials together, so that one pass over a huge graph stays one pass


@dataclass(kw_only=True, eq=False)
class PolicyPlacer:
    """What `gdp` and `go` share: one network decides all units at once and learns by PPO. Fields are theirs."""

    needs_training: ClassVar[bool] = False  # it can train on the graph itself
    default_instances: ClassVar[str] = "seeds/train"
    default_budget: ClassVar[Budget] = Budget(seconds=600)
    step: ClassVar[str] = "a simulated answer"
    indivisible: ClassVar[str] = "the samples of an update, simulated together, or a gradient step on them"
    fallback: ClassVar[str] = FALLBACK
    fell_back = False
    name: ClassVar[str]
    hyper: ClassVar[Mapping[str, Any]]
    if TYPE_CHECKING:  # of `NetOverTypes`
        net: Any = None
        vocabulary: tuple[str, ...] = ()
        fresh_net: ClassVar[Any]

    hidden: Annotated[int, Range(4, 4096), Choices(32, 64, 128)] = 64
    sage: Annotated[int, Range(1, 64)] = 2
    layers: Annotated[int, Range(1, 64), Search(1, 4)] = 2
    heads: Annotated[int, Range(1, 64)] = 4
    segment: Annotated[int, Range(2, 2**16)] = 128
    samples: Annotated[int, Range(2, 2**16), Choices(16, 32, 64, 128)] = 64
    epochs: Annotated[int, Range(1, 1000), Search(1, 8)] = 4
    learning_rate: Annotated[float, Range(1e-8, 1.0), Search(3e-4, 1e-2, log=True)] = 2e-3
    clip: Annotated[float, Range(1e-3, 10.0), Search(0.1, 0.3)] = 0.2
    entropy: Annotated[float, Range(0.0, 100.0), Search(0.01, 1.0, log=True)] = 0.2
    explore: Annotated[float, Range(0.0, 1e6)] = 2.0
    imitate: Annotated[float, Range(0.0, 100.0), Search(0.0, 1.0)] = 0.3
    updates: Annotated[int, Range(1, 10**7)] = 300
    tune: Annotated[int, Range(0, 10**7)] = 0
    tune_samples: Annotated[int, Range(2, 2**16)] = 1024
    trials: Annotated[int, Range(0, 2**16)] = 64

    def check_heads(self) -> None:
        """UsageError unless every head has the same width."""
        if self.hidden % self.heads:
            raise UsageError(f"hidden of agent {self.name!r} must be a multiple of heads, got {self.hidden}.")

    def choices(self) -> dict[str, int]:
        """Choices of the tasks beside placement that there are heads for."""
        return {}

    def fit(
        self,
        problem: GraphProblem,
        instances: Sequence[DataflowGraph],
        rng: np.random.Generator,
        budget: Budget,
        callback: Callback | None = None,
    ) -> None:
        """Train on graphs in turn, on from weights that are there; `callback` hears each update's metrics."""
        from sysgym_agents.dataflow.gdp_net import make_example

        if not instances:
            raise UsageError(f"agent {self.name!r} needs at least one graph to train on.")
        self._check(problem)
        seed = int(rng.integers(2**31))
        if self.net is None:
            self.vocabulary = tuple(sorted({name for graph in instances for name in graph.op_types}))
            self.net = self.fresh_net(self.vocabulary, seed)
        examples = [make_example(problem.work(graph), self.vocabulary) for graph in instances]
        trainer = self._trainer(deepcopy(self.net), problem, examples, seed)
        trainer.average = self.net.to(of(trainer.net))
        trainer.cooling = 1.0 if len(examples) == 1 else COOLING
        self._run(trainer, Clock(budget), callback)

    @steady()
    def solve(
        self, problem: GraphProblem, instance: DataflowGraph, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The best decision of a training on the graph, or of a trained network's pass, samples and fine-tuning.

        Where none of them fits in memory, it is the fallback if that does.
        """
        from sysgym_agents.dataflow.gdp_net import make_example
        from sysgym_agents.dataflow.gdp_train import arrays_of

        self._check(problem)
        clock, seed = Clock(budget), int(rng.integers(2**31))
        words = self.vocabulary if self.net is not None else tuple(sorted(set(instance.op_types)))
        example = make_example(problem.work(instance), words)
        most = math.inf if budget.steps is None else budget.steps
        if self.net is None:
            trainer = self._trainer(self.fresh_net(words, seed), problem, [example], seed)
            if self.hyper["samples"] <= most:  # else the first pass is the answer
                self._run(trainer, clock, None)
        else:
            trainer = self._trainer(deepcopy(self.net), problem, [example], seed, self.hyper["tune_samples"])
            trials = int(min(self.hyper["trials"], TRIED_UNITS // example.work.units.count, most - 1))
            trainer.answer(0, trials, clock.spent)
            for update in range(self.hyper["tune"]):
                if clock.spent() or trainer.simulations + self.hyper["tune_samples"] > most:
                    break
                trainer.update(update / self.hyper["tune"], clock.spent)
        if trainer.best[0] is None or not clock.spent(trainer.simulations):
            trainer.answer(0, 0)
        best = trainer.best[0]
        assert best is not None
        other = fitting(problem, problem.job(instance)) if best.key[0] else None
        self.fell_back = other is not None
        if other is not None:
            return other
        tasks = tasks_of(problem)
        return pick(tasks, arrays_of(example, tasks, best.choice))

    def _check(self, problem: GraphProblem) -> None:
        """UsageError if the problem asks for tasks that the agent has no head for."""
        for task in tasks_of(problem):
            if task != "placement" and task not in self.choices():
                raise UsageError(f"agent {self.name!r} decides placements only, not {task}; use agent 'go'.")

    def make_net(self, vocabulary: int) -> PlacerNet:
        """Encoder, attention and heads."""
        from sysgym_agents.dataflow.gdp_net import PlacerNet

        hyper = self.hyper
        return PlacerNet(vocabulary, hyper["hidden"], hyper["sage"], hyper["layers"], hyper["heads"], hyper["segment"],
                         self.choices())  # fmt: skip

    def _trainer(
        self, net: PlacerNet, problem: GraphProblem, examples: Sequence[Example], seed: int, samples: int | None = None
    ) -> Trainer:
        from sysgym_agents.dataflow.gdp_train import Ppo, Trainer, rows_of, update_bytes

        hyper, tasks = self.hyper, tasks_of(problem)
        haste = 1.0 if samples is None else HASTE
        epochs, rate = round(haste * hyper["epochs"]), haste * hyper["learning_rate"]
        ppo = Ppo(samples or hyper["samples"], epochs, rate, hyper["clip"], hyper["entropy"], hyper.get("rounds", 1),
                  hyper["explore"], hyper["imitate"])  # fmt: skip
        needed = max(update_bytes(example, tasks, ppo) for example in examples)
        lower = "samples" if samples is None else "tune_samples"
        afford(needed, f"an update of agent {self.name!r} on {ppo.samples} samples", lower)
        device = device_for(max(rows_of(example, tasks, ppo) for example in examples))
        return Trainer(net.to(device), [example.to(device) for example in examples], tasks, ppo, seed)

    def _run(self, trainer: Trainer, clock: Clock, callback: Callback | None) -> None:
        """Update until the budget is spent (without one, `updates` times) or the callback says stop; at least once."""
        samples = self.hyper["samples"]
        planned = planned_steps(clock.budget, self.hyper["updates"] * samples)
        if math.isfinite(planned):
            planned = max(1, planned // samples) * samples  # whole updates

        def update(share: float) -> dict[str, float]:
            trainer.update(trainer.cooling * share, clock.spent)
            return {"steps": float(trainer.simulations), **trainer.metrics}

        spend(clock, planned, update, callback)


@dataclass(kw_only=True, eq=False)
class GDP(PolicyPlacer, NetOverTypes, StoredLearner):
    """Graph encoder and attention placer of "GDP: Generalized Device Placement for Dataflow Graphs" (2019), with PPO.

    GraphSAGE with max pooling over both directions, a Transformer with segment recurrence and without positions over
    the units in topological order, each dense layer conditioned on the graph. Units are those of the problem: groups
    in mode `grouped`, operators in mode `oneshot`. Four protocols: `solve` without weights trains on the graph itself
    and answers the best placement seen (one graph); `fit` on a set (batch); `solve` with weights answers from one pass
    and a few samples (zero-shot), and after `tune` updates of a copy of the weights on the graph (fine-tuning).
    Rewards are -sqrt(time over that of one device), -10 where memory is exceeded.

    Hyper-parameters:
        hidden, sage, layers, heads, segment: width, GraphSAGE layers, attention layers, heads, units in a segment.
        samples, epochs, learning_rate, clip, entropy: of PPO; placements simulated for each update.
        explore: units of each sample that are drawn evenly from all choices, on average.
        imitate: weight of the likelihood of the best placement so far, which PPO alone forgets.
        updates: of a training without a budget. A budget's steps are simulations, `samples` an update.
        tune, tune_samples: updates on the graph before a trained agent answers, and placements for each of them.
        trials: samples beside the greedy answer, drawn from the softmax of half the scores.
    """

    problems: ClassVar[tuple[str, ...]] = ("DevicePlacement",)
    name: ClassVar[str] = "gdp"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_heads()


@dataclass(kw_only=True, eq=False)
class GO(PolicyPlacer, NetOverTypes, StoredLearner):
    """Placement, schedule and fusion by one network: GO, "Transferable Graph Optimizers for ML Compilers" (2020).

    As `gdp`, with the same attention for every task, recurrent across tasks: what was decided for a unit is embedded
    and added before the next task is decided, and in `rounds` every task is decided again in the light of all others.
    The schedule shifts a unit from its place on the critical path, fusion chooses a rule for each unit.

    Hyper-parameters: those of `gdp`, and rounds: of iterative refinement.
    """

    problems: ClassVar[tuple[str, ...]] = ("DevicePlacement", "GraphOptimization")
    name: ClassVar[str] = "go"

    samples: Annotated[int, Range(2, 2**16), Choices(16, 32, 64, 128)] = 32
    rounds: Annotated[int, Range(1, 16)] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_heads()

    def choices(self) -> dict[str, int]:
        """Of schedule and fusion."""
        from sysgym_agents.dataflow.gdp_train import CHOICES

        return dict(CHOICES)
