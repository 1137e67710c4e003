"""Artefacts of version 0.1.0 stay readable, and give the results that they gave then.

`runs/` holds a run of every learner, `killed/` two that were killed at a checkpoint before the end of the run of the
same name, `instances/` what can be solved by hand. Everything goes through names and public functions. Nothing here is
made anew: an artefact that cannot be read any more is a broken promise to users, a cost that differs a changed result.
Where a result was changed on purpose, its row says `since` what; the weights of ppo-refine are those since candidates
have swaps, those of gap since one network splits into any number of parts.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import sysgym
from sysgym_agents.core import Budget, agent_class, agent_names, is_learner, make_agent
from sysgym_leaderboards import Store, load_board, rank, verify
from sysgym_leaderboards.ranking import apart
from sysgym_zoo.jobs.evaluate import solve_once
from sysgym_zoo.lookup.naming import make
from sysgym_zoo.lookup.recipes import recipe_names
from sysgym_zoo.lookup.resolve import build_agent

GOLDEN = Path(__file__).parent
HASHES: dict[str, dict[str, str]] = json.loads((GOLDEN / "hashes.json").read_text())
ROWS: list[dict[str, Any]] = json.loads((GOLDEN / "evaluations.json").read_text())
RANKINGS: dict[str, list[dict[str, Any]]] = json.loads((GOLDEN / "rankings.json").read_text())
BY_HAND: list[dict[str, Any]] = tomllib.loads((GOLDEN / "instances" / "golden.toml").read_text())["instance"]
MODEL = "model.safetensors"
RUNS = sorted(path.name for path in (GOLDEN / "runs").iterdir())
HEAD = (10, "33a4a03146adcf2287508f8c257667470674cef55647126b54c3ab7b2423a382")  # of the store


NEEDS = {"metis": "pymetis", "metis-place": "pymetis", "sa-device": "pymetis", "kahip": "kahip"}  # optional packages
Command = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command `sysgym`, in this process: what `--json` prints."""
    (entry,) = entry_points(group="console_scripts", name="sysgym")

    def run(*words: object) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["sysgym", *map(str, words), "--json"])
        handler = signal.getsignal(signal.SIGINT)
        try:
            with pytest.raises(SystemExit) as ended:
                entry.load()()
        finally:
            signal.signal(signal.SIGINT, handler)
        shown = capsys.readouterr()
        assert not ended.value.code, shown.err
        found: dict[str, Any] = json.loads(shown.out)
        return found

    return run


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return record


@pytest.mark.parametrize("name", HASHES)
def test_instances_have_the_content_that_they_had(name: str) -> None:
    problem = sysgym.make_problem(name)
    known = {entry.name: entry.hash for group in problem.instance_sets().values() for entry in group.entries}
    for instance, digest in HASHES[name].items():
        assert known.get(instance, digest) == digest, instance
        assert sysgym.content_hash(problem.load(instance)) == digest, instance


@pytest.mark.parametrize("name", sorted({row["problem"] for row in ROWS}))
def test_evaluations_cost_what_they_cost(name: str) -> None:
    differ = []
    rows = [row for row in ROWS if row["problem"] == name and find_spec(NEEDS.get(row["agent"], "numpy"))]
    for row in rows:
        problem = sysgym.make_problem(name, **row["options"])
        if row["agent"].startswith("runs/"):
            agent = build_agent(str(GOLDEN / row["agent"]), problem)[1]
        else:
            agent = make_agent(row["agent"], **row["hyper"])
        budget = Budget(steps=row.get("steps"))
        found, _ = solve_once(problem, problem.load(row["instance"]), agent, row["agent"], row["seed"], budget)
        keys = ("instance_hash", "cost", "feasible")
        if any(found[key] != row[key] for key in keys):
            differ.append((row, {key: found[key] for key in keys}))
    assert rows and not differ, f"{len(differ)} of {len(rows)} differ: {differ[:5]}"


def test_there_is_a_run_of_every_learner_and_a_row_of_every_run() -> None:
    learners = {name for name in agent_names() if is_learner(agent_class(name))} | {*recipe_names()}
    assert {*RUNS} <= learners and {f"runs/{name}" for name in RUNS} <= {row["agent"] for row in ROWS}


@pytest.mark.parametrize("name", RUNS)
def test_run_folders_solve_with_the_options_that_they_were_trained_with(name: str, command: Command) -> None:
    folder = GOLDEN / "runs" / name
    record = record_of(folder)
    row = next(row for row in ROWS if row["agent"] == f"runs/{name}")
    solved = command("solve", row["instance"], "-p", row["problem"], "-a", folder)
    assert (solved["agent"], solved["cost"], solved["feasible"]) == (name, row["cost"], row["feasible"])
    problem = sysgym.make_problem(record["problem"]["name"])
    for item in record["instances"]:
        assert sysgym.content_hash(problem.load(item["name"])) == item["hash"]


@pytest.mark.parametrize("name", RUNS)
def test_stored_agents_are_written_as_they_were_read(name: str, tmp_path: Path) -> None:
    folder = GOLDEN / "runs" / name / "agent"
    agent = make(name)
    agent.load(folder)
    agent.save(tmp_path / "agent")
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "agent"))
    assert set(before) == set(after)
    assert all(np.array_equal(before[key], after[key]) for key in before)


def steps_of(folder: Path) -> list[float]:
    return [json.loads(line)["steps"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["gap", "ppo-refine"])
def test_killed_runs_end_with_the_weights_of_the_undisturbed_one(name: str, command: Command, tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / "killed" / name, tmp_path / name)
    record = command("train", "--resume", "--out", folder)
    assert record["status"] == "done" and record["resumed_at"]["exact"] and record["resumed_at"]["steps"] > 0
    assert steps_of(folder) == steps_of(GOLDEN / "runs" / name)
    ours, theirs = (load_file(path / "agent" / MODEL) for path in (folder, GOLDEN / "runs" / name))
    assert set(ours) == set(theirs)
    begun = load_file(
        max((GOLDEN / "killed" / name / "checkpoints").iterdir(), key=lambda path: int(path.name)) / MODEL
    )
    for key in ours:  # another processor rounds differently, by far less than what was learnt since
        learnt = np.abs(theirs[key] - begun[key]).max()
        np.testing.assert_allclose(ours[key], theirs[key], rtol=0, atol=max(0.2 * learnt, 1e-6), err_msg=key)
    whole = record_of(GOLDEN / "runs" / name)
    if record["hardware"] == whole["hardware"] and record["versions"]["torch"] == whole["versions"]["torch"]:
        assert record["weights_sha256"] == whole["weights_sha256"]


@pytest.mark.parametrize(("name", "steps"), [("gap", 60), ("ppo-refine", 128), ("dqn", 96)])
def test_finished_runs_can_be_extended(name: str, steps: int, command: Command, tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / "runs" / name, tmp_path / name)
    before = steps_of(folder)
    record = command("train", "--resume", "--out", folder, "--steps", steps)
    assert record["status"] == "done" and record["resumed_at"]["steps"] == before[-1]
    after = steps_of(folder)
    assert after[: len(before)] == before and after[-1] == steps
    assert record["weights_sha256"] != record_of(GOLDEN / "runs" / name)["weights_sha256"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(shutil.copy(GOLDEN / "store.sqlite", tmp_path / "store.sqlite"))


@pytest.mark.slow
@pytest.mark.usefixtures("forked_judge")
def test_the_store_is_whole_and_its_solutions_are_judged_as_before(store: Store) -> None:
    assert store.head() == HEAD and store.check_chain(HEAD) == []
    assert store.boards() == sorted(RANKINGS)
    lines = [line for line in store.reverify() if "metric l_max_relaxed" not in line]  # now limit_relaxed
    rounded = re.compile(  # since chips are judged at six digits
        r"entry 4 \(spiral\): tiles/test-\d seed \d: metric (?:density_cost|proxy|wirelength\w*) was (\S+), "
        r"is (\S+) now\."
    )
    found = [rounded.fullmatch(line) for line in lines]
    assert all(found), lines
    for match in found:
        assert match is not None and float(match[2]) == pytest.approx(float(match[1]), rel=1e-6)


@pytest.mark.usefixtures("forked_judge")
@pytest.mark.parametrize("name", RANKINGS)
def test_rankings_are_what_they_were(name: str, store: Store) -> None:
    """Its entries name no judge: they rank once they are judged again."""
    board = load_board(name)
    assert rank(board, store.entries(board)) == []
    assert len(apart(board, store.entries(board))) == len(RANKINGS[name]) == len(store.rejudge(board))
    lines = rank(board, store.entries(board))
    keys = ("rank", "agent", "score", "low", "high", "iqm", "gap", "wins", "same_as")
    found = [
        {
            **{key: getattr(line, key) for key in keys},
            "entry": line.number,
            "feasible": f"{100 * line.feasible:.0f} %",
            "costs": {result.instance: result.mean_cost for result in line.results},
        }
        for line in lines
    ]
    expected = RANKINGS[name]
    for line, row, stored in zip(lines, found, expected, strict=True):
        if line.different < line.answers:  # equal answers to all seeds are one run now, with an interval over instances
            stored = {**stored, **{key: row[key] for key in ("low", "high", "iqm")}}
        assert row == stored


def test_submissions_of_before_are_accepted_and_rejected_as_before(store: Store, tmp_path: Path) -> None:
    fresh = Store(tmp_path / "fresh.sqlite")
    board = load_board("partitioning-tiny-k2-v1")
    stored = store.entries(board)[0].certificate
    certificate = fresh.submit(GOLDEN / "submission.zip", board)
    assert certificate.accepted and certificate.submission == stored.submission
    assert [(row.instance, row.cost) for row in certificate.rows] == [(row.instance, row.cost) for row in stored.rows]
    assert "entry 1" in store.submit(GOLDEN / "submission.zip", board).reason
    (rejected,) = store.entries(board, rejected=True)
    assert verify(GOLDEN / "rejected.zip", board).reason == rejected.certificate.reason


@pytest.mark.parametrize("item", BY_HAND, ids=lambda item: item["problem"])
def test_solutions_by_hand_cost_what_the_pencil_says(item: dict[str, Any], command: Command) -> None:
    file, solution = (GOLDEN / "instances" / item[key] for key in ("file", "solution"))
    words = [word for key, value in item["options"].items() for word in ("-O", f"{key}={value}")]
    judged = command("judge", file, solution, "-p", item["problem"], *words)
    assert judged["feasible"] and judged["cost"] == item["cost"]
    problem = sysgym.make_problem(item["problem"], **item["options"])
    agent, instance = make_agent(problem.recommended_agent), problem.load(str(file))
    found = agent.solve(problem, instance, np.random.default_rng(0), Budget(steps=200))
    assert problem.judge(instance, found).cost == item["cost"]
