"""List scheduling that learns where units go: a placement in one pass over graphs that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.options import Choices, Range, Search
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.learning.stepped import SteppedLearner

if TYPE_CHECKING:
    from sysgym.dataflow.graphs.graph import DataflowGraph
    from sysgym.dataflow.problem import GraphProblem
    from sysgym_agents.dataflow.learnt_list.search import Search as Placing

TOLD = 5  # steps between two reports of a training


@dataclass(kw_only=True, eq=False)
class LearntList(SteppedLearner):
    """HEFT over groups of operators whose choice of a device is a learnt score instead of the earliest finish.

    Operators are taken along the critical path; when the first one of a group comes, the group goes to the device of
    the highest score, a linear rule beside a perceptron in 13 features of the device (how much later the group would
    end, loads, links, layer, memory, see `rule_kernels`) and 9 of the group. `fit` finds the 397 numbers of each of a
    few rules by evolution strategies: the mean logarithm of the time of one placement. They know nothing of names or
    sizes, so that they fit any graph and any number of devices. `solve` simulates the rules' placements, then samples
    by noise on their scores, then moves regions of the best placement, with even odds. Untrained, the score is the
    earliest finish: HEFT on groups.

    Hyper-parameters:
        rules: that are trained in turn, apart from each other; the best one places first.
        sigma, learning_rate: how far the numbers are changed to feel the slope; of Adam. pairs, batch: changes of a
        step, each tried in both directions; graphs that they are tried on.
        generated: random layered networks that are trained on beside the graphs, against over-fitting.
        trials: simulations of `solve`, where the budget names no limit. samples: placements after the first one and
        before moves, those of the other rules and then by noise.
        starts: "rule" (nothing but its own placements) or "heuristics" (the starts of `sa-device`, then each rule's).
    """

    name: ClassVar[str] = "learnt-list"
    problems: ClassVar[tuple[str, ...]] = ("DevicePlacement",)
    needs_training: ClassVar[bool] = False  # untrained it is HEFT on groups
    default_instances: ClassVar[str] = "configurations/train"
    default_budget: ClassVar[Budget] = Budget(cpu_seconds=180)
    on_devices: ClassVar[bool] = False  # 397 numbers and simulations on the CPU
    sizes: ClassVar[tuple[str, ...]] = ("rules",)
    step: ClassVar[str] = "a simulated placement (in `fit`: a step of the strategy)"
    indivisible: ClassVar[str] = "a simulation, a pass of the rule, or a classical placement of the whole graph"

    rules: Annotated[int, Range(1, 1000), Choices(1, 2, 4)] = 4
    sigma: Annotated[float, Range(1e-6, 100.0), Search(0.03, 0.5, log=True)] = 0.1
    learning_rate: Annotated[float, Range(1e-6, 100.0), Search(0.01, 0.1, log=True)] = 0.03
    pairs: Annotated[int, Range(1, 1000), Choices(8, 16, 32)] = 16
    batch: Annotated[int, Range(1, 10**5)] = 40
    generated: Annotated[int, Range(0, 10**4)] = 80
    trials: Annotated[int, Range(1, 10**9)] = 65
    samples: Annotated[int, Range(0, 10**9)] = 15
    starts: Literal["rule", "heuristics"] = "rule"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.theta: Array | None = None  # (rules, 397)

    def prepare(self) -> None:
        """Import the kernels."""
        super().prepare()
        from sysgym_agents.dataflow.learnt_list import search

        assert search is not None

    def fit(
        self, problem: GraphProblem, instances: Sequence[DataflowGraph], rng: np.random.Generator, budget: Budget,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Learn from graphs, on from weights that are there already, or from `load_training`.

        `callback` hears every five steps `cost_ratio` (geometric mean over the expert's, of the changed rules), `loss`,
        its logarithm, and `grad_norm`.
        """
        from sysgym_agents.dataflow.learnt_list.state import beginning, read
        from sysgym_agents.dataflow.learnt_list.training import Evolution, layered
        from sysgym_agents.learning.evolution import Setting
        from sysgym_agents.learning.stepwise import MAX_ITERATIONS, resumed, run

        if not instances:
            raise UsageError(f"agent {self.name!r} needs at least one graph to train on.")
        clock, (resume, self._resume) = Clock(budget), (self._resume, None)
        planned = MAX_ITERATIONS if budget.steps is None else max(budget.steps, 1)
        total = planned if resume is None else resume.facts["iterations"]
        setting = Setting(self.learning_rate, self.sigma, self.pairs, self.batch, total)
        seed = int(rng.integers(2**31)) if resume is None else resume.facts["seed"]
        start = beginning(self.rules, rng) if self.theta is None else self.theta
        graphs = [*instances, *layered(self.generated, np.random.default_rng(seed))]
        progress = Evolution([read(problem.work(graph)) for graph in graphs], setting, seed, start)
        resumed(progress, resume, self.name)
        self._progress = progress

        def told(row: dict[str, float]) -> bool:
            self.theta = progress.rules
            return callback is None or callback(row)

        run(progress, total, clock, told, TOLD)
        self.theta = progress.rules

    def solve(
        self, problem: GraphProblem, instance: DataflowGraph, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The best placement of those simulated."""
        from sysgym_agents.dataflow.learnt_list.search import Search as Placing
        from sysgym_agents.dataflow.learnt_list.state import earliest_finish, read

        clock = Clock(budget)
        limit = budget.steps if budget.steps is not None else (math.inf if budget.timed else self.trials)
        rules = earliest_finish()[None] if self.theta is None else self.theta
        search, samples = Placing(read(problem.work(instance)), rules, rng, limit, clock.spent), self.samples
        if self.starts == "heuristics":
            self._classical(search, clock)
            samples = min(samples, len(rules) - 1)
        search.place(samples)
        search.move()
        assert search.best is not None
        return {"placement": search.best.placement}

    def _classical(self, search: Placing, clock: Clock) -> None:
        """Simulate the starts of `sa-device` in its order, cheap ones first."""
        from sysgym_agents.dataflow.anneal.starts import Pace, starts_of

        pace = Pace(clock)
        for start in starts_of(search.given.job, search.rng, metis=True):
            if search.spent() or not pace.allows(start):
                return
            placement = np.asarray(start.make(), np.int32)
            before = clock.share
            search.offer(placement)
            pace.measure(before)

    def weights(self) -> Mapping[str, Any] | None:
        """The numbers, (rules, 397) float64."""
        from sysgym_agents.learning.evolution import stored_weights

        return stored_weights(self.theta)

    def forget(self, rng: np.random.Generator) -> bool:
        """Draw the numbers anew, of the same length in a random direction."""
        from sysgym_agents.learning.evolution import redrawn

        if self.theta is None:
            return False
        self.theta = redrawn(self.theta, rng)
        return True

    def restore(self, facts: Mapping[str, Any], weights: Mapping[str, Any], path: Path) -> None:
        """The numbers."""
        from sysgym_agents.dataflow.learnt_list.rule_kernels import NUMBERS
        from sysgym_agents.learning.evolution import numbers

        self.theta = numbers(weights, (self.rules, NUMBERS), path)
