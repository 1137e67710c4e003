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
| `state` | (S,) float32 | optional: a vector that is no node's, such as the state of a decoder |

Forms: `full` has all of it. `dynamic` replaces the graph by `dynamic` (N, D), the changing node features, and
`graph_id` (1,), the row of the instance among those of the environment. `raw` keeps `globals` and `focus` only, for
graphs so large that any copy per step would dominate; agents then read the arrays of `env.unwrapped.state`.
Keys of width 0 are left out: `nodes`, `edges` or `dynamic` of a problem that says nothing there.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sysgym.core.errors import UsageError, unknown
from sysgym.core.problem import AnyDynamics, AnyProblem, Array, Instance, Size

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


def plain_action(space: gym.Space[Any], action: Any) -> Any:
    """An action as dynamics take it: an int for Discrete, an (d,) int64 array for MultiDiscrete; else UsageError.

    >>> plain_action(spaces.Discrete(4), np.array([3]))
    3
    """
    if type(action) is int and isinstance(space, spaces.Discrete):
        return action
    try:
        found = np.asarray(action)
    except (TypeError, ValueError):
        found = np.empty(0, object)
    if found.dtype.kind in "iu" and isinstance(space, spaces.Discrete) and found.size == 1:
        return operator.index(found.reshape(-1)[0])
    if found.dtype.kind in "iu" and found.shape == space.shape:
        return found.astype(np.int64, copy=False)
    wanted = "one integer" if isinstance(space, spaces.Discrete) else f"{space.shape[0] if space.shape else 0} integers"
    raise UsageError(f"the action {action!r} does not fit {space}: expected {wanted}.")


def first_legal(space: gym.Space[Any], mask: Array) -> Any:
    """The first legal action, with the first legal choice of each decision."""
    if isinstance(space, spaces.Discrete):
        return int(mask.argmax())
    assert isinstance(space, spaces.MultiDiscrete)
    ends = np.cumsum(space.nvec)
    return np.array([int(mask[end - n : end].argmax()) for n, end in zip(space.nvec, ends, strict=True)], np.int64)


def mask_allows(mask: Array, space: gym.Space[Any], action: Any) -> bool:
    """Whether every choice of a plain action is 1 in its mask."""
    if isinstance(space, spaces.Discrete):
        return 0 <= action < len(mask) and bool(mask[action])
    assert isinstance(space, spaces.MultiDiscrete)
    offsets = np.concatenate([[0], np.cumsum(space.nvec)[:-1]])
    return bool(((action >= 0) & (action < space.nvec)).all()) and bool(mask[offsets + action].all())


def observation_space(dynamics: AnyDynamics, size: Size, static: Mapping[str, Array], form: str) -> spaces.Dict:
    """Space of one observation form for graphs padded to `size`; `static` is any instance's static arrays."""
    changing = len(dynamics.node_features)
    actions = mask_size(dynamics.action_space(size))
    found: dict[str, gym.Space[Any]] = {
        "globals": _box((len(dynamics.global_features),)),
        "focus": spaces.Box(-1, max(size.nodes - 1, 0), (1,), np.int32),
    }
    if form == "raw":
        return spaces.Dict(found)
    found["action_mask"] = _flags(actions)
    if dynamics.candidate_features:
        found["candidates"] = _box((actions, len(dynamics.candidate_features)))
        found["candidate_nodes"] = spaces.Box(-1, max(size.nodes - 1, 0), (actions,), np.int32)
    if dynamics.state_features:
        found["state"] = _box((len(dynamics.state_features),))
    if form == "dynamic":
        found["graph_id"] = spaces.Box(0, 2**31 - 1, (1,), np.int32)
        found["dynamic"] = _box((size.nodes, changing))
    else:
        found |= {
            "nodes": _box((size.nodes, static["nodes"].shape[1] + changing)),
            "node_mask": _flags(size.nodes),
            "edges": _box((size.edges, static["edges"].shape[1])),
            "edge_index": spaces.Box(0, max(size.nodes - 1, 0), (2, size.edges), np.int32),
            "edge_mask": _flags(size.edges),
        }
    return spaces.Dict({key: space for key, space in found.items() if space.shape and space.shape[-1]})


def static_arrays(problem: AnyProblem, instance: Instance) -> dict[str, Array]:
    """`problem.static` with what it may leave out: nodes (n, Fs), edges (e, Fe), edge_index (2, e).

    TypeError with one sentence where the arrays do not fit each other.
    """
    given: Any = problem.static(instance)
    named = isinstance(given, Mapping) and "nodes" in given and set(given) <= {"nodes", "edges", "edge_index"}
    fault = "" if named else "it must return a dict of nodes, with edge_index and edges where there are any"
    found: dict[str, Array] = {key: np.asarray(value) for key, value in given.items()} if named else {}
    if named:
        found.setdefault("edge_index", np.zeros((2, 0), np.int32))
        found.setdefault("edges", np.zeros(((0, *found["edge_index"].shape)[-1], 0), np.float32))
        fault = _static_fault(**found)
    if fault:
        raise TypeError(f"`static` of {problem.name}: {fault}.")
    return found


def _static_fault(nodes: Array, edges: Array, edge_index: Array) -> str:
    """What is wrong with the static arrays of a graph, or nothing."""
    for name, features in (("nodes", nodes), ("edges", edges)):
        if features.ndim != 2 or features.dtype.kind not in "iufb":
            return f"{name} must be numbers of shape (count, features), got {features.dtype} of shape {features.shape}"
        if not np.isfinite(features).all():
            return f"{name} must be finite"
    if edge_index.shape != (2, len(edges)) or (edge_index.size and edge_index.dtype.kind not in "iu"):
        came = f"{edge_index.dtype} of shape {edge_index.shape}"
        return f"edge_index must be whole numbers of shape (2, {len(edges)}), as many as edges, got {came}"
    if edge_index.size and not 0 <= edge_index.min() <= edge_index.max() < len(nodes):
        came = f"{edge_index.min()} to {edge_index.max()}"
        return f"edge_index must be nodes from 0 to {len(nodes) - 1}, got {came}"
    return ""


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


def join_static(padded: Mapping[str, Array], nodes: Array) -> dict[str, Array]:
    """The graph of full observations, of one row or of many: copies of static arrays, and `nodes` (..., N, F)."""
    found = {"nodes": nodes, **{key: value.copy() for key, value in padded.items() if key != "nodes"}}
    return {key: value for key, value in found.items() if value.shape[-1]}


def observe(
    dynamics: AnyDynamics, instance: Instance, state: Any, size: Size, form: str, padded: Mapping[str, Array],
    graph: int,
) -> dict[str, Array]:  # fmt: skip
    """One observation, every array freshly made (Gymnasium's checker forbids shared memory between calls)."""
    found: dict[str, Array] = {
        "globals": dynamics.globals(instance, state),
        "focus": np.array([dynamics.focus(instance, state)], np.int32),
    }
    if form == "raw":
        return found
    if dynamics.candidate_features:
        found["candidates"], found["candidate_nodes"] = dynamics.candidates(instance, state, size)
    if dynamics.state_features:
        found["state"] = dynamics.state_vector(instance, state)
    found["action_mask"] = dynamics.mask(instance, state, size)
    fixed, width = (padded["nodes"].shape[1] if form == "full" else 0), len(dynamics.node_features)
    changing = dynamics.nodes(instance, state) if width else np.zeros((0, 0), np.float32)
    if fixed or len(changing) != size.nodes:
        nodes = np.zeros((size.nodes, fixed + width), np.float32)
        if width:
            nodes[: len(changing), fixed:] = changing
    else:
        nodes = changing
    if form == "dynamic":
        found["graph_id"] = np.array([graph], np.int32)
        if width:
            found["dynamic"] = nodes
        return found
    nodes[:, :fixed] = padded["nodes"]
    return found | join_static(padded, nodes)
