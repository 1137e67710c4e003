"""Kernel of the streaming rules.

Arrays as in `sysgym.graphs.labels.kernels`; `part` (n,) int32 is updated in place.
"""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit


@njit
def stream(graph, order, part, load, l_max, score):
    """Assign free nodes in `order` to the part of highest score among those with room (the lightest if none has).

    gamma = 0: linear deterministic greedy, score = neighbours * (1 - load / capacity) (Stanton and Kliot, KDD 2012).
    gamma > 0: Fennel, score = neighbours - alpha * gamma * load^(gamma-1) (Tsourakakis et al., WSDM 2014).
    `score` is (alpha, gamma, capacity).
    """
    xadj, adjncy, adjwgt, vwgt, given = graph
    alpha, gamma, capacity = score
    parts = len(load)
    near = np.zeros(parts, np.float64)
    for v in order:
        if given[v] >= 0:
            continue
        near[:] = 0.0
        for e in range(xadj[v], xadj[v + 1]):
            if part[adjncy[e]] >= 0:
                near[part[adjncy[e]]] += adjwgt[e]
        best, best_score = -1, -np.inf
        for p in range(parts):
            if load[p] + vwgt[v] > l_max:
                continue
            if gamma == 0.0:
                score = near[p] * (1.0 - load[p] / capacity)
            else:
                score = near[p] - alpha * gamma * load[p] ** (gamma - 1.0)
            if score > best_score or (score == best_score and load[p] < load[best]):
                best, best_score = p, score
        if best < 0:
            best = np.argmin(load)
        part[v] = best
        load[best] += vwgt[v]
