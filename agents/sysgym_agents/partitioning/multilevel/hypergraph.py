"""The multilevel search on hypergraphs behind the agent `fm`: a population of runs, then combinations and V-cycles.

A run bisects, again and again: it makes a hypergraph smaller by clusters, divides the smallest one by several growings
and Fiduccia-Mattheyses, and refines on every level back up (Karypis et al. 1999); then it refines all parts together.
A V-cycle does so within the parts of a partition, a combination within those of two (Sanders and Schulz 2012), from the
better one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sysgym.core.problem import Array, Solution
from sysgym.graphs.hypergraph import Hypergraph
from sysgym_agents.core import Clock
from sysgym_agents.partitioning.multilevel.population import Member, evolved

if TYPE_CHECKING:
    from sysgym.partitioning.problem import Partitioning


class Search:
    """One instance with its rules; every method draws from the same generator."""

    def __init__(self, problem: Partitioning, graph: Hypergraph, rng: np.random.Generator) -> None:
        from sysgym.graphs.labels.net_kernels import nets_of
        from sysgym_agents.partitioning.multilevel.hypergraph_starts import Level, Rules

        self.graph, self.rng, self.k, self.km1 = graph, rng, problem.k, problem.objective == "km1"
        self.limit, self.nets = problem.limit(graph), nets_of(graph)
        self.finest = Level(self.nets, graph.given, np.zeros(0, np.int32))
        self.rules = Rules(self.k, self.limit, self.km1)

    def seed(self) -> int:
        """Of a kernel."""
        return int(self.rng.integers(2**31))

    def member(self, part: Array) -> Member:
        """A partition of the whole hypergraph, judged."""
        from sysgym_agents.partitioning.multilevel import hypergraph_kernels as kernels

        labels = kernels.labels_of(self.nets, part, self.k, self.km1)
        excess = max(int(labels.load.max()) - self.limit, 0)
        return Member((excess, int(kernels.cut_cost(self.nets, labels, self.km1))), part)

    def given(self, part: Array) -> Member:
        """A given partition, improved; it is copied."""
        return self.improved(part.copy())

    def improved(self, part: Array) -> Member:
        """A partition refined in place, on the finest level alone."""
        from sysgym_agents.partitioning.multilevel.hypergraph_starts import improve

        return Member(improve(self.finest, part, np.full(self.k, self.limit), self.km1, self.seed()), part)

    def run(self) -> Member:
        """A partition from nothing."""
        from sysgym_agents.partitioning.multilevel.hypergraph_starts import partition

        return self.improved(partition(self.finest, self.rules, self.rng))

    def cycle(self, better: Array, other: Array | None = None) -> Member:
        """Refine `better` (n,) again on a hierarchy that keeps its parts, and those of `other`, apart."""
        from sysgym_agents.partitioning.multilevel.hypergraph_starts import coarsened, improve, room

        group = better.astype(np.int64) if other is None else better.astype(np.int64) * self.k + other
        levels, part = coarsened(self.finest, max(30 * self.k, 300), self.rng, group), better
        for level in levels[:-1]:
            part = part[np.unique(level.coarse, return_index=True)[1]]
        most, shares = np.full(self.k, self.limit), np.full(self.k, self.graph.total_node_weight / self.k)
        for level in reversed(levels[1:]):
            part = part[level.coarse] if len(level.coarse) else part.copy()
            improve(level, part, room(level, most, shares), self.km1, self.seed())
        return self.improved(part[levels[0].coarse] if len(levels) > 1 else part.copy())

    def packed(self) -> Member:
        """Longest-first packing: heavy, but within the limit."""
        from sysgym.graphs.labels.growing_kernels import spread
        from sysgym.graphs.labels.starts import first_labels

        part, load = first_labels(self.graph, self.k)
        spread(self.graph.vwgt, np.argsort(-self.graph.vwgt, kind="stable"), part, load)
        return self.member(part)


def solve_hypergraph(
    problem: Partitioning, graph: Hypergraph, rng: np.random.Generator, clock: Clock, runs: int
) -> Solution:
    """The best partition of the steps that the budget allows, one at least; without a budget, of `runs`."""
    search = Search(problem, graph, rng)
    best = evolved(search, graph.start, clock, runs)
    return {"part": (min(best, search.packed(), key=lambda m: m.key) if best.key[0] else best).part}


def allowed(problem: Partitioning, graph: Hypergraph) -> float:
    """The eps that another partitioner must be given for the limit of this hypergraph, whatever rule it comes from."""
    share = -(-graph.total_node_weight // problem.k)
    return (problem.limit(graph) + 0.5) / max(share, 1) - 1


def library_hypergraph(begun: Any, context: Any, graph: Any) -> Any:
    """A hypergraph as the object of Mt-KaHyPar."""
    pins, ends = graph.pins.tolist(), graph.net_ptr.tolist()
    nets = [pins[a:b] for a, b in pairwise(ends)]
    return begun.create_hypergraph(
        context, graph.nodes, len(nets), nets, graph.vwgt.tolist(), graph.net_weights.tolist()
    )
