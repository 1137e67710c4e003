"""The mode `multilevel`: the levels of a multilevel partitioner as an episode, with a budget of work.

Each action is one operator on the graph of the present level, which is the input graph at first. The list of actions
begins with what a fixed schedule would do, so that always its first row plays that schedule: cluster until few nodes
are left, bisect BISECTIONS times and keep the best, then search the whole graph, search from spots of the boundary and
go up, on every level; on the input graph begin again within the parts (a V-cycle). Going up from the input graph ends
the episode: where STILL cycles in succession changed nothing, the graph is too small for clusters or does not shrink by
them, or nothing else is left to do.

Work is what operators read, exact and the same on every machine: entries of `adjncy`, and the nodes of the level. An
operator that would use more than is left is undone and ends the episode. What then stands is the answer, projected to
the input graph without a search, and balanced there if the nodes of a coarse level were too heavy.
"""

from __future__ import annotations

import copy as copying
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Size, Solution
from sysgym.graphs.csr import Graph
from sysgym.graphs.hypergraph import Hypergraph
from sysgym.graphs.labels.modes import RefineOptions, Rules, global_sizes
from sysgym.graphs.labels.starts import grown_labels
from sysgym.graphs.multilevel.balance_kernels import csr, rebalance
from sysgym.graphs.multilevel.bisection_kernels import bisect
from sysgym.graphs.multilevel.levels import SHRINK, clustered, heaviest, members, smallest
from sysgym.graphs.multilevel.refinement_kernels import PASSES, ROUNDS, improve, room_of
from sysgym.partitioning.judge import cuts_of_graph

OPERATORS = ("cluster", "cluster_plain", "bisect", "search", "search_spots", "balance", "up")
CLUSTER, PLAIN, BISECT, SEARCH, SPOTS, BALANCE, UP = range(7)
BISECTIONS = 4  # of the schedule, of which the best is kept
STILL = 3  # cycles in succession that take nothing off the cut, after which an episode may end
ROUND_LIMIT = 200  # operators of an episode, if the options do not say
GAIN = np.zeros(5)  # moves are taken by their gain alone


@dataclass
class Levels:
    """The state of an episode; graphs and clusters are shared between copies, never changed."""

    graphs: tuple[Graph, ...]  # from the input graph to that of the present level
    clusters: tuple[Array, ...]  # of each of them but the last, the node of the next one that each node is in
    part: Array  # (nodes of the present level,) int32; empty before the first bisection
    cut: int  # of it
    heaviest: int  # what its heaviest part weighs
    answer: Array  # (n,) int32, the partition of the input graph that the episode would end with
    cost: int  # of the answer
    begun: int  # cost of the first answer
    tried: Array  # (7,) int64, how often each operator was used since the level was entered
    gained: Array  # (7,) float64, what each took off the cut the last time, over the cut
    used: Array  # (7,) int64, work of each the last time
    stale: Array  # (7,) bool, which have nothing to do that they have not done
    bottom: bool  # whether another bisection may take the place of the partition
    descending: bool  # whether the last operator made clusters
    before: int  # the cut with which the last cycle within parts began
    still: int  # cycles since the cut became less
    work: int  # used
    budget: int
    steps: int
    seed: int
    over: bool

    @property
    def graph(self) -> Graph:
        """That of the present level."""
        return self.graphs[-1]


class Made(NamedTuple):
    """What an operator did."""

    work: int
    part: Array | None = None  # a new partition of the level, if it made one
    graph: Graph | None = None  # a new level
    coarse: Array | None = None  # of which these are the clusters


@complete
class Multilevel:
    """Cluster, bisect, search and go up, in the order that the actions say."""

    node_features = ("assigned", "internal", "external", "part_load", "cluster")
    global_features = (
        "nodes", "edges", "parts", "eps", "level", "level_nodes", "divided", "cut", "answer", "max_load", "work",
        "progress",
    )  # fmt: skip
    candidate_features = (*OPERATORS, "scheduled", "tried", "gained", "used")
    state_features: tuple[str, ...] = ()

    def __init__(self, rules: Rules, options: RefineOptions, work: float) -> None:
        self.rules, self.options, self.work = rules, options, work

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A row of the list of operators."""
        return spaces.Discrete(len(OPERATORS))

    def start(self, graph: Graph, rng: np.random.Generator, solution: Solution | None = None) -> Levels:
        """The input graph without a partition, or with `solution` or that of the graph.

        UsageError for a hypergraph, and for a solution that moves a fixed node.
        """
        if isinstance(graph, Hypergraph):
            raise UsageError(
                f"mode 'multilevel' plays graphs, and {graph.name} is a hypergraph; choose another mode, or agent 'fm'."
            )
        part = graph.start if solution is None else solution[self.rules.key].astype(np.int32)
        if part is not None and ((graph.given >= 0) & (graph.given != part)).any():
            raise UsageError(f"a starting solution of {graph.name} must keep its fixed nodes; this one moves some.")
        k, limit = self.rules.count(graph), self.rules.limit(graph)
        start = self.options.start
        assert isinstance(start, str)
        first = part
        if first is None:
            first = grown_labels(graph, k, limit, start, rng)
        state = self.fresh(graph, first, int(rng.integers(2**63)))
        if part is not None:
            self._divide(state, part.copy())
        self._answer(state, first)
        state.begun = state.cost
        state.budget = int(self.work * pass_of_schedule(graph, k, limit))
        return state

    def fresh(self, graph: Graph, first: Array, seed: int) -> Levels:
        """The input graph without a partition; `first` (n,) int32 is the answer so far, not yet judged."""
        ops = len(OPERATORS)
        return Levels(
            (graph,), (), np.zeros(0, np.int32), 0, 0, first, 0, 0, np.zeros(ops, np.int64), np.zeros(ops),
            np.zeros(ops, np.int64), np.zeros(ops, bool), False, False, -1, 0, 0, 0, 0, seed, False,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------- actions

    def listed(self, state: Levels) -> list[int]:
        """The operator of each action: first what the schedule would do, then the others as they are numbered."""
        first = self.scheduled(state)
        return [first, *(op for op in range(len(OPERATORS)) if op != first)]

    def scheduled(self, state: Levels) -> int:
        """The operator that the fixed schedule would use."""
        shrinks = state.graph.nodes > smallest(self._k(state)) and not state.stale[CLUSTER]
        legal = self._legal(state)
        if legal[BALANCE]:
            return BALANCE
        if not len(state.part):
            return CLUSTER if shrinks else BISECT
        if state.descending and shrinks:
            return CLUSTER
        if legal[BISECT] and state.tried[BISECT] < BISECTIONS and not state.tried[SEARCH]:
            return BISECT
        for op in (SEARCH, SPOTS):
            if legal[op] and not state.tried[op]:
                return op
        return CLUSTER if len(state.graphs) == 1 and shrinks and not self._still(state) else UP

    def _k(self, state: Levels) -> int:
        return self.rules.count(state.graphs[0])

    def _limit(self, state: Levels) -> int:
        """What a part may weigh on the present level."""
        limit = self.rules.limit(state.graphs[0])
        return limit if len(state.graphs) == 1 else int(room_of(csr(state.graph), self._k(state), limit))

    def _still(self, state: Levels) -> bool:
        """Whether enough cycles in succession have changed nothing."""
        return state.still + (state.cut == state.before) >= STILL

    def _legal(self, state: Levels) -> Array:
        """Which operators may be used, (7,) bool."""
        legal = np.zeros(len(OPERATORS), bool)
        divided = bool(len(state.part))
        if state.graph.nodes > fewest(self._k(state)):
            legal[[CLUSTER, PLAIN]] = ~state.stale[[CLUSTER, PLAIN]]
        legal[BISECT] = not divided or state.bottom
        legal[[SEARCH, SPOTS]] = divided & ~state.stale[[SEARCH, SPOTS]]
        legal[BALANCE] = divided and not state.stale[BALANCE] and state.heaviest > self._limit(state)
        legal[UP] = len(state.graphs) > 1 or (
            divided
            and (
                self._still(state)
                or state.stale[CLUSTER]
                or state.graph.nodes <= smallest(self._k(state))
                or not legal.any()
            )
        )
        return legal

    def mask(self, graph: Graph, state: Levels, size: Size) -> Array:
        """Operators that may be used, (7,) int8, in the order of the list."""
        return np.asarray(self._legal(state)[self.listed(state)], np.int8)

    def done(self, graph: Graph, state: Levels) -> bool:
        """Whether the episode is over."""
        return state.over

    # --------------------------------------------------------------------------------------------------- steps

    def step(self, graph: Graph, state: Levels, action: Any) -> Levels:
        """Use an operator; what would take more work than is left is undone and ends the episode."""
        if state.over:
            return state
        op = self.listed(state)[int(action)]
        if op == UP and len(state.graphs) == 1:
            state.over = True
            return state
        made = self._made(state, op)
        state.steps += 1
        if state.work + made.work > state.budget:
            state.over = True
            return state
        if op in (CLUSTER, PLAIN) and len(state.graphs) == 1 and len(state.part):
            state.still = state.still + 1 if state.cut == state.before else 0
            state.before = state.cut
        state.work += made.work
        state.over = state.steps >= (self.options.steps or ROUND_LIMIT)
        self._take(state, op, made)
        return state

    def _made(self, state: Levels, op: int) -> Made:
        """What an operator makes of the present level; chance depends on the seed and the number of steps alone."""
        graph, k = state.graph, self._k(state)
        chance = np.maximum(np.random.SeedSequence([state.seed, state.steps]).generate_state(1, np.uint64), 1)
        if op in (CLUSTER, PLAIN):
            return self._clustered(state, op == PLAIN, chance)
        if op == UP:
            part = state.part[state.clusters[-1]] if len(state.part) else state.part
            return Made(state.graphs[-2].nodes, part)
        arrays, limit = csr(graph), self.rules.limit(state.graphs[0])
        room = int(room_of(arrays, k, limit))
        if op == BISECT:
            part = np.zeros(graph.nodes, np.int32)
            return Made(int(bisect(arrays, part, k, room, 0, chance)) + graph.nodes, part)
        part = state.part.copy()
        if op == BALANCE:
            rebalance(arrays, part, k, self._limit(state))
            moved = np.diff(graph.xadj)[part != state.part].sum()
            return Made(_entries(graph) + int(moved), part)
        limits, most = np.full(k, self._limit(state), np.int64), np.full(k, room, np.int64)
        passes, rounds = (PASSES, 0) if op == SEARCH else (0, ROUNDS)
        _, work = improve(arrays, part, limits, most, GAIN, passes, rounds, chance)
        return Made(int(work) + graph.nodes, part)

    def _clustered(self, state: Levels, plain: bool, chance: Array) -> Made:
        """The next level, within parts where there are any; fixed nodes meet no others."""
        graph, k, limit = state.graph, self._k(state), self.rules.limit(state.graphs[0])
        wanted = smallest(k)  # in the end; below it as many as one level leaves
        if graph.nodes <= wanted:
            wanted = max(int(graph.nodes / SHRINK), fewest(k))
        group = graph.given if not len(state.part) else 2 * state.part.astype(np.int64) + (graph.given < 0)
        found = clustered(graph, group, heaviest(graph, wanted, limit), wanted, plain, chance)
        return Made(found.work + graph.nodes, None, found.graph, found.coarse)

    def _take(self, state: Levels, op: int, made: Made) -> None:
        """Go on with what an operator made."""
        state.tried[op] += 1
        state.used[op] = made.work
        state.descending = op in (CLUSTER, PLAIN)
        if state.descending:
            if made.graph is None or made.coarse is None:
                state.stale[op] = True
                return
            state.graphs, state.clusters = (*state.graphs, made.graph), (*state.clusters, made.coarse)
            if len(state.part):
                state.part = state.part[members(made.coarse)]
            self._enter(state)
            return
        assert made.part is not None
        if op == UP:
            state.graphs, state.clusters, state.part = state.graphs[:-1], state.clusters[:-1], made.part
            self._enter(state)
            return
        before, known = (max(state.heaviest - self._limit(state), 0), state.cut), bool(len(state.part))
        former, taken = state.part, (state.cut, state.heaviest)
        self._divide(state, made.part)
        state.gained[op] = (before[1] - state.cut) / max(before[1], 1) if known else 0.0
        if op == BISECT and known and (max(state.heaviest - self._limit(state), 0), state.cut) >= before:
            state.part, (state.cut, state.heaviest) = former, taken
        elif op == BISECT or not np.array_equal(former, made.part):
            state.bottom |= op == BISECT
            state.stale[[SEARCH, SPOTS, BALANCE]] = False
        else:
            state.stale[op] = True
        self._answer(state)

    def _enter(self, state: Levels) -> None:
        """Nothing has been tried on a level that is new."""
        for record in (state.tried, state.used, state.gained, state.stale):
            record[:] = 0
        state.bottom = False

    def _measure(self, state: Levels, part: Array) -> tuple[int, int]:
        """Cut, and what the heaviest part weighs."""
        graph, k = state.graph, self._k(state)
        return cuts_of_graph(graph, part, k).cut, int(np.bincount(part, graph.vwgt, k).max())

    def _divide(self, state: Levels, part: Array) -> None:
        state.part = part
        state.cut, state.heaviest = self._measure(state, part)

    def _answer(self, state: Levels, part: Array | None = None) -> None:
        """The partition projected to the input graph, balanced there where a part is too heavy; or that given."""
        graph, k = state.graphs[0], self._k(state)
        limit = self.rules.limit(graph)
        if part is None:
            part = state.part
            for coarse in reversed(state.clusters):
                part = part[coarse]
            part = part.copy()
            if state.heaviest > limit:
                rebalance(csr(graph), part, k, limit)
        state.answer = part
        state.cost = cuts_of_graph(graph, part, k).cut

    def copy(self, state: Levels) -> Levels:
        """Fork a state."""
        made = copying.copy(state)
        for item in fields(state):
            if isinstance(value := getattr(state, item.name), np.ndarray):
                setattr(made, item.name, value.copy())
        return made

    # ------------------------------------------------------------------------------------------------- answers

    def solution(self, graph: Graph, state: Levels) -> Solution:
        """What stands, projected to the input graph; a simple partition before the first bisection."""
        return {self.rules.key: state.answer.copy()}

    def cost(self, graph: Graph, state: Levels) -> float:
        """Cut of `solution`."""
        return float(state.cost)

    def scale(self, graph: Graph, state: Levels) -> float:
        """A tenth of the cut of the first answer."""
        return max(state.begun, 1) / 10

    # -------------------------------------------------------------------------------------------- observations

    def nodes(self, graph: Graph, state: Levels) -> Array:
        """Of each node of the input graph what its cluster is, (n, 5) float32."""
        level, k, limit = state.graph, self._k(state), max(self.rules.limit(graph), 1)
        rows = np.zeros((level.nodes, len(self.node_features)), np.float32)
        rows[:, 4] = level.vwgt / limit
        if len(state.part):
            pairs = level.sources * np.int64(k) + state.part[level.adjncy]
            weights: Array = np.bincount(pairs, level.adjwgt, level.nodes * k).reshape(level.nodes, k)
            share = weights / np.maximum(level.degree, 1)[:, None]
            own = np.arange(level.nodes), state.part
            rows[:, 0], rows[:, 1] = 1, share[own]
            share[own] = 0
            rows[:, 2] = share.max(axis=1)
            rows[:, 3] = np.bincount(state.part, level.vwgt, k)[state.part] / limit
        for coarse in reversed(state.clusters):
            rows = rows[coarse]
        return rows

    def globals(self, graph: Graph, state: Levels) -> Array:
        """Instance and progress features, (12,) float32."""
        total, limit = max(graph.total_edge_weight, 1), max(self.rules.limit(graph), 1)
        sizes = global_sizes(graph.nodes, graph.edges, self._k(state))
        used = state.work / max(state.budget, 1)
        steps = state.steps / (self.options.steps or ROUND_LIMIT)
        rest = (
            self.rules.slack, (len(state.graphs) - 1) / 10, np.log10(max(state.graph.nodes, 1)) / 6,
            float(len(state.part) > 0), state.cut / total, state.cost / total, state.heaviest / limit, used,
            1.0 if state.over else min(max(used, steps), 1.0),
        )  # fmt: skip
        return np.concatenate([sizes, np.array(rest, np.float32)])

    def focus(self, graph: Graph, state: Levels) -> int:
        """No node."""
        return -1

    def candidates(self, graph: Graph, state: Levels, size: Size) -> tuple[Array, Array]:
        """Features of each operator (7, 11) float32: which one it is, whether the schedule would use it, how often it
        was used on this level (over 4), what that gained (over the cut, times 10), and its share of the work.
        """
        ops = self.listed(state)
        rows = np.zeros((len(OPERATORS), len(self.candidate_features)), np.float32)
        rows[np.arange(len(ops)), ops] = 1
        rows[0, len(ops)] = 1
        rows[:, len(ops) + 1] = state.tried[ops] / 4
        rows[:, len(ops) + 2] = np.clip(10 * state.gained[ops], -10, 10)
        rows[:, len(ops) + 3] = 10 * state.used[ops] / max(state.budget, 1)
        return rows, np.full(len(ops), -1, np.int32)


def fewest(k: int) -> int:
    """Nodes at which no more clusters are made."""
    return max(4 * k, 16)


@lru_cache(maxsize=32)
def pass_of_schedule(graph: Graph, k: int, limit: int) -> int:
    """Work of the schedule until it has been through all levels once, with a seed of its own."""
    mode = Multilevel(Rules(k, lambda _: limit), RefineOptions("grow", None), 1.0)
    state = mode.fresh(graph, np.zeros(graph.nodes, np.int32), 0)
    state.budget = 2**62
    while not (len(state.graphs) == 1 and len(state.part) and mode.scheduled(state) in (UP, CLUSTER)):
        state = mode.step(graph, state, 0)
        state.over = False
    return state.work


def _entries(graph: Graph) -> int:
    """Work of reading a graph once."""
    return graph.nodes + len(graph.adjncy)
