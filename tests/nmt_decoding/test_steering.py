"""The beam mode: settings are replayed, forward passes are paid for, and alone or together they answer the same."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import sysgym
from sysgym.core.errors import InvalidSolution, UsageError
from sysgym.text.episodes import steering
from sysgym.text.episodes.sentences import sentences
from sysgym.text.search import Beam, beam_search
from sysgym_agents.core import Budget, make_agent

NAMES, REFERENCES = ["آزتمون", "آزا", "مولديرز", "آب"], ["azatmun", "aza", "mulders", "ab"]


def env_of(lam: float = 0.01) -> Any:
    instance = sentences("names", "translit", NAMES, REFERENCES)
    return gym.make("sysgym/NMTDecoding-v0", instance=instance, mode="beam", lam=lam).unwrapped


@pytest.mark.parametrize("seed", range(3))
def test_rewards_add_up_to_the_text_and_the_price(seed: int) -> None:
    env, rng = env_of(), np.random.default_rng(seed)
    env.reset(seed=seed)
    settings = rng.integers(len(steering.SETTINGS), size=len(NAMES)).tolist()
    total, info = 0.0, {}
    for setting in settings:
        _, reward, over, _, info = env.step(setting)
        total += reward
    verdict = info["verdict"]
    assert over and verdict["cost"] == env.dynamics.cost(env.instance, env.state)
    assert total == pytest.approx((100 - verdict["cost"]) / 100, abs=1e-9)
    model, task = env.problem.model_of(env.instance), env.problem.task(env.instance)
    found = [beam_search(model, [source], steering.SETTINGS[setting], limit)
             for source, setting, limit in zip(task.sources, settings, task.limits, strict=True)]  # fmt: skip
    plain = [beam_search(model, [source], Beam(width=1, alpha=0.0), limit)
             for source, limit in zip(task.sources, task.limits, strict=True)]  # fmt: skip
    share = sum(int(each.forwards[0]) for each in found) / sum(int(each.forwards[0]) for each in plain)
    assert verdict["metrics"]["forwards"] == share
    texts = [model.text(each.best(0)) for each in found]
    told = sysgym.make_problem("NMTDecoding").judge(env.instance, env.problem.answer_texts(texts))
    assert verdict["cost"] == pytest.approx(told.cost + 100 * 0.01 * share, abs=1e-9)


def test_a_text_that_no_setting_gave_is_refused() -> None:
    problem = env_of().problem
    instance = sentences("names", "translit", NAMES, REFERENCES)
    good = dict(problem.steered(instance, 5, 1.0))
    assert problem.judge(instance, good).metrics["forwards"] > 3
    better = problem.answer_texts(REFERENCES)
    with pytest.raises(InvalidSolution, match="is not what its setting answers"):
        problem.judge(instance, {**better, "settings": good["settings"]})
    with pytest.raises(InvalidSolution, match="need their settings"):
        problem.parse_solution(instance, b"a\nb\nc\nd\n", "a.txt")
    with pytest.raises(UsageError, match="has the widths and alphas"):
        problem.steered(instance, 7, 1.0)
    bare = sentences("names", "translit", NAMES)
    with pytest.raises(UsageError, match="has no references"):
        gym.make("sysgym/NMTDecoding-v0", instance=bare, mode="beam").reset(seed=0)


def test_settings_answer_the_same_alone_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = env_of().problem
    instance = problem.load("ar2en/test-0")
    settings = (np.arange(len(instance)) % len(steering.SETTINGS)).tolist()
    monkeypatch.setattr(steering, "_known", type(steering._known)())
    together = problem.replays(instance).of(settings)
    monkeypatch.setattr(steering, "_known", type(steering._known)())
    assert [problem.replays(instance).one(i, setting) for i, setting in enumerate(settings)] == together


def test_agents_search_by_one_setting_or_say_that_they_do_not_steer() -> None:
    problem = env_of().problem
    instance, rng = sentences("names", "translit", NAMES, REFERENCES), np.random.default_rng(0)
    found = make_agent("beam", width=2, alpha=0.5).solve(problem, instance, rng, Budget())
    assert set(found["settings"].tolist()) == {2}
    greedy = make_agent("beam", width=1).solve(problem, instance, rng, Budget())
    assert problem.judge(instance, greedy).cost == problem.reference_costs(instance)["greedy"]
    assert problem.judge(instance, greedy).metrics["forwards"] == 1.0
    for name in ("sampling", "mbr", "stochastic-beam"):
        with pytest.raises(UsageError, match="steers a search"):
            make_agent(name).solve(problem, instance, rng, Budget())


@pytest.mark.parametrize("name", ["beam", "sampling", "mbr", "stochastic-beam"])
@pytest.mark.parametrize("references", [REFERENCES, []], ids=["references", "none"])
def test_decoders_give_what_may_stand(name: str, references: list[str]) -> None:
    problem = sysgym.make_problem("NMTDecoding")
    instance = sentences("names", "translit", NAMES, references)
    agent, costs = make_agent(name), []
    for seed in range(2):
        verdict = problem.judge(instance, agent.solve(problem, instance, np.random.default_rng(seed), Budget()))
        assert verdict.feasible
        costs.append(verdict.cost)
    assert (costs[0] == costs[1]) == (name not in ("sampling", "stochastic-beam"))
