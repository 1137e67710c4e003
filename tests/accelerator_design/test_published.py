"""What the literature reports stands beside what was measured, as it was given, with its sources."""

from __future__ import annotations

import csv

import pytest
from public import PUBLIC

from sysgym import UsageError, make_problem
from sysgym_zoo.jobs.report import published_text


def test_published_figures_are_those_of_the_data() -> None:
    file = PUBLIC / "accelerator" / "published_fast.csv"
    if not file.exists():
        pytest.skip("needs SYSGYM_DATA")
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    figures = make_problem("AcceleratorDesign").published
    assert [(row["quantity"], row["value"]) for row in rows] == [(row["quantity"], row["value"]) for row in figures]
    text = published_text(["AcceleratorDesign"])
    assert all(row["value"] in text and row["source"] in text for row in figures)


def test_a_problem_without_published_figures_says_so() -> None:
    with pytest.raises(UsageError, match="no published figures of Partitioning are known; leave out --published"):
        published_text(["Partitioning"])
