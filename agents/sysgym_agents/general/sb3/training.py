"""Training and playing SB3 algorithms on problems. Imports torch and SB3; `learners` is the light face of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import sb3_contrib
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from sysgym.core.env import ProblemEnv
from sysgym.core.errors import UsageError
from sysgym.core.pool import InstancePool
from sysgym.core.problem import AnyProblem, Instance, Solution
from sysgym.core.registry import options_of
from sysgym.core.vector import ProblemVectorEnv
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.general.sb3 import policies
from sysgym_agents.general.sb3.library import LIBRARY, Library
from sysgym_agents.general.sb3.memory import check_envs, check_memory
from sysgym_agents.general.sb3.network import StoredGraphs
from sysgym_agents.general.sb3.resume import capture, restore
from sysgym_agents.general.sb3.vectors import SB3VectorEnv
from sysgym_agents.learning.devices import device_for
from sysgym_agents.learning.ratios import geometric_mean
from sysgym_agents.learning.snapshot import Snapshot

OF_THE_POLICY = ("n_quantiles", "prior")  # keywords of an algorithm's agent that its policy takes
Act = Callable[[Any, Any, bool, bool], tuple[Any, Any]]  # see `play_episodes`
Weights = Mapping[str, torch.Tensor]  # of a policy by name, to be put behind the spaces of any instance


class Setup(NamedTuple):
    """What an algorithm is built from."""

    algorithm: str  # its name
    library: Library
    hidden: int
    layers: int
    keywords: dict[str, Any]  # of the algorithm
    scaled: bool  # whether rewards are divided by the deviation of the returns
    num_envs: int
    reward: str


class Begin(NamedTuple):
    """What a training begins with: nothing, weights, or the state of an earlier one."""

    weights: Weights | None = None
    state: Snapshot | None = None


def check_space(setup: Setup, problem: AnyProblem, space: spaces.Space) -> None:
    """UsageError where an algorithm or network cannot act in a mode, naming those that can."""
    chosen = {name: value for name, value in options_of(problem).items() if name == "mode"}
    mode = f"{problem.name} in mode {chosen.get('mode', 'default')!r}"
    if not isinstance(space, setup.library.acts_in):
        fitting = [name for name, library in LIBRARY.items() if isinstance(space, library.acts_in)]
        raise UsageError(
            f"{setup.algorithm} cannot act in {mode}, whose actions are {type(space).__name__}; "
            f"algorithms that fit: {', '.join(fitting) or 'none'}."
        )
    if not setup.layers and isinstance(space, spaces.MultiDiscrete):
        raise UsageError(f"{mode} needs node embeddings to score its actions; use layers of at least 1.")


# Called with the weights, the steps taken by this fit, and the state to go on from where the algorithm has one.
Publish = Callable[[Weights, int, Snapshot | None], None]


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
            metrics["rollout/ep_rew_min"] = float(min(e["r"] for e in episodes))
            metrics["rollout/ep_rew_max"] = float(max(e["r"] for e in episodes))
            metrics["rollout/ep_len_mean"] = float(np.mean([e["l"] for e in episodes]))
            metrics |= _judged(episodes)
        for key, value in self.logger.name_to_value.items():
            if key.startswith("train/") and isinstance(value, int | float | np.number):
                metrics[key] = float(value)
        return metrics


def _judged(episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of the last episodes: the share that ended feasible, and of those the mean cost, the mean ratio to reference
    costs (geometric, over the instances that have one) and the least cost.
    """
    feasible = [episode for episode in episodes if episode.get("feasible")]
    found = {"rollout/feasible": len(feasible) / len(episodes)}
    ratios = [episode["ratio"] for episode in feasible if "ratio" in episode]
    costs = [episode["cost"] for episode in feasible]
    if costs:
        found |= {"rollout/cost": float(np.mean(costs)), "rollout/best": float(min(costs))}
    if ratios:
        found["rollout/ratio"] = geometric_mean(ratios)
    return found


def stored_graphs(instances: InstancePool, layers: int) -> StoredGraphs | None:
    """The graphs behind the ids of dynamic observations; None without message passing, which reads none."""
    if not layers:
        return None
    return StoredGraphs([instances.padded_graph(position) for position in range(instances.sampled)])


def make_policy(setup: Setup, env: ProblemEnv) -> Any:
    """An untrained policy for the dynamic observations of an environment."""
    policy = setup.library.policy(
        env.observation_space, env.action_space, lambda _: 1e-3,
        **_policy_keywords(setup, env.problem, stored_graphs(env.instances, setup.layers)),
    )  # fmt: skip
    policy.set_training_mode(False)
    return policy


def make_vector(
    problem: AnyProblem, instances: Sequence[Instance], num_envs: int, reward: str, layers: int
) -> SB3VectorEnv:
    """Episodes side by side, as SB3 wants them; the policy holds the graphs, observations what changes."""
    vector = ProblemVectorEnv(
        num_envs, problem, instances=list(instances), obs="dynamic", reward=reward,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )  # fmt: skip
    return SB3VectorEnv(vector, without=() if layers else ("dynamic", "graph_id", "focus", "candidate_nodes"))


def train(
    setup: Setup, problem: AnyProblem, instances: Sequence[Instance], rng: np.random.Generator, budget: Budget,
    begin: Begin, hear: tuple[Publish, Callback | None],
) -> None:  # fmt: skip
    """Train on instances until the budget is spent; `hear` takes the weights, then the metrics, after each rollout."""
    seed = int(rng.integers(2**31))
    check_envs(problem, instances, setup.num_envs)
    plain = make_vector(problem, instances, setup.num_envs, setup.reward, setup.layers)
    check_space(setup, problem, plain.action_space)
    library, keywords, size = setup.library, setup.keywords, max(problem.size(item).nodes for item in instances)
    device = device_for(setup.num_envs * size if setup.layers else 0)
    check_memory(setup.algorithm, plain, keywords, library.buffer is not None)
    # rewards are fractions of an instance's scale, too small for a value network; observations stay as they are
    gamma = min(keywords["gamma"], 0.999)
    vector = VecNormalize(plain, norm_obs=False, norm_reward=setup.scaled, gamma=gamma)
    model = library.algorithm(
        library.policy, vector, seed=seed, device=device,
        policy_kwargs=_policy_keywords(setup, problem, stored_graphs(plain.vector.instances, setup.layers)),
        **({} if library.buffer is None else {"rollout_buffer_class": library.buffer}),
        **{key: value for key, value in keywords.items() if key not in OF_THE_POLICY},
    )  # fmt: skip
    if begin.state is not None:
        restore(model, begin.state)
    elif begin.weights is not None:
        put_weights(model.policy, begin.weights)
    total = budget.steps if budget.steps is not None else 10**9
    try:
        model.learn(
            total_timesteps=total, reset_num_timesteps=begin.state is None,
            callback=_Watch(Clock(budget), *hear),
            # the observation has the mask
            **({"use_masking": False} if library.algorithm is sb3_contrib.MaskablePPO else {}),
        )  # fmt: skip
    except (ValueError, RuntimeError):
        if all(bool((value.abs() < 1e6).all()) for value in model.policy.parameters()):
            raise
        raise UsageError(
            f"the training of {setup.algorithm} diverged after {model.num_timesteps} steps: its weights grew beyond "
            "a million or are not numbers any more; lower learning_rate."
        ) from None
    vector.close()


def weights_of(policy: Any) -> Weights:
    """The weights of a policy as they are now."""
    return {name: value.detach().cpu().clone() for name, value in policy.state_dict().items()}


def _policy_keywords(setup: Setup, problem: AnyProblem, graphs: StoredGraphs | None) -> dict[str, Any]:
    found: dict[str, Any] = {"hidden": setup.hidden, "layers": setup.layers, "graphs": graphs}
    found |= {key: value for key, value in setup.keywords.items() if key in OF_THE_POLICY and value != ""}
    if "prior" in found:
        found["prior"] = prior_columns(found["prior"], problem)
    return found


def prior_columns(prior: str, problem: AnyProblem) -> tuple[int, ...]:
    """The columns of the candidates that a rule such as "gain" or "share*room" names; UsageError where one is not."""
    names, wanted = problem.dynamics.candidate_features, [name.strip() for name in prior.split("*")]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        chosen = ", ".join(f"{key}={value}" for key, value in options_of(problem).items() if key == "mode")
        raise UsageError(
            f"prior={prior!r}: {problem.name} ({chosen or 'as it is'}) describes no candidate by {unknown[0]!r}; "
            + (f"it does by {', '.join(names)}." if names else "leave prior empty, its actions have no features.")
        )
    return tuple(names.index(name) for name in wanted)


def put_weights(policy: Any, weights: Weights) -> None:
    """Copy weights into a policy; UsageError if they were trained on other features."""
    try:
        policy.load_state_dict(dict(weights))
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        raise UsageError(
            f"these weights do not fit the observation of this problem and its options ({lines[-1].strip()}); "
            "use the options that the agent was trained with."
        ) from None


def play(
    setup: Setup, problem: AnyProblem, instance: Instance, rng: np.random.Generator, budget: Budget,
    weights: Weights | None, episodes: int,
) -> Solution:  # fmt: skip
    """The best feasible solution of one greedy and then sampled episodes. Without training the network is random."""
    env = ProblemEnv(problem, instance=instance, obs="dynamic")
    check_space(setup, problem, env.action_space)
    device = device_for(problem.size(instance).nodes if setup.layers else 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.spawn(1)[0].integers(2**31)))  # leaves the stream of the episodes' seeds alone
        policy = make_policy(setup, env).to(device)
        if weights is not None:
            put_weights(policy, weights)
        return play_episodes(env, partial(policies.no_grad_predict, policy), rng, budget, episodes)


def play_episodes(env: ProblemEnv, act: Act, rng: np.random.Generator, budget: Budget, episodes: int) -> Solution:
    """The best feasible solution of one greedy and then sampled episodes, of a sealed problem the first one's. `act`
    takes an observation, what it kept of the last one, whether the episode begins, and whether to be greedy; it returns
    an action and what it keeps.
    """
    clock = Clock(budget)
    best, best_key, episode = None, (True, np.inf), 0
    most = math.inf if budget.timed or budget.steps is not None else episodes
    most = 1 if env.problem.sealed else most
    while episode < 1 or (not clock.spent(episode) and episode < most):
        observation, _ = env.reset(seed=int(rng.integers(2**31)))
        state, over, played = None, False, 0
        while not over:
            action, state = act(observation, state, played == 0, episode == 0)
            observation, _, over, _, _ = env.step(action)
            played += 1
            if played % 64 == 0 and budget.timed and clock.spent() and env.verdict().feasible:
                break  # an unfinished episode whose answer is complete, as in a refining mode
        verdict = env.verdict()
        key = (not verdict.feasible, verdict.cost)
        if best is None or key < best_key:
            best, best_key = env.solution(), key
        episode += 1
    assert best is not None
    return best
