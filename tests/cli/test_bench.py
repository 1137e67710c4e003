"""Rows of benchmarks: medians of several runs, and peers from elsewhere that are no ratio."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest

from sysgym_zoo.jobs import measuring
from sysgym_zoo.jobs.measuring import HERE, LEAST, Measured, Recorded, beside, cpu, each, lacking, median, row


class Spends:
    """A call whose CPU seconds are told, and the clock that shows them."""

    def __init__(self, *seconds: float) -> None:
        self.seconds, self.now, self.calls = list(seconds), 0.0, 0

    def __call__(self) -> None:
        self.now += self.seconds[min(self.calls, len(self.seconds) - 1)]
        self.calls += 1


def at(monkeypatch: pytest.MonkeyPatch, call: Spends) -> Spends:
    monkeypatch.setattr(measuring, "time", SimpleNamespace(process_time=lambda: call.now))
    return call


def test_a_time_is_the_median_of_three_runs_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    once = at(monkeypatch, Spends(5.0, 1.0, 2.0))
    assert (cpu(once, 1), once.calls) == (2.0, LEAST)
    slow = at(monkeypatch, Spends(9.0, 4.0, 3.0, 5.0))  # the first call compiles
    found = each(slow, 0.1)
    assert (found, found.runs, slow.calls) == (4.0, 3, 4)
    assert each(at(monkeypatch, Spends(1.0)), 7.5).runs == 8


def test_the_runs_stay_with_a_figure_that_is_scaled() -> None:
    time = median([1.0, 2.0, 3.0, 4.0, 5.0])
    for found, value in ((1e3 * time, 3e3), (time / 2, 1.5), (6 / time, 2.0), (time * 2, 6.0)):
        assert isinstance(found, Measured) and found == value and found.runs == 5
    assert (time / median([1.0, 1.0, 1.0])).runs == 3
    line = row("a call", 1e3 * time, "ms", "<= 4000")
    assert (line["value"], line["met"], line["runs"], line["source"]) == (3000.0, True, 5, HERE)
    assert row("one training", 0.7, "x", ">= 1")["runs"] == 1
    assert row("never", math.inf, "steps", "<= 5") == {
        **row("never", 1, "steps"),
        "value": None,
        "bar": "<= 5",
        "met": False,
    }


def test_a_recorded_figure_is_shown_as_it_stands() -> None:
    """Half a millisecond here against 13 s on another machine is no speed-up."""
    ours, theirs = beside("cost", Measured(0.5, 7), "ms", "<= 3", {"Peer's": Recorded(13200, "2025-01", "a laptop")})
    assert (ours["value"], ours["met"], ours["runs"], ours["source"]) == (0.5, True, 7, HERE)
    assert (theirs["what"], theirs["value"], theirs["unit"]) == ("cost: Peer's", 13200, "ms")
    assert theirs["source"] == "recorded elsewhere, 2025-01, a laptop"
    assert (theirs["bar"], theirs["met"], theirs["runs"]) == ("", None, None)


def test_a_peer_that_is_not_installed_is_named() -> None:
    assert lacking("NumPy", "numpy", "all") == []
    (line,) = lacking("Nowhere", "no_such_module", "partitioners")
    assert line["value"] is None and "needs no_such_module, pip install 'sysgym[partitioners]'" in line["what"]


def test_without_metis_its_rows_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from sysgym_zoo.bench import devices, learning

    monkeypatch.setattr(measuring, "find_spec", lambda module: None)
    for rows in (learning.gap(1, []), devices.learnt([], 1.0)):
        assert len(rows) == 1 and rows[0]["value"] is None and "needs pymetis" in rows[0]["what"]


@pytest.mark.slow
@pytest.mark.parametrize("area", ["chip", "dataflow"])
def test_no_ratio_stands_on_a_recorded_figure(area: str, sysgym: Any) -> None:
    rows = json.loads(sysgym("bench", area, "--quick", "--json").stdout)["rows"]
    elsewhere = [line for line in rows if line["source"] != HERE]
    assert elsewhere and all(line["source"].startswith("recorded elsewhere, ") for line in elsewhere)
    assert all(line["unit"] != "x" and line["met"] is None for line in elsewhere)
    timed = ("ms", "us", "s", "steps/s", "moves/s", "ns/op", "evaluations/s", "CPU s", "x")
    assert all(line["runs"] >= LEAST for line in rows if line["source"] == HERE and line["unit"] in timed)
