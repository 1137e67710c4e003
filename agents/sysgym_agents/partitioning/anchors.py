"""Anchors of parts in the spectral embedding of a graph: what `gap` sees of each part, and what its rule answers.

A part is one point of the embedding. Distances to points do not change when eigenvectors change signs or are rotated
into each other, and there may be any number of points.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph
from sysgym.graphs.spectral import laplacian_eigenvectors

TINY = 1e-9
ROUNDS = 8  # of k-means
EIGENVECTORS = (4, 16)  # at least and at most; in between as many as parts
EVEN = 1.03  # the heaviest part over the mean at which `evened` is content


def rayleigh_quotients(graph: Graph, vectors: Array) -> Array:
    """x^T L x / x^T D x of each column (N, F), (F,) float64: the eigenvalues of eigenvectors; 0 for zero columns."""
    degree = graph.degree.astype(np.float64)
    x = vectors - degree @ vectors / max(degree.sum(), 1.0)
    gaps = ((x[graph.sources] - x[graph.adjncy]) ** 2 * graph.adjwgt[:, None]).sum(axis=0) / 2
    norms: Array = degree @ x**2
    return np.where(norms > TINY, gaps / np.maximum(norms, TINY), 0.0)


def eigenvectors_for(k: int) -> int:
    """How many eigenvectors tell k parts apart."""
    return int(np.clip(k, *EIGENVECTORS))


def embedding(graph: Graph, count: int) -> Array:
    """`count` Laplacian eigenvectors of unit variance times (lambda_1 / lambda_i)^1/2, (N, count) float64.

    The factor tells how elongated a graph is: on a square the first two columns are equally wide. Where one component
    has more than half of the nodes, the eigenvectors are its own and the other nodes are at 0: small components would
    have eigenvectors, and anchors, to themselves, and cost nothing wherever they are.
    """
    inside = _main_component(graph)
    if inside is not None:
        found = np.zeros((graph.nodes, count))
        found[inside] = embedding(_subgraph(graph, inside), count)
        return found
    vectors = laplacian_eigenvectors(graph, count)
    values = rayleigh_quotients(graph, vectors)
    return np.asarray(vectors * np.clip(np.sqrt(values[:1] / np.maximum(values, TINY)), 0.1, 1.0))


def _main_component(graph: Graph) -> Array | None:
    """The nodes of the component with more than half of all nodes, (m,); None if there is none, or it is the graph."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    pattern = csr_matrix((np.ones(len(graph.adjncy)), graph.adjncy, graph.xadj), (graph.nodes, graph.nodes))
    many, label = connected_components(pattern, directed=False)
    sizes = np.bincount(label)
    if many == 1 or 2 * sizes.max() <= graph.nodes:
        return None
    return np.flatnonzero(label == sizes.argmax())


def _subgraph(graph: Graph, nodes: Array) -> Graph:
    """The graph of a component, its nodes ascending."""
    number = np.full(graph.nodes, -1, np.int32)
    number[nodes] = np.arange(len(nodes), dtype=np.int32)
    kept = number[graph.sources] >= 0
    xadj = np.concatenate([[0], np.cumsum(np.diff(graph.xadj)[nodes])])
    return Graph(graph.name, xadj, number[graph.adjncy[kept]], graph.adjwgt[kept], graph.vwgt[nodes])


def anchor_distances(points: Array, weight: Array, k: int, rng: np.random.Generator, rounds: int = ROUNDS) -> Array:
    """Squared distances (N, k) of points (N, F) to k anchors: k-means++ seeds, then so many rounds of k-means.

    Points count by their weight (N,). Arthur and Vassilvitskii 2007; Lloyd 1982.
    """
    weight = np.maximum(np.asarray(weight, np.float64), TINY)
    anchors = points[[int(rng.integers(len(points)))]]
    nearest = ((points - anchors[0]) ** 2).sum(axis=1)
    while len(anchors) < k:
        chance = nearest * weight
        total = chance.sum()
        i = int(rng.choice(len(points), p=chance / total)) if total > 0 else int(rng.integers(len(points)))
        anchors = np.concatenate([anchors, points[[i]]])
        nearest = np.minimum(nearest, ((points - points[i]) ** 2).sum(axis=1))
    for _ in range(rounds):
        label = _distances(points, anchors).argmin(axis=1)
        load = np.bincount(label, weight, k)
        sums = np.stack([np.bincount(label, weight * column, k) for column in points.T], axis=1)
        anchors = np.where(load[:, None] > 0, sums / np.maximum(load, TINY)[:, None], anchors)
    return _distances(points, anchors)


def _distances(points: Array, anchors: Array) -> Array:
    squares = (points**2).sum(axis=1)[:, None] - 2 * points @ anchors.T + (anchors**2).sum(axis=1)
    return np.asarray(np.maximum(squares, 0.0))


def draw_rounds(rng: np.random.Generator) -> Iterator[int]:
    """Rounds of k-means for one guess after the other: all of them, then drawn ones, so that guesses differ more."""
    yield ROUNDS
    while True:
        yield int(rng.integers(ROUNDS + 1))


def closeness(distances: Array) -> Array:
    """How near each node is to each anchor beside the nearest other one, (N, k) in -1..1; 1 at the anchor itself."""
    order = np.sort(distances, axis=1)
    own = distances <= order[:, :1]
    other = np.where(own, order[:, 1:2] if distances.shape[1] > 1 else order[:, :1], order[:, :1])
    return np.asarray((other - distances) / (other + distances + TINY))


def evened(scores: Array, weight: Array, rounds: int) -> Array:
    """The part of the largest score (N, k) of each node, (N,) int32, after one constant a part evens out their weights.

    The constants follow the load that each part has too much, in `rounds` steps that shrink a hundredfold; the evenest
    partition on the way counts. 0 rounds is the plain argmax. No edge is looked at.
    """
    parts = scores.shape[1]
    share = max(float(weight.sum()) / parts, TINY)
    best = scores.argmax(axis=1)
    step, shift, least = 0.25 * float(scores.std()), np.zeros(parts), np.inf
    for i in range(rounds + 1):
        part = (scores + shift).argmax(axis=1)
        load = np.bincount(part, weight, parts) / share
        if load.max() < least:
            best, least = part, float(load.max())
        if least < EVEN or rounds == 0:
            break
        shift = shift - step * 0.01 ** (i / rounds) * np.clip(load - 1, -1, 1)
    return best.astype(np.int32)
