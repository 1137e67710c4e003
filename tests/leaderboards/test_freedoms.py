"""Freedom of a solution: what a board leaves of it, who may enter, and that no table ranks two freedoms together."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import sysgym
from sysgym.core.problem import Freedom
from sysgym.core.solutions import freedom_of, restricted, widest_of
from sysgym_agents.core import Budget, make_agent
from sysgym_leaderboards import Answer, Board, Store, board_names, load_board, pack, rank
from sysgym_leaderboards.publish.export import board_report, csv_text
from sysgym_leaderboards.publish.site import board_page, index_page
from sysgym_zoo.jobs.evaluate import solve_once, summarise
from sysgym_zoo.jobs.report import read_rows

pytestmark = pytest.mark.usefixtures("forked_judge")

NAMES = ("tiles/train-0", "tiles/train-1")


def chip_board(freedom: str) -> Board:
    board = load_board(f"chip-designs-{freedom}-v1")
    return replace(board, id=f"chip-mine-{freedom}-v1", instances=NAMES)


def answers(change: Callable[[Any, dict[str, Any]], None] = lambda chip, found: None) -> dict[tuple[str, int], Answer]:
    """The packing, soft macros by forces, then changed."""
    problem, found = sysgym.make_problem("ChipPlacement"), {}
    for name in NAMES:
        chip = problem.load(name)
        solved = make_agent("spiral").solve(problem, chip, np.random.default_rng(0), Budget())
        arrays = {key: value.copy() for key, value in solved.items()}
        change(chip, arrays)
        found[name, 0] = Answer(arrays)
    return found


def soft_rows(chip: Any) -> Any:
    return np.flatnonzero(~chip.bodies.hard[: len(chip.macros)])


def soft_to_the_middle(chip: Any, arrays: dict[str, Any]) -> None:
    rows = soft_rows(chip)
    arrays["x"][rows], arrays["y"][rows] = chip.canvas.width / 2, chip.canvas.height / 2


def soft_to_the_corner(chip: Any, arrays: dict[str, Any]) -> None:
    rows = soft_rows(chip)
    arrays["x"][rows] = arrays["y"][rows] = min(chip.canvas.width, chip.canvas.height) / 4


@pytest.fixture
def enter(tmp_path: Path) -> Callable[..., Any]:
    store = Store(tmp_path / "s.sqlite")

    def submit(board: Board, found: dict[tuple[str, int], Answer], agent: str) -> Any:
        file = pack(tmp_path / f"{agent}.zip", board, {"agent": agent, "created": "2026-01-31T12:00:00Z"}, found)
        return store.submit(file, board)

    submit.store = store  # type: ignore[attr-defined]
    return submit


@pytest.mark.attack("Soft macros placed freely rank beside soft macros by forces")
def test_in_forces_the_soft_positions_given_are_discarded(enter: Any) -> None:
    board, plain = chip_board("forces"), answers()
    first, second = enter(board, plain, "by-forces"), enter(board, answers(soft_to_the_middle), "free")
    assert first.accepted and second.accepted
    problem = board.make_problem()
    for one, other in zip(first.rows, second.rows, strict=True):
        judged = problem.judge(problem.load(one.instance), plain[one.instance, 0].arrays)
        assert one.cost == other.cost == judged.cost and one.canonical == other.canonical
    lines = rank(board, enter.store.entries(board))
    assert [(line.agent, line.same_as) for line in lines] == [("by-forces", None), ("free", 1)]
    assert enter.store.reverify(board) == []


@pytest.mark.attack("A free cost is claimed on a board that judges with forces")
def test_a_claim_of_the_free_cost_is_refused_in_forces(enter: Any) -> None:
    problem, found = sysgym.make_problem("ChipPlacement"), answers(soft_to_the_middle)
    for name, seed in found:
        arrays = found[name, seed].arrays
        found[name, seed] = Answer(arrays, problem.judge(problem.load(name), arrays).cost)
    assert "the claimed cost" in enter(chip_board("forces"), found, "free").reason


def test_what_forces_placed_has_a_board_of_its_own(enter: Any) -> None:
    board = chip_board("free")
    refused = enter(board, answers(), "by-forces")
    assert not refused.accepted and "freedom 'free', and every answer is of 'forces'" in refused.reason
    problem, found = board.make_problem(), answers(soft_to_the_corner)
    accepted = enter(board, found, "free")
    costs = [problem.judge(problem.load(name), found[name, 0].arrays).cost for name in NAMES]
    assert accepted.accepted and [row.cost for row in accepted.rows] == costs


def test_pages_and_tables_name_the_freedom(enter: Any) -> None:
    board = chip_board("forces")
    assert enter(board, answers(), "by-forces").accepted
    report = board_report(enter.store, board)
    assert report["board"]["freedom"] == "forces"
    page, index = board_page(report, []), index_page([report])
    assert "solutions, forces: hard macros; the judge places" in page and "solutions, forces" in index
    rows = list(csv.DictReader(io.StringIO(csv_text(report))))
    assert {(row["division"], row["freedom"]) for row in rows} == {("solutions", "forces")}


def test_every_board_of_chips_has_one_freedom() -> None:
    found = {}
    for name in board_names():
        board = load_board(name)
        found[name] = board.freedom_in(board.make_problem())
    assert {found[name] for name in found if not name.startswith("chip")} == {""}
    assert {found[f"chip-{group}-{kind}-v1"] for group in ("ct", "designs") for kind in ("free",)} == {"free"}
    assert found["chip-designs-forces-v1"] == "forces" and found["chip-tiles-hpwl-v1"] == "hard"


@pytest.mark.parametrize(
    ("freedom", "sentence"),
    [("", "compared apart by their freedom, and the board names none"), ("forced", "Did you mean 'forces'")],
)
def test_a_board_that_mixes_freedoms_cannot_be_judged(enter: Any, freedom: str, sentence: str) -> None:
    board = replace(chip_board("forces"), freedom=freedom)
    with pytest.raises(sysgym.UsageError, match=sentence):
        enter(board, answers(), "mixed")


def test_a_board_without_freedom_keeps_its_hash() -> None:
    board = load_board("chip-tiles-hpwl-v1")
    assert board.freedom == "" and board.hash != replace(board, freedom="hard").hash


class Halves:
    """Three freedoms: nothing, the first number, both."""

    name = "Halves"
    canonical = None
    freedoms: ClassVar = {name: Freedom(name) for name in ("none", "first", "both")}

    def restrict(self, instance: Any, solution: Any, freedom: str) -> Any:
        kept = {"none": 0, "first": 1, "both": 2}[freedom]
        return {"x": np.where(np.arange(2) < kept, solution["x"], 0)}


@pytest.mark.parametrize(("given", "freedom"), [((0, 0), "none"), ((3, 0), "first"), ((0, 3), "both")])
def test_the_narrowest_freedom_that_leaves_a_solution_as_it_is(given: tuple[int, int], freedom: str) -> None:
    problem: Any = Halves()
    assert freedom_of(problem, None, {"x": np.array(given)}) == freedom
    assert widest_of(["first", "none", "first"], problem.freedoms) == "first" and widest_of([], ["a"]) == ""
    with pytest.raises(sysgym.UsageError, match="freedom of Halves"):
        restricted(problem, None, {"x": np.array(given)}, "some")


@pytest.mark.parametrize(
    ("agent", "hyper", "freedom"),
    [
        ("spiral", {}, "forces"), ("sa-placer", {"sweeps": 2}, "forces"), ("wiremask", {}, "forces"),
        ("random", {}, "forces"), ("forces", {"hard": "spiral"}, "forces"), ("analytic", {"sweeps": 3}, "free"),
        ("freed", {"sweeps": 20, "hard": "spiral"}, "free"),
    ],
)  # fmt: skip
def test_the_freedom_of_an_answer_is_seen_from_it(agent: str, hyper: dict[str, Any], freedom: str) -> None:
    problem = sysgym.make_problem("ChipPlacement")
    row, _ = solve_once(problem, problem.load("tiles/train-1"), make_agent(agent, **hyper), agent, 0, Budget())
    assert row["freedom"] == freedom and row["reference"]["who"] == problem.freedoms[freedom].reference


def test_tables_group_by_freedom() -> None:
    def row(agent: str, freedom: str, ratio: float) -> dict[str, Any]:
        told = {"agent": agent, "freedom": freedom, "ratio": ratio, "cost": ratio, "feasible": True, "seconds": 1.0}
        return {**told, "instance": f"i{ratio}", "seed": 0}

    rows = [row("a", "free", 0.5), row("b", "forces", 0.9), row("c", "forces", 0.8), row("c", "free", 0.7)]
    rows.append({**row("b", "free", 0.9), "feasible": False})  # an infeasible one tells nothing
    lines = [(line["freedom"], line["agent"]) for line in summarise([*rows, row("d", "free", 0.1)], ("forces", "free"))]
    assert lines == [("forces", "b"), ("free", "d"), ("free", "a"), ("free", "c")]
    assert "freedom" not in summarise([{**rows[0], "freedom": None}])[0]


@pytest.mark.slow  # judges in processes of their own, which compile for themselves
def test_evaluation_report_and_pack_say_the_freedom(sysgym: Any, tmp_path: Path) -> None:
    words = ("evaluate", "--agent", "analytic", "--agent", "spiral", "--instances", ";".join(NAMES), "--seeds", "1")
    sysgym(*words, "--cpu-seconds", "0.3", "--out", "run")
    rows = read_rows(tmp_path / "run")
    assert {(row["agent"], row["freedom"]) for row in rows} == {("analytic", "free"), ("spiral", "forces")}
    found = json.loads(sysgym("report", "run", "--json").stdout)["rows"]
    assert [(line["agent"], line["freedom"]) for line in found] == [("spiral", "forces"), ("analytic", "free")]
    board = tmp_path / "mine.toml"
    board.write_text(
        'id = "mine-v1"\ntitle = "Mine"\nproblem = "ChipPlacement-v0"\ndivision = "solutions"\nfreedom = "forces"\n'
        f'instances = {json.dumps(NAMES)}\nseeds = 1\nreference = "sa-placer"\npenalty = 9.0\nseconds = 1\n'
    )
    for agent in ("analytic", "spiral"):
        sysgym("pack", "run", "--agent", agent, "--board", str(board), "-o", f"{agent}.zip", "--author", "A")
        sysgym("submit", f"{agent}.zip", "--board", str(board), "--store", "s.sqlite")
    shown = json.loads(sysgym("board", "show", str(board), "--store", "s.sqlite", "--json").stdout)["rows"]
    assert {(line["agent"], line["freedom"]) for line in shown} == {("analytic", "forces"), ("spiral", "forces")}
