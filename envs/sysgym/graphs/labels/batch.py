"""Many episodes of labels side by side in stacked arrays, stepped by one kernel call."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Protocol

import numpy as np

from sysgym.core.problem import Array, Size
from sysgym.graphs.csr import Graph
from sysgym.graphs.labels import kernels
from sysgym.graphs.labels.state import State

GRAPH = ("xadj", "adjncy", "adjwgt", "vwgt", "degree")
STATE = tuple(item.name for item in fields(State))
SHORTER = ("load", "cand_node", "cand_x", "mask", "shown")


class Stepped(Protocol):
    """What a batch asks of its mode."""

    focused: bool
    kept: bool
    candidate_features: tuple[str, ...]
    node_features: tuple[str, ...]
    global_features: tuple[str, ...]
    rules: Any

    def nodes(self, graph: Graph, state: State) -> Array: ...

    def step_all(self, graphs: dict[str, Array], rows: dict[str, Array], actions: Array, live: Array) -> None: ...


class LabelBatch:
    """Rows of graphs and states, padded to `size`; a State of a row is a set of views."""

    def __init__(self, mode: Stepped, num_envs: int, size: Size, actions: int) -> None:
        self.mode, self.size, self.num_envs = mode, size, num_envs
        self.unseen = np.zeros((num_envs, 1, len(mode.node_features)), np.float32)  # nodes that nobody asks for
        self.kept: list[Graph | None] = [None] * num_envs  # whose arrays stand in each row of `graphs`
        n, e, k, width = size.nodes, size.edges, mode.rules.most(size), len(mode.candidate_features)
        self.graphs: dict[str, Array] = {
            "xadj": np.zeros((num_envs, n + 1), np.int64), "adjncy": np.zeros((num_envs, e), np.int32),
            "adjwgt": np.zeros((num_envs, e), np.int64), "vwgt": np.zeros((num_envs, n), np.int64),
            "degree": np.zeros((num_envs, n), np.int64),
            "held": np.zeros(num_envs, np.int64),  # which of these rows is the graph of each episode
        }  # fmt: skip
        self.rows: dict[str, Array] = {
            "part": np.zeros((num_envs, n), np.int32), "conn": np.zeros((num_envs, n, k), np.int64),
            "load": np.zeros((num_envs, k), np.int64), "volume": np.zeros((num_envs, k), np.int64),
            "inside": np.zeros((num_envs, k), np.int64), "settled": np.zeros((num_envs, k), np.int64),
            "shown": np.zeros((num_envs, 0, len(mode.node_features)), np.float32),  # until nodes are asked for
            "tabu": np.zeros((num_envs, n), np.int64),
            "trail": np.zeros((num_envs, 1, 2), np.int32), "order": np.zeros((num_envs, n), np.int32),
            "cand_node": np.zeros((num_envs, actions), np.int32), "cand_part": np.zeros((num_envs, actions), np.int32),
            "cand_other": np.zeros((num_envs, actions), np.int32),
            "cand_x": np.zeros((num_envs, actions, width), np.float32), "mask": np.zeros((num_envs, actions), np.int8),
            "sizes": np.zeros((num_envs, 3), np.float32), "s": np.zeros((num_envs, kernels.SCALARS), np.int64),
            "f": np.zeros((num_envs, 3)),
        }  # fmt: skip

    def put(self, row: int, graph: Graph, state: State) -> None:
        """Place an episode in a row, fresh or under way."""
        self.graphs["held"][row] = self._place_of(graph, row)
        longest = self.rows["trail"].shape[1]
        if len(state.trail) > longest:
            self.rows["trail"] = np.pad(self.rows["trail"], ((0, 0), (0, len(state.trail) - longest), (0, 0)))
        for name in STATE:
            value, target = getattr(state, name), self.rows[name][row]
            if name == "shown" and len(value) < len(target):
                value = self.mode.nodes(graph, state)
            if value.ndim == 2 and value.shape[1] < target.shape[1]:
                target[:, value.shape[1] :] = 0
                target = target[:, : value.shape[1]]
            elif name in SHORTER and len(value) < len(target):  # fewer labels or nodes than of a graph before it
                target[len(value) :] = -1 if name == "cand_node" else 0
            target[: len(value)] = value[: len(target)]

    def _place_of(self, graph: Graph, row: int) -> int:
        """Where the arrays of the graph of a row's next episode stand; they are copied if they are not there yet."""
        for place, other in enumerate(self.kept):
            if other is graph:
                return place
        used = set(np.delete(self.graphs["held"], row).tolist())
        place = next(place for place in range(self.num_envs) if place not in used or self.kept[place] is None)
        self.kept[place] = graph
        for name in GRAPH:
            value = getattr(graph, name)
            self.graphs[name][place, : len(value)] = value
        return place

    def state(self, row: int) -> State:
        """The state of a row, as views."""
        return State(**{name: value[row] for name, value in self.rows.items()})

    def costs(self) -> Array:
        """Running costs, (B,) float64."""
        return self.rows["f"][:, kernels.BEST].copy()

    def done(self) -> Array:
        """Which rows are over, (B,) bool."""
        return np.asarray(self.rows["s"][:, kernels.STOPPED] != 0)

    def legal(self, actions: Array) -> Array:
        """Which rows' actions are legal, (B,) bool."""
        if actions.ndim == 2:
            nodes = self.rows["s"][:, kernels.NODES]
            parts = self.rows["s"][:, kernels.PARTS]
            inside = (actions >= 0).all(axis=1) & (actions[:, 0] < nodes) & (actions[:, 1] < parts)
            chosen = self.rows["tabu"][np.arange(self.num_envs), np.where(inside, actions[:, 0], 0)]
            return np.asarray(inside & (chosen == 0))  # else it is fixed
        legal = np.empty(self.num_envs, bool)
        kernels.legal_all(self.rows["mask"], actions, legal)
        return legal

    def step(self, actions: Array, live: Array) -> None:
        """Step the live rows with the mode's kernel."""
        self.mode.step_all(self.graphs, self.rows, actions, live)

    def observe(self, nodes: Array | None, column: int) -> dict[str, Array]:
        """See `sysgym.core.problem.Batch`."""
        rows, mode = self.rows, self.mode
        globals_ = np.empty((self.num_envs, len(mode.global_features)), np.float32)
        wanted = nodes is not None and not rows["shown"].shape[1]  # else they are kept up to date
        target, first = (self.unseen, 0) if nodes is None else (nodes, column)
        kernels.rows_all(self.graphs["held"], self.graphs["degree"], rows["part"], rows["conn"], rows["load"],
                         rows["tabu"], rows["s"], rows["f"], rows["order"], mode.focused, mode.rules.slack,
                         rows["sizes"], first, target, globals_, wanted)  # fmt: skip
        focus = rows["cand_node"][:, :1].copy() if mode.focused else np.full((self.num_envs, 1), -1, np.int32)
        found = {"globals": globals_, "focus": focus}
        if nodes is None:
            return found
        if mode.kept and wanted:
            rows["shown"] = nodes[:, :, column:].copy()
        elif mode.kept:
            nodes[:, :, column:] = rows["shown"]
            kernels.loads_all(rows["part"], rows["load"], rows["s"], column, nodes)
        if self.mode.candidate_features:
            found["candidates"] = rows["cand_x"].copy()
            found["candidate_nodes"] = rows["cand_node"].copy()
            found["action_mask"] = rows["mask"].copy()
        else:
            real = (np.arange(self.size.nodes) < rows["s"][:, kernels.NODES, None]) & (rows["tabu"] == 0)
            parts = np.arange(self.mode.rules.most(self.size)) < rows["s"][:, kernels.PARTS, None]
            found["action_mask"] = np.concatenate([real, parts], axis=1).astype(np.int8)
        return found
