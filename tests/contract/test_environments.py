"""What every registered environment must do, in every action mode: one play is recorded, all else is compared to it."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cases
import gymnasium as gym
import numpy as np
import pytest
from cases import CASES, Case, Record, digest, over_cases, over_problems, over_table, replay, told
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import sysgym
from sysgym.core.observation import FORMS
from sysgym.core.options import keyword_options
from sysgym.core.registry import problem_class
from sysgym.core.rewards import ILLEGAL
from sysgym_agents.general.random import sample_action

SEED = 7


@cache
def _recorded(number: int) -> Record:
    return cases.record(CASES[number].make(), SEED)


@pytest.fixture
def played(case: Case) -> Record:
    """The one play of a case."""
    return _recorded(CASES.index(case))


def same(found: Iterator[Any], wanted: Iterator[Any]) -> bool:
    """Whether a replay gives the recorded bits, step by step."""
    return all(digest(mine) == digest(theirs) for mine, theirs in zip(found, wanted, strict=True))


# ------------------------------------------------------------------------------------------- asserted on the play


@pytest.mark.parametrize("case", over_cases())
def test_observations_lie_in_their_space_and_share_no_memory(case: Case, played: Record) -> None:
    space = case.make().observation_space
    seen = [item[0] for item in told(played)]
    for before, observation in zip([None, *seen], seen, strict=False):
        assert observation in space
        assert all(np.isfinite(value).all() for value in observation.values())
        assert not before or not any(np.shares_memory(before[key], observation[key]) for key in observation)


@pytest.mark.parametrize("case", over_cases())
def test_observed_masks_are_those_that_are_played(case: Case, played: Record) -> None:
    """From the first observation of an episode to the last one; agents see the one, steps obey the other."""
    observation = played.first[0]
    for step in played.steps:
        assert step.mask.any() and np.array_equal(observation["action_mask"], step.mask)
        observation = (step.restarted or step.seen)[0]


@pytest.mark.parametrize("case", over_cases())
def test_final_cost_is_judged_cost_and_return_adds_up(case: Case, played: Record) -> None:
    problem = case.make().unwrapped.problem
    ended = [step.seen for step in played.steps if step.restarted]
    assert len(ended) == len(played.ends) >= 3
    for (_, _, over, truncated, info), end in zip(ended, played.ends, strict=True):
        verdict = problem.judge(end.instance, end.solution)
        assert over and not truncated and info["judged"] and not info["illegal"]
        assert info["verdict"] == {**verdict.as_dict(), "violations": "; ".join(verdict.violations)}
        assert end.cost == verdict.cost
        assert end.total == pytest.approx((end.start - end.cost) / end.scale - penalty(verdict), rel=1e-9, abs=1e-9)


def penalty(verdict: sysgym.Verdict) -> float:
    return 0.0 if verdict.feasible else verdict.metrics.get("excess", 1.0)


@pytest.mark.parametrize("case", over_cases())
def test_the_final_reward_is_the_judged_cost(case: Case, played: Record) -> None:
    """The same actions with reward="final": the same but for the rewards, which add up to the cost."""
    problem, total, ends = case.make().unwrapped.problem, 0.0, iter(played.ends)
    for mine, wanted in zip(replay(case.make(reward="final"), played), told(played), strict=True):
        assert digest(mine[0]) == digest(wanted[0]) and digest(mine[2:]) == digest(wanted[2:])
        total += mine[1] if len(mine) == 5 else 0.0
        if len(mine) == 5 and mine[2]:
            end = next(ends)
            verdict = problem.judge(end.instance, end.solution)
            assert total == pytest.approx(-verdict.cost / end.scale - penalty(verdict), rel=1e-9, abs=1e-9)
            total = 0.0


@pytest.mark.parametrize("case", over_cases())
def test_the_defaults_are_a_task_that_can_be_learnt(case: Case, played: Record) -> None:
    space = case.make().action_space
    choices = len(space.nvec) if isinstance(space, gym.spaces.MultiDiscrete) else 1
    opening, position = [], 0
    for step in played.steps:
        opening += [int(step.mask.sum())] if position < 3 else []
        position = 0 if step.restarted else position + 1
    assert min(opening) > choices, "a first state leaves no choice"
    returns = {end.total for end in played.ends}
    if len(returns) == 1:  # where a random move seldom helps
        returns |= {end.total for end in cases.record(case.make(), SEED + 1, episodes=20).ends}
    assert len(returns) > 1, "all returns of a random policy are the same"


def keys_of(value: Any) -> Any:
    """The keys of nested dictionaries and the types of what they hold."""
    return {key: keys_of(part) for key, part in value.items()} if isinstance(value, dict) else type(value)


@pytest.mark.parametrize("case", over_cases())
def test_info_has_the_same_keys_at_every_step(case: Case, played: Record) -> None:
    for seen in told(played):
        assert len(pickle.dumps(seen[-1])) < 1024
        assert keys_of(seen[-1]) == keys_of(played.first[1])
        assert seen[-1]["judged"] == (len(seen) == 5 and seen[2])
    vector = case.make_vec(2)
    keys = set(vector.reset(seed=0)[1])
    for _ in range(5):
        actions = [
            sample_action(np.random.default_rng(0), vector.single_action_space, m) for m in vector.action_masks()
        ]
        assert set(vector.step(np.array(actions))[4]) == keys


@pytest.mark.parametrize("case", over_cases())
def test_an_integer_may_come_as_an_array_of_one(case: Case, played: Record) -> None:
    """As `predict` of a batch of one returns it."""
    env = case.make().unwrapped
    env.reset(seed=SEED)
    step = played.steps[0]
    assert digest(env.step(np.atleast_1d(step.action))) == digest(step.seen)


# --------------------------------------------------------------------------------------------- played once more


@pytest.mark.parametrize("case", over_cases())
def test_same_seed_same_bits_interleaved(case: Case, played: Record) -> None:
    other = cases.record(case.make(), 99, steps=10, episodes=1)
    mixed = zip(replay(case.make(), other), told(other), strict=True)  # a step of each in turn
    for mine, wanted in zip(replay(case.make(), played), told(played), strict=True):
        assert digest(mine) == digest(wanted)
        assert all(digest(found) == digest(kept) for found, kept in [next(mixed, (0, 0))])
    assert next(mixed, None) is None, "it was longer"
    assert other.digest() != played._replace(steps=played.steps[: len(other.steps)]).digest()


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_same_bits_in_another_process_and_hash_seed() -> None:
    code = (
        "import json, cases, sys\n"
        "with cases.plugin_registered():\n"
        "    print(json.dumps([cases.record(case.make(), int(sys.argv[1])).digest() for case in cases.CASES]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(cases.__file__).parent), str(cases.PLUGIN)])
    mine = [_recorded(number).digest() for number in range(len(CASES))]  # first: the other process compiles nothing
    done = subprocess.run(
        [sys.executable, "-c", code, str(SEED)], capture_output=True, text=True, check=True, env=environment
    )
    assert json.loads(done.stdout) == mine
    if os.environ.get("PYTHONHASHSEED") != "123":
        assert sys.flags.hash_randomization  # so the two processes do differ


@pytest.mark.parametrize("case", over_cases())
def test_spec_survives_json_and_pickle(case: Case, played: Record) -> None:
    spec = case.make().spec
    assert spec is not None
    again = gym.envs.registration.EnvSpec.from_json(spec.to_json())
    for copy in (again, pickle.loads(pickle.dumps(spec))):
        assert same(replay(gym.make(copy), played, 5), told(played, 5))


@pytest.mark.parametrize("case", over_cases())
def test_fork_and_return(case: Case, played: Record) -> None:
    env = case.make().unwrapped
    env.reset(seed=SEED)
    saved = env.get_state()
    first = next(number for number, step in enumerate(played.steps) if step.restarted)
    steps = played.steps[: min(first + 1, 30)]

    def goes_on(env: Any) -> bool:
        return all(digest(env.step(step.action)) == digest(step.seen) for step in steps)

    assert goes_on(env)
    env.set_state(saved)
    assert goes_on(env)
    env.set_state(pickle.loads(pickle.dumps(saved)))
    assert goes_on(env)
    copied = pickle.loads(pickle.dumps(env))
    copied.set_state(saved)
    assert goes_on(copied)


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


@pytest.mark.parametrize(("case", "each"), over_table([(3,), (1,)], 1, turns=False))
def test_mask_agrees_with_step(case: Case, each: int, played: Record) -> None:
    """Every choice of every third state of the play; of every state in the whole product."""
    env = case.make()
    inner = env.unwrapped
    env.reset(seed=SEED)
    rng = np.random.default_rng(0)
    for number, step in enumerate(played.steps[:15]):
        assert np.array_equal(inner.action_masks(), step.mask)
        saved = inner.get_state()
        for action, allowed in [] if number % each else single_changes(env.action_space, step.mask, rng):
            inner.set_state(saved)
            _, reward, over, _, info = inner.step(action)
            assert info["illegal"] == (not allowed)
            assert allowed or (over and reward == -ILLEGAL and not info["judged"])
        inner.set_state(saved)
        assert digest(inner.step(step.action)) == digest(step.seen)
        if step.restarted:
            env.reset()


# ---------------------------------------------------------------------------------------------------- forms


@pytest.mark.parametrize(("case", "form"), over_table([(form,) for form in FORMS], len(FORMS)))
def test_every_form_lies_in_its_space(case: Case, form: str, played: Record) -> None:
    env, before = case.make(obs=form), None
    for seen, wanted in zip(replay(env, played, 20), told(played, 20), strict=True):
        observation = seen[0]
        assert observation in env.observation_space
        assert all(np.isfinite(value).all() for value in observation.values())
        assert not before or not any(np.shares_memory(before[key], observation[key]) for key in observation)
        if "action_mask" in observation:
            assert np.array_equal(observation["action_mask"], wanted[0]["action_mask"])
        assert digest(seen[1:]) == digest(wanted[1:])  # rewards, ends and infos do not depend on the form
        before = observation
    assert ("action_mask" in observation) == (form != "raw")


@pytest.mark.parametrize(("case", "form"), over_table([(form,) for form in FORMS], 1))
def test_both_checkers_pass(case: Case, form: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # SB3 warns of every Box that is neither a vector nor an image, and of int64 sub-spaces; graphs are matrices
        warnings.filterwarnings("ignore", ".*unconventional shape.*")
        check_env(case.make(obs=form, render_mode="rgb_array", disable_env_checker=True).unwrapped)
        check_env_sb3(case.make(obs=form, render_mode="ansi").unwrapped)


# ------------------------------------------------------------------------------------------------- at the edges


@pytest.mark.parametrize("case", over_cases())
def test_no_step_outside_an_episode(case: Case) -> None:
    env, vector = case.make().unwrapped, case.make_vec(2)
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


@pytest.mark.parametrize("case", over_cases())
def test_strange_actions_get_a_sentence(case: Case) -> None:
    env = case.make().unwrapped
    for action in (None, "0", [0, 0, 0, 0, 0], {}):
        env.reset(seed=0)
        with pytest.raises(sysgym.UsageError, match="action"):
            env.step(action)


@pytest.mark.parametrize("case", over_cases())
def test_rendering(case: Case) -> None:
    modes = case.make().metadata["render_modes"]
    assert {"rgb_array", "ansi"} <= set(modes)
    for mode in modes:
        env = case.make(render_mode=mode)
        env.reset(seed=0)
        shown = env.render()
        if mode == "ansi":
            assert isinstance(shown, str) and len(shown.splitlines()) >= 2
        else:
            assert shown.dtype == np.uint8 and shown.ndim == 3 and shown.shape[2] == 3
            assert len(np.unique(shown.astype(np.int32) @ np.array([1, 2**8, 2**16], np.int32))) > 3  # colours


@pytest.mark.parametrize("case", over_cases())
def test_reset_options(case: Case) -> None:
    env = case.make().unwrapped
    chosen = env.instances.items[-1].name
    env.reset(seed=0, options={"instance": chosen})
    assert env.instance.name == chosen
    with pytest.raises(sysgym.UsageError, match="Did you mean 'instance'"):
        env.reset(options={"instnce": chosen})


@pytest.mark.parametrize("name", over_problems())
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


@pytest.mark.parametrize("name", over_problems())
def test_every_problem_names_what_users_need(name: str) -> None:
    from sysgym_agents.core import agent_class

    factory: Any = problem_class(name)
    agent_class(factory.recommended_agent)
    problem = sysgym.make_problem(name)
    assert isinstance(problem, sysgym.Problem)
    splits = {entry.split for group in problem.instance_sets().values() for entry in group.entries}
    assert splits == {"train", "valid", "test"}
    assert "Options:" in (factory.__doc__ or "") and "Version history:" in (factory.__doc__ or "")
    said = "unexpected keyword argument 'colour': unknown option"  # as Python begins: libraries look for those words
    with pytest.raises(sysgym.UsageError, match=said) as caught:
        gym.make(name, colour="red")
    assert isinstance(caught.value, TypeError)
    with pytest.raises(TypeError, match=said):
        gym.make_vec(name, num_envs=2, vectorization_mode="vector_entry_point", colour="red")
