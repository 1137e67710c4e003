"""`sysgym sweep`: plan, run, status, report."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from here import Here

from sysgym_zoo.sweeps import backends

Inline = Callable[..., Any]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    """Runs take place in this process."""
    backend = Here()
    monkeypatch.setattr(backends, "Local", lambda cores: backend)
    return backend


def test_plan_run_status_report(small: Path, inline: Inline, here: Here) -> None:
    planned = json.loads(inline("sweep", "plan", "small.toml", "--json").stdout)["rows"]
    assert [row["state"] for row in planned] == ["missing"] * 6 and not Path("runs").exists() and not here.started
    done = inline("sweep", "small.toml")
    assert "| fm | 1 |" in done.stdout and "| gap | 2 |" in done.stdout and "(" in done.stdout
    assert "sweep: 6 of 6 runs." in done.stderr and "runs/small-sweep/runs" in done.stderr
    assert sorted(here.started) == sorted(row["id"] for row in planned)
    told = json.loads(inline("sweep", "status", "small.toml", "--json").stdout)
    assert told["counts"] == {"done": 6} and told["sweep"] == "runs/small-sweep"
    assert inline("sweep", "status", "runs/small-sweep").stdout == inline("sweep", "status", "small.toml").stdout
    assert {row["state"] for row in json.loads(inline("sweep", "plan", "small.toml", "--json").stdout)["rows"]} == {
        "done"
    }
    rows = json.loads(inline("sweep", "--json", "small.toml").stdout)["rows"]
    assert len(here.started) == 6 and {row["agent"] for row in rows} == {"gap", "fm", "ldg"}
    text = inline("report", "runs/small-sweep", "--metric", "cut").stdout
    assert "| cut |" in text.splitlines()[2] and "2 instances, 1 seed(s) of each answer" in text
    run = inline("report", *map(str, [next(Path("runs/small-sweep/runs").glob("*/solutions")).parent])).stdout
    assert "ratio" in run  # each is a run folder like any other
    assert "report them apart" in inline("report", "runs/small-sweep", "runs/small-sweep", code=2).stderr


def test_words_that_cannot_be(small: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No such file" in inline("sweep", "smal.toml", code=2).stderr
    assert "is that of a Ray cluster" in inline("sweep", "small.toml", "--address", "auto", code=2).stderr
    assert "Slurm knows its cores" in inline("sweep", "small.toml", "--backend", "slurm", "--cores", "2", code=2).stderr
    assert "is no folder of a sweep" in inline("sweep", "status", "small.toml", code=2).stderr
    for module, backend, extra in (("ray", "ray", "ray"), ("submitit", "slurm", "slurm")):
        monkeypatch.setitem(sys.modules, module, None)
        told = inline("sweep", "small.toml", "--backend", backend, code=4).stderr
        assert f"pip install 'sysgym[{extra}]'" in told
    assert "[[train]]" in inline("sweep", "--help").stdout or "FILE.toml" in inline("sweep", "--help").stdout


def test_a_sweep_of_trainings_tells_what_they_left(small: Path, inline: Inline, here: Here) -> None:
    text = small.read_text().partition("[[train.evaluate]]")[0]
    small.write_text(text + 'eval_instances = "tiny/valid"\neval_every = 2\n')
    rows = json.loads(inline("sweep", "small.toml", "--out", "out", "--json").stdout)["rows"]
    assert [(row["agent"], row["seed"], row["steps"]) for row in rows] == [("gap", 0, 4), ("gap", 1, 4)]
    weights = {json.loads(file.read_text())["weights_sha256"][:12] for file in Path("out").glob("runs/*/run.json")}
    assert {row["weights"] for row in rows} == weights and all(row["best ratio"] > 0 for row in rows)


def test_an_ablation_of_every_seed(small: Path, inline: Inline, here: Here) -> None:
    text = small.read_text().replace("[[train.evaluate]]", "[[train.evaluate]]\n    ablate = true\n    steps = 2")
    small.write_text(text)
    rows = json.loads(inline("sweep", "small.toml", "--json").stdout)["rows"]
    own = {row["role"]: row for row in rows if row.get("of") == "gap"}
    assert own["agent"]["over agent"] == 1 and own["agent"]["runs"] == 2
    assert own["fresh weights"]["agent"] == "gap (fresh weights)" and own["fresh weights"]["over agent low"] is not None
    assert own["rule"]["agent is better"] in ("yes", "no", "unclear") and own["recommended"]["agent"] == "fm"
