"""The segment mode: what is offered, what is committed, and that episodes are worth what the judge says."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from talks import SAID, TRUE, talk

from sysgym.core.errors import UsageError
from sysgym.response_decoding import drawn, segment, worth
from sysgym.response_decoding.features import CANDIDATE_FEATURES
from sysgym.text.catalogue import load_model
from sysgym.text.scoring import score_parts
from sysgym_agents.general.random import sample_action


def env_of(references: list[str] | None = None, count: int = 2, **options: Any) -> Any:
    return gym.make("sysgym/ResponseDecoding-v0", instance=talk(references, count), **options).unwrapped


def forget() -> None:
    """Nothing is known any more; the same must be found again."""
    drawn._known.clear()
    worth._known.clear()
    segment._beams.clear()


def played(env: Any, seed: int) -> tuple[float, dict[str, Any], list[Any]]:
    """Sum of the rewards, the last info and all observations of an episode."""
    observation, info = env.reset(seed=seed)
    rng, total, seen, over = np.random.default_rng(seed), 0.0, [observation], False
    while not over:
        action = sample_action(rng, env.action_space, observation["action_mask"])
        observation, reward, over, _, info = env.step(action)
        total += reward
        seen.append(observation)
    return total, info, seen


@pytest.mark.parametrize(("references", "min_chars"), [(None, 40), (None, 0), ([], 40)])
def test_rewards_add_up_to_what_is_judged(references: list[str] | None, min_chars: int) -> None:
    env = env_of(references, min_chars=min_chars)
    for seed in range(3):
        total, info, _ = played(env, seed)
        forget()
        verdict = env.problem.judge(env.instance, env.solution())
        assert verdict.feasible
        assert verdict.cost == env.dynamics.cost(env.instance, env.state) == info["verdict"]["cost"]  # bit for bit
        assert total == pytest.approx((100 - verdict.cost) / 100 if references is None else -verdict.cost, abs=1e-9)


def test_references_are_not_seen() -> None:
    """Other references change no observation; they change the cost."""
    first, second = played(env_of(), 3), played(env_of([TRUE[2], TRUE[0]]), 3)
    assert first[1]["verdict"]["cost"] != second[1]["verdict"]["cost"] and len(first[2]) == len(second[2])
    for a, b in zip(first[2], second[2], strict=True):
        assert a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def test_candidates_are_different_and_the_same_again() -> None:
    """In a replay, in another episode's company, and beside other messages at the same place; not with another seed."""
    env = env_of(count=3)
    env.reset(seed=0)
    shown = env.dynamics.offers(env.instance, env.state)
    kinds = {(part.tobytes(), bool(over)) for part, over in zip(shown.parts[:-1], shown.ended, strict=False)}
    assert len(kinds) == 8 and max(map(len, shown.parts)) == 10 and (np.diff(shown.s[:-1]) <= 0).all()
    first = played(env, 5)[2]
    forget()
    rows = gym.make_vec("sysgym/ResponseDecoding-v0", num_envs=2, vectorization_mode="vector_entry_point",
                        instance=env.instance).unwrapped  # fmt: skip
    both, _ = rows.reset(seed=0)
    rng, other = np.random.default_rng(5), np.random.default_rng(6)
    for observation in first[:-1]:
        assert all(np.array_equal(observation[key], both[key][0]) for key in observation)
        draws = [sample_action(each, env.action_space, both["action_mask"][i]) for i, each in enumerate((rng, other))]
        both = rows.step(np.array(draws))[0]
    assert not np.array_equal(env_of(seed=1).reset(seed=0)[0]["candidates"], first[0]["candidates"])


def test_parts_that_begin_alike_are_scored_as_each_by_itself() -> None:
    model = load_model("dialogue")
    sample, prefix = [model.ids(text) for text in SAID], model.target.encode("I do not know what you think about it.")
    end = np.array([model.special.end])
    words = model.target.encode("but it is not good")
    parts = [words, np.concatenate([words[:3], end]), end, np.concatenate([words[:2], words[:4]]), words[:3]]
    found = drawn.likelihoods_of_parts(model, sample, prefix[:10], parts)
    rows = [(source, prefix[:10], part) for part in parts for source in sample]
    assert np.array_equal(found.ravel(), score_parts(model, rows))


def test_what_is_shown_of_candidates() -> None:
    env = env_of(min_chars=0)
    observation, _ = env.reset(seed=0)
    shown = dict(zip(CANDIDATE_FEATURES, observation["candidates"].T, strict=True))
    assert not observation["action_mask"][-1] and shown["stops"].tolist() == [0.0] * 8 + [1.0]  # nothing is written
    state, instance, model = env.state, env.instance, env.dynamics.model
    offers = env.dynamics.offers(instance, state)
    goes_on = int(np.flatnonzero(~offers.ended)[0])
    text = model.text(offers.parts[goes_on])
    assert shown["so_far"][goes_on] == pytest.approx(len(text) / 40)
    assert (shown["held"] == 0).all() and (shown["s"] <= 0).all()
    observation = env.step(goes_on)[0]
    assert observation["action_mask"][-1] == 1
    observation = env.step(8)[0]  # stop: the answer is what was written
    assert env.state.texts == [text] and not observation["action_mask"][-1]
    forget()
    logp = worth.likelihoods(model, [(env.problem.samples(instance)[0], text)])[0]
    assert env.state.s == [worth.information(text, logp)]
    # the second answer is shown which of its word pairs the first one has
    second, held = env.dynamics.offers(instance, env.state), set(pairwise(text.split()))
    for row, part in enumerate(second.parts[:-1]):
        words = model.text(part).split()
        pairs = list(pairwise(words))
        expected = sum(pair in held for pair in pairs) / max(len(pairs), 1)
        assert observation["candidates"][row, CANDIDATE_FEATURES.index("held")] == pytest.approx(expected)


def test_short_answers_give_way_to_the_beam() -> None:
    env = env_of(min_chars=1000)
    _, info, _ = played(env, 0)
    assert info["verdict"]["cost"] == env.problem.reference_costs(env.instance)["beam"]
    beams = [env.dynamics.model.text(env.problem.baseline(env.instance, place)) for place in range(2)]
    assert env.state.texts == beams
    free = env_of(min_chars=0)
    played(free, 0)
    assert free.state.texts != beams


def test_long_answers_are_cut() -> None:
    env = env_of(max_len=14, min_chars=0)
    ended = CANDIDATE_FEATURES.index("ends")
    for _ in range(2):
        observation, over, info = env.reset(seed=0)[0], False, {}
        while not over:
            legal = np.flatnonzero(observation["action_mask"][:-1])
            going = [i for i in legal if not observation["candidates"][i, ended]]
            observation, _, over, _, info = env.step(int(going[0] if going else legal[0]))
        assert info["verdict"]["feasible"]
        assert all(len(env.dynamics.model.target.encode(text)) <= 13 for text in env.state.texts)
        assert max(map(len, env.state.answers)) >= 11


def test_forks_go_their_own_ways() -> None:
    env = env_of(min_chars=0)
    env.reset(seed=0)
    env.step(0)
    saved = env.get_state()
    seen = []
    for action in (0, 1, 0):
        env.set_state(saved)
        seen.append(env.step(action)[0]["candidates"])
    assert np.array_equal(seen[0], seen[2]) and not np.array_equal(seen[0], seen[1])
    with pytest.raises(UsageError, match="takes no starting solution"):
        env.dynamics.start(env.instance, np.random.default_rng(0), env.solution())
