"""Pictures of trainings, lists of recipes, and reports of several instance sets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

GOLDEN = Path(__file__).parents[1] / "golden"
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_learning_curves(sysgym: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs = [str(GOLDEN / "runs" / name) for name in ("ppo-refine", "gap")]
    assert json.loads(sysgym("plot", *runs, "-o", "two.png", "--json").stdout)["files"] == ["two.png"]
    sysgym("plot", runs[0], "--metric", "train/loss", "-o", "one.svg")
    picture = np.asarray(Image.open(tmp_path / "two.png").convert("RGB"))
    assert picture.shape[1] > picture.shape[0] and len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    assert "<!-- train/loss -->" in (tmp_path / "one.svg").read_text()  # as matplotlib marks texts that it draws
    for words, sentence in (
        ((runs[0], "-o", "x.txt"), "use a name that ends in .png, .svg or .pdf"),
        ((runs[0], "--metric", "nope"), "no run logged 'nope'; they logged"),
        (("absent",), "absent"),
    ):
        assert sentence in sysgym("plot", *words, code=2).stderr


def test_recipes_are_listed(sysgym: Run) -> None:
    rows = json.loads(sysgym("list", "recipes", "-p", "Partitioning", "--json").stdout)["rows"]
    assert {"recipe": "ppo-refine", "agent": "maskable-ppo"}.items() <= next(
        row for row in rows if row["recipe"] == "ppo-refine"
    ).items()


def test_reports_keep_instance_sets_apart(sysgym: Run) -> None:
    for name, options in (
        ("a", ("tiny/grid-test",)),
        ("b", ("delaunay/test-0",)),
        ("c", ("tiny/grid-test", "-O", "k=4")),
    ):
        sysgym("evaluate", "-a", "ldg", "-a", "fm", "--seeds", "1", "--instances", *options, "--out", name)
    rows = json.loads(sysgym("report", "a", "b", "c", "--json").stdout)["rows"]
    assert [row["on"] for row in rows] == [
        place for place in dict.fromkeys(row["on"] for row in rows) for _ in range(2)
    ]
    assert len({row["on"] for row in rows}) == 3
    sysgym("evaluate", "-a", "ldg", "--seeds", "1", "--instances", "tiny/delaunay-test", "--out", "d")
    same_set = json.loads(sysgym("report", "a", "d", "--json").stdout)["rows"]
    assert len({row["on"] for row in same_set}) == 2
    assert "on" not in json.loads(sysgym("report", "a", "--json").stdout)["rows"][0]


def test_a_training_that_cannot_learn_says_so(sysgym: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.graph").write_text("8 0\n" + "\n" * 8)
    words = ("train", "-a", "maskable-ppo", "--instances", "empty.graph", "--steps", "64", "--set", "n_steps=16")
    said = sysgym(*words, "--set", "num_envs=2", "--set", "hidden=8", "--set", "batch_size=16", "--out", "r").stderr
    assert "note: all episodes had the same return, 0: nothing can be learnt from them." in said


def test_help_keeps_its_brackets(sysgym: Run) -> None:
    assert "pip install 'sysgym[partitioners]'" in sysgym("group", "--help").stdout.replace("\n", " ")
