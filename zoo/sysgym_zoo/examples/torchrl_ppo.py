"""PPO with TorchRL: the environment through GymWrapper, its action mask through MaskedCategorical.

The actor scores each move of a local search on its own, so that it plays graphs of any size. Needs the extra `torchrl`.

python -m sysgym_zoo.examples.torchrl_ppo --steps 4096
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import torch
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.collectors import Collector
from torchrl.envs import Compose, DTypeCastTransform, EnvBase, GymWrapper, InitTracker, RewardSum, TransformedEnv
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import MaskedCategorical, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

ENV = "sysgym:sysgym/Partitioning-v0"  # imports sysgym, then makes what it registers
OPTIONS: dict[str, Any] = {"mode": "refine", "k": 4, "instances": "tiny/train", "obs": "dynamic"}
BATCH, MINIBATCH, EPOCHS = 512, 128, 4


class Score(nn.Module):
    """A small network over the last axis: (..., F) to (...)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, rows: Tensor) -> Tensor:
        """One score a row."""
        return self.net(rows).squeeze(-1)


def make(seed: int = 0) -> EnvBase:
    """The environment as TorchRL wants it, with a bool mask and the return so far."""
    mask = DTypeCastTransform(torch.int8, torch.bool, in_keys=["action_mask"])
    env = TransformedEnv(
        GymWrapper(gym.make(ENV, **OPTIONS), categorical_action_encoding=True),
        Compose(mask, RewardSum(), InitTracker()),
    )
    env.set_seed(seed)
    return env


def build(env: EnvBase) -> tuple[ProbabilisticActor, ValueOperator]:
    """Actor over the candidates, (A, Fa) to A logits, and critic over the globals, (G,) to 1."""
    scores = TensorDictModule(
        Score(env.observation_spec["candidates"].shape[-1]), in_keys=["candidates"], out_keys=["logits"]
    )
    actor = ProbabilisticActor(
        scores, spec=env.action_spec, in_keys={"logits": "logits", "mask": "action_mask"},
        distribution_class=MaskedCategorical, return_log_prob=True,
    )  # fmt: skip
    width = env.observation_spec["globals"].shape[-1]
    critic = ValueOperator(nn.Sequential(nn.Linear(width, 32), nn.Tanh(), nn.Linear(32, 1)), in_keys=["globals"])
    return actor, critic


def train(env: EnvBase, actor: ProbabilisticActor, critic: ValueOperator, steps: int) -> None:
    """PPO with clipped ratios, an update every BATCH steps."""
    advantage = GAE(gamma=0.9, lmbda=0.95, value_network=critic, average_gae=True)
    loss = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_coeff=0.01)
    optimiser = torch.optim.Adam(loss.parameters(), 3e-3)
    for batch in Collector(env, actor, frames_per_batch=BATCH, total_frames=steps):
        for _ in range(EPOCHS):
            with torch.no_grad():
                advantage(batch)
            for rows in torch.randperm(BATCH).split(MINIBATCH):
                parts = loss(batch[rows])
                optimiser.zero_grad()
                (parts["loss_objective"] + parts["loss_critic"] + parts["loss_entropy"]).backward()
                optimiser.step()


def mean_return(actor: ProbabilisticActor, episodes: int = 10) -> float:
    """Mean return of the policy, actions drawn from it, on episodes that were not trained on."""
    env = make(seed=1000)
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        ends = [env.rollout(10_000, actor)["next", "episode_reward"][-1] for _ in range(episodes)]
    return float(torch.stack(ends).mean())


def main(words: list[str] | None = None) -> None:
    """Train, and compare the policy with what it was before."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4096)
    given = parser.parse_args(words)
    torch.manual_seed(0)
    env = make()
    actor, critic = build(env)
    before = mean_return(actor)
    train(env, actor, critic, given.steps)
    print(f"mean return: fresh weights {before:.3f}, trained {mean_return(actor):.3f}")


if __name__ == "__main__":
    main()
