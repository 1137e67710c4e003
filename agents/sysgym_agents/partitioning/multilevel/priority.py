"""The multilevel partitioner whose searches take moves in a learnt order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.options import Choices, Range
from sysgym.core.options import Search as Tried
from sysgym.core.problem import Array, Solution
from sysgym.graphs.csr import Graph
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.learning.stepped import SteppedLearner
from sysgym_agents.partitioning.baselines import PARTITIONING
from sysgym_agents.partitioning.multilevel.fm import FM, Plan, searched

if TYPE_CHECKING:
    from sysgym.partitioning.problem import Partitioning

FEATURES = 5
TOLD = 5  # steps between two reports of a training


@dataclass(kw_only=True, eq=False)
class LearntFM(SteppedLearner):
    """`fm` whose searches move the node of the highest learnt priority first, instead of the largest gain.

    Priority of moving v from a to t = gain + w (t0 (c(v,a) + c(v,t)) / d(v) + t1 log(d(v) / w)
    + 10 t2 (load(a) - load(t)) / L_max + t3 moved(v) w / d(v) + t4 gain / d(v)), where c is the edge weight of v into a
    part, d its weighted degree, w the mean edge weight, moved(v) how many neighbours the search has moved. Only the
    order of moves is learnt: what a search keeps is said by true cuts, so answers are exact and feasible as `fm`'s.

    `fit` finds t by evolution strategies: the mean logarithm of the cut of one run on the training graphs, each with 2,
    4, 8 or 16 parts. Untrained, t is 0, and this is `fm`.

    Hyper-parameters:
        runs: steps of `solve`, if there is no budget. sigma: how far t is changed to feel the slope. learning_rate: of
        a step along it. pairs: changes of a step, each tried in both directions. batch: graphs that each is tried on.
    """

    name: ClassVar[str] = "learnt-fm"
    problems: ClassVar[tuple[str, ...]] = PARTITIONING
    needs_training: ClassVar[bool] = False
    default_budget: ClassVar[Budget] = Budget(cpu_seconds=600)
    on_devices: ClassVar[bool] = False  # five numbers and searches on the CPU
    sizes: ClassVar[tuple[str, ...]] = ()
    step: ClassVar[str] = "a run or a V-cycle, which answers one partition (in `fit`: a step of the strategy)"
    indivisible: ClassVar[str] = FM.indivisible

    runs: Annotated[int, Range(1, 10**9)] = 10
    sigma: Annotated[float, Range(1e-6, 100.0), Tried(0.1, 1.0, log=True)] = 0.4
    learning_rate: Annotated[float, Range(1e-6, 100.0), Tried(0.03, 1.0, log=True)] = 0.3
    pairs: Annotated[int, Range(1, 1000), Choices(3, 6, 12)] = 6
    batch: Annotated[int, Range(1, 10**5)] = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.theta: Array | None = None

    def fit(
        self, problem: Partitioning, instances: Sequence[Graph], rng: np.random.Generator, budget: Budget,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Learn from graphs, on from weights that are there already, or from `load_training`.

        `callback` hears the `loss`, the mean logarithm of the cut, and `grad_norm` every five steps.
        """
        from sysgym_agents.learning.evolution import Setting
        from sysgym_agents.learning.stepwise import MAX_ITERATIONS, resumed, run
        from sysgym_agents.partitioning.multilevel.priority_train import Evolution

        if not instances:
            raise UsageError(f"agent {self.name!r} needs at least one graph to train on.")
        clock, (resume, self._resume) = Clock(budget), (self._resume, None)
        planned = MAX_ITERATIONS if budget.steps is None else max(budget.steps, 1)
        total = planned if resume is None else resume.facts["iterations"]
        setting = Setting(self.learning_rate, self.sigma, self.pairs, self.batch, total)
        start = np.zeros(FEATURES) if self.theta is None else self.theta
        progress = Evolution(instances, problem.eps, setting, rng, start)
        resumed(progress, resume, self.name)
        self._progress = progress

        def told(row: dict[str, float]) -> bool:
            self.theta = progress.mean
            return callback is None or callback(row)

        run(progress, total, clock, told, TOLD)
        self.theta = progress.mean

    def solve(self, problem: Partitioning, instance: Graph, rng: np.random.Generator, budget: Budget) -> Solution:
        """The best feasible partition that the budget allows (one run at least)."""
        clock, theta = Clock(budget), np.zeros(FEATURES) if self.theta is None else self.theta
        return {"part": searched(problem, instance, theta, rng, clock, Plan(self.runs))}

    def weights(self) -> Mapping[str, Any] | None:
        """t, (5,) float64."""
        from sysgym_agents.learning.evolution import stored_weights

        return stored_weights(self.theta)

    def forget(self, rng: np.random.Generator) -> bool:
        """Draw t anew, of the same length in a random direction."""
        from sysgym_agents.learning.evolution import redrawn

        if self.theta is None:
            return False
        self.theta = redrawn(self.theta, rng)
        return True

    def restore(self, facts: Mapping[str, Any], weights: Mapping[str, Any], path: Path) -> None:
        """t."""
        from sysgym_agents.learning.evolution import numbers

        self.theta = numbers(weights, (FEATURES,), path)
