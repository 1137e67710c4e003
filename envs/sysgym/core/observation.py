"""The standard observation: its spaces and how a problem's arrays are padded into it.

| key | shape, dtype | meaning |
|---|---|---|
| `nodes` | (N, F) float32 | node features; the problem's static columns, then the mode's changing ones |
| `node_mask` | (N,) int8 | 1 = real node |
| `edges` | (E, Fe) float32 | edge features, column 0 is the weight |
| `edge_index` | (2, E) int32 | source row, target row; padded edges point at node 0 and are masked |
| `edge_mask` | (E,) int8 | 1 = real edge |
| `globals` | (G,) float32 | instance and progress features; the last one is the fraction of the episode done |
| `focus` | (1,) int32 | node that the next action concerns, or -1 |
| `action_mask` | (A,) int8 | legal actions, the same array as `env.action_masks()` |
| `candidates` | (A, Fa) float32 | optional: features of each action, where a mode describes its actions one by one |
| `candidate_nodes` | (A,) int32 | optional, with `candidates`: node that each action concerns, or -1 |

Forms: `full` has all of it. `dynamic` replaces the graph by `dynamic` (N, D), the changing node features, and
`graph_id` (1,), the row of the instance among those of the environment. `raw` keeps `globals` and `focus` only, for
graphs so large that any copy per step would dominate; agents then read the arrays of `env.unwrapped.state`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sysgym.core.errors import unknown
from sysgym.core.problem import Array, Instance, Machine, Size

FORMS = ("full", "dynamic", "raw")
BOUND = 1e3  # features are clipped to +-BOUND, so that every observation lies in its bounded space


def check_form(form: str) -> str:
    """Return `form` if it is one of FORMS, else raise UsageError."""
    if form not in FORMS:
        raise unknown("observation form", form, FORMS)
    return form


def mask_size(space: gym.Space[Any]) -> int:
    """Length of the action mask: the actions of Discrete, the choices laid end to end of MultiDiscrete."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum())
    raise TypeError(f"no action mask is defined for {space}")


def _box(shape: tuple[int, ...]) -> spaces.Box:
    return spaces.Box(-BOUND, BOUND, shape, np.float32)


def _flags(length: int) -> spaces.Box:
    return spaces.Box(0, 1, (length,), np.int8)


def observation_space(machine: Machine, size: Size, static: Mapping[str, Array], form: str) -> spaces.Dict:
    """Space of one observation form for graphs padded to `size`; `static` is any instance's static arrays."""
    changing = len(machine.node_features)
    actions = mask_size(machine.action_space(size))
    common: dict[str, gym.Space[Any]] = {
        "globals": _box((len(machine.global_features),)),
        "focus": spaces.Box(-1, max(size.nodes - 1, 0), (1,), np.int32),
    }
    if form == "raw":
        return spaces.Dict(common)
    common["action_mask"] = _flags(actions)
    features = getattr(machine, "candidate_features", ())
    if features:
        common["candidates"] = _box((actions, len(features)))
        common["candidate_nodes"] = spaces.Box(-1, max(size.nodes - 1, 0), (actions,), np.int32)
    if form == "dynamic":
        return spaces.Dict(
            {
                "dynamic": _box((size.nodes, changing)),
                "graph_id": spaces.Box(0, 2**31 - 1, (1,), np.int32),
                **common,
            }
        )
    return spaces.Dict(
        {
            "nodes": _box((size.nodes, static["nodes"].shape[1] + changing)),
            "node_mask": _flags(size.nodes),
            "edges": _box((size.edges, static["edges"].shape[1])),
            "edge_index": spaces.Box(0, max(size.nodes - 1, 0), (2, size.edges), np.int32),
            "edge_mask": _flags(size.edges),
            **common,
        }
    )


def pad_static(static: Mapping[str, Array], size: Size) -> dict[str, Array]:
    """The static arrays of an instance padded to `size`: nodes, node_mask, edges, edge_index, edge_mask."""
    count, features = static["nodes"].shape
    links, edge_features = static["edges"].shape
    padded: dict[str, Array] = {
        "nodes": np.zeros((size.nodes, features), np.float32),
        "node_mask": np.zeros(size.nodes, np.int8),
        "edges": np.zeros((size.edges, edge_features), np.float32),
        "edge_index": np.zeros((2, size.edges), np.int32),
        "edge_mask": np.zeros(size.edges, np.int8),
    }
    padded["nodes"][:count] = static["nodes"]
    padded["node_mask"][:count] = 1
    padded["edges"][:links] = static["edges"]
    padded["edge_index"][:, :links] = static["edge_index"]
    padded["edge_mask"][:links] = 1
    return padded


def observe(
    machine: Machine, instance: Instance, state: Any, size: Size, form: str, padded: Mapping[str, Array], graph: int
) -> dict[str, Array]:
    """One observation, every array freshly made (Gymnasium's checker forbids shared memory between calls)."""
    common: dict[str, Array] = {
        "globals": machine.globals(instance, state),
        "focus": np.array([machine.focus(instance, state)], np.int32),
    }
    if form == "raw":
        return common
    if getattr(machine, "candidate_features", ()):
        common["candidates"], common["candidate_nodes"] = machine.candidates(instance, state, size)  # type: ignore[attr-defined]
    common["action_mask"] = machine.mask(instance, state, size)
    changing = machine.nodes(instance, state)
    if form == "dynamic":
        rows = np.zeros((size.nodes, changing.shape[1]), np.float32)
        rows[: len(changing)] = changing
        return {"dynamic": rows, "graph_id": np.array([graph], np.int32), **common}
    fixed = padded["nodes"].shape[1]
    nodes = np.zeros((size.nodes, fixed + changing.shape[1]), np.float32)
    nodes[:, :fixed] = padded["nodes"]
    nodes[: len(changing), fixed:] = changing
    return {
        "nodes": nodes,
        "node_mask": padded["node_mask"].copy(),
        "edges": padded["edges"].copy(),
        "edge_index": padded["edge_index"].copy(),
        "edge_mask": padded["edge_mask"].copy(),
        **common,
    }
