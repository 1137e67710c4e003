"""Searches see noisy evaluations alone, count them, and repeat nothing without a reason."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sysgym
from sysgym.core.env import ProblemEnv
from sysgym.nmt_architecture.instance import table
from sysgym.search.tables import Table
from sysgym_agents.core import Budget, make_agent
from sysgym_agents.general.restarts import Restarted
from sysgym_agents.nmt_architecture import laboratory
from sysgym_agents.nmt_architecture.laboratory import Laboratory
from sysgym_agents.nmt_architecture.searches import SuccessiveHalving

PROBLEM = sysgym.make_problem("NMTArchitecture")
GOLDEN = Path(__file__).parents[1] / "golden" / "instances" / "architecture.json"
FREE = Budget()
SEARCHES = ("random-search", "regularised-evolution", "successive-halving", "factor-effects", "tpe-trials")


def searched(name: str, instance: Any, monkeypatch: pytest.MonkeyPatch, budget: Budget = FREE) -> tuple[Any, Any]:
    """The answer of an agent, and its laboratory."""
    if name == "tpe-trials":
        pytest.importorskip("optuna")
    opened: list[Laboratory] = []

    def kept(*words: Any) -> Laboratory:
        opened.append(Laboratory(*words))
        return opened[-1]

    monkeypatch.setattr(laboratory, "Laboratory", kept)
    solution = make_agent(name).solve(PROBLEM, instance, np.random.default_rng(0), budget)
    (lab,) = opened
    return solution["design"], lab


@pytest.mark.parametrize("name", SEARCHES)
def test_evaluations_are_counted_and_the_answer_is_the_best_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for word, budget, most in (("published/test-0", Budget(), 20), ("drawn/train-2", Budget(steps=7), 7),
                               (str(GOLDEN), Budget(), 8), ("published/test-0", Budget(steps=10**6), 20)):  # fmt: skip
        instance = PROBLEM.load(word)
        answer, lab = searched(name, instance, monkeypatch, budget)
        assert lab.count == most
        known = table(instance.space)
        assert known.present[known.number(lab.designs)].all()
        designs, owner = np.unique(lab.designs, axis=0, return_inverse=True)
        means = np.bincount(owner.reshape(-1), lab.results) / np.bincount(owner.reshape(-1))
        at = np.flatnonzero((designs == answer).all(axis=1))[0]
        assert means[at] == pytest.approx(means.min(), abs=1e-12)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_depends_on_nothing_but_what_it_sees(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With true means shuffled behind the same noisy results, every search does the same: it cannot see them."""
    instance = PROBLEM.load("published/test-4")
    answer, lab = searched(name, instance, monkeypatch)
    known = table(instance.space)
    other = known._replace(cost=np.random.default_rng(1).permutation(known.cost), best=0)

    def hidden(table_: Table, seed: int, trials: Any, design: Any) -> float:
        from sysgym.search.trials import evaluate

        return evaluate(known, seed, trials, design)

    monkeypatch.undo()
    monkeypatch.setattr(laboratory, "known", lambda instance: other)
    monkeypatch.setattr(laboratory, "evaluate", hidden)
    monkeypatch.setattr(type(PROBLEM), "judge", None)
    again, second = searched(name, instance, monkeypatch)
    assert np.array_equal(answer, again) and np.array_equal(lab.designs, second.designs)


def test_rungs_use_the_budget_and_no_more() -> None:
    for eta in (2, 3, 4):
        for most in (1, 2, 5, 20, 100):
            found = SuccessiveHalving(eta=eta).rungs(most)
            assert sum(found) <= most and all(b == a // eta for a, b in pairwise(found))
    assert SuccessiveHalving(eta=4).rungs(20) == [15, 3] and SuccessiveHalving(eta=2).rungs(20) == [11, 5, 2, 1]


def test_nobody_chooses_between_answers_by_the_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem is sealed: with time to spare a random agent, a learner and restarts make one answer all the same."""
    instance, episodes = PROBLEM.load("drawn:seed=1,evaluations=2"), 0
    reset = ProblemEnv.reset

    def counted(self: Any, **keywords: Any) -> Any:
        nonlocal episodes
        episodes += 1
        return reset(self, **keywords)

    monkeypatch.setattr(ProblemEnv, "reset", counted)
    for agent in (make_agent("random", episodes=9), make_agent("maskable-ppo", layers=0, hidden=8, episodes=9)):
        for budget in (Budget(), Budget(steps=50), Budget(cpu_seconds=5.0)):
            episodes = 0
            agent.solve(PROBLEM, instance, np.random.default_rng(0), budget)
            assert episodes == 1
    runs = Restarted(make_agent("random-search"))
    runs.solve(PROBLEM, instance, np.random.default_rng(0), Budget(cpu_seconds=5.0))
    assert runs.runs == 1


def test_the_standard_configuration_is_the_paper_s() -> None:
    instance = PROBLEM.load("published/test-0")
    verdict = PROBLEM.judge(
        instance, make_agent("standard").solve(PROBLEM, instance, np.random.default_rng(0), Budget())
    )
    assert verdict.cost == PROBLEM.reference_costs(instance)["baseline"] == pytest.approx(78.22)
    assert next(iter(PROBLEM.reference_costs(instance))) == "baseline"
