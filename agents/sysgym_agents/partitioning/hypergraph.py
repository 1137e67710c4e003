"""The multilevel search on hypergraphs behind the agent `fm`: a population of runs, then combinations and V-cycles.

A run bisects, again and again: it makes a hypergraph smaller by clusters, divides the smallest one by several growings
and Fiduccia-Mattheyses, and refines on every level back up (Karypis et al. 1999); then it refines all parts together.
A V-cycle does so within the parts of a partition, a combination within those of two (Sanders and Schulz 2012), from the
better one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Solution
from sysgym.graphs.hypergraph import Hypergraph
from sysgym_agents.core import Budget, Clock

if TYPE_CHECKING:
    from sysgym.partitioning.problem import Partitioning

PASSES = 20  # the agent's default, which the search on hypergraphs has no use for
FIRST = 0.2  # share of the time for the first population
MEMBERS = (2, 12)  # of the population
STILL = 4  # steps a member without a better best, at least 20, after which a population makes way
COMBINED = 0.8  # share of the later steps that combine two members


class Member(NamedTuple):
    """A partition and how good it is: what parts weigh too much, then the cost."""

    key: tuple[int, int]
    part: Array


class Search:
    """One instance with its rules; every method draws from the same generator."""

    def __init__(self, problem: Partitioning, graph: Hypergraph, rng: np.random.Generator) -> None:
        from sysgym.graphs.labels.net_kernels import nets_of
        from sysgym_agents.partitioning.hypergraph_starts import Level, Rules

        self.graph, self.rng, self.k, self.km1 = graph, rng, problem.k, problem.objective == "km1"
        self.limit, self.nets = problem.limit(graph), nets_of(graph)
        self.finest = Level(self.nets, graph.given, np.zeros(0, np.int32))
        self.rules = Rules(self.k, self.limit, self.km1)

    def seed(self) -> int:
        """Of a kernel."""
        return int(self.rng.integers(2**31))

    def member(self, part: Array) -> Member:
        """A partition of the whole hypergraph, judged."""
        from sysgym_agents.partitioning import hypergraph_kernels as kernels

        labels = kernels.labels_of(self.nets, part, self.k, self.km1)
        excess = max(int(labels.load.max()) - self.limit, 0)
        return Member((excess, int(kernels.cut_cost(self.nets, labels, self.km1))), part)

    def improved(self, part: Array) -> Member:
        """A partition refined in place, on the finest level alone."""
        from sysgym_agents.partitioning.hypergraph_starts import improve

        return Member(improve(self.finest, part, np.full(self.k, self.limit), self.km1, self.seed()), part)

    def run(self) -> Member:
        """A partition from nothing."""
        from sysgym_agents.partitioning.hypergraph_starts import partition

        return self.improved(partition(self.finest, self.rules, self.rng))

    def cycle(self, better: Array, other: Array | None = None) -> Member:
        """Refine `better` (n,) again on a hierarchy that keeps its parts, and those of `other`, apart."""
        from sysgym_agents.partitioning.hypergraph_starts import coarsened, improve, room

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
        from sysgym.graphs.labels.modes import first_labels

        part, load = first_labels(self.graph, self.k)
        spread(self.graph.vwgt, np.argsort(-self.graph.vwgt, kind="stable"), part, load)
        return self.member(part)


class Population:
    """Members, and the best of populations before them. One that stands still makes way for a fresh one; the best of
    three of them begin the next, which fresh runs complete.
    """

    def __init__(self, search: Search) -> None:
        self.search, self.rng = search, search.rng
        self.members: list[Member] = []
        self.elite: list[Member] = []
        self.wanted = 0  # members before the first step of evolution; 0: the clock says
        self.still = 0  # steps since the best became better

    @property
    def best(self) -> Member:
        """The best of all."""
        return min((*self.members, *self.elite), key=lambda m: m.key)

    def step(self, grown: bool) -> None:
        """A fresh member, or a child of some; `grown` says that the first population is complete."""
        if self.wanted == 0 and grown:
            self.wanted = len(self.members)
        if self.search.graph.start is None and (self.wanted == 0 or len(self.members) < self.wanted):
            self.members.append(self.search.run())
            return
        before = min(m.key for m in self.members)
        self.evolve()
        self.still = self.still + 1 if min(m.key for m in self.members) == before else 0
        if self.still >= max(STILL * self.wanted, 20) and self.search.graph.start is None:
            self.still = 0
            self.elite.append(min(self.members, key=lambda m: m.key))
            self.members = []
            if len(self.elite) == 3:
                self.members, self.elite = self.elite, []

    def evolve(self) -> None:
        """Combine two members, or cycle one; the child takes the place of a parent or of the worst that it beats."""
        members, rng = self.members, self.rng
        if len(members) > 1 and rng.random() < COMBINED:
            pair = sorted(rng.choice(len(members), 2, replace=False).tolist(), key=lambda i: members[i].key)
            child, parent = self.search.cycle(members[pair[0]].part, members[pair[1]].part), pair[0]
        else:
            best = min(range(len(members)), key=lambda i: members[i].key)
            parent = best if rng.random() < 0.5 else int(rng.integers(len(members)))
            child = self.search.cycle(members[parent].part)
        worst = max(range(len(members)), key=lambda i: members[i].key)
        if child.key < members[parent].key:
            members[parent] = child
        elif child.key < members[worst].key and all(child.key != m.key for m in members):
            members[worst] = child


def solve_hypergraph(
    problem: Partitioning, graph: Hypergraph, rng: np.random.Generator, budget: Budget, options: tuple[int, bool, int]
) -> Solution:
    """The best partition of the steps that the budget allows, one at least; without a budget as many as the first of
    the agent's options, `runs`, says. UsageError for `levels` or `passes` that this search does not have.
    """
    runs, levels, passes = options
    if not levels or passes != PASSES:
        raise UsageError(
            f"on hypergraphs such as {graph.name} the agent always coarsens and counts its own passes; leave its "
            f"options levels and passes at True and {PASSES}."
        )
    clock, search = Clock(budget), Search(problem, graph, rng)
    population = Population(search)
    step, longest = 0, 0.0
    while step == 0 or not _over(clock, step, longest, runs):
        before = clock.share
        if step == 0 and graph.start is not None:
            population.members = [search.improved(graph.start.copy())]
        else:
            population.step(not _still_first(clock, len(population.members)))
        step, longest = step + 1, max(clock.share - before, longest / 2)
    best = population.best
    return {"part": (min(best, search.packed(), key=lambda m: m.key) if best.key[0] else best).part}


def _over(clock: Clock, step: int, longest: float, runs: int) -> bool:
    """Whether no further step may begin."""
    if not clock.budget.timed and clock.budget.steps is None:
        return step >= runs
    return clock.spent(step) or clock.share + 0.8 * longest > 1


def _still_first(clock: Clock, members: int) -> bool:
    """Whether the first population is still to grow."""
    if clock.budget.timed:
        return members < MEMBERS[0] or (members < MEMBERS[1] and clock.share < FIRST)
    return members < 4


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
