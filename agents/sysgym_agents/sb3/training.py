"""Training and playing SB3 algorithms on problems. Imports torch and SB3; `learners` is the light face of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from gymnasium import spaces
from safetensors.torch import load_file, save_file
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sysgym.core.env import ProblemEnv
from sysgym.core.errors import UsageError
from sysgym.core.problem import Instance, Solution
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.sb3 import policies


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


ALGORITHMS: dict[str, tuple[type, type, tuple[type, ...]]] = {
    # algorithm: class, policy, action spaces it can act in
    "PPO": (stable_baselines3.PPO, policies.GraphPolicy, (spaces.Discrete, spaces.MultiDiscrete)),
    "A2C": (stable_baselines3.A2C, policies.GraphPolicy, (spaces.Discrete, spaces.MultiDiscrete)),
    "TRPO": (sb3_contrib.TRPO, policies.GraphPolicy, (spaces.Discrete, spaces.MultiDiscrete)),
    "MaskablePPO": (sb3_contrib.MaskablePPO, policies.GraphMaskablePolicy, (spaces.Discrete, spaces.MultiDiscrete)),
    "RecurrentPPO": (
        sb3_contrib.RecurrentPPO, policies.GraphRecurrentPolicy, (spaces.Discrete, spaces.MultiDiscrete),
    ),
    "DQN": (MaskedDQN, policies.GraphQPolicy, (spaces.Discrete,)),
    "QRDQN": (MaskedQRDQN, policies.GraphQuantilePolicy, (spaces.Discrete,)),
}  # fmt: skip


def check_space(algorithm: str, problem: Any, space: spaces.Space, layers: int, obs: str) -> None:
    """UsageError where an algorithm or network cannot act in a mode, naming those that can."""
    fitting = [name for name, (_, _, kinds) in ALGORITHMS.items() if isinstance(space, kinds)]
    mode = f"{problem.name} in mode {getattr(problem, 'mode', 'default')!r}"
    if algorithm not in fitting:
        raise UsageError(
            f"{algorithm} cannot act in {mode}, whose actions are {type(space).__name__}; "
            f"algorithms that fit: {', '.join(fitting) or 'none'}."
        )
    if obs == "raw":
        raise UsageError(
            "GraphPolicy reads the action mask from the observation; use obs=full (or dynamic with layers=0)."
        )
    if obs == "dynamic" and layers:
        raise UsageError(
            "message passing needs the graph in the observation; use obs=full, or layers=0 with obs=dynamic."
        )
    if not layers and isinstance(space, spaces.MultiDiscrete):
        raise UsageError(f"{mode} needs node embeddings to score its actions; use layers of at least 1.")


class _Watch(BaseCallback):
    """Publishes weights and metrics after each rollout, and stops at the end of the budget or on request."""

    def __init__(self, clock: Clock, publish: Callable[[Trained, int], None], callback: Callback | None) -> None:
        super().__init__()
        self.clock, self.publish, self.callback, self.stop = clock, publish, callback, False
        self.reported, self.every = 0, 0

    def _on_training_start(self) -> None:
        if isinstance(self.model, OffPolicyAlgorithm):
            self.every = 500  # its rollouts are a few steps each

    def _on_step(self) -> bool:
        return not self.stop and not self.clock.spent()  # steps are SB3's to count: it finishes the rollout

    def _on_rollout_end(self) -> None:
        if self.callback is None or self.num_timesteps - self.reported < self.every:
            return
        self.reported = self.num_timesteps
        self.publish(weights_of(self.model.policy), int(self.num_timesteps))
        self.stop = not self.callback(self._metrics())

    def _metrics(self) -> dict[str, float]:
        metrics = {"steps": float(self.num_timesteps), "seconds": self.clock.seconds}
        episodes = self.model.ep_info_buffer or []
        if episodes:
            metrics["rollout/ep_rew_mean"] = float(np.mean([e["r"] for e in episodes]))
            metrics["rollout/ep_len_mean"] = float(np.mean([e["l"] for e in episodes]))
        for key, value in self.logger.name_to_value.items():
            if key.startswith("train/") and isinstance(value, int | float | np.number):
                metrics[key] = float(value)
        return metrics


class Trained:
    """A trained network: weights by name, to be put behind the spaces of any instance."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = weights

    def save(self, path: Path) -> None:
        """Write safetensors."""
        save_file({name: value.contiguous() for name, value in self.weights.items()}, path)

    @classmethod
    def load(cls, path: Path) -> Trained:
        """Read safetensors."""
        return cls(load_file(path))


def make_policy(algorithm: str, env: ProblemEnv, hidden: int, layers: int, keywords: dict[str, Any]) -> Any:
    """An untrained policy for the spaces of an environment."""
    _, policy_class, _ = ALGORITHMS[algorithm]
    policy = policy_class(
        env.observation_space, env.action_space, lambda _: 1e-3, hidden=hidden, layers=layers, **_policy_extra(keywords)
    )
    policy.set_training_mode(False)
    return policy


def train(
    algorithm: str,
    problem: Any,
    instances: Sequence[Instance],
    rng: np.random.Generator,
    budget: Budget,
    callback: Callback | None,
    publish: Callable[[Trained, int], None],
    start: Trained | None,
    num_envs: int,
    obs: str,
    reward: str,
    hidden: int,
    layers: int,
    keywords: dict[str, Any],
) -> None:
    """Train on instances until the budget is spent; `publish` gets the weights and the steps taken."""
    seed = int(rng.integers(2**31))

    def build() -> Monitor:
        return Monitor(ProblemEnv(problem, instances=list(instances), obs=obs, reward=reward))

    plain = DummyVecEnv([build for _ in range(num_envs)])
    check_space(algorithm, problem, plain.action_space, layers, obs)
    # rewards are fractions of an instance's scale, too small for a value network; observations stay as they are
    vector = VecNormalize(plain, norm_obs=False, norm_reward=True, gamma=min(keywords["gamma"], 0.999))
    algorithm_class, policy_class, _ = ALGORITHMS[algorithm]
    model = algorithm_class(
        policy_class, vector, seed=seed, device="cpu",
        policy_kwargs={"hidden": hidden, "layers": layers, **_policy_extra(keywords)},
        **{key: value for key, value in keywords.items() if key != "n_quantiles"},
    )  # fmt: skip
    if start is not None:
        put_weights(model.policy, start)
    steps = budget.steps if budget.steps is not None else 10**9
    model.learn(total_timesteps=steps, callback=_Watch(Clock(budget), publish, callback))
    publish(weights_of(model.policy), int(model.num_timesteps))
    vector.close()


def weights_of(policy: Any) -> Trained:
    """The weights of a policy as they are now."""
    return Trained({name: value.detach().cpu().clone() for name, value in policy.state_dict().items()})


def _policy_extra(keywords: dict[str, Any]) -> dict[str, Any]:
    return {"n_quantiles": keywords["n_quantiles"]} if "n_quantiles" in keywords else {}


def put_weights(policy: Any, trained: Trained) -> None:
    """Copy weights into a policy; UsageError if they were trained on other features."""
    try:
        policy.load_state_dict(trained.weights)
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        raise UsageError(
            f"these weights do not fit the observation of this problem and its options ({lines[-1].strip()}); "
            "use the options that the agent was trained with."
        ) from None


def play(
    algorithm: str,
    problem: Any,
    instance: Instance,
    rng: np.random.Generator,
    budget: Budget,
    trained: Trained | None,
    episodes: int,
    obs: str,
    hidden: int,
    layers: int,
    keywords: dict[str, Any],
) -> Solution:
    """The best feasible solution of one greedy and then sampled episodes. Without training the network is random."""
    env = ProblemEnv(problem, instance=instance, obs=obs)
    check_space(algorithm, problem, env.action_space, layers, obs)
    clock = Clock(budget)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.spawn(1)[0].integers(2**31)))  # leaves the stream of the episodes' seeds alone
        policy = make_policy(algorithm, env, hidden, layers, keywords)
        if trained is not None:
            put_weights(policy, trained)
        best, best_key, episode = None, (True, np.inf), 0
        while episode < 1 or (not clock.spent(episode) and (budget.seconds is not None or episode < episodes)):
            env_obs, _ = env.reset(seed=int(rng.integers(2**31)))
            state, over = None, False
            first = True
            played = 0
            while not over:
                action, state = policies.no_grad_predict(policy, env_obs, state, first, deterministic=episode == 0)
                env_obs, _, over, _, _ = env.step(action)
                first = False
                played += 1
                if played % 64 == 0 and budget.seconds is not None and clock.spent() and env.verdict().feasible:
                    break  # an unfinished episode whose answer is complete, as in a refining mode
            verdict = env.verdict()
            key = (not verdict.feasible, verdict.cost)
            if best is None or key < best_key:
                best, best_key = env.solution(), key
            episode += 1
    assert best is not None
    return best
