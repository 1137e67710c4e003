"""The native vector environment: one shell for all problems, with the same trajectories as single environments.

Dynamics may have a `batch` whose kernels step all rows at once; otherwise rows are stepped one by one
(`sysgym.core.defaults.LoopBatch`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from sysgym.core.env import parse_reset, resolve_problem
from sysgym.core.errors import UsageError, unknown
from sysgym.core.observation import check_form, join_static, observation_space
from sysgym.core.pool import InstancePool
from sysgym.core.problem import AnyProblem, Array, Verdict
from sysgym.core.replay import Replay
from sysgym.core.rewards import ILLEGAL, check_reward, reward
from sysgym.core.solutions import check_arrays


class ProblemVectorEnv(gym.vector.VectorEnv[dict[str, Array], Any, Any]):
    """`num_envs` episodes of one problem; row i plays what a single environment seeded with `seed + i` plays.

    Arguments as for `sysgym.core.env.ProblemEnv`; `autoreset_mode` is NEXT_STEP (Gymnasium's default) or SAME_STEP.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["rgb_array", "ansi"],
        "render_fps": 8,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int,
        problem: AnyProblem,
        instance: Any = None,
        instances: Any = None,
        obs: str = "full",
        reward: str = "improvement",
        render_mode: str | None = None,
        max_nodes: int | None = None,
        max_edges: int | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **options: Any,
    ) -> None:
        if num_envs < 1:
            raise UsageError(f"num_envs must be at least 1, got {num_envs}.")
        if max_episode_steps is not None:
            raise UsageError("episodes end by the problem's own rules; use its options (such as `steps`) instead.")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise unknown("render mode", render_mode, self.metadata["render_modes"])
        mode = AutoresetMode(autoreset_mode)
        if mode is AutoresetMode.DISABLED:
            raise unknown("autoreset mode", mode.value, [AutoresetMode.NEXT_STEP.value, AutoresetMode.SAME_STEP.value])
        self.metadata = {**type(self).metadata, "autoreset_mode": mode}
        self.num_envs, self.render_mode = num_envs, render_mode
        self.problem: AnyProblem = resolve_problem(problem, options)
        self.dynamics = self.problem.dynamics
        self.form, self.reward_name, self.same_step = (
            check_form(obs),
            check_reward(reward),
            mode is AutoresetMode.SAME_STEP,
        )
        self.instances = InstancePool(self.problem, instance, instances, obs, max_nodes, max_edges)
        self.size = self.instances.size
        self.single_action_space = self.dynamics.action_space(self.size)
        self.single_observation_space = observation_space(self.dynamics, self.size, self.instances.example, obs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.batch = self.dynamics.batch(num_envs, self.size)
        self.positions = np.zeros(num_envs, np.int64)
        self._scale = np.ones(num_envs)
        self._over = np.zeros(num_envs, bool)
        self._metrics: tuple[str, ...] = ()  # names, once they are known
        self._zeros, self._ones = np.zeros(num_envs), np.ones(num_envs, bool)  # of infos, the same at every step
        self._zeros.flags.writeable = self._ones.flags.writeable = False
        self._rngs = [seeding.np_random(None)[0] for _ in range(num_envs)]
        self._replay: Replay | None = None  # None before the first reset
        self._static = self._static_block()

    def _static_block(self) -> dict[str, Array]:
        if self.form != "full":
            return {}
        return {
            key: np.zeros((self.num_envs, *value.shape), value.dtype) for key, value in self.instances.padded(0).items()
        }

    def _start(self, row: int, chosen: Any = None, solution: Any = None) -> None:
        rng = self._rngs[row]
        if chosen is not None:
            chosen = self.instances.index(chosen)
        assert self._replay is not None
        self._replay.begin(row, {"chosen": chosen, "solution": solution, "rng": rng.bit_generator.state})
        self._put(row, *self._begin(rng, chosen, solution))

    def _begin(self, rng: np.random.Generator, chosen: int | None, solution: Any) -> tuple[int, Any, float]:
        """Position of an instance, first state and scale of an episode; draws the instance if none is chosen."""
        position = int(rng.integers(self.instances.sampled)) if chosen is None else chosen
        instance = self.instances.items[position]
        if solution is not None:
            solution = check_arrays(self.problem.solution_arrays(instance), solution)
        state = self.dynamics.start(instance, rng, solution)
        return position, state, self.dynamics.scale(instance, state)

    def _put(self, row: int, position: int, state: Any, scale: float) -> None:
        self.batch.put(row, self.instances.items[position], state)
        self.positions[row], self._scale[row] = position, scale
        if self.form == "full":
            for key, value in self.instances.padded(position).items():
                self._static[key][row] = value

    def _restart(self, over: Array) -> None:
        """Start the rows that are over, and drop the actions older than every episode under way."""
        rows = over.nonzero()[0].tolist()
        for row in rows:
            self._start(row)
        if rows and self._replay is not None:
            self._replay.forget()

    def get_state(self) -> list[dict[str, Any]]:
        """The episodes under way as plain data, for `set_state` of a like environment, in another process too.

        Each row: `chosen` instance (position or None), `solution` it began with, `rng` state when it began,
        `actions` (T, ...) int64 since then, and whether it is `over`.
        """
        if self._replay is None:
            raise ResetNeeded("no episode is under way: call reset() before get_state().")
        return [{**self._replay.saved(row), "over": bool(self._over[row])} for row in range(self.num_envs)]

    def set_state(self, rows: Sequence[dict[str, Any]]) -> dict[str, Array]:
        """Go on from `get_state` by playing its actions again; the observation of all rows."""
        if len(rows) != self.num_envs:
            raise UsageError(f"got the states of {len(rows)} environments for {self.num_envs}.")
        self._replay = Replay.of(rows, self.single_action_space.shape or ())
        for row, saved in enumerate(rows):
            rng = self._rngs[row]
            rng.bit_generator.state = saved["rng"]
            position, state, scale = self._begin(rng, saved["chosen"], saved["solution"])
            for action in saved["actions"]:
                plain = action if action.ndim else int(action)
                state = self.dynamics.step(self.instances.items[position], state, plain)
            self._put(row, position, state, scale)
            self._over[row] = saved["over"]
        return self._observe()

    def _observe(self) -> dict[str, Array]:
        if self.form == "raw":
            return self.batch.observe(None, 0)
        changing, fixed = len(self.dynamics.node_features), 0
        if self.form == "full":
            fixed = self._static["nodes"].shape[2]
        nodes = np.zeros((self.num_envs, self.size.nodes, fixed + changing), np.float32)
        found = self.batch.observe(nodes, fixed)
        if self.form == "full":
            nodes[:, :, :fixed] = self._static["nodes"]
            return found | join_static(self._static, nodes)
        found["graph_id"] = self.positions.astype(np.int32)[:, None]
        return found | ({"dynamic": nodes} if changing else {})

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Start all rows; an int seeds row i with `seed + i`. Options as for the single environment."""
        seeds: Sequence[int | None]
        if seed is None or isinstance(seed, int | np.integer):
            seeds = [None if seed is None else int(seed) + row for row in range(self.num_envs)]
        else:
            seeds = seed
        if len(seeds) != self.num_envs:
            raise UsageError(f"got {len(seeds)} seeds for {self.num_envs} environments.")
        chosen, solution = parse_reset(options)
        self._replay = Replay(self.num_envs, self.single_action_space.shape or ())
        for row, value in enumerate(seeds):
            if value is not None:
                self._rngs[row] = seeding.np_random(value)[0]
            self._start(row, chosen, solution)
        self._over[:] = False
        none = np.zeros(self.num_envs, bool)
        return self._observe(), self._infos({}, none, none)

    def step(self, actions: Any) -> tuple[dict[str, Array], Array, Array, Array, dict[str, Any]]:
        """Step all rows; a row that ended starts anew instead (NEXT_STEP) or right away (SAME_STEP)."""
        if self._replay is None:
            raise ResetNeeded("no episode is under way: call reset() before step().")
        actions = np.asarray(actions)
        if actions.shape != self.action_space.shape or actions.dtype.kind not in "iu":
            raise UsageError(f"expected integer actions of shape {self.action_space.shape}, got {actions!r}.")
        actions = actions.astype(np.int64)
        self._replay.play(actions)
        waiting = self._over.copy()
        self._restart(waiting)
        allowed = self.batch.legal(actions)
        live = allowed & ~waiting
        illegal = ~allowed & ~waiting
        before = self.batch.costs()
        self.batch.step(actions, live)
        ended = self.batch.done() & live
        after = self.batch.costs()
        improved = (before - after) / self._scale if self.reward_name == "improvement" else 0.0
        rewards = np.where(live, improved, np.where(illegal, -ILLEGAL, 0.0))
        verdicts = {row: self._verdict(row) for row in ended.nonzero()[0].tolist()}
        for row, verdict in verdicts.items():
            rewards[row] = reward(self.reward_name, before[row], after[row], self._scale[row], verdict)
        infos = self._infos(verdicts, ended, illegal)
        terminated = ended | illegal
        self._over = terminated.copy()
        self._replay.refused = illegal.copy()
        observation = self._observe()
        if self.same_step and terminated.any():
            infos = infos | {
                "final_obs": self._final(observation, terminated), "_final_obs": terminated.copy(),
                "final_info": infos, "_final_info": terminated.copy(),
            }  # fmt: skip
            self._restart(terminated)
            self._over = np.zeros(self.num_envs, bool)
            observation = self._observe()
        return observation, rewards, terminated, np.zeros(self.num_envs, bool), infos

    def _infos(self, verdicts: dict[int, Verdict], ended: Array, illegal: Array) -> dict[str, Any]:
        """The keys of the single environment's `info` in Gymnasium's layout, the same at every step.

        Entries of rows that are not judged are zero, as Gymnasium leaves them; `_verdict` tells which are.
        """
        rows, found = list(verdicts), list(verdicts.values())

        def column(values: list[Any], dtype: Any) -> Array:
            made = np.zeros(self.num_envs, dtype)
            if rows:
                made[rows] = values
            return made

        if not self._metrics:
            self._metrics = self.instances.metrics(self.instances.items[self.positions[0]], self.batch.state(0))
        table = {
            "feasible": column([verdict.feasible for verdict in found], bool),
            "cost": column([verdict.cost for verdict in found], np.float64),
            "metrics": {
                name: column([v.metrics[name] for v in found], np.float64) if found else self._zeros
                for name in self._metrics
            },
        }
        return {
            "verdict": table, "_verdict": ended.copy(), "judged": ended.copy(), "_judged": self._ones,
            "illegal": illegal.copy(), "_illegal": self._ones,
        }  # fmt: skip

    @staticmethod
    def _final(observation: dict[str, Array], terminated: Array) -> Array:
        """Last observations of the rows that ended, (B,) of dict or None, as Gymnasium's SAME_STEP wants them."""
        final = np.full(len(terminated), None, dtype=object)
        for row in np.flatnonzero(terminated):
            final[row] = {key: value[row].copy() for key, value in observation.items()}
        return final

    def _verdict(self, row: int) -> Verdict:
        instance = self.instances.items[self.positions[row]]
        return self.problem.judge(instance, self.dynamics.solution(instance, self.batch.state(row)))

    def action_masks(self) -> Array:
        """Legal actions of all rows, (B, A) bool."""
        rows = [
            self.dynamics.mask(self.instances.items[self.positions[row]], self.batch.state(row), self.size)
            for row in range(self.num_envs)
        ]
        return np.stack(rows).astype(bool)

    def solution(self, row: int) -> dict[str, Array]:
        """The solution of one row's state."""
        return dict(self.dynamics.solution(self.instances.items[self.positions[row]], self.batch.state(row)))

    def render(self) -> Any:
        """A tuple with the picture or text of every row, by `render_mode`."""
        if self.render_mode is None:
            return None
        draw = self.problem.describe if self.render_mode == "ansi" else self.problem.render
        return tuple(
            draw(self.instances.items[self.positions[row]], self.solution(row)) for row in range(self.num_envs)
        )
