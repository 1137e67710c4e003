"""Classical agents of clustering: k-means, Gaussian mixtures, Ward, spectral clustering, and local search on NCut."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from sysgym.clustering.instance import Affinity
from sysgym.core.errors import UsageError
from sysgym.core.options import Range
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget, Clock

if TYPE_CHECKING:
    from sysgym.clustering.problem import Clustering
    from sysgym_agents.clustering.local_search import Search
    from sysgym_agents.clustering.ncut_kernels import State

CLUSTERING = ("Clustering",)
WARD_FULL = 5000  # points up to which Ward may merge any two clusters; beyond, only neighbours in the graph
STARTS = 10  # of k-means on eigenvectors


def points_of(agent: str, instance: Affinity) -> Array:
    """The points (n, d) float64; UsageError where an instance has none."""
    if instance.x is None:
        raise UsageError(
            f"agent {agent!r} needs points, and {instance.name} has affinities alone; choose 'merge-split'."
        )
    return instance.x.astype(np.float64)


class _Given:
    """What all have in common: one answer, of libraries that are imported before."""

    problems = CLUSTERING
    step = ""
    indivisible = "the whole answer"

    def prepare(self) -> None:
        """Import scikit-learn, the sparse solvers and the kernels."""
        import scipy.sparse.csgraph
        import scipy.sparse.linalg  # noqa: F401
        import sklearn.cluster  # noqa: F401

        import sysgym_agents.clustering.local_search  # noqa: F401


class KMeans(_Given):
    """Lloyd's k-means on the points from k-means++ seeds, the best of `n_init` starts; the graph counts for nothing."""

    def __init__(self, *, n_init: Annotated[int, Range(1, 10_000)] = 5) -> None:
        self.n_init = n_init

    def solve(self, problem: Clustering, instance: Affinity, rng: np.random.Generator, budget: Budget) -> Solution:
        """The labels of k-means."""
        from sysgym_agents.clustering.embedding import kmeans_labels

        points = points_of("kmeans", instance)
        return {"labels": kmeans_labels(points, problem.clusters(instance), self.n_init, rng)}


class GMM(_Given):
    """A mixture of Gaussians by expectation maximisation from k-means, a cluster each."""

    def __init__(self, *, covariance: Literal["full", "diag"] = "full", n_init: Annotated[int, Range(1, 1000)] = 1):
        self.covariance, self.n_init = covariance, n_init

    def prepare(self) -> None:
        """Import mixtures too."""
        import sklearn.mixture  # noqa: F401

        super().prepare()

    def solve(self, problem: Clustering, instance: Affinity, rng: np.random.Generator, budget: Budget) -> Solution:
        """The likelier component of each point."""
        from sklearn.mixture import GaussianMixture

        from sysgym_agents.clustering.embedding import alone, filled

        points, k = points_of("gmm", instance), problem.clusters(instance)
        if len(points) <= k:
            return {"labels": np.arange(len(points), dtype=np.int32)}
        seed, floor = int(rng.integers(2**31)), 1e-3 * float(points.var(axis=0).mean()) + 1e-12
        mixture = GaussianMixture(
            k, covariance_type=self.covariance, n_init=self.n_init, reg_covar=floor, random_state=seed
        )
        with alone(), warnings.catch_warnings():  # it has not converged after 100 rounds
            warnings.simplefilter("ignore")
            labels = mixture.fit_predict(points)
        return {"labels": filled(labels, k)}


class Ward(_Given):
    """Agglomerative clustering by Ward's criterion; of more than 5,000 points, only neighbours in the graph merge."""

    def solve(self, problem: Clustering, instance: Affinity, rng: np.random.Generator, budget: Budget) -> Solution:
        """The k clusters that are left."""
        from scipy.sparse import csr_matrix
        from sklearn.cluster import AgglomerativeClustering

        points, k = points_of("ward", instance), problem.clusters(instance)
        if len(points) <= k:
            return {"labels": np.arange(len(points), dtype=np.int32)}
        neighbours: Any = None
        if len(points) > WARD_FULL:
            arrays = (np.ones(len(instance.adjncy)), instance.adjncy, instance.xadj)
            neighbours = csr_matrix(arrays, (instance.nodes, instance.nodes))
        with warnings.catch_warnings():  # a graph of several components is joined, and says so
            warnings.simplefilter("ignore")
            labels = AgglomerativeClustering(k, linkage="ward", connectivity=neighbours).fit_predict(points)
        return {"labels": labels.astype(np.int32)}


class SpectralClustering(_Given):
    """k-means on the rows, of length one, of k eigenvectors of D^-1/2 W D^-1/2 (Ng, Jordan and Weiss 2001).

    `refine` moves points while that lowers NCut.
    """

    indivisible = "the whole answer: the eigenvectors, k-means and refinement"

    def __init__(self, *, refine: bool = False, n_init: Annotated[int, Range(1, 10_000)] = STARTS) -> None:
        self.refine, self.n_init = refine, n_init

    def solve(self, problem: Clustering, instance: Affinity, rng: np.random.Generator, budget: Budget) -> Solution:
        """The labels of k-means, refined if asked."""
        from sysgym_agents.clustering.local_search import refined

        k = problem.clusters(instance)
        labels = Embedded(instance, k, rng).labels(self.n_init)
        return {"labels": refined(instance, labels, k, rng) if self.refine else labels}


class Embedded:
    """The points of spectral clustering, for one k-means after the other."""

    def __init__(self, instance: Affinity, k: int, rng: np.random.Generator) -> None:
        from sysgym_agents.clustering.embedding import eigenvectors, rows_of_length_one

        self.k, self.rng, self.points = k, rng, np.zeros((instance.nodes, 0))
        if instance.nodes > k > 1:
            self.points = rows_of_length_one(eigenvectors(instance, k, rng))

    def labels(self, starts: int) -> Array:
        """Labels (n,) int32 of the best of some starts."""
        from sysgym_agents.clustering.embedding import kmeans_labels

        if self.k == 1:
            return np.zeros(len(self.points), np.int32)
        return kmeans_labels(self.points, self.k, starts, self.rng)


class _Searching(_Given):
    """Spectral clustering, improved; then again from other labels while the budget lasts, the best ever kept."""

    step = "a candidate: labels that are refined and whose NCut is known"

    def __init__(self, *, runs: Annotated[int, Range(1, 10**9)] = 1, n_init: Annotated[int, Range(1, 10_000)] = STARTS):
        self.runs, self.n_init = runs, n_init

    def solve(self, problem: Clustering, instance: Affinity, rng: np.random.Generator, budget: Budget) -> Solution:
        """The best labels of the runs that the budget allows, `runs` without one."""
        from sysgym_agents.clustering.local_search import Search
        from sysgym_agents.clustering.ncut_kernels import ncut

        clock, k = Clock(budget), problem.clusters(instance)
        embedded, search = Embedded(instance, k, rng), Search(instance, k, rng, clock)
        best = self._first(search, embedded)
        limited, run = budget.timed or budget.steps is not None, 1
        while not search.spent and (limited or run < self.runs) and instance.nodes > k > 1:
            found = self._next(search, embedded, best, run)
            if ncut(found) < ncut(best):
                best = found
            run += 1
        return {"labels": best.labels}

    def _first(self, search: Search, embedded: Embedded) -> State:
        raise NotImplementedError

    def _next(self, search: Search, embedded: Embedded, best: State, run: int) -> State:
        raise NotImplementedError


class NCutRefine(_Searching):
    """Spectral clustering whose points move while that lowers NCut; restarts from new seeds and disturbed labels."""

    indivisible = "the eigenvectors and k-means, or ten passes over the points"

    def _first(self, search: Search, embedded: Embedded) -> State:
        return search.refined(embedded.labels(self.n_init))

    def _next(self, search: Search, embedded: Embedded, best: State, run: int) -> State:
        """In turn: k-means from one new seed, and the best with some points at random in other clusters."""
        return search.refined(embedded.labels(1)) if run % 2 else search.disturbed(best)


class MergeSplit(_Searching):
    """`ncut-refine`, then two clusters merge while a third is cut in two, as long as that lowers NCut.

    Restarts put some points of the best labels elsewhere, or apply such a combination, taken at random.
    """

    indivisible = "the eigenvectors and k-means, ten passes over the points, or the eigenvector of a cluster"

    def _first(self, search: Search, embedded: Embedded) -> State:
        return search.descended(search.refined(embedded.labels(self.n_init)))

    def _next(self, search: Search, embedded: Embedded, best: State, run: int) -> State:
        """In turn: the best with some points at random in other clusters, and with a combination, searched on."""
        return search.disturbed(best) if run % 2 else search.descended(search.kicked(best))
