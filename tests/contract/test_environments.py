"""What every registered environment must do, in every action mode and observation form."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import sysgym
from sysgym.core.observation import FORMS
from sysgym.core.options import keyword_options
from sysgym.core.registry import problem_class
from sysgym.core.rewards import ILLEGAL
from sysgym_agents.general.random import sample_action

CASES = [
    pytest.param(name, dict(variant), id=f"{name.split('/')[1]}-{'-'.join(map(str, variant.values()))}")
    for name in sysgym.problem_ids()
    for variant in problem_class(name).variants
]

PROBLEMS = [pytest.param(name, id=name.split("/")[1]) for name in sysgym.problem_ids()]


def make(name: str, variant: dict[str, Any], **keywords: Any) -> gym.Env:
    return gym.make(name, **variant, **keywords)


def play(env: gym.Env, seed: int, steps: int) -> list[Any]:
    """Masked random steps; observations, rewards and ends, starting anew when an episode ends."""
    return list(moves(env, seed, steps))


def moves(env: gym.Env, seed: int, steps: int) -> Iterator[Any]:
    """`play`, a step at a time."""
    rng = np.random.default_rng(seed)
    inner = env.unwrapped
    yield env.reset(seed=seed)[0]
    for _ in range(steps):
        mask = inner.dynamics.mask(inner.instance, inner.state, inner.size)
        action = sample_action(rng, env.action_space, mask)
        observation, reward, terminated, truncated, info = env.step(action)
        start = env.reset()[0] if terminated else None
        yield observation, reward, terminated, truncated, info.get("verdict"), start


def digest(value: Any) -> str:
    """Hash of nested observations: bits, shapes and types."""
    found = hashlib.sha256()

    def feed(item: Any) -> None:
        if isinstance(item, dict):
            for key in sorted(item):
                found.update(key.encode())
                feed(item[key])
        elif isinstance(item, list | tuple) or (isinstance(item, np.ndarray) and item.dtype.kind == "O"):
            for part in item:
                feed(part)
        elif isinstance(item, np.ndarray):
            found.update(f"{item.dtype}{item.shape}".encode() + item.tobytes())
        else:
            found.update(repr(item).encode())

    feed(value)
    return found.hexdigest()


def test_registry_is_not_empty() -> None:
    assert PROBLEMS and {case.values[0] for case in CASES} == {problem.values[0] for problem in PROBLEMS}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_both_checkers_pass(name: str, variant: dict[str, Any], form: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # SB3 warns of every Box that is neither a vector nor an image, and of int64 sub-spaces; graphs are matrices
        warnings.filterwarnings("ignore", ".*unconventional shape.*")
        check_env(make(name, variant, obs=form, render_mode="rgb_array", disable_env_checker=True).unwrapped)
        check_env_sb3(make(name, variant, obs=form, render_mode="ansi").unwrapped)


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_spec_survives_json_and_pickle(name: str, variant: dict[str, Any]) -> None:
    spec = make(name, variant).spec
    assert spec is not None
    again = gym.envs.registration.EnvSpec.from_json(spec.to_json())
    for copy in (again, pickle.loads(pickle.dumps(spec))):
        assert digest(play(gym.make(copy), 3, 5)) == digest(play(make(name, variant), 3, 5))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_observations_lie_in_their_space_and_share_no_memory(name: str, variant: dict[str, Any], form: str) -> None:
    env = make(name, variant, obs=form)
    seen = [item if isinstance(item, dict) else item[0] for item in play(env, 0, 20)]
    for observation in seen:
        assert observation in env.observation_space
        assert all(np.isfinite(value).all() for value in observation.values())
    first, second = seen[0], seen[1]
    assert not any(np.shares_memory(first[key], second[key]) for key in first)


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_no_step_outside_an_episode(name: str, variant: dict[str, Any]) -> None:
    env = make(name, variant).unwrapped
    vector = gym.make_vec(name, num_envs=2, vectorization_mode="vector_entry_point", **variant)
    for broken in (env, vector):
        with pytest.raises(ResetNeeded):
            broken.step(broken.action_space.sample())
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    over = False
    while not over:
        action = sample_action(rng, env.action_space, env.action_masks())
        over = env.step(action)[2]
    saved = env.get_state()
    for _ in range(2):
        with pytest.raises(ResetNeeded):
            env.step(action)
        env.set_state(saved)
    env.reset(seed=0)
    outside = np.asarray(action) * 0 - 1
    info = env.step(int(outside) if outside.ndim == 0 else outside)[4]
    assert info["illegal"] and not info["judged"]
    with pytest.raises(ResetNeeded):
        env.step(action)


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_strange_actions_get_a_sentence(name: str, variant: dict[str, Any]) -> None:
    env = make(name, variant).unwrapped
    for action in (None, "0", [0, 0, 0, 0, 0], {}):
        env.reset(seed=0)
        with pytest.raises(sysgym.UsageError, match="action"):
            env.step(action)


def shape_of(info: Any) -> Any:
    """Keys and types, nested."""
    return {key: shape_of(value) for key, value in info.items()} if isinstance(info, dict) else type(info)


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_info_has_the_same_keys_at_every_step(name: str, variant: dict[str, Any]) -> None:
    """As Minari wants it; single integers may come as arrays of one, as `predict` of a batch of one returns them."""
    env, rng = make(name, variant).unwrapped, np.random.default_rng(0)
    seen, over = [env.reset(seed=0)[1]], False
    while not over:
        action = np.atleast_1d(sample_action(rng, env.action_space, env.action_masks()))
        _, _, over, _, info = env.step(action)
        seen.append(info)
    assert [info["judged"] for info in seen] == [False] * (len(seen) - 1) + [True]
    assert all(shape_of(info) == shape_of(seen[0]) for info in seen)
    vector = gym.make_vec(name, num_envs=2, vectorization_mode="vector_entry_point", **variant).unwrapped
    keys = set(vector.reset(seed=0)[1])
    for _ in range(5):
        assert set(vector.step(masked(rng, vector))[4]) == keys


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_same_seed_same_bits_interleaved(name: str, variant: dict[str, Any]) -> None:
    alone = play(make(name, variant), 7, 60)
    other = make(name, variant)
    mixed = make(name, variant)
    steps = zip(moves(mixed, 7, 60), moves(other, 99, 60), strict=True)  # one step of each in turn
    assert digest([mine for mine, _ in steps]) == digest(alone)
    assert digest(play(make(name, variant), 8, 60)) != digest(alone)


@pytest.mark.parametrize("name", PROBLEMS)
def test_same_bits_in_another_process_and_hash_seed(name: str) -> None:
    variants = [case.values[1] for case in CASES if case.values[0] == name]
    here = [digest(play(make(name, options), 5, 50)) for options in variants]
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import test_environments as t;"
        "print(json.dumps([t.digest(t.play(t.make(sys.argv[2], o), 5, 50)) for o in json.loads(sys.argv[3])]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), name, json.dumps(variants)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "123"},
    )  # fmt: skip
    assert json.loads(done.stdout) == here
    if os.environ.get("PYTHONHASHSEED") != "123":
        assert sys.flags.hash_randomization  # so the two processes do differ


@pytest.mark.parametrize("autoreset", ["NextStep", "SameStep"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_vector_environment_equals_single_ones(name: str, variant: dict[str, Any], form: str, autoreset: str) -> None:
    count, steps = 3, 40
    vector = gym.make_vec(
        name, num_envs=count, vectorization_mode="vector_entry_point", obs=form, autoreset_mode=autoreset, **variant
    )
    singles = [make(name, variant, obs=form) for _ in range(count)]
    observations, _ = vector.reset(seed=4)
    alone = [env.reset(seed=4 + i)[0] for i, env in enumerate(singles)]
    rng = np.random.default_rng(0)
    over = [False] * count
    for _ in range(steps):
        for i in range(count):
            assert all(np.array_equal(observations[key][i], alone[i][key]) for key in alone[i])
        masks = [env.unwrapped.dynamics.mask(env.unwrapped.instance, env.unwrapped.state, env.unwrapped.size)
                 for env in singles]  # fmt: skip
        assert np.array_equal(vector.unwrapped.action_masks(), np.stack(masks).astype(bool))
        actions = [sample_action(rng, vector.single_action_space, mask) for mask in masks]
        observations, rewards, terminated, truncated, infos = vector.step(np.array(actions))
        assert not truncated.any()
        for i, env in enumerate(singles):
            if over[i] and autoreset == "NextStep":
                alone[i], over[i] = env.reset()[0], False
                assert rewards[i] == 0 and not terminated[i]
                continue
            alone[i], reward, over[i], _, info = env.step(actions[i])
            assert (rewards[i], terminated[i]) == (reward, over[i])
            if over[i]:
                found = infos["final_info"] if autoreset == "SameStep" else infos
                assert found["verdict"]["cost"][i] == info["verdict"]["cost"]
                if autoreset == "SameStep":
                    last = infos["final_obs"][i]
                    assert all(np.array_equal(last[key], alone[i][key]) for key in last)
                    alone[i] = env.reset()[0]
    vector.close()


def masked(rng: np.random.Generator, vector: Any) -> Any:
    """Random legal actions of all rows."""
    return np.array([sample_action(rng, vector.single_action_space, mask) for mask in vector.action_masks()])


@pytest.mark.parametrize("form", ["full", "dynamic"])
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_observed_masks_are_those_that_are_played(name: str, variant: dict[str, Any], form: str) -> None:
    """From the first observation to the last one of an episode, and on; agents see the one, steps obey the other."""
    env = make(name, variant, obs=form).unwrapped
    vector = gym.make_vec(name, num_envs=3, vectorization_mode="vector_entry_point", obs=form, **variant).unwrapped
    rng = np.random.default_rng(0)
    observation, observations = env.reset(seed=0)[0], vector.reset(seed=0)[0]
    for _ in range(60):
        assert env.action_masks().any() and vector.action_masks().any(axis=1).all()
        assert np.array_equal(observation["action_mask"], env.action_masks())
        assert np.array_equal(observations["action_mask"], vector.action_masks())
        observation, _, over, _, _ = env.step(sample_action(rng, env.action_space, env.action_masks()))
        observations = vector.step(masked(rng, vector))[0]
        if over:
            assert np.array_equal(observation["action_mask"], env.action_masks())
            observation = env.reset()[0]


def through_files(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `get_state`, written as npz (the actions) and JSON (the rest) and read again."""
    stream = io.BytesIO()
    np.savez(stream, **{str(i): row["actions"] for i, row in enumerate(rows)}, allow_pickle=False)
    text = json.dumps([{key: value for key, value in row.items() if key != "actions"} for row in rows])
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as arrays:
        return [{**row, "actions": arrays[str(i)]} for i, row in enumerate(json.loads(text))]


@pytest.mark.parametrize("autoreset", ["NextStep", "SameStep"])
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_vector_environments_go_on_from_plain_data(name: str, variant: dict[str, Any], autoreset: str) -> None:
    """Copies of a running environment, taken now and then, and the environment itself play the same from there on.

    An illegal action ends the episode of a row now and then, so the random streams matter, however long episodes are.
    """

    def build() -> Any:
        keywords = {"autoreset_mode": autoreset, **variant}
        return gym.make_vec(name, num_envs=3, vectorization_mode="vector_entry_point", **keywords).unwrapped

    vector = build()
    with pytest.raises(ResetNeeded):
        vector.get_state()
    rng = np.random.default_rng(0)
    observations = vector.reset(seed=4, options={"instance": vector.instances.items[-1].name})[0]
    copies: list[Any] = []
    since: list[Any] = []  # for each copy, the rows whose episodes have ended since it was taken
    kinds: set[str] = set()  # what befell the rows in the step before a copy was taken
    befell = {"reset"}
    for step in range(120):
        if befell - kinds or step in (7, 50):
            kinds |= befell
            saved = vector.get_state()
            assert all(row["actions"].dtype == np.int64 for row in saved)
            copies.append(build())
            assert digest(copies[-1].set_state(through_files(saved))) == digest(observations)
            assert digest(copies[-1].get_state()) == digest(saved)
            since.append(np.zeros(3, int))
        actions = masked(rng, vector)
        if step % 30 in (20, 22):
            actions[step // 30 % 3] = -1  # illegal in every mode
        elif step == 100:
            actions[:] = -1
        found = vector.step(actions)
        observations, _, ended, _, infos = found
        for copy, ends in zip(copies, since, strict=True):
            assert digest(copy.step(actions)) == digest(found)
            assert np.array_equal(copy.action_masks(), vector.action_masks())
            ends += ended
        illegal = infos["illegal"]
        befell = {"illegal"} if illegal.any() else {"ended"} if ended.any() else {"played"}
    assert {"reset", "illegal"} <= kinds and all((ends > 0).all() for ends in since)
    for copy in copies:
        assert digest(copy.get_state()) == digest(vector.get_state())
    with pytest.raises(sysgym.UsageError, match="2 environments for 3"):
        vector.set_state(saved[:2])


def single_changes(space: gym.Space[Any], mask: Any, rng: np.random.Generator) -> Iterator[tuple[Any, bool]]:
    """Every choice of an action, the others legal, and whether the mask allows it."""
    if isinstance(space, gym.spaces.Discrete):
        yield from zip(range(int(space.n)), mask.tolist(), strict=True)
        return
    place = 0
    for position, count in enumerate(space.nvec.tolist()):
        for choice in range(count):
            action = sample_action(rng, space, mask).copy()
            action[position] = choice
            yield action, bool(mask[place + choice])
        place += count


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_mask_agrees_with_step(name: str, variant: dict[str, Any]) -> None:
    env = make(name, variant)
    inner = env.unwrapped
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(15):
        mask = inner.action_masks()
        assert mask.any()
        saved = inner.get_state()
        for action, allowed in single_changes(env.action_space, mask, rng):
            inner.set_state(saved)
            _, reward, over, _, info = inner.step(action)
            assert info["illegal"] == (not allowed)
            assert allowed or (over and reward == -ILLEGAL and not info["judged"])
        inner.set_state(saved)
        _, _, over, _, info = inner.step(sample_action(rng, env.action_space, mask))
        assert not info["illegal"]
        if over:
            env.reset()


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_fork_and_return(name: str, variant: dict[str, Any]) -> None:
    env = make(name, variant).unwrapped
    env.reset(seed=2)
    saved = env.get_state()

    def run() -> str:
        rng = np.random.default_rng(0)
        rows, over = [], False
        while not over and len(rows) < 30:
            action = sample_action(rng, env.action_space, env.action_masks())
            observation, reward, over, _, _ = env.step(action)
            rows.append((observation, reward))
        return digest(rows)

    first = run()
    env.set_state(saved)
    assert run() == first
    env.set_state(pickle.loads(pickle.dumps(saved)))
    assert run() == first
    pickled = pickle.loads(pickle.dumps(env))
    pickled.set_state(saved)
    env = pickled
    assert run() == first


@pytest.mark.parametrize("reward", ["improvement", "final"])
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_final_cost_is_judged_cost_and_return_adds_up(name: str, variant: dict[str, Any], reward: str) -> None:
    env = make(name, variant, reward=reward).unwrapped
    rng = np.random.default_rng(1)
    for seed in range(3):
        env.reset(seed=seed)
        start, scale = env.dynamics.cost(env.instance, env.state), env.dynamics.scale(env.instance, env.state)
        total, over, info = 0.0, False, {}
        while not over:
            mask = env.action_masks()
            assert mask.any()
            _, value, over, _, info = env.step(sample_action(rng, env.action_space, mask))
            total += value
            assert len(pickle.dumps(info)) < 1024
        verdict = env.problem.judge(env.instance, env.solution())
        found = {key: value for key, value in verdict.as_dict().items() if key != "violations"}
        assert {key: info["verdict"][key] for key in found} == found
        assert info["verdict"]["violations"] == "; ".join(verdict.violations)
        assert env.dynamics.cost(env.instance, env.state) == verdict.cost
        penalty = 0.0 if verdict.feasible else verdict.metrics.get("excess", 1.0)
        expected = (start - verdict.cost if reward == "improvement" else -verdict.cost) / scale - penalty
        assert total == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_rendering(name: str, variant: dict[str, Any]) -> None:
    modes = make(name, variant).metadata["render_modes"]
    assert {"rgb_array", "ansi"} <= set(modes)
    for mode in modes:
        env = make(name, variant, render_mode=mode)
        env.reset(seed=0)
        shown = env.render()
        if mode == "ansi":
            assert isinstance(shown, str) and len(shown.splitlines()) >= 2
        else:
            assert shown.dtype == np.uint8 and shown.ndim == 3 and shown.shape[2] == 3
            assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 3


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_reset_options(name: str, variant: dict[str, Any]) -> None:
    env = make(name, variant).unwrapped
    chosen = env.instances.items[-1].name
    env.reset(seed=0, options={"instance": chosen})
    assert env.instance.name == chosen
    with pytest.raises(sysgym.UsageError, match="Did you mean 'instance'"):
        env.reset(options={"instnce": chosen})


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_mode_is_among_the_variants(name: str) -> None:
    """The modes that a problem accepts, as the sentence about an unknown one lists them; else these tests miss some."""
    option = keyword_options(problem_class(name)).get("mode")
    if option is None:
        return
    with pytest.raises(sysgym.UsageError, match="unknown mode") as caught:
        sysgym.make_problem(name, mode="no such mode")
    known = re.search(r"Known: (.+)\.$", str(caught.value))
    assert known is not None and " more" not in known[1], caught.value
    assert {variant.get("mode", option.default) for variant in problem_class(name).variants} == {*known[1].split(", ")}


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem_names_what_users_need(name: str) -> None:
    from sysgym_agents.core import agent_class

    factory: Any = problem_class(name)
    agent_class(factory.recommended_agent)
    problem = sysgym.make_problem(name)
    assert isinstance(problem, sysgym.Problem)
    splits = {entry.split for group in problem.instance_sets().values() for entry in group.entries}
    assert splits == {"train", "valid", "test"}
    assert "Options:" in (factory.__doc__ or "") and "Version history:" in (factory.__doc__ or "")
    with pytest.raises(sysgym.UsageError, match="unknown option"):
        gym.make(name, colour="red")
