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
from sysgym.graphs.hypergraph import Hypergraph


@lru_cache(maxsize=256)
def _factor(eps: float) -> Fraction:
    """1 + eps exactly, as the decimal fraction that a user wrote."""
    return 1 + Fraction(str(eps))


class Limit(NamedTuple):
    """The largest weight that a part may have."""

    weight: int
    relaxed: bool  # whether the weights of the nodes ask for more than the rule allows


def balance_limit(graph: Graph | Hypergraph, parts: int, eps: float, ubfactor: float | None = None) -> Limit:
    """L_max, what a part may weigh: floor((1+eps) ceil(W/k)), the rule of Walshaw's archive and of KaHIP.

    With hMETIS' UBfactor b, which is for two parts, each weighs (50-b) % to (50+b) % of W, and eps does not count.

    Where longest-first packing into k parts has a heavier part, that is the limit, so that a feasible partition is
    always known. It is less than W where two nodes have weight: all in one part is no partition. eps counts as the
    decimal number that it prints as, so that no rounding moves the limit. Fixed nodes are packed where they belong.
    """
    key = (parts, eps) if ubfactor is None else (parts, eps, ubfactor)
    found: Limit | None = graph.limits.get(key)
    if found is None:
        total = graph.total_node_weight
        asked = math.floor(_factor(eps) * -(-total // parts))
        if ubfactor is not None:
            asked = math.floor((50 + Fraction(str(ubfactor))) * total / 100)
        reached = packed_load(graph, parts, asked)
        most = max(total - 1 if np.count_nonzero(graph.vwgt) > 1 else total, *fixed_loads(graph, parts))
        found = graph.limits[key] = Limit(min(max(asked, reached), most), reached > asked)
    return found


def packed_load(graph: Graph | Hypergraph, parts: int, enough: int) -> int:
    """Largest load once each free node, heaviest first, went to the lightest part; `enough` where it cannot be more."""
    if graph.fixed is None and graph.total_node_weight + parts * graph.heaviest <= parts * enough:
        return enough  # the lightest part, which gets the next node, never weighs more than W/k
    loads = fixed_loads(graph, parts)
    heapq.heapify(loads)
    for weight in np.sort(graph.vwgt[graph.given < 0])[::-1].tolist():
        heapq.heapreplace(loads, loads[0] + weight)
    return max(loads)


def fixed_loads(graph: Graph | Hypergraph, parts: int) -> list[int]:
    """What the nodes weigh that are fixed in each part."""
    if graph.fixed is None:
        return [0] * parts
    there = graph.fixed >= 0
    found: list[int] = np.bincount(graph.fixed[there], graph.vwgt[there], parts).astype(np.int64).tolist()
    return found


class Cuts(NamedTuple):
    """What a partition cuts, in whole weights."""

    cut: int  # of edges or nets with pins in two parts or more
    km1: int  # each of them times the parts that it reaches less one
    of: list[float]  # of each part: the weight of the edges or nets that leave it
    boundary: int  # nodes on one of them


def cuts_of_graph(graph: Graph, part: Array, parts: int) -> Cuts:
    """What a partition (n,) of a graph cuts."""
    source = part[graph.sources]
    crossing = source != part[graph.adjncy]
    # integer sums: exact up to 2^53, so the same on every machine
    of = np.bincount(source, graph.adjwgt * crossing, parts).tolist()
    on_boundary = np.zeros(graph.nodes, bool)
    on_boundary[graph.sources[crossing]] = True
    cut = int(sum(of)) // 2
    return Cuts(cut, cut, of, int(np.count_nonzero(on_boundary)))


def cuts_of_hypergraph(graph: Hypergraph, part: Array, parts: int) -> Cuts:
    """What a partition (n,) of a hypergraph cuts."""
    reached = np.unique(graph.net_of.astype(np.int64) * parts + part[graph.pins])  # pairs of a net and a part of it
    net, where = reached // parts, reached % parts
    beyond = np.bincount(net, minlength=graph.edges) - 1
    crossing, weights = beyond > 0, graph.net_weights
    of = np.bincount(where, (weights * crossing)[net], parts).tolist()
    on_boundary = np.zeros(graph.nodes, bool)
    on_boundary[graph.pins[crossing[graph.net_of]]] = True
    boundary = int(np.count_nonzero(on_boundary))
    return Cuts(int(weights[crossing].sum()), int((weights * beyond).sum()), of, boundary)


def judge_partition(
    graph: Graph | Hypergraph, part: Array, parts: int, eps: float, ubfactor: float | None = None,
    objective: str = "cut",
) -> Verdict:  # fmt: skip
    """Judge a partition (n,) of integers in 0..parts-1. cost = cut, the weight of edges or nets between parts, or km1.

    Metrics: `cut`; `km1`, the weight of each net times the parts that it reaches less one (of a graph, the cut);
    `cut_ratio` = cut / total edge weight; `ncut` = sum_k cut(S_k) / vol(S_k) (GAP section 3.1; vol counts the nets of
    each node that have two pins or more);
    `imbalance` = max_k w(S_k) / ceil(W/k) - 1; `gap_balancedness` = 1 - mean_k (w_k/W - 1/k)^2 (GAP's figure, blind
    to large violations); `balancedness` = 1 - mean_k (w_k k/W - 1)^2; `excess` = max(0, max_k w(S_k) / L_max - 1).
    Empty parts are legal, as in the archive. With fixed nodes: `moved`, how many of them lie in another part; their
    share of all nodes adds to `excess`. With hMETIS' UBfactor: `min_load` and `l_min`, which follow from the largest.
    """
    if isinstance(graph, Graph):
        cuts = cuts_of_graph(graph, part, parts)
    else:
        cuts = cuts_of_hypergraph(graph, part, parts)
    volume, load = (np.bincount(part, weights, parts).tolist() for weights in (graph.degree, graph.vwgt))
    heaviest, lightest = int(max(load)), int(min(load))
    total, share = graph.total_node_weight, -(-graph.total_node_weight // parts)
    limit, relaxed = balance_limit(graph, parts, eps, ubfactor)
    least = 0 if ubfactor is None else total - limit
    rate = f"eps={eps:g}" if ubfactor is None else f"ubfactor={ubfactor:g}"
    violations = []
    if heaviest > limit:
        violations.append(f"part {load.index(heaviest)} weighs {heaviest}, the limit at {rate} is {limit}")
    if lightest < least:
        violations.append(f"part {load.index(lightest)} weighs {lightest}, at {rate} it is to weigh {least} at least")
    moved = np.flatnonzero((graph.given >= 0) & (graph.given != part))
    if len(moved):
        first = int(moved[0])
        violations.append(
            f"{len(moved)} fixed nodes lie in another part, the first is node "
            f"{first if graph.ids is None else int(graph.ids[first])} in {int(part[first])} instead of "
            f"{int(graph.given[first])}"
        )
    fractions = [weight / max(total, 1) for weight in load]
    metrics = {
        "cut": float(cuts.cut),
        "km1": float(cuts.km1),
        "cut_ratio": cuts.cut / max(graph.total_edge_weight, 1),
        "ncut": math.fsum(c / v for c, v in zip(cuts.of, volume, strict=True) if v > 0),
        "imbalance": heaviest / max(share, 1) - 1,
        "max_load": float(heaviest),
        "l_max": float(limit),
        "limit_relaxed": float(relaxed),
        "gap_balancedness": 1 - math.fsum([(f - 1 / parts) * (f - 1 / parts) for f in fractions]) / parts,
        "balancedness": 1 - math.fsum([(f * parts - 1) * (f * parts - 1) for f in fractions]) / parts,
        "nonempty_parts": float(np.count_nonzero(np.bincount(part, minlength=parts))),
        "boundary": float(cuts.boundary),
        "excess": max(0.0, heaviest / max(limit, 1) - 1) + len(moved) / max(graph.nodes, 1),
    }
    if graph.fixed is not None:
        metrics["moved"] = float(len(moved))
    if ubfactor is not None:
        metrics |= {"min_load": float(lightest), "l_min": float(least)}
    cost = cuts.km1 if objective == "km1" else cuts.cut
    return Verdict(not violations, float(cost), metrics, tuple(violations))
