"""Kernels that make a hypergraph smaller: clusters of nodes that share nets, and what is left of the nets."""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit
from sysgym.core.problem import Array
from sysgym.graphs.labels.net_kernels import Nets

LARGE = 300  # pins; larger nets say nothing about which nodes belong together


@njit
def cluster(h, group, order, heaviest, shrink):
    """Cluster of every node, (n,) int32, and how many there are.

    A node in `order` (n,) that is alone joins the neighbouring cluster C of the largest r / weight(C), where r sums
    weight / (pins - 1) over the nets that they share. Clusters stay within a group (n,) and below `heaviest`; at most
    `shrink` of the nodes are joined.
    """
    n = len(h.vwgt)
    leader = np.arange(n).astype(np.int32)
    weight, members = h.vwgt.copy(), np.ones(n, np.int32)
    rating, seen = np.zeros(n), np.empty(n, np.int32)
    left = int(n * shrink)
    for v in order:
        if left == 0:
            break
        if leader[v] != v or members[v] > 1:
            continue
        count = 0
        for i in range(h.node_ptr[v], h.node_ptr[v + 1]):
            e = h.nets[i]
            size = h.net_ptr[e + 1] - h.net_ptr[e]
            if size > LARGE or size < 2:
                continue
            share = h.weights[e] / (size - 1)
            for j in range(h.net_ptr[e], h.net_ptr[e + 1]):
                c = leader[h.pins[j]]
                if rating[c] == 0.0:
                    seen[count] = c
                    count += 1
                rating[c] += share
        best, most = -1, 0.0
        for i in range(count):
            c = seen[i]
            if c != v and group[c] == group[v] and weight[c] + h.vwgt[v] <= heaviest:
                score = rating[c] / max(weight[c], 1)
                if score > most:
                    best, most = c, score
            rating[c] = 0.0
        if best >= 0:
            leader[v] = best
            weight[best] += h.vwgt[v]
            members[best] += 1
            left -= 1
    coarse, count = np.full(n, -1, np.int32), 0
    for v in range(n):
        if leader[v] == v:
            coarse[v] = count
            count += 1
    for v in range(n):
        coarse[v] = coarse[leader[v]]
    return coarse, count


@njit
def _shrunk(h, coarse, count):
    """Pins of each net in clusters, each once, nets of one of them left out; and a number that equal nets share."""
    nets = len(h.weights)
    ptr, pins = np.zeros(nets + 1, np.int64), np.empty(len(h.pins), np.int32)
    weights, code = np.empty(nets, np.int64), np.empty(nets, np.int64)
    seen = np.full(count, -1, np.int64)
    kept, used = 0, 0
    for e in range(nets):
        begin, total = used, np.uint64(0)
        for i in range(h.net_ptr[e], h.net_ptr[e + 1]):
            c = coarse[h.pins[i]]
            if seen[c] != e:
                seen[c] = e
                pins[used] = c
                used += 1
                mixed = (np.uint64(c) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
                mixed ^= mixed >> np.uint64(29)
                total += mixed * np.uint64(0xBF58476D1CE4E5B9)
        if used - begin < 2:
            used = begin
            continue
        weights[kept], code[kept] = h.weights[e], np.int64(total >> np.uint64(2))
        kept += 1
        ptr[kept] = used
    return ptr[: kept + 1], pins[:used], weights[:kept], code[:kept]


@njit
def _merged(ptr, pins, weights, order, code, count):
    """Nets of the same pins become one, of their weight together; `order` sorts the nets by `code`."""
    nets = len(weights)
    keeper, seen = np.full(nets, -1, np.int64), np.full(count, -1, np.int64)
    for at in range(nets):
        e = order[at]
        if keeper[e] >= 0:
            continue
        keeper[e] = e
        for i in range(ptr[e], ptr[e + 1]):
            seen[pins[i]] = e
        other = at + 1
        while other < nets and code[order[other]] == code[e]:
            f = order[other]
            other += 1
            if keeper[f] >= 0 or ptr[f + 1] - ptr[f] != ptr[e + 1] - ptr[e]:
                continue
            same = True
            for i in range(ptr[f], ptr[f + 1]):
                if seen[pins[i]] != e:
                    same = False
                    break
            if same:
                keeper[f] = e
                weights[e] += weights[f]
    new_ptr, new_pins = np.zeros(nets + 1, np.int64), np.empty(len(pins), np.int32)
    new_weights, kept, used = np.empty(nets, np.int64), 0, 0
    for e in range(nets):
        if keeper[e] == e:
            for i in range(ptr[e], ptr[e + 1]):
                new_pins[used] = pins[i]
                used += 1
            new_weights[kept] = weights[e]
            kept += 1
            new_ptr[kept] = used
    return new_ptr[: kept + 1].copy(), new_pins[:used].copy(), new_weights[:kept].copy()


@njit
def transposed(ptr, pins, count):
    """Nets of each node."""
    node_ptr = np.zeros(count + 1, np.int64)
    for v in pins:
        node_ptr[v + 1] += 1
    for v in range(count):
        node_ptr[v + 1] += node_ptr[v]
    nets, free = np.empty(len(pins), np.int32), node_ptr[:-1].copy()
    for e in range(len(ptr) - 1):
        for i in range(ptr[e], ptr[e + 1]):
            v = pins[i]
            nets[free[v]] = e
            free[v] += 1
    return node_ptr, nets


def contract(h: Nets, coarse: Array, count: int) -> Nets:
    """The hypergraph of the clusters: pins of a net in one cluster become one, inner nets vanish, equal ones add up."""
    ptr, pins, weights, code = _shrunk(h, coarse, count)
    ptr, pins, weights = _merged(ptr, pins, weights, np.argsort(code, kind="stable"), code, count)
    loads = np.bincount(coarse, h.vwgt, count).astype(np.int64)
    node_ptr, nets = transposed(ptr, pins, count)
    return Nets(ptr, pins, weights, node_ptr, nets, loads)
