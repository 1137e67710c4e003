"""MaskablePPO of sb3-contrib, with its own MultiInputPolicy: an environment in which not every action is legal.

MaskablePPO asks `env.action_masks()` at every step, a method of all environments of the suite, so no ActionMasker is
needed. A plain network can read no graph: FilterObservation leaves it the list of moves and a few numbers of the whole.
`own_sb3` is the same algorithm with message passing over the edges. Printed is the cut of an unseen graph, where METIS
cuts 37.

python -m sysgym_zoo.examples.maskable_ppo --steps 8192
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import FilterObservation
from sb3_contrib import MaskablePPO
from stable_baselines3.common.env_util import make_vec_env

ENV = "sysgym:sysgym/Partitioning-v0"  # imports sysgym, then makes what it registers
OPTIONS: dict[str, Any] = {"mode": "refine", "k": 4, "instances": "tiny/train", "obs": "dynamic"}
KEYS = ["candidates", "globals"]
UNSEEN = "tiny/delaunay-test"


def make() -> gym.Env[Any, Any]:
    """The environment with what a plain network can read."""
    return FilterObservation(gym.make(ENV, **OPTIONS), KEYS)


def build(seed: int = 0) -> MaskablePPO:
    """MaskablePPO with fresh weights, on eight copies of the environment."""
    vector = make_vec_env(make, n_envs=8, seed=seed)
    return MaskablePPO(
        "MultiInputPolicy", vector, n_steps=64, batch_size=128, gamma=0.9, learning_rate=1e-3, seed=seed, device="cpu"
    )


def mean_cut(model: MaskablePPO | None, episodes: int = 10) -> float:
    """Mean cut on a graph that was not trained on, by a policy, or by random legal actions where there is none."""
    env, rng, cuts = make(), np.random.default_rng(0), []
    for episode in range(episodes):
        observation, _ = env.reset(seed=episode, options={"instance": UNSEEN})
        over = False
        while not over:
            mask = env.get_wrapper_attr("action_masks")()
            if model is None:
                action = int(rng.choice(np.flatnonzero(mask)))
            else:
                action = int(model.predict(observation, action_masks=mask, deterministic=True)[0])
            observation, _, over, _, info = env.step(action)
        cuts.append(info["verdict"]["cost"])
    return float(np.mean(cuts))


def main(words: list[str] | None = None) -> None:
    """Train, then compare with random legal play and with the policy before its training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8192)
    given = parser.parse_args(words)
    model = build()
    chance, fresh = mean_cut(None), mean_cut(model)
    model.learn(given.steps)
    print(f"mean cut of {UNSEEN}: random play {chance:.1f}, fresh weights {fresh:.1f}, trained {mean_cut(model):.1f}")


if __name__ == "__main__":
    main()
