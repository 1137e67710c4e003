"""A Stable-Baselines3 script of your own, with the suite's vector environment, graph policy and rollout buffer.

python -m sysgym_zoo.examples.own_sb3 --steps 20000
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode
from sb3_contrib import MaskablePPO

from sysgym import make_problem
from sysgym_agents.general.sb3.buffers import MaskableGraphRolloutBuffer
from sysgym_agents.general.sb3.policies import GraphMaskablePolicy
from sysgym_agents.general.sb3.vectors import SB3VectorEnv

OPTIONS: dict[str, Any] = {"mode": "refine", "k": 4}


def train(steps: int, num_envs: int = 8, seed: int = 0) -> MaskablePPO:
    """MaskablePPO with message passing on the training graphs."""
    vector: Any = gym.make_vec(
        "sysgym/Partitioning-v0", num_envs=num_envs, vectorization_mode="vector_entry_point", instances="tiny/train",
        autoreset_mode=AutoresetMode.SAME_STEP, **OPTIONS,
    )  # fmt: skip
    model = MaskablePPO(
        GraphMaskablePolicy, SB3VectorEnv(vector.unwrapped), n_steps=64, batch_size=128, seed=seed, device="cpu",
        policy_kwargs={"hidden": 32, "layers": 1}, rollout_buffer_class=MaskableGraphRolloutBuffer,
    )  # fmt: skip
    return model.learn(steps, use_masking=False)  # the observation holds the mask


def cut(model: MaskablePPO, name: str) -> tuple[float, float]:
    """The cut that the trained policy reaches on a graph, and the one that METIS does."""
    env = gym.make("sysgym/Partitioning-v0", instances="tiny/train", **OPTIONS)  # padded as in training
    observation, _ = env.reset(seed=0, options={"instance": name})
    over = False
    while not over:
        action, _ = model.predict(observation, deterministic=True)
        observation, _, over, _, info = env.step(int(action))
    problem = make_problem("Partitioning", **OPTIONS)
    return info["verdict"]["cost"], problem.reference_costs(problem.load(name))["metis"]


def main(words: list[str] | None = None) -> None:
    """Train, then solve a graph that was not trained on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    model = train(parser.parse_args(words).steps)
    found, metis = cut(model, "tiny/delaunay-test")
    print(f"cut {found:g}, METIS {metis:g}")


if __name__ == "__main__":
    main()
