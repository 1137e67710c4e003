"""`surrogate`: a network that learnt on other workloads how long designs take, which says what to evaluate next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.options import Choices, Range, Search
from sysgym.core.problem import Array, Solution
from sysgym_agents.accelerator_design.searches import USUAL, import_solver
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.learning.devices import weights_of
from sysgym_agents.learning.stepped import SteppedLearner

if TYPE_CHECKING:
    from sysgym.accelerator_design.instance import Workloads
    from sysgym.accelerator_design.problem import AcceleratorDesign
    from sysgym_agents.accelerator_design.evaluations import Evaluations
    from sysgym_agents.accelerator_design.surrogate_net import SurrogateNet

TOLD = 50  # steps between two reports of a training
ROUNDS = 25  # of a search, each of which evaluates
ROUND = 20  # designs at least
LATE = 10.0  # how much being over the latency counts, in logarithms of the cost


@dataclass(kw_only=True, eq=False)
class Surrogate(SteppedLearner):
    """Predicts the time of every region of a workload on a design, and evaluates what it thinks best.

    `fit` learns from the given workloads and from `networks` others that are drawn (`mixed:seed=`), on designs that are
    drawn or that the genetic search looks at. `solve` searches on the network's predictions, which are no evaluations;
    each round evaluates some of what it found, some children and neighbours of the best evaluated designs, and
    corrects the predictions by a Gaussian process on what they got wrong. Area, power and the objective have closed
    forms. Without weights the process has to do without predictions. The weights are for the `schedule` and `fusion`
    (any or none) that they were trained with.

    Hyper-parameters:
        hidden, layers: width, and rounds of message passing over the workload.
        learning_rate: of Adam, after a warm-up, with cosine decay.
        iterations: gradient steps; an explicit budget of steps takes their place.
        networks: that are drawn beside the given ones. designs: that a search looks at on each.
    """

    name: ClassVar[str] = "surrogate"
    problems: ClassVar[tuple[str, ...]] = ("AcceleratorDesign",)
    default_instances: ClassVar[str] = "fast/train"
    default_budget: ClassVar[Budget] = Budget(seconds=120)
    step: ClassVar[str] = "an evaluation: a design whose cost the greedy model finds (in `fit`, a gradient step)"
    indivisible: ClassVar[str] = "a round of the search on the network, or a design that is judged exactly"

    hidden: Annotated[int, Range(1, 1024), Choices(48, 96, 192)] = 96
    layers: Annotated[int, Range(0, 8), Search(1, 3)] = 2
    learning_rate: Annotated[float, Range(1e-9, 1.0), Search(3e-4, 1e-2, log=True)] = 2e-3
    iterations: Annotated[int, Range(1, 10**9)] = 12_000
    networks: Annotated[int, Range(0, 100_000)] = 500
    designs: Annotated[int, Range(50, 100_000)] = 1200

    def __post_init__(self) -> None:
        super().__post_init__()
        self.net: SurrogateNet | None = None
        self.trained: tuple[int, bool] | None = None  # schedule, and whether something may stay in memory

    def fit(
        self, problem: AcceleratorDesign, instances: Sequence[Workloads], rng: np.random.Generator, budget: Budget,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Learn from workloads, on from weights that are there already, or from `load_training`.

        `callback` hears the loss and the error (of the logarithm of a batch's time) every 50 steps.
        """
        from sysgym_agents.accelerator_design.surrogate_train import Progress
        from sysgym_agents.learning.stepwise import resumed, run

        if not instances:
            raise UsageError("agent 'surrogate' needs at least one workload to train on.")
        if self.net is not None:
            self._check(problem)
        clock, (resume, self._resume) = Clock(budget), (self._resume, None)
        planned = self.iterations if budget.steps is None else max(budget.steps, 1)
        total = planned if resume is None else resume.facts["iterations"]
        progress = Progress(problem, instances, self._setting(total), rng, None if resume is not None else self.net)
        resumed(progress, resume, self.name)
        self._progress, self.net, self.trained = progress, progress.net, _kind(problem)
        run(progress, total, clock, callback, TOLD)

    def solve(
        self, problem: AcceleratorDesign, instance: Workloads, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The best evaluated design, by the judge; UsageError if the weights are for another model."""
        from sysgym_agents.accelerator_design.evaluations import Evaluations

        evaluate = Evaluations(problem, instance, budget, USUAL)
        self.search(evaluate, rng)
        return evaluate.answer()

    def search(self, evaluate: Evaluations, rng: np.random.Generator) -> None:
        """Evaluate designs until nothing more may be."""
        from sysgym_agents.accelerator_design.acquisition import Acquisition

        acquisition = Acquisition(evaluate, self._estimate(evaluate.problem, evaluate.instance), rng)
        count = ROUND if evaluate.most == 2**62 else max(ROUND, evaluate.most // ROUNDS)
        designs = acquisition.first(count)
        while not evaluate.spent or not evaluate.count:  # what was found first is evaluated, however late it is
            designs = designs[: evaluate.most - evaluate.count]
            acquisition.learn(designs, evaluate(designs))
            if not evaluate.spent:
                designs = acquisition.next(count)

    def _estimate(self, problem: AcceleratorDesign, instance: Workloads) -> Any:
        """Log of the cost that the network predicts of designs (n, 16); 0 without one."""
        from sysgym.accelerator_design.judge import expected_costs
        from sysgym_agents.accelerator_design.surrogate_net import Predictor

        if self.net is None:
            return lambda designs: np.zeros(len(designs))
        self._check(problem)
        predictor, rules, measured = Predictor(self.net, problem, instance), problem.rules, problem.measured(instance)

        def estimate(designs: Array) -> Array:
            seconds = predictor.seconds(designs)
            late = 0.0
            if rules.latency_ms is not None:
                late = LATE * np.log1p(np.maximum(seconds.max(axis=1) * 1e3 / rules.latency_ms - 1, 0))
            return np.asarray(np.log(expected_costs(rules, measured, designs, seconds)) + late)

        return estimate

    def _check(self, problem: AcceleratorDesign) -> None:
        """UsageError where the weights are for another model."""
        if self.trained != _kind(problem):
            said = [f"schedule={kind[0]} {'with' if kind[1] else 'without'} fusion" for kind in
                    (self.trained or (2, True), _kind(problem))]  # fmt: skip
            raise UsageError(f"these weights of agent 'surrogate' are for {said[0]}, not {said[1]}; train a new agent.")

    def _setting(self, iterations: int) -> Any:
        from sysgym_agents.accelerator_design.surrogate_train import Training

        return Training(self.hidden, self.layers, self.learning_rate, iterations, self.networks, self.designs)

    def prepare(self) -> None:
        """Import the network and the kernels."""
        super().prepare()
        from sysgym_agents.accelerator_design import acquisition, evaluations, surrogate_net

        assert acquisition is not None and evaluations is not None and surrogate_net is not None
        import_solver()

    def weights(self) -> Mapping[str, Any] | None:
        """Those of the network."""
        return None if self.net is None else weights_of(self.net)

    def facts(self) -> dict[str, Any]:
        """For which model the weights are."""
        return {"trained": None if self.trained is None else list(self.trained)}

    def forget(self, rng: np.random.Generator) -> bool:
        """Draw the network's weights anew."""
        import torch

        if self.net is None:
            return False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            self.net = self._empty()
        return True

    def restore(self, facts: Mapping[str, Any], weights: Mapping[str, Any], path: Path) -> None:
        """The network, and for which model it is."""
        from sysgym_agents.learning.weights import filled

        trained = facts.get("trained")
        if not isinstance(trained, list) or [type(word) for word in trained] != [int, bool]:
            raise UsageError(
                f"{path}/agent.json must say under 'trained' for which schedule its weights are and whether with "
                "fusion, as [2, true]; train and save the agent again."
            )
        self.trained = trained[0], trained[1]
        self.net = filled(self._empty, weights, path)

    def _empty(self) -> SurrogateNet:
        from sysgym_agents.accelerator_design.surrogate_net import SurrogateNet

        return SurrogateNet(self.hidden, self.layers)


def _kind(problem: AcceleratorDesign) -> tuple[int, bool]:
    """What the weights depend on."""
    return int(problem.schedule), problem.fusion != "none"
