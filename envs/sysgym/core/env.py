"""The Gymnasium shell, written once for all problems. It holds the only mutable state of an environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from gymnasium.error import ResetNeeded

from sysgym.core.errors import UnknownOption, UsageError, unknown, unknown_option
from sysgym.core.observation import check_form, observation_space, observe, plain_action
from sysgym.core.options import keyword_options
from sysgym.core.pool import InstancePool
from sysgym.core.problem import AnyProblem, Array, Instance, Verdict
from sysgym.core.registry import make_problem, problem_class
from sysgym.core.rewards import ILLEGAL, check_reward, reward
from sysgym.core.solutions import check_arrays

SHELL_OPTIONS = ("instance", "instances", "obs", "reward", "render_mode", "max_nodes", "max_edges")


def resolve_problem(problem: AnyProblem, options: dict[str, Any]) -> AnyProblem:
    """A problem object from a name and options; an unknown option lists the problem's and the shell's.

    Its message begins as Python's own: libraries try keywords of their own first and look for those words (GymEnv of
    TorchRL gives `frameskip`).
    """
    if not isinstance(problem, str):
        if options:
            raise UsageError(f"the options {', '.join(options)} belong to the constructor of the problem given.")
        found: AnyProblem = problem
        return found
    known = keyword_options(problem_class(problem))
    for name in options:
        if name not in known:
            said = unknown_option(problem, name, [*known, *SHELL_OPTIONS])
            raise UnknownOption(f"unexpected keyword argument {name!r}: {said}")
    made: AnyProblem = make_problem(problem, **options)
    return made


def parse_reset(options: dict[str, Any] | None) -> tuple[Any, Any]:
    """`instance` and `solution` from the options of `reset`; unknown keys raise."""
    given = options or {}
    for key in given:
        if key not in ("instance", "solution"):
            raise unknown("reset option", key, ["instance", "solution"])
    return given.get("instance"), given.get("solution")


def make_info(empty: Mapping[str, float], verdict: Verdict | None = None, illegal: bool = False) -> dict[str, Any]:
    """What `reset` and `step` tell beside the observation: the same keys at every step, values of the same types.

    `judged` says whether `verdict` holds anything yet, which it does at the end; until then its numbers are infinite
    (not nan, which equals nothing and so fails every check that two steps are the same). `empty` has the names of the
    metrics, with such numbers.
    """
    if verdict is None:
        nothing = {"feasible": False, "cost": math.inf, "metrics": {**empty}, "violations": ""}
        return {"judged": False, "illegal": illegal, "verdict": nothing}
    found = {
        "feasible": verdict.feasible,
        "cost": float(verdict.cost),
        "metrics": {name: float(value) for name, value in verdict.metrics.items()},
        "violations": "; ".join(verdict.violations),
    }
    return {"judged": True, "illegal": illegal, "verdict": found}


class ProblemEnv(gym.Env[dict[str, Array], Any]):
    """One problem as an environment; `gym.make` builds it from the problem's id.

    Arguments:
        problem: name of a registered problem, or a problem object.
        instance: one instance, by name, file or object. instances: a set to sample from at each reset.
        obs: "full", "dynamic" or "raw"; see `sysgym.core.observation`.
        reward: "improvement", "final" or "log"; see `sysgym.core.rewards`.
        max_nodes, max_edges: padded size, for instances to be passed to `reset` later.
        options: the problem's own options, `mode` among them.

    `reset(options={"instance": name})` picks an instance; `{"solution": arrays}` starts a refining mode from it.
    An action is an integer or an array of integers; one integer may come as an array of one. An illegal action ends
    the episode with the reward -2; `info["illegal"]` says so. `info` has the same keys at every step: at the end
    `info["judged"]` is True and `info["verdict"]` is what `judge` found.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 8}  # noqa: RUF012

    def __init__(
        self,
        problem: AnyProblem,
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
        self.dynamics = self.problem.dynamics
        self.form, self.reward_name, self.render_mode = check_form(obs), check_reward(reward), render_mode
        self.instances = InstancePool(self.problem, instance, instances, obs, max_nodes, max_edges)
        self.size = self.instances.size
        self.action_space = self.dynamics.action_space(self.size)
        self.observation_space: Any = observation_space(self.dynamics, self.size, self.instances.example, obs)
        self.position = 0
        self.instance: Instance = self.instances.items[0]
        self.state: Any = None
        self._scale = 1.0
        self._empty: dict[str, float] = {}  # metrics of an answer that is not judged
        self._over = True  # nothing to step before the first reset

    def _observe(self) -> dict[str, Array]:
        padded = self.instances.padded(self.position)
        return observe(self.dynamics, self.instance, self.state, self.size, self.form, padded, self.position)

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
        self.state = self.dynamics.start(self.instance, self.np_random, solution)
        self._scale = self.dynamics.scale(self.instance, self.state)
        self._over = False
        self._empty = dict.fromkeys(self.instances.metrics(self.instance, self.state), math.inf)
        return self._observe(), make_info(self._empty)

    def step(self, action: Any) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Play one action. `terminated` ends an episode, `truncated` is always False; ResetNeeded once it has ended."""
        dynamics, instance = self.dynamics, self.instance
        if self._over:
            raise ResetNeeded("no episode is under way: call reset() before step().")
        chosen = plain_action(self.action_space, action)
        if not dynamics.legal(instance, self.state, chosen, self.size):
            self._over = True
            return self._observe(), -ILLEGAL, True, False, make_info(self._empty, illegal=True)
        before = dynamics.cost(instance, self.state)
        self.state = dynamics.step(instance, self.state, chosen)
        self._over = over = dynamics.done(instance, self.state)
        verdict = self.verdict() if over else None
        value = reward(self.reward_name, before, dynamics.cost(instance, self.state), self._scale, verdict)
        return self._observe(), value, over, False, make_info(self._empty, verdict)

    def action_masks(self) -> Array:
        """Legal actions, (A,) bool: the method that MaskablePPO looks for."""
        return self.dynamics.mask(self.instance, self.state, self.size).astype(bool)

    def solution(self) -> dict[str, Array]:
        """The solution of the current state, named arrays."""
        return dict(self.dynamics.solution(self.instance, self.state))

    def verdict(self) -> Verdict:
        """What `judge` says of the current solution."""
        return self.problem.judge(self.instance, self.dynamics.solution(self.instance, self.state))

    def static_observation(self) -> dict[str, Array]:
        """The part of the full observation that never changes for the current instance (copies)."""
        return {key: value.copy() for key, value in self.instances.padded(self.position).items()}

    def get_state(self) -> dict[str, Any]:
        """A fork of the episode and of the random stream, for search; give it to `set_state`."""
        if self.state is None:
            raise ResetNeeded("no episode is under way: call reset() before get_state().")
        return {
            "position": self.position,
            "state": self.dynamics.copy(self.state),
            "scale": self._scale,
            "over": self._over,
            "rng": self.np_random.bit_generator.state,
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Return to a fork made by `get_state` of an environment with the same instances."""
        self.position, self._scale, self._over = saved["position"], saved["scale"], saved["over"]
        self.instance = self.instances.items[self.position]
        self.state = self.dynamics.copy(saved["state"])
        self._empty = dict.fromkeys(self.instances.metrics(self.instance, self.state), math.inf)
        self.np_random.bit_generator.state = saved["rng"]

    def render(self) -> Any:
        """The current solution as an (H, W, 3) uint8 picture or as text, by `render_mode`."""
        if self.render_mode is None:
            return None
        solution = self.dynamics.solution(self.instance, self.state)
        if self.render_mode == "ansi":
            return self.problem.describe(self.instance, solution)
        return self.problem.render(self.instance, solution)
