"""Points for spectral clustering: eigenvectors of D^-1/2 W D^-1/2, and k-means on them."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np

from sysgym.clustering.instance import Affinity
from sysgym.core.problem import Array

DENSE = 150  # nodes up to which a dense solver is faster
EXACT = 3000  # nodes below which the shifted system is factorised: small eigenvalues lie close to each other
FLAT = 3  # coordinates of points that lie on a curve or a surface
SHIFT = 1e-5
TOLERANCE = 1e-4  # of Lanczos without a factor


def normalised(weights: Any, degree: Array) -> Any:
    """D^-1/2 W D^-1/2 of a sparse matrix (n, n) and D (n,)."""
    from scipy.sparse import diags

    scale = diags(1.0 / np.sqrt(np.maximum(degree, 1).astype(np.float64)))
    return (scale @ weights @ scale).tocsr()


def matrix_of(instance: Affinity) -> Any:
    """W with its diagonal, sparse (n, n) float64, in the instance's units."""
    from scipy.sparse import csr_matrix, diags

    arrays = (instance.adjwgt.astype(np.float64), instance.adjncy, instance.xadj)
    loops = (instance.vwgt - instance.degree).astype(np.float64)
    return csr_matrix(arrays, (instance.nodes, instance.nodes)) + diags(loops)


def largest(matrix: Any, count: int, start: Array, exact: bool) -> tuple[Array, Array]:
    """The `count` largest eigenvalues, descending, of D^-1/2 W D^-1/2 and their vectors (n, count).

    Lanczos begins with `start` (n,). `exact` factorises I - D^-1/2 W D^-1/2, shifted by a little.
    """
    from scipy.linalg import eigh
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    n = matrix.shape[0]
    if n <= max(DENSE, count + 1):
        values, vectors = eigh(matrix.toarray(), subset_by_index=[max(n - count, 0), n - 1])
    elif exact:
        values, vectors = _inverted(matrix, count, start)
    else:
        try:
            values, vectors = eigsh(matrix, count, which="LA", v0=start, tol=TOLERANCE, ncv=max(2 * count + 1, 20))
        except ArpackNoConvergence:
            values, vectors = _inverted(matrix, count, start)
    order = np.argsort(-values, kind="stable")
    return values[order], vectors[:, order]


def _inverted(matrix: Any, count: int, start: Array) -> tuple[Array, Array]:
    """The same by shift and invert on L = I - D^-1/2 W D^-1/2, sigma = -1e-5."""
    from scipy.sparse import identity
    from scipy.sparse.linalg import LinearOperator, eigsh, splu

    n = matrix.shape[0]
    laplacian = (identity(n) - matrix).tocsc()
    symmetric = {"SymmetricMode": True}
    factor = splu((laplacian + SHIFT * identity(n)).tocsc(), "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=symmetric)
    inverse = LinearOperator((n, n), factor.solve, dtype=np.float64)
    values, vectors = eigsh(laplacian, count, sigma=-SHIFT, OPinv=inverse, v0=start)
    return 1 - values, vectors


def is_flat(instance: Affinity) -> bool:
    """Whether the points have so few coordinates that the small eigenvalues lie close to each other."""
    return instance.x is not None and instance.x.shape[1] <= FLAT


def eigenvectors(instance: Affinity, count: int, rng: np.random.Generator) -> Array:
    """Vectors (n, count) of the largest eigenvalues of D^-1/2 W D^-1/2, found for each component of the graph.

    So equal eigenvalues of several components, which Lanczos would mix up, are told apart; larger components first.
    """
    from scipy.sparse.csgraph import connected_components

    matrix = normalised(matrix_of(instance), instance.vwgt)
    components, component = connected_components(matrix, directed=False)
    exact = components > 1 or instance.nodes < EXACT or is_flat(instance)
    members = np.split(np.argsort(component, kind="stable"), np.cumsum(np.bincount(component))[:-1])
    members.sort(key=len, reverse=True)
    members = members[:count]  # each has the eigenvalue 1
    values: list[Array] = []
    vectors = np.zeros((instance.nodes, 0))
    for nodes in members:
        block = matrix if components == 1 else matrix[nodes][:, nodes]
        found, local = largest(block, min(count, len(nodes)), rng.standard_normal(len(nodes)), exact)
        wide = np.zeros((instance.nodes, len(found)))
        wide[nodes] = local
        kept = np.argsort(-np.round(np.concatenate([*values, found]), 10), kind="stable")[:count]
        values, vectors = [np.concatenate([*values, found])[kept]], np.hstack([vectors, wide])[:, kept]
    return vectors


def rows_of_length_one(vectors: Array) -> Array:
    """Rows (n, d) divided by their lengths (Ng, Jordan and Weiss 2001); rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0))


@cache
def _pools() -> Any:
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()


def alone() -> Any:
    """Within it scikit-learn takes one thread: sums are the same on every machine, and small ones are faster."""
    return _pools().limit(limits=1)


def kmeans_labels(points: Array, k: int, starts: int, rng: np.random.Generator) -> Array:
    """Labels (n,) int32 by Lloyd's k-means, the best of some starts from k-means++; no cluster is empty if k <= n."""
    from sklearn.cluster import KMeans  # before the pools are listed

    if len(points) <= k:
        return np.arange(len(points), dtype=np.int32)
    with alone(), warnings.catch_warnings():  # fewer distinct points than clusters
        warnings.simplefilter("ignore")
        labels = KMeans(k, n_init=starts, random_state=int(rng.integers(2**31))).fit_predict(points)
    return filled(labels, k)


def filled(labels: Array, k: int) -> Array:
    """Labels (n,) int32 where each empty cluster has got a point of the largest one, as long as there are enough."""
    labels = np.array(labels, np.int32)
    size = np.bincount(labels, minlength=k)
    for c in np.flatnonzero(size == 0):
        largest_cluster = int(size.argmax())
        if size[largest_cluster] > 1:
            labels[np.flatnonzero(labels == largest_cluster)[-1]] = c
            size[largest_cluster] -= 1
            size[c] = 1
    return labels
