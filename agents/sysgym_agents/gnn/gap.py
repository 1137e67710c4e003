"""GAP: a graph neural network that learns to partition graphs without labels (Nazi et al., arXiv 1903.00614)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sysgym.core.errors import UsageError, unknown
from sysgym.core.problem import Array, Solution
from sysgym.graphs.csr import Graph
from sysgym_agents.core import Budget, Callback, Clock

if TYPE_CHECKING:
    from sysgym_agents.gnn.gap_model import GapNet, Training

SOLVE_SHARE = 0.7  # of the seconds of `solve` that a fit on the instance itself may take


class GAP:
    """Learns node-to-part probabilities by minimising the expected normalised cut and the expected imbalance.

    Trained on a family (`fit`), it partitions unseen graphs of any size by forward passes alone. Without weights,
    `solve` first trains on the instance itself, the paper's original use. It can split into as many parts as it was
    trained for.

    Hyper-parameters:
        hidden, layers: width and number of GraphSAGE layers.
        features: Laplacian eigenvectors a node; 0 = four, or more where many parts need more (ceil(log2 k) + 2).
        learning_rate, balance: of Adam; weight of the expected imbalance in the loss.
        iterations: gradient steps on a family. solve_iterations: those on a single instance.
        trials: initialisations that compete in the first steps.
        level: Sinkhorn rounds that even out expected part weights inside the network (0 = as published).
        even: rounds that even out the weights of the argmax parts, by one constant a part (0 = plain argmax).
        flips: partition all sign flips of the eigenvectors and keep the one of the least loss.
        repair: rebalance to the limit and refine with Fiduccia-Mattheyses, after the argmax.
    """

    problems = ("Partitioning",)
    needs_training = False  # it can fit the instance itself
    default_instances = "delaunay/train"
    default_budget = Budget(seconds=60)

    def __init__(
        self,
        *,
        hidden: int = 64,
        layers: int = 2,
        features: int = 0,
        learning_rate: float = 5e-3,
        balance: float = 2.0,
        iterations: int = 2400,
        solve_iterations: int = 400,
        trials: int = 3,
        level: int = 10,
        even: int = 40,
        flips: bool = True,
        repair: bool = True,
    ) -> None:
        for name, value, least in (
            ("hidden", hidden, 1), ("layers", layers, 0), ("features", features, 0), ("iterations", iterations, 1),
            ("solve_iterations", solve_iterations, 1), ("trials", trials, 1), ("level", level, 0), ("even", even, 0),
        ):  # fmt: skip
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"{name} of agent 'gap' must be a whole number of at least {least}, got {value!r}.")
        if learning_rate <= 0 or balance < 0:
            raise UsageError("agent 'gap' needs a positive learning_rate and a balance that is not negative.")
        self.hyper: dict[str, Any] = {
            "hidden": hidden, "layers": layers, "features": features, "learning_rate": learning_rate,
            "balance": balance, "iterations": iterations, "solve_iterations": solve_iterations, "trials": trials,
            "level": level, "even": even, "flips": flips, "repair": repair,
        }  # fmt: skip
        self.parts: int | None = None  # k of the weights; None until they exist
        self.net: GapNet | None = None

    def fit(
        self,
        problem: Any,
        instances: Sequence[Graph],
        rng: np.random.Generator,
        budget: Budget,
        callback: Callback | None = None,
    ) -> None:
        """Train on a family, from scratch, for the problem's k; `callback` hears loss, ncut and imbalance."""
        if not instances:
            raise UsageError("agent 'gap' needs at least one graph to train on.")
        setting = self._setting(problem.k, self.hyper["iterations"], augment=True)
        self.net = self._train(setting, instances, rng, budget, callback)
        self.parts = problem.k

    def solve(self, problem: Any, instance: Graph, rng: np.random.Generator, budget: Budget) -> Solution:
        """A partition by forward passes (after a fit on the instance if there are no weights), then repair."""
        net = self.net or self._fit_one(problem, instance, rng, budget)
        part = self._partition(net, problem, instance)
        if self.hyper["repair"]:
            from sysgym_agents.classical.partitioning import rebalance_and_refine

            part = rebalance_and_refine(instance, part, problem.k, problem.limit(instance), rng)
        return {"part": part}

    def predict(self, problem: Any, instance: Graph) -> Array:
        """The argmax partition before repair, (N,) int32; UsageError if there are no weights."""
        if self.net is None:
            raise UsageError("agent 'gap' has no weights to predict with; call fit or load first.")
        return self._partition(self.net, problem, instance)

    def save(self, path: Path) -> None:
        """Write `agent.json` and `model.safetensors` into a folder."""
        from safetensors.torch import save_file

        if self.net is None:
            raise UsageError("agent 'gap' has no weights to save; train it first.")
        path.mkdir(parents=True, exist_ok=True)
        description = {"agent": "gap", "hyper": self.hyper, "parts": self.parts}
        (path / "agent.json").write_text(json.dumps(description, indent=1) + "\n")
        save_file(self.net.state_dict(), str(path / "model.safetensors"))

    def load(self, path: Path) -> None:
        """Restore hyper-parameters and weights from a folder that `save` wrote."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            description = json.loads((path / "agent.json").read_text())
            hyper, parts = dict(description["hyper"]), int(description["parts"])
            weights = load_file(path / "model.safetensors")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise UsageError(f"{path} holds no weights of agent 'gap': {error}.") from error
        for name in hyper:
            if name not in self.hyper:
                raise unknown("hyper-parameter of agent 'gap'", name, self.hyper)
        self.hyper = GAP(**hyper).hyper
        self.net, self.parts = self._empty_net(parts), parts
        try:
            self.net.load_state_dict(weights)
        except RuntimeError as error:
            raise UsageError(f"{path}: model.safetensors does not fit agent.json; save the agent again.") from error

    def _features(self, k: int) -> int:
        return int(self.hyper["features"]) or max(4, int(np.ceil(np.log2(k))) + 2)

    def _empty_net(self, k: int) -> GapNet:
        import torch

        from sysgym_agents.gnn.gap_model import GapNet

        with torch.random.fork_rng(devices=[]):
            return GapNet(self._features(k), self.hyper["hidden"], self.hyper["layers"], k, self.hyper["level"])

    def _setting(self, k: int, iterations: int, augment: bool) -> Training:
        from sysgym_agents.gnn.gap_model import Training

        hyper = self.hyper
        return Training(
            hidden=hyper["hidden"], layers=hyper["layers"], parts=k, rounds=hyper["level"],
            learning_rate=hyper["learning_rate"], balance=hyper["balance"], iterations=iterations,
            trials=hyper["trials"], augment=augment,
        )  # fmt: skip

    def _fit_one(self, problem: Any, instance: Graph, rng: np.random.Generator, budget: Budget) -> GapNet:
        """A network for this instance and k only; the agent keeps none of it."""
        setting = self._setting(problem.k, self.hyper["solve_iterations"], augment=False)
        seconds = None if budget.seconds is None else SOLVE_SHARE * budget.seconds
        return self._train(setting, [instance], rng, Budget(seconds, budget.steps))

    def _train(
        self,
        setting: Training,
        instances: Sequence[Graph],
        rng: np.random.Generator,
        budget: Budget,
        callback: Callback | None = None,
    ) -> GapNet:
        """Train within the budget. Steps fit the schedule to it; seconds cut it short, and then results may vary."""
        from sysgym_agents.gnn.gap_model import make_example, train

        clock = Clock(budget)
        if budget.steps is not None:
            setting = setting._replace(iterations=min(setting.iterations, max(budget.steps, 1)))
        examples = [make_example(graph, self._features(setting.parts)) for graph in instances]

        def report(steps: int, loss: float, ncut: float, imbalance: float) -> bool:
            if clock.spent(steps):
                return False
            if callback is None or steps % 20:
                return True
            seconds = clock.seconds
            return callback({"steps": steps, "seconds": seconds, "loss": loss, "ncut": ncut, "imbalance": imbalance})

        return train(examples, setting, rng, report)

    def _partition(self, net: GapNet, problem: Any, instance: Graph) -> Array:
        from sysgym_agents.gnn.gap_model import best_partition, make_example

        if net.out.out_features != problem.k:
            raise UsageError(
                f"these weights of agent 'gap' split into {net.out.out_features} parts, not {problem.k}; "
                f"train with k={problem.k}."
            )
        example = make_example(instance, self._features(problem.k))
        return best_partition(net, example, self.hyper["balance"], self.hyper["even"], self.hyper["flips"])
