"""Trained agents of the package: they load, answer by their names, and their cards say that learning pays."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sysgym import UsageError, make_problem
from sysgym.core.instances import expand
from sysgym_agents import Budget
from sysgym_zoo.lookup.catalogue import agent_rows, describe, known_names
from sysgym_zoo.lookup.naming import choose
from sysgym_zoo.lookup.recipes import recipe_names
from sysgym_zoo.lookup.records import load_run
from sysgym_zoo.lookup.resolve import build_agent
from sysgym_zoo.lookup.trained import FOLDER, card_of, fault, folder_of, trained_names
from sysgym_zoo.tools import ship

Run = Callable[..., subprocess.CompletedProcess[str]]
MOST_BYTES = 25 * 2**20


def test_there_are_some_and_they_are_small() -> None:
    assert trained_names() and not {*trained_names()} & {*recipe_names()}
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < MOST_BYTES


@pytest.mark.parametrize("name", trained_names())
def test_they_answer_by_their_names(name: str) -> None:
    record = load_run(folder_of(name))
    problem = make_problem(record["problem"]["name"], **record["problem"]["options"])
    solver = build_agent(name, problem)
    assert name in solver.name and solver.learns and not fault(name)
    instance = problem.load(expand(problem.instance_sets(), problem.default_instances)[0])
    found = solver.agent.solve(problem, instance, np.random.default_rng(0), Budget(steps=5))
    assert problem.judge(instance, found).feasible


@pytest.mark.parametrize("name", trained_names())
def test_they_are_what_their_records_and_cards_say(name: str) -> None:
    folder, record, card = folder_of(name), load_run(folder_of(name)), card_of(name)
    digest = hashlib.sha256((folder / "agent" / "model.safetensors").read_bytes()).hexdigest()
    assert record["weights_sha256"] == digest and record["status"] == "done"
    assert record["weights_sha256"] in card and f"--seed {record['seed']}" in card and "## Limits" in card
    assert " beats " in card and "fresh weights" in card
    assert describe(name)["text"] == card and name in known_names()
    assert any(row["agent"] == name and row["kind"] == "trained" for row in agent_rows(record["problem"]["name"]))
    problem = make_problem(record["problem"]["name"])
    known = {entry.name: entry.hash for group in problem.instance_sets().values() for entry in group.entries}
    assert all(known[item["name"]] == item["hash"] for item in record["instances"])


def test_an_untrained_learner_names_them() -> None:
    with pytest.raises(UsageError, match="or name learnt-anneal-v1, which is trained already"):
        build_agent("learnt-anneal", make_problem("DevicePlacement"))
    with pytest.raises(UsageError, match="unknown agent 'learnt-anneal-v2'"):
        choose("learnt-anneal-v2")


def test_their_names_count_before_folders_and_stand_in_records(sysgym: Run, tmp_path: Path) -> None:
    for start in ("--from", "-a"):
        words = ("train", start, "learnt-list-v1", "-p", "DevicePlacement", "--steps", "1")
        words += ("--instances", "seeds/test")
        told = json.loads(sysgym(*words, "--out", f"learnt-list-v1{start}", "--json").stdout)
        assert told["agent"]["started_from"] == "learnt-list-v1"
    shutil.move(tmp_path / "learnt-list-v1-a", tmp_path / "learnt-list-v1")
    said = sysgym("solve", "delaunay/valid-0", "-a", "learnt-list-v1", code=2).stderr
    assert (
        "learnt-list-v1 is the trained agent of that name, not the run folder; ./learnt-list-v1 is the folder" in said
    )
    assert "learnt-list-v1 was trained on DevicePlacement, not Partitioning" in said and str(FOLDER) not in said


def test_only_what_pays_is_shipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    record = {**load_run(folder_of("learnt-anneal-v1")), "status": "interrupted"}
    (run / "run.json").write_text(json.dumps(record))
    assert ship.main(["some", str(run), "nowhere", "--limits", "-"]) == 2
    assert "must be a finished run" in capsys.readouterr().err and not (FOLDER / "some").exists()


def test_a_card_says_what_is_not_as_usual() -> None:
    told, usual = {"lef": ["a", "b"], "empty": [], "k": 4, "gone": 1}, {"lef": (), "empty": (), "k": 4}
    assert ship.words("-O", told, usual) == " -O lef=a,b"


def test_the_command_of_a_card_is_one_that_trains(sysgym: Run, tmp_path: Path) -> None:
    small = ("--set", "iterations=4", "--set", "trials=1", "--set", "hidden=8", "-O", "k=2")
    sysgym("train", "-a", "gap", "--instances", "tiny/grid-train", *small, "--out", "g")
    rows = [json.loads(line) for line in (tmp_path / "g" / "metrics.jsonl").read_text().splitlines()]
    text = ship.card("g-v1", load_run(tmp_path / "g"), rows, [], "-")
    command = "train --agent partitioning-gap -p Partitioning --set hidden=8 -O k=2 --steps 4 --seed 0"
    assert f"`sysgym {command}`" in text
    sysgym(*command.split(), "--instances", "tiny/grid-train", "--out", "again")


@pytest.mark.parametrize("name", ["..", "", "fm", "ppo-refine", "A b"])
def test_a_name_that_may_not_be_shipped_touches_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be lower-case words with hyphens that no agent or recipe is called"):
        ship.ship(name, tmp_path, [[]], "-")
    assert trained_names() == sorted(path.name for path in FOLDER.iterdir() if (path / "run.json").is_file())
