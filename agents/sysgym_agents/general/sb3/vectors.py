"""The native vector environment as Stable-Baselines3 wants it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.core.vector import ProblemVectorEnv
from sysgym_agents.learning.ratios import Reference, known_reference, ratio


class SB3VectorEnv(VecEnv):
    """A `ProblemVectorEnv` in SAME_STEP mode as a `VecEnv`: same episodes as `DummyVecEnv` of `ProblemEnv`s.

    Reports what `Monitor` would: `info["episode"]` with return `r`, length `l` and seconds `t`, and of a judged one
    `feasible`, `cost` and, where a reference cost is known, their `ratio`. `without` names keys of the observation that
    the policy does not read.
    """

    def __init__(self, vector: ProblemVectorEnv, without: Sequence[str] = ()) -> None:
        if vector.metadata["autoreset_mode"] is not AutoresetMode.SAME_STEP:
            raise UsageError("Stable-Baselines3 resets in the step that ends an episode; use autoreset_mode=SAME_STEP.")
        self.vector, self.without = vector, tuple(without)
        space: Any = vector.single_observation_space
        self.kept = [key for key in space.spaces if key not in self.without]
        super().__init__(
            vector.num_envs, spaces.Dict({key: space[key] for key in self.kept}), vector.single_action_space
        )
        self._actions: Array | None = None
        self._clock = time.perf_counter()
        self.returns, self.lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, np.int64)
        self._references: dict[int, Reference | None] = {}  # of the instances that were played, by position

    def _shown(self, observation: dict[str, Array]) -> dict[str, Array]:
        return {key: observation[key] for key in self.kept}

    def reset(self) -> Any:
        """First observations; uses what `seed` and `set_options` set."""
        given = self._seeds if any(seed is not None for seed in self._seeds) else None
        if any(options != self._options[0] for options in self._options):
            raise UsageError("the rows of a vector environment are reset with the same options; set them for all.")
        observation, _ = self.vector.reset(seed=given, options=self._options[0] or None)
        self._reset_seeds()
        self._reset_options()
        self.returns[:], self.lengths[:] = 0, 0
        return self._shown(observation)

    def step_async(self, actions: Array) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Observations, rewards (B,) float32, ends (B,) bool and infos."""
        played = self.vector.positions.copy()  # a row that ends plays another instance at once
        observation, rewards, ended, _, found = self.vector.step(self._actions)
        self.returns += rewards
        self.lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        last = found.get("final_info", found)
        for row in np.flatnonzero(ended).tolist():
            episode = {"r": round(float(self.returns[row]), 6), "l": int(self.lengths[row])}
            ending = self._ending(last, row)
            if ending["judged"]:
                episode |= self._measured(ending["verdict"], int(played[row]))
            infos[row] = {
                "episode": {**episode, "t": round(time.perf_counter() - self._clock, 6)},
                "terminal_observation": self._shown(found["final_obs"][row]),
                "TimeLimit.truncated": False,
                **ending,
            }
        self.returns[ended], self.lengths[ended] = 0, 0
        return self._shown(observation), rewards.astype(np.float32), ended, infos

    def _measured(self, verdict: dict[str, Any], position: int) -> dict[str, Any]:
        """`feasible`, and where they are finite `cost` and `ratio`, of an episode on the instance of a position."""
        found = {"feasible": verdict["feasible"]}
        if not math.isfinite(verdict["cost"]):
            return found
        if position not in self._references:
            instance = self.vector.instances.items[position]
            self._references[position] = known_reference(self.vector.problem, instance)
        known = self._references[position]
        over = None if known is None else ratio(verdict["cost"], known.cost)
        return {**found, "cost": verdict["cost"], **({} if over is None else {"ratio": over})}

    @staticmethod
    def _ending(last: dict[str, Any], row: int) -> dict[str, Any]:
        """`illegal`, and the `verdict` of a row whose episode ended and was judged."""
        if last["illegal"][row]:
            return {"illegal": True, "judged": False}
        verdict = last["verdict"]
        return {
            "illegal": False,
            "judged": True,
            "verdict": {
                "feasible": bool(verdict["feasible"][row]),
                "cost": float(verdict["cost"][row]),
                "metrics": {name: float(column[row]) for name, column in verdict["metrics"].items()},
            },
        }

    def resume(self, rows: Sequence[dict[str, Any]]) -> dict[str, Array]:
        """Go on from `ProblemVectorEnv.get_state`; the observations."""
        return self._shown(self.vector.set_state(rows))

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the vector environment, once for each row; AttributeError where there is none."""
        return [getattr(self.vector, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not possible: rows share one environment."""
        raise UsageError(f"{attr_name} cannot be set: the rows of a vector environment share their attributes.")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """`action_masks` of rows; other methods work in single environments only."""
        if method_name != "action_masks":
            raise UsageError(f"{method_name} cannot be called on rows; the method here is action_masks.")
        masks = self.vector.action_masks()
        return [masks[row] for row in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Whether rows are wrapped: `Monitor` counts as one, the others do not."""
        from stable_baselines3.common.monitor import Monitor

        return [wrapper_class is Monitor for _ in self._get_indices(indices)]
