"""The scripts of `sysgym_zoo.examples` run, and reach what they say; foreign libraries where they are installed."""

from __future__ import annotations

import inspect
import os
import pkgutil
import re
import runpy
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import sysgym_zoo.examples

ROOT = Path(__file__).parents[2]
FOLDER = Path(sysgym_zoo.examples.__path__[0])
PAGE = (FOLDER / "README.md").read_text()
FILES = {"demo", "own_sb3", "plain_sb3", "maskable_ppo", "cleanrl_ppo", "torchrl_ppo", "minari_collection"}
STORIES = {"story_make", "story_train", "story_submit"}
YML = FOLDER / "rl_zoo3" / "ppo.yml"
ZOO_KEYS = {"env_kwargs", "n_envs", "n_timesteps"}  # of RL Baselines3 Zoo; the others are the algorithm's
EXTRAS = ("rl-zoo3", "torchrl", "minari")


def numbers(text: str) -> list[float]:
    """The numbers that stand as words of a text."""
    return [float(word) for word in re.findall(r"(?<![\w.-])-?\d+(?:\.\d+)?(?![\w.]*\w)", text)]


def said_by(module: str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the `main` of an example prints."""
    import_module(f"sysgym_zoo.examples.{module}").main(list(words))
    return capsys.readouterr().out


def run(*words: str, folder: Path) -> str:
    """What Python prints in a process of its own, in a folder; foreign libraries change the process they are in."""
    own = {"MINARI_DATASETS_PATH": str(folder / "minari"), "TMPDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, env={**os.environ, **own}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def skip_without(package: str) -> None:
    """Skip a test without its library; nothing is imported here: rl_zoo3 patches Gymnasium, torchrl takes seconds."""
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


# ------------------------------------------------------------------------------------------------ the page


def test_every_example_is_on_the_page_and_tested_here() -> None:
    assert {item.name for item in pkgutil.iter_modules(sysgym_zoo.examples.__path__)} == FILES | STORIES
    linked = re.findall(r"^\| \[`([^`]+)`\]\(([^)]+)\)", PAGE, re.M)
    assert {name for name, _ in linked} == {f"{name}.py" for name in FILES | STORIES} | {"rl_zoo3/ppo.yml"}
    assert all(name == target and (FOLDER / target).is_file() for name, target in linked)
    for name in (FILES | STORIES) - {"demo"}:  # `sysgym demo` has a slow test beside the other commands
        command = f"python -m sysgym_zoo.examples.{name}"
        assert f"`{command}`" in PAGE and command in (FOLDER / f"{name}.py").read_text(), name


def test_foreign_libraries_have_extras_that_no_other_pulls() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in EXTRAS:
        (line,) = re.findall(rf"^\|.*\| `{name}` \|$", PAGE, re.M)
        assert line and any(need.startswith(name) for need in extras[name])
        assert not any(name in need for other in ("all", "dev") for need in extras[other])


# ------------------------------------------------------------------------------------------------ our libraries


def test_plain_stable_baselines3_learns(capsys: pytest.CaptureFixture[str]) -> None:
    chance, learnt = numbers(said_by("plain_sb3", capsys, "--steps", "1024"))
    assert chance < learnt - 0.3 and learnt < 0.35  # no placement saves more


def test_plain_stable_baselines3_needs_no_mask() -> None:
    module = import_module("sysgym_zoo.examples.plain_sb3")
    env = gym.make(module.ENV, **module.OPTIONS)
    env.action_space.seed(0)
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        assert observation["action_mask"].all()
        *_, info = env.step(env.action_space.sample())
        assert info["judged"] and not info["illegal"]


def test_maskable_ppo_learns(capsys: pytest.CaptureFixture[str]) -> None:
    chance, fresh, trained = numbers(said_by("maskable_ppo", capsys, "--steps", "2048"))
    assert 37 <= trained < min(chance, fresh) - 2  # METIS cuts 37


def test_own_stable_baselines3(capsys: pytest.CaptureFixture[str]) -> None:
    cut, reference = numbers(said_by("own_sb3", capsys, "--steps", "512"))
    assert 0 < cut < 3 * reference


def test_cleanrl_ppo_learns(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = said_by("cleanrl_ppo", capsys, "--steps", "2048", "--logdir", str(tmp_path / "events"))
    fresh, trained = numbers(said)
    assert 30 < trained < fresh - 5
    assert list((tmp_path / "events").glob("events.out.tfevents.*"))


@pytest.mark.parametrize("episode", [0, 1])
def test_cleanrl_network_never_sees_padding_or_illegal_moves(episode: int) -> None:
    """The same graph padded further gives the same value, and no illegal move has a chance."""
    module = import_module("sysgym_zoo.examples.cleanrl_ppo")
    found = []
    for room in ({}, {"max_nodes": 90, "max_edges": 900}):
        env = gym.make(module.ENV, **module.OPTIONS, **room)
        observation, _ = env.reset(seed=episode)
        module.torch.manual_seed(0)
        network = module.Network(env.observation_space, 16)
        policy, value = network({key: row[None] for key, row in module.to_torch(observation).items()})
        assert (policy.probs[0][observation["action_mask"] == 0] == 0).all() and not observation["action_mask"].all()
        found.append((value.item(), policy.probs[0].tolist()))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6) and found[0][1] == pytest.approx(found[1][1], abs=1e-6)


def told(story: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """What a script of cells prints, run from top to bottom."""
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    runpy.run_module(f"sysgym_zoo.examples.{story}", run_name="__main__")
    return capsys.readouterr().out


def test_story_of_making(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = told("story_make", capsys, monkeypatch, tmp_path)
    assert "a wrong option: unexpected keyword argument 'parts': unknown option of Partitioning-v0" in said
    assert re.search(r"random play: cut \d+, feasible: True", said)
    assert re.search(r"Karate Club: 34 nodes, 78 edges.*\n.*feasible", said)
    (picture,) = tmp_path.glob("*/random.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_story_of_training(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = told("story_train", capsys, monkeypatch, tmp_path)
    ratios = {line.split()[0]: numbers(line)[1] for line in re.findall(r"^(?:fm|ppo-refine|random) .*$", said, re.M)}
    assert ratios.keys() == {"fm", "ppo-refine", "random"} and 0.8 < ratios["fm"] < ratios["random"] - 0.2
    assert 0.8 < ratios["ppo-refine"] < ratios["random"] - 0.1
    assert re.search(r"2000 nodes: cut \d+, feasible", said)


def test_story_of_submitting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = told("story_submit", capsys, monkeypatch, tmp_path)
    assert said.count(".zip: accepted") == 2
    assert re.search(r"^1\. fm .*\n2\. random .*\nverified$", said, re.M)
    assert len([*tmp_path.glob("*/leaderboards.sqlite")]) == 1


# ------------------------------------------------------------------------------------------------ foreign libraries


def zoo_tasks() -> dict[str, dict[str, Any]]:
    """The tasks of the file for RL Baselines3 Zoo."""
    yaml = pytest.importorskip("yaml")
    found: dict[str, dict[str, Any]] = yaml.safe_load(YML.read_text())
    assert found
    return found


def test_hyper_parameters_are_those_of_ppo() -> None:
    """Without RL Baselines3 Zoo: its keys, then what PPO takes, and a task in which every action is legal."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    for name, task in zoo_tasks().items():
        own = {key: value for key, value in task.items() if key not in ZOO_KEYS}
        assert task.keys() >= {*ZOO_KEYS, "policy"} and own.keys() <= inspect.signature(PPO).parameters.keys()
        vector = make_vec_env(name, task["n_envs"], env_kwargs=task["env_kwargs"])
        model = PPO(env=vector, **own)
        assert model.batch_size == task["batch_size"] and task["n_timesteps"] >= task["n_steps"] * task["n_envs"]
        env = gym.make(name, **task["env_kwargs"])
        assert env.reset(seed=0)[0]["action_mask"].all()


@pytest.mark.foreign
def test_rl_zoo3_trains_and_plays(tmp_path: Path) -> None:
    skip_without("rl_zoo3")
    (name,) = zoo_tasks()
    task = ("--algo", "ppo", "--env", name, "--gym-packages", "sysgym", "--seed", "0")
    said = run("-m", "rl_zoo3.train", *task, "-conf", str(YML), "-n", "1024", "-f", "logs", folder=tmp_path)
    assert "'n_steps', 64" in said and re.search(r"total_timesteps +\| 1024 ", said)
    assert list(tmp_path.glob("logs/ppo/*_1/*.zip"))
    said = run("-m", "rl_zoo3.enjoy", *task, "-f", "logs", "-n", "20", "--no-render", folder=tmp_path)
    (mean,) = re.findall(r"Mean reward: (\S+) ", said)
    assert -1.5 < float(mean) < 0.35  # random play has -1.56


@pytest.mark.foreign
def test_torchrl_ppo_learns(tmp_path: Path) -> None:
    skip_without("torchrl")
    fresh, trained = numbers(run("-m", "sysgym_zoo.examples.torchrl_ppo", "--steps", "2048", folder=tmp_path))
    assert trained > fresh + 0.3


CHECK = """
import sysgym
from sysgym.core.observation import FORMS
from sysgym.core.registry import problem_class
from torchrl.envs import GymEnv
from torchrl.envs.utils import check_env_specs

checked = 0
for name in sysgym.problem_ids():
    for options in problem_class(name).variants:
        for form in FORMS:
            check_env_specs(GymEnv(name, obs=form, **options))
            checked += 1
print("checked", checked)
"""


@pytest.mark.foreign
def test_torchrl_finds_no_fault_with_any_environment(tmp_path: Path) -> None:
    """Specs, dtypes, devices, seeding and resets of every mode and form, by TorchRL's own check."""
    skip_without("torchrl")
    assert numbers(run("-c", CHECK, folder=tmp_path))[-1] >= 45


@pytest.mark.foreign
def test_minari_keeps_what_was_played(tmp_path: Path) -> None:
    skip_without("minari")
    said = run("-m", "sysgym_zoo.examples.minari_collection", "--episodes", "4", folder=tmp_path)
    episodes, stored, played = numbers(said.replace("(", " ").replace(")", " "))
    assert episodes == 4 and stored == played > 0 and "sysgym/Partitioning-v0" in said
    assert list(tmp_path.glob("minari/sysgym/partitioning/refine-random-v0/data/*"))
