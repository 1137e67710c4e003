"""The archive of a board: every answer in the formats of its problem's field, and judged again what the board says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sysgym
from sysgym.core.errors import Notice
from sysgym.core.solutions import read_solution
from sysgym_agents.core import Budget, make_agent
from sysgym_leaderboards import Answer, Board, Store, export, load_board, pack
from sysgym_leaderboards.publish.solutions import _short, solution_files

forked = pytest.mark.usefixtures("forked_judge")
CHIPS = ("tiles/train-0", "tiles/train-1")


def index_of(folder: Path, board: Board) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{board.id}-solutions.json").read_text())
    return found


def check_costs(folder: Path, board: Board, store: Store) -> int:
    """Each file, read from its disk and judged with the options of the index, has the cost of its row, to the bit."""
    index = index_of(folder, board)
    problem = sysgym.make_problem(index["problem"], **index["options"])
    expected = {(entry.number, row.instance, row.seed): row.cost
                for entry in store.entries(board) for row in entry.certificate.rows if row.feasible}  # fmt: skip
    found = {}
    for told in index["solutions"]:
        instance = problem.load(told["instance"])
        verdict = problem.judge(instance, read_solution(problem, instance, folder / told["file"]))
        assert verdict.feasible and verdict.cost == told["cost"]
        found[told["entry"], told["instance"], told["seed"]] = verdict.cost
    assert found == expected and len({told["file"] for told in index["solutions"]}) == len(found)
    return len(found)


@forked
@pytest.mark.parametrize("ending", ["part", ".json", "npz"])
def test_every_answer_judged_again_has_the_cost_of_its_row(
    ending: str, board: Board, submit: Any, store: Store, packed: bytes, other_answers: Any, tmp_path: Path
) -> None:
    assert submit(packed).accepted and submit(other_answers(1), "other").accepted
    written = export(store, [board], tmp_path / "out", "json", solutions=ending)
    count = check_costs(tmp_path / "out", board, store)
    files = {str(path.relative_to(tmp_path / "out")) for path in written}
    assert files == {f"{board.id}.json", f"{board.id}-solutions.json"} | {
        told["file"] for told in index_of(tmp_path / "out", board)["solutions"]
    }
    assert count >= 5 and all((tmp_path / "out" / file).is_file() for file in files)
    again = export(store, [board], tmp_path / "again", "json", solutions=ending)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]


@forked
@pytest.mark.parametrize("freedom", ["free", "forces"])
def test_placements_go_round(freedom: str, tmp_path: Path) -> None:
    """Also of a freer answer on a narrower board: its file holds what the board judged."""
    board = replace(load_board(f"chip-designs-{freedom}-v1"), id=f"chip-mine-{freedom}-v1", instances=CHIPS)
    store, problem, answers = Store(tmp_path / "s.sqlite"), sysgym.make_problem("ChipPlacement"), {}
    for name in CHIPS:
        chip = problem.load(name)
        arrays = dict(make_agent("spiral").solve(problem, chip, np.random.default_rng(0), Budget()))
        soft = ~chip.bodies.hard[: len(chip.macros)]
        arrays["x"] = np.where(soft, chip.canvas.width / 3, arrays["x"])
        answers[name, 0] = Answer(arrays)
    pack(tmp_path / "a.zip", board, {"agent": "spiral", "created": "2026-01-31T12:00:00Z"}, answers)
    assert store.submit(tmp_path / "a.zip", board).accepted
    export(store, [board], tmp_path / "out", "csv", solutions="plc")
    assert check_costs(tmp_path / "out", board, store) == len(CHIPS)
    told = index_of(tmp_path / "out", board)["solutions"]
    assert [row["file"] for row in told] == [f"{board.id}/1/tiles-train-{i}-0.plc" for i in range(2)]
    assert index_of(tmp_path / "out", board)["freedom"] == freedom
    assert (tmp_path / "out" / told[0]["file"]).read_text().startswith("# Columns :")
    with pytest.raises(sysgym.UsageError, match=r"unknown ending .* '.part'.*Known: .*\.plc"):
        export(store, [board], tmp_path / "out", "csv", solutions="part")


def test_only_accepted_and_feasible_answers_are_written(
    toy_board: Callable[..., Board], toy_pack: Callable[..., Path], toy_file: Path, tmp_path: Path
) -> None:
    board, store = toy_board(), Store(tmp_path / "s.sqlite", imports=[str(toy_file)])
    assert store.submit(toy_pack(board, choice=3), board).accepted
    assert store.submit(toy_pack(board, choice=2, agent="second"), board).accepted
    assert len(solution_files(store, board, "json")) == 9  # two entries, two instances, two seeds; the index
    store.withdraw(1, "a slip")
    store.show_as(2, "Anonymous 7")
    files = solution_files(store, board, "json")
    told = json.loads(files["toy-v1-solutions.json"])["solutions"]
    assert [(row["entry"], row["agent"], row["instance"], row["seed"], row["cost"]) for row in told] == [
        (2, "Anonymous 7", "a", 0, 1.0), (2, "Anonymous 7", "a", 1, 1.0), (2, "Anonymous 7", "bb", 0, 2.0),
        (2, "Anonymous 7", "bb", 1, 2.0),
    ]  # fmt: skip
    assert "second" not in json.dumps({name: data.decode() for name, data in files.items()})
    with pytest.raises(sysgym.UsageError, match=r"unknown ending of solution files of Toy '\.txt'"):
        solution_files(store, board, "txt")
    bad = toy_board(behave="reject", id="toy-bad-v1")
    assert store.submit(toy_pack(bad, agent="never"), bad).accepted
    with pytest.warns(Notice, match="no feasible answer is kept"):
        assert set(solution_files(store, bad, "json")) == {"toy-bad-v1-solutions.json"}


def test_names_of_instances_become_names_of_files() -> None:
    found = _short(["a/b", "a-b", "../../etc/x", "tiles:rows=2", "///"])
    assert list(found.values()) == ["a-b", "a-b-1", "etc-x", "tiles-rows-2", "instance"]


@forked
def test_the_command_writes_them(inline: Any, submit: Any, packed: bytes, store: Store, tmp_path: Path) -> None:
    assert submit(packed).accepted
    words = ("board", "export", "--format", "json", "--store", str(store.path), "--out", str(tmp_path / "site"))
    paths = inline(*words, "--solutions", "part").stdout.split()
    assert any(path.endswith(".part") for path in paths) and all(Path(path).is_file() for path in paths)
    assert "Known: .json, .npz, .part" in inline(*words, "--solutions", "plc", code=2).stderr
