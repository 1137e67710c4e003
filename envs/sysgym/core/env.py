"""The Gymnasium shell, written once for all problems. It holds the only mutable state of an environment."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded

from sysgym.core.errors import UsageError, unknown
from sysgym.core.instances import expand
from sysgym.core.observation import check_form, observation_space, observe, pad_static
from sysgym.core.problem import Array, Instance, Size, Verdict, machine_of
from sysgym.core.registry import keyword_options, make_problem, problem_class
from sysgym.core.rewards import ILLEGAL, check_reward, reward
from sysgym.core.solutions import check_arrays

SHELL_OPTIONS = ("instance", "instances", "obs", "reward", "render_mode", "max_nodes", "max_edges")


def resolve_problem(problem: Any, options: dict[str, Any]) -> Any:
    """A problem object from a name and options; an unknown option lists the problem's and the shell's."""
    if not isinstance(problem, str):
        if options:
            raise UsageError(f"the options {', '.join(options)} belong to the constructor of the problem given.")
        return problem
    known = keyword_options(problem_class(problem))
    for name in options:
        if name not in known:
            raise unknown(f"option of {problem}", name, [*known, *SHELL_OPTIONS])
    return make_problem(problem, **options)


class Instances:
    """The instances that an environment plays, their static arrays and the padded size they share."""

    def __init__(
        self, problem: Any, one: Any, many: Any, form: str, max_nodes: int | None, max_edges: int | None
    ) -> None:
        if one is not None and many is not None:
            raise UsageError("give `instance` (one) or `instances` (a set to sample from), not both.")
        self.problem, self.form = problem, form
        names: list[Any]
        if one is not None:
            names = [one]
        elif many is None:
            names = expand(problem.instance_sets(), problem.default_instances)
        elif isinstance(many, str) or (isinstance(many, Sequence) and all(isinstance(item, str) for item in many)):
            names = expand(problem.instance_sets(), many)
        elif isinstance(many, Sequence):
            names = list(many)
        else:
            raise UsageError(f"`instances` must be a set's name or a list of instances, got {many!r}.")
        for name in names:
            if not isinstance(name, str) and not is_dataclass(name):
                raise UsageError(f"an instance is a name, a file or an instance object, got {name!r}.")
        self.items: list[Instance] = [problem.load(name) if isinstance(name, str) else name for name in names]
        if not self.items:
            raise UsageError("`instances` is empty; give a set such as 'tiny/train' or instance names.")
        sizes = [problem.size(item) for item in self.items]
        self.size = Size(
            max(1, *(size.nodes for size in sizes)) if max_nodes is None else max_nodes,
            max(1, *(size.edges for size in sizes)) if max_edges is None else max_edges,
            max(size.rows for size in sizes),
            max(size.columns for size in sizes),
        )
        for item in self.items:
            self._check(item)
        self.sampled = len(self.items)  # instances that `reset` names later are kept behind these, never sampled
        self._static: dict[int, dict[str, Array]] = {}
        # the widths of the static arrays are the same for all instances; the smallest one shows them
        smallest = min(range(len(sizes)), key=lambda i: sizes[i].edges)
        self.example = problem.static(self.items[smallest]) if form != "raw" else {}

    def _check(self, instance: Instance) -> None:
        size = self.problem.size(instance)
        if size.nodes > self.size.nodes or size.edges > self.size.edges:
            raise UsageError(
                f"instance {instance.name!r} has {size.nodes} nodes and {size.edges} directed edges, this environment "
                f"is padded to {self.size.nodes} and {self.size.edges}; pass larger max_nodes and max_edges."
            )
        if size.rows > self.size.rows or size.columns > self.size.columns:
            raise UsageError(
                f"instance {instance.name!r} has a grid of {size.columns} x {size.rows}, this environment is padded to "
                f"{self.size.columns} x {self.size.rows}; name the instance among `instances` when it is made."
            )

    def index(self, name: Any) -> int:
        """Position of an instance by name or object, loading it if it is new."""
        for position, item in enumerate(self.items):
            if item is name or (isinstance(name, str) and item.name == name):
                return position
        item = self.problem.load(name) if isinstance(name, str) else name
        self._check(item)
        self.items.append(item)
        return len(self.items) - 1

    def padded(self, position: int) -> dict[str, Array]:
        """Static arrays of one instance, padded; computed once. Empty in raw form."""
        if self.form == "raw":
            return {}
        return self.padded_graph(position)

    def padded_graph(self, position: int) -> dict[str, Array]:
        """Static arrays of one instance in whatever form; do not write into them."""
        if position not in self._static:
            self._static[position] = pad_static(self.problem.static(self.items[position]), self.size)
        return self._static[position]


def legal(machine: Any, instance: Instance, state: Any, action: Any, size: Size) -> bool:
    """Whether an action is legal: the mode's own O(1) `legal` where it has one, else its mask."""
    if hasattr(machine, "legal"):
        return bool(machine.legal(instance, state, action))
    return mask_allows(machine.mask(instance, state, size), machine.action_space(size), action)


def mask_allows(mask: Array, space: gym.Space[Any], action: Any) -> bool:
    """Whether every choice of an action is 1 in its mask."""
    if isinstance(space, spaces.Discrete):
        chosen = operator.index(np.asarray(action).reshape(-1)[0]) if np.size(action) == 1 else operator.index(action)
        return 0 <= chosen < len(mask) and bool(mask[chosen])
    assert isinstance(space, spaces.MultiDiscrete)
    offsets = np.concatenate([[0], np.cumsum(space.nvec)[:-1]])
    choices = np.asarray(action)
    if choices.shape != space.nvec.shape or choices.dtype.kind not in "iu":
        raise ValueError(f"expected {len(space.nvec)} integers")
    return bool(((choices >= 0) & (choices < space.nvec)).all()) and bool(mask[offsets + choices].all())


def parse_reset(options: dict[str, Any] | None) -> tuple[Any, Any]:
    """`instance` and `solution` from the options of `reset`; unknown keys raise."""
    given = options or {}
    for key in given:
        if key not in ("instance", "solution"):
            raise unknown("reset option", key, ["instance", "solution"])
    return given.get("instance"), given.get("solution")


class ProblemEnv(gym.Env[dict[str, Array], Any]):
    """One problem as an environment; `gym.make` builds it from the problem's id.

    Arguments:
        problem: name of a registered problem, or a problem object.
        instance: one instance, by name, file or object. instances: a set to sample from at each reset.
        obs: "full", "dynamic" or "raw"; see `sysgym.core.observation`.
        reward: "improvement" or "final"; see `sysgym.core.rewards`.
        max_nodes, max_edges: padded size, for instances to be passed to `reset` later.
        options: the problem's own options, `mode` among them.

    `reset(options={"instance": name})` picks an instance; `{"solution": arrays}` starts a refining mode from it.
    An illegal action ends the episode with the reward -2; `info["illegal"]` says so. At the end `info["verdict"]` is
    what `judge` found.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 8}  # noqa: RUF012

    def __init__(
        self,
        problem: Any,
        instance: Any = None,
        instances: Any = None,
        obs: str = "full",
        reward: str = "improvement",
        render_mode: str | None = None,
        max_nodes: int | None = None,
        max_edges: int | None = None,
        **options: Any,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise unknown("render mode", render_mode, self.metadata["render_modes"])
        self.problem = resolve_problem(problem, options)
        self.machine = machine_of(self.problem)
        self.form, self.reward_name, self.render_mode = check_form(obs), check_reward(reward), render_mode
        self.instances = Instances(self.problem, instance, instances, obs, max_nodes, max_edges)
        self.size = self.instances.size
        self.action_space = self.machine.action_space(self.size)
        self.observation_space: Any = observation_space(self.machine, self.size, self.instances.example, obs)
        self.position = 0
        self.instance: Instance = self.instances.items[0]
        self.state: Any = None
        self._scale = 1.0
        self._over = True  # nothing to step before the first reset

    def _observe(self) -> dict[str, Array]:
        padded = self.instances.padded(self.position)
        return observe(self.machine, self.instance, self.state, self.size, self.form, padded, self.position)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Start an episode; options: `instance` (name, file or object) and `solution` (named arrays)."""
        super().reset(seed=seed)
        chosen, solution = parse_reset(options)
        if chosen is None:
            self.position = int(self.np_random.integers(self.instances.sampled))
        else:
            self.position = self.instances.index(chosen)
        self.instance = self.instances.items[self.position]
        if solution is not None:
            solution = check_arrays(self.problem.solution_arrays(self.instance), solution)
        self.state = self.machine.start(self.instance, self.np_random, solution)
        self._scale = self.machine.scale(self.instance, self.state)
        self._over = False
        return self._observe(), {}

    def step(self, action: Any) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Play one action. `terminated` ends an episode, `truncated` is always False; ResetNeeded once it has ended."""
        machine, instance = self.machine, self.instance
        if self._over:
            raise ResetNeeded("no episode is under way: call reset() before step().")
        try:
            allowed = legal(machine, instance, self.state, action, self.size)
        except (TypeError, ValueError, IndexError) as error:
            raise UsageError(f"the action {action!r} does not fit {self.action_space}: {error}.") from error
        if not allowed:
            self._over = True
            return self._observe(), -ILLEGAL, True, False, {"illegal": True}
        before = machine.cost(instance, self.state)
        self.state = machine.step(instance, self.state, action)
        self._over = over = machine.done(instance, self.state)
        verdict = self.verdict() if over else None
        value = reward(self.reward_name, before, machine.cost(instance, self.state), self._scale, verdict)
        info = {} if verdict is None else {"verdict": verdict.as_dict()}
        return self._observe(), value, over, False, info

    def action_masks(self) -> Array:
        """Legal actions, (A,) bool: the method that MaskablePPO looks for."""
        return self.machine.mask(self.instance, self.state, self.size).astype(bool)

    def solution(self) -> dict[str, Array]:
        """The solution of the current state, named arrays."""
        return dict(self.machine.solution(self.instance, self.state))

    def verdict(self) -> Verdict:
        """What `judge` says of the current solution."""
        found: Verdict = self.problem.judge(self.instance, self.machine.solution(self.instance, self.state))
        return found

    def static_observation(self) -> dict[str, Array]:
        """The part of the full observation that never changes for the current instance (copies)."""
        return {key: value.copy() for key, value in self.instances.padded(self.position).items()}

    def get_state(self) -> dict[str, Any]:
        """A fork of the episode and of the random stream, for search; give it to `set_state`."""
        return {
            "position": self.position,
            "state": self.machine.copy(self.state),
            "scale": self._scale,
            "over": self._over,
            "rng": self.np_random.bit_generator.state,
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Return to a fork made by `get_state` of an environment with the same instances."""
        self.position, self._scale, self._over = saved["position"], saved["scale"], saved["over"]
        self.instance = self.instances.items[self.position]
        self.state = self.machine.copy(saved["state"])
        self.np_random.bit_generator.state = saved["rng"]

    def render(self) -> Any:
        """The current solution as an (H, W, 3) uint8 picture or as text, by `render_mode`."""
        if self.render_mode is None:
            return None
        solution = self.machine.solution(self.instance, self.state)
        if self.render_mode == "ansi":
            return self.problem.describe(self.instance, solution)
        return self.problem.render(self.instance, solution)
