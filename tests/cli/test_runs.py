"""Run folders from training to a ranking: recorded, repeated, interrupted, resumed."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_train_evaluate_pack_submit_show_verify_export(sysgym: Run, tmp_path: Path) -> None:
    trained = json.loads(
        sysgym(
            "train",
            "-a",
            "ppo-refine",
            "-O",
            "eps=0.2",
            "--instances",
            "tiny/train",
            "--steps",
            "1024",
            "--set",
            "n_steps=32",
            "--out",
            "agent",
            "--json",
        ).stdout
    )
    assert trained["status"] == "done" and trained["problem"]["options"]["eps"] == 0.2
    assert trained["agent"]["hyper"]["n_steps"] == 32 and trained["agent"]["hyper"]["gamma"] == 0.99
    assert len(trained["instances"]) == 4 and len(trained["instances"][0]["hash"]) == 64
    folder = tmp_path / "agent"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["steps"] == 1024 and "rollout/ep_rew_mean" in rows[-1]
    assert list((folder / "tensorboard").glob("events*")) and (folder / "agent" / "model.safetensors").is_file()
    evaluated = json.loads(
        sysgym(
            "evaluate",
            "-a",
            "agent",
            "-a",
            "ldg",
            "--instances",
            "tiny/test",
            "-O",
            "k=2",
            "-O",
            "eps=0.03",
            "--seeds",
            "2",
            "--out",
            "eval",
            "--json",
        ).stdout
    )
    assert len(evaluated["rows"]) == 2 * 4 * 2 and {line["agent"] for line in evaluated["summary"]} == {
        "ppo-refine (agent)",
        "ldg",
    }
    table = sysgym("report", "eval").stdout
    assert "| agent | cost | ratio |" in table and "4 instances, 2 seeds" in table
    (tmp_path / "R.md").write_text("a\n<!-- sysgym report: results -->\nold\n<!-- end -->\nb\n")
    sysgym("report", "eval", "--write", "R.md")
    written = (tmp_path / "R.md").read_text()
    assert table.strip() in written and "old" not in written and written.endswith("b\n")
    board = "partitioning-tiny-k2-v1"
    ambiguous = sysgym("pack", "eval", "--board", board, code=2)
    assert "choose one with --agent" in ambiguous.stderr
    sysgym("pack", "eval", "--board", board, "--agent", "ldg", "-o", "s.zip")
    assert "accepted on" in sysgym("submit", "s.zip").stdout
    assert "rejected" in sysgym("submit", "s.zip", code=3).stdout
    shown = json.loads(sysgym("board", "show", board, "--json").stdout)["rows"]
    ratios = [row["ratio"] for row in evaluated["rows"] if row["agent"] == "ldg" and row["seed"] == 0]
    assert shown[0]["agent"] == "ldg" and shown[0]["score"] == pytest.approx(np.exp(np.mean(np.log(ratios))))
    assert "1 entries verified" in sysgym("board", "verify").stdout
    files = sysgym("board", "export", "--out", "site").stdout.split()
    assert all((tmp_path / file).is_file() for file in files) and any(file.endswith(".png") for file in files)
    wrong = sysgym("pack", "eval", "--board", "partitioning-delaunay-k4-v1", "--agent", "ldg", code=2)
    assert "is for k=4, the run used k=2" in wrong.stderr


def test_same_seed_same_weights_and_rows(sysgym: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        sysgym(
            "train",
            "-a",
            "maskable-ppo",
            "-O",
            "mode=assign",
            "-O",
            "eps=0.2",
            "--instances",
            "tiny/train",
            "--steps",
            "256",
            "--set",
            "n_steps=16",
            "--set",
            "hidden=8",
            "--seed",
            "3",
            "--out",
            name,
        )
    one, two = ((tmp_path / name / "agent" / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert one == two
    costs = [
        [
            (row["instance"], row["cost"])
            for row in json.loads(
                sysgym("evaluate", "-a", agent, "--instances", names, "-O", "eps=0.2", "--seeds", "1", "--json").stdout
            )["rows"]
        ]
        for agent, names in (("a", "tiny/grid-test;tiny/delaunay-test"), ("b", "tiny/delaunay-test;tiny/grid-test"))
    ]
    assert sorted(costs[0]) == sorted(costs[1])


def test_interrupted_training_keeps_its_weights_and_resumes(sysgym: Any, tmp_path: Path) -> None:
    small = ("-O", "eps=0.2", "--set", "n_steps=64")
    process = sysgym.start(
        "train", "-a", "ppo-refine", "--instances", "tiny/train", *small, "--seconds", "60", "--out", "run"
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not metrics.is_file():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "interrupted" and (tmp_path / "run" / "agent" / "model.safetensors").is_file()
    rows: list[dict[str, Any]] = [json.loads(line) for line in metrics.read_text().splitlines()]
    steps = int(rows[-1]["steps"])
    sysgym("train", "--out", "run", "--resume", "--steps", str(steps + 1000))
    again = json.loads((tmp_path / "run" / "run.json").read_text())
    assert again["status"] == "done" and again["resumed_at"]["steps"] == steps
    assert again["problem"]["options"]["eps"] == 0.2 and again["agent"]["hyper"]["n_steps"] == 64
    assert [part["status"] for part in again["earlier"]] == ["interrupted"]
    last = json.loads(metrics.read_text().splitlines()[-1])
    assert last["steps"] >= steps + 1000
    wrong = sysgym("train", "--out", "run", "--resume", "-a", "ppo-assign", code=2)
    assert "resume it with the agent it was started with" in wrong.stderr


@pytest.mark.slow
def test_demo(sysgym: Run, tmp_path: Path) -> None:
    """The whole job within three minutes, ending in a verified ranking in which training shows."""
    started = time.perf_counter()
    done = sysgym("demo", "--json")
    assert time.perf_counter() - started < 180
    found = json.loads(done.stdout)
    assert (found["schema"], found["problems"]) == ("sysgym-demo/1", [])
    board = json.loads(
        sysgym("board", "show", "partitioning-delaunay-k4-v1", "--store", "demo/leaderboards.sqlite", "--json").stdout
    )["rows"]
    rank = {row["agent"]: row["rank"] for row in board}
    assert rank["ppo-refine"] < rank["fennel"] < rank["random"]
    assert (tmp_path / "demo" / "partition.png").is_file() and (tmp_path / "demo" / "site" / "index.html").is_file()
