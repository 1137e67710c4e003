"""What CNC computes: its network, and the training on batches of graphs (Nazi et al., arXiv 1910.07623)."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.clustering.instance import Affinity
from sysgym.core.problem import Array
from sysgym_agents.clustering.cnc_batches import Sampled, Source, standard
from sysgym_agents.clustering.cnc_loss import (
    Sums,
    blended,
    expected_imbalance,
    expected_ncut,
    neuncut,
    pgcuts,
    sums_of,
)
from sysgym_agents.clustering.cnc_siamese import Siamese
from sysgym_agents.clustering.local_search import merge_split
from sysgym_agents.core import Budget, Clock
from sysgym_agents.learning.devices import device_for, weights_of
from sysgym_agents.learning.memory import afford
from sysgym_agents.learning.snapshot import Snapshot, learner_tensors, put_learner
from sysgym_agents.learning.stepwise import rate

WARM = 100  # steps in which the learning rate grows
GUIDED = (0.25, 0.4)  # shares of a training between which it imitates what a search made of its labels
TRIES = 200  # candidates of that search
EMBEDDING = 0.2  # share of a training with affinities 'siamese' in which their embedding is learnt
HELD = 0.6  # share of a training in which the learning rate stays: its noise leads out of worse minima
TAU = (1.5, 1.0)  # temperature of the Gumbel-softmax at the start and at the end
CHUNK = 256  # points of a forward pass; always as many, so that a point's logits depend on no other point
AVERAGED, PAST, GUIDES, SIAMESE = "averaged/", "past/", "guides/", "siamese/"


class CncNet(nn.Module):
    """A perceptron from points to logits of clusters, tanh between its layers.

    It takes points as they come: their mean and spread in the training are among its weights. With `hops` it takes the
    means of `inputs_of` beside them.
    """

    rows: ClassVar[int] = CHUNK  # points of a pass
    mean: Tensor  # (features * (1 + hops),) float32
    scale: Tensor  # () float32

    def __init__(self, features: int, hidden: int, layers: int, clusters: int, hops: int = 0) -> None:
        super().__init__()
        self.hops = hops
        widths = [features * (1 + hops)] + [hidden] * layers
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.out = nn.Linear(widths[-1], clusters)
        self.register_buffer("mean", torch.zeros(widths[0]))
        self.register_buffer("scale", torch.ones(()))
        for layer in (*self.dense, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def features(self) -> int:
        """Columns of the points."""
        return len(self.mean) // (1 + self.hops)

    @property
    def clusters(self) -> int:
        """How many clusters it tells apart."""
        return self.out.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Points and their means (b, features * (1 + hops)) to logits (b, clusters)."""
        x = (x - self.mean) * self.scale
        for layer in self.dense:
            x = torch.tanh(layer(x))
        return self.out(x)

    def fitted(self, x: Array) -> None:
        """Take mean and spread of inputs (n, features * (1 + hops)): one spread for all columns."""
        mean, scale = standard(x)
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.fill_(scale)

    @torch.no_grad()
    def labels(self, x: Array) -> Array:
        """The clusters (n,) int32 of inputs (n, features * (1 + hops)): the largest logit, without noise."""
        found = np.empty(len(x), np.int32)
        rows, device = torch.zeros(CHUNK, len(self.mean)), self.mean.device
        for first in range(0, len(x), CHUNK):
            part = x[first : first + CHUNK]
            rows[: len(part)] = torch.from_numpy(np.array(part, np.float32))
            found[first : first + CHUNK] = self(rows.to(device))[: len(part)].argmax(dim=1).cpu().numpy()
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
    hops: int  # steps of the random walk whose means are inputs
    affinity: str  # "graph", "batch" or "siamese"


class Progress:
    """A training between two steps. Draws torch's numbers in a fork, seeded from `rng`."""

    def __init__(
        self, instances: Sequence[Affinity], setting: Training, rng: np.random.Generator, start: CncNet | None = None
    ) -> None:
        self.setting, self.rng, self.done = setting, rng, 0
        most = max(instance.nodes for instance in instances)
        batch, drawn = setting.seeds * (1 + setting.neighbours), setting.seeds * setting.neighbours
        self.device = device_for(min(most, batch))
        needed = (16.0 if setting.affinity == "graph" else 56.0) * min(most, batch) ** 2 + 24.0 * drawn
        afford(needed, f"a batch of {batch} of {most} points", "seeds or neighbours of agent 'cnc'")
        kind = Source if setting.affinity == "graph" else Sampled
        self.sources = [kind(instance, setting.hops) for instance in instances]
        self.seed = int(rng.integers(2**31))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.raw = (copy.deepcopy(start) or self.empty()).to(self.device)
            self.siamese = Siamese(instances, self.device) if setting.affinity == "siamese" else None
        self.net = copy.deepcopy(self.raw)  # the averaged weights
        self.past: Sums | None = None  # running averages
        self.guides: list[Tensor] | None = None  # labels (n,) int64 of each graph to imitate
        self.optimiser = torch.optim.Adam(self.raw.parameters(), setting.learning_rate)
        self.embedding = self.siamese is not None  # whether that is what is trained
        self.before = 0  # steps of that
        if setting.affinity == "batch":
            self._look([np.array(source.instance.x, np.float32) for source in self.sources])

    def empty(self) -> CncNet:
        """A network without training, that knows mean and spread of the inputs."""
        features, setting = self.sources[0].x.shape[1] // (1 + self.setting.hops), self.setting
        net = CncNet(features, setting.hidden, setting.layers, setting.clusters, setting.hops)
        net.fitted(np.concatenate([source.x.numpy() for source in self.sources]))
        return net

    def _look(self, spaces: Sequence[Array]) -> None:
        """Let the batches take distances in spaces (n, e), one a graph, from now on."""
        for source, space in zip(self.sources, spaces, strict=True):
            assert isinstance(source, Sampled)
            source.look(space, self.rng, self.setting.seeds * (1 + self.setting.neighbours))

    def step(self, share: float) -> dict[str, float]:
        """One gradient step at a share of the budget, of the embedding or of the network; the metrics of its batch."""
        share = max(share, self.done / self.setting.iterations)
        if self.siamese is None:
            return self._step(share)
        if self.embedding and share < EMBEDDING:
            loss = self.siamese.step(self.rng, self.done, share / EMBEDDING)
            self.done += 1
            return {"contrastive": loss}
        if self.embedding:
            self.embedding, self.before = False, self.done
            self._look(self.siamese.spaces())
        return self._step(max(0.0, share - EMBEDDING) / (1 - EMBEDDING))

    def _step(self, share: float) -> dict[str, float]:
        """One of the network, at a share of its own training; the loss, and the expected cut and imbalance."""
        late = max(0.0, (share - HELD) / (1 - HELD))
        self.optimiser.param_groups[0]["lr"] = rate(self.setting.learning_rate, self.done - self.before, WARM, late)
        self._guided(share)
        index = int(self.rng.integers(len(self.sources)))
        source = self.sources[index]
        chosen = source.draw(self.rng, self.setting.seeds, self.setting.neighbours)
        w, at = torch.from_numpy(source.affinity(chosen)).to(self.device), torch.from_numpy(chosen)
        logits = self.raw(source.x[at].to(self.device))
        y = self._soft(logits, share)
        loss, ncut, imbalance = self._loss(blended(self.past, sums_of(y, w), self.setting.memory * late))
        if self.setting.loss == "pgcuts":
            loss = pgcuts(y, w) + self.setting.balance * imbalance
        if self.guides is not None:
            loss = loss + nn.functional.cross_entropy(logits, self.guides[index][at].to(self.device))
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
        noise = torch.from_numpy(self.rng.gumbel(size=tuple(logits.shape)).astype(np.float32)).to(self.device)
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
        done = self.done - self.before
        stays = min(self.setting.average, done / (done + 10))
        pairs = zip(self.net.parameters(), self.raw.parameters(), strict=True)
        for mean, value in pairs:
            mean.lerp_(value, 1 - stays)

    def snapshot(self) -> Snapshot:
        """The training as it stands."""
        averaged = {f"{AVERAGED}{name}": value.clone() for name, value in weights_of(self.net).items()}
        facts = {"done": self.done, "iterations": self.setting.iterations, "seed": self.seed, "before": self.before,
                 "rng": self.rng.bit_generator.state, "affinity": self.setting.affinity, "embedding": self.embedding,
                 "reach": [getattr(source, "reach", None) for source in self.sources]}  # fmt: skip
        past = (
            {} if self.past is None else {f"{PAST}{name}": value.cpu() for name, value in self.past._asdict().items()}
        )
        guides = {f"{GUIDES}{index}": value for index, value in enumerate(self.guides or [])}
        twin = {} if self.siamese is None else learner_tensors(self.siamese.net, self.siamese.optimiser, SIAMESE)
        return Snapshot(learner_tensors(self.raw, self.optimiser) | averaged | past | guides | twin, facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of the same setting and graphs."""
        put_learner(snapshot, self.raw, self.optimiser)
        self.net.load_state_dict(snapshot.part(AVERAGED))
        past, k = snapshot.part(PAST), self.setting.clusters
        self.past = Sums(**{name: value.to(self.device) for name, value in past.items()}) if past else None
        if past and [value.shape for value in self.past or ()] != [(k,), (k,), (k, k), (k,)]:
            raise ValueError("its running averages are of other clusters")
        guides = snapshot.part(GUIDES)
        self.guides = [guides[str(index)] for index in range(len(self.sources))] if guides else None
        if guides and [value.shape for value in self.guides or ()] != [source.x.shape[:1] for source in self.sources]:
            raise ValueError("what it imitates are labels of other graphs")
        self._restore_affinity(snapshot)
        self.done, self.seed = int(snapshot.facts["done"]), int(snapshot.facts["seed"])
        self.rng.bit_generator.state = snapshot.facts["rng"]

    def _restore_affinity(self, snapshot: Snapshot) -> None:
        """The embedding, and the scales of affinities within batches."""
        facts = snapshot.facts
        if facts.get("affinity", "graph") != self.setting.affinity:
            raise ValueError(f"it has affinity={facts.get('affinity', 'graph')!r}, not {self.setting.affinity!r}")
        if self.setting.affinity == "graph":
            return
        if self.siamese is not None:
            put_learner(snapshot, self.siamese.net, self.siamese.optimiser, SIAMESE)
            self.embedding, self.before = bool(facts["embedding"]), int(facts["before"])
            if not 0 <= self.before <= int(facts["done"]):
                raise ValueError(f"it says that {self.before} of its {facts['done']} steps were those of the embedding")
            if self.embedding:
                return
            self._look(self.siamese.spaces())
        for source, reach in zip(self.sources, facts["reach"], strict=True):
            assert isinstance(source, Sampled)
            if not 0 < float(reach) < np.inf:
                raise ValueError(f"a scale of its affinities is {reach}")
            source.reach = float(reach)
