"""GAP: a graph neural network that learns to partition graphs without labels (Nazi et al., arXiv 1903.00614)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sysgym.core.errors import UsageError, unknown
from sysgym.core.problem import Array, Solution
from sysgym.graphs.csr import Graph
from sysgym_agents.core import Budget, Callback, Clock

if TYPE_CHECKING:
    from sysgym_agents.learning.snapshot import Snapshot
    from sysgym_agents.partitioning.gap_model import GapNet, Progress, Training

MAX_PARTS = 1024
SOLVE_SHARE = 0.7  # of the seconds of `solve` that a fit on the instance itself may take
WHOLE = {  # hyper-parameters that are whole numbers: least and most
    "hidden": (1, 1024), "layers": (0, 32), "features": (0, 64), "iterations": (1, 10**9),
    "solve_iterations": (1, 10**9), "trials": (1, 1000), "level": (0, 10**4), "even": (0, 10**5),
}  # fmt: skip
REAL = {"learning_rate": (1e-12, 1e3), "balance": (0.0, 1e9)}
TRUTHS = ("flips", "repair")


def _check_hyper(hyper: Mapping[str, Any]) -> None:
    """UsageError for the first hyper-parameter that is not of its kind or out of range; nan is in no range."""
    for name, (least, most) in WHOLE.items():
        value = hyper[name]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise UsageError(f"{name} of agent 'gap' must be a whole number from {least} to {most}, got {value!r}.")
    for name, (low, high) in REAL.items():
        value = hyper[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UsageError(f"{name} of agent 'gap' must be a number from {low:g} to {high:g}, got {value!r}.")
    for name in TRUTHS:
        if not isinstance(hyper[name], bool):
            raise UsageError(f"{name} of agent 'gap' must be true or false, got {hyper[name]!r}.")


def _read_description(path: Path) -> tuple[dict[str, Any], int]:
    """Hyper-parameters and number of parts from the `agent.json` of a folder that `save` wrote."""
    where = f"{path} holds no weights of agent 'gap': agent.json"
    try:
        description = json.loads((path / "agent.json").read_bytes())
    except OSError as error:
        why = error.strerror or error
        raise UsageError(f"{where} cannot be read ({why}); give the folder of a trained agent.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is no valid JSON; train and save the agent again.") from error
    found = description if isinstance(description, dict) else {}
    hyper, parts = found.get("hyper"), found.get("parts")
    if not isinstance(hyper, dict) or type(parts) is not int or not 1 <= parts <= MAX_PARTS:
        raise UsageError(
            f"{where} must be an object with the object 'hyper' and the number 'parts' (1 to {MAX_PARTS}); "
            "train and save the agent again."
        )
    return hyper, parts


def _check_graph(graph: Graph) -> None:
    if graph.nodes == 0:
        raise UsageError(f"{graph.name} has no nodes; agent 'gap' needs a graph with at least one.")


class GAP:
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
        self.hyper: dict[str, Any] = {
            "hidden": hidden, "layers": layers, "features": features, "learning_rate": learning_rate,
            "balance": balance, "iterations": iterations, "solve_iterations": solve_iterations, "trials": trials,
            "level": level, "even": even, "flips": flips, "repair": repair,
        }  # fmt: skip
        _check_hyper(self.hyper)
        self.parts: int | None = None  # k of the weights; None until they exist
        self.net: GapNet | None = None
        self._progress: Progress | None = None  # of the last fit
        self._resume: Snapshot | None = None  # for the next fit

    def fit(
        self,
        problem: Any,
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
        setting = self._setting(problem.k, self.hyper["iterations"], augment=True)

        def publish(net: GapNet) -> None:
            self.net, self.parts = net, problem.k

        resume, self._resume = self._resume, None
        publish(self._train(setting, instances, rng, budget, callback, publish, resume))

    def solve(self, problem: Any, instance: Graph, rng: np.random.Generator, budget: Budget) -> Solution:
        """A partition by forward passes (after a fit on the instance if there are no weights), then repair."""
        net = self.net or self._fit_one(problem, instance, rng, budget)
        part = self._partition(net, problem, instance)
        if self.hyper["repair"]:
            from sysgym_agents.partitioning.baselines import rebalance_and_refine

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

        hyper, parts = _read_description(path)
        for name in hyper:
            if name not in self.hyper:
                raise unknown("hyper-parameter of agent 'gap'", name, self.hyper)
        try:
            weights = load_file(path / "model.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            why = str(error).rstrip(". ")
            raise UsageError(f"{path} holds no weights of agent 'gap': {why}; train the agent again.") from error
        fresh = GAP(**hyper)
        net = fresh._empty_net(parts)
        try:
            net.load_state_dict(weights)
        except RuntimeError as error:
            raise UsageError(f"{path}: model.safetensors does not fit agent.json; save the agent again.") from error
        if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
            raise UsageError(f"{path}: model.safetensors holds numbers that are not finite; train the agent again.")
        self.hyper, self.net, self.parts = fresh.hyper, net, parts

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
        left = total - done
        fits = left > 0 and budget.steps in (None, left)
        self._resume = found if fits else None
        return fits

    def _features(self, k: int) -> int:
        return int(self.hyper["features"]) or max(4, int(np.ceil(np.log2(k))) + 2)

    def _empty_net(self, k: int) -> GapNet:
        import torch

        from sysgym_agents.partitioning.gap_model import GapNet

        with torch.random.fork_rng(devices=[]):
            return GapNet(self._features(k), self.hyper["hidden"], self.hyper["layers"], k, self.hyper["level"])

    def _setting(self, k: int, iterations: int, augment: bool) -> Training:
        from sysgym_agents.partitioning.gap_model import Training

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
        publish: Callable[[GapNet], None] | None = None,
        resume: Snapshot | None = None,
    ) -> GapNet:
        """Train within the budget. Its steps are the schedule's; seconds cut it short, and then results may vary."""
        from sysgym_agents.partitioning.gap_model import Progress, make_example, train

        clock = Clock(budget)
        if resume is not None:
            facts = resume.facts
            setting = setting._replace(iterations=facts["iterations"], trials=max(len(facts["losses"]), 1))
        elif budget.steps is not None:
            setting = setting._replace(iterations=max(budget.steps, 1))
        for graph in instances:
            _check_graph(graph)
        examples = [make_example(graph, self._features(setting.parts)) for graph in instances]
        start = None if publish is None or resume is not None else self.net
        progress = Progress(examples, setting, rng, start)
        if resume is not None:
            try:
                progress.restore(resume)
            except (KeyError, ValueError, TypeError, RuntimeError) as error:
                raise UsageError(
                    f"the saved state of the training does not fit this agent and problem ({error}); train anew."
                ) from error
        first = progress.done

        def report(net: GapNet, done: int, loss: float, ncut: float, imbalance: float) -> bool:
            steps = done - first
            last = done >= setting.iterations or clock.spent(steps)
            if callback is None or (done % 20 and not last):
                return not last
            if publish is not None:
                publish(net)  # so that the callback can save it
                self._progress = progress
            row = {"steps": steps, "seconds": clock.seconds, "loss": loss, "ncut": ncut, "imbalance": imbalance}
            return callback(row) and not last

        net = train(progress, report)
        if publish is not None:
            self._progress = progress
        return net

    def _partition(self, net: GapNet, problem: Any, instance: Graph) -> Array:
        from sysgym_agents.partitioning.gap_model import best_partition, make_example

        if net.out.out_features != problem.k:
            raise UsageError(
                f"these weights of agent 'gap' split into {net.out.out_features} parts, not {problem.k}; "
                f"train with k={problem.k}."
            )
        _check_graph(instance)
        example = make_example(instance, self._features(problem.k))
        return best_partition(net, example, self.hyper["balance"], self.hyper["even"], self.hyper["flips"])
