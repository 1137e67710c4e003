"""`sysgym.complete`: what follows from the eight methods of a problem, filled in without inheritance.

The eight: `generate(rng)`, `static(instance)`, `solution_arrays(instance)`, `judge(instance, solution)`,
`start(instance, rng, solution=None)`, `allowed(instance, state) -> (A,) bool` (which actions are legal; an action is
a node unless `size` says otherwise), `step(instance, state, action)` and `solution(instance, state)`. An episode ends
where nothing is allowed any more. Options are annotated class attributes (`sysgym.core.options`).

Whatever a class has itself is left alone; a problem with several modes completes each of their classes too.
"""

from __future__ import annotations

import copy as copying
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar, dataclass_transform

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sysgym.core.errors import InvalidSolution, unknown
from sysgym.core.instances import Entry, InstanceSet, Memo
from sysgym.core.observation import mask_allows
from sysgym.core.options import check_fields, option_table
from sysgym.core.problem import Array, Axis, Dynamics, Freedom, Problem, Size, Solution, Verdict, content_hash, members
from sysgym.core.solutions import check_arrays

EIGHT = ("generate", "static", "solution_arrays", "judge", "start", "allowed", "step", "solution")
SPLITS = {"train": 8, "valid": 4, "test": 8}  # instances of the generated set
GENERATED = "generated"
KEYWORDS = {  # of environments
    "problem", "instance", "instances", "obs", "reward", "render_mode", "max_nodes", "max_edges", "num_envs",
    "autoreset_mode", "vectorization_mode", "vector_kwargs", "max_episode_steps", "disable_env_checker",
}  # fmt: skip
LONGEST = 1_000_000  # steps after which an episode of always the first legal action is given up
T = TypeVar("T")


@dataclass_transform(kw_only_default=True)
def complete(cls: type[T]) -> type[T]:
    """Class decorator: options from annotated attributes, and every member of the contracts that the class lacks.

    >>> import numpy as np
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Coins:
    ...     value: np.ndarray
    ...     name: str = ""
    >>> @complete
    ... class Takes:
    ...     def generate(self, rng): return Coins(rng.integers(1, 9, 4))
    ...     def static(self, coins): return {"nodes": coins.value[:, None]}
    ...     def solution_arrays(self, coins): return {"taken": ArraySpec(coins.value.shape, "int", 0, 1, "1 = taken")}
    ...     def judge(self, coins, solution): return Verdict(True, -float(coins.value @ solution["taken"]))
    ...     def start(self, coins, rng, solution=None): return np.zeros(4, int)
    ...     def allowed(self, coins, state): return (state == 0) & (state.sum() < 2)
    ...     def step(self, coins, state, action): state[action] = 1; return state
    ...     def solution(self, coins, state): return {"taken": state}
    >>> Takes().load("generated/train-0").name, Takes().variants
    ('generated/train-0', ({},))
    """
    _complete(cls)
    return cls


PAIRS = {  # what a method shows, and the names of it
    "nodes": "node_features", "globals": "global_features", "candidates": "candidate_features",
    "state_vector": "state_features",
}  # fmt: skip


def _complete(cls: Any) -> None:
    is_problem, has_modes = bool({"judge", "generate"} & _given(cls)), "dynamics" in _given(cls)
    if is_problem and "__init__" not in vars(cls):
        _make_options(cls, members(Problem) | (set() if has_modes else members(Dynamics)))
    given = _given(cls)
    if is_problem and not has_modes:
        lacking = [name for name in EIGHT if name not in given]
        if "mask" in given and "allowed" in lacking:
            lacking.remove("allowed")
        if lacking:
            raise TypeError(f"problem {cls.__name__} lacks {', '.join(lacking)}; see sysgym.core.defaults.")
    filled: set[str] = set()
    if not has_modes:
        for method, names in PAIRS.items():
            if method in given and names not in given:
                raise TypeError(f"{cls.__name__} has {method}, but no {names} that name what it shows.")
        filled |= _fill(cls, given, members(Dynamics), _DynamicsDefaults)
        if "node_features" not in given:
            cls.node_features = ("allowed",) if "size" not in given and "allowed" in given else ()
        if not {"mask", "done"} & given:
            cls.step = _guarded(cls.step)
    if is_problem and not has_modes and "mask" not in given:
        cls.judge = _checking(cls.judge)
    if is_problem:
        filled |= _fill(cls, given, members(Problem), _ProblemDefaults)
        if "name" not in given:
            cls.name = cls.__name__
        if "variants" not in given:
            modes = option_table(cls)["mode"].choices if "mode" in option_table(cls) else ()
            cls.variants = tuple({"mode": mode} for mode in modes) or ({},)
    cls._filled = frozenset(filled)


def _given(cls: Any) -> set[str]:
    """Names that a class and those above it have themselves, without what was filled in."""
    found: set[str] = set()
    for base in cls.__mro__[:-1]:
        found |= {*vars(base), *vars(base).get("__annotations__", ())} - vars(base).get("_filled", frozenset())
    return found


def _fill(cls: Any, given: set[str], wanted: set[str], defaults: Any) -> set[str]:
    """Give a class the members that it lacks; their names."""
    for name in wanted - given:
        setattr(cls, name, inspect.getattr_static(defaults, name))
    return wanted - given


def _make_options(cls: Any, contract: set[str]) -> None:
    """Make a keyword-only dataclass of a class, whose constructor checks every option."""
    own = getattr(cls, "__post_init__", None)  # of a class above too: options that go together stay checked

    def __post_init__(self: Any) -> None:
        check_fields(self)
        if own is not None:
            own(self)

    cls.__post_init__ = __post_init__
    dataclass(kw_only=True, eq=False)(cls)
    taken = sorted(set(option_table(cls)) & contract)
    if taken:
        raise TypeError(f"{cls.__name__}.{taken[0]} is part of the contract, no option: leave out its annotation.")
    taken = sorted(set(option_table(cls)) & KEYWORDS)
    if taken:
        raise TypeError(f"the option {taken[0]} of {cls.__name__} is a keyword of environments: give it another name.")


def _guarded(step: Callable[..., Any]) -> Callable[..., Any]:
    """A `step` that leaves a state alone where nothing is allowed any more: its mask still shows action 0."""

    if vars(step).get("guards"):
        return step

    def guarded(self: Any, instance: Any, state: Any, action: Any) -> Any:
        return step(self, instance, state, action) if np.any(self.allowed(instance, state)) else state

    guarded.__doc__, guarded.guards = step.__doc__, True  # type: ignore[attr-defined]
    return guarded


def _checking(judge: Callable[..., Any]) -> Callable[..., Any]:
    """A `judge` that sees nothing but the arrays of `solution_arrays`; InvalidSolution for anything else."""

    if vars(judge).get("guards"):
        return judge

    def checking(self: Any, instance: Any, solution: Any) -> Verdict:
        found = judge(self, instance, check_arrays(self.solution_arrays(instance), solution))
        return _checked_verdict(found, f"`judge` of {type(self).__name__}")

    checking.__doc__, checking.guards = judge.__doc__, True  # type: ignore[attr-defined]
    return checking


def _checked_verdict(found: Any, what: str) -> Verdict:
    if not isinstance(found, Verdict):
        raise TypeError(f"{what} must return a Verdict, got {found!r:.80}.")
    if found.feasible and not np.isfinite(found.cost):
        raise TypeError(f"{what} must give a feasible solution a finite cost, got {found.cost}.")
    if isinstance(found.violations, str):
        raise TypeError(f"{what} must give violations as a tuple of sentences, got {found.violations!r:.80}.")
    return found


def _checked_flags(found: Any, what: str, most: int) -> Array:
    if not isinstance(found, np.ndarray) or found.dtype != bool or found.ndim != 1 or len(found) > most:
        came = f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else f"{found!r:.80}"
        raise TypeError(f"{what} must return a bool for each action, an array of up to ({most},), got {came}.")
    return found


class LoopBatch:
    """All rows of a vector environment, one after the other; for dynamics without kernels of their own."""

    def __init__(self, dynamics: Any, num_envs: int, size: Size) -> None:
        self.dynamics, self.size = dynamics, size
        self.instances: list[Any] = [None] * num_envs
        self.states: list[Any] = [None] * num_envs

    def put(self, row: int, instance: Any, state: Any) -> None:
        """Place an episode in a row, whatever its state: fresh, under way or over."""
        self.instances[row], self.states[row] = instance, state

    def state(self, row: int) -> Any:
        """The state of a row."""
        return self.states[row]

    def costs(self) -> Array:
        """Running costs, (B,) float64."""
        rows = zip(self.instances, self.states, strict=True)
        return np.array([self.dynamics.cost(i, s) for i, s in rows], np.float64)

    def legal(self, actions: Array) -> Array:
        """Which rows' actions are legal, (B,) bool."""
        rows = zip(self.instances, self.states, self._plain(actions), strict=True)
        return np.array([self.dynamics.legal(i, s, a, self.size) for i, s, a in rows])

    def step(self, actions: Array, live: Array) -> None:
        """Step the live rows."""
        plain = self._plain(actions)
        for row in np.flatnonzero(live):
            self.states[row] = self.dynamics.step(self.instances[row], self.states[row], plain[row])

    @staticmethod
    def _plain(actions: Array) -> Any:
        return actions.tolist() if actions.ndim == 1 else actions

    def done(self) -> Array:
        """Which rows are over, (B,) bool."""
        return np.array([self.dynamics.done(i, s) for i, s in zip(self.instances, self.states, strict=True)])

    def observe(self, nodes: Array | None, column: int) -> dict[str, Array]:
        """See `sysgym.core.problem.Batch`."""
        dynamics, rows = self.dynamics, list(zip(self.instances, self.states, strict=True))
        found = {
            "globals": np.stack([dynamics.globals(i, s) for i, s in rows]),
            "focus": np.array([[dynamics.focus(i, s)] for i, s in rows], np.int32),
        }
        if nodes is None:
            return found
        found["action_mask"] = np.stack([dynamics.mask(i, s, self.size) for i, s in rows])
        if dynamics.candidate_features:
            pairs = [dynamics.candidates(i, s, self.size) for i, s in rows]
            found["candidates"] = np.stack([x for x, _ in pairs])
            found["candidate_nodes"] = np.stack([v for _, v in pairs])
        if dynamics.state_features:
            found["state"] = np.stack([dynamics.state_vector(i, s) for i, s in rows])
        if dynamics.node_features:
            for row, (instance, state) in enumerate(rows):
                changing = dynamics.nodes(instance, state)
                nodes[row, : len(changing), column:] = changing
        return found


class _DynamicsDefaults:
    """What a class of dynamics gets where it has no own member."""

    node_features: tuple[str, ...] = ()
    global_features = ("progress",)
    candidate_features: tuple[str, ...] = ()
    state_features: tuple[str, ...] = ()

    def action_space(self: Any, size: Size) -> gym.Space[Any]:
        """A node, or one of the product of the choices."""
        return spaces.Discrete(int(np.prod(size.choices)) if size.choices else size.nodes)

    def mask(self: Any, instance: Any, state: Any, size: Size) -> Array:
        """What is allowed, padded, (A,) int8; action 0 where nothing is."""
        flags = np.zeros(int(self.action_space(size).n), np.int8)
        allowed = _checked_flags(self.allowed(instance, state), f"`allowed` of {type(self).__name__}", len(flags))
        flags[: len(allowed)] = allowed
        flags[0] |= not flags.any()
        return flags

    def legal(self: Any, instance: Any, state: Any, action: Any, size: Size) -> bool:
        """Whether the mask allows every choice of an action."""
        return mask_allows(self.mask(instance, state, size), self.action_space(size), action)

    def done(self: Any, instance: Any, state: Any) -> bool:
        """Whether nothing is allowed any more."""
        return not np.any(self.allowed(instance, state))

    def copy(self: Any, state: Any) -> Any:
        """A fork."""
        return copying.deepcopy(state)

    def cost(self: Any, instance: Any, state: Any) -> float:
        """What `judge` says of the answer as it stands; 0 while that is no number, or there is no answer yet."""
        try:
            cost = self.judge(instance, self.solution(instance, state)).cost
        except InvalidSolution:
            return 0.0
        return float(cost) if np.isfinite(cost) else 0.0

    def scale(self: Any, instance: Any, state: Any) -> float:
        """The size of the first reference cost, or 1."""
        known = next(iter(self.reference_costs(instance).values()), 0.0)
        return abs(known) or 1.0

    def nodes(self: Any, instance: Any, state: Any) -> Array:
        """Whether each node is allowed, (n, 1) float32, where actions are nodes; else nothing."""
        if not self.node_features:
            return np.zeros((self.size(instance).nodes, 0), np.float32)
        found: Array = np.asarray(self.allowed(instance, state), np.float32)[:, None]
        return found

    def globals(self: Any, instance: Any, state: Any) -> Array:
        """The share of actions that are not allowed, which is 1 at the end."""
        return np.array([1 - np.mean(self.allowed(instance, state))], np.float32)

    def focus(self: Any, instance: Any, state: Any) -> int:
        """No node in particular."""
        return -1

    def candidates(self: Any, instance: Any, state: Any, size: Size) -> tuple[Array, Array]:
        """Nothing is told of single actions."""
        count = int(self.action_space(size).n)
        return np.zeros((count, 0), np.float32), np.full(count, -1, np.int32)

    def state_vector(self: Any, instance: Any, state: Any) -> Array:
        """Nothing."""
        return np.zeros(0, np.float32)

    def batch(self: Any, num_envs: int, size: Size) -> LoopBatch:
        """Rows one after the other."""
        return LoopBatch(self, num_envs, size)


def first_costs(problem: Any, instance: Any) -> Mapping[str, float]:
    """What always the first legal action comes to, `{"first": cost}`; nothing where that is infeasible."""
    dynamics, size = problem.dynamics, problem.size(instance)
    state, space = dynamics.start(instance, np.random.default_rng(0)), dynamics.action_space(size)
    if not isinstance(space, spaces.Discrete):
        return {}
    for _ in range(LONGEST):
        if dynamics.done(instance, state):
            verdict: Verdict = problem.judge(instance, dynamics.solution(instance, state))
            return {"first": verdict.cost} if verdict.feasible else {}
        state = dynamics.step(instance, state, int(dynamics.mask(instance, state, size).argmax()))
    return {}


def generated_set(problem: Any) -> InstanceSet:
    """Instances of `generate`, by seed, in all three splits."""
    names = [(f"{GENERATED}/{split}-{i}", split) for split, count in SPLITS.items() for i in range(count)]
    entries = []
    for seed, (name, split) in enumerate(names):
        instance = _seeded(problem, name, seed)
        size = problem.size(instance)
        entries.append(Entry(name, split, None, content_hash(instance), size.nodes, size.edges))
    if content_hash(_seeded(problem, names[0][0], 0)) != entries[0].hash:
        raise TypeError(f"`generate` of {problem.name} makes another instance of the same seed: draw from `rng` alone.")
    return InstanceSet(GENERATED, 1, GENERATED, "none", "made by `generate` from seeds", tuple(entries))


def _seeded(problem: Any, name: str, seed: int) -> Any:
    made = problem.generate(np.random.default_rng([seed, 0]))
    if not is_dataclass(made) or isinstance(made, type) or not hasattr(made, "name"):
        raise TypeError(f"generate of {problem.name} must return a frozen dataclass with a field `name: str = ''`.")
    return replace(made, name=name)


class _ProblemDefaults:
    """What a problem gets where it has no own member."""

    name = ""
    version = 0
    recommended_agent = "random"
    variants: tuple[Mapping[str, Any], ...] = ({},)
    default_instances = f"{GENERATED}/train"
    choice_names: tuple[str, ...] = ()
    secondary = False
    sealed = False
    precision = 0.0
    tradeoff: tuple[Axis, ...] = ()
    freedoms: Mapping[str, Freedom] = MappingProxyType({})
    published: tuple[Mapping[str, str], ...] = ()
    reads = adopt = parse_solution = format_solution = named_solution = legend = None
    frames = timeline = canonical = beside = restrict = None

    @property
    def dynamics(self: Any) -> Any:
        """A problem with one mode is its own dynamics."""
        return self

    def load(self: Any, name: str) -> Any:
        """An instance of the generated set, or `seed:7` for one of your own."""
        names = [f"{GENERATED}/{split}-{i}" for split, count in SPLITS.items() for i in range(count)]
        if name in names:
            return _seeded(self, name, names.index(name))
        head, _, seed = name.partition(":")
        if head == "seed" and seed.isascii() and seed.isdecimal():
            return replace(self.generate(np.random.default_rng([int(seed), 1])), name=name)
        raise unknown("instance", name, [*names, "seed:0"])

    def instance_sets(self: Any) -> Mapping[str, InstanceSet]:
        """The generated set."""
        found = vars(self).get("_generated_set")
        if found is None:
            found = self._generated_set = {GENERATED: generated_set(self)}
        return found  # type: ignore[no-any-return]

    def size(self: Any, instance: Any) -> Size:
        """Nodes and directed edges of the static arrays."""
        static = self.static(instance)
        return Size(len(static["nodes"]), len(static["edges"]) if "edges" in static else 0)

    def solution_endings(self: Any, instance: Any) -> tuple[str, ...]:
        """`.txt` where the problem writes files of its field."""
        return () if self.format_solution is None else (".txt",)

    def reference_costs(self: Any, instance: Any) -> Mapping[str, float]:
        """Always the first legal action."""
        if "_references" not in vars(self):
            self._references = Memo(_FirstCosts(self))
        return self._references(instance)  # type: ignore[no-any-return]

    def render(self: Any, instance: Any, solution: Solution) -> Array:
        """The description as a picture, (H, W, 3) uint8."""
        from PIL import Image, ImageDraw

        lines = self.describe(instance, solution).splitlines()
        image = Image.new("RGB", (16 + 7 * max(map(len, lines)), 16 + 16 * len(lines)), "white")
        pen = ImageDraw.Draw(image)
        for row, line in enumerate(lines):
            pen.text((8, 8 + 16 * row), line, fill="black")
        return np.asarray(image, np.uint8).copy()

    def describe(self: Any, instance: Any, solution: Solution) -> str:
        """Cost, metrics and violations as text."""
        verdict: Verdict = self.judge(instance, solution)
        lines = [f"{instance.name}: cost {verdict.cost:g}, {'feasible' if verdict.feasible else 'INFEASIBLE'}"]
        lines += [f"{name} {value:g}" for name, value in verdict.metrics.items()]
        return "\n".join([*lines, *verdict.violations])


class _FirstCosts:
    """`first_costs` of one problem, a callable that pickles."""

    def __init__(self, problem: Any) -> None:
        self.problem = problem

    def __call__(self, instance: Any) -> Mapping[str, float]:
        return first_costs(self.problem, instance)
