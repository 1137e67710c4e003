"""First partitions of hypergraphs by bisections, each on a hierarchy of its own, from the best of several growings."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sysgym.core.problem import Array
from sysgym.graphs.labels.net_kernels import Nets
from sysgym_agents.partitioning.multilevel import hypergraph_kernels as kernels
from sysgym_agents.partitioning.multilevel.net_coarsening_kernels import cluster, contract, transposed

ROUNDS = (3, 10)  # of refinement on a level, global and localised
NONE = np.zeros(0, np.int32)
LOCAL = 40  # moves without a new best that end a localised search
SMALLEST = 300  # nodes, on which growings begin
TRIES = 20  # of them


class Level(NamedTuple):
    """A hypergraph and the cluster of each of its nodes in the next, smaller one."""

    nets: Nets
    given: Array  # (n,) int32, the part of fixed nodes, else -1
    coarse: Array  # (n,) int32; empty on the smallest


class Rules(NamedTuple):
    """What a partition may be and costs."""

    parts: int
    limit: int  # weight of a part
    km1: bool


def coarsened(finest: Level, smallest: int, rng: np.random.Generator, group: Array | None = None) -> list[Level]:
    """From a hypergraph itself to one of about `smallest` nodes; clusters stay within `group` (n,) int64."""
    nets, given, found = finest.nets, finest.given, []
    heaviest = max(int(1.5 * nets.vwgt.sum() / smallest), 1)
    while len(nets.vwgt) > smallest:
        kept = given.astype(np.int64) if group is None else group * (int(given.max()) + 2) + given + 1
        coarse, count = cluster(nets, kept, rng.permutation(len(nets.vwgt)), heaviest, 0.6)
        if count > 0.95 * len(nets.vwgt):
            break
        found.append(Level(nets, given, coarse))
        nets = contract(nets, coarse, count)
        one = np.unique(coarse, return_index=True)[1]
        given, group = given[one], None if group is None else group[one]
    return [*found, Level(nets, given, np.zeros(0, np.int32))]


def improve(level: Level, part: Array, most: Array, km1: bool, seed: int) -> tuple[int, int]:
    """Refine a partition in place; what a part then weighs above its `most` (k,), and what it costs."""
    labels = kernels.labels_of(level.nets, part, len(most), km1)
    work = kernels.work_of(level.given, len(most), seed)
    if (labels.load > most).any():
        kernels.rebalance(level.nets, labels, work, km1, most)
    patience = (max(100, len(part) // 50), LOCAL)
    kernels.refine(level.nets, labels, work, km1, most, ROUNDS, patience)
    return int(np.maximum(labels.load - most, 0).max()), int(kernels.cut_cost(level.nets, labels, km1))


def room(level: Level, most: Array, shares: Array) -> Array:
    """What parts may weigh on a smaller level, (k,) int64: so much that one cluster has room, if no heavy node."""
    cluster_weight = min(int(level.nets.vwgt.max()), int(1.5 * level.nets.vwgt.sum() / SMALLEST))
    return np.maximum(most, np.ceil(shares).astype(np.int64) + cluster_weight)


def partition(finest: Level, rules: Rules, rng: np.random.Generator) -> Array:
    """Parts (n,) int32 by recursive bisection; the imbalance is shared out over its depth. Parts may outweigh the
    limit where weights are uneven.
    """
    k, n = rules.parts, len(finest.given)
    if k == 1 or n == 0:
        return np.zeros(n, np.int32)
    nets, given, left = finest.nets, finest.given, (k + 1) // 2
    weight = int(nets.vwgt.sum())
    loose = max(rules.limit * k / max(weight, 1), 1.0) ** (1 / math.ceil(math.log2(k)))
    shares = np.array([weight * left / k, weight * (k - left) / k])
    most = np.minimum(shares * loose, rules.limit * np.array([left, k - left]))
    most = most.astype(np.int64) if k == 2 else np.ceil(most).astype(np.int64)
    side = _bisected(
        Level(nets, np.where(given < 0, -1, given >= left).astype(np.int32), NONE), shares, most, rules, rng
    )
    if k == 2:
        return side
    found = np.zeros(n, np.int32)
    for number, (first, count) in enumerate(((0, left), (left, k - left))):
        inside = side == number
        kept = np.where(given[inside] < 0, -1, given[inside] - first).astype(np.int32)
        half = Level(_restricted(nets, inside, rules.km1), kept, NONE)
        found[inside] = first + partition(half, rules._replace(parts=count), rng)
    return found


def _bisected(finest: Level, shares: Array, most: Array, rules: Rules, rng: np.random.Generator) -> Array:
    """The better side of each node, (n,) int32."""
    levels = coarsened(finest, SMALLEST, rng)
    top = levels[-1]
    allowed = most if len(levels) == 1 else room(top, most, shares)
    found: list[tuple[tuple[int, int], Array]] = []
    for number in range(TRIES):
        side = np.where(top.given >= 0, top.given, 1).astype(np.int32)
        near = rules.km1 or number % 2 == 1  # what nets reach leads on where none would be saved
        work = kernels.work_of(top.given, 2, int(rng.integers(2**31)))
        kernels.grow(top.nets, kernels.labels_of(top.nets, side, 2, near), work, near, shares)
        found.append((improve(top, side, allowed, rules.km1, int(rng.integers(2**31))), side))
    side = min(found, key=lambda item: item[0])[1]
    for number, level in reversed(list(enumerate(levels[:-1]))):
        side = side[level.coarse]
        improve(level, side, room(level, most, shares) if number else most, rules.km1, int(rng.integers(2**31)))
    return side


def _restricted(nets: Nets, inside: Array, km1: bool) -> Nets:
    """What is left to cut among some nodes (n,) bool: whole nets, and, with km1, pieces of nets."""
    net_of = np.repeat(np.arange(len(nets.weights)), np.diff(nets.net_ptr))
    here = inside[nets.pins]
    sizes = np.bincount(net_of[here], minlength=len(nets.weights))
    kept = (sizes > 1) & (km1 | (sizes == np.diff(nets.net_ptr)))
    names = np.cumsum(inside) - 1
    pins = names[nets.pins[here & kept[net_of]]].astype(np.int32)
    ptr = np.concatenate([[0], np.cumsum(sizes[kept])]).astype(np.int64)
    node_ptr, rows = transposed(ptr, pins, int(inside.sum()))
    return Nets(ptr, pins, nets.weights[kept], node_ptr, rows, nets.vwgt[inside])
