"""Wrappers around the standard observation: common feature widths, one flat vector, or Gymnasium's graph space.

`env.get_wrapper_attr("action_masks")()` gives the legal actions through all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from sysgym.core.errors import UsageError, unknown
from sysgym.core.observation import BOUND
from sysgym.core.problem import Array

WIDE = ("nodes", "edges", "globals", "candidates", "dynamic")  # observations with feature columns
GRAPH = ("node_mask", "edge_index", "edge_mask")  # `nodes` and `edges` too, where a problem describes them


def _spaces(env: gym.Env[Any, Any]) -> dict[str, spaces.Box]:
    """The arrays of the standard observation of an environment."""
    space = env.observation_space
    if not isinstance(space, spaces.Dict):
        raise UsageError(f"this wrapper needs the standard observation, a Dict, got {type(space).__name__}.")
    found: dict[str, spaces.Box] = dict(space.spaces)  # type: ignore[arg-type]
    return found


def pad_columns(array: Array, width: int, key: str) -> Array:
    """Zeros until the last axis of a float32 array has `width` columns.

    They stand behind the features, but before those of `globals`, whose last one stays the fraction done.

    >>> pad_columns(np.array([1, 2], np.float32), 3, "globals").tolist()
    [0.0, 1.0, 2.0]
    """
    more = width - array.shape[-1]
    before = more if key == "globals" else 0
    return np.pad(array, [*[(0, 0)] * (array.ndim - 1), (before, more - before)])


class PadFeatures(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Pad feature columns to common widths, so that one policy fits several problems.

    Arguments: the width of each observation to be padded, `PadFeatures(env, nodes=16, edges=4, globals=8)`.
    """

    def __init__(self, env: gym.Env[Any, Any], **widths: int) -> None:
        RecordConstructorArgs.__init__(self, **widths)  # type: ignore[arg-type]  # typed for its own flag only
        super().__init__(env)
        inner = _spaces(env)
        known = [key for key in WIDE if key in inner]
        for key, width in widths.items():
            if key not in known:
                raise unknown("observation with features", key, known)
            if not isinstance(width, int) or width < inner[key].shape[-1]:
                raise UsageError(f"{key} has {inner[key].shape[-1]} features, it cannot be padded to {width!r}.")
        self.widths = widths
        wider = {
            key: spaces.Box(-BOUND, BOUND, (*inner[key].shape[:-1], width), np.float32) for key, width in widths.items()
        }
        self.observation_space = spaces.Dict({**inner, **wider})

    def observation(self, observation: Mapping[str, Array]) -> dict[str, Array]:
        """The same observation with wider arrays."""
        wider = {key: pad_columns(observation[key], width, key) for key, width in self.widths.items()}
        return {**observation, **wider}


class FlattenGraph(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """The observation as one vector, for agents without a policy for dictionaries (ARS, CrossQ, plain MLPs).

    Arguments: `keys` names the arrays that are laid end to end, in this order; default: all. `slices[key]` is the place
    of each in the vector. Everything becomes float32, which is exact for indices below 2**24.
    """

    def __init__(self, env: gym.Env[Any, Any], keys: Sequence[str] | None = None) -> None:
        RecordConstructorArgs.__init__(self, keys=keys)
        super().__init__(env)
        inner = _spaces(env)
        for key in keys or ():
            if key not in inner:
                raise unknown("observation", key, inner)
        chosen = list(inner) if keys is None else list(keys)
        if not chosen or len(set(chosen)) != len(chosen):
            raise UsageError(f"keys must name observations, each once, got {keys!r}.")
        ends = np.cumsum([int(np.prod(inner[key].shape)) for key in chosen]).tolist()
        self.slices = {key: slice(start, end) for key, start, end in zip(chosen, [0, *ends], ends, strict=False)}
        low, high = (self.observation({key: getattr(inner[key], side) for key in chosen}) for side in ("low", "high"))
        self.observation_space = spaces.Box(low, high, dtype=np.float32)

    def observation(self, observation: Mapping[str, Array]) -> Array:
        """(D,) float32."""
        return np.concatenate([observation[key].ravel() for key in self.slices]).astype(np.float32)


def to_graph_instance(observation: Mapping[str, Array]) -> spaces.GraphInstance:
    """The real nodes and edges of an observation of the form `full`, without padding.

    nodes (n, F) float32, edges (e, Fe) float32, edge_links (e, 2) int32: source and target of each edge. Nodes or edges
    of a problem that says nothing of them have one feature, 1.
    """
    missing = [key for key in GRAPH if key not in observation]
    if missing:
        raise UsageError(f'the observation has no {missing[0]!r}; make the environment with obs="full".')
    real = observation["edge_mask"] == 1
    plain = {"nodes": observation["node_mask"], "edges": observation["edge_mask"]}
    nodes, edges = (observation.get(key, mask[:, None].astype(np.float32)) for key, mask in plain.items())
    return spaces.GraphInstance(
        nodes=nodes[observation["node_mask"] == 1],
        edges=edges[real],
        edge_links=np.ascontiguousarray(observation["edge_index"][:, real].T),
    )


class GraphObservation(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """The graph alone as `gymnasium.spaces.Graph`, without padding; Stable-Baselines3 does not take this space."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        inner = _spaces(env)
        if any(key not in inner for key in GRAPH):
            raise UsageError('the observation holds no graph; make the environment with obs="full".')
        widths = [inner[key].shape[-1] if key in inner else 1 for key in ("nodes", "edges")]
        nodes, edges = (spaces.Box(-BOUND, BOUND, (width,), np.float32) for width in widths)
        self.observation_space = spaces.Graph(nodes, edges)

    def observation(self, observation: Mapping[str, Array]) -> spaces.GraphInstance:
        """What `to_graph_instance` makes of it."""
        return to_graph_instance(observation)
