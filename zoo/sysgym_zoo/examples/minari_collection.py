"""A Minari data set for offline reinforcement learning: episodes of random legal play, collected, stored, read again.

The data set lands in the folder that MINARI_DATASETS_PATH names by an absolute path, as Minari's own do.
Needs the extra `minari`.

python -m sysgym_zoo.examples.minari_collection --episodes 20
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import minari
import numpy as np

import sysgym  # noqa: F401  # registers the environments
from sysgym_agents.general.random import sample_action

ENV = "sysgym/Partitioning-v0"
OPTIONS: dict[str, Any] = {"mode": "refine", "k": 4, "steps": 32, "obs": "dynamic"}
DATASET = "sysgym/partitioning/refine-random-v0"


def collect(dataset: str, episodes: int, seed: int = 0) -> list[float]:
    """Play, and store what was seen as a new data set; the return of each episode."""
    env = gym.make(ENV, **OPTIONS)
    collector = minari.DataCollector(env, record_infos=True)
    rng, returns = np.random.default_rng(seed), []
    for episode in range(episodes):
        collector.reset(seed=seed + episode)
        over, total = False, 0.0
        while not over:
            mask = collector.get_wrapper_attr("action_masks")()
            _, reward, over, _, _ = collector.step(sample_action(rng, collector.action_space, mask))
            total += float(reward)
        returns.append(total)
    collector.create_dataset(
        dataset, eval_env=env, algorithm_name="random legal actions", author="sysgym", author_email="none",
        code_permalink="sysgym_zoo.examples.minari_collection", description="Local search on small graphs.",
    )  # fmt: skip
    collector.close()
    return returns


def stored_returns(dataset: str) -> list[float]:
    """The return of each episode of a stored data set."""
    return [float(episode.rewards.sum()) for episode in minari.load_dataset(dataset).iterate_episodes()]


def main(words: list[str] | None = None) -> None:
    """Collect, read again, and make the environment that the data set says it is from."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--dataset", default=DATASET)
    given = parser.parse_args(words)
    if given.dataset in minari.list_local_datasets():
        parser.error(f"there is a data set {given.dataset} already; name another one with --dataset")
    played, stored = collect(given.dataset, given.episodes), stored_returns(given.dataset)
    env = minari.load_dataset(given.dataset).recover_environment()
    print(f"{len(stored)} episodes of {env.spec.id}, mean return {np.mean(stored):.3f} (played {np.mean(played):.3f})")


if __name__ == "__main__":
    main()
