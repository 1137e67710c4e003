"""Local search for clusters of small normalised cut: moves of points, and merging two clusters while one is split.

`refined` and `merge_split` improve any labels, a network's among them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sysgym.clustering.instance import Affinity
from sysgym.core.problem import Array
from sysgym_agents.clustering import ncut_kernels as kernels
from sysgym_agents.clustering.embedding import filled, is_flat, largest, normalised
from sysgym_agents.clustering.ncut_kernels import LEAST, State
from sysgym_agents.core import Budget, Clock

SWEEPS = 100  # of refinement, at most
BATCH = 10  # sweeps between two looks at the clock
ROUNDS = 20  # of merging and splitting, at most
TRIED = 6  # combinations of a round
LISTED = 32  # best pairs to merge, and best clusters to split, that are combined
CHANGED = 0.2  # share of the points that a disturbance puts elsewhere, at most
LEAST_SHARE = 0.05  # of a cluster's points in either part
KEPT = 4096  # cuts of clusters that are remembered
EXACT_CLUSTER = 1000  # points of a cluster below which its eigenvector is found by factorising, unless all are flat


class Cut(NamedTuple):
    """A cluster in two."""

    change: float  # of NCut; inf where it cannot be cut
    part: Array  # int64, the points of one part


class Combination(NamedTuple):
    """Merge b into a, and give the label b to a part of c."""

    a: int
    b: int
    part: Array


def refined(instance: Affinity, labels: Array, k: int, rng: np.random.Generator) -> Array:
    """Labels (n,) int32 after moves of single points, until none lowers NCut; never an empty cluster if k <= n."""
    return Search(instance, k, rng, Clock(Budget())).refined(labels).labels


def merge_split(instance: Affinity, labels: Array, k: int, rng: np.random.Generator, clock: Clock) -> Array:
    """Labels (n,) int32 after refinement, merging and splitting, until neither lowers NCut or the clock's time is up.

    A step of the clock's budget is a refined candidate.
    """
    search = Search(instance, k, rng, clock)
    return search.descended(search.refined(labels)).labels


class Search:
    """What improves labels of one instance; `steps` counts the candidates that it has refined."""

    def __init__(self, instance: Affinity, k: int, rng: np.random.Generator, clock: Clock) -> None:
        self.arrays, self.k, self.rng, self.clock = kernels.csr(instance), k, rng, clock
        self.steps = 0
        self._exact = instance.nodes + 1 if is_flat(instance) else EXACT_CLUSTER
        self._cuts: dict[bytes, Cut] = {}
        self._place = np.full(instance.nodes, -1, np.int32)

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self.clock.spent(self.steps)

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return self.clock.share >= 1

    def refined(self, labels: Array) -> State:
        """The state of refined labels."""
        self.steps += 1
        state = kernels.state_of(self.arrays, filled(labels, self.k), self.k)
        for _ in range(SWEEPS // BATCH):
            if kernels.refine(self.arrays, state, self.rng.permutation(len(labels)), BATCH) or self.late:
                break
        return state

    def descended(self, state: State) -> State:
        """Merge and split while it lowers NCut."""
        for _ in range(ROUNDS):
            better = None if self.spent else self._better(state)
            if better is None:
                break
            state = better
        return state

    def disturbed(self, state: State) -> State:
        """Some points put into clusters at random, refined."""
        labels = state.labels.copy()
        changed = self.rng.random(len(labels)) < self.rng.uniform(0, CHANGED)
        labels[changed] = self.rng.integers(self.k, size=int(changed.sum()))
        return self.refined(labels)

    def kicked(self, state: State) -> State:
        """A random one of the cheap combinations, refined; where there are none, some points disturbed."""
        combinations = self._combinations(state, LISTED)
        if not combinations:
            return self.disturbed(state)
        return self._combined(state, combinations[int(self.rng.integers(len(combinations)))])

    def _better(self, state: State) -> State | None:
        cost = kernels.ncut(state)
        for combination in self._combinations(state, TRIED):
            if self.spent:
                break
            tried = self._combined(state, combination)
            if kernels.ncut(tried) < cost - LEAST:
                return tried
        return None

    def _combined(self, state: State, combination: Combination) -> State:
        labels = state.labels.copy()
        labels[labels == combination.b] = combination.a
        labels[combination.part] = combination.b
        return self.refined(labels)

    def _combinations(self, state: State, count: int) -> list[Combination]:
        """The combinations that add least to NCut before refinement, best first."""
        if self.k < 3:
            return []
        merging = kernels.merges(kernels.between(self.arrays, state.labels, self.k), state.volume)
        pairs = _least(merging.ravel(), LISTED)
        cuts = self._all_cuts(state)
        splitting = np.array([cut.change for cut in cuts])
        split = _least(splitting, LISTED)
        a, b = np.divmod(pairs, self.k)
        change = merging[a, b][:, None] + splitting[split][None, :]
        change[(a[:, None] == split) | (b[:, None] == split)] = np.inf
        rows, columns = np.divmod(_least(change.ravel(), count), len(split)) if len(split) else (pairs[:0], split)
        return [Combination(int(a[i]), int(b[i]), cuts[split[j]].part) for i, j in zip(rows, columns, strict=True)]

    def _all_cuts(self, state: State) -> list[Cut]:
        """The best cut of each cluster; those not reached in time cannot be cut."""
        members = np.split(np.argsort(state.labels, kind="stable"), np.cumsum(state.size)[:-1])
        return [self._cut(state, nodes) for nodes in members]

    def _cut(self, state: State, members: Array) -> Cut:
        key = members.tobytes()
        if key in self._cuts:
            return self._cuts[key]
        if len(members) < 2 or self.late:
            return Cut(np.inf, members[:0])
        order = members[self._positions(members).argsort(kind="stable")]
        low = max(1, int(LEAST_SHARE * len(members)))
        change, size = kernels.sweep_cut(self.arrays, state, order, low, len(members) - low)
        if len(self._cuts) >= KEPT:
            self._cuts.clear()
        self._cuts[key] = Cut(change, order[:size])
        return self._cuts[key]

    def _positions(self, members: Array) -> Array:
        """Where the points of a cluster (c,) int64 lie on its second eigenvector, (c,) float64.

        Components of the cluster beside the largest lie behind it, one after the other.
        """
        from scipy.sparse import csr_matrix, diags
        from scipy.sparse.csgraph import connected_components

        rows, columns, weights = kernels.subgraph(self.arrays, members, self._place)
        block = csr_matrix((weights.astype(np.float64), columns, rows), (len(members), len(members)))
        count, component = connected_components(block, directed=False)
        block = block + diags(self.arrays.loops[members].astype(np.float64))
        if count == 1:
            return _second(block, self._exact)
        sizes = np.bincount(component)
        rank = np.empty(count)
        rank[np.argsort(-sizes, kind="stable")] = np.arange(count)
        positions = 2.0 * rank[component]
        main = np.flatnonzero(positions == 0)
        positions[main] = _second(block[main][:, main], self._exact)
        return positions


def _second(weights: Any, exact: int) -> Array:
    """The second eigenvector of connected affinities, for D^-1 W, between -1 and 1; one point lies at 0.

    `exact` is the number of points below which it is found by factorising.
    """
    degree = np.asarray(weights.sum(axis=1)).ravel()
    n = len(degree)
    if n == 1:
        return np.zeros(1)
    start = np.random.default_rng(0).standard_normal(n)  # the same whenever the cluster comes again
    _, vectors = largest(normalised(weights, degree), 2, start, n < exact)
    vector = vectors[:, 1] / np.sqrt(np.maximum(degree, 1))
    return np.asarray(vector / max(float(np.abs(vector).max()), 1e-300))


def _least(values: Array, count: int) -> Array:
    """Places of the least finite values (m,), ascending, at most `count`."""
    order = np.argsort(values, kind="stable")[:count]
    return order[np.isfinite(values[order])]
