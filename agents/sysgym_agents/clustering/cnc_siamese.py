"""The Siamese network that CNC takes distances from: neighbours close, others apart (Hadsell et al. 2006)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.clustering.instance import Affinity
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym_agents.clustering.cnc_batches import standard
from sysgym_agents.clustering.cnc_kernels import nearest_linked, unlinked
from sysgym_agents.learning.stepwise import rate

HIDDEN = (256, 256)  # widths; CNC's code has 1024, 1024, 512 and rectifies the embedding too, which can go dead
EMBEDDED = 10  # coordinates of the embedding
ANCHORS = 64  # points of a batch, each with its pairs
ALIKE = 2  # nearest neighbours that a point is alike to, and as many random points that it is not
TRIES = 8  # draws of a random point that is no neighbour
MARGINS = (0.05, 1.0)  # distances up to which pairs that are alike, and beyond which others, cost nothing
LEAST = 1e-7  # squared distance whose root still has a gradient
RATE, WARM = 1e-3, 100  # largest learning rate of Adam, and the steps in which it grows
CHUNK = 4096  # points that are embedded at once


def contrastive(a: Tensor, b: Tensor, alike: Tensor) -> Tensor:
    """mean(y max(d - 0.05, 0)^2 + (1 - y) max(1 - d, 0)^2), d the distances of rows (m, e), y `alike` (m,) of 0, 1."""
    d = (a - b).square().sum(dim=1).clamp(min=LEAST).sqrt()
    near, far = torch.relu(d - MARGINS[0]).square(), torch.relu(MARGINS[1] - d).square()
    return (alike * near + (1 - alike) * far).mean()


class SiameseNet(nn.Module):
    """A perceptron from points to an embedding, rectified between its layers; mean and spread as in `CncNet`."""

    mean: Tensor  # (features,) float32
    scale: Tensor  # () float32

    def __init__(self, features: int) -> None:
        super().__init__()
        pairs = itertools.pairwise((features, *HIDDEN, EMBEDDED))
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Points (b, features) to their places (b, EMBEDDED)."""
        x = (x - self.mean) * self.scale
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)

    @torch.no_grad()
    def embedded(self, x: Array) -> Array:
        """The places (n, EMBEDDED) float32 of points (n, features) float32."""
        parts = (torch.from_numpy(x[at : at + CHUNK]).to(self.mean.device) for at in range(0, len(x), CHUNK))
        return np.concatenate([self(part).cpu().numpy() for part in parts])


class Pairs:
    """Pairs of a graph's points: each with its nearest neighbours in the graph, and with as many others."""

    def __init__(self, instance: Affinity) -> None:
        self.x, self.links = np.array(instance.x, np.float32), (instance.xadj, instance.adjncy)
        self.anchors = np.flatnonzero(np.diff(instance.xadj))  # points that have neighbours
        if not len(self.anchors):
            raise UsageError(
                f"{instance.name} has no affinities between points, and affinity='siamese' of agent 'cnc' needs some; "
                "choose affinity='batch'."
            )
        self.nearest = np.full((instance.nodes, ALIKE), -1, np.int64)
        nearest_linked(self.x, *self.links, self.nearest)

    def draw(self, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """First and second points of pairs (m,) int64, and whether they are alike (m,) float32."""
        first = np.repeat(self.anchors[rng.integers(0, len(self.anchors), ANCHORS)], ALIKE)
        friends, others = self.nearest[first[::ALIKE]].ravel(), np.empty(len(first), np.int64)
        unlinked(first, rng.integers(0, len(self.x), (len(first), TRIES)), *self.links, others)
        second = np.concatenate([friends, others])
        kept = second >= 0
        alike = np.repeat(np.array([1, 0], np.float32), len(first))
        return np.tile(first, 2)[kept], second[kept], alike[kept]


class Siamese:
    """The training of the embedding, between two steps. Weights are drawn from torch's generator."""

    def __init__(self, instances: Sequence[Affinity], device: torch.device) -> None:
        self.device = device
        self.pairs = [Pairs(instance) for instance in instances]
        x = np.concatenate([pairs.x for pairs in self.pairs])
        self.net = SiameseNet(x.shape[1])
        mean, scale = standard(x)
        self.net.mean.copy_(torch.from_numpy(mean))
        self.net.scale.fill_(scale)
        self.net.to(device)
        self.optimiser = torch.optim.Adam(self.net.parameters(), RATE)

    def step(self, rng: np.random.Generator, done: int, share: float) -> float:
        """One gradient step, after `done` ones, at a share of this training; the loss."""
        self.optimiser.param_groups[0]["lr"] = rate(RATE, done, WARM, share)
        pairs = self.pairs[int(rng.integers(len(self.pairs)))]
        first, second, alike = pairs.draw(rng)
        points, at = np.unique(np.concatenate([first, second]), return_inverse=True)
        places = self.net(torch.from_numpy(pairs.x[points]).to(self.device))
        a, b = places[torch.from_numpy(at.reshape(2, -1)).to(self.device)]
        loss = contrastive(a, b, torch.from_numpy(alike).to(self.device))
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())

    def spaces(self) -> list[Array]:
        """The embeddings (n, EMBEDDED) float32 of the points of each graph."""
        return [self.net.embedded(pairs.x) for pairs in self.pairs]
