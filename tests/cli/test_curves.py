"""Pictures of trainings and evaluations, lists of recipes, and reports of several instance sets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sysgym_zoo.jobs.pictures import answers_of, axes_of, front, front_figure

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


def test_the_answers_of_an_evaluation_and_their_front(sysgym: Run, tmp_path: Path) -> None:
    """Every answer is a point in the colour of its agent; what another beats in both numbers is not on the front."""
    pytest.importorskip("matplotlib")
    how = ("--instances", "cnns/test", "--seeds", "3", "-O", "fusion=greedy", "-O", "area_budget=0.9")
    sysgym("evaluate", "-p", "AcceleratorDesign", "-a", "genetic", "-a", "random", "--steps", "20", *how, "--out", "e")
    assert json.loads(sysgym("plot", "e", "--json").stdout)["files"] == ["front.png"]
    picture = np.asarray(Image.open(tmp_path / "front.png").convert("RGB"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    folder = tmp_path / "e"
    axes = axes_of([folder])
    assert [axis.metric for axis in axes] == ["area_mm2", "perf_per_tdp"] and "mm2" in axes[0].about
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = answers_of([folder], axes)
    for name, panel in zip(found, front_figure(found, axes).axes, strict=True):
        mine = [row for row in rows if row["instance"] == name]
        points = {(row["metrics"]["area_mm2"], row["metrics"]["perf_per_tdp"]): row["feasible"] for row in mine}
        line, *dots = panel.get_lines() if any(points.values()) else (None, *panel.get_lines())
        assert len(dots) == 6 and {(*dot.get_xdata(), *dot.get_ydata()) for dot in dots} == set(points)
        assert len({dot.get_color() for dot in dots}) == 2
        best = set(zip(line.get_xdata(), line.get_ydata(), strict=True)) if line else set()
        for (area, speed), feasible in points.items():
            beaten = any(ok and a <= area and s >= speed and (a, s) != (area, speed) for (a, s), ok in points.items())
            assert ((area, speed) in best) == (feasible and not beaten)
    for words, sentence in (
        (("e", str(GOLDEN / "runs" / "gap")), "trainings and evaluations are drawn apart"),
        (("e", "--metric", "cost"), "--metric is for trainings"),
        (("d",), "Partitioning names no two metrics that pull against each other"),
    ):
        if words == ("d",):
            sysgym("evaluate", "-a", "ldg", "--seeds", "1", "--instances", "tiny/delaunay-test", "--out", "d")
        assert sentence in sysgym("plot", *words, code=2).stderr
    for row in rows:
        del row["metrics"]["area_mm2"]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "has no area_mm2 or no perf_per_tdp of genetic on cnns/test-0" in sysgym("plot", "e", code=2).stderr


@pytest.mark.parametrize("more", [(False, False), (False, True), (True, False), (True, True)])
def test_no_point_of_a_front_is_dominated(more: tuple[bool, bool]) -> None:
    rng, signs = np.random.default_rng(0), np.where(more, -1, 1)
    for count in (0, 1, 2, 5, 40):
        costs = rng.integers(0, 12, (count, 2))
        kept = front([(x, y) for x, y in (signs * costs).tolist()], more)
        beaten = [bool(((costs <= each).all(axis=1) & (costs < each).any(axis=1)).any()) for each in costs]
        best = {tuple(each) for each, lost in zip(costs, beaten, strict=True) if not lost}
        assert {tuple(costs[i]) for i in kept} == best
        assert len(kept) == len({tuple(costs[i]) for i in kept})


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


def test_reports_tell_budgets_apart_and_show_the_agents_that_are_named(sysgym: Run) -> None:
    for steps in ("1", "7"):
        words = ("evaluate", "-a", "ldg", "-a", "fm", "--seeds", "1", "--instances", "tiny/grid-test")
        sysgym(*words, "--steps", steps, "--out", f"s{steps}")
    rows = json.loads(sysgym("report", "s7", "s1", "--json").stdout)["rows"]
    assert [row["budget"] for row in rows] == ["7 steps a solution"] * 2 + ["1 steps a solution"] * 2
    alone = json.loads(sysgym("report", "s1", "s7", "-a", "fm", "--json").stdout)["rows"]
    assert [(row["agent"], row["budget"][0]) for row in alone] == [("fm", "1"), ("fm", "7")]
    assert "budget" not in json.loads(sysgym("report", "s1", "--json").stdout)["rows"][0]
    assert "Did you mean 'fm'" in sysgym("report", "s1", "-a", "fn", code=2).stderr


def test_metrics_stand_in_reports_with_paired_differences(sysgym: Run) -> None:
    """Against means and differences counted here, on answers whose metric is known."""
    from sysgym.core.errors import UsageError
    from sysgym_zoo.jobs.report import with_metrics

    table = {"a": [[1.0, 3.0], [4.0, 4.0]], "b": [[2.0, 2.0], [7.0, 9.0]]}  # agent -> instances -> seeds
    rows = [{"agent": name, "instance": str(i), "metrics": {"size": value}}
            for name, given in table.items() for i, values in enumerate(given) for value in values]  # fmt: skip
    one, two = with_metrics([{"agent": "a"}, {"agent": "b"}], rows, ["size"], "a")
    assert (one["size"], one["size more"], one["size more low"]) == (3.0, 0.0, 0.0)
    assert (two["size"], two["size more"]) == (5.0, 2.0) and two["size more low"] == 0.0 and two["size more high"] == 4
    (alone,) = with_metrics([{"agent": "b"}], rows, ["size"])
    assert (alone["size"], alone["size low"], alone["size high"]) == (5.0, 2.0, 8.0)
    with pytest.raises(UsageError, match="Did you mean 'size'"):
        with_metrics([{"agent": "a"}], rows, ["siz"])
    sysgym("evaluate", "-a", "ldg", "--seeds", "1", "--instances", "tiny/test", "--out", "m")
    (line,) = json.loads(sysgym("report", "m", "--metric", "imbalance", "--json").stdout)["rows"]
    assert line["imbalance low"] <= line["imbalance"] <= line["imbalance high"]
    assert "Known:" in sysgym("report", "m", "--metric", "absent", code=2).stderr


def test_a_training_that_cannot_learn_says_so(sysgym: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.graph").write_text("8 0\n" + "\n" * 8)
    words = ("train", "-a", "maskable-ppo", "--instances", "empty.graph", "--steps", "64", "--set", "n_steps=16")
    said = sysgym(*words, "--set", "num_envs=2", "--set", "hidden=8", "--set", "batch_size=16", "--out", "r").stderr
    assert "note: all episodes had the same return, 0: nothing can be learnt from them." in said


def test_help_keeps_its_brackets(sysgym: Run) -> None:
    assert "pip install 'sysgym[partitioners]'" in sysgym("group", "--help").stdout.replace("\n", " ")
