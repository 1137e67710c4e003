"""A run killed at any moment and resumed ends with the very weights of a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sysgym.core.registry import problem_registry
from sysgym.partitioning.problem import Partitioning
from sysgym_zoo.jobs import runs

Inline = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
CASES = {
    "ppo": ["-O", "mode=assign", "--set", "n_steps=16", "--set", "hidden=16", "--set", "batch_size=64"],
    "maskable-ppo": ["-O", "mode=refine", "-O", "steps=20", "--set", "n_steps=16", "--set", "hidden=16",
                     "--set", "batch_size=64"],
    "gap": ["--set", "hidden=8", "--set", "layers=1"],
}  # fmt: skip
STEPS = {"ppo": 1280, "maskable-ppo": 1280, "gap": 400}


def metrics(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.parametrize("agent", CASES)
def test_sigkill_and_resume_ends_with_the_weights_of_an_undisturbed_run(
    agent: str, sysgym: Any, tmp_path: Path
) -> None:
    words = ["train", "-a", agent, "-O", "eps=0.2", "--instances", "tiny/train", "--seed", "4", "--save-every", "0",
             "--steps", str(STEPS[agent]), *CASES[agent]]  # fmt: skip
    whole = json.loads(sysgym(*words, "--out", "whole", "--json").stdout)
    process = sysgym.start(*words, "--out", "killed")
    saved = tmp_path / "killed" / "checkpoints"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not list(saved.glob("[0-9]*")):
        time.sleep(0.01)
    time.sleep(random.Random(os.getpid()).random() * 0.1)  # between two checkpoints, or within one
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    reached = max(int(folder.name) for folder in saved.glob("[0-9]*"))
    assert 0 < reached < STEPS[agent]
    resumed = json.loads(sysgym("train", "--out", "killed", "--resume", "--json").stdout)
    assert resumed["resumed_at"]["steps"] == reached and resumed["resumed_at"]["exact"]
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    assert len(list(saved.glob("*/training.json"))) == 1


def test_a_run_killed_before_its_first_checkpoint_starts_from_the_beginning(sysgym: Run, tmp_path: Path) -> None:
    words = ["train", "-a", "gap", "--instances", "tiny/train", "--steps", "40"]
    whole = json.loads(sysgym(*words, "--out", "whole", "--json").stdout)
    sysgym(*words, "--out", "run")
    for file in sorted((tmp_path / "run" / "checkpoints").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    again = sysgym("train", "--out", "run", "--resume", "--json")
    assert "starts from the beginning" in again.stderr
    assert json.loads(again.stdout)["weights_sha256"] == whole["weights_sha256"]


class Other(Partitioning):
    """Another problem, so that the run's is not the default."""

    name = "Other"


GAP = ("train", "-a", "gap", "--instances", "tiny/train", "--set", "hidden=8", "--save-every", "0")


def test_a_kill_after_the_last_checkpoint_or_within_one_loses_nothing(inline: Inline, tmp_path: Path) -> None:
    whole = json.loads(inline(*GAP, "--steps", "60", "--out", "run", "--json").stdout)
    shutil.rmtree(tmp_path / "run" / "agent")  # the last checkpoint was written, the agent was not
    (tmp_path / "run" / "checkpoints" / ".partial").mkdir()
    (tmp_path / "run" / "checkpoints" / ".partial" / "progress.json").write_text("{}")
    again = json.loads(inline("train", "--out", "run", "--resume", "--json").stdout)
    assert again["weights_sha256"] == whole["weights_sha256"]
    assert (tmp_path / "run" / "agent" / "agent.json").is_file()


def test_resume_goes_on_with_what_was_recorded(inline: Inline, tmp_path: Path) -> None:
    """Problem, options, instances and threads are the run's; others are refused, and the run stays as it was."""
    problem_registry.local["Other-v0"] = Other
    try:
        small = [word for name in ("hidden=8", "n_steps=4", "batch_size=32") for word in ("--set", name)]
        inline("train", "-p", "Other", "-a", "ppo", "--instances", "tiny/train", "-O", "k=3", "-O", "mode=assign",
               "-O", "eps=0.2", *small, "--threads", "2", "--steps", "64", "--out", "run")  # fmt: skip
        before = (tmp_path / "run" / "run.json").read_bytes()
        for words in (("-O", "k=4"), ("--instances", "tiny/test"), ("--threads", "3"), ("--set", "hidden=9")):
            refused = inline("train", "--out", "run", "--resume", *words, code=2)
            assert f"leave {words[0]} out" in refused.stderr
            assert (tmp_path / "run" / "run.json").read_bytes() == before
        again = json.loads(inline("train", "--out", "run", "--resume", "--steps", "128", "--json").stdout)
    finally:
        del problem_registry.local["Other-v0"]
    assert again["problem"]["name"] == "Other" and again["problem"]["options"]["k"] == 3 and again["threads"] == 2
    assert again["resumed_at"]["exact"]


def test_an_extended_run_of_gap_can_be_resumed_again(inline: Inline, tmp_path: Path, monkeypatch: Any) -> None:
    """Extended from 40 to 100 steps, stopped at 60, and resumed: as if it had not been stopped."""
    for name in ("whole", "stopped"):
        inline(*GAP, "--steps", "40", "--out", name)
    whole = json.loads(inline("train", "--out", "whole", "--resume", "--steps", "100", "--json").stdout)
    assert not whole["resumed_at"]["exact"]  # its learning rates follow the number of steps

    def crash(run: Run, row: dict[str, float], step: int) -> None:
        if row["steps"] > 60:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runs.Run, "log", crash)
        inline("train", "--out", "stopped", "--resume", "--steps", "100", "--save-every", "0", code=130)
    resumed = json.loads(inline("train", "--out", "stopped", "--resume", "--steps", "100", "--json").stdout)
    assert resumed["resumed_at"]["steps"] == 60 and resumed["resumed_at"]["exact"]
    assert resumed["weights_sha256"] == whole["weights_sha256"]
