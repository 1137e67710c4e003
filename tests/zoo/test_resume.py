"""A run killed at any moment and resumed ends with the very weights of a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
CASES = {
    "ppo": ["-O", "mode=assign", "--set", "n_steps=16", "--set", "hidden=16", "--set", "batch_size=64"],
    "maskable-ppo": ["-O", "mode=refine", "-O", "steps=20", "--set", "n_steps=16", "--set", "hidden=16",
                     "--set", "batch_size=64"],
    "gap": ["--set", "hidden=16"],
}  # fmt: skip
STEPS = {"ppo": 1280, "maskable-ppo": 1280, "gap": 400}


def metrics(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.parametrize("agent", CASES)
def test_sigkill_and_resume_ends_with_the_weights_of_an_undisturbed_run(
    agent: str, sysgym: Run, tmp_path: Path
) -> None:
    words = ["train", "-a", agent, "-O", "eps=0.2", "--instances", "tiny/train", "--seed", "4", "--save-every", "0",
             "--steps", str(STEPS[agent]), *CASES[agent]]  # fmt: skip
    whole = json.loads(sysgym(*words, "--out", "whole", "--json").stdout)
    process = subprocess.Popen(
        [sys.executable, "-m", "sysgym_zoo.cli", *words, "--out", "killed"], cwd=tmp_path,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    saved = tmp_path / "killed" / "checkpoints"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not list(saved.glob("[0-9]*")):
        time.sleep(0.01)
    time.sleep(random.Random(os.getpid()).random() * 0.2)  # between two checkpoints, or within one
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
