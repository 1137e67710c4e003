"""The contracts of the suite. They are duck-typed: nothing here has to be inherited from.

A problem with several action modes has one state machine (`Machine`) per mode and shows the chosen one as
`problem.machine`. A problem with a single mode implements the Machine methods itself and needs no `machine`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Solution = Mapping[str, Array]
Instance = Any  # a frozen dataclass of arrays and scalars with a `name`


@dataclass(frozen=True)
class Verdict:
    """What judging found. `cost` is lower-is-better; natural units stand in `metrics`.

    `metrics["excess"]`, where a problem reports it, is the relative size of the constraint violation; rewards
    use it to grade infeasible answers.
    """

    feasible: bool
    cost: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    violations: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a cost that is not finite becomes None."""
        return {
            "feasible": self.feasible,
            "cost": self.cost if math.isfinite(self.cost) else None,
            "metrics": dict(self.metrics),
            "violations": list(self.violations),
        }


class Size(NamedTuple):
    """How large a graph is, or how large an observation is padded."""

    nodes: int
    edges: int  # directed edges, the columns of `edge_index`
    rows: int = 1  # of the grid that actions or planes stand on, where a problem has one
    columns: int = 1


class ArraySpec(NamedTuple):
    """What one named array of a Solution must be."""

    shape: tuple[int, ...]
    kind: str  # "int" or "float"
    low: float
    high: float
    meaning: str


@runtime_checkable
class Machine(Protocol):
    """The states and actions of one action mode.

    A State owns its arrays. `step` may update them in place and returns the state; `copy` forks it.
    A mask is never all zero, not even at the end of an episode; where an action has many choices, for none of them.

    It may also offer `legal(instance, state, action) -> bool` (faster than the mask), `candidate_features` (names) with
    `candidates(instance, state, size) -> (features (A, Fa) float32, nodes (A,) int32)` that describe each action, and
    `batch(num_envs, size)` (see `sysgym.core.vector`).
    """

    node_features: tuple[str, ...]  # names of the columns of `nodes`
    global_features: tuple[str, ...]  # names of `globals`; the last is the fraction of the episode done

    def action_space(self, size: Size) -> gym.Space[Any]: ...
    def start(self, instance: Instance, rng: np.random.Generator, solution: Solution | None = None) -> Any: ...
    def mask(self, instance: Instance, state: Any, size: Size) -> Array: ...  # (A,) int8, never all zero
    def step(self, instance: Instance, state: Any, action: Any) -> Any: ...
    def done(self, instance: Instance, state: Any) -> bool: ...
    def solution(self, instance: Instance, state: Any) -> Solution: ...
    def copy(self, state: Any) -> Any: ...
    def cost(self, instance: Instance, state: Any) -> float: ...  # at the end: judge(solution).cost
    def scale(self, instance: Instance, state: Any) -> float: ...  # costs are divided by this in rewards
    def nodes(self, instance: Instance, state: Any) -> Array: ...  # (n, F) float32, changing features
    def globals(self, instance: Instance, state: Any) -> Array: ...  # (G,) float32
    def focus(self, instance: Instance, state: Any) -> int: ...  # node of the next action, or -1


@runtime_checkable
class Problem(Protocol):
    """The rules of one task. Options are the keywords of its constructor, each with a default, and each is kept as an
    attribute of its own name.

    It may also offer `parse_solution(instance, data, file_name)` and `format_solution(instance, solution, file_name)`
    for files of the field, `frames(instance, solution)` (pictures of an animation) and `trace(instance, solution)`
    (a Chrome trace), which `sysgym render` writes.
    """

    name: str
    version: int
    recommended_agent: str
    variants: tuple[Mapping[str, Any], ...]  # options that choose each action mode
    default_instances: str  # set that an environment plays when none is named

    def load(self, name: str) -> Instance: ...
    def generate(self, rng: np.random.Generator) -> Instance: ...
    def instance_sets(self) -> Mapping[str, Any]: ...
    def size(self, instance: Instance) -> Size: ...
    def static(self, instance: Instance) -> Mapping[str, Array]: ...  # nodes (n, Fs), edges (e, Fe), edge_index (2, e)
    def solution_arrays(self, instance: Instance) -> Mapping[str, ArraySpec]: ...
    def judge(self, instance: Instance, solution: Solution) -> Verdict: ...
    def reference_costs(self, instance: Instance) -> Mapping[str, float]: ...  # the board's reference first
    def render(self, instance: Instance, solution: Solution) -> Array: ...  # (H, W, 3) uint8
    def describe(self, instance: Instance, solution: Solution) -> str: ...  # the same as text


def machine_of(problem: Any) -> Machine:
    """The state machine of the chosen action mode; a problem with one mode is its own machine."""
    machine: Machine = getattr(problem, "machine", problem)
    return machine


def content_hash(instance: Instance) -> str:
    """SHA-256 over the data of an instance (every field but its name), the same on every machine.

    A field that is a dataclass itself counts with its own hash; one with the metadata `hashed=False` does not count.
    """
    digest = hashlib.sha256(type(instance).__name__.encode())
    for item in sorted(fields(instance), key=lambda f: f.name):
        if item.name == "name" or item.metadata.get("hashed") is False:
            continue
        value = getattr(instance, item.name)
        digest.update(f"|{item.name}:".encode())
        if isinstance(value, np.ndarray):
            little = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
            digest.update(f"{little.dtype.str}{little.shape}".encode())
            digest.update(little.tobytes())
        elif is_dataclass(value):
            digest.update(content_hash(value).encode())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()
