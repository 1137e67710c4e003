"""The recommended partitioner: clustering, recursive bisection, k-way FM, flows, and a population that is combined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.options import Range
from sysgym.core.problem import Array, Solution
from sysgym.graphs.csr import Graph
from sysgym.graphs.hypergraph import Hypergraph
from sysgym_agents.core import Budget, Clock
from sysgym_agents.partitioning.baselines import PARTITIONING, cut_of, keep_fixed
from sysgym_agents.partitioning.multilevel.hypergraph import solve_hypergraph
from sysgym_agents.partitioning.multilevel.isolated import filled, without_isolated
from sysgym_agents.partitioning.multilevel.population import Member, evolved

if TYPE_CHECKING:
    from sysgym.graphs.multilevel.levels import Level
    from sysgym.partitioning.problem import Partitioning

BISECTIONS = 4  # recursive bisections of the coarsest graph, of which the best is kept
DRAWN, EVERY = 3, 6  # tries of a bisection, of six, that begin with random sides, in one run of so many
WORTH = 0.01  # share of the cut that exchanges must remove to be kept: full parts hold up later searches
WIDE = 0.1  # of the corridors of flows: what a side may weigh above the limit, in shares of a part
FLOWS = 2  # rounds of them on a level, at most


class FM:
    """Multilevel partitioning with k-way Fiduccia-Mattheyses searches and flows, repeated and combined.

    A run clusters nodes until few are left, bisects those again and again, and refines on every level back up: moves
    over the whole graph, moves from single spots of the boundary, and balanced minimum cuts between pairs of parts. On
    the graph itself nodes are exchanged between full parts, if that removes much; nodes without edges are left out, and
    fill up the parts in the end. Every sixth run bisects from random sides too, which growing never finds.
    Runs are a population, whose members are combined and sent through V-cycles (Walshaw 2004) while the budget lasts.
    A given start is improved by V-cycles alone. Hypergraphs have a search of their own, of the same plan.

    Hyper-parameters:
        runs: steps, if there is no budget. levels: False refines the graph itself alone, without clusters.
        load: how much moves out of heavy parts into light ones come first; 0: the cut alone says.
    """

    problems = PARTITIONING
    step = "a run or a V-cycle, which answers one partition"
    indivisible = "a run: coarsening, bisecting and refining the whole graph once"

    def __init__(
        self, *, runs: Annotated[int, Range(1, 10**9)] = 10, levels: bool = True,
        load: Annotated[float, Range(0, 1e6)] = 0.0,
    ) -> None:  # fmt: skip
        self.runs, self.levels, self.load = runs, levels, load

    def solve(
        self, problem: Partitioning, instance: Graph | Hypergraph, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The best feasible partition that the budget allows (one run at least).

        UsageError for `levels` and `load` on a hypergraph, whose search has neither.
        """
        clock, theta = Clock(budget), np.array([0.0, 0.0, self.load, 0.0, 0.0])
        if isinstance(instance, Hypergraph):
            if not self.levels or self.load:
                raise UsageError(
                    f"agent 'fm' takes levels and load on graphs alone, and {instance.name} is a hypergraph; leave "
                    "them out."
                )
            return solve_hypergraph(problem, instance, rng, clock, self.runs)
        return {"part": searched(problem, instance, theta, rng, clock, Plan(self.runs, self.levels))}


class Plan(NamedTuple):
    """How a search goes."""

    runs: int  # steps, where there is no budget
    levels: bool = True


def searched(
    problem: Partitioning, graph: Graph, theta: Array, rng: np.random.Generator, clock: Clock, plan: Plan
) -> Array:
    """The best partition (n,) int32 that the budget allows; `theta` (5,) weighs the features of a move's priority."""
    k, limit = problem.k, problem.limit(graph)
    kept = without_isolated(graph, k, limit)
    search = Search(kept.graph, k, limit, theta, rng, plan.levels)
    return filled(graph, kept, evolved(search, kept.graph.start, clock, plan.runs).part, k)


class Search:
    """The steps of `FM` on a graph; `theta` (5,) weighs the features of a move's priority."""

    def __init__(
        self, graph: Graph, k: int, limit: int, theta: Array, rng: np.random.Generator, levels: bool = True
    ) -> None:
        self.graph, self.k, self.limit, self.theta, self.rng, self.levels = graph, k, limit, theta, rng, levels
        self.state = rng.integers(1, 2**63, 1, dtype=np.uint64)
        self.made = 0  # runs

    def run(self) -> Member:
        """A partition from nothing."""
        levels = self.coarsened(self.graph.given)
        self.made += 1
        return self.up(levels, self.best_bisection(levels[-1][0], 0 if self.made % EVERY else DRAWN))

    def given(self, part: Array) -> Member:
        """A given partition, improved; fixed nodes go to their parts."""
        return self.up([(self.graph, np.zeros(0, np.int32))], keep_fixed(self.graph, part, self.k))

    def cycle(self, better: Array, other: Array | None = None) -> Member:
        """Coarsen within the parts of one or two partitions, and refine the better one up again."""
        group = better.astype(np.int64) if other is None else better.astype(np.int64) * self.k + other
        levels, part = self.coarsened(2 * group + (self.graph.given < 0)), better
        for _, coarse in levels[:-1]:
            part = part[np.unique(coarse, return_index=True)[1]]
        return self.up(levels, part.copy())

    def coarsened(self, group: Array) -> list[Level]:
        """Levels from the graph to a small one; nodes of different groups (n,) stay apart."""
        if not self.levels:
            return [(self.graph, np.zeros(0, np.int32))]
        from sysgym.graphs.multilevel.levels import coarsen

        return coarsen(self.graph, self.k, self.limit, group, self.state)

    def best_bisection(self, graph: Graph, drawn: int = 0) -> Array:
        """The best of some recursive bisections, refined."""
        from sysgym.graphs.multilevel import balance_kernels, bisection_kernels

        arrays, found = balance_kernels.csr(graph), []
        for _ in range(BISECTIONS):
            part = np.zeros(graph.nodes, np.int32)
            bisection_kernels.bisect(arrays, part, self.k, self.room(graph), drawn, self.state)
            self.improve(graph, part)
            found.append(self.member(graph, part))
        return min(found, key=lambda member: member.key).part

    def up(self, levels: list[Level], part: Array) -> Member:
        """The partition of the coarsest graph, refined there and on every finer one."""
        self.improve(levels[-1][0], part)
        for finer, coarse in reversed(levels[:-1]):
            part = part[coarse]
            self.improve(finer, part)
        return self.member(self.graph, part)

    def improve(self, graph: Graph, part: Array) -> None:
        """Move nodes within the limit where parts outweigh it, then refine. Where the limit leaves no room for the
        nodes of a level, parts may weigh a little more until the last level.
        """
        from sysgym.graphs.multilevel import balance_kernels
        from sysgym.graphs.multilevel import refinement_kernels as kernels
        from sysgym_agents.partitioning.multilevel import exchange_kernels, flow_kernels

        arrays, most = balance_kernels.csr(graph), self.room(graph)
        limit = self.limit if graph is self.graph else most
        limits, room = np.full(self.k, limit, np.int64), np.full(self.k, most, np.int64)
        if np.bincount(part, graph.vwgt, self.k).max() > limit:
            balance_kernels.rebalance(arrays, part, self.k, limit)
        kernels.improve(arrays, part, limits, room, self.theta, kernels.PASSES, kernels.ROUNDS, self.state)
        if graph is self.graph:
            other, table = part.copy(), kernels.make_table(arrays, part, self.k, self.theta)
            if exchange_kernels.exchange(arrays, table, other, limits) > WORTH * cut_of(graph, part):
                part[:] = other
                kernels.improve(arrays, part, limits, room, self.theta, kernels.PASSES, kernels.ROUNDS, self.state)
        wide = most + int(WIDE * graph.total_node_weight / self.k)
        flow_kernels.flows(arrays, part, limits, wide, FLOWS, self.state)

    def room(self, graph: Graph) -> int:
        """What a part may weigh inside a search on a level."""
        from sysgym.graphs.multilevel.balance_kernels import csr
        from sysgym.graphs.multilevel.refinement_kernels import room_of

        return int(room_of(csr(graph), self.k, self.limit))

    def member(self, graph: Graph, part: Array) -> Member:
        """A partition with its excess and cut."""
        heaviest = int(np.bincount(part, graph.vwgt, self.k).max())
        return Member((max(heaviest - self.limit, 0), cut_of(graph, part)), part)
