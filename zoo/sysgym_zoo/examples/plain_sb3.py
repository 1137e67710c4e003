"""Plain Stable-Baselines3: its PPO with its MultiInputPolicy, and of the suite nothing but the environment.

The operators of one network are placed on two devices, all at once. Every action is legal there, so PPO needs no mask;
where some are not, as in most modes, see `maskable_ppo`. A return is the share of the step time of a single device
that a placement saves: 0 is that device alone, 0.34 the best that the suite knows, -1.56 random play. Seeds 0 to 3
reach 0.29, -0.14, 0.32 and 0.08 in 8,192 steps: PPO may settle early, so one seed says little.

python -m sysgym_zoo.examples.plain_sb3 --steps 8192 --seed 0
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

ENV = "sysgym:sysgym/DevicePlacement-v0"  # imports sysgym, then makes what it registers
OPTIONS: dict[str, Any] = {"mode": "oneshot", "instance": "layered/train-0", "devices": 2}


def random_return(episodes: int = 100) -> float:
    """Mean return of uniformly random actions."""
    env = gym.make(ENV, **OPTIONS)
    env.action_space.seed(0)
    returns = []
    for episode in range(episodes):
        env.reset(seed=episode)
        over, total = False, 0.0
        while not over:
            _, reward, over, _, _ = env.step(env.action_space.sample())
            total += float(reward)
        returns.append(total)
    return float(np.mean(returns))


def train(steps: int, seed: int = 0) -> PPO:
    """PPO on eight copies of the environment."""
    vector = make_vec_env(ENV, n_envs=8, seed=seed, env_kwargs=OPTIONS)
    model = PPO("MultiInputPolicy", vector, n_steps=64, batch_size=128, seed=seed, device="cpu")
    return model.learn(steps)


def main(words: list[str] | None = None) -> None:
    """Train, and compare with random play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8192)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(words)
    model = train(given.steps, given.seed)
    learnt, _ = evaluate_policy(model, make_vec_env(ENV, env_kwargs=OPTIONS), n_eval_episodes=1)
    print(f"mean return: random play {random_return():.3f}, PPO {learnt:.3f}")


if __name__ == "__main__":
    main()
