"""The contracts of the suite. They are duck-typed: nothing here has to be inherited from.

A problem with several action modes has one `Dynamics` per mode and shows the chosen one as `problem.dynamics`; a
problem with a single mode is its own dynamics. A new problem writes eight methods, `sysgym.complete` adds the rest
(`sysgym.core.defaults`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import gymnasium as gym
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Solution = Mapping[str, Array]
Instance = Any  # a frozen dataclass of arrays and scalars with a `name`
I = TypeVar("I")  # an Instance  # noqa: E741
I_contra = TypeVar("I_contra", contravariant=True)  # the same, where it is only taken
S = TypeVar("S")  # a State


@dataclass(frozen=True)
class Verdict:
    """What judging found. `cost` is lower-is-better; natural units stand in `metrics`.

    `metrics["excess"]`, where a problem reports it, is the relative size of the constraint violation; rewards
    use it to grade infeasible answers. The names in `metrics` are the same for all solutions of a problem.
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
    choices: tuple[int, ...] = ()  # what else is padded, as many as the problem's `choice_names`


class ArraySpec(NamedTuple):
    """What one named array of a Solution must be."""

    shape: tuple[int, ...]
    kind: str  # "int" or "float"
    low: float
    high: float
    meaning: str
    varying: bool = False  # the first axis may have any length up to shape[0], for answers such as sentences


class Freedom(NamedTuple):
    """How much of a solution is its author's choice; what a problem's rules fill in is the rest."""

    about: str  # in words
    reference: str = ""  # key of `reference_costs` that such solutions are compared with; empty: the first


class Axis(NamedTuple):
    """A metric of a verdict as one axis of a picture."""

    metric: str  # its name in `Verdict.metrics`
    about: str  # what it is in words, with its unit
    more: bool = False  # whether more of it is better


class Batch(Protocol[I_contra, S]):
    """The states of all rows of a vector environment."""

    def put(self, row: int, instance: I_contra, state: S) -> None:
        """Place an episode in a row, whatever its state: fresh, under way (`set_state`) or over."""
        ...

    def state(self, row: int) -> S: ...
    def costs(self) -> Array: ...  # (B,) float64
    def legal(self, actions: Array) -> Array: ...  # (B,) bool
    def step(self, actions: Array, live: Array) -> None: ...  # live (B,) bool
    def done(self) -> Array: ...  # (B,) bool
    def observe(self, nodes: Array | None, column: int) -> dict[str, Array]:
        """Write changing node features into nodes[:, :, column:], and return the other changing keys, freshly made.

        nodes is None in raw form, which has `globals` and `focus` only.
        """
        ...


@runtime_checkable
class Dynamics(Protocol[I_contra, S]):
    """The states and actions of one action mode.

    A State owns its arrays. `step` may update them in place and returns the state; `copy` forks it. Actions arrive
    as an int for Discrete, as an int64 array for MultiDiscrete. A mask is never all zero, not even at the end of an
    episode; where an action has many choices, for none of them.
    """

    node_features: tuple[str, ...]  # names of the columns of `nodes`
    global_features: tuple[str, ...]  # names of `globals`; the last is the fraction of the episode done
    candidate_features: tuple[str, ...]  # names of what `candidates` says of each action; empty: it is not asked
    state_features: tuple[str, ...]  # names of what `state_vector` says; empty: it is not asked

    def action_space(self, size: Size) -> gym.Space[Any]: ...
    def start(self, instance: I_contra, rng: np.random.Generator, solution: Solution | None = None) -> S: ...
    def mask(self, instance: I_contra, state: S, size: Size) -> Array: ...  # (A,) int8, never all zero
    def legal(
        self, instance: I_contra, state: S, action: Any, size: Size
    ) -> bool: ...  # what the mask says, but faster
    def step(self, instance: I_contra, state: S, action: Any) -> S: ...
    def done(self, instance: I_contra, state: S) -> bool: ...
    def solution(self, instance: I_contra, state: S) -> Solution: ...
    def copy(self, state: S) -> S: ...
    def cost(self, instance: I_contra, state: S) -> float: ...  # at the end: judge(solution).cost
    def scale(self, instance: I_contra, state: S) -> float: ...  # costs are divided by this in rewards
    def nodes(self, instance: I_contra, state: S) -> Array: ...  # (n, F) float32, changing features
    def globals(self, instance: I_contra, state: S) -> Array: ...  # (G,) float32
    def focus(self, instance: I_contra, state: S) -> int: ...  # node of the next action, or -1
    def candidates(self, instance: I_contra, state: S, size: Size) -> tuple[Array, Array]:
        """Features of each action (A, Fa) float32, and the node that it concerns, or -1, (A,) int32."""
        ...

    def state_vector(self, instance: I_contra, state: S) -> Array: ...  # (S,) float32, such as a decoder's state
    def batch(self, num_envs: int, size: Size) -> Batch[I_contra, S]: ...  # all rows of a vector environment at once


@runtime_checkable
class Problem(Protocol[I, S]):
    """The rules of one task. Options are the keywords of its constructor, each with a default, and each is kept as an
    attribute of its own name (`sysgym.core.options`).
    """

    name: str
    version: int
    recommended_agent: str
    variants: tuple[Mapping[str, Any], ...]  # options that choose each action mode
    default_instances: str  # set that an environment plays when none is named
    choice_names: tuple[str, ...]  # what `Size.choices` counts, in the plural
    secondary: bool  # another problem has the same data, and is meant where nobody says which
    sealed: bool  # the judge knows what solvers are to find out: none may choose between answers by their cost
    precision: float  # relative difference that judged costs may have between machines; mostly 0
    tradeoff: tuple[Axis, ...]  # two metrics that pull against each other, which `sysgym plot` shows; mostly none
    # where solutions of several freedoms are never compared with each other: each by name, the narrowest first; mostly
    # none. `restrict(instance, solution, name)` is what a freedom leaves of a solution, the rest filled in by rule: it
    # changes nothing that it made itself, and the widest changes nothing at all. None without freedoms
    freedoms: Mapping[str, Freedom]
    restrict: Callable[[I, Solution, str], Solution] | None
    # figures of the literature to stand beside measured ones, each with "where", "quantity", "value", "source"
    published: tuple[Mapping[str, str], ...]

    # whether a word is a recipe of an instance, or a file that starts so: (name, first bytes, unzipped); None: never
    reads: Callable[[str, bytes], bool] | None
    # an instance from another library's object (such as a networkx graph), or None for one it does not know
    adopt: Callable[[Any], I | None] | None
    # for files of the field, and what `sysgym render` writes besides a picture; None where a problem has none
    parse_solution: Callable[[I, bytes, str], Solution] | None  # (instance, data, file name)
    format_solution: Callable[[I, Solution, str], bytes] | None
    # endings of the files that it writes of an instance, the field's own first, such as (".plc", ".pl"); () where it is
    # None. `sysgym board export --solutions` offers them
    solution_endings: Callable[[I], tuple[str, ...]]
    # a solution from the object of a .json file that lacks the first array: people's own form, such as values by name
    named_solution: Callable[[I, Mapping[str, Any]], Solution] | None
    # a row of names and values for each node, for people: in .json files, where it must agree with the arrays if read
    legend: Callable[[I, Solution], list[dict[str, Any]]] | None
    frames: Callable[[I, Solution], list[Array]] | None  # pictures of an animation, (H, W, 3) uint8 each
    timeline: Callable[[I, Solution], dict[str, Any]] | None  # in Chrome's trace event format
    # a form that equal solutions share (parts renumbered, coordinates on a grid), by which boards know copies; None:
    # solutions are equal where all their numbers are
    canonical: Callable[[I, Solution], Solution] | None
    # what boards show beside the cost of a solution, such as its agreement with an answer key: finite numbers, by names
    # that are no metrics. No judge, reward or agent may use it; None where a problem has none
    beside: Callable[[I, Solution], Mapping[str, float]] | None

    @property
    def dynamics(self) -> Dynamics[I, S]:
        """The dynamics of the chosen action mode."""
        ...

    def load(self, name: str) -> I: ...
    def generate(self, rng: np.random.Generator) -> I: ...
    def instance_sets(self) -> Mapping[str, Any]: ...
    def size(self, instance: I) -> Size: ...
    def static(self, instance: I) -> Mapping[str, Array]: ...  # nodes (n, Fs), edges (e, Fe), edge_index (2, e)
    def solution_arrays(self, instance: I) -> Mapping[str, ArraySpec]: ...
    def judge(self, instance: I, solution: Solution) -> Verdict: ...
    def reference_costs(self, instance: I) -> Mapping[str, float]: ...  # the board's reference first
    def render(self, instance: I, solution: Solution) -> Array: ...  # (H, W, 3) uint8
    def describe(self, instance: I, solution: Solution) -> str: ...  # the same as text


AnyProblem = Problem[Any, Any]
AnyDynamics = Dynamics[Any, Any]


def members(contract: Any) -> set[str]:
    """The public names that a Protocol declares."""
    return {name for name in (*contract.__annotations__, *vars(contract)) if not name.startswith("_")}


def content_hash(instance: Instance) -> str:
    """SHA-256 over the data of an instance (every field but its name), the same on every machine.

    A field that is a dataclass itself counts with its own hash; one with the metadata `hashed=False` does not count,
    one with `hashed="changed"` only where it is not the default, so that a field can be added later.
    The name of the class counts; a class that was renamed keeps its hashes with `hash_name = "Old"`.
    """
    kind = type(instance)
    digest = hashlib.sha256(vars(kind).get("hash_name", kind.__name__).encode())
    for item in sorted(fields(instance), key=lambda f: f.name):
        if item.name == "name" or item.metadata.get("hashed") is False:
            continue
        value = getattr(instance, item.name)
        usual = value is None if item.default is None else value is not None and value == item.default
        if item.metadata.get("hashed") == "changed" and usual:
            continue
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
