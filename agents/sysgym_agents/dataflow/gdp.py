"""GDP and GO: one network decides all units of a dataflow graph at once, and transfers to graphs it has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Solution
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.dataflow.baselines import pick, tasks_of
from sysgym_agents.dataflow.placement_learner import StoredLearner

if TYPE_CHECKING:
    from sysgym.dataflow.graphs.graph import DataflowGraph
    from sysgym_agents.dataflow.gdp_net import Example, PlacerNet
    from sysgym_agents.dataflow.gdp_train import Trainer

COOLING = 0.2  # how far learning rate and entropy fall in training on several graphs: sharp policies transfer badly
HASTE = 1.5  # of epochs and learning rate in the few large updates of fine-tuning
TRIED_UNITS = 100_000  # units of all trials together, so that one pass over a huge graph stays one pass


class GDP(StoredLearner):
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

    problems: tuple[str, ...] = ("DevicePlacement",)
    needs_training = False  # it can train on the graph itself
    default_instances = "seeds/train"
    default_budget = Budget(seconds=600)
    name = "gdp"
    whole: ClassVar = {
        "hidden": (4, 4096), "sage": (1, 64), "layers": (1, 64), "heads": (1, 64), "segment": (2, 2**16),
        "samples": (2, 2**16), "epochs": (1, 1000), "updates": (1, 10**7), "tune": (0, 10**7),
        "tune_samples": (2, 2**16), "trials": (0, 2**16),
    }  # fmt: skip
    real: ClassVar = {
        "learning_rate": (1e-8, 1.0), "clip": (1e-3, 10.0), "entropy": (0.0, 100.0), "explore": (0.0, 1e6),
        "imitate": (0.0, 100.0),
    }  # fmt: skip

    def __init__(
        self,
        *,
        hidden: int = 64,
        sage: int = 2,
        layers: int = 2,
        heads: int = 4,
        segment: int = 128,
        samples: int = 64,
        epochs: int = 4,
        learning_rate: float = 2e-3,
        clip: float = 0.2,
        entropy: float = 0.2,
        explore: float = 2.0,
        imitate: float = 0.3,
        updates: int = 300,
        tune: int = 0,
        tune_samples: int = 1024,
        trials: int = 64,
    ) -> None:
        super().__init__(
            hidden=hidden, sage=sage, layers=layers, heads=heads, segment=segment, samples=samples, epochs=epochs,
            learning_rate=learning_rate, clip=clip, entropy=entropy, explore=explore, imitate=imitate,
            updates=updates, tune=tune, tune_samples=tune_samples, trials=trials,
        )  # fmt: skip
        self._check_heads()

    def _check_heads(self) -> None:
        if self.hyper["hidden"] % self.hyper["heads"]:
            raise UsageError(f"hidden of agent {self.name!r} must be a multiple of heads, got {self.hyper['hidden']}.")

    def fit(
        self,
        problem: Any,
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
            self.net = self._fresh(self.vocabulary, seed)
        examples = [make_example(problem.work(graph), self.vocabulary) for graph in instances]
        trainer = self._trainer(deepcopy(self.net), problem, examples, seed)
        trainer.average = self.net
        trainer.cooling = 1.0 if len(examples) == 1 else COOLING
        self._run(trainer, Clock(budget), callback)

    def solve(self, problem: Any, instance: DataflowGraph, rng: np.random.Generator, budget: Budget) -> Solution:
        """The best decision of a training on the graph, or of a trained network's pass, samples and fine-tuning."""
        from sysgym_agents.dataflow.gdp_net import make_example
        from sysgym_agents.dataflow.gdp_train import arrays_of

        self._check(problem)
        clock, seed = Clock(budget), int(rng.integers(2**31))
        words = self.vocabulary if self.net is not None else tuple(sorted(set(instance.op_types)))
        example = make_example(problem.work(instance), words)
        if self.net is None:
            trainer = self._trainer(self._fresh(words, seed), problem, [example], seed)
            self._run(trainer, clock, None)
        else:
            trainer = self._trainer(deepcopy(self.net), problem, [example], seed, self.hyper["tune_samples"])
            trainer.answer(0, min(self.hyper["trials"], TRIED_UNITS // example.work.units.count))
            for update in range(self.hyper["tune"]):
                if clock.spent(trainer.simulations):
                    break
                trainer.update(update / self.hyper["tune"], clock.spent)
        trainer.answer(0, 0)
        best = trainer.best[0]
        assert best is not None
        tasks = tasks_of(problem)
        return pick(tasks, arrays_of(example, tasks, best.choice))

    def _check(self, problem: Any) -> None:
        """UsageError if the problem asks for tasks that the agent has no head for."""
        for task in tasks_of(problem):
            if task != "placement" and task not in self._choices():
                raise UsageError(f"agent {self.name!r} decides placements only, not {task}; use agent 'go'.")

    def make_net(self, vocabulary: int) -> PlacerNet:
        """Encoder, attention and heads."""
        from sysgym_agents.dataflow.gdp_net import PlacerNet

        hyper = self.hyper
        return PlacerNet(vocabulary, hyper["hidden"], hyper["sage"], hyper["layers"], hyper["heads"], hyper["segment"],
                         self._choices())  # fmt: skip

    def _choices(self) -> dict[str, int]:
        return {}

    def _trainer(
        self, net: PlacerNet, problem: Any, examples: Sequence[Example], seed: int, samples: int | None = None
    ) -> Trainer:
        from sysgym_agents.dataflow.gdp_train import Ppo, Trainer

        hyper = self.hyper
        haste = 1.0 if samples is None else HASTE
        epochs, rate = round(haste * hyper["epochs"]), haste * hyper["learning_rate"]
        ppo = Ppo(samples or hyper["samples"], epochs, rate, hyper["clip"], hyper["entropy"], hyper.get("rounds", 1),
                  hyper["explore"], hyper["imitate"])  # fmt: skip
        return Trainer(net, examples, tasks_of(problem), ppo, seed)

    def _run(self, trainer: Trainer, clock: Clock, callback: Callback | None) -> None:
        """Update until the budget is spent (without one, `updates` times) or the callback says stop; at least once."""
        budget, planned = clock.budget, float(self.hyper["updates"])
        if budget.steps is not None:
            planned = max(1, budget.steps // self.hyper["samples"])
        elif budget.seconds is not None:
            planned = math.inf
        while True:
            by_time = clock.seconds / budget.seconds if budget.seconds else 0.0
            trainer.update(trainer.cooling * min(1.0, max(by_time, trainer.updates / planned)), clock.spent)
            last = trainer.updates >= planned or clock.spent()
            row = {"steps": float(trainer.simulations), "seconds": clock.seconds, **trainer.metrics}
            if (callback is not None and not callback(row)) or last:
                return


class GO(GDP):
    """Placement, schedule and fusion by one network: GO, "Transferable Graph Optimizers for ML Compilers" (2020).

    As `gdp`, with the same attention for every task, recurrent across tasks: what was decided for a unit is embedded
    and added before the next task is decided, and in `rounds` every task is decided again in the light of all others.
    The schedule shifts a unit from its place on the critical path, fusion chooses a rule for each unit.

    Hyper-parameters: those of `gdp`, and rounds: of iterative refinement.
    """

    problems = ("DevicePlacement", "GraphOptimization")
    name = "go"
    whole: ClassVar = {**GDP.whole, "rounds": (1, 16)}

    def __init__(
        self,
        *,
        hidden: int = 64,
        sage: int = 2,
        layers: int = 2,
        heads: int = 4,
        segment: int = 128,
        samples: int = 32,
        epochs: int = 4,
        learning_rate: float = 2e-3,
        clip: float = 0.2,
        entropy: float = 0.2,
        explore: float = 2.0,
        imitate: float = 0.3,
        rounds: int = 2,
        updates: int = 300,
        tune: int = 0,
        tune_samples: int = 1024,
        trials: int = 64,
    ) -> None:
        StoredLearner.__init__(
            self,
            hidden=hidden, sage=sage, layers=layers, heads=heads, segment=segment, samples=samples, epochs=epochs,
            learning_rate=learning_rate, clip=clip, entropy=entropy, explore=explore, imitate=imitate,
            rounds=rounds, updates=updates, tune=tune, tune_samples=tune_samples, trials=trials,
        )  # fmt: skip
        self._check_heads()

    def _choices(self) -> dict[str, int]:
        from sysgym_agents.dataflow.gdp_train import CHOICES

        return dict(CHOICES)
