"""`--device` of train, solve and evaluate: recorded, told, and kept by a run that goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = ("train", "-a", "gap", "--instances", "tiny/train", "--set", "hidden=8")


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_run_says_where_it_was_trained_and_goes_on_there(sysgym: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    plain = sysgym(*WORDS, "--steps", "40", "--out", "run")
    assert "device" not in plain.stderr
    assert record(folder)["device"] == {"asked": "auto", "device": "cpu", "threads": 1, "reproducible": True}
    asked = sysgym("solve", "delaunay:n=60,seed=1", "-p", "Partitioning", "-a", "run", "--device", "cpu", "--json")
    assert "device: cpu" in asked.stderr and json.loads(asked.stdout)["device"]["asked"] == "cpu"
    evaluated = sysgym("evaluate", "-a", "run", "--instances", "delaunay:n=60,seed=1", "--seeds", "1", "--out", "rows")
    assert "device" not in evaluated.stderr and record(tmp_path / "rows")["device"]["device"] == "cpu"
    for words in (WORDS, ("solve", "delaunay:n=60,seed=1", "-p", "Partitioning", "-a", "run")):
        refused = sysgym(*words, "--device", "cuda", code=2)
        assert "'cuda' was asked for, and torch" in refused.stderr and "use --device cpu or auto" in refused.stderr
    assert "unknown device 'gpu'" in sysgym(*WORDS, "--device", "gpu", code=2).stderr
    more = ("train", "--resume", "--out", "run", "--steps", "60")
    assert "was trained on the CPU" in sysgym(*more, "--device", "cuda", code=2).stderr
    sysgym(*more)
    assert record(folder)["device"]["device"] == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_run_from_a_machine_with_a_gpu_goes_on_without_one_if_so_asked(sysgym: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    sysgym(*WORDS, "--steps", "40", "--out", "run")
    there = {"asked": "auto", "device": "cuda", "name": "a GPU", "threads": 1, "reproducible": False}
    (folder / "run.json").write_text(json.dumps({**record(folder), "device": there}))
    more = ("train", "--resume", "--out", "run", "--steps", "60")
    refused = sysgym(*more, code=2)
    assert "was trained on 'cuda'" in refused.stderr and "--device cpu goes on" in refused.stderr
    sysgym(*more, "--device", "cpu")
    found = record(folder)
    assert found["status"] == "done" and not found["resumed_at"]["exact"] and found["device"]["device"] == "cpu"


def test_help_says_from_which_size_a_gpu_is_taken() -> None:
    from sysgym_agents.learning.devices import PAYS
    from sysgym_zoo.cli import training

    assert f" {PAYS} rows" in (training.train.__doc__ or "")


def test_a_gpu_that_is_too_small_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    from sysgym_zoo.cli.guard import explain

    assert explain(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")) == 1
    assert capsys.readouterr().err.strip() == (
        "sysgym: the GPU has not enough memory for this; use --device cpu, or smaller batches or networks."
    )
