"""The contract tests have something to test; where there is nothing they fail, they do not pass by running nothing."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import cases
import pytest

from sysgym.core.registry import problem_registry
from sysgym_agents.core import agent_registry
from sysgym_leaderboards import board_names


def test_there_are_problems_learners_and_boards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what other tests of this process have registered since the cases were found."""
    kept = {name: item for name, item in problem_registry.local.items() if f"sysgym/{name}" in cases.PROBLEMS}
    monkeypatch.setattr(problem_registry, "local", kept)
    cases.check_found(cases.CASES, cases.LEARNERS, board_names())
    assert any("Knapsack" in case.name for case in cases.CASES), "the plugin is among them"


def test_an_empty_list_of_cases_fails(request: pytest.FixtureRequest) -> None:
    """A test that is parametrized with nothing fails when it is collected; it is not skipped."""
    assert request.config.getini("empty_parameter_set_mark") == "fail_at_collect"


@pytest.mark.parametrize(
    ("registry", "words"), [(problem_registry, "no problem is registered"), (agent_registry, "no learner")]
)
def test_an_empty_registry_is_noticed(registry: object, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entries", dict)
    monkeypatch.setattr(registry, "local", {})
    with pytest.raises(AssertionError, match=words):
        cases.check_found(cases.find_cases(), cases.find_learners(), board_names())


def test_missing_boards_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("sysgym_leaderboards.board")
    monkeypatch.setattr(module, "FOLDER", Path("nowhere"))
    monkeypatch.setattr(module, "_files", module._files.__wrapped__)  # as it is when nothing has been looked up yet
    with pytest.raises(AssertionError, match="there is no board"):
        cases.check_found(cases.find_cases(), cases.find_learners(), board_names())
