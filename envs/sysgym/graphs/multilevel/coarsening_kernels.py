"""Kernels of multilevel partitioning's way down: clusters of nodes, and the graph of the clusters.

Arrays as in `sysgym.graphs.labels.kernels`. Chance comes from a state (1,) uint64 that calls change.
"""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit


@njit
def chance(state):
    """The next number of xorshift64* in [0, 1); `state` (1,) uint64, not 0, goes on (Vigna 2016)."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return np.float64((x * np.uint64(2685821657736338717)) >> np.uint64(11)) / 9007199254740992.0


@njit
def shuffle(items, count, state):
    """Put the first `count` items in random order."""
    for i in range(count - 1, 0, -1):
        j = np.int64(chance(state) * (i + 1))
        items[i], items[j] = items[j], items[i]


@njit
def cluster(graph, group, heaviest, fewest, plain, state):
    """Coarse node of every node, (n,) int32, how many there are, and how many entries of `adjncy` were read.

    Nodes are visited in random order; one that is still alone joins the neighbouring cluster of its group with the
    largest r^2 / weight (`plain`: r alone), r the edge weight between them, while the cluster weighs at most
    `heaviest`; it ends at `fewest` clusters. Where that leaves many alone, as on graphs with hubs, those that hang on
    the same cluster join each other (two-hop clustering, LaSalle et al. 2015).
    """
    xadj, adjncy, adjwgt, vwgt, _ = graph
    n = len(vwgt)
    leader = np.arange(n).astype(np.int32)  # of the cluster that a node is in
    weight, alone = vwgt.copy(), np.ones(n, np.bool_)
    rating, touched = np.zeros(n, np.int64), np.empty(n, np.int32)
    wished = np.full(n, -1, np.int32)  # the best cluster, if weight were no matter
    order = np.arange(n).astype(np.int32)
    shuffle(order, n, state)
    count, work = n, np.int64(0)
    for v in order:
        if not alone[v]:
            continue
        if count <= fewest:
            break
        seen = 0
        work += xadj[v + 1] - xadj[v]
        for e in range(xadj[v], xadj[v + 1]):
            if group[adjncy[e]] == group[v]:
                c = leader[adjncy[e]]
                if rating[c] == 0:
                    touched[seen] = c
                    seen += 1
                rating[c] += adjwgt[e]
        best, best_score, any_best, any_score = -1, -1.0, -1, -1.0
        for i in range(seen):
            c = touched[i]
            score = np.float64(rating[c]) * (1.0 if plain else rating[c] / max(weight[c], 1))
            score *= 1.0 + 1e-6 * chance(state)
            if weight[c] + vwgt[v] <= heaviest and score > best_score:
                best, best_score = c, score
            if score > any_score:
                any_best, any_score = c, score
            rating[c] = 0
        if best < 0:
            wished[v] = any_best
            continue
        leader[v] = best
        weight[best] += vwgt[v]
        alone[v] = alone[best] = False
        count -= 1
    if count > 0.6 * n and count > fewest:
        waiting = np.full(n, -1, np.int32)  # who hangs on a cluster and looks for company
        for v in order:
            if not alone[v] or wished[v] < 0 or count <= fewest:
                continue
            u = waiting[wished[v]]
            if u >= 0 and group[u] == group[v] and weight[u] + vwgt[v] <= heaviest:
                leader[v] = u
                weight[u] += vwgt[v]
                alone[v] = alone[u] = False
                count -= 1
            else:
                waiting[wished[v]] = v
    coarse, number = np.full(n, -1, np.int32), 0
    for v in range(n):
        c = leader[v]
        if coarse[c] < 0:
            coarse[c] = number
            number += 1
        coarse[v] = coarse[c]
    return coarse, number, work


@njit
def contract(graph, coarse, count):
    """The graph of the coarse nodes: xadj, adjncy, adjwgt, vwgt. Parallel edges add up, inner ones vanish."""
    xadj, adjncy, adjwgt, vwgt, _ = graph
    n = len(vwgt)
    weights, first = np.zeros(count, np.int64), np.zeros(count + 1, np.int64)
    for v in range(n):
        weights[coarse[v]] += vwgt[v]
        first[coarse[v] + 1] += 1
    for c in range(count):
        first[c + 1] += first[c]
    members, cursor = np.empty(n, np.int32), first[:-1].copy()
    for v in range(n):
        members[cursor[coarse[v]]] = v
        cursor[coarse[v]] += 1
    new_xadj = np.zeros(count + 1, np.int64)
    new_adjncy, new_adjwgt = np.empty(len(adjncy), np.int32), np.empty(len(adjncy), np.int64)
    slot = np.full(count, -1, np.int64)
    used = np.int64(0)
    for c in range(count):
        begin = used
        for i in range(first[c], first[c + 1]):
            v = members[i]
            for e in range(xadj[v], xadj[v + 1]):
                d = coarse[adjncy[e]]
                if d == c:
                    continue
                if slot[d] >= begin:
                    new_adjwgt[slot[d]] += adjwgt[e]
                else:
                    slot[d] = used
                    new_adjncy[used], new_adjwgt[used] = d, adjwgt[e]
                    used += 1
        new_xadj[c + 1] = used
    return new_xadj, new_adjncy[:used].copy(), new_adjwgt[:used].copy(), weights
