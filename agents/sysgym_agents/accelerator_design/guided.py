"""`guided-genetic`: evolution in which a policy, learnt from good designs of other workloads, proposes values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from sysgym.accelerator_design.space import COUNTS
from sysgym.core.errors import UsageError
from sysgym.core.options import Choices, Range, Search
from sysgym.core.problem import Array, Solution
from sysgym_agents.accelerator_design.searches import USUAL, crossed, evolve, import_solver, random_designs
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.learning.devices import weights_of
from sysgym_agents.learning.stepped import SteppedLearner

if TYPE_CHECKING:
    from sysgym.accelerator_design.instance import Workloads
    from sysgym.accelerator_design.problem import AcceleratorDesign
    from sysgym_agents.accelerator_design.evaluations import Evaluations
    from sysgym_agents.accelerator_design.guided_train import PolicyNet

TOLD = 50  # steps between two reports of a training
PATIENCE = 30  # generations without progress, after which all but the best is drawn anew
MOST_REDRAWN = 8  # parameters of a child


@dataclass(kw_only=True, eq=False)
class GuidedGenetic(SteppedLearner):
    """A genetic search whose first designs, and half of whose children, are proposed by a policy.

    `fit` teaches the policy to fill in hidden parameters of the best designs that the genetic search finds for the
    given workloads and for `networks` others that are drawn. In `solve` it writes the first generation, and draws some
    parameters of a parent anew given the others, in half of the children; the rest are crossed and mutated. Without
    weights it is the genetic search alone.

    Hyper-parameters:
        hidden, layers: width, and rounds of message passing over the workload.
        learning_rate: of Adam, after a warm-up, with cosine decay.
        iterations: gradient steps; an explicit budget of steps takes their place.
        networks: that are drawn beside the given ones. designs: that a search looks at on each.
        population: designs of a generation.
    """

    name: ClassVar[str] = "guided-genetic"
    problems: ClassVar[tuple[str, ...]] = ("AcceleratorDesign",)
    default_instances: ClassVar[str] = "fast/train"
    default_budget: ClassVar[Budget] = Budget(seconds=60)
    step: ClassVar[str] = "an evaluation: a design whose cost the greedy model finds (in `fit`, a gradient step)"
    indivisible: ClassVar[str] = "a generation, or a design that is judged exactly"

    hidden: Annotated[int, Range(1, 1024), Choices(32, 64, 128)] = 64
    layers: Annotated[int, Range(0, 8), Search(1, 3)] = 2
    learning_rate: Annotated[float, Range(1e-9, 1.0), Search(3e-4, 1e-2, log=True)] = 2e-3
    iterations: Annotated[int, Range(1, 10**9)] = 3000
    networks: Annotated[int, Range(0, 100_000)] = 500
    designs: Annotated[int, Range(50, 100_000)] = 1200
    population: Annotated[int, Range(4, 10_000)] = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        self.net: PolicyNet | None = None

    def fit(
        self, problem: AcceleratorDesign, instances: Sequence[Workloads], rng: np.random.Generator, budget: Budget,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Learn from workloads, on from weights that are there already, or from `load_training`.

        `callback` hears the loss and how often a hidden value is told right, every 50 steps.
        """
        from sysgym_agents.accelerator_design.guided_train import Imitation
        from sysgym_agents.accelerator_design.surrogate_train import Training
        from sysgym_agents.learning.stepwise import resumed, run

        if not instances:
            raise UsageError("agent 'guided-genetic' needs at least one workload to train on.")
        clock, (resume, self._resume) = Clock(budget), (self._resume, None)
        planned = self.iterations if budget.steps is None else max(budget.steps, 1)
        total = planned if resume is None else resume.facts["iterations"]
        setting = Training(self.hidden, self.layers, self.learning_rate, total, self.networks, self.designs)
        progress = Imitation(problem, instances, setting, rng, None if resume is not None else self.net)
        resumed(progress, resume, self.name)
        self._progress, self.net = progress, progress.net
        run(progress, total, clock, callback, TOLD)

    def solve(
        self, problem: AcceleratorDesign, instance: Workloads, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The best evaluated design, by the judge."""
        from sysgym_agents.accelerator_design.evaluations import Evaluations

        evaluate = Evaluations(problem, instance, budget, USUAL)
        self.search(evaluate, rng)
        return evaluate.answer()

    def search(self, evaluate: Evaluations, rng: np.random.Generator) -> None:
        """Evaluate designs until nothing more may be."""
        people = random_designs(rng, self.population)
        if self.net is None:
            drawn = evaluate.fitting(people, rng)
            evolve(evaluate, rng, drawn, lambda them, count: crossed(them, rng, count), PATIENCE)
            return
        from sysgym_agents.accelerator_design.guided_train import Writer

        writer = Writer(self.net, evaluate.problem, evaluate.instance)

        def breed(parents: Array, count: int) -> Array:
            chosen = parents[rng.integers(0, len(parents), (count // 2, 3)).min(axis=1)]
            order = np.argsort(np.argsort(rng.random(chosen.shape), axis=1), axis=1)
            redrawn = writer.redraw(chosen, order < rng.integers(1, MOST_REDRAWN + 1, len(chosen))[:, None], rng)
            return np.concatenate([redrawn, crossed(parents, rng, count - len(redrawn))])

        written = writer.redraw(people, np.ones((self.population, len(COUNTS)), bool), rng)
        evolve(evaluate, rng, evaluate.fitting(written, rng), breed, PATIENCE)

    def prepare(self) -> None:
        """Import the network and the kernels."""
        super().prepare()
        from sysgym_agents.accelerator_design import evaluations, guided_train

        assert evaluations is not None and guided_train is not None
        import_solver()

    def weights(self) -> Mapping[str, Any] | None:
        """Those of the policy."""
        return None if self.net is None else weights_of(self.net)

    def forget(self, rng: np.random.Generator) -> bool:
        """Draw the policy's weights anew."""
        import torch

        if self.net is None:
            return False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            self.net = self._empty()
        return True

    def restore(self, facts: Mapping[str, Any], weights: Mapping[str, Any], path: Path) -> None:
        """The policy."""
        from sysgym_agents.learning.weights import filled

        self.net = filled(self._empty, weights, path)

    def _empty(self) -> PolicyNet:
        from sysgym_agents.accelerator_design.guided_train import PolicyNet

        return PolicyNet(self.hidden, self.layers)
