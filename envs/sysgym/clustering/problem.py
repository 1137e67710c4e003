"""Clustering by the exact normalised cut as a sysgym problem."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from sysgym.clustering.catalogue import TOPIC, built, is_instance, load_affinity, published_figures
from sysgym.clustering.instance import Affinity
from sysgym.clustering.judge import judge_clusters
from sysgym.clustering.neighbours import Neighbours
from sysgym.clustering.points import of_object
from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError
from sysgym.core.instances import InstanceSet, Memo, find_entry, instance_of, load_index
from sysgym.core.options import Range
from sysgym.core.problem import Array, ArraySpec, Size, Solution, Verdict
from sysgym.core.solutions import check_arrays, renumbered
from sysgym.graphs.labels.files import format_partition, parse_partition

if TYPE_CHECKING:
    from sysgym.graphs.labels.modes import LabelMode


@complete
class Clustering:
    """Divide points into k clusters of least normalised cut on the graph of their nearest neighbours.

    Description: the problem of CNC (Nazi et al., arXiv 1910.07623), SpectralNet and Shi and Malik (2000). cost =
    sum over clusters of cut / volume, volumes over full degrees, a cluster without volume counting 1: from 0 to k, and
    k - 1 where all points are in one cluster. All labels are feasible. True classes are in no instance; `sysgym labels`
    compares an answer with them. Solution: `labels`, (n,) integers in 0..k-1.

    Options:
        mode: "assign" (point by point), "oneshot" (all at once) or "refine" (moves from a start).
        k: number of clusters; None: what the instance asks for.
        knn: nearest neighbours of a point. scale: "global" (Gaussian, of the median distance to the last of them),
            "local" (of each point's own distance to it) or "binary". mutual: only pairs that are neighbours of each
            other. own: a point is its own first neighbour, as in CNC's code. connect: components are joined.
        preprocess: of raw features: none, standard, pca, deskew, tfidf or unit; None: what the set says, else none.
        order: in which `assign` visits points: degree, bfs, natural, random.
        moves: `refine` by turns of the points in a random order ("sweep"), by a short list of "candidates", or by "raw"
            (point, cluster) pairs.
        candidates: length of that list. tenure: steps for which a moved point stays off it.
        start: where `refine` starts: "random", "grow", "greedy" (graph growing), "kmeans" or "spectral".
        steps: moves in an episode of `refine`; default 4 turns a point, else twice the boundary of the start.
        features: principal components of the points among the node features.
        generator: family of `generate`, such as "moons:n=200" (a seed is drawn).

    Observation: node features are principal components of the points (0 without points) and D_ii over its mean, then
    assigned, internal (share of the degree inside the own cluster), external (largest share in another), part_load
    (0: there is no limit), active (focused, just moved or fixed). Globals: log10 points / 6, log10 edges / 6,
    log2 k / 6, eps (0), cut and best (ncut over k), max_load (0), progress. `assign` and `sweep` describe each cluster
    to the focused point by share (of its affinity), gain (what joining saves), volume (over an even share), inside
    (share of its volume), empty, unassigned (share of the point's affinity), used (share of the clusters), current,
    settled (its cut to other clusters over its volume), pull (its share among the neighbours' neighbours); `candidates`
    are described as in graph partitioning.

    Rewards: see `sysgym.core.rewards`; the scale is k, so that `assign` returns (k - ncut) / k and `refine` (ncut of
    the start - ncut of the best) / k.
    Version history: v0, first release.
    """

    name = "Clustering"
    version = 0
    variants = ({"mode": "assign"}, {"mode": "oneshot"}, {"mode": "refine"}, {"mode": "refine", "moves": "candidates"},
                {"mode": "refine", "moves": "raw"})  # fmt: skip
    recommended_agent = "merge-split"
    default_instances = "blobs/train"
    choice_names = ("clusters",)

    mode: Literal["assign", "oneshot", "refine"] = "assign"
    k: Annotated[int | None, Range(2, 1024)] = None
    knn: Annotated[int, Range(1, 1000)] = 10
    scale: Literal["global", "local", "binary"] = "global"
    mutual: bool = False
    own: bool = False
    connect: bool = True
    preprocess: Literal["none", "standard", "pca", "deskew", "tfidf", "unit"] | None = None
    order: Literal["degree", "bfs", "natural", "random"] = "degree"
    moves: Literal["sweep", "candidates", "raw"] = "sweep"
    candidates: Annotated[int, Range(1, 4096)] = 32
    tenure: Annotated[int, Range(0, 10**6)] = 10
    start: Literal["random", "grow", "greedy", "kmeans", "spectral"] = "random"
    steps: Annotated[int | None, Range(1, 10**8)] = None
    features: Annotated[int, Range(0, 64)] = 16
    generator: str = "blobs:n=96"

    @property
    def published(self) -> tuple[Mapping[str, str], ...]:
        """Figures of the literature, ACC and ARI: no cost is among them."""
        return published_figures()

    @cached_property
    def dynamics(self) -> LabelMode:
        """The dynamics of the chosen mode (imports numba)."""
        from sysgym.clustering.modes import choose_mode

        return choose_mode(self)

    @property
    def neighbours(self) -> Neighbours:
        """How a graph is built from points, by the options."""
        return Neighbours(self.knn, self.scale, self.mutual, self.own, self.connect)

    def load(self, name: Any) -> Affinity:
        """An instance by registered name, recipe, file or object; UsageError if it cannot be had or is malformed."""
        if isinstance(name, str):
            return load_affinity(name, self.neighbours, self.preprocess)
        whole: Any = self
        found: Affinity = instance_of(whole, name)
        return found

    reads = staticmethod(is_instance)

    def adopt(self, given: Any) -> Affinity | None:
        """The instance of an array of points (n, d), a sparse matrix, or a graph of networkx or igraph; else None."""
        raw = of_object(given)
        return None if raw is None else built(raw, "array", self.neighbours, self.preprocess)

    def generate(self, rng: np.random.Generator) -> Affinity:
        """Random points of the `generator` family, and their graph."""
        joint = "," if ":" in self.generator else ":"
        return self.load(f"{self.generator}{joint}seed={int(rng.integers(2**31))}")

    def instance_sets(self) -> Mapping[str, InstanceSet]:
        """Registered sets of points by name."""
        return load_index(TOPIC)

    def clusters(self, instance: Affinity) -> int:
        """The number of clusters; UsageError if neither k nor the instance says it, or it has fewer points."""
        k = self.k or instance.k
        if k is None:
            raise UsageError(f"{instance.name} does not say how many clusters it has: give k, as in -O k=10.")
        if k > instance.nodes:
            raise UsageError(f"{instance.name} has {instance.nodes} points, too few for k={k} clusters.")
        return k

    def size(self, instance: Affinity) -> Size:
        """Points, directed edges and clusters."""
        return Size(instance.nodes, len(instance.adjncy), (self.clusters(instance),))

    @cached_property
    def _projections(self) -> Memo:
        return Memo(self._project)

    def _project(self, instance: Affinity) -> Array:
        from sysgym.clustering.preprocess import fitted

        found = np.zeros((instance.nodes, self.features), np.float32)
        if instance.x is not None and self.features:
            columns = fitted("pca", instance.x, instance.name)(instance.x)[:, : self.features]
            found[:, : columns.shape[1]] = np.clip(columns, -1e3, 1e3)
        return found

    def static(self, instance: Affinity) -> Mapping[str, Array]:
        """Features that never change: nodes (n, features + 1), edges (2m, 1), edge_index (2, 2m)."""
        degree = instance.vwgt / max(float(instance.vwgt.mean()), 1e-9)
        weights = instance.adjwgt / max(float(instance.adjwgt.mean()), 1e-9) if instance.edges else instance.adjwgt
        columns = [self._projections(instance), np.clip(degree, 0, 1e3)[:, None]]
        return {
            "nodes": np.concatenate(columns, axis=1).astype(np.float32),
            "edges": np.clip(weights, 0, 1e3).astype(np.float32)[:, None],
            "edge_index": np.stack([instance.sources, instance.adjncy]).astype(np.int32),
        }

    def solution_arrays(self, instance: Affinity) -> Mapping[str, ArraySpec]:
        """`labels`: one in 0..k-1 a point."""
        k = self.clusters(instance)
        return {"labels": ArraySpec((instance.nodes,), "int", 0, k - 1, "one cluster a point")}

    def judge(self, instance: Affinity, solution: Solution) -> Verdict:
        """Cost and metrics of labels; InvalidSolution if they are none. See `judge_clusters`."""
        labels = check_arrays(self.solution_arrays(instance), solution)["labels"]
        return judge_clusters(instance, labels, self.clusters(instance))

    def canonical(self, instance: Affinity, solution: Solution) -> Solution:
        """The labels with clusters renumbered by their first point: all clusters are alike."""
        return {"labels": renumbered(solution["labels"])}

    def beside(self, instance: Affinity, solution: Solution) -> Mapping[str, float]:
        """How far labels agree with the true classes (acc, nmi, ari), where those are known; for boards alone."""
        from sysgym.clustering.agreement import agreement
        from sysgym.clustering.catalogue import truth

        classes = truth(instance.name)
        if classes is None:
            return {}
        found = agreement(solution["labels"], classes, 0)
        return {name: found[name] for name in ("acc", "nmi", "ari")}

    def reference_costs(self, instance: Affinity) -> Mapping[str, float]:
        """Known normalised cuts of registered instances, with their own k and graph, `who -> ncut`: spectral clustering
        first; and all points in one cluster, which costs k - 1.
        """
        one = {"one cluster": self.clusters(instance) - 1.0}
        entry = find_entry(self.instance_sets(), instance.name)
        usual = self.neighbours == Neighbours() and self.k in (None, instance.k)
        if entry is None or not usual or self.preprocess not in (None, entry.facts.get("preprocess")):
            return one
        return {**entry.references.get("usual", {}), **one}

    def parse_solution(self, instance: Affinity, data: bytes, file_name: str) -> Solution:
        """A file of one label a line, or `id label` by the file's own ids; comments start with % or #."""
        return {"labels": parse_partition(instance, file_name, data, "label")}

    def format_solution(self, instance: Affinity, solution: Solution, file_name: str) -> bytes:
        """One label a line, or `id label` where the graph's file has ids of its own."""
        return format_partition(instance, solution["labels"])

    def render(self, instance: Affinity, solution: Solution) -> Array:
        """The points in two dimensions with their clusters, sizes and cuts beside them, (H, W, 3) uint8."""
        from sysgym.clustering.render import draw

        return draw(instance, solution, self.clusters(instance), self.judge(instance, solution))

    def describe(self, instance: Affinity, solution: Solution) -> str:
        """The normalised cut and its share, volume and size of each cluster, as text."""
        from sysgym.clustering.render import describe

        return describe(instance, solution, self.clusters(instance), self.judge(instance, solution))
