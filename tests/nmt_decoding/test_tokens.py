"""The token mode: always the first action is greedy decoding, rewards add up, references are not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import sysgym
from sysgym.core.errors import UsageError
from sysgym.core.problem import content_hash
from sysgym.text.catalogue import load_model
from sysgym.text.episodes.sentences import Sentences, sentences
from sysgym.text.episodes.token_kernels import CANDIDATE_FEATURES
from sysgym.text.model_files import write_model
from sysgym.text.scoring import score
from sysgym.text.search import greedy, texts
from sysgym_agents.general.random import sample_action

NAMES = ["آزتمون", "آزا", "مولديرز", "آب"]


def made(references: list[str]) -> Sentences:
    return sentences("names", "translit", NAMES, references)


def env_of(instance: Any, **options: Any) -> Any:
    return gym.make("sysgym/NMTDecoding-v0", instance=instance, **options).unwrapped


def played(env: Any, seed: int, first: bool = False) -> tuple[float, dict[str, Any], list[Any]]:
    """Sum of the rewards, the last info and all observations of an episode."""
    observation, info = env.reset(seed=seed)
    rng, total, seen, over = np.random.default_rng(seed), 0.0, [observation], False
    while not over:
        action = 0 if first else sample_action(rng, env.action_space, observation["action_mask"])
        observation, reward, over, _, info = env.step(action)
        total += reward
        seen.append(observation)
    return total, info, seen


def test_always_the_first_action_is_greedy_decoding() -> None:
    env = env_of("ar2en/test-0")
    problem, instance = env.problem, env.instance
    total, info, _ = played(env, 0, first=True)
    model = problem.model_of(instance)
    expected = list(texts(model, greedy(model, problem.task(instance).sources)))
    assert [row["answer"] for row in problem.legend(instance, env.solution())] == expected
    assert total == pytest.approx((100 - info["verdict"]["cost"]) / 100, abs=1e-9)
    assert problem.reference_costs(instance) == {"greedy": info["verdict"]["cost"]}


@pytest.mark.parametrize("references", [["azatmun", "aza", "mulders", "ab"], []], ids=["references", "none"])
def test_rewards_add_up_to_what_is_judged(references: list[str]) -> None:
    env = env_of(made(references), k=5)
    for seed in range(6):
        total, info, _ = played(env, seed)
        cost = info["verdict"]["cost"]
        assert cost == env.dynamics.cost(env.instance, env.state)  # bit for bit
        assert total == pytest.approx((100 - cost) / 100 if references else -cost, abs=1e-9)
        assert info["verdict"]["feasible"]
        if not references:  # what an episode adds up is what the network says of its tokens
            logp = score(env.dynamics.model, env.problem.task(env.instance).sources, env.state.answers[0])
            assert info["verdict"]["metrics"]["logprob"] == float(logp.sum())


def test_references_are_not_seen() -> None:
    """Other references, or these in another order, change no observation; they change the instance's hash and cost."""
    given = made(["azatmun", "aza", "mulders", "ab"])
    other = made(["x", "yy", "ab", "aza"])
    (one, told, seen), (two, told_other, seen_other) = (played(env_of(each), 3) for each in (given, other))
    assert content_hash(given) != content_hash(other) and one != two
    assert len(seen) == len(seen_other) and told["verdict"]["cost"] != told_other["verdict"]["cost"]
    for a, b in zip(seen, seen_other, strict=True):
        assert a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def test_what_is_shown_of_candidates() -> None:
    env = env_of(made([]), k=6)
    observation, _ = env.reset(seed=0)
    end, shown = env.dynamics.model.special.end, dict(zip(CANDIDATE_FEATURES, observation["candidates"].T, strict=True))
    assert end not in env.state.next[0]  # an answer that is worth its log P is not empty
    assert (np.diff(shown["log_p"]) <= 0).all() and np.allclose(np.exp(10 * shown["log_p"]), shown["p"], atol=1e-6)
    assert observation["nodes"][: len(NAMES[0]), 1].sum() == pytest.approx(1, abs=1e-5)  # attention to the source
    for _ in range(3):
        token = int(env.state.next[0, 1])
        observation = env.step(1)[0]
        again = env.state.next[0] == token
        assert (observation["candidates"][:, CANDIDATE_FEATURES.index("repeats_last")] == again).all()
        assert end in env.state.next[0]


def test_an_answer_that_never_ends_is_cut_or_ended() -> None:
    """With references it is taken as it is; where log P ranks the end is all that is left at the last step."""
    for references in (["azatmun", "aza", "mulders", "ab"], []):
        env = env_of(made(references), max_len=3, k=4)
        observation, over, steps, info = env.reset(seed=0)[0], False, 0, {}
        while not over:
            kinds = env.state.next[0]
            legal = np.flatnonzero(observation["action_mask"])
            going = [action for action in legal if kinds[action] != env.dynamics.model.special.end]
            observation, _, over, _, info = env.step(int(going[0] if going else legal[0]))
            steps += 1
        assert steps == 3 * len(NAMES) and info["verdict"]["feasible"]
        assert [len(answer) for answer in env.state.answers[0]] == [3 if references else 2] * len(NAMES)


def test_forks_go_their_own_ways() -> None:
    env = env_of(made(["azatmun", "aza", "mulders", "ab"]))
    env.reset(seed=0)
    for action in (0, 1):
        env.step(action)
    saved = env.get_state()
    ends = []
    for _ in range(2):
        env.set_state(saved)
        for _ in range(9):
            observation, *_ = env.step(1)
        ends.append(observation["candidates"].copy())
        env.set_state(saved)
        env.step(0)
    assert np.array_equal(*ends)


def test_a_network_of_ones_own_is_a_folder(tmp_path: Path) -> None:
    write_model(load_model("translit"), tmp_path / "mine", half=False)
    costs = []
    for options in ({}, {"model": str(tmp_path / "mine")}):
        env = env_of("ar2en/test-1", **options)
        costs.append(played(env, 0, first=True)[1]["verdict"]["cost"])
    assert costs[0] == costs[1]
    with pytest.raises(UsageError, match="unknown model"):
        env_of("ar2en/test-1", model="no such thing")


def test_files_of_sentences(tmp_path: Path) -> None:
    source, target = tmp_path / "names.txt", tmp_path / "answers.txt"
    source.write_text("آزا\nآب\n")
    target.write_text("aza\nab\n")
    problem = sysgym.make_problem("NMTDecoding", references=str(target))
    instance = problem.load(str(source))
    assert instance.sources == ["آزا", "آب"] and instance.references == ["aza", "ab"]
    assert problem.judge(instance, problem.answer(instance, ["aza", "ab"])).cost == 0.0
    for content, said in (
        ("", "holds no sentence"),
        ("آزا\n\n", "line 2: an empty sentence"),
        ("آزا\n", "1 sentences and 2"),
    ):
        source.write_text(content)
        with pytest.raises(UsageError, match=said):
            problem.load(str(source))
    source.write_text("ا" * 65 + "\n")
    target.write_text("a\n")
    with pytest.raises(UsageError, match="longer than the 64"):
        problem.size(problem.load(str(source)))
    with pytest.raises(UsageError, match="leave the option references out"):
        problem.load("ar2en/test-0")


def test_sentences_that_a_model_does_not_know_are_for_another_one(tmp_path: Path) -> None:
    source = tmp_path / "captions.en"
    source.write_text("A man in a hat.\nTwo dogs.\n")
    problem = sysgym.make_problem("NMTDecoding")
    with pytest.raises(UsageError, match=r"translit does not know 9.% of these sentences; name one that reads them"):
        problem.size(problem.load(str(source)))
