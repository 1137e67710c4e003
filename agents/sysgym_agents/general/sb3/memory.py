"""What a training keeps in memory, estimated before it is taken."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from sysgym.core.problem import AnyProblem, Instance
from sysgym_agents.general.sb3.buffers import LARGE
from sysgym_agents.learning.memory import afford

PACKED = 1 / 20  # of the bytes of large arrays, once they are compressed; `sysgym bench rollouts` measures it
ROW = 96  # bytes of a step beside observation and action: rewards, values, log-probabilities, objects of Python


def check_envs(problem: AnyProblem, instances: Sequence[Instance], num_envs: int) -> None:
    """UsageError if so many episodes side by side, each with its graph and features, need more than there is."""
    sizes = [problem.size(item) for item in instances]
    nodes, edges = max(size.nodes for size in sizes), max(size.edges for size in sizes)
    needed = num_envs * (nodes * (4.0 * len(problem.dynamics.node_features) + 16) + edges * 12.0)
    afford(needed, f"{num_envs} environments of {nodes} nodes", "num_envs")


def bytes_of(space: spaces.Dict) -> dict[str, int]:
    """Bytes of each part of an observation."""
    return {key: math.prod(part.shape or (1,)) * np.dtype(part.dtype).itemsize for key, part in space.spaces.items()}


def step_bytes(space: spaces.Dict, packed: bool) -> float:
    """Bytes that a rollout buffer keeps of an observation."""
    sizes = bytes_of(space)
    if not packed:
        return float(sum(sizes.values()))
    masks = sum(size / 8 for key, size in sizes.items() if key == "action_mask")
    others = [size for key, size in sizes.items() if key != "action_mask"]
    return masks + sum(size if size < LARGE else PACKED * size for size in others)


def check_memory(algorithm: str, env: Any, keywords: Mapping[str, Any], packed: bool) -> None:
    """UsageError if the rollout or replay buffer of an algorithm, and a batch from it, need more than there is.

    `packed` says whether observations are kept compressed; keywords are those of the algorithm.
    """
    space, whole = env.observation_space, sum(bytes_of(env.observation_space).values())
    action = 8 * max(1, math.prod(env.action_space.shape or (1,)))
    if "buffer_size" in keywords:
        rows, kept, lower = keywords["buffer_size"], 2.0 * whole, "buffer_size or batch_size"
    else:
        rows, kept = keywords["n_steps"] * env.num_envs, step_bytes(space, packed)
        lower = "num_envs, n_steps or batch_size" if "batch_size" in keywords else "num_envs or n_steps"
    batch = min(rows, keywords.get("batch_size", rows))
    needed = rows * (kept + action + ROW) + batch * whole
    afford(needed, f"a buffer of {rows} steps of {algorithm}", lower)
