"""Eigenvectors of the normalised graph Laplacian: positions for node features, layouts and spectral methods."""

from __future__ import annotations

import numpy as np

from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph


def laplacian_eigenvectors(graph: Graph, count: int) -> Array:
    """The `count` eigenvectors after the trivial one, (n, count) float64, scaled to unit variance a column.

    They solve L x = lambda D x (random-walk normalisation) by Lanczos on D^-1/2 A D^-1/2 from a fixed start. A
    column's sign is fixed so that its entry of largest magnitude is positive; missing columns are zero.
    """
    from scipy.sparse import csr_matrix, diags
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    found = np.zeros((graph.nodes, count))
    if graph.nodes < 3 or count == 0:
        return found
    degree = np.maximum(graph.degree, 1).astype(np.float64)
    matrix = csr_matrix((graph.adjwgt.astype(np.float64), graph.adjncy, graph.xadj), (graph.nodes, graph.nodes))
    scale = diags(1.0 / np.sqrt(degree))
    # the shift keeps every eigenvalue positive, so that bipartite graphs do not confuse Lanczos
    operator = scale @ matrix @ scale + diags(np.ones(graph.nodes))
    wanted = min(count + 1, graph.nodes - 1)
    if graph.nodes < 100:
        _, vectors = np.linalg.eigh(operator.toarray())
        vectors = vectors[:, ::-1][:, :wanted]
    else:
        start = np.random.default_rng(0).standard_normal(graph.nodes)
        try:
            values, vectors = eigsh(operator, k=wanted, which="LA", v0=start, tol=1e-4, ncv=max(4 * wanted, 40))
        except ArpackNoConvergence as error:
            values, vectors = error.eigenvalues, error.eigenvectors
        vectors = vectors[:, np.argsort(-values)]
    vectors = (vectors / np.sqrt(degree)[:, None])[:, 1 : count + 1]
    for column in range(vectors.shape[1]):
        x = vectors[:, column] - vectors[:, column].mean()
        x /= max(float(x.std()), 1e-12)
        found[:, column] = x * (np.sign(x[np.abs(x).argmax()]) or 1.0)
    return found
