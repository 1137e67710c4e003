"""GAP: a graph neural network that learns to partition graphs without labels (Nazi et al., arXiv 1903.00614)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    from sysgym_agents.partitioning.gap_model import GapNet
    from sysgym_agents.partitioning.gap_train import Progress, Training

MAX_PARTS, MAX_TRIALS, MAX_ITERATIONS = 1024, 1000, 10**9
SOLVE_SHARE = 0.7  # of the seconds of `solve` that a fit on the instance itself may take


def _check_graph(graph: Graph) -> None:
    if graph.nodes == 0:
        raise UsageError(f"{graph.name} has no nodes; agent 'gap' needs a graph with at least one.")


@dataclass(kw_only=True, eq=False)
class GAP(StoredLearner):
    """Learns node-to-part probabilities by minimising the expected normalised cut and the expected imbalance.

    One network splits any graph into any number of parts: each part is an anchor in the spectral embedding, the network
    sees the distances to the anchors and is the same for each of them, so that neither signs of eigenvectors nor names
    of parts matter. Trained on a family (`fit`), it partitions unseen graphs by forward passes alone: a pass on a
    coarse graph of the instance, whose answer is repaired on every level up to the instance, and again with other
    clusters and anchors while a limit of time allows. Without weights, `solve` first trains on the instance
    itself, the paper's original use. A `fit` with weights goes on from them.

    Hyper-parameters:
        hidden, layers: width and number of GraphSAGE layers.
        ks: numbers of parts, commas between them, one of which a step of training draws; the problem's k is one more.
        features: Laplacian eigenvectors a node; 0 = as many as there are parts, 4 to 16.
        attributes: attributes of each node that the network reads, such as its operation; 0 = none.
        learning_rate, balance: of Adam; weight of the expected imbalance in the loss.
        iterations: gradient steps on a family. solve_iterations: those on a single instance. An explicit budget of
            steps takes their place.
        trials: initialisations that compete in the first steps.
        level: Sinkhorn rounds that even out expected part weights inside the network (0 = as published).
        even: rounds that even out the weights of the argmax parts, by one constant a part (0 = plain argmax).
        coarsest: nodes of the coarse graph that is partitioned, 30 a part at least; 0 = the graph itself, as published.
        passes: on a coarse graph, each with other anchors; the best after repair there goes up.
        restarts: coarse graphs, each of other clusters, where there is no limit of time.
        repair: rebalance to the limit and refine with Fiduccia-Mattheyses, on every level (false: the pass is made on
            the graph itself, and its argmax is the answer).
    """

    name: ClassVar[str] = "gap"
    problems: ClassVar[tuple[str, ...]] = ("Partitioning",)
    needs_training: ClassVar[bool] = False  # it can fit the instance itself
    default_instances: ClassVar[str] = "families/train"
    step: ClassVar[str] = (
        "a gradient step: one pass forward and back over one graph, whose expected cut and imbalance are computed"
    )
    indivisible: ClassVar[str] = (
        "a gradient step, a pass of repair, or a first guess: the clusters, the eigenvectors and a forward pass"
    )

    hidden: Annotated[int, Range(1, 1024), Choices(16, 24, 48)] = 24
    layers: Annotated[int, Range(0, 32), Search(1, 4)] = 3
    ks: str = "2,4,8,16"
    features: Annotated[int, Range(0, 64)] = 0
    attributes: Annotated[int, Range(0, 4096)] = 0
    learning_rate: Annotated[float, Range(1e-12, 1e3), Search(1e-3, 3e-2, log=True)] = 5e-3
    balance: Annotated[float, Range(0.0, 1e9), Search(0.5, 10.0, log=True)] = 2.0
    iterations: Annotated[int, Range(1, MAX_ITERATIONS)] = 2400
    solve_iterations: Annotated[int, Range(1, MAX_ITERATIONS)] = 200
    trials: Annotated[int, Range(1, MAX_TRIALS)] = 1
    level: Annotated[int, Range(0, 10**4)] = 10
    even: Annotated[int, Range(0, 10**5)] = 40
    coarsest: Annotated[int, Range(0, 10**6)] = 400
    passes: Annotated[int, Range(1, 10**4)] = 4
    restarts: Annotated[int, Range(1, 10**6)] = 1
    repair: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for word in filter(None, self.ks.split(",")):
            if not word.isascii() or not word.isdigit() or not 2 <= int(word) <= MAX_PARTS:
                raise UsageError(f"ks of agent 'gap' must be whole numbers from 2 to {MAX_PARTS}, got {word!r}.")
        self.net: GapNet | None = None
        self._progress: Progress | None = None  # of the last fit
        self._resume: Snapshot | None = None  # for the next fit

    def prepare(self) -> None:
        """Import the network, and what finds eigenvectors."""
        super().prepare()
        import scipy.sparse.linalg  # noqa: F401

        from sysgym.graphs.multilevel import coarsening_kernels, refinement_kernels
        from sysgym_agents.partitioning import gap_train, partition_kernels

        assert gap_train is not None and partition_kernels is not None
        assert coarsening_kernels is not None and refinement_kernels is not None

    def fit(
        self,
        problem: Partitioning,
        instances: Sequence[Graph],
        rng: np.random.Generator,
        budget: Budget,
        callback: Callback | None = None,
    ) -> None:
        """Train on a family for `ks` and the problem's k, on from weights that are there already or `load_training`.

        `callback` hears loss, ncut (over k - 1) and imbalance every 20 steps and after the last one.
        """
        if not instances:
            raise UsageError("agent 'gap' needs at least one graph to train on.")
        ks = tuple(sorted({problem.k, *map(int, filter(None, self.ks.split(",")))}))

        def publish(net: GapNet) -> None:
            self.net = net

        resume, self._resume = self._resume, None
        publish(self._train(self._setting(ks, self.iterations), instances, rng, budget, callback, publish, resume))

    def solve(self, problem: Partitioning, instance: Graph, rng: np.random.Generator, budget: Budget) -> Solution:
        """The best repaired partition of the passes (after a fit on the instance if there are no weights)."""
        from sysgym_agents.partitioning.baselines import from_nothing, keep_fixed
        from sysgym_agents.partitioning.coarse import Plan, repeated

        from_nothing("gap", instance)
        _check_graph(instance)
        clock = Clock(budget)
        net = self.net or self._fit_one(problem, instance, rng, budget)
        if not self.repair:
            return {"part": keep_fixed(instance, next(self._guesses(net, instance, problem.k, rng)), problem.k)}

        def guesses(graph: Graph, draws: np.random.Generator) -> Iterator[Array]:
            return self._guesses(net, graph, problem.k, draws)

        plan = Plan(self.coarsest, self.passes, self.restarts)
        return {"part": repeated(guesses, problem, instance, rng, plan, clock)}

    def predict(self, problem: Partitioning, instance: Graph) -> Array:
        """What one pass over the graph itself answers, without clusters and repair, (N,) int32.

        UsageError if there are no weights.
        """
        if self.net is None:
            raise UsageError("agent 'gap' has no weights to predict with; call fit or load first.")
        _check_graph(instance)
        return next(self._guesses(self.net, instance, problem.k, np.random.default_rng(0)))

    def weights(self) -> Mapping[str, Any] | None:
        """Those of the network."""
        return None if self.net is None else weights_of(self.net)

    def forget(self, rng: np.random.Generator) -> bool:
        """Draw the network's weights anew."""
        import torch

        if self.net is None:
            return False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            self.net = self._empty_net()
        return True

    def load(self, path: Path) -> None:
        """As every learner's; UsageError for weights of before 2026-11-28, which split into one number of parts."""
        from sysgym_agents.learning.weights import load_agent

        facts, _ = load_agent(path, self.name)
        if "parts" in facts:
            raise UsageError(
                f"{path} holds weights of the former agent 'gap', whose network splits into {facts['parts']!r} parts "
                "alone; train it again, one network now splits into any number."
            )
        super().load(path)

    def restore(self, facts: Mapping[str, Any], weights: Mapping[str, Any], path: Path) -> None:
        """The network."""
        from sysgym_agents.learning.weights import filled

        self.net = filled(self._empty_net, weights, path)

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

    def _empty_net(self) -> GapNet:
        import torch

        from sysgym_agents.partitioning.gap_model import OWN, GapNet

        with torch.random.fork_rng(devices=[]):
            return GapNet(OWN + self.attributes, self.hidden, self.layers, self.level)

    def _setting(self, ks: tuple[int, ...], iterations: int) -> Training:
        from sysgym_agents.partitioning.gap_train import Training

        return Training(
            hidden=self.hidden, layers=self.layers, ks=ks, features=self.features, rounds=self.level,
            learning_rate=self.learning_rate, balance=self.balance, iterations=iterations, trials=self.trials,
            attributes=self.attributes,
        )  # fmt: skip

    def _fit_one(self, problem: Partitioning, instance: Graph, rng: np.random.Generator, budget: Budget) -> GapNet:
        """A network for this instance and k only; the agent keeps none of it."""
        setting = self._setting((problem.k,), self.solve_iterations)
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
        from sysgym_agents.partitioning.anchors import eigenvectors_for
        from sysgym_agents.partitioning.gap_train import Progress, family

        clock = Clock(budget)
        if resume is not None:
            facts = resume.facts
            setting = setting._replace(iterations=facts["iterations"], trials=max(len(facts["losses"]), 1))
        elif budget.steps is not None:
            setting = setting._replace(iterations=max(budget.steps, 1))
        for graph in instances:
            _check_graph(graph)
        most = max(setting.ks)
        examples = family(instances, self.coarsest, setting.features or eigenvectors_for(most), self.attributes)
        device = device_for(most * max(len(example.degree) for example in examples))
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

    def _guesses(self, net: GapNet, graph: Graph, k: int, rng: np.random.Generator) -> Iterator[Array]:
        """The evened argmax (n,) int32 of each pass over a graph; anchors are drawn for each."""
        import torch

        from sysgym_agents.partitioning.anchors import draw_rounds, eigenvectors_for, embedding, evened
        from sysgym_agents.partitioning.gap_model import make_example, slots

        dims, device = self.features or eigenvectors_for(k), device_for(graph.nodes * k)
        example = make_example(graph, embedding(graph, dims), self.attributes).to(device)
        net = placed(net, device)
        for rounds in draw_rounds(rng):
            with torch.no_grad():
                logits = net(slots(example, dims, k, rng, rounds), example)[-1]
            yield evened(logits.cpu().numpy(), graph.vwgt, self.even)
