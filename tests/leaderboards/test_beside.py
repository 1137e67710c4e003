"""What stands beside a cost: shown and judged again, and never in the way of a metric, a rank or an old certificate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from sysgym import UsageError, Verdict
from sysgym_leaderboards import Row
from sysgym_leaderboards.certificates import means_beside, names_beside, parse_row
from sysgym_leaderboards.verify_worker import BoardError, _beside
from sysgym_zoo.jobs.boards import COLUMNS, with_beside

PLAIN = Row("a", 0, True, 1.0, 1.0, {"cut": 2.0}, ())
INSTANCE = SimpleNamespace(name="a")


def problem(beside: Callable[..., Any] | None) -> Any:
    return SimpleNamespace(name="Any", beside=beside)


def test_a_row_without_it_is_written_as_it_always_was() -> None:
    assert "beside" not in PLAIN.as_dict() and parse_row(PLAIN.as_dict()) == PLAIN
    row = replace(PLAIN, metrics={"cut": 2.0, "acc": 0.5}, beside=("acc",))
    assert row.as_dict()["beside"] == ["acc"] and parse_row(row.as_dict()) == row
    with pytest.raises(ValueError, match="beside the cost"):
        parse_row({**row.as_dict(), "beside": ["other"]})


def test_means_are_over_the_answers_that_have_it() -> None:
    rows = [replace(PLAIN, metrics={"cut": 2.0, "acc": value}, beside=("acc",)) for value in (0.25, 0.75)]
    assert means_beside([PLAIN, *rows]) == {"acc": 0.5} and means_beside([PLAIN]) == {}
    assert names_beside([{}, {"b": 1.0, "a": 2.0}, {"a": 1.0, "c": 0.0}]) == ["b", "a", "c"]


def test_a_problem_says_it_well_or_the_board_is_not_judged() -> None:
    verdict = Verdict(True, 1.0, {"cut": 2.0, "odd": math.inf})
    assert _beside(problem(None), INSTANCE, {}, verdict) == {}
    assert _beside(problem(lambda *_: {"acc": 1}), INSTANCE, {}, verdict) == {"acc": 1.0}
    for wrong in ({"cut": 2.0}, {"odd": 1.0}, {"acc": math.nan}):
        with pytest.raises(BoardError, match=f"Any puts {next(iter(wrong))} = .* beside the cost"):
            _beside(problem(lambda *_, wrong=wrong: wrong), INSTANCE, {}, verdict)

    def absent(*_: Any) -> Any:
        raise UsageError("no such file.")

    with pytest.raises(BoardError, match="not known here: no such file"):
        _beside(problem(absent), INSTANCE, {}, verdict)


def test_columns_come_after_the_gap_and_take_no_name_of_another() -> None:
    line = {**dict.fromkeys(COLUMNS), "agent": "x", "rank": 1}
    assert [*with_beside([line], [{}])[0]] == [*COLUMNS]
    shown, waiting = with_beside([line, line], [{"acc": 0.5, "rank": 9.0}])
    assert [*shown] == [*waiting] and [*shown][[*shown].index("gap") + 1] == "acc"
    assert (shown["acc"], waiting["acc"], shown["rank"], len(shown)) == (0.5, None, 1, len(COLUMNS) + 1)
