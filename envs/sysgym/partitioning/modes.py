"""The three action modes of graph partitioning as state machines over the kernels.

| mode | action | episode |
|---|---|---|
| `oneshot` | MultiDiscrete([k] * N): a part for every node (padded nodes: 0) | one step |
| `assign` | Discrete(k): a part for the focused node, in `order` | one step a node |
| `refine`, `moves="candidates"` | Discrete(C): one of the best feasible moves, 0 stops where none is | `steps` moves |
| `refine`, `moves="raw"` | MultiDiscrete([N, k]): any node to any part; the best feasible counts | `steps` moves |
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from gymnasium import spaces

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Size, Solution
from sysgym.graphs.csr import Graph
from sysgym.partitioning import kernels
from sysgym.partitioning.batch import PartitionBatch
from sysgym.partitioning.judge import balance_limit

NONE = np.zeros(0, np.int32)


@dataclass
class State:
    """A partial or complete partition with everything that the kernels keep up to date."""

    part: Array  # (n,) int32, -1 = unassigned
    conn: Array  # (n, K) int64, edge weight from a node into each part
    load: Array  # (K,) int64
    tabu: Array  # (n,) int64, first step at which the node may move again
    trail: Array  # (T, 2) int32, moves since the best partition
    order: Array  # (n,) int32, in which nodes are assigned
    cand_node: Array  # (A,) int32
    cand_part: Array  # (A,) int32
    cand_x: Array  # (A, Fa) float32
    mask: Array  # (A,) int8
    sizes: Array  # (3,) float32, the global features that never change
    s: Array  # (SCALARS,) int64


def copy_state(state: State) -> State:
    """An independent copy."""
    return State(**{item.name: getattr(state, item.name).copy() for item in fields(State)})


def _state(graph: Graph, part: Array, parts: int, eps: float, actions: int, width: int, horizon: int = 0) -> State:
    """A state around `part`, with `conn`, `load` and the scalars filled in."""
    s = np.zeros(kernels.SCALARS, np.int64)
    s[kernels.NODES] = graph.nodes
    s[kernels.L_MAX] = balance_limit(graph, parts, eps)[0]
    s[kernels.TOTAL] = graph.total_edge_weight
    conn, load = np.empty((graph.nodes, parts), np.int64), np.empty(parts, np.int64)
    kernels.build_conn(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, part, conn, load, s)
    s[kernels.START_CUT] = s[kernels.BEST] = s[kernels.CUT]
    s[kernels.BEST_FEASIBLE] = int(load.max()) <= s[kernels.L_MAX]
    s[kernels.HORIZON] = horizon
    scales = [math.log10(max(graph.nodes, 1)), math.log10(max(graph.edges, 1)), math.log2(parts)]
    sizes = np.array(scales, np.float32) / np.float32(6)
    return State(
        part, conn, load, np.zeros(graph.nodes, np.int64), np.zeros((max(horizon, 1), 2), np.int32), NONE.copy(),
        np.full(actions, -1, np.int32), np.full(actions, -1, np.int32), np.zeros((actions, width), np.float32),
        np.zeros(actions, np.int8), sizes, s,
    )  # fmt: skip


class PartitionMode:
    """What the modes share: features, copying and the best partition."""

    node_features = kernels.NODE_FEATURES
    global_features = kernels.GLOBAL_FEATURES
    candidate_features: tuple[str, ...] = ()
    focused = False  # whether each action concerns one given node

    def __init__(self, parts: int, eps: float) -> None:
        self.parts, self.eps = parts, eps

    def step_all(self, graphs: dict[str, Array], rows: dict[str, Array], actions: Array, live: Array) -> None:
        """Step the live rows of a batch (see `sysgym.partitioning.batch`)."""
        raise TypeError(f"{type(self).__name__} plays single environments only")

    def done(self, graph: Graph, state: State) -> bool:
        """Whether the episode is over."""
        return bool(state.s[kernels.STOPPED])

    def copy(self, state: State) -> State:
        """Fork a state."""
        return copy_state(state)

    def cost(self, graph: Graph, state: State) -> float:
        """Cut of what `solution` would return (of the assigned part while nodes are missing)."""
        return float(state.s[kernels.BEST])

    def scale(self, graph: Graph, state: State) -> float:
        """Total edge weight, so that the return of `assign` is minus the cut ratio."""
        return float(max(graph.total_edge_weight, 1))

    def solution(self, graph: Graph, state: State) -> Solution:
        """The partition; a node that has no part yet counts in part 0."""
        return {"part": np.maximum(state.part[: graph.nodes], 0)}

    def nodes(self, graph: Graph, state: State) -> Array:
        """Changing node features, (n, 5) float32."""
        rows = np.zeros((graph.nodes, len(self.node_features)), np.float32)
        kernels.node_rows(graph.degree, state.part, state.conn, state.load, state.tabu, state.s,
                          self.focus(graph, state), rows)  # fmt: skip
        return rows

    def globals(self, graph: Graph, state: State) -> Array:
        """Instance and progress features, (8,) float32."""
        row = np.zeros(len(self.global_features), np.float32)
        kernels.global_row(state.load, state.s, self.eps, state.sizes, row)
        return row

    def focus(self, graph: Graph, state: State) -> int:
        """Node of the next action, or -1."""
        return -1


class OneShot(PartitionMode):
    """All parts at once."""

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A part for every node of the padded graph."""
        return spaces.MultiDiscrete(np.full(size.nodes, self.parts))

    def start(self, graph: Graph, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """No node has a part; a starting solution is refused."""
        _refuse_start(solution, "oneshot")
        return _state(graph, np.full(graph.nodes, -1, np.int32), self.parts, self.eps, 0, 0)

    def mask(self, graph: Graph, state: State, size: Size) -> Array:
        """Every part for real nodes, part 0 for padded ones, (N * k,) int8."""
        allowed = np.zeros((size.nodes, self.parts), np.int8)
        allowed[: graph.nodes] = 1
        allowed[:, 0] = 1
        return allowed.ravel()

    def step(self, graph: Graph, state: State, action: Any) -> State:
        """Take the parts and end the episode."""
        part = np.asarray(action, np.int32)[: graph.nodes].copy()
        made = _state(graph, part, self.parts, self.eps, 0, 0)
        made.s[kernels.STOPPED] = 1
        return made


class Assign(PartitionMode):
    """Nodes get their part one after the other."""

    candidate_features = kernels.PART_FEATURES
    focused = True

    def __init__(self, parts: int, eps: float, order: str) -> None:
        super().__init__(parts, eps)
        self.order = order

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """The part of the focused node."""
        return spaces.Discrete(self.parts)

    def start(self, graph: Graph, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """Nothing assigned; a starting solution is refused."""
        _refuse_start(solution, "assign")
        part = np.full(graph.nodes, -1, np.int32)
        state = _state(graph, part, self.parts, self.eps, self.parts, len(self.candidate_features), graph.nodes)
        state.order = node_order(graph, self.order, rng)
        kernels.show_parts(graph.vwgt, graph.degree, state.conn, state.load, state.order, state.s,
                           state.cand_node, state.cand_x, state.mask)  # fmt: skip
        return state

    def mask(self, graph: Graph, state: State, size: Size) -> Array:
        """Parts that the node fits in; only the lightest where it fits in none. (k,) int8."""
        return state.mask.copy()

    def candidates(self, graph: Graph, state: State, size: Size) -> tuple[Array, Array]:
        """Features of each part (k, 4) float32, and the focused node for each (k,) int32."""
        return state.cand_x.copy(), state.cand_node.copy()

    def step(self, graph: Graph, state: State, action: Any) -> State:
        """Assign the focused node."""
        kernels.place(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, graph.degree, state.part, state.conn,
                      state.load, state.order, state.s, state.cand_node, state.cand_x, state.mask,
                      int(action))  # fmt: skip
        return state

    def batch(self, num_envs: int, size: Size) -> PartitionBatch:
        """Episodes side by side."""
        return PartitionBatch(self, num_envs, size, self.parts)

    def step_all(self, graphs: dict[str, Array], rows: dict[str, Array], actions: Array, live: Array) -> None:
        """Assign the focused node of every live row."""
        g, r = graphs, rows
        kernels.place_all(g["xadj"], g["adjncy"], g["adjwgt"], g["vwgt"], g["degree"], r["part"], r["conn"], r["load"],
                          r["order"], r["s"], r["cand_node"], r["cand_x"], r["mask"], actions, live)  # fmt: skip

    def focus(self, graph: Graph, state: State) -> int:
        """The next node in the order."""
        return int(state.cand_node[0])


class Refine(PartitionMode):
    """Moves on a complete partition; the best feasible one seen is the solution."""

    def __init__(self, parts: int, eps: float, start: str, steps: int | None) -> None:
        super().__init__(parts, eps)
        self.start_from, self.steps = start, steps
        self.actions = 0

    def start(self, graph: Graph, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """Start from `solution` where one is given, else from a random or grown one."""
        limit = balance_limit(graph, self.parts, self.eps)[0]
        part = np.full(graph.nodes, -1, np.int32)
        load = np.zeros(self.parts, np.int64)
        if solution is not None:
            part = solution["part"].astype(np.int32)
        elif self.start_from == "random":
            kernels.spread(graph.vwgt, rng.permutation(graph.nodes), part, load)
        elif self.start_from == "grow":
            kernels.grow(graph.xadj, graph.adjncy, graph.vwgt, rng.permutation(graph.nodes), part, load, limit)
        else:
            arrays = (graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt)
            kernels.grow_greedy(*arrays, rng.permutation(graph.nodes), part, load, limit)
        state = _state(graph, part, self.parts, self.eps, self.actions, len(self.candidate_features), 1)
        horizon = self.steps
        if horizon is None:
            horizon = max(16, 2 * kernels.boundary_size(state.part, state.conn, graph.degree, state.s))
        state.s[kernels.HORIZON] = horizon
        state.trail = np.zeros((horizon, 2), np.int32)
        return state

    def scale(self, graph: Graph, state: State) -> float:
        """A tenth of the starting cut: the return is ten times the relative improvement."""
        return float(max(state.s[kernels.START_CUT], 1)) / 10

    def solution(self, graph: Graph, state: State) -> Solution:
        """The best feasible partition seen (the start if none was)."""
        return {"part": kernels.best_part(state.part, state.trail, state.s)}


class RefineCandidates(Refine):
    """Moves chosen from a short list, so that the action space does not grow with the graph."""

    candidate_features = kernels.MOVE_FEATURES

    def __init__(self, parts: int, eps: float, start: str, steps: int | None, candidates: int, tenure: int) -> None:
        super().__init__(parts, eps, start, steps)
        self.actions, self.tenure = candidates, tenure

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A row of the candidate list."""
        return spaces.Discrete(self.actions)

    def start(self, graph: Graph, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """As `Refine.start`, with the first list of candidates."""
        state = super().start(graph, rng, solution)
        kernels.find_candidates(graph.vwgt, graph.degree, state.part, state.conn, state.load, state.tabu, state.s,
                                state.cand_node, state.cand_part, state.cand_x, state.mask)  # fmt: skip
        return state

    def mask(self, graph: Graph, state: State, size: Size) -> Array:
        """Listed candidates, (C,) int8; action 0 where there is none, to end the episode."""
        return state.mask.copy()

    def candidates(self, graph: Graph, state: State, size: Size) -> tuple[Array, Array]:
        """Features of each candidate move (C, 8) float32, and its node (C,) int32."""
        return state.cand_x.copy(), state.cand_node.copy()

    def step(self, graph: Graph, state: State, action: Any) -> State:
        """Move the node of the candidate."""
        kernels.choose(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, graph.degree, state.part, state.conn,
                       state.load, state.tabu, state.trail, state.s, state.cand_node, state.cand_part, state.cand_x,
                       state.mask, int(action), self.tenure)  # fmt: skip
        return state

    def batch(self, num_envs: int, size: Size) -> PartitionBatch:
        """Episodes side by side."""
        return PartitionBatch(self, num_envs, size, self.actions)

    def step_all(self, graphs: dict[str, Array], rows: dict[str, Array], actions: Array, live: Array) -> None:
        """Play a candidate in every live row."""
        g, r = graphs, rows
        kernels.choose_all(g["xadj"], g["adjncy"], g["adjwgt"], g["vwgt"], g["degree"], r["part"], r["conn"], r["load"],
                           r["tabu"], r["trail"], r["s"], r["cand_node"], r["cand_part"], r["cand_x"], r["mask"],
                           actions, live, self.tenure)  # fmt: skip


class RefineRaw(Refine):
    """Any node to any part, for agents that score nodes themselves; O(degree) a step whatever the size."""

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """(node, part)."""
        return spaces.MultiDiscrete([size.nodes, self.parts])

    def mask(self, graph: Graph, state: State, size: Size) -> Array:
        """Every real node and every part, (N + k,) int8: balance is judged, not masked."""
        allowed = np.zeros(size.nodes + self.parts, np.int8)
        allowed[: graph.nodes] = 1
        allowed[size.nodes :] = 1
        return allowed

    def legal(self, graph: Graph, state: State, action: Any) -> bool:
        """The mask's answer in constant time; UsageError if the action is no pair of integers."""
        if not isinstance(action, np.ndarray):
            action = np.asarray(action)
        if action.shape != (2,) or action.dtype.kind not in "iu":
            raise UsageError(f"an action is a pair of integers (node, part), got {action!r}.")
        return bool(0 <= action[0] < graph.nodes and 0 <= action[1] < self.parts)

    def step(self, graph: Graph, state: State, action: Any) -> State:
        """Move the node."""
        kernels.move(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, state.part, state.conn, state.load,
                     state.trail, state.s, int(action[0]), int(action[1]))  # fmt: skip
        if state.s[kernels.STEPS] >= state.s[kernels.HORIZON]:
            state.s[kernels.STOPPED] = 1
        return state

    def batch(self, num_envs: int, size: Size) -> PartitionBatch:
        """Episodes side by side."""
        return PartitionBatch(self, num_envs, size, 0)

    def step_all(self, graphs: dict[str, Array], rows: dict[str, Array], actions: Array, live: Array) -> None:
        """Move a node in every live row."""
        g, r = graphs, rows
        kernels.move_all(g["xadj"], g["adjncy"], g["adjwgt"], g["vwgt"], r["part"], r["conn"], r["load"], r["trail"],
                         r["s"], actions, live)  # fmt: skip


def _refuse_start(solution: Solution | None, mode: str) -> None:
    if solution is not None:
        raise UsageError(f"mode {mode!r} starts from nothing; a starting solution needs mode='refine'.")


def node_order(graph: Graph, order: str, rng: np.random.Generator) -> Array:
    """The order in which `assign` visits nodes, (n,) int32: bfs, degree (heaviest first), natural or random."""
    if order == "natural":
        return np.arange(graph.nodes, dtype=np.int32)
    if order == "random":
        return rng.permutation(graph.nodes).astype(np.int32)
    if order == "degree":
        return np.argsort(-graph.degree, kind="stable").astype(np.int32)
    visited = np.empty(graph.nodes, np.int32)
    kernels.breadth_first(graph.xadj, graph.adjncy, rng.permutation(graph.nodes), visited)
    return visited


def make_mode(
    mode: str,
    parts: int,
    eps: float,
    order: str,
    moves: str,
    start: str,
    steps: int | None,
    candidates: int,
    tenure: int,
) -> PartitionMode:
    """The state machine that the options of the problem name."""
    if mode == "oneshot":
        return OneShot(parts, eps)
    if mode == "assign":
        return Assign(parts, eps, order)
    if moves == "raw":
        return RefineRaw(parts, eps, start, steps)
    return RefineCandidates(parts, eps, start, steps, candidates, tenure)
