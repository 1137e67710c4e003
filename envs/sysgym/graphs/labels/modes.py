"""The action modes of problems that give each node of a graph one of k labels, as dynamics over the kernels.

| mode | action | episode |
|---|---|---|
| `OneShot` | MultiDiscrete([k] * N): a label for every node (padded nodes: 0) | one step |
| `Assign` | Discrete(k): a label for the focused node, in `order` | one step a node |
| `RefineCandidates` | Discrete(C): one of the best feasible moves or swaps, 0 stops where none is | `steps` moves |
| `RefineRaw` | MultiDiscrete([N, k]): any node to any label; the best feasible counts | `steps` moves |

The solution is one array, (n,) int32, `part` or as the rules call it. Where each graph asks for its own number of
labels, k above is the largest, the first of the size's `choices`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Size, Solution
from sysgym.graphs.csr import Graph
from sysgym.graphs.labels import candidate_kernels, kernels, placing_kernels
from sysgym.graphs.labels.batch import LabelBatch
from sysgym.graphs.labels.starts import grown_labels, node_order
from sysgym.graphs.labels.state import State, copy_state

FOREVER = 2**62  # the step at which a fixed node may move


class Rules(NamedTuple):
    """What labels cost: `kernels.CUT_RULE` or `NCUT_RULE`, and the largest weight of a part."""

    parts: int | Callable[[Graph], int]  # how many labels there are, for all graphs or for each
    limit: Callable[[Graph], int]
    rule: int = kernels.CUT_RULE
    slack: float = 0.0  # eps, shown among the global features
    key: str = "part"  # name of the array in a solution

    def count(self, graph: Graph) -> int:
        """How many labels a graph has."""
        return self.parts(graph) if callable(self.parts) else self.parts

    def most(self, size: Size) -> int:
        """How many labels the largest graph has."""
        return size.choices[0] if callable(self.parts) else self.parts

    def scale(self, graph: Graph) -> float:
        """Costs over this lie around 1: the total edge weight, or the number of parts."""
        return float(max(graph.total_edge_weight, 1)) if self.rule == kernels.CUT_RULE else float(self.count(graph))


class RefineOptions(NamedTuple):
    """Of the refining modes."""

    start: str | Callable[[Graph, np.random.Generator], Array]  # "grow", "greedy", "random", or what makes labels (n,)
    steps: int | None  # moves of an episode; None: twice the boundary of the start, at least 16
    candidates: int = 32
    tenure: int = 10  # steps for which a moved node stays off the list of candidates


NONE = np.zeros(0, np.int32)
NOT_KEPT = np.zeros((0, len(kernels.NODE_FEATURES)), np.float32)


@lru_cache(maxsize=1024)
def global_sizes(nodes: int, edges: int, parts: int) -> Array:
    """The global features that never change, (3,) float32; not to be written to."""
    return np.array([math.log10(max(nodes, 1)), math.log10(max(edges, 1)), math.log2(parts)], np.float32) / np.float32(
        6
    )


def _state(graph: Graph, part: Array, rules: Rules, actions: int, width: int, horizon: int = 0) -> State:
    """A state around `part`, with everything that follows from it."""
    s, f = np.zeros(kernels.SCALARS, np.int64), np.zeros(3)
    s[kernels.RULE], s[kernels.NODES] = rules.rule, graph.nodes
    s[kernels.L_MAX] = rules.limit(graph)
    s[kernels.TOTAL], s[kernels.HEAVIEST] = graph.total_edge_weight, graph.heaviest
    parts = rules.count(graph)
    s[kernels.PARTS], s[kernels.WEIGHT] = parts, graph.total_node_weight
    conn = np.empty((graph.nodes, parts), np.int64)
    load, volume, inside = (np.empty(parts, np.int64) for _ in range(3))
    kernels.build(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, graph.degree, part, conn, load, volume, inside,
                  s, f)  # fmt: skip
    s[kernels.HORIZON] = horizon
    sizes = global_sizes(graph.nodes, graph.edges, parts)
    return State(
        part, conn, load, volume, inside, volume - inside, NOT_KEPT, np.zeros(graph.nodes, np.int64),
        np.zeros((max(horizon, 1), 2), np.int32), NONE.copy(), np.full(actions, -1, np.int32),
        np.full(actions, -1, np.int32), np.full(actions, -1, np.int32),
        np.zeros((actions, width), np.float32), np.zeros(actions, np.int8), sizes, s, f,
    )  # fmt: skip


class LabelMode:
    """What the modes share: features, copying and the best labels."""

    node_features: tuple[str, ...] = kernels.NODE_FEATURES
    global_features: tuple[str, ...] = kernels.GLOBAL_FEATURES
    candidate_features: tuple[str, ...] = ()
    focused = False  # whether each action concerns one given node
    kept = False  # whether states keep the changing node features up to date, once they are asked for

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def fresh(self, graph: Graph, part: Array, actions: int, horizon: int = 0) -> State:
        """A state around `part`, with everything that follows from it."""
        return _state(graph, part, self.rules, actions, len(self.candidate_features), horizon)

    def step_all(self, graphs: dict[str, Array], rows: dict[str, Array], actions: Array, live: Array) -> None:
        """Step the live rows of a batch (see `sysgym.graphs.labels.batch`)."""
        raise TypeError(f"{type(self).__name__} plays single environments only")

    def done(self, graph: Graph, state: State) -> bool:
        """Whether the episode is over."""
        return bool(state.s[kernels.STOPPED])

    def copy(self, state: State) -> State:
        """Fork a state."""
        return copy_state(state)

    def cost(self, graph: Graph, state: State) -> float:
        """Cost of what `solution` would return (of the assigned part while nodes are missing)."""
        return float(state.f[kernels.BEST])

    def scale(self, graph: Graph, state: State) -> float:
        """See `Rules.scale`; with the cut the return of `assign` is minus the cut ratio."""
        return self.rules.scale(graph)

    def solution(self, graph: Graph, state: State) -> Solution:
        """The partition; a node that has no part yet counts in part 0."""
        return {self.rules.key: np.maximum(state.part[: graph.nodes], 0)}

    def nodes(self, graph: Graph, state: State) -> Array:
        """Changing node features, (n, 5) float32."""
        rows = np.empty((graph.nodes, len(self.node_features)), np.float32)
        kernels.node_rows(graph.degree, state.part, state.conn, state.load, state.tabu, state.s,
                          self.focus(graph, state), rows)  # fmt: skip
        return rows

    def globals(self, graph: Graph, state: State) -> Array:
        """Instance and progress features, (8,) float32."""
        row = np.empty(len(self.global_features), np.float32)
        kernels.global_row(state.load, state.s, state.f, self.rules.slack, state.sizes, row)
        return row

    def focus(self, graph: Graph, state: State) -> int:
        """Node of the next action, or -1."""
        return -1


@complete
class OneShot(LabelMode):
    """All parts at once."""

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A part for every node of the padded graph."""
        return spaces.MultiDiscrete(np.full(size.nodes, self.rules.most(size)))

    def start(self, graph: Graph, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """No node has a part but those that are fixed; a starting solution is refused."""
        _refuse_start(graph, solution, "oneshot")
        return self.fresh(graph, graph.given.copy(), 0)

    def mask(self, graph: Graph, state: State, size: Size) -> Array:
        """Every part for real nodes, their own for fixed ones, part 0 for padded ones, (N * k,) int8."""
        allowed = np.zeros((size.nodes, self.rules.most(size)), np.int8)
        allowed[: graph.nodes, : self.rules.count(graph)] = (graph.given < 0)[:, None]
        fixed = np.flatnonzero(graph.given >= 0)
        allowed[fixed, graph.given[fixed]] = 1
        allowed[graph.nodes :, 0] = 1
        return allowed.ravel()

    def step(self, graph: Graph, state: State, action: Any) -> State:
        """Take the parts and end the episode."""
        part = np.asarray(action, np.int32)[: graph.nodes].copy()
        made = self.fresh(graph, part, 0)
        made.s[kernels.STOPPED] = 1
        return made


class Focused(LabelMode):
    """Modes whose actions are the labels that one node, the focused one, may have; the kernels describe each."""

    focused = True

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """The label of the focused node."""
        return spaces.Discrete(self.rules.most(size))

    def mask(self, graph: Graph, state: State, size: Size) -> Array:
        """Labels that the node may have, (k,) int8."""
        return padded(state.mask, self.rules.most(size))

    def candidates(self, graph: Graph, state: State, size: Size) -> tuple[Array, Array]:
        """Features of each label (k, Fa) float32, and the focused node for each (k,) int32."""
        most = self.rules.most(size)
        return padded(state.cand_x, most), padded(state.cand_node, most, -1)

    def legal(self, graph: Graph, state: State, action: Any, size: Size) -> bool:
        """The mask's answer in constant time."""
        return bool(0 <= action < len(state.mask) and state.mask[action])

    def batch(self, num_envs: int, size: Size) -> LabelBatch:
        """Episodes side by side."""
        return LabelBatch(self, num_envs, size, self.rules.most(size))

    def focus(self, graph: Graph, state: State) -> int:
        """The node of the next action."""
        return int(state.cand_node[0])


@complete
class Assign(Focused):
    """Nodes get their part one after the other."""

    kept = True
    candidate_features: tuple[str, ...] = kernels.PART_FEATURES  # CLUSTER_FEATURES with the normalised cut

    def __init__(self, rules: Rules, order: str) -> None:
        super().__init__(rules)
        self.order = order
        if rules.rule != kernels.CUT_RULE:
            self.candidate_features = kernels.CLUSTER_FEATURES

    def start(self, graph: Graph, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """Nothing assigned but what is fixed; a starting solution is refused.

        Legal are parts that a node fits in, only the lightest where it fits in none; with the normalised cut those in
        use and an empty one.
        """
        _refuse_start(graph, solution, "assign")
        free = graph.given < 0
        count = int(np.count_nonzero(free))
        labels = self.rules.count(graph)
        state = self.fresh(graph, graph.given.copy(), labels, count)
        order = node_order(graph, self.order, rng)
        state.order = order if count == graph.nodes else np.concatenate([order[~free[order]], order[free[order]]])
        state.s[kernels.CURSOR] = graph.nodes - count
        self.show(graph, state)
        return state

    def show(self, graph: Graph, state: State) -> None:
        """Describe each label to the focused node."""
        placing_kernels.show(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, graph.degree, state.part, state.conn,
                             state.load, state.volume, state.inside, state.settled, state.order, state.s,
                             state.cand_node, state.cand_x, state.mask)  # fmt: skip

    def nodes(self, graph: Graph, state: State) -> Array:
        """Changing node features, (n, 5) float32; once they are asked for, the state keeps them up to date."""
        if not len(state.shown):
            state.shown = super().nodes(graph, state)
        rows = state.shown.copy()
        if self.rules.rule == kernels.CUT_RULE:
            kernels.show_loads(state.part, state.load, state.s, rows)
        return rows

    def step(self, graph: Graph, state: State, action: Any) -> State:
        """Assign the focused node."""
        placing_kernels.place(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, graph.degree, state.part, state.conn,
                              state.load, state.volume, state.inside, state.settled, state.shown, state.order, state.s,
                              state.f, state.cand_node, state.cand_x, state.mask, action)  # fmt: skip
        return state

    def step_all(self, graphs: dict[str, Array], rows: dict[str, Array], actions: Array, live: Array) -> None:
        """Assign the focused node of every live row."""
        g, r = graphs, rows
        placing_kernels.place_all(g["held"], g["xadj"], g["adjncy"], g["adjwgt"], g["vwgt"], g["degree"], r["part"],
                                  r["conn"], r["load"], r["volume"], r["inside"], r["settled"], r["shown"], r["order"],
                                  r["s"], r["f"], r["cand_node"], r["cand_x"], r["mask"], actions, live)  # fmt: skip


class Refine(LabelMode):
    """Moves on complete labels; the best feasible ones seen are the solution."""

    actions = 0  # length of the list of candidates

    def __init__(self, rules: Rules, options: RefineOptions) -> None:
        super().__init__(rules)
        self.options = options

    def start(self, graph: Graph, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """Start from `solution` or that of the graph, else from a random or grown one; packed where that is too heavy.

        UsageError for a solution that moves a fixed node.
        """
        if solution is None:
            part = self.grown(graph, rng) if graph.start is None else graph.start.copy()
        else:
            part = solution[self.rules.key].astype(np.int32)
            moved = int(np.count_nonzero((graph.given >= 0) & (graph.given != part)))
            if moved:
                raise UsageError(f"a starting solution of {graph.name} must keep its fixed nodes; it moves {moved}.")
        state = self.fresh(graph, part, self.listed(graph), 1)
        state.tabu[graph.given >= 0] = FOREVER
        horizon = self.options.steps
        if horizon is None:
            horizon = self.horizon(graph, state)
        state.s[kernels.HORIZON] = horizon
        state.trail = np.zeros((horizon, 2), np.int32)
        return state

    def listed(self, graph: Graph) -> int:
        """How many actions are described."""
        return self.actions

    def horizon(self, graph: Graph, state: State) -> int:
        """Moves of an episode where the options do not say."""
        return max(16, 2 * int(candidate_kernels.boundary_size(state.part, state.conn, graph.degree, state.s)))

    def grown(self, graph: Graph, rng: np.random.Generator) -> Array:
        """Labels (n,) int32 to begin with, as the options say."""
        if callable(self.options.start):
            return self.options.start(graph, rng).astype(np.int32)
        return grown_labels(graph, self.rules.count(graph), self.rules.limit(graph), self.options.start, rng)

    def scale(self, graph: Graph, state: State) -> float:
        """A tenth of the starting cut, so that the return is ten times the relative improvement; else as usual."""
        if self.rules.rule != kernels.CUT_RULE:
            return super().scale(graph, state)
        return max(float(state.f[kernels.START]), 1.0) / 10

    def solution(self, graph: Graph, state: State) -> Solution:
        """The best feasible partition seen (the start if none was)."""
        return {self.rules.key: kernels.best_part(state.part, state.trail, state.s)}


@complete
class RefineCandidates(Refine):
    """Moves chosen from a short list, so that the action space does not grow with the graph."""

    candidate_features: tuple[str, ...] = candidate_kernels.FEATURES

    def __init__(self, rules: Rules, options: RefineOptions) -> None:
        super().__init__(rules, options)
        self.actions, self.tenure = options.candidates, options.tenure

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A row of the candidate list."""
        return spaces.Discrete(self.actions)

    def start(self, graph: Graph, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """As `Refine.start`, with the first list of candidates."""
        state = super().start(graph, rng, solution)
        state.trail = np.zeros((2 * len(state.trail), 2), np.int32)  # an exchange is two moves
        self.find(graph, state)
        return state

    def find(self, graph: Graph, state: State) -> None:
        """List the candidates."""
        candidate_kernels.find_candidates(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, graph.degree, state.part,
                                          state.conn, state.load, state.volume, state.inside, state.tabu, state.s,
                                          state.cand_node, state.cand_part, state.cand_other, state.cand_x,
                                          state.mask)  # fmt: skip

    def mask(self, graph: Graph, state: State, size: Size) -> Array:
        """Listed candidates, (C,) int8; action 0 where there is none, to end the episode."""
        return state.mask.copy()

    def candidates(self, graph: Graph, state: State, size: Size) -> tuple[Array, Array]:
        """Features of each candidate move (C, 8) float32, and its node (C,) int32."""
        return state.cand_x.copy(), state.cand_node.copy()

    def legal(self, graph: Graph, state: State, action: Any, size: Size) -> bool:
        """The mask's answer in constant time."""
        return bool(0 <= action < len(state.mask) and state.mask[action])

    def step(self, graph: Graph, state: State, action: Any) -> State:
        """Move the node of the candidate."""
        candidate_kernels.choose(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, graph.degree, state.part,
                                 state.conn, state.load, state.volume, state.inside, state.tabu, state.trail, state.s,
                                 state.f, state.cand_node, state.cand_part, state.cand_other, state.cand_x,
                                 state.mask, action, self.tenure)  # fmt: skip
        return state

    def batch(self, num_envs: int, size: Size) -> LabelBatch:
        """Episodes side by side."""
        return LabelBatch(self, num_envs, size, self.actions)

    def step_all(self, graphs: dict[str, Array], rows: dict[str, Array], actions: Array, live: Array) -> None:
        """Play a candidate in every live row."""
        g, r = graphs, rows
        candidate_kernels.choose_all(g["held"], g["xadj"], g["adjncy"], g["adjwgt"], g["vwgt"], g["degree"], r["part"],
                                     r["conn"], r["load"], r["volume"], r["inside"], r["tabu"], r["trail"], r["s"],
                                     r["f"], r["cand_node"], r["cand_part"], r["cand_other"], r["cand_x"], r["mask"],
                                     actions, live, self.tenure)  # fmt: skip


@complete
class RefineRaw(Refine):
    """Any node to any part, for agents that score nodes themselves; O(degree) a step whatever the size."""

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """(node, part)."""
        return spaces.MultiDiscrete([size.nodes, self.rules.most(size)])

    def mask(self, graph: Graph, state: State, size: Size) -> Array:
        """Every real node that is not fixed and every part, (N + k,) int8: balance is judged, not masked."""
        allowed = np.zeros(size.nodes + self.rules.most(size), np.int8)
        allowed[: graph.nodes] = graph.given < 0
        allowed[size.nodes : size.nodes + state.s[kernels.PARTS]] = 1
        return allowed

    def legal(self, graph: Graph, state: State, action: Any, size: Size) -> bool:
        """The mask's answer in constant time."""
        inside = 0 <= action[0] < graph.nodes and 0 <= action[1] < state.s[kernels.PARTS]
        return bool(inside and state.tabu[action[0]] == 0)

    def step(self, graph: Graph, state: State, action: Any) -> State:
        """Move the node."""
        self.move(graph, state, action[0], action[1])
        if state.s[kernels.STEPS] >= state.s[kernels.HORIZON]:
            state.s[kernels.STOPPED] = 1
        return state

    def move(self, graph: Graph, state: State, node: int, part: int) -> None:
        """Give the node the part."""
        kernels.move(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, graph.degree, state.part, state.conn,
                     state.load, state.volume, state.inside, state.trail, state.s, state.f, node, part)  # fmt: skip

    def batch(self, num_envs: int, size: Size) -> LabelBatch:
        """Episodes side by side."""
        return LabelBatch(self, num_envs, size, 0)

    def step_all(self, graphs: dict[str, Array], rows: dict[str, Array], actions: Array, live: Array) -> None:
        """Move a node in every live row."""
        g, r = graphs, rows
        kernels.move_all(g["held"], g["xadj"], g["adjncy"], g["adjwgt"], g["vwgt"], g["degree"], r["part"], r["conn"],
                         r["load"], r["volume"], r["inside"], r["trail"], r["s"], r["f"], actions, live)  # fmt: skip


def padded(values: Array, length: int, fill: int = 0) -> Array:
    """A copy of an array whose first axis is as long as said."""
    if len(values) == length:
        return values.copy()
    found = np.full((length, *values.shape[1:]), fill, values.dtype)
    found[: len(values)] = values
    return found


def _refuse_start(graph: Graph, solution: Solution | None, mode: str) -> None:
    if solution is not None or graph.start is not None:
        raise UsageError(f"mode {mode!r} starts from nothing; a starting solution needs mode='refine'.")
