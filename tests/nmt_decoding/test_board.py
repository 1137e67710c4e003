"""The board of what the network finds probable: log-probabilities differ between machines in their last digits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import sysgym
from sysgym.core.errors import UsageError
from sysgym_agents.core import Budget, make_agent
from sysgym_leaderboards.auditing import _row_differences
from sysgym_leaderboards.board import load_board
from sysgym_leaderboards.certificates import Row
from sysgym_leaderboards.verify_worker import claim_mismatch


def row(problem: Any, name: str) -> Row:
    instance = problem.load(name)
    solution = make_agent("beam", width=10).solve(problem, instance, np.random.default_rng(0), Budget())
    verdict, greedy = problem.judge(instance, solution), problem.reference_costs(instance)["greedy"]
    assert verdict.feasible and verdict.cost <= greedy and "bleu" not in verdict.metrics
    return Row(name, 0, True, verdict.cost, greedy, dict(verdict.metrics), (), verdict.cost)


def test_costs_may_differ_as_machines_do() -> None:
    board = load_board("decoding-names-v1")
    problem = board.make_problem()
    assert not problem.sealed and sysgym.make_problem("NMTDecoding").sealed
    assert sysgym.make_problem("NMTDecoding").precision == 0  # scores are counts
    judged = row(problem, board.instance_names(problem)[0])
    for change in (0.0, 1e-7, 1e-3):
        claimed = replace(judged, claimed=judged.cost * (1 + change))
        assert bool(claim_mismatch([claimed], problem.precision)) == (change > 1e-5)
        other = replace(judged, cost=judged.cost * (1 + change), reference=judged.reference * (1 + change))
        told = list(_row_differences(judged, other, ("cost", "reference"), True, problem.precision))
        assert bool(told) == (change > 1e-5) and list(_row_differences(judged, judged, ("cost",), True, 0.0)) == []


def test_answers_may_be_ranked_by_the_model_alone() -> None:
    with pytest.raises(UsageError, match="mode 'beam' weighs forward passes against references: it needs score=ref"):
        sysgym.make_problem("NMTDecoding", mode="beam", score="model")
