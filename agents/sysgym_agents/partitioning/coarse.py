"""A first guess on a coarse graph, and the repair on every level up to the graph itself: what `gap` and its rule share.

The clusters are those of `fm`, the repair is `rebalance_and_refine`. A guess is made again, on new clusters, while a
budget lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph
from sysgym_agents.core import Clock

if TYPE_CHECKING:
    from sysgym.partitioning.problem import Partitioning

SHRINK = 2.5  # nodes over clusters of a level
PART_NODES = 30  # nodes of the coarsest graph for each part, at least
SLOTS = 2**20  # nodes times parts of it, about, where parts are so many that they have fewer nodes
STALLED = 0.95  # clusters over nodes, from which a level is no progress

Guesses = Callable[[Graph, np.random.Generator], Iterator[Array]]  # partitions (n,) of a graph, balanced or not


class Plan(NamedTuple):
    """How guesses are made and repaired."""

    coarsest: int  # nodes of the coarse graph that is partitioned; 0: the graph itself is
    passes: int  # guesses on it, of which the best after repair there goes up
    restarts: int  # coarse graphs, where there is no limit of time


class Levels(NamedTuple):
    """A graph, ever coarser ones, and which node of the next one each node belongs to."""

    graphs: list[Graph]  # from the graph itself on
    clusters: list[Array]  # (n,) int32 of each but the last


def coarsest_nodes(k: int, nodes: int) -> int:
    """How many nodes the coarsest graph has, at most: `nodes`, or more where the parts are many.

    >>> coarsest_nodes(4, 400), coarsest_nodes(64, 400)
    (400, 1920)
    """
    return max(nodes, 2 * k, min(PART_NODES * k, SLOTS // k))


def coarsened(graph: Graph, most: int, heaviest: int, rng: np.random.Generator) -> Levels:
    """Levels down to about `most` nodes, by clustering; a cluster weighs `heaviest` at most.

    Fixed nodes share clusters with those of their part only. A cluster has the mean attributes of its nodes.
    """
    from sysgym.graphs.multilevel import coarsening_kernels as kernels
    from sysgym.graphs.multilevel.balance_kernels import csr

    state = rng.integers(1, 2**63, 1, dtype=np.uint64)
    heaviest = max(int(min(1.5 * graph.total_node_weight / max(most, 1), heaviest)), 1)
    levels = Levels([graph], [])
    while graph.nodes > most:
        arrays = csr(graph)
        fewest = max(int(graph.nodes / SHRINK), most)
        coarse, count, _ = kernels.cluster(arrays, graph.given.astype(np.int64), heaviest, fewest, False, state)
        if count > STALLED * graph.nodes:
            break
        one = np.unique(coarse, return_index=True)[1]  # of the nodes of each cluster
        fixed = None if graph.fixed is None else graph.fixed[one]
        mixed = None if graph.attributes is None else _means(graph.attributes, coarse, count)
        graph = replace(Graph(graph.name, *kernels.contract(arrays, coarse, count)), fixed=fixed, attributes=mixed)
        levels.graphs.append(graph)
        levels.clusters.append(coarse)
    return levels


def _means(values: Array, coarse: Array, count: int) -> Array:
    """The mean of the rows (n, A) of each of `count` clusters, (count, A) float32."""
    sums = np.stack([np.bincount(coarse, column, count) for column in values.T], axis=1)
    return np.asarray(sums / np.bincount(coarse, minlength=count)[:, None], np.float32)


def repaired(levels: Levels, level: int, part: Array, rule: tuple[int, int], clock: Clock) -> Array:
    """A partition (n,) of the graph of a level within the limit and refined, int32. rule: k and the limit of a part.

    Parts of a coarse graph may weigh what the moves of its nodes need.
    """
    from sysgym.graphs.multilevel.balance_kernels import csr
    from sysgym.graphs.multilevel.refinement_kernels import room_of
    from sysgym_agents.partitioning.baselines import rebalance_and_refine

    (k, l_max), graph = rule, levels.graphs[level]
    most = int(room_of(csr(graph), k, l_max)) if level else l_max
    return rebalance_and_refine(graph, part, k, most, clock)


def _key(graph: Graph, part: Array, rule: tuple[int, int]) -> tuple[int, int]:
    """What parts weigh too much, then the cut; less is better."""
    from sysgym_agents.partitioning.baselines import cut_of

    return max(int(np.bincount(part, graph.vwgt, rule[0]).max()) - rule[1], 0), cut_of(graph, part)


def once(
    guesses: Guesses, levels: Levels, rng: np.random.Generator, plan: Plan, rule: tuple[int, int], clock: Clock
) -> Array:
    """The best guess on the coarsest graph, repaired on every level up to the graph itself, (n,) int32."""
    last = len(levels.clusters)
    best, least = np.zeros(0, np.int32), (0, 0)
    for part in islice(guesses(levels.graphs[last], rng), plan.passes):
        found = repaired(levels, last, part, rule, clock)
        if not len(best) or _key(levels.graphs[last], found, rule) < least:
            best, least = found, _key(levels.graphs[last], found, rule)
        if clock.spent():
            break
    for level in range(last - 1, -1, -1):
        best = repaired(levels, level, best[levels.clusters[level]], rule, clock)
    return best


def repeated(
    guesses: Guesses, problem: Partitioning, graph: Graph, rng: np.random.Generator, plan: Plan, clock: Clock
) -> Array:
    """The best partition (n,) int32 of guesses on coarse graphs, each of other clusters, while time is left.

    One begins where there is room for 0.8 of the longest before it.
    """
    rule = problem.k, problem.limit(graph)
    most = coarsest_nodes(rule[0], plan.coarsest) if plan.coarsest else graph.nodes
    best, least = np.zeros(0, np.int32), (0, 0)
    longest, done = 0.0, 0
    while not done or (clock.share + 0.8 * longest < 1 if clock.budget.timed else done < plan.restarts):
        before = clock.share
        part = once(guesses, coarsened(graph, most, rule[1] // 2, rng), rng, plan, rule, clock)
        if not done or _key(graph, part, rule) < least:
            best, least = part, _key(graph, part, rule)
        longest, done = max(longest, clock.share - before), done + 1
    return best
