"""Trackers beside the record: a plugin's, and the real libraries offline; they follow a training and never stop it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cases import plugin_registered

from sysgym import UsageError
from sysgym.core.errors import MissingDependency
from sysgym_zoo.jobs.pictures import read_metrics
from sysgym_zoo.jobs.plan import Training
from sysgym_zoo.jobs.train import train
from sysgym_zoo.tracking.vocabulary import AXES, VOCABULARY, named, scalars
from sysgym_zoo.tracking.writers import Tracking, Writers, tracker_registry

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
Inline = Callable[..., Any]
libraries = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(autouse=True)
def quiet(inline: Inline, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody's settings, and the plugin's tracker and learner."""
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI", "WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    with plugin_registered():
        yield


def trained(out: Path, **more: Any) -> dict[str, Any]:
    """A training of a moment, of the plugin's learner."""
    asked = {} if more.get("resume") else {"agent": "knapsack-rule", "steps": 6, "seed": 3}
    return train(Training(**{**asked, "out": out, "save_every": 0, **more}))[1]


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_tracker_of_a_plugin_hears_what_the_record_holds(tmp_path: Path, inline: Inline) -> None:
    words = ("-a", "knapsack-rule", "--steps", "6", "--seed", "3", "--save-every", "0", "--out", "r")
    record = json.loads(inline("train", *words, "--track", "notes", "--json").stdout)
    rows, (first, *told, last) = lines(tmp_path / "r" / "metrics.jsonl"), lines(tmp_path / "r" / "notes.jsonl")
    assert (first["id"], first["after"], last) == ("notes-3", 0, {"status": "done"})
    assert record["track"] == {"notes": "notes-3"}
    config = first["config"]
    assert (config["seed"], config["threads"], config["agent"]["hyper"]["sigma"]) == (3, 1, 0.3)
    assert config["instances"][0].keys() == {"name", "hash"} and config["versions"]["sysgym"]
    assert [row["step"] for row in told] == [row["steps"] for row in rows] == [1, 2, 3, 4, 5, 6]
    for row, heard in zip(rows, told, strict=True):
        assert heard == {"step": row["steps"], **scalars(row)} and heard["train/loss"] == row["train/loss"]
        assert heard["time/fps"] == pytest.approx(row["steps"] / row["seconds"]) and set(row) <= {*VOCABULARY, *AXES}


def test_a_resumed_run_goes_on_in_the_same_tracked_run(tmp_path: Path) -> None:
    trained(tmp_path / "r", track=["notes"])
    record = trained(tmp_path / "r", resume=True, steps=9)
    told = lines(tmp_path / "r" / "notes.jsonl")
    began = [row for row in told if "after" in row]
    assert [(row["id"], row["after"]) for row in began] == [("notes-3", 0), ("notes-3", 6)]
    assert [row["step"] for row in told if "step" in row] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert record["track"] == {"notes": "notes-3"}


class Failing:
    """Fails when it is told of numbers, or at its end."""

    id = "x"

    def __init__(self, told: Any, at: int = 2) -> None:
        self.at, self.heard = at, 0

    def scalars(self, values: Any, step: int) -> None:
        self.heard += 1
        if self.heard == self.at:
            raise ConnectionError("no route\nto host")

    def finish(self, status: str) -> None:
        raise OSError("disk full")


def test_a_tracker_that_fails_later_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(tracker_registry.local, "failing", Failing)
    monkeypatch.setitem(tracker_registry.local, "late", lambda told: Failing(told, at=99))
    whole = trained(tmp_path / "r", track=["failing", "late", "notes"])
    assert whole["status"] == "done" and whole["weights_sha256"] == trained(tmp_path / "s")["weights_sha256"]
    said = [line for line in capsys.readouterr().err.splitlines() if "tracker" in line]
    assert said == [
        "note: tracker failing failed (ConnectionError: no route to host); the training goes on without it.",
        "note: tracker late failed (OSError: disk full); the training goes on without it.",
    ]
    assert lines(tmp_path / "r" / "notes.jsonl")[-1] == {"status": "done"} and len(
        lines(tmp_path / "r" / "metrics.jsonl")
    ) == 6  # fmt: skip


def test_trackers_that_cannot_be_used_are_refused_in_a_sentence(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(told: Any) -> Any:
        raise ConnectionError("no route to host")

    words = ("train", "-a", "knapsack-rule", "--steps", "2", "--out", "r", "--track")
    assert "Did you mean 'notes'?" in inline(*words, "note", code=2).stderr and not (tmp_path / "r").exists()
    for name, package in (("wandb", "wandb"), ("mlflow", "sqlalchemy")):
        with monkeypatch.context() as lacking:
            lacking.setitem(sys.modules, package, None)
            said = inline(*words, name, code=4).stderr
            assert f"--track {name} needs {name}" in said and f"'sysgym[{name}]'" in said
    monkeypatch.setitem(tracker_registry.local, "broken", broken)
    said = inline(*words, "broken", code=2).stderr
    assert "tracker broken does not start (ConnectionError: no route to host); leave out --track broken." in said
    with pytest.raises(UsageError, match="does not start"):
        Writers(tmp_path, {}, Tracking(["broken"]))
    assert Writers(tmp_path, {"seed": 1}, Tracking((), {"broken": "1"})).ids == {"broken": "1"}  # a run that goes on
    said = capsys.readouterr().err
    assert "goes on without it" in said and "--track" not in said and "resume the run again" in said


def test_an_mlflow_server_that_does_not_answer_is_refused_at_once(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before MLflow is asked at all, which would try for minutes; a store that is no server is not looked for."""
    pytest.importorskip("mlflow")
    import socket

    from sysgym_zoo.tracking.mlflow_runs import PATIENCE, answers

    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for key in PATIENCE:
        monkeypatch.setenv(key, "1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free.getsockname()[1]}")
        said = inline("train", "-a", "knapsack-rule", "--steps", "2", "--out", "r", "--track", "mlflow", code=2).stderr
        assert f"no MLflow server answers at MLFLOW_TRACKING_URI, 127.0.0.1:{free.getsockname()[1]} (" in said
        free.listen()
        answers(f"http://127.0.0.1:{free.getsockname()[1]}/mlflow")
    asked: list[tuple[Any, float]] = []
    monkeypatch.setattr(socket, "create_connection", lambda place, wait: asked.append((place, wait)) or socket.socket())
    for uri in ("https://x.org/a", "http://x.org", "http://u:p@x.org:81", "sqlite:///x.db", "databricks", ""):
        answers(uri)
    assert asked == [(("x.org", 443), 5.0), (("x.org", 80), 5.0), (("x.org", 81), 5.0)]
    with pytest.raises(UsageError, match="is no address"):
        answers("http://x.org:port")


@libraries
def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files beside the run folder, and the same id when it goes on."""
    pytest.importorskip("wandb")
    import socket

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("it looked for a host"))
    record = trained(tmp_path / "r", track=["wandb"])
    again = trained(tmp_path / "r", resume=True, steps=8)
    assert record["track"] == again["track"] and len(record["track"]["wandb"]) == 12
    found = sorted((tmp_path / "wandb").glob(f"offline-run-*-{record['track']['wandb']}/*.wandb"))
    until = time.monotonic() + 20  # a process of its own writes them, on a busy machine after the run has ended
    while min(file.stat().st_size for file in found) <= 500 and time.monotonic() < until:
        time.sleep(0.1)
    assert len(found) == 2 and all(file.stat().st_size > 500 for file in found)
    written = b"".join(file.read_bytes() for file in found)
    assert b"train/loss" in written and b"knapsack-rule" in written


@libraries
def test_mlflow_in_a_file_beside_the_run(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    record = trained(tmp_path / "r", track=["mlflow"])
    trained(tmp_path / "r", resume=True, steps=8)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    run = client.get_run(record["track"]["mlflow"])
    assert run.info.status == "FINISHED" and run.info.run_name == "r"
    assert run.data.params["agent.name"] == "knapsack-rule" and run.data.params["seed"] == "3"
    assert run.data.params["agent.hyper.sigma"] == "0.3" and '"hash"' in run.data.params["instances"]
    rows = lines(tmp_path / "r" / "metrics.jsonl")
    history = client.get_metric_history(record["track"]["mlflow"], "train/loss")
    assert [(each.step, each.value) for each in sorted(history, key=lambda each: each.step)] == [
        (row["steps"], row["train/loss"]) for row in rows
    ]
    assert not list(tmp_path.glob("mlruns*"))


# ------------------------------------------------------------------------------------------------ the vocabulary


def test_rows_of_older_runs_are_read_under_the_names_of_today() -> None:
    said = {key for row in read_metrics(GOLDEN / "runs" / "gap") for key in row}
    assert said == {"steps", "seconds", "train/loss", "train/ncut", "train/imbalance"}
    for name in ("gap", "ppo-refine"):
        for row in read_metrics(GOLDEN / "runs" / name):
            assert set(row) <= {*VOCABULARY, *AXES} and named(row) == row


def test_the_vocabulary_is_listed(inline: Inline) -> None:
    rows = json.loads(inline("list", "scalars", "--json").stdout)["rows"]
    assert {row["scalar"] for row in rows} == set(VOCABULARY) and all(row["what it is"] for row in rows)
    assert not set(VOCABULARY) & set(AXES) and all(named({name: 1.0}) == {name: 1.0} for name in VOCABULARY)
    assert issubclass(MissingDependency, ImportError)
