"""What words on the command line name: agents of one's own, their options, those in solution files, places to write."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym.core.errors import Notice
from sysgym_leaderboards import load_board
from sysgym_zoo.lookup.finding import Clues
from sysgym_zoo.lookup.resolve import find_and_build

GOLDEN = Path(__file__).parents[1] / "golden"
Run = Callable[..., subprocess.CompletedProcess[str]]
Inline = Callable[..., Any]
MINE = '''"""Agents of a user."""
import numpy as np


class Halves:
    """The first half in part 0."""

    problems = ("Partitioning",)

    def __init__(self, *, flip: bool = False) -> None:
        self.flip = flip

    def solve(self, problem, instance, rng, budget):
        print("a user's print")
        return {"part": (2 * np.arange(instance.nodes) // instance.nodes) ^ self.flip}


nothing = 3
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "my_agents.py").write_text(MINE)
    (tmp_path / "path.txt").write_text("0 1\n1 2\n2 3\n")
    return tmp_path


def parts(solved: subprocess.CompletedProcess[str]) -> list[int]:
    assert "a user's print" in solved.stderr
    found: list[int] = json.loads(solved.stdout)["solution"]["part"]
    return found


def test_an_agent_of_ones_own_by_module_and_class(sysgym: Run, mine: Path) -> None:
    assert parts(sysgym("solve", "path.txt", "-a", "my_agents:Halves", "--json")) == [0, 0, 1, 1]
    assert parts(sysgym("solve", "path.txt", "-a", "my_agents:Halves", "--set", "flip=true", "--json")) == [1, 1, 0, 0]
    for word, sentence in (
        ("my_agents:Absent", "my_agents has no such name"),
        ("my_agents:nothing", "my_agents has another thing of that name"),
        ("no_module_here:X", "cannot be imported (ModuleNotFoundError: No module named 'no_module_here')"),
    ):
        assert sentence in sysgym("solve", "path.txt", "-a", word, code=2).stderr


def test_set_reaches_the_options_of_every_agent(sysgym: Run, mine: Path) -> None:
    gap = str(GOLDEN / "runs" / "gap")
    words = ("evaluate", "--instances", "path.txt", "--seeds", "1", "-a", gap, "-a", "fm")
    rows = json.loads(sysgym(*words, "--set", "runs=1", "--set", "repair=false", "--out", "e", "--json").stdout)["rows"]
    assert {row["agent"] for row in rows} == {"gap", "fm"}
    for refused, sentence in (
        ((*words, "--set", "runz=1"), "unknown hyper-parameter of"),
        (("solve", "path.txt", "--set", "runs=x"), "runs"),
        (("solve", "path.txt", "--set", "runs"), "unknown hyper-parameter of 'fm' 'runs'"),
        (("solve", "path.txt", "-a", gap, "--set", "hidden=5"), "do not allow --set hidden=5"),
        (("evaluate", "--ablate", gap, "--set", "trials=2"), "leave --set out"),
    ):
        assert sentence in sysgym(*refused, code=2).stderr


def test_what_weights_were_trained_for_stays(sysgym: Run, mine: Path) -> None:
    """Weights of a rule and what a policy adds to it mean nothing beside another rule, or without any."""
    small = ("--steps", "8", "--set", "n_steps=4", "--set", "num_envs=2", "--set", "hidden=8")
    sysgym("train", "-a", "ppo-assign", *small, "--instances", "tiny/train", "--set", "prior=share*room", "--out", "p")
    for change in ("prior=load", "prior=", "hidden=9", "layers=1"):
        said = sysgym("solve", "path.txt", "-a", "p", "--set", change, code=2).stderr
        assert f"do not allow --set {change}; leave out what shapes the network" in said
    kept = sysgym("solve", "path.txt", "-a", "p", "--set", "prior=share*room", "--set", "episodes=2", "--json")
    assert len(json.loads(kept.stdout)["solution"]["part"]) == 4


def test_iterations_that_are_set_are_those_that_are_done(sysgym: Run, mine: Path) -> None:
    few = ("train", "-a", "gap", "--instances", "tiny/grid-train", "--set", "iterations=4", "--set", "trials=1")
    assert json.loads(sysgym(*few, "--out", "g", "--json").stdout)["budget"]["steps"] == 4
    assert "--steps 5 and --set iterations=4 say the same thing unlike" in sysgym(*few, "--steps", "5", code=2).stderr


@pytest.mark.parametrize("name", ["x.json", "x.npz"])
def test_judge_and_render_take_the_options_from_the_solution_file(sysgym: Run, mine: Path, name: str) -> None:
    sysgym("solve", "tiny/grid-test", "-O", "k=4", "-O", "eps=0.5", "-o", name)
    judged = json.loads(sysgym("judge", "tiny/grid-test", name, "--json").stdout)
    assert judged["metrics"]["l_max"] == 24
    sysgym("render", "tiny/grid-test", name, "-o", "x.png")
    again = sysgym("judge", "tiny/grid-test", name, "-O", "eps=0", "--json", code=3)
    assert json.loads(again.stdout)["metrics"]["l_max"] == 16  # what the user says counts
    (mine / "printed.json").write_text(sysgym("solve", "tiny/grid-test", "-O", "k=3", "--json").stdout)
    assert json.loads(sysgym("judge", "tiny/grid-test", "printed.json", "--json").stdout)["metrics"]["l_max"] == 22


def test_options_in_a_solution_file_are_checked(sysgym: Run, mine: Path) -> None:
    for told, code, sentence in (
        ({"problem": "Partitioning-v0", "options": {"k": 1}}, 2, "k"),
        ({"problem": "Partitioning-v0", "options": {"kk": 2}}, 2, "unknown option"),
        ({"problem": "Partitioning-v0"}, 3, "must be an object with a problem's name and its options"),
        ([1], 3, "must be an object with a problem's name and its options"),
    ):
        (mine / "x.json").write_text(json.dumps({"part": [0, 0, 1, 1], "sysgym": told}))
        assert sentence in sysgym("judge", "path.txt", "x.json", code=code).stderr
    np.savez(mine / "x.npz", part=np.array([0, 0, 1, 1]), sysgym=np.array([123.0]))
    assert "no valid JSON" in sysgym("judge", "path.txt", "x.npz", code=3).stderr


def test_where_to_write_is_checked_before_the_work(sysgym: Run, mine: Path) -> None:
    (mine / "folder").mkdir()
    for output, sentence in (
        ("absent/x.json", "the folder absent does not exist"),
        ("folder", "it is a folder; name a file in it"),
    ):
        solved = sysgym("solve", "path.txt", "-a", "my_agents:Halves", "-o", output, code=2)
        assert sentence in solved.stderr and "a user's print" not in solved.stdout + solved.stderr


def test_an_answer_that_cannot_be_written_is_kept(sysgym: Run, mine: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    (mine / "x.part").symlink_to(full)
    said = sysgym("solve", "path.txt", "-o", "x.part", code=2).stderr
    kept = Path(said.split("the answer is kept in ")[1].strip().rstrip("."))
    assert sorted(np.load(kept)["part"].tolist()) == [0, 0, 1, 1]
    kept.unlink()


def test_a_training_starts_from_another(sysgym: Run, mine: Path) -> None:
    gap = str(GOLDEN / "runs" / "gap")
    sysgym("train", "--from", gap, "--steps", "20", "--instances", "tiny/grid-train", "--out", "again")
    assert json.loads((mine / "again" / "run.json").read_text())["agent"]["started_from"] == gap
    other = sysgym("train", "--from", gap, "--steps", "20", "--out", "other").stderr
    assert f"note: {gap} was trained on tiny/delaunay-train" in other and "this training is on families/train" in other
    for words, sentence in ((("--agent", "gap"), "leave --agent out"), ((), "'absent' is no folder and no")):
        assert sentence in sysgym("train", "--from", gap if words else "absent", *words, code=2).stderr


def test_a_folder_of_solution_files_is_packed(sysgym: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    board = "partitioning-tiny-k2-v1"
    names = [name for name, _ in load_board(board).pairs()]
    for name, ending in zip(names, ("part", "json", "npz", "part"), strict=False):
        sysgym("solve", name, "-a", "ldg", "-o", f"mine/{name.split('/')[1]}.{ending}")
    (tmp_path / "mine" / "notes.md").write_text("about them")
    said = sysgym("pack", "mine", "--board", board, "--agent", "My rule", "-o", "mine.zip").stderr
    assert "not of this board, so left out: notes.md" in said
    certificate = json.loads(sysgym("submit", "mine.zip", "--json").stdout)
    assert certificate["accepted"] and certificate["board"] == board
    assert "say whose they are by --agent NAME" in sysgym("pack", "mine", "--board", board, code=2).stderr
    (tmp_path / "mine" / f"{names[1].split('/')[1]}.json").unlink()
    said = sysgym("pack", "mine", "--board", board, "--agent", "My rule", code=2).stderr
    assert f"holds no file for {names[1]} with seed 0; name one" in said


def test_files_for_several_arrays_and_of_another_problem(inline: Inline, tmp_path: Path) -> None:
    solve = ("solve", "seeds/rnnlm_2l", "--agent", "single", "-p")
    refused = inline(*solve, "GraphOptimization", "-o", str(tmp_path / "x.npy"), code=2).stderr
    assert "x.npy: it holds one array, not placement, priority, fusion; use .json or .npz" in refused
    other = tmp_path / "other.json"
    inline(*solve, "GraphOptimization", "-o", str(other))
    with pytest.warns(Notice, match="other.json was made for GraphOptimization-v0; its options are not taken for Dev"):
        find_and_build(Clues("DevicePlacement", (), "", ["seeds/rnnlm_2l"], other, []))
