"""Agents that answer messages: what each is made of, and that what it gives may stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from talks import talk

import sysgym
from sysgym.response_decoding.instance import Messages
from sysgym.text.episodes.whole import sampled_segments
from sysgym.text.sampling import Draw
from sysgym.text.segments import Stochastic, by_logp, stochastic_beams
from sysgym_agents.core import Budget, make_agent

PROBLEM = sysgym.make_problem("ResponseDecoding")


def answers(name: str, instance: Messages, seed: int = 0, **settings: Any) -> list[str]:
    """What an agent writes; it may stand."""
    found = make_agent(name, **settings).solve(PROBLEM, instance, np.random.default_rng(seed), Budget())
    assert PROBLEM.judge(instance, found).feasible
    return [row["answer"] for row in PROBLEM.legend(instance, found)]


@pytest.mark.parametrize("references", [None, []], ids=["references", "none"])
def test_decoders_give_what_may_stand(references: list[str] | None) -> None:
    instance = talk(references)
    for name, fixed in (
        ("beam", True),
        ("beam-rerank", True),
        ("fresh-rerank", True),
        ("sampling", False),
        ("stochastic-rerank", False),
    ):
        told = [answers(name, instance, seed) for seed in range(2)]
        assert (told[0] == told[1]) == fixed, name


def test_a_beam_is_the_problems_reference() -> None:
    instance = talk()
    cost = PROBLEM.judge(instance, PROBLEM.answer(instance, answers("beam", instance))).cost
    assert PROBLEM.reference_costs(instance) == {"beam": cost}
    assert answers("beam", instance, width=1) == answers("beam-rerank", instance, width=1)


def test_short_answers_give_way_to_the_beam() -> None:
    instance = talk()
    assert answers("stochastic-rerank", instance, min_chars=1000) == answers("beam", instance)
    assert answers("stochastic-rerank", instance, min_chars=0) != answers("beam", instance)


def test_reranking_says_more_of_the_message() -> None:
    """S of beams reranked by S is above that of the same beams ranked by log P."""
    instance = talk()
    costs = {rule: PROBLEM.judge(instance, PROBLEM.answer(instance, answers("beam-rerank", instance, rerank=rule)))
             for rule in ("mmi", "logp")}  # fmt: skip
    assert costs["mmi"].metrics["mmi"] > costs["logp"].metrics["mmi"]


def test_new_pairs_are_what_fresh_reranking_is_after() -> None:
    """Beside always the best S: more of them, no short answers, and the cost without chrF is lower."""
    instance = PROBLEM.load("selfdialogue8/train-1")
    found = [PROBLEM.judge(instance, PROBLEM.answer(instance, answers(name, instance))) for name in
             ("fresh-rerank", "first")]  # fmt: skip
    fresh, best = (each.metrics for each in found)
    assert fresh["distinct2"] > best["distinct2"]
    value = [0.3 * each["mmi"] / 10 + 0.2 * each["distinct2"] for each in (fresh, best)]
    assert value[0] > value[1] and fresh["short"] < best["short"]


def test_sampling_is_a_stochastic_beam_of_one() -> None:
    """Ancestral sampling: one hypothesis that samples one token, by the same noise at the same places."""
    model, sources = PROBLEM.text_model, PROBLEM.task(talk()).sources
    how = Stochastic(width=1, samples=1, seed=9)
    expected, _ = stochastic_beams(model, sources, how, by_logp(), None, 30)
    found = sampled_segments(model, sources, Draw(seed=9), 30)
    assert [each.tokens.tolist() for each in found] == [each.tokens.tolist() for each in expected]
    cold = sampled_segments(model, sources, Draw(seed=9, top=1), 30)
    texts = [model.text(each.tokens) for each in cold]
    assert texts == answers("beam", talk(), width=1)  # always the most probable token
