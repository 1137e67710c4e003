"""The annealer whose moves a small network weighs, trained on what moves were worth on annealing runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.options import Choices, Range, Search
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.dataflow.annealing import DeviceAnnealer, check_scheduled
from sysgym_agents.dataflow.baselines import PROBLEMS
from sysgym_agents.learning.learner import StoredLearner, planned_steps

if TYPE_CHECKING:
    from sysgym.dataflow.graphs.graph import DataflowGraph
    from sysgym.dataflow.problem import GraphProblem
    from sysgym_agents.dataflow.anneal.perceptron import Perceptron

TOLD = 50  # placements between two reports
LABELS = 0.8  # share of the budget of `fit` in which labels are made


@dataclass(kw_only=True, eq=False)
class LearntAnneal(StoredLearner):
    """`sa-device` whose relocations, stretches and moves of layers are drawn by what a perceptron expects of them.

    It sees 24 features of a group and a device in the schedule of the present placement (slack, loads, transfers), and
    scores the three kinds of moves; a move is drawn by exp(sharpness * score), one in five evenly. `fit` simulates
    random moves from placements on annealing runs, and learns to tell the ones that save most from the others of their
    placement. Only which moves are tried is learnt: what is answered was simulated, as by `sa-device`.

    Hyper-parameters:
        steps, hot, cold, groups, metis: of `sa-device`.
        hidden: width of a perceptron. members: perceptrons whose scores are averaged. sharpness: of the draws.
        power: of the saving that a label is in proportion to; 0 counts all that save alike.
        further: moves tried after each labelled one, those that help being kept, before it is judged.
        moves: labelled moves of one placement. learning_rate: of Adam. updates: of each member, 32 placements each.
        labels: simulations of `fit`, where the budget names no limit.
    """

    name: ClassVar[str] = "learnt-anneal"
    problems: ClassVar[tuple[str, ...]] = PROBLEMS
    default_budget: ClassVar[Budget] = Budget(cpu_seconds=120)
    on_devices: ClassVar[bool] = False  # a small perceptron and searches on the CPU
    sizes: ClassVar[tuple[str, ...]] = ("hidden", "members")
    step: ClassVar[str] = DeviceAnnealer.step
    indivisible: ClassVar[str] = DeviceAnnealer.indivisible

    steps: Annotated[int, Range(1, 10**12)] = 4000
    hot: Annotated[float, Range(1e-300, 1e9)] = 0.005
    cold: Annotated[float, Range(1e-300, 1e9)] = 0.0005
    groups: Annotated[int, Range(1, 10**9)] = 64
    metis: bool = True
    hidden: Annotated[int, Range(1, 4096)] = 24
    members: Annotated[int, Range(1, 100)] = 4
    sharpness: Annotated[float, Range(0.0, 100.0), Choices(2.0, 4.0, 6.0)] = 6.0
    power: Annotated[float, Range(0.0, 10.0), Choices(0.0, 0.5, 1.0, 1.5)] = 1.0
    further: Annotated[int, Range(0, 1000)] = 0
    moves: Annotated[int, Range(2, 10**5)] = 64
    learning_rate: Annotated[float, Range(1e-6, 10.0), Search(1e-3, 1e-1, log=True)] = 6e-3
    updates: Annotated[int, Range(1, 10**7)] = 2000
    labels: Annotated[int, Range(1, 10**12)] = 600_000

    def __post_init__(self) -> None:
        super().__post_init__()
        self.net: Perceptron | None = None
        self._annealer()  # checks what both have

    def _annealer(self) -> DeviceAnnealer:
        return DeviceAnnealer(steps=self.steps, hot=self.hot, cold=self.cold, groups=self.groups, metis=self.metis)

    def fit(
        self, problem: GraphProblem, instances: Sequence[DataflowGraph], rng: np.random.Generator, budget: Budget,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Make labels on graphs, then train on them all, anew. A budget's steps count simulations.

        `callback` hears `steps` while labels are made; then `loss`, the cross entropy, with them.
        """
        from sysgym_agents.dataflow.anneal.labels import Samples, Wish, sampled
        from sysgym_agents.dataflow.anneal.perceptron import fresh, merged, trained
        from sysgym_agents.dataflow.anneal.schedule import FEATURES

        clock, limit, judged = Clock(budget), planned_steps(budget, self.labels), 0
        usable = [graph for graph in instances if problem.job(graph).devices > 1]
        if not usable:
            raise UsageError(f"agent {self.name!r} needs at least one graph of two devices or more to train on.")
        check_scheduled(problem.job(usable[0]))
        found: list[Samples] = []
        wish = Wish(self.groups, self.moves, self.further)
        if self.net is None:
            inputs = len(FEATURES)
            self.net = fresh(self.hidden * self.members, np.zeros(inputs, np.float32), np.ones(inputs, np.float32), rng)
        over = False
        while not over:
            job = problem.job(usable[int(rng.integers(len(usable)))])
            sample, count = sampled(job, wish, int(min(limit - judged, 2**62)), rng)
            judged += count
            found.append(sample)
            over = judged >= limit or clock.share >= LABELS
            heard = callback if over or len(found) % TOLD == 0 else None
            if heard is not None and not heard({"steps": float(judged), "seconds": clock.seconds}):
                return

        done: list[Perceptron] = []

        def told(loss: float, net: Perceptron) -> bool:
            self.net = merged([*done, *[net] * (self.members - len(done))])
            row = {"steps": float(judged), "seconds": clock.seconds, "loss": loss}
            return (callback is None or callback(row)) and not clock.spent()

        how = (self.hidden, self.power, self.learning_rate, self.updates)
        for seed in rng.integers(2**31, size=self.members).tolist():
            net, finished = trained(found, how, seed, told)
            done.append(net)
            if not finished:
                break
        self.net = merged([done[i % len(done)] for i in range(self.members)])

    def solve(
        self, problem: GraphProblem, instance: DataflowGraph, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The best decision found, at least the expert's; the budget counts simulations. Untrained: even draws."""
        from sysgym_agents.dataflow.anneal.perceptron import proposer

        propose = None if self.net is None else proposer(self.net, self.sharpness)
        return self._annealer().annealed(problem, instance, rng, budget, propose)

    def weights(self) -> Mapping[str, Any] | None:
        """Layers, and the mean and deviation of what they are given."""
        import torch

        return None if self.net is None else {key: torch.from_numpy(np.array(value))
                                              for key, value in self.net._asdict().items()}  # fmt: skip

    def forget(self, rng: np.random.Generator) -> bool:
        """Draw the layers anew; how inputs are scaled stays."""
        from sysgym_agents.dataflow.anneal.perceptron import fresh

        if self.net is None:
            return False
        self.net = fresh(self.hidden * self.members, self.net.mean, self.net.deviation, rng)
        return True

    def restore(self, facts: Mapping[str, Any], weights: Mapping[str, Any], path: Path) -> None:
        """The perceptron; UsageError if it does not fit."""
        from sysgym_agents.dataflow.anneal.perceptron import Perceptron, fresh

        blank = np.zeros(0, np.float32)
        wanted = fresh(self.hidden * self.members, blank, blank, np.random.default_rng(0))
        shapes = {key: np.shape(value) for key, value in wanted._asdict().items()}
        shapes |= dict.fromkeys(("mean", "deviation"), (np.shape(wanted.first)[0],))
        if {key: tuple(value.shape) for key, value in weights.items()} != shapes:
            raise UsageError(f"{path}: model.safetensors does not fit agent.json; save the agent again.")
        given: dict[str, Array] = {key: value.float().numpy().copy() for key, value in weights.items()}
        self.net = Perceptron(**given)
