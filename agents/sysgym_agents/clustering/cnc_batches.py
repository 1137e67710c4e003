"""What CNC sees of a graph: its points with means over random walks beside them, and batches with their affinities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sysgym.clustering.instance import Affinity
from sysgym.core.errors import announce
from sysgym.core.problem import Array
from sysgym_agents.clustering.cnc_kernels import batch_affinity, batch_reach, restrict
from sysgym_agents.clustering.embedding import matrix_of
from sysgym_agents.learning.memory import afford

DIAGONAL = 1e-3  # added to the affinity of a point of a batch to itself


def inputs_of(instance: Affinity, hops: int) -> Array:
    """The points (n, d), beside them their means over 1..hops steps of the random walk: (n, d * (1 + hops)) float32.

    The walk is D^-1 W: a point's affinity to itself is a step that stays, and a point without any affinity stays. These
    are the features of SIGN (Rossi et al., arXiv 2004.11198), whose last ones are those of SGC (Wu et al., 1902.07153).
    """
    x = np.array(instance.x, np.float32)
    if hops == 0:
        return x
    afford(8.0 * x.size * (3 + hops), f"means of {len(x)} points over {hops} steps", "hops of agent 'cnc'")
    walk, found, now = _walk(instance), [x], x.astype(np.float64)
    for _ in range(hops):
        now = walk @ now
        found.append(now.astype(np.float32))
    return np.hstack(found)


def compare(instance: Affinity, prepared: str | None) -> None:
    """A Notice where the columns of an instance's points mean something else than those of a training, whose points
    were `prepared` so; None: nobody knows.
    """
    if prepared is not None and instance.prepared != prepared:
        own, theirs = (f"'{way}'" if way else "as they were" for way in (instance.prepared, prepared))
        announce(
            f"{instance.name}: its points are {own}, those of the training of agent 'cnc' {theirs}: their columns are "
            "not the same, so that labels mean little; prepare all points together and give them with preprocess=none."
        )


def _walk(instance: Affinity) -> Any:
    """D^-1 W with its diagonal, sparse (n, n) float64; a row of zeros gets 1 on its diagonal."""
    from scipy.sparse import diags

    alone = (instance.vwgt == 0).astype(np.float64)
    return (diags(1.0 / (instance.vwgt + alone)) @ (matrix_of(instance) + diags(alone))).tocsr()


def standard(x: Array) -> tuple[Array, float]:
    """Mean (d,) float64 of points (n, d), and the reciprocal of one spread for all columns, 1 where there is none."""
    mean = x.mean(axis=0, dtype=np.float64)
    spread = float(np.sqrt(np.mean((x - mean) ** 2)))
    return mean, 1 / spread if spread > 0 else 1.0


class Source:
    """A graph whose batches are drawn, affinities being those of the graph."""

    def __init__(self, instance: Affinity, hops: int = 0) -> None:
        self.instance = instance
        self.graph = instance.xadj, instance.adjncy, instance.adjwgt
        self.x = torch.from_numpy(inputs_of(instance, hops))  # (n, d * (1 + hops)) float32
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


class Sampled(Source):
    """Points whose batches are drawn at random, affinities being those within the batch: as in CNC's own code."""

    space: Array  # (n, e) float32, in which distances are taken
    reach: float  # the distance at which affinities have fallen to exp(-1/2)

    def look(self, space: Array, rng: np.random.Generator, batch: int) -> None:
        """Take distances in a space (n, e) from now on, and their scale from a sample as large as a batch."""
        self.space = space
        self.reach = batch_reach(space[self.draw(rng, batch, 0)])

    def draw(self, rng: np.random.Generator, seeds: int, neighbours: int) -> Array:
        """Distinct points, ascending, as many as a batch of seeds and their neighbours may have."""
        return np.sort(rng.choice(len(self.x), min(len(self.x), seeds * (1 + neighbours)), replace=False))

    def affinity(self, chosen: Array) -> Array:
        """Those of each chosen point to its nearest ones among them, (b, b) float32."""
        return batch_affinity(self.space[chosen], self.reach)
