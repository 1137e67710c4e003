"""What GAP computes: node features, the network, its training on a family of graphs, and rounding to a partition."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph
from sysgym.graphs.spectral import laplacian_eigenvectors
from sysgym_agents.learning.layers import SAGEConv, SparseOperator, graph_operator
from sysgym_agents.learning.snapshot import Snapshot, learner_tensors, put_learner
from sysgym_agents.partitioning.gap_loss import TINY, expected_imbalance, expected_ncut, hard_loss

NEARLY_EQUAL = 1.2  # ratio of neighbouring eigenvalues below which their eigenvectors are arbitrary rotations
FLIPPED = 4  # columns whose 2^4 sign patterns are all tried at inference
TRIAL_SHARE = 0.08  # of the iterations, for each of the competing initialisations


class Example(NamedTuple):
    """A graph as tensors, built once."""

    features: Tensor  # (N, F) float32, scaled eigenvectors
    eigenvalues: Array  # (F,) float64, ascending
    mean: SparseOperator  # D^-1 A
    adjacency: SparseOperator
    degree: Tensor  # (N,) float32
    weight: Tensor  # (N,) float32

    def to(self, device: torch.device) -> Example:
        """The same on a device."""
        return Example(
            self.features.to(device), self.eigenvalues, self.mean.to(device), self.adjacency.to(device),
            self.degree.to(device), self.weight.to(device),
        )  # fmt: skip


def rayleigh_quotients(graph: Graph, vectors: Array) -> Array:
    """x^T L x / x^T D x of each column (N, F), (F,) float64: the eigenvalues of eigenvectors; 0 for zero columns."""
    degree = graph.degree.astype(np.float64)
    x = vectors - degree @ vectors / max(degree.sum(), 1.0)
    gaps = ((x[graph.sources] - x[graph.adjncy]) ** 2 * graph.adjwgt[:, None]).sum(axis=0) / 2
    norms: Array = degree @ x**2
    return np.where(norms > TINY, gaps / np.maximum(norms, TINY), 0.0)


def make_example(graph: Graph, count: int) -> Example:
    """Operators and features of a graph: `count` Laplacian eigenvectors of unit variance times (lambda_1/lambda_i)^1/2.

    The factor tells how elongated a graph is: on a square the first two columns are equally wide.
    """
    vectors = laplacian_eigenvectors(graph, count)
    values = rayleigh_quotients(graph, vectors)
    scale = np.clip(np.sqrt(values[:1] / np.maximum(values, TINY)), 0.1, 1.0)
    return Example(
        features=torch.from_numpy((vectors * scale).astype(np.float32)),
        eigenvalues=values,
        mean=graph_operator(graph, "row"),
        adjacency=graph_operator(graph, "none"),
        degree=torch.from_numpy(graph.degree.astype(np.float32)),
        weight=torch.from_numpy(graph.vwgt.astype(np.float32)),
    )


class GapNet(nn.Module):
    """GAP's embedding and partitioning modules: GraphSAGE layers with residuals, then a perceptron over the K parts.

    Beyond the paper: each layer also sees the mean and spread of all nodes (so that it can tell shapes apart), and
    the logits pass through `level_logits`.
    """

    def __init__(self, features: int, hidden: int, layers: int, parts: int, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds
        self.read = nn.Linear(features, hidden)
        self.convs = nn.ModuleList(SAGEConv(hidden, hidden) for _ in range(layers))
        self.wholes = nn.ModuleList(nn.Linear(2 * hidden, hidden) for _ in range(layers))
        self.dense = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, parts)

    def forward(self, x: Tensor, example: Example) -> Tensor:
        """Features (N, F) to logits (N, K)."""
        x = torch.relu(self.read(x))
        for conv, whole in zip(self.convs, self.wholes, strict=True):
            spread = (x.var(dim=0, correction=0) + 1e-6).sqrt()
            x = x + torch.relu(conv(x, example.mean) + whole(torch.cat([x.mean(dim=0), spread])))
        return level_logits(self.out(torch.relu(self.dense(x))), example.weight, self.rounds)


def level_logits(logits: Tensor, weight: Tensor, rounds: int) -> Tensor:
    """Logits (N, K) with a constant added to each part so that the expected weights of the parts draw level.

    These are Sinkhorn rounds (Cuturi, arXiv 1306.0895, algorithm 1) under node weights (N,), a final row
    normalisation being the softmax. Training escapes the collapse into few parts. 0 rounds is GAP as published.
    """
    shift = logits.new_zeros(logits.shape[1])
    share = (weight.sum() / logits.shape[1]).clamp_min(TINY)
    for _ in range(rounds):
        load = weight @ torch.softmax(logits + shift, dim=1)
        shift = shift - torch.log((load / share).clamp_min(1e-6))
    return logits + shift


def even_argmax(logits: Tensor, weight: Tensor, rounds: int) -> Tensor:
    """The argmax part (N,) int64 of logits (N, K) after one constant a part is tuned for even weights.

    The constants follow the load that each part has too much, in `rounds` steps that shrink a hundredfold; the
    evenest partition on the way counts. 0 rounds is the plain argmax. No edge is looked at.
    """
    parts = logits.shape[1]
    share = (weight.sum() / parts).clamp_min(TINY)
    best = logits.argmax(dim=1)
    step, shift, least = 0.25 * logits.std(correction=0), logits.new_zeros(parts), float("inf")
    for i in range(rounds + 1):
        part = (logits + shift).argmax(dim=1)
        load = torch.bincount(part, weights=weight, minlength=parts).to(logits.dtype) / share
        if float(load.max()) < least:
            best, least = part, float(load.max())
        if least < 1.03 or rounds == 0:
            break
        shift = shift - step * 0.01 ** (i / rounds) * (load - 1).clamp(-1, 1)
    return best


def random_transform(values: Array, rng: np.random.Generator) -> Tensor:
    """A random orthogonal (F, F) float32 map under which eigenvectors stay eigenvectors.

    Signs are flipped, and neighbouring columns whose eigenvalues nearly agree are rotated into each other.
    """
    count = len(values)
    total = np.diag(rng.choice([-1.0, 1.0], count))
    for i in range(count - 1):
        if values[i + 1] < NEARLY_EQUAL * values[i]:
            turn, angle = np.eye(count), rng.random() * 2 * np.pi
            turn[i : i + 2, i : i + 2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
            total = total @ turn
    return torch.from_numpy(total.astype(np.float32))


def sign_patterns(count: int) -> list[Tensor]:
    """All sign flips of the first columns, each (F,) float32: as a set, blind to the signs that came in."""
    flips = itertools.product([1.0, -1.0], repeat=min(count, FLIPPED))
    return [torch.tensor([*signs, *[1.0] * (count - len(signs))]) for signs in flips]


class Training(NamedTuple):
    """Settings of a training."""

    hidden: int
    layers: int
    parts: int
    rounds: int  # of `level_logits`
    learning_rate: float
    balance: float  # weight of the expected imbalance in the loss
    iterations: int  # in all, trials included
    trials: int  # initialisations that compete for the rest of the iterations
    augment: bool  # train on random transforms of the features


class Progress:
    """A training on examples, one a step (Adam, cosine decay, gradients clipped to 1), between two steps.

    GAP's loss has poor local minima (parallel slices instead of a square's quadrants): of `trials` short runs, the
    one with the least loss is trained on. A network to `start` from is trained on in place, without trials. Draws
    torch's numbers in a fork, seeded from `rng`.
    """

    def __init__(
        self, examples: Sequence[Example], setting: Training, rng: np.random.Generator, start: GapNet | None = None
    ) -> None:
        self.examples, self.setting, self.rng, self.done = examples, setting, rng, 0
        trials, device = setting.trials if start is None else 1, examples[0].features.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            nets = [(start or _fresh(examples[0], setting)).to(device) for _ in range(trials)]
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
        """One gradient step; the loss, the expected ncut and the expected imbalance before it."""
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


def _fresh(example: Example, setting: Training) -> GapNet:
    return GapNet(example.features.shape[1], setting.hidden, setting.layers, setting.parts, setting.rounds)


def _step(
    net: GapNet, optimiser: torch.optim.Adam, example: Example, setting: Training, rng: np.random.Generator
) -> tuple[float, float, float]:
    """One gradient step; the loss, the expected ncut and the expected imbalance before it."""
    x = example.features
    if setting.augment:
        x = x @ random_transform(example.eigenvalues, rng).to(x.device)
    y = torch.softmax(net(x, example), dim=1)
    cut = expected_ncut(y, example.adjacency, example.degree)
    imbalance = expected_imbalance(y, example.weight)
    loss = cut + setting.balance * imbalance
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach()), float(cut.detach()), float(imbalance.detach())


@torch.no_grad()
def best_partition(
    net: GapNet, example: Example, how: tuple[float, int, bool], spent: Callable[[], bool] = lambda: False
) -> Array:
    """The partition (N,) int32 that GAP's own loss ranks first among those of the features' sign flips.

    how: weight of the imbalance, rounds of `even_argmax`, and whether to flip. The first pattern is always tried, the
    others until `spent`.
    """
    balance, rounds, flips = how
    candidates: list[tuple[float, Tensor]] = []
    for signs in sign_patterns(example.features.shape[1])[: None if flips else 1]:
        if candidates and spent():
            break
        logits = net(example.features * signs.to(example.features.device), example)
        part = even_argmax(logits, example.weight, rounds)
        arrays = (example.adjacency, example.degree, example.weight)
        candidates.append((hard_loss(part, logits.shape[1], *arrays, balance), part))
    best = min(candidates, key=lambda pair: pair[0])[1]
    return best.cpu().numpy().astype(np.int32)
