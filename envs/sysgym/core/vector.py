"""The native vector environment: one shell for all problems, with the same trajectories as single environments.

A machine may offer `batch(num_envs, size) -> Batch`, whose kernels step all rows at once; otherwise `LoopBatch` steps
them one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from sysgym.core.env import Instances, legal, parse_reset, resolve_problem
from sysgym.core.errors import UsageError, unknown
from sysgym.core.observation import check_form, observation_space
from sysgym.core.problem import Array, Instance, Machine, Size, Verdict, machine_of
from sysgym.core.rewards import ILLEGAL, check_reward, reward
from sysgym.core.solutions import check_arrays


class Batch(Protocol):
    """The states of all rows of a vector environment."""

    def put(self, row: int, instance: Instance, state: Any) -> None:
        """Place an episode in a row, whatever its state: fresh, under way (`set_state`) or over."""
        ...

    def state(self, row: int) -> Any: ...
    def costs(self) -> Array: ...  # (B,) float64
    def legal(self, actions: Array) -> Array: ...  # (B,) bool
    def step(self, actions: Array, live: Array) -> None: ...  # live (B,) bool
    def done(self) -> Array: ...  # (B,) bool
    def observe(self, nodes: Array | None, column: int) -> dict[str, Array]:
        """Write changing node features into nodes[:, :, column:], and return the other changing keys, freshly made."""
        ...


class LoopBatch:
    """A batch for machines without kernels of their own."""

    def __init__(self, machine: Machine, num_envs: int, size: Size) -> None:
        self.machine, self.size = machine, size
        self.instances: list[Instance] = [None] * num_envs
        self.states: list[Any] = [None] * num_envs

    def put(self, row: int, instance: Instance, state: Any) -> None:
        """Place an episode in a row, whatever its state: fresh, under way or over."""
        self.instances[row], self.states[row] = instance, state

    def state(self, row: int) -> Any:
        """The state of a row."""
        return self.states[row]

    def costs(self) -> Array:
        """Running costs, (B,) float64."""
        return np.array([self.machine.cost(i, s) for i, s in zip(self.instances, self.states, strict=True)], np.float64)

    def legal(self, actions: Array) -> Array:
        """Which rows' actions are legal, (B,) bool."""
        rows = zip(self.instances, self.states, actions, strict=True)
        return np.array([legal(self.machine, i, s, a, self.size) for i, s, a in rows])

    def step(self, actions: Array, live: Array) -> None:
        """Step the live rows."""
        for row in np.flatnonzero(live):
            self.states[row] = self.machine.step(self.instances[row], self.states[row], actions[row])

    def done(self) -> Array:
        """Which rows are over, (B,) bool."""
        return np.array([self.machine.done(i, s) for i, s in zip(self.instances, self.states, strict=True)])

    def observe(self, nodes: Array | None, column: int) -> dict[str, Array]:
        """See Batch."""
        machine, rows = self.machine, list(zip(self.instances, self.states, strict=True))
        found = {
            "globals": np.stack([machine.globals(i, s) for i, s in rows]),
            "focus": np.array([[machine.focus(i, s)] for i, s in rows], np.int32),
        }
        if nodes is None:
            return found
        found["action_mask"] = np.stack([machine.mask(i, s, self.size) for i, s in rows])
        if getattr(machine, "candidate_features", ()):
            pairs = [machine.candidates(i, s, self.size) for i, s in rows]  # type: ignore[attr-defined]
            found["candidates"] = np.stack([x for x, _ in pairs])
            found["candidate_nodes"] = np.stack([v for _, v in pairs])
        for row, (instance, state) in enumerate(rows):
            changing = machine.nodes(instance, state)
            nodes[row, : len(changing), column:] = changing
        return found


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
        problem: Any,
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
        self.problem = resolve_problem(problem, options)
        self.machine = machine_of(self.problem)
        self.form, self.reward_name, self.same_step = (
            check_form(obs),
            check_reward(reward),
            mode is AutoresetMode.SAME_STEP,
        )
        self.instances = Instances(self.problem, instance, instances, obs, max_nodes, max_edges)
        self.size = self.instances.size
        self.single_action_space = self.machine.action_space(self.size)
        self.single_observation_space = observation_space(self.machine, self.size, self.instances.example, obs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        make_batch: Any = getattr(self.machine, "batch", None)
        self.batch: Batch = (
            make_batch(num_envs, self.size) if make_batch else LoopBatch(self.machine, num_envs, self.size)
        )
        self.positions = np.zeros(num_envs, np.int64)
        self._scale = np.ones(num_envs)
        self._over = np.zeros(num_envs, bool)
        self._refused = np.zeros(num_envs, bool)  # rows whose last action in `_played` was illegal
        self._started = False
        self._rngs = [seeding.np_random(None)[0] for _ in range(num_envs)]
        self._episodes: list[dict[str, Any]] = [{} for _ in range(num_envs)]  # how each row's episode began
        self._played: list[Array] = []  # the actions of all rows, from the oldest episode under way on
        self._began = np.zeros(num_envs, np.int64)  # where in `_played` each row's episode begins
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
        self._episodes[row] = {"chosen": chosen, "solution": solution, "rng": rng.bit_generator.state}
        self._began[row] = len(self._played)
        self._put(row, *self._begin(rng, chosen, solution))

    def _begin(self, rng: np.random.Generator, chosen: int | None, solution: Any) -> tuple[int, Any, float]:
        """Position of an instance, first state and scale of an episode; draws the instance if none is chosen."""
        position = int(rng.integers(self.instances.sampled)) if chosen is None else chosen
        instance = self.instances.items[position]
        if solution is not None:
            solution = check_arrays(self.problem.solution_arrays(instance), solution)
        state = self.machine.start(instance, rng, solution)
        return position, state, self.machine.scale(instance, state)

    def _put(self, row: int, position: int, state: Any, scale: float) -> None:
        self.batch.put(row, self.instances.items[position], state)
        self.positions[row], self._scale[row] = position, scale
        if self.form == "full":
            for key, value in self.instances.padded(position).items():
                self._static[key][row] = value

    def _restart(self, over: Array) -> None:
        """Start the rows that are over, and drop the actions older than every episode under way."""
        rows = np.flatnonzero(over).tolist()
        for row in rows:
            self._start(row)
        if rows and (oldest := int(self._began.min())):
            del self._played[:oldest]
            self._began -= oldest

    def get_state(self) -> list[dict[str, Any]]:
        """The episodes under way as plain data, for `set_state` of a like environment, in another process too.

        Each row: `chosen` instance (position or None), `solution` it began with, `rng` state when it began,
        `actions` (T, ...) int64 since then, and whether it is `over`.
        """
        if not self._started:
            raise ResetNeeded("no episode is under way: call reset() before get_state().")
        empty = np.zeros((0, *self.single_action_space.shape), np.int64)  # type: ignore[misc]
        rows = []
        for row, episode in enumerate(self._episodes):
            actions = [step[row] for step in self._played[self._began[row] :]]
            if self._refused[row]:
                del actions[-1:]  # it ended the episode and changed nothing
            played = np.stack(actions).astype(np.int64) if actions else empty
            rows.append({**episode, "actions": played, "over": bool(self._over[row])})
        return rows

    def set_state(self, rows: Sequence[dict[str, Any]]) -> dict[str, Array]:
        """Go on from `get_state` by playing its actions again; the observation of all rows."""
        if len(rows) != self.num_envs:
            raise UsageError(f"got the states of {len(rows)} environments for {self.num_envs}.")
        longest = max(len(saved["actions"]) for saved in rows)
        shape = (self.num_envs, *self.single_action_space.shape)  # type: ignore[misc]
        self._played = [np.zeros(shape, np.int64) for _ in range(longest)]
        for row, saved in enumerate(rows):
            rng, actions = self._rngs[row], saved["actions"]
            rng.bit_generator.state = saved["rng"]
            position, state, scale = self._begin(rng, saved["chosen"], saved["solution"])
            for step, action in enumerate(actions, longest - len(actions)):
                self._played[step][row] = action
                state = self.machine.step(self.instances.items[position], state, action)
            self._put(row, position, state, scale)
            self._episodes[row] = {key: saved[key] for key in ("chosen", "solution", "rng")}
            self._began[row] = longest - len(actions)
            self._over[row] = saved["over"]
        self._refused = np.zeros(self.num_envs, bool)
        self._started = True
        return self._observe()

    def _observe(self) -> dict[str, Array]:
        if self.form == "raw":
            return self.batch.observe(None, 0)
        changing = len(self.machine.node_features)
        if self.form == "dynamic":
            rows = np.zeros((self.num_envs, self.size.nodes, changing), np.float32)
            found = self.batch.observe(rows, 0)
            return {"dynamic": rows, "graph_id": self.positions.astype(np.int32)[:, None], **found}
        fixed = self._static["nodes"].shape[2]
        nodes = np.zeros((self.num_envs, self.size.nodes, fixed + changing), np.float32)
        nodes[:, :, :fixed] = self._static["nodes"]
        found = self.batch.observe(nodes, fixed)
        rest = {key: value.copy() for key, value in self._static.items() if key != "nodes"}
        return {"nodes": nodes, **rest, **found}

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
        self._played = []
        for row, value in enumerate(seeds):
            if value is not None:
                self._rngs[row] = seeding.np_random(value)[0]
            self._start(row, chosen, solution)
        self._over[:] = False
        self._refused = np.zeros(self.num_envs, bool)
        self._started = True
        return self._observe(), {}

    def step(self, actions: Any) -> tuple[dict[str, Array], Array, Array, Array, dict[str, Any]]:
        """Step all rows; a row that ended starts anew instead (NEXT_STEP) or right away (SAME_STEP)."""
        if not self._started:
            raise ResetNeeded("no episode is under way: call reset() before step().")
        actions = np.asarray(actions)
        if actions.shape != self.action_space.shape or actions.dtype.kind not in "iu":
            raise UsageError(f"expected integer actions of shape {self.action_space.shape}, got {actions!r}.")
        self._played.append(actions.copy())
        waiting = self._over.copy()
        self._restart(waiting)
        allowed = self.batch.legal(actions)
        live = allowed & ~waiting
        illegal = ~allowed & ~waiting
        before = self.batch.costs()
        self.batch.step(actions, live)
        ended = self.batch.done() & live
        rewards = np.zeros(self.num_envs)
        after = self.batch.costs()
        if self.reward_name == "improvement":
            rewards[live] = ((before - after) / self._scale)[live]
        rewards[illegal] = -ILLEGAL
        infos: dict[str, Any] = {}
        if ended.any():
            verdicts = {row: self._verdict(row) for row in np.flatnonzero(ended).tolist()}
            for row, verdict in verdicts.items():
                rewards[row] = reward(self.reward_name, before[row], after[row], self._scale[row], verdict)
            infos["verdict"], infos["_verdict"] = self._table(verdicts), ended.copy()
        if illegal.any():
            infos["illegal"], infos["_illegal"] = illegal, illegal.copy()
        terminated = ended | illegal
        self._over, self._refused = terminated.copy(), illegal.copy()
        observation = self._observe()
        if self.same_step and terminated.any():
            infos = {
                "final_obs": self._final(observation, terminated),
                "_final_obs": terminated.copy(),
                "final_info": infos,
            }
            infos["_final_info"] = terminated.copy()
            self._restart(terminated)
            self._over = np.zeros(self.num_envs, bool)
            observation = self._observe()
        return observation, rewards, terminated, np.zeros(self.num_envs, bool), infos

    def _table(self, verdicts: dict[int, Verdict]) -> dict[str, Any]:
        """Verdicts of some rows in Gymnasium's layout: an array of length B for each entry, zero elsewhere."""
        rows, found = list(verdicts), list(verdicts.values())

        def column(values: list[Any], dtype: Any) -> Array:
            made = np.zeros(self.num_envs, dtype)
            made[rows] = values
            return made

        return {
            "feasible": column([verdict.feasible for verdict in found], bool),
            "cost": column([verdict.cost for verdict in found], np.float64),
            "metrics": {name: column([v.metrics[name] for v in found], np.float64) for name in found[0].metrics},
        }

    @staticmethod
    def _final(observation: dict[str, Array], terminated: Array) -> Array:
        """Last observations of the rows that ended, (B,) of dict or None, as Gymnasium's SAME_STEP wants them."""
        final = np.full(len(terminated), None, dtype=object)
        for row in np.flatnonzero(terminated):
            final[row] = {key: value[row].copy() for key, value in observation.items()}
        return final

    def _verdict(self, row: int) -> Verdict:
        instance = self.instances.items[self.positions[row]]
        found: Verdict = self.problem.judge(instance, self.machine.solution(instance, self.batch.state(row)))
        return found

    def action_masks(self) -> Array:
        """Legal actions of all rows, (B, A) bool."""
        rows = [
            self.machine.mask(self.instances.items[self.positions[row]], self.batch.state(row), self.size)
            for row in range(self.num_envs)
        ]
        return np.stack(rows).astype(bool)

    def solution(self, row: int) -> dict[str, Array]:
        """The solution of one row's state."""
        return dict(self.machine.solution(self.instances.items[self.positions[row]], self.batch.state(row)))

    def render(self) -> Any:
        """A tuple with the picture or text of every row, by `render_mode`."""
        if self.render_mode is None:
            return None
        draw = self.problem.describe if self.render_mode == "ansi" else self.problem.render
        return tuple(
            draw(self.instances.items[self.positions[row]], self.solution(row)) for row in range(self.num_envs)
        )
