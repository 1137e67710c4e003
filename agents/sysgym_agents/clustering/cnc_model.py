"""What CNC computes: its network, the batches of a graph, and the training on them (Nazi et al., arXiv 1910.07623)."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.clustering.instance import Affinity
from sysgym.core.problem import Array
from sysgym_agents.clustering.cnc_kernels import restrict
from sysgym_agents.clustering.cnc_loss import Sums, blended, expected_imbalance, expected_ncut, neuncut, sums_of
from sysgym_agents.clustering.local_search import merge_split
from sysgym_agents.core import Budget, Clock
from sysgym_agents.learning.memory import afford
from sysgym_agents.learning.snapshot import Snapshot, learner_tensors, put_learner
from sysgym_agents.learning.stepwise import rate

DIAGONAL = 1e-3  # added to the affinity of a point of a batch to itself
WARM = 100  # steps in which the learning rate grows
GUIDED = (0.25, 0.4)  # shares of a training between which it imitates what a search made of its labels
TRIES = 200  # candidates of that search
HELD = 0.6  # share of a training in which the learning rate stays: its noise leads out of worse minima
TAU = (1.5, 1.0)  # temperature of the Gumbel-softmax at the start and at the end
CHUNK = 256  # points of a forward pass; always as many, so that a point's logits depend on no other point
AVERAGED, PAST, GUIDES = "averaged/", "past/", "guides/"


class CncNet(nn.Module):
    """A perceptron from points to logits of clusters, tanh between its layers.

    It takes points as they come: their mean and spread in the training are among its weights.
    """

    mean: Tensor  # (features,) float32
    scale: Tensor  # () float32

    def __init__(self, features: int, hidden: int, layers: int, clusters: int) -> None:
        super().__init__()
        widths = [features] + [hidden] * layers
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.out = nn.Linear(widths[-1], clusters)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(()))
        for layer in (*self.dense, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def features(self) -> int:
        """Columns of the points."""
        return len(self.mean)

    @property
    def clusters(self) -> int:
        """How many clusters it tells apart."""
        return self.out.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Points (b, features) to logits (b, clusters)."""
        x = (x - self.mean) * self.scale
        for layer in self.dense:
            x = torch.tanh(layer(x))
        return self.out(x)

    def fitted(self, x: Array) -> None:
        """Take mean and spread of points (n, features): one spread for all features."""
        mean = x.mean(axis=0, dtype=np.float64)
        spread = float(np.sqrt(np.mean((x - mean) ** 2)))
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.fill_(1 / spread if spread > 0 else 1.0)

    @torch.no_grad()
    def labels(self, x: Array) -> Array:
        """The cluster of each point (n, features), (n,) int32: the largest logit, without noise."""
        found = np.empty(len(x), np.int32)
        rows = torch.zeros(CHUNK, self.features)
        for first in range(0, len(x), CHUNK):
            part = x[first : first + CHUNK]
            rows[: len(part)] = torch.from_numpy(np.array(part, np.float32))
            found[first : first + CHUNK] = self(rows)[: len(part)].argmax(dim=1).numpy()
        return found


class Training(NamedTuple):
    """What a training is asked for."""

    hidden: int
    layers: int
    clusters: int
    learning_rate: float
    iterations: int
    seeds: int  # points of a batch that are drawn
    neighbours: int  # of each, that are drawn with it
    loss: str
    balance: float
    penalty: float
    gumbel: bool
    memory: float  # of the running averages in the estimates of volumes and sizes
    guided: bool
    average: float  # how much of the averaged weights stays in a step


class Source:
    """A graph whose batches are drawn."""

    def __init__(self, instance: Affinity) -> None:
        self.instance = instance
        self.graph = instance.xadj, instance.adjncy, instance.adjwgt
        self.x = torch.from_numpy(np.array(instance.x, np.float32))
        own = instance.vwgt - instance.degree
        self.scale = 1.0 / max(float(instance.adjwgt.max(initial=0)), float(own.max()), 1.0)
        self.own = (own * self.scale + DIAGONAL).astype(np.float32)
        self.place = np.full(instance.nodes, -1, np.int32)

    def draw(self, rng: np.random.Generator, seeds: int, neighbours: int) -> Array:
        """Distinct points, ascending: some at random, and of each some neighbours in the graph."""
        xadj, adjncy, _ = self.graph
        first = rng.integers(0, len(self.x), seeds)
        many = xadj[first + 1] - xadj[first]
        at = xadj[first][:, None] + (rng.random((seeds, neighbours)) * many[:, None]).astype(np.int64)
        found = [first, adjncy[at[many > 0]].ravel()]
        return np.unique(np.concatenate(found))

    def affinity(self, chosen: Array) -> Array:
        """The weights between chosen points (b, b) float32, the largest of the graph being 1, and the diagonal."""
        out = np.zeros((len(chosen), len(chosen)), np.float32)
        restrict(chosen, self.graph, self.scale, self.place, out)
        out[np.arange(len(chosen)), np.arange(len(chosen))] = self.own[chosen]
        return out


class Progress:
    """A training between two steps. Draws torch's numbers in a fork, seeded from `rng`."""

    def __init__(
        self, instances: Sequence[Affinity], setting: Training, rng: np.random.Generator, start: CncNet | None = None
    ) -> None:
        self.setting, self.rng, self.done = setting, rng, 0
        most = max(instance.nodes for instance in instances)
        batch, drawn = setting.seeds * (1 + setting.neighbours), setting.seeds * setting.neighbours
        needed = 16.0 * min(most, batch) ** 2 + 24.0 * drawn
        afford(needed, f"a batch of {batch} of {most} points", "seeds or neighbours of agent 'cnc'")
        self.sources = [Source(instance) for instance in instances]
        self.seed = int(rng.integers(2**31))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.raw = copy.deepcopy(start) or self._empty(instances)
        self.net = copy.deepcopy(self.raw)  # the averaged weights
        self.past: Sums | None = None  # running averages
        self.guides: list[Tensor] | None = None  # labels (n,) int64 of each graph to imitate
        self.optimiser = torch.optim.Adam(self.raw.parameters(), setting.learning_rate)

    def _empty(self, instances: Sequence[Affinity]) -> CncNet:
        width = self.sources[0].x.shape[1]
        net = CncNet(width, self.setting.hidden, self.setting.layers, self.setting.clusters)
        net.fitted(np.concatenate([instance.x for instance in instances]))
        return net

    def step(self, share: float) -> dict[str, float]:
        """One gradient step at a share of the budget; the loss, and the expected cut and imbalance of its batch."""
        share = max(share, self.done / self.setting.iterations)
        late = max(0.0, (share - HELD) / (1 - HELD))
        self.optimiser.param_groups[0]["lr"] = rate(self.setting.learning_rate, self.done, WARM, late)
        self._guided(share)
        index = int(self.rng.integers(len(self.sources)))
        source = self.sources[index]
        chosen = source.draw(self.rng, self.setting.seeds, self.setting.neighbours)
        w, at = torch.from_numpy(source.affinity(chosen)), torch.from_numpy(chosen)
        logits = self.raw(source.x[at])
        sums = sums_of(self._soft(logits, share), w)
        loss, ncut, imbalance = self._loss(blended(self.past, sums, self.setting.memory * late))
        if self.guides is not None:
            loss = loss + nn.functional.cross_entropy(logits, self.guides[index][at])
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.done += 1
        self._averaged()
        return {"loss": float(loss.detach()), "ncut": float(ncut.detach()), "imbalance": float(imbalance.detach())}

    def _guided(self, share: float) -> None:
        """Where its time has come, let a search improve the labels of all graphs; forget them when it is over."""
        if not self.setting.guided or not GUIDED[0] <= share < GUIDED[1]:
            self.guides = None
        elif self.guides is None:
            self.guides = [torch.from_numpy(self._improved(source)) for source in self.sources]

    def _improved(self, source: Source) -> Array:
        """The network's labels (n,) int64 of a graph after merging and splitting clusters while NCut falls."""
        labels, k = self.net.labels(source.x.numpy()), self.setting.clusters
        return merge_split(source.instance, labels, k, self.rng, Clock(Budget(steps=TRIES))).astype(np.int64)

    def _soft(self, logits: Tensor, share: float) -> Tensor:
        """Probabilities of clusters, by the Gumbel-softmax if so asked."""
        if not self.setting.gumbel:
            return torch.softmax(logits, dim=1)
        noise = torch.from_numpy(self.rng.gumbel(size=tuple(logits.shape)).astype(np.float32))
        return torch.softmax((logits + noise) / (TAU[0] + (TAU[1] - TAU[0]) * share), dim=1)

    def _loss(self, sums: Sums) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, the expected normalised cut and the imbalance; the sums are those of the past from now on."""
        self.past = Sums(*(value.detach() for value in sums))
        ncut, imbalance = expected_ncut(sums), expected_imbalance(sums)
        if self.setting.loss == "neuncut":
            return neuncut(sums, self.setting.penalty), ncut, imbalance
        return ncut + self.setting.balance * imbalance, ncut, imbalance

    @torch.no_grad()
    def _averaged(self) -> None:
        """Move the averaged weights towards those of this step: further in the first steps, then by a fixed share."""
        stays = min(self.setting.average, self.done / (self.done + 10))
        pairs = zip(self.net.parameters(), self.raw.parameters(), strict=True)
        for mean, value in pairs:
            mean.lerp_(value, 1 - stays)

    def snapshot(self) -> Snapshot:
        """The training as it stands."""
        averaged = {f"{AVERAGED}{name}": value.detach().clone() for name, value in self.net.state_dict().items()}
        facts = {"done": self.done, "iterations": self.setting.iterations, "seed": self.seed,
                 "rng": self.rng.bit_generator.state}  # fmt: skip
        past = {} if self.past is None else {f"{PAST}{name}": value for name, value in self.past._asdict().items()}
        guides = {f"{GUIDES}{index}": value for index, value in enumerate(self.guides or [])}
        return Snapshot(learner_tensors(self.raw, self.optimiser) | averaged | past | guides, facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of the same setting and graphs."""
        put_learner(snapshot, self.raw, self.optimiser)
        self.net.load_state_dict(snapshot.part(AVERAGED))
        past, k = snapshot.part(PAST), self.setting.clusters
        self.past = Sums(**past) if past else None
        if past and [value.shape for value in self.past or ()] != [(k,), (k,), (k, k), (k,)]:
            raise ValueError("its running averages are of other clusters")
        guides = snapshot.part(GUIDES)
        self.guides = [guides[str(index)] for index in range(len(self.sources))] if guides else None
        if guides and [value.shape for value in self.guides or ()] != [source.x.shape[:1] for source in self.sources]:
            raise ValueError("what it imitates are labels of other graphs")
        self.done, self.seed = int(snapshot.facts["done"]), int(snapshot.facts["seed"])
        self.rng.bit_generator.state = snapshot.facts["rng"]
