"""GAP: a graph neural network that learns to partition graphs without labels (Nazi et al., arXiv 1903.00614)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.options import Choices, Range, Search
from sysgym.core.problem import Array, Solution
from sysgym.graphs.csr import Graph
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.learning.devices import device_for, placed, weights_of
from sysgym_agents.learning.learner import StoredLearner, spend

if TYPE_CHECKING:
    from sysgym.partitioning.problem import Partitioning
    from sysgym_agents.learning.snapshot import Snapshot
    from sysgym_agents.partitioning.gap_model import Example, GapNet, Progress, Training

MAX_PARTS, MAX_TRIALS, MAX_ITERATIONS = 1024, 1000, 10**9
SOLVE_SHARE = 0.7  # of the seconds of `solve` that a fit on the instance itself may take


def _check_graph(graph: Graph) -> None:
    if graph.nodes == 0:
        raise UsageError(f"{graph.name} has no nodes; agent 'gap' needs a graph with at least one.")


@dataclass(kw_only=True, eq=False)
class GAP(StoredLearner):
    """Learns node-to-part probabilities by minimising the expected normalised cut and the expected imbalance.

    Trained on a family (`fit`), it partitions unseen graphs of any size by forward passes alone. Without weights,
    `solve` first trains on the instance itself, the paper's original use. It can split into as many parts as it was
    trained for. A `fit` with weights goes on from them.

    Hyper-parameters:
        hidden, layers: width and number of GraphSAGE layers.
        features: Laplacian eigenvectors a node; 0 = four, or more where many parts need more (ceil(log2 k) + 2).
        learning_rate, balance: of Adam; weight of the expected imbalance in the loss.
        iterations: gradient steps on a family. solve_iterations: those on a single instance. An explicit budget of
            steps takes their place.
        trials: initialisations that compete in the first steps.
        level: Sinkhorn rounds that even out expected part weights inside the network (0 = as published).
        even: rounds that even out the weights of the argmax parts, by one constant a part (0 = plain argmax).
        flips: partition all sign flips of the eigenvectors and keep the one of the least loss.
        repair: rebalance to the limit and refine with Fiduccia-Mattheyses, after the argmax.
    """

    name: ClassVar[str] = "gap"
    problems: ClassVar[tuple[str, ...]] = ("Partitioning",)
    needs_training: ClassVar[bool] = False  # it can fit the instance itself
    default_instances: ClassVar[str] = "delaunay/train"
    step: ClassVar[str] = (
        "a gradient step: one pass forward and back over one graph, whose expected cut and imbalance are computed"
    )
    indivisible: ClassVar[str] = "the eigenvectors of the graph, a gradient step, a forward pass, or a pass of repair"

    hidden: Annotated[int, Range(1, 1024), Choices(32, 64, 128)] = 64
    layers: Annotated[int, Range(0, 32), Search(1, 3)] = 2
    features: Annotated[int, Range(0, 64)] = 0
    learning_rate: Annotated[float, Range(1e-12, 1e3), Search(1e-3, 3e-2, log=True)] = 5e-3
    balance: Annotated[float, Range(0.0, 1e9), Search(0.5, 10.0, log=True)] = 2.0
    iterations: Annotated[int, Range(1, MAX_ITERATIONS)] = 2400
    solve_iterations: Annotated[int, Range(1, MAX_ITERATIONS)] = 400
    trials: Annotated[int, Range(1, MAX_TRIALS)] = 3
    level: Annotated[int, Range(0, 10**4)] = 10
    even: Annotated[int, Range(0, 10**5)] = 40
    flips: bool = True
    repair: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parts: int | None = None  # k of the weights; None until they exist
        self.net: GapNet | None = None
        self._progress: Progress | None = None  # of the last fit
        self._resume: Snapshot | None = None  # for the next fit
        self._last: tuple[Graph, int, Example] | None = None  # solved, with so many eigenvectors

    def prepare(self) -> None:
        """Import the network, and what finds eigenvectors."""
        super().prepare()
        import scipy.sparse.linalg  # noqa: F401

        from sysgym_agents.partitioning import gap_model, partition_kernels

        assert gap_model is not None and partition_kernels is not None

    def fit(
        self,
        problem: Partitioning,
        instances: Sequence[Graph],
        rng: np.random.Generator,
        budget: Budget,
        callback: Callback | None = None,
    ) -> None:
        """Train on a family for the problem's k, on from weights that are there already, or from `load_training`.

        `callback` hears loss, ncut and imbalance every 20 steps and after the last one.
        """
        if not instances:
            raise UsageError("agent 'gap' needs at least one graph to train on.")
        if self.net is not None and self.parts != problem.k:
            raise UsageError(
                f"these weights of agent 'gap' split into {self.parts} parts, training them on for {problem.k} is not "
                f"possible; use k={self.parts}, or train a new agent."
            )
        setting = self._setting(problem.k, self.iterations, augment=True)

        def publish(net: GapNet) -> None:
            self.net, self.parts = net, problem.k

        resume, self._resume = self._resume, None
        publish(self._train(setting, instances, rng, budget, callback, publish, resume))

    def solve(self, problem: Partitioning, instance: Graph, rng: np.random.Generator, budget: Budget) -> Solution:
        """A partition by forward passes (after a fit on the instance if there are no weights), then repair."""
        from sysgym_agents.partitioning.baselines import from_nothing, keep_fixed, rebalance_and_refine

        from_nothing("gap", instance)
        clock, self._last = Clock(budget), None  # nothing that an earlier call found out counts for this one
        net = self.net or self._fit_one(problem, instance, rng, budget)
        part = self._partition(net, problem, instance, clock)
        if self.repair:
            part = rebalance_and_refine(instance, part, problem.k, problem.limit(instance), clock)
        return {"part": keep_fixed(instance, part, problem.k)}

    def predict(self, problem: Partitioning, instance: Graph) -> Array:
        """The argmax partition before repair, (N,) int32; UsageError if there are no weights."""
        if self.net is None:
            raise UsageError("agent 'gap' has no weights to predict with; call fit or load first.")
        return self._partition(self.net, problem, instance, Clock(Budget()))

    def weights(self) -> Mapping[str, Any] | None:
        """Those of the network."""
        return None if self.net is None else weights_of(self.net)

    def facts(self) -> dict[str, Any]:
        """For how many parts the weights are."""
        return {"parts": self.parts}

    def forget(self, rng: np.random.Generator) -> bool:
        """Draw the network's weights anew, for as many parts."""
        import torch

        if self.parts is None:
            return False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            self.net = self._empty_net(self.parts)
        return True

    def restore(self, facts: Mapping[str, Any], weights: Mapping[str, Any], path: Path) -> None:
        """Network and number of parts."""
        from sysgym_agents.learning.weights import filled

        parts = facts.get("parts")
        if type(parts) is not int or not 1 <= parts <= MAX_PARTS:
            raise UsageError(
                f"{path}/agent.json must say under 'parts' for how many its weights are, 1 to {MAX_PARTS}; train and "
                "save the agent again."
            )
        self.parts, self.net = parts, filled(lambda: self._empty_net(parts), weights, path)

    def save_training(self, path: Path) -> bool:
        """Write the state of the last `fit` into a folder; may be called from its callback. False if there was none."""
        if self._progress is not None:
            self._progress.snapshot().save(path)
        return self._progress is not None

    def load_training(self, path: Path, budget: Budget) -> bool:
        """Let the next `fit`, on the same graphs with this budget, go on exactly where `save_training` was called.

        False if the budget is not what was left: its learning rates follow another schedule, from the loaded weights.
        """
        from sysgym_agents.learning.snapshot import Snapshot

        found = Snapshot.load(path)
        total, done, losses = (found.facts.get(key) for key in ("iterations", "done", "losses"))
        if not isinstance(total, int) or not isinstance(done, int) or not isinstance(losses, list):
            raise UsageError(f"{path} holds the state of another training than that of agent 'gap'; train anew.")
        if not 0 <= done <= total <= MAX_ITERATIONS or len(losses) > MAX_TRIALS:
            raise UsageError(f"{path} says that {done} of {total} iterations are done, which cannot be; train anew.")
        left = total - done
        fits = left > 0 and budget.steps in (None, left)
        self._resume = found if fits else None
        return fits

    def _features(self, k: int) -> int:
        return int(self.features) or max(4, int(np.ceil(np.log2(k))) + 2)

    def _empty_net(self, k: int) -> GapNet:
        import torch

        from sysgym_agents.partitioning.gap_model import GapNet

        with torch.random.fork_rng(devices=[]):
            return GapNet(self._features(k), self.hidden, self.layers, k, self.level)

    def _setting(self, k: int, iterations: int, augment: bool) -> Training:
        from sysgym_agents.partitioning.gap_model import Training

        return Training(
            hidden=self.hidden, layers=self.layers, parts=k, rounds=self.level, learning_rate=self.learning_rate,
            balance=self.balance, iterations=iterations, trials=self.trials, augment=augment,
        )  # fmt: skip

    def _fit_one(self, problem: Partitioning, instance: Graph, rng: np.random.Generator, budget: Budget) -> GapNet:
        """A network for this instance and k only; the agent keeps none of it."""
        setting = self._setting(problem.k, self.solve_iterations, augment=False)
        return self._train(setting, [instance], rng, budget.share(SOLVE_SHARE)._replace(steps=budget.steps))

    def _train(
        self,
        setting: Training,
        instances: Sequence[Graph],
        rng: np.random.Generator,
        budget: Budget,
        callback: Callback | None = None,
        publish: Callable[[GapNet], None] | None = None,
        resume: Snapshot | None = None,
    ) -> GapNet:
        """Train within the budget. Its steps are the schedule's; seconds cut it short, and then results may vary."""
        from sysgym_agents.partitioning.gap_model import Progress, make_example

        clock = Clock(budget)
        if resume is not None:
            facts = resume.facts
            setting = setting._replace(iterations=facts["iterations"], trials=max(len(facts["losses"]), 1))
        elif budget.steps is not None:
            setting = setting._replace(iterations=max(budget.steps, 1))
        for graph in instances:
            _check_graph(graph)
        count = self._features(setting.parts)
        if publish is None:  # `solve` needs it again
            examples = [self._example(graph, setting.parts) for graph in instances]
        else:
            examples = [make_example(graph, count) for graph in instances]
        device = device_for(max(graph.nodes for graph in instances))
        examples = [example.to(device) for example in examples]
        start = None if publish is None or resume is not None else self.net
        progress = Progress(examples, setting, rng, start)
        if resume is not None:
            try:
                progress.restore(resume)
            except Exception as error:  # it may be anything
                raise UsageError(
                    f"the saved state of the training does not fit this agent and problem ({error}); train anew."
                ) from error
        first = progress.done

        def step(share: float) -> dict[str, float]:
            loss, ncut, imbalance = progress.step()
            return {"steps": progress.done - first, "loss": loss, "ncut": ncut, "imbalance": imbalance}

        def report(row: Mapping[str, float]) -> bool:
            last = progress.done >= setting.iterations or clock.spent(int(row["steps"]))
            if callback is None or (progress.done % 20 and not last):
                return True
            if publish is not None:
                publish(progress.net)  # so that the callback can save it
                self._progress = progress
            return callback(dict(row))

        left = setting.iterations - first
        if left > 0:
            spend(clock, left, step, report)
        if publish is not None:
            self._progress = progress
        return progress.net

    def _example(self, graph: Graph, k: int) -> Example:
        """A graph as tensors; the last one is kept, its eigenvectors take long."""
        from sysgym_agents.partitioning.gap_model import make_example

        count = self._features(k)
        if self._last is None or self._last[0] is not graph or self._last[1] != count:
            self._last = graph, count, make_example(graph, count)
        return self._last[2]

    def _partition(self, net: GapNet, problem: Partitioning, instance: Graph, clock: Clock) -> Array:
        from sysgym_agents.partitioning.gap_model import best_partition

        if net.out.out_features != problem.k:
            raise UsageError(
                f"these weights of agent 'gap' split into {net.out.out_features} parts, not {problem.k}; "
                f"train with k={problem.k}."
            )
        _check_graph(instance)
        device = device_for(instance.nodes)
        net, example = placed(net, device), self._example(instance, problem.k).to(device)
        return best_partition(net, example, (self.balance, self.even, self.flips), clock.spent)
