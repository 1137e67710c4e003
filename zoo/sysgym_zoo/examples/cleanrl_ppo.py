"""PPO in one file, in the manner of CleanRL: nothing hidden, everything here to be changed.

Eight environments step in one call (`gym.make_vec`). The network passes messages once over the edges of the observed
graph, scores each listed move, and gives illegal ones no probability. Every field of `Args` is an option.
Printed is the cut of an unseen graph, before and after; METIS cuts 37.

python -m sysgym_zoo.examples.cleanrl_ppo --steps 16384 --logdir runs/cleanrl
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.utils.tensorboard import SummaryWriter

import sysgym  # noqa: F401  # registers the environments

ENV = "sysgym/Partitioning-v0"
OPTIONS: dict[str, Any] = {"mode": "refine", "k": 4, "instances": "tiny/train"}
UNSEEN = "tiny/delaunay-test"


@dataclass(frozen=True)
class Args:
    """What can be set on the command line."""

    steps: int = 16_384  # of all environments together
    seed: int = 0
    num_envs: int = 8
    num_steps: int = 64  # of each environment between two updates
    minibatches: int = 4
    epochs: int = 4
    learning_rate: float = 3e-3
    gamma: float = 0.9
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    value: float = 0.5
    max_grad_norm: float = 0.5
    hidden: int = 32
    logdir: str = ""  # of TensorBoard events; empty: none


class Rollout(NamedTuple):
    """What was played: (T, B, ...) tensors."""

    observations: dict[str, Tensor]
    actions: Tensor
    logprobs: Tensor
    rewards: Tensor
    values: Tensor
    ends: Tensor  # 1 where an episode ended with the action
    bootstrap: Tensor  # (B,) value of the state that follows


class Network(nn.Module):
    """Policy and value over the suite's observation; edges and nodes beyond the real ones are masked."""

    def __init__(self, space: Any, hidden: int) -> None:
        super().__init__()
        width = {key: box.shape[-1] for key, box in space.items() if box.shape}
        self.encode = nn.Linear(width["nodes"], hidden)
        self.merge = nn.Linear(2 * hidden, hidden)
        self.score = nn.Sequential(nn.Linear(width["candidates"] + hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.judge = nn.Sequential(nn.Linear(width["globals"] + hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def embed(self, seen: dict[str, Tensor]) -> Tensor:
        """Each node with the weighted mean of its neighbours, (B, N, H)."""
        rows = torch.relu(self.encode(seen["nodes"]))
        batch = torch.arange(len(rows))[:, None]
        source, target = seen["edge_index"].long().unbind(1)
        weight = (seen["edges"][..., :1] * seen["edge_mask"][..., None]).float()
        place = (batch, target)
        total = torch.zeros_like(rows).index_put(place, weight * rows[batch, source], accumulate=True)
        count = torch.zeros_like(rows[..., :1]).index_put(place, weight, accumulate=True)
        return torch.relu(self.merge(torch.cat([rows, total / count.clamp(min=1e-6)], -1)))

    def forward(self, seen: dict[str, Tensor]) -> tuple[Categorical, Tensor]:
        """Distribution over the actions, and values (B,)."""
        rows = self.embed(seen)
        moved = rows[torch.arange(len(rows))[:, None], seen["candidate_nodes"].long().clamp(min=0)]
        logits = self.score(torch.cat([seen["candidates"], moved], -1)).squeeze(-1)
        logits = logits.masked_fill(seen["action_mask"] == 0, -1e9)
        real = seen["node_mask"][..., None].float()
        mean = (rows * real).sum(1) / real.sum(1)
        return Categorical(logits=logits), self.judge(torch.cat([seen["globals"], mean], -1)).squeeze(-1)


def to_torch(observation: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The arrays of an observation as tensors."""
    return {key: torch.as_tensor(value) for key, value in observation.items()}


@torch.no_grad()
def play(env: gym.vector.VectorEnv, network: Network, first: dict[str, Tensor], steps: int) -> tuple[Rollout, Any]:
    """`steps` steps of all environments from the observation `first`, and the observation after them."""
    seen, told = first, []
    for _ in range(steps):
        policy, value = network(seen)
        action = policy.sample()
        following, reward, over, _, _ = env.step(action.numpy())  # no episode is truncated
        gained, ended = (torch.as_tensor(each).float() for each in (reward, over))
        told.append((seen, action, policy.log_prob(action), gained, value, ended))
        seen = to_torch(following)
    observations, *rest = zip(*told, strict=True)
    stacked = {key: torch.stack([item[key] for item in observations]) for key in first}
    actions, logprobs, rewards, values, ends = (torch.stack(column) for column in rest)
    return Rollout(stacked, actions, logprobs, rewards, values, ends, network(seen)[1]), seen


def advantages(told: Rollout, gamma: float, gae_lambda: float) -> Tensor:
    """Generalised advantage estimates, (T, B)."""
    found, following, later = torch.zeros_like(told.rewards), told.bootstrap, torch.zeros_like(told.bootstrap)
    for step in reversed(range(len(found))):
        going_on = 1 - told.ends[step]
        surprise = told.rewards[step] + gamma * going_on * following - told.values[step]
        later = found[step] = surprise + gamma * gae_lambda * going_on * later
        following = told.values[step]
    return found


def update(network: Network, optimiser: torch.optim.Optimizer, told: Rollout, args: Args) -> None:
    """The epochs of PPO on one rollout."""
    gains = advantages(told, args.gamma, args.gae_lambda)
    wanted = (gains + told.values).flatten()
    gains, old, actions = gains.flatten(), told.logprobs.flatten(), told.actions.flatten()
    observations = {key: value.flatten(0, 1) for key, value in told.observations.items()}
    for _ in range(args.epochs):
        for rows in torch.randperm(len(gains)).chunk(args.minibatches):
            policy, values = network({key: value[rows] for key, value in observations.items()})
            ratio = (policy.log_prob(actions[rows]) - old[rows]).exp()
            gain = (gains[rows] - gains[rows].mean()) / (gains[rows].std() + 1e-8)
            objective = torch.min(ratio * gain, ratio.clamp(1 - args.clip, 1 + args.clip) * gain).mean()
            error = 0.5 * (values - wanted[rows]).square().mean()
            optimiser.zero_grad()
            (-objective + args.value * error - args.entropy * policy.entropy().mean()).backward()
            nn.utils.clip_grad_norm_(network.parameters(), args.max_grad_norm)
            optimiser.step()


def train(network: Network, env: gym.vector.VectorEnv, args: Args) -> None:
    """Play and update in turn; the mean reward of a step goes to TensorBoard where a folder is named."""
    optimiser = torch.optim.Adam(network.parameters(), args.learning_rate, eps=1e-5)
    writer = SummaryWriter(args.logdir) if args.logdir else None
    batch = args.num_envs * args.num_steps
    seen = to_torch(env.reset(seed=args.seed)[0])
    for number in range(1, args.steps // batch + 1):
        told, seen = play(env, network, seen, args.num_steps)
        update(network, optimiser, told, args)
        if writer is not None:
            writer.add_scalar("rollout/reward", told.rewards.mean().item(), number * batch)
    if writer is not None:
        writer.close()


@torch.no_grad()
def mean_cut(network: Network, episodes: int = 5) -> float:
    """Mean cut of the most likely moves on a graph that was not trained on."""
    env, cuts = gym.make(ENV, **OPTIONS), []
    for episode in range(episodes):
        observation, _ = env.reset(seed=episode, options={"instance": UNSEEN})
        over = False
        while not over:
            policy, _ = network({key: value[None] for key, value in to_torch(observation).items()})
            observation, _, over, _, info = env.step(int(policy.logits.argmax()))
        cuts.append(info["verdict"]["cost"])
    return float(np.mean(cuts))


def main(words: list[str] | None = None) -> None:
    """Train, and compare the policy with what it was before."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(Args):
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, type=type(field.default), default=field.default, metavar=str(field.type))
    args = Args(**vars(parser.parse_args(words)))
    torch.manual_seed(args.seed)
    env = gym.make_vec(
        ENV, num_envs=args.num_envs, vectorization_mode="vector_entry_point", autoreset_mode=AutoresetMode.SAME_STEP,
        **OPTIONS,
    )  # fmt: skip
    network = Network(env.single_observation_space, args.hidden)
    before = mean_cut(network)
    train(network, env, args)
    print(f"mean cut of {UNSEEN}: fresh weights {before:.1f}, trained {mean_cut(network):.1f}")


if __name__ == "__main__":
    main()
