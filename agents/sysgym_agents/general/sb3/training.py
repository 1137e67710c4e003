"""Training and playing SB3 algorithms on problems. Imports torch and SB3; `learners` is the light face of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from safetensors.torch import load_file, save_file
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from sysgym.core.env import InstancePool, ProblemEnv
from sysgym.core.errors import UsageError
from sysgym.core.problem import Instance, Solution
from sysgym.core.vector import ProblemVectorEnv
from sysgym_agents.chip_placement.edge_net import EdgePolicy
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.general.sb3 import policies
from sysgym_agents.general.sb3.buffers import GraphRolloutBuffer, MaskableGraphRolloutBuffer, PerGraphRolloutBuffer
from sysgym_agents.general.sb3.network import StoredGraphs
from sysgym_agents.general.sb3.resume import capture, restore
from sysgym_agents.general.sb3.vectors import SB3VectorEnv
from sysgym_agents.learning.snapshot import Snapshot


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
    "EdgeGNN": (sb3_contrib.MaskablePPO, EdgePolicy, (spaces.Discrete,)),
    "DQN": (MaskedDQN, policies.GraphQPolicy, (spaces.Discrete,)),
    "QRDQN": (MaskedQRDQN, policies.GraphQuantilePolicy, (spaces.Discrete,)),
}  # fmt: skip


# RecurrentPPO cuts episodes into sequences in a buffer of its own; DQN and QR-DQN replay.
ROLLOUT_BUFFERS = {
    "PPO": GraphRolloutBuffer,
    "A2C": GraphRolloutBuffer,
    "TRPO": GraphRolloutBuffer,
    "MaskablePPO": MaskableGraphRolloutBuffer,
    "EdgeGNN": PerGraphRolloutBuffer,
}


def check_space(algorithm: str, problem: Any, space: spaces.Space, layers: int) -> None:
    """UsageError where an algorithm or network cannot act in a mode, naming those that can."""
    fitting = [name for name, (_, _, kinds) in ALGORITHMS.items() if isinstance(space, kinds)]
    mode = f"{problem.name} in mode {getattr(problem, 'mode', 'default')!r}"
    if algorithm not in fitting:
        raise UsageError(
            f"{algorithm} cannot act in {mode}, whose actions are {type(space).__name__}; "
            f"algorithms that fit: {', '.join(fitting) or 'none'}."
        )
    if not layers and isinstance(space, spaces.MultiDiscrete):
        raise UsageError(f"{mode} needs node embeddings to score its actions; use layers of at least 1.")


# Called with the weights, the steps taken by this fit, and the state to go on from where the algorithm has one.
Publish = Callable[["Trained", int, Snapshot | None], None]


class _Watch(BaseCallback):
    """Publishes weights, state and metrics between rollouts, and stops at the end of the budget or on request.

    What an on-policy algorithm has collected since the last update when it is stopped is thrown away, so that the
    training can go on from there as if it had not been stopped.
    """

    def __init__(self, clock: Clock, publish: Publish, callback: Callback | None) -> None:
        super().__init__()
        self.clock, self.publish, self.callback, self.stop = clock, publish, callback, False
        self.first, self.reported, self.every = 0, 0, 1

    def _on_training_start(self) -> None:
        self.first = self.reported = self.num_timesteps
        if isinstance(self.model, OffPolicyAlgorithm):
            self.every = 500  # its rollouts are a few steps each

    def _on_step(self) -> bool:
        self.stop = self.stop or self.clock.spent()  # steps are SB3's to count: it finishes the rollout
        return not self.stop

    def _on_rollout_start(self) -> None:
        if self.num_timesteps - self.reported >= self.every:
            self._report()

    def _on_training_end(self) -> None:
        if not self.stop or isinstance(self.model, OffPolicyAlgorithm):
            self._report()
        elif self.reported == self.first:  # not even one rollout
            self.publish(weights_of(self.model.policy), 0, None)

    def _report(self) -> None:
        self.reported = self.num_timesteps
        state = capture(self.model) if isinstance(self.model, OnPolicyAlgorithm) else None
        self.publish(weights_of(self.model.policy), self.num_timesteps - self.first, state)
        if self.callback is not None and not self.callback(self._metrics()):
            self.stop = True

    def _metrics(self) -> dict[str, float]:
        metrics = {"steps": float(self.num_timesteps - self.first), "seconds": self.clock.seconds}
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


class Setup(NamedTuple):
    """What an algorithm is built from."""

    algorithm: str
    hidden: int
    layers: int
    keywords: dict[str, Any]  # of the algorithm
    scaled: bool  # whether rewards are divided by the deviation of the returns


def stored_graphs(instances: InstancePool, layers: int) -> StoredGraphs | None:
    """The graphs behind the ids of dynamic observations; None without message passing, which reads none."""
    if not layers:
        return None
    return StoredGraphs([instances.padded_graph(position) for position in range(instances.sampled)])


def make_policy(setup: Setup, env: ProblemEnv) -> Any:
    """An untrained policy for the dynamic observations of an environment."""
    _, policy_class, _ = ALGORITHMS[setup.algorithm]
    policy = policy_class(
        env.observation_space, env.action_space, lambda _: 1e-3,
        **_policy_keywords(setup, stored_graphs(env.instances, setup.layers)),
    )  # fmt: skip
    policy.set_training_mode(False)
    return policy


def make_vector(problem: Any, instances: Sequence[Instance], num_envs: int, reward: str, layers: int) -> SB3VectorEnv:
    """Episodes side by side, as SB3 wants them; the policy holds the graphs, observations what changes."""
    vector = ProblemVectorEnv(
        num_envs, problem, instances=list(instances), obs="dynamic", reward=reward,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )  # fmt: skip
    return SB3VectorEnv(vector, without=() if layers else ("dynamic", "graph_id", "focus", "candidate_nodes"))


def train(
    setup: Setup, problem: Any, instances: Sequence[Instance], num_envs: int, reward: str, rng: np.random.Generator,
    budget: Budget, callback: Callback | None, publish: Publish, start: Trained | None, state: Snapshot | None,
) -> None:  # fmt: skip
    """Train on instances until the budget is spent: from a state, from weights, or from nothing."""
    seed = int(rng.integers(2**31))
    plain = make_vector(problem, instances, num_envs, reward, setup.layers)
    check_space(setup.algorithm, problem, plain.action_space, setup.layers)
    keywords = setup.keywords
    # rewards are fractions of an instance's scale, too small for a value network; observations stay as they are
    gamma = min(keywords["gamma"], 0.999)
    vector = VecNormalize(plain, norm_obs=False, norm_reward=setup.scaled, gamma=gamma)
    algorithm_class, policy_class, _ = ALGORITHMS[setup.algorithm]
    buffer = ROLLOUT_BUFFERS.get(setup.algorithm)
    model = algorithm_class(
        policy_class, vector, seed=seed, device="cpu",
        policy_kwargs=_policy_keywords(setup, stored_graphs(plain.vector.instances, setup.layers)),
        **({} if buffer is None else {"rollout_buffer_class": buffer}),
        **{key: value for key, value in keywords.items() if key != "n_quantiles"},
    )  # fmt: skip
    if state is not None:
        restore(model, state)
    elif start is not None:
        put_weights(model.policy, start)
    try:
        model.learn(
            total_timesteps=budget.steps if budget.steps is not None else 10**9, reset_num_timesteps=state is None,
            callback=_Watch(Clock(budget), publish, callback),
            # the observation has the mask
            **({"use_masking": False} if algorithm_class is sb3_contrib.MaskablePPO else {}),
        )  # fmt: skip
    except (ValueError, RuntimeError):
        if all(bool((value.abs() < 1e6).all()) for value in model.policy.parameters()):
            raise
        raise UsageError(
            f"the training of {setup.algorithm} diverged after {model.num_timesteps} steps: its weights grew beyond "
            "a million or are not numbers any more; lower learning_rate."
        ) from None
    vector.close()


def weights_of(policy: Any) -> Trained:
    """The weights of a policy as they are now."""
    return Trained({name: value.detach().cpu().clone() for name, value in policy.state_dict().items()})


def _policy_keywords(setup: Setup, graphs: StoredGraphs | None) -> dict[str, Any]:
    shared = {"hidden": setup.hidden, "layers": setup.layers, "graphs": graphs}
    return shared | {key: value for key, value in setup.keywords.items() if key == "n_quantiles"}


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
    setup: Setup, problem: Any, instance: Instance, rng: np.random.Generator, budget: Budget, trained: Trained | None,
    episodes: int,
) -> Solution:  # fmt: skip
    """The best feasible solution of one greedy and then sampled episodes. Without training the network is random."""
    env = ProblemEnv(problem, instance=instance, obs="dynamic")
    check_space(setup.algorithm, problem, env.action_space, setup.layers)
    clock = Clock(budget)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.spawn(1)[0].integers(2**31)))  # leaves the stream of the episodes' seeds alone
        policy = make_policy(setup, env)
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
