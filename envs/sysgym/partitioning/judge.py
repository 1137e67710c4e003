"""The only definition of cost and validity of a partition."""

from __future__ import annotations

import heapq
import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sysgym.core.problem import Array, Verdict
from sysgym.graphs.csr import Graph


@lru_cache(maxsize=256)
def _factor(eps: float) -> Fraction:
    """1 + eps exactly, as the decimal fraction that a user wrote."""
    return 1 + Fraction(str(eps))


class Limit(NamedTuple):
    """The largest weight that a part may have."""

    weight: int
    relaxed: bool  # whether the weights of the nodes ask for more than eps allows


def balance_limit(graph: Graph, parts: int, eps: float) -> Limit:
    """L_max, what a part may weigh: floor((1+eps) ceil(W/k)), the rule of Walshaw's archive and of KaHIP.

    Where longest-first packing into k parts has a heavier part, that is the limit, so that a feasible partition is
    always known. It is less than W where two nodes have weight: all in one part is no partition. eps counts as the
    decimal number that it prints as, so that no rounding moves the limit. Fixed nodes are packed where they belong.
    """
    found: Limit | None = graph.limits.get((parts, eps))
    if found is None:
        total = graph.total_node_weight
        asked = math.floor(_factor(eps) * -(-total // parts))
        reached = packed_load(graph, parts, asked)
        most = max(total - 1 if np.count_nonzero(graph.vwgt) > 1 else total, *fixed_loads(graph, parts))
        found = graph.limits[parts, eps] = Limit(min(max(asked, reached), most), reached > asked)
    return found


def packed_load(graph: Graph, parts: int, enough: int) -> int:
    """Largest load once each free node, heaviest first, went to the lightest part; `enough` where it cannot be more."""
    if graph.fixed is None and graph.total_node_weight + parts * graph.heaviest <= parts * enough:
        return enough  # the lightest part, which gets the next node, never weighs more than W/k
    loads = fixed_loads(graph, parts)
    heapq.heapify(loads)
    for weight in np.sort(graph.vwgt[graph.given < 0])[::-1].tolist():
        heapq.heapreplace(loads, loads[0] + weight)
    return max(loads)


def fixed_loads(graph: Graph, parts: int) -> list[int]:
    """What the nodes weigh that are fixed in each part."""
    if graph.fixed is None:
        return [0] * parts
    there = graph.fixed >= 0
    found: list[int] = np.bincount(graph.fixed[there], graph.vwgt[there], parts).astype(np.int64).tolist()
    return found


def judge_partition(graph: Graph, part: Array, parts: int, eps: float) -> Verdict:
    """Judge a partition (n,) of integers in 0..parts-1. cost = cut, the weight of edges between parts.

    Metrics: `cut`; `cut_ratio` = cut / total edge weight; `ncut` = sum_k cut(S_k) / vol(S_k) (GAP section 3.1);
    `imbalance` = max_k w(S_k) / ceil(W/k) - 1; `gap_balancedness` = 1 - mean_k (w_k/W - 1/k)^2 (GAP's figure, blind
    to large violations); `balancedness` = 1 - mean_k (w_k k/W - 1)^2; `excess` = max(0, max_k w(S_k) / L_max - 1).
    Empty parts are legal, as in the archive. With fixed nodes: `moved`, how many of them lie in another part; their
    share of all nodes adds to `excess`.
    """
    source = part[graph.sources]
    crossing = source != part[graph.adjncy]
    # integer sums: exact up to 2^53, so the same on every machine
    cut_of = np.bincount(source, graph.adjwgt * crossing, parts).tolist()
    volume, load = (np.bincount(part, weights, parts).tolist() for weights in (graph.degree, graph.vwgt))
    cut, heaviest = int(sum(cut_of)) // 2, int(max(load))
    total, share = graph.total_node_weight, -(-graph.total_node_weight // parts)
    limit, relaxed = balance_limit(graph, parts, eps)
    violations = []
    if heaviest > limit:
        violations.append(f"part {load.index(heaviest)} weighs {heaviest}, the limit at eps={eps:g} is {limit}")
    moved = np.flatnonzero((graph.given >= 0) & (graph.given != part))
    if len(moved):
        first = int(moved[0])
        violations.append(
            f"{len(moved)} fixed nodes lie in another part, the first is node "
            f"{first if graph.ids is None else int(graph.ids[first])} in {int(part[first])} instead of "
            f"{int(graph.given[first])}"
        )
    fractions = [weight / max(total, 1) for weight in load]
    on_boundary = np.zeros(graph.nodes, bool)
    on_boundary[graph.sources[crossing]] = True
    metrics = {
        "cut": float(cut),
        "cut_ratio": cut / max(graph.total_edge_weight, 1),
        "ncut": math.fsum(c / v for c, v in zip(cut_of, volume, strict=True) if v > 0),
        "imbalance": heaviest / max(share, 1) - 1,
        "max_load": float(heaviest),
        "l_max": float(limit),
        "limit_relaxed": float(relaxed),
        "gap_balancedness": 1 - math.fsum([(f - 1 / parts) * (f - 1 / parts) for f in fractions]) / parts,
        "balancedness": 1 - math.fsum([(f * parts - 1) * (f * parts - 1) for f in fractions]) / parts,
        "nonempty_parts": float(np.count_nonzero(np.bincount(part, minlength=parts))),
        "boundary": float(np.count_nonzero(on_boundary)),
        "excess": max(0.0, heaviest / max(limit, 1) - 1) + len(moved) / max(graph.nodes, 1),
    }
    if graph.fixed is not None:
        metrics["moved"] = float(len(moved))
    return Verdict(not violations, float(cut), metrics, tuple(violations))
