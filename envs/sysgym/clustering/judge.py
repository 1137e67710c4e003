"""The only definition of cost and validity of a clustering."""

from __future__ import annotations

import math

import numpy as np

from sysgym.clustering.instance import Affinity
from sysgym.core.problem import Array, Verdict


def cluster_values(graph: Affinity, labels: Array, k: int) -> tuple[Array, Array, Array]:
    """Cut and volume of each cluster, in units of weight, and how many points it has: (k,) int64 each.

    Sums of whole numbers below 2^53, so the same on every machine.
    """
    from sysgym.graphs.labels.kernels import label_sums

    cut, volume = np.zeros(k, np.int64), np.zeros(k, np.int64)
    label_sums(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, labels, cut, volume)
    return cut, volume, np.bincount(labels, minlength=k)


def ncut_terms(cut: Array, volume: Array) -> list[float]:
    """Each cluster's share of the normalised cut; 1, the most there is, where a cluster has no volume."""
    return [c / v if v > 0 else 1.0 for c, v in zip(cut.tolist(), volume.tolist(), strict=True)]


def judge_clusters(graph: Affinity, labels: Array, k: int) -> Verdict:
    """Judge labels (n,) in 0..k-1. cost = NCut = sum_c cut(S_c) / vol(S_c) (Shi and Malik 2000), volumes over full
    degrees D_ii, a cluster without volume counting 1 (so that all in one cluster costs k - 1). Any labels are feasible.

    Metrics: `ncut`; `worst`, the largest share of a cluster; `clusters`, how many have points; `largest` and
    `smallest`, their points, the empty ones left out; `entropy` of the sizes over log k, 1 where all are equal;
    `components` of the graph before they were joined.
    """
    cut, volume, sizes = cluster_values(graph, labels, k)
    terms = ncut_terms(cut, volume)
    cost = 0.0
    for term in terms:  # in this order, as the kernels add them up
        cost += term
    used = [size for size in sizes.tolist() if size]
    entropy = -math.fsum(size / len(labels) * math.log(size / len(labels)) for size in used)
    metrics = {
        "ncut": cost,
        "worst": max(terms),
        "clusters": float(len(used)),
        "largest": float(max(used)),
        "smallest": float(min(used)),
        "entropy": entropy / math.log(k) + 0.0,
        "components": float(graph.parts),
    }
    return Verdict(True, cost, metrics)
