"""Models saved with Stable-Baselines3 as agents of the command line."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3
from gymnasium.wrappers import FlattenObservation

from sysgym import make_problem
from sysgym.wrappers import FlattenGraph
from sysgym_agents import Budget
from sysgym_agents.general.sb3.stored import open_model, stored_class

Inline = Callable[..., Any]
SMALL = {"n_steps": 8, "batch_size": 4}
CASES = [
    (stable_baselines3.PPO, "MultiInputPolicy", SMALL), (stable_baselines3.A2C, "MultiInputPolicy", {}),
    (stable_baselines3.DQN, "MultiInputPolicy", {"buffer_size": 10}), (sb3_contrib.TRPO, "MultiInputPolicy", SMALL),
    (sb3_contrib.QRDQN, "MultiInputPolicy", {"buffer_size": 10}),
    (sb3_contrib.MaskablePPO, "MultiInputPolicy", SMALL),
    (sb3_contrib.RecurrentPPO, "MultiInputLstmPolicy", {**SMALL, "policy_kwargs": {"lstm_hidden_size": 8}}),
]  # fmt: skip


def saved(path: Path, algorithm: Any, policy: str, keywords: dict[str, Any], flat: Any = None, **options: Any) -> Any:
    """A model of the algorithm with the weights that it begins with, in a file too; `flat` wraps its environment."""
    env: Any = gym.make("sysgym/Partitioning-v0", instances="tiny/train", k=2, obs="raw" if flat else "full", **options)
    model = algorithm(policy, flat(env) if flat else env, seed=1, device="cpu", **keywords)
    model.save(path)
    return model


@pytest.mark.parametrize(("algorithm", "policy", "keywords"), CASES, ids=lambda item: getattr(item, "__name__", ""))
def test_a_saved_model_plays_as_its_library_does(tmp_path: Path, algorithm: Any, policy: str, keywords: Any) -> None:
    path = tmp_path / "model.zip"
    model = saved(path, algorithm, policy, keywords)
    assert type(open_model(path)) is algorithm
    problem: Any = make_problem("Partitioning", k=2)
    graph = problem.load("tiny/delaunay-test")
    found = stored_class(path)().solve(problem, graph, np.random.default_rng(5), Budget())["part"]
    env: Any = gym.make("sysgym/Partitioning-v0", instances="tiny/train", k=2)
    rng = np.random.default_rng(5)
    rng.spawn(1)
    observation, _ = env.reset(seed=int(rng.integers(2**31)), options={"instance": "tiny/delaunay-test"})
    over, state, first = False, None, True
    while not over:
        more = {"action_masks": env.unwrapped.action_masks()} if algorithm is sb3_contrib.MaskablePPO else {}
        action, state = model.predict(observation, state, np.array([first]), deterministic=True, **more)
        observation, _, over, _, _ = env.step(int(action))
        first = False
    assert (env.unwrapped.solution()["part"] == found).all()


def test_on_the_command_line(tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "mine.zip", *CASES[0])
    done = inline("solve", "tiny/delaunay-test", "--agent", "mine.zip", "-O", "k=2", "--set", "episodes=3")
    assert "tiny/delaunay-test by mine.zip: cost" in done.stdout
    both = ("evaluate", "--agent", "mine.zip", "--agent", "fm", "--instances", "tiny/test", "-O", "k=2", "--out", "run")
    assert "mine.zip" in inline(*both).stdout
    too_large = inline("solve", "delaunay:n=300", "--agent", "mine.zip", "-O", "k=2", code=2).stderr
    assert "mine.zip was trained on observations of at most 64 nodes, delaunay:n=300 has 300; train with a" in too_large
    other = inline("solve", "tiny/delaunay-test", "--agent", "mine.zip", "-O", "mode=assign", code=2).stderr
    assert "mine.zip was trained on observations {'action_mask': (32,), 'candidate_nodes'" in other
    wrong = inline("solve", "tiny/delaunay-test", "--agent", "mine.zip", "-O", "k=2", "--set", "episodes=0", code=2)
    assert "episodes of agent 'mine.zip' must be at least 1, got 0" in wrong.stderr


@pytest.mark.parametrize("flat", [FlattenObservation, FlattenGraph])
def test_flattened_observations(tmp_path: Path, inline: Inline, flat: Any) -> None:
    saved(tmp_path / "flat.zip", stable_baselines3.PPO, "MlpPolicy", SMALL, flat=flat)
    assert "feasible" in inline("solve", "tiny/delaunay-test", "--agent", str(tmp_path / "flat.zip")).stdout


def test_files_that_are_no_models(tmp_path: Path, inline: Inline) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK nothing")
    assert "cannot be read as a model of Stable-Baselines3" in inline(
        "solve", "tiny/delaunay-test", "--agent", str(path), code=2
    ).stderr  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("solution.json", "{}")
    assert "it lacks 'data' or 'policy.pth'" in inline(
        "solve", "tiny/delaunay-test", "--agent", str(path), code=2
    ).stderr  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", "{}")
        archive.writestr("policy.pth", b"")
    assert "x.zip" in inline("solve", "tiny/delaunay-test", "--agent", str(path), code=2).stderr


def test_a_file_that_is_not_there(inline: Inline) -> None:
    said = inline("solve", "tiny/delaunay-test", "--agent", "none.zip", code=2).stderr
    assert "agent 'none.zip': there is no such file of a model saved with Stable-Baselines3" in said
