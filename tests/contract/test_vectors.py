"""Vector environments: equal to single ones, and going on from plain data."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from cases import FORMS_AND_RESETS, Case, digest, over_table
from gymnasium.error import ResetNeeded

import sysgym
from sysgym_agents.general.random import sample_action


@pytest.mark.parametrize(("case", "form", "autoreset"), over_table(FORMS_AND_RESETS, 2))
def test_vector_environment_equals_single_ones(case: Case, form: str, autoreset: str) -> None:
    count, steps = 3, 40
    vector = case.make_vec(count, obs=form, autoreset_mode=autoreset)
    singles: list[Any] = [case.make(obs=form).unwrapped for _ in range(count)]
    observations, _ = vector.reset(seed=4)
    alone = [env.reset(seed=4 + i)[0] for i, env in enumerate(singles)]
    rng = np.random.default_rng(0)
    over = [False] * count
    for _ in range(steps):
        for i in range(count):
            assert all(np.array_equal(observations[key][i], alone[i][key]) for key in alone[i])
        masks = [env.action_masks() for env in singles]
        assert np.array_equal(vector.action_masks(), np.stack(masks).astype(bool))
        assert vector.action_masks().any(axis=1).all()
        if form != "raw":
            assert np.array_equal(observations["action_mask"], vector.action_masks())
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


def through_files(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `get_state`, written as npz (the actions) and JSON (the rest) and read again."""
    stream = io.BytesIO()
    np.savez(stream, **{str(i): row["actions"] for i, row in enumerate(rows)}, allow_pickle=False)
    text = json.dumps([{key: value for key, value in row.items() if key != "actions"} for row in rows])
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as arrays:
        return [{**row, "actions": arrays[str(i)]} for i, row in enumerate(json.loads(text))]


@pytest.mark.parametrize(("case", "autoreset"), over_table([("NextStep",), ("SameStep",)], 1))
def test_vector_environments_go_on_from_plain_data(case: Case, autoreset: str) -> None:
    """Copies of a running environment, taken now and then, and the environment itself play the same from there on.

    An illegal action ends the episode of a row now and then, so the random streams matter, however long episodes are.
    """

    def build() -> Any:
        return case.make_vec(3, autoreset_mode=autoreset)

    vector = build()
    with pytest.raises(ResetNeeded):
        vector.get_state()
    rng = np.random.default_rng(0)
    observations = vector.reset(seed=4, options={"instance": vector.instances.items[-1].name})[0]
    copies: list[Any] = []
    since: list[Any] = []  # for each copy, the rows whose episodes have ended since it was taken
    kinds: set[str] = set()  # what befell the rows in the step before a copy was taken
    befell = {"reset"}
    for step in range(50):
        if befell - kinds or step in (7, 30):
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
        elif step in (45, 47, 49):
            actions[:] = -1
        found = vector.step(actions)
        observations, _, ended, _, infos = found
        for copy, ends in zip(copies, since, strict=True):
            assert digest(copy.step(actions)) == digest(found)
            assert np.array_equal(copy.action_masks(), vector.action_masks())
            ends += ended
        illegal = infos.get("final_info", infos).get("illegal", np.zeros(3, bool))
        befell = {"illegal"} if illegal.any() else {"ended"} if ended.any() else {"played"}
    assert {"reset", "illegal"} <= kinds and all((ends > 0).all() for ends in since)
    for copy in copies:
        assert digest(copy.get_state()) == digest(vector.get_state())
    with pytest.raises(sysgym.UsageError, match="2 environments for 3"):
        vector.set_state(saved[:2])
