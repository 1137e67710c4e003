"""Which classes of Stable-Baselines3 and sb3-contrib stand behind an agent: algorithm, policy and rollout buffer."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import sb3_contrib
import stable_baselines3
from gymnasium import spaces

from sysgym_agents.general.sb3 import policies
from sysgym_agents.general.sb3.buffers import GraphRolloutBuffer, MaskableGraphRolloutBuffer


class _MaskedExploration:
    """Random actions of DQN and QR-DQN drawn from the mask in the observation."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """As SB3's, but an exploring action is a legal one."""
        if not deterministic and np.random.rand() < self.exploration_rate:  # type: ignore[attr-defined]  # noqa: NPY002
            mask = observation["action_mask"]
            actions = policies.random_legal(np.atleast_2d(mask))
            return (actions if np.ndim(mask) == 2 else actions[0]), state
        return self.policy.predict(observation, state, episode_start, deterministic)  # type: ignore[attr-defined]

    def _sample_action(self, learning_starts: int, action_noise: Any = None, n_envs: int = 1) -> Any:
        if self.num_timesteps < learning_starts:  # type: ignore[attr-defined]
            actions = policies.random_legal(self._last_obs["action_mask"])  # type: ignore[attr-defined]
        else:
            actions, _ = self.predict(self._last_obs, deterministic=False)  # type: ignore[attr-defined]
        return actions, actions


class MaskedDQN(_MaskedExploration, stable_baselines3.DQN):
    """DQN that explores legal actions only."""


class MaskedQRDQN(_MaskedExploration, sb3_contrib.QRDQN):
    """QR-DQN that explores legal actions only."""


class Library(NamedTuple):
    """What an agent takes from the libraries."""

    algorithm: type
    policy: type
    buffer: type | None  # None: the algorithm's own; RecurrentPPO cuts episodes into sequences, DQN and QR-DQN replay
    acts_in: tuple[type, ...] = (spaces.Discrete, spaces.MultiDiscrete)


LIBRARY = {
    "PPO": Library(stable_baselines3.PPO, policies.GraphPolicy, GraphRolloutBuffer),
    "A2C": Library(stable_baselines3.A2C, policies.GraphPolicy, GraphRolloutBuffer),
    "TRPO": Library(sb3_contrib.TRPO, policies.GraphPolicy, GraphRolloutBuffer),
    "MaskablePPO": Library(sb3_contrib.MaskablePPO, policies.GraphMaskablePolicy, MaskableGraphRolloutBuffer),
    "RecurrentPPO": Library(sb3_contrib.RecurrentPPO, policies.GraphRecurrentPolicy, None),
    "DQN": Library(MaskedDQN, policies.GraphQPolicy, None, (spaces.Discrete,)),
    "QRDQN": Library(MaskedQRDQN, policies.GraphQuantilePolicy, None, (spaces.Discrete,)),
}
