"""Story 1, make an environment: look at it, play it, draw it, give it a graph of your own. A script of notebook cells.

python -m sysgym_zoo.examples.story_make
"""

# %% Every problem is an environment.
import tempfile
from pathlib import Path

import gymnasium as gym
import networkx as nx
import numpy as np
from PIL import Image

import sysgym

print("environments:", *sysgym.problem_ids())

# %% Options are keywords of `gym.make`; a wrong one is explained.
env = gym.make("sysgym/Partitioning-v0", instance="tiny/grid-test", mode="assign", k=4, render_mode="rgb_array")
try:
    gym.make("sysgym/Partitioning-v0", parts=4)
except sysgym.UsageError as error:
    print("a wrong option:", str(error).partition(" Known:")[0])

# %% All problems share one observation: a padded graph, a mask of the legal actions, what each action would do.
observation, info = env.reset(seed=0)
for key, value in observation.items():
    print(f"  {key:16} {value.dtype!s:8} {value.shape}")
print("actions:", env.action_space, "of which are legal:", observation["action_mask"])

# %% One step: the part of the focused node.
action = int(np.flatnonzero(observation["action_mask"])[0])
observation, reward, terminated, truncated, info = env.step(action)
print(f"reward {float(reward):.3f}, next node {observation['focus'][0]}, over: {terminated}")

# %% An episode of random legal actions. At the end the answer is judged; rewards and leaderboards use the same judge.
observation, info = env.reset(seed=0)
env.action_space.seed(0)
over = False
while not over:
    action = env.action_space.sample(mask=observation["action_mask"])
    observation, reward, over, _, info = env.step(action)
print(f"random play: cut {info['verdict']['cost']:g}, feasible: {info['verdict']['feasible']}")

# %% A picture of it.
folder = Path(tempfile.mkdtemp(prefix="sysgym-"))
Image.fromarray(np.asarray(env.render())).save(folder / "random.png")
print("picture:", folder / "random.png")

# %% A graph of your own: an instance is a name, a file or an object, of networkx for example.
friends = nx.karate_club_graph()
env = gym.make("sysgym/Partitioning-v0", instance=friends, mode="refine", k=2, render_mode="ansi")
observation, info = env.reset(seed=0)
over = False
while not over:
    best = int(np.argmax(np.where(observation["action_mask"] == 1, observation["candidates"][:, 0], -np.inf)))
    observation, reward, over, _, info = env.step(best)  # the first feature of a candidate move is its gain
print("greedy play on a karate club:", env.render(), sep="\n")

# %% Many environments in one call.
envs = gym.make_vec("sysgym/Partitioning-v0", num_envs=8, vectorization_mode="vector_entry_point", k=4)
observations, infos = envs.reset(seed=0)
observations, rewards, terminated, truncated, infos = envs.step(observations["action_mask"].argmax(1))
print("rewards of eight environments:", np.round(rewards, 2))
