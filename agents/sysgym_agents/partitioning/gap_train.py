"""How GAP's network is trained on a family of graphs, step by step, with numbers of parts that are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.graphs.csr import Graph
from sysgym_agents.learning.snapshot import Snapshot, learner_tensors, put_learner
from sysgym_agents.partitioning.anchors import ROUNDS, eigenvectors_for, embedding
from sysgym_agents.partitioning.coarse import coarsened
from sysgym_agents.partitioning.gap_loss import expected_imbalance, expected_ncut
from sysgym_agents.partitioning.gap_model import OWN, Example, GapNet, make_example, slots

TRIAL_SHARE = 0.08  # of the iterations, for each of the competing initialisations
LAYERS = 0.3  # weight of the loss of a layer that is not the last
PART_NODES = 4  # nodes a part that a graph must have for a number of parts to be drawn for it


class Training(NamedTuple):
    """Settings of a training."""

    hidden: int
    layers: int
    ks: tuple[int, ...]  # numbers of parts, one of which is drawn a step
    features: int  # eigenvectors; 0: as many as the parts need
    rounds: int  # of `level_logits`
    learning_rate: float
    balance: float  # weight of the expected imbalance in the loss
    iterations: int  # in all, trials included
    trials: int  # initialisations that compete for the rest of the iterations
    attributes: int = 0  # of nodes, that the network reads


def family(graphs: Sequence[Graph], nodes: int, count: int, attributes: int = 0) -> list[Example]:
    """The graphs that a training sees: the given ones, and coarse ones of each, of `nodes`, a half and a quarter of it.

    A graph of more than 2.5 times `nodes` is seen in coarse form only, as `solve` sees it; nodes 0: none is. `count`
    eigenvectors, and so many attributes of nodes. The same graphs give the same examples.
    """
    rng, found = np.random.default_rng(0), []
    for graph in graphs:
        if not nodes or graph.nodes <= 2.5 * nodes:
            found.append(graph)
        sizes = [size for size in (nodes, nodes // 2, nodes // 4) if size and graph.nodes > 1.3 * size]
        found += [coarsened(graph, size, graph.total_node_weight, rng).graphs[-1] for size in sizes]
    return [make_example(graph, embedding(graph, count), attributes) for graph in found]


class Progress:
    """A training on examples, one a step (Adam, cosine decay, gradients clipped to 1), between two steps.

    Of `trials` short runs, the one with the least loss is trained on. A network to `start` from is trained on in place,
    without trials. Draws torch's numbers in a fork, seeded from `rng`.
    """

    def __init__(
        self, examples: Sequence[Example], setting: Training, rng: np.random.Generator, start: GapNet | None = None
    ) -> None:
        self.examples, self.setting, self.rng, self.done = examples, setting, rng, 0
        trials, device = setting.trials if start is None else 1, examples[0].nodes.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            nets = [(start or _fresh(setting)).to(device) for _ in range(trials)]
        self.runs = [(net, torch.optim.Adam(net.parameters(), setting.learning_rate)) for net in nets]
        self.losses: list[list[float]] = [[] for _ in nets]  # of the last steps of each trial
        self.trial_steps = int(min(TRIAL_SHARE, 0.5 / trials) * setting.iterations) if trials > 1 else 0

    @property
    def current(self) -> int:
        """The run that the last step trained, or the first will."""
        trial = max(self.done - 1, 0) // self.trial_steps if self.trial_steps else len(self.runs)
        if trial < len(self.runs):
            return trial
        return min(range(len(self.runs)), key=lambda i: np.mean(self.losses[i]) if self.losses[i] else np.inf)

    @property
    def net(self) -> GapNet:
        """The network under training."""
        return self.runs[self.current][0]

    def step(self) -> tuple[float, float, float]:
        """One gradient step; the loss, the expected ncut over k - 1 and the expected imbalance before it."""
        trials = self.trial_steps * len(self.runs)
        main = self.done - trials
        self.done += 1
        net, optimiser = self.runs[self.current]
        if main >= 0:
            share = main / (self.setting.iterations - trials)
            optimiser.param_groups[0]["lr"] = self.setting.learning_rate * _cosine(share)
        example = self.examples[int(self.rng.integers(len(self.examples)))]
        found = _step(net, optimiser, example, self.setting, self.rng)
        if main < 0:
            self.losses[self.current] = [*self.losses[self.current], found[0]][-80:]
        return found

    def snapshot(self) -> Snapshot:
        """The training as it stands."""
        tensors: dict[str, Tensor] = {}
        for i, run in enumerate(self.runs):
            tensors |= learner_tensors(*run, prefix=f"{i}/")
        facts = {"done": self.done, "losses": self.losses, "iterations": self.setting.iterations,
                 "rng": self.rng.bit_generator.state}  # fmt: skip
        return Snapshot(tensors, facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of the same setting and examples."""
        facts = snapshot.facts
        if len(facts["losses"]) != len(self.runs) or facts["iterations"] != self.setting.iterations:
            raise ValueError(f"it is of {len(facts['losses'])} trials and {facts['iterations']} iterations")
        for i, run in enumerate(self.runs):
            put_learner(snapshot, *run, prefix=f"{i}/")
        self.done, self.losses = int(facts["done"]), [list(losses) for losses in facts["losses"]]
        self.rng.bit_generator.state = facts["rng"]


def _cosine(progress: float) -> float:
    return max(0.02, 0.5 * (1 + float(np.cos(np.pi * progress))))


def _fresh(setting: Training) -> GapNet:
    return GapNet(OWN + setting.attributes, setting.hidden, setting.layers, setting.rounds)


def _step(
    net: GapNet, optimiser: torch.optim.Adam, example: Example, setting: Training, rng: np.random.Generator
) -> tuple[float, float, float]:
    """One gradient step; the loss, the expected ncut over k - 1 and the expected imbalance before it."""
    fitting = [k for k in setting.ks if PART_NODES * k <= len(example.degree)] or [min(setting.ks)]
    k = fitting[int(rng.integers(len(fitting)))]
    seen = slots(example, setting.features or eigenvectors_for(k), k, rng, int(rng.integers(ROUNDS + 1)))
    total: Tensor | float = 0.0
    *inner, last = net(seen, example)
    for logits, share in [*((each, LAYERS) for each in inner), (last, 1.0)]:
        y = torch.softmax(logits, dim=1)
        cut = expected_ncut(y, example.adjacency, example.degree) / (k - 1)
        imbalance = expected_imbalance(y, example.weight)
        loss = cut + setting.balance * imbalance
        total = total + share * loss
    optimiser.zero_grad()
    assert isinstance(total, Tensor)
    total.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach()), float(cut.detach()), float(imbalance.detach())
