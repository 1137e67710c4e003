"""Graphs that ask for different numbers of clusters in one environment, and side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sysgym.clustering.points import of_graph
from sysgym.clustering.problem import Clustering
from sysgym.core.env import ProblemEnv
from sysgym.core.vector import ProblemVectorEnv
from sysgym.graphs.csr import from_edges
from sysgym_agents.core import Budget, make_agent
from sysgym_agents.general.random import sample_action

MODES: dict[str, dict[str, Any]] = {
    "assign": {"mode": "assign"},
    "oneshot": {"mode": "oneshot"},
    "sweep": {"mode": "refine"},
    "candidates": {"mode": "refine", "moves": "candidates", "candidates": 12, "tenure": 3},
    "raw": {"mode": "refine", "moves": "raw"},
}


def legal(env: ProblemEnv, rng: np.random.Generator) -> Any:
    return sample_action(rng, env.action_space, env.action_masks())


MIXED = ["blobs:n=50,k=4,seed=2", "moons:n=40,seed=1"]


@pytest.mark.parametrize("mode", MODES)
def test_graphs_of_different_k_in_one_environment(mode: str) -> None:
    env = ProblemEnv("Clustering", instances=MIXED, obs="full", **MODES[mode])
    rng = np.random.default_rng(0)
    for name, k in ((MIXED[0], 4), (MIXED[1], 2)):
        env.reset(seed=0, options={"instance": name})
        over, info = False, {}
        while not over:
            action = legal(env, rng)
            labels = np.asarray(action)[: env.instance.nodes] if mode == "oneshot" else np.asarray(action).ravel()[-1:]
            assert mode == "candidates" or (labels < k).all()
            observation, _, over, _, info = env.step(action)
            assert observation in env.observation_space
        assert env.solution()["labels"].shape == (env.instance.nodes,) and env.solution()["labels"].max() < k
        assert 0 <= info["verdict"]["cost"] <= k and not info["illegal"]
    if mode in ("assign", "sweep"):
        env.reset(seed=0, options={"instance": MIXED[1]})
        assert env.action_masks()[2:].sum() == 0
        _, reward, over, _, info = env.step(2)
        assert (reward, over, info["illegal"]) == (-2, True, True)


@pytest.mark.parametrize("mode", MODES)
def test_rows_of_different_k_play_as_they_do_alone(mode: str) -> None:
    vector = ProblemVectorEnv(4, "Clustering", instances=MIXED, **MODES[mode])
    singles = [ProblemEnv("Clustering", instances=MIXED, **MODES[mode]) for _ in range(4)]
    rng, over, ks = np.random.default_rng(0), [False] * 4, set()
    observations = vector.reset(seed=9)[0]
    alone = [env.reset(seed=9 + i)[0] for i, env in enumerate(singles)]
    for _ in range(260):
        ks |= {env.instance.k for env in singles}
        for i in range(4):
            assert all(np.array_equal(observations[key][i], alone[i][key]) for key in alone[i])
        actions = [legal(env, rng) for env in singles]
        observations, rewards, ended, _, _ = vector.step(np.array(actions))
        for i, env in enumerate(singles):
            if over[i]:
                alone[i], over[i] = env.reset()[0], False
                continue
            alone[i], reward, over[i], _, _ = env.step(actions[i])
            assert (rewards[i], ended[i]) == (reward, over[i])
    assert ks == {2, 4}


@pytest.mark.parametrize(("ties", "labels"), [("first", [0, 0, 1, 2]), ("last", [2, 2, 0, 1])])
def test_the_first_or_the_last_of_equal_gains_is_played(ties: str, labels: list[int]) -> None:
    """A path 0-1-2-3 with k = 3: all clusters gain point 0 as little, and the last points must found the others."""
    path = of_graph(from_edges("path", 4, [0, 1, 2], [1, 2, 3]))
    agent, problem = make_agent("greedy", ties=ties), Clustering(k=3, order="natural")
    found = agent.solve(problem, path, np.random.default_rng(0), Budget())["labels"].tolist()
    assert found == labels
