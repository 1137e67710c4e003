"""Boards of clustering: no graph on which a cost of 0 decides, and true classes beside the ranking, nowhere else."""

from __future__ import annotations

import ast
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from public import PUBLIC, needs

import sysgym
from sysgym import UsageError
from sysgym.clustering import agreement as agreements
from sysgym.clustering import catalogue
from sysgym.core.instances import find_entry
from sysgym.core.solutions import parse_npz, renumbered
from sysgym_leaderboards import Answer, Board, Store, board_names, load_board, pack
from sysgym_leaderboards.events import entry_hash
from sysgym_leaderboards.judge import judge_of
from sysgym_leaderboards.publish.export import board_report, csv_text
from sysgym_leaderboards.publish.site import board_page

ROOT = Path(__file__).parents[2]
LEAST = 0.05  # of the lowest known cost: a smaller one could be 0 for somebody, and decide
NAMES = ("digits/test-0", "shipped/iris")
MEASURES = ("acc", "nmi", "ari")
BOARDS = [name for name in board_names() if name.startswith("clustering-")]
TOML = f"""id = "clustering-mine-v1"
title = "Two sets"
problem = "Clustering-v0"
instances = {json.dumps(NAMES)}
seeds = 2
division = "solutions"
reference = "spectral"
penalty = 10.0
seconds = 60
"""


# ------------------------------------------------------------------------------------------------ costs


@pytest.mark.parametrize("name", BOARDS)
def test_no_board_has_a_graph_that_costs_almost_nothing(name: str) -> None:
    """From the index, so that public instances count where they are not here."""
    board = load_board(name)
    problem = board.make_problem()
    assert board.problem == "Clustering-v0" and len(BOARDS) >= 3
    for instance in board.instance_names(problem):
        entry = find_entry(problem.instance_sets(), instance)
        known = entry.references["usual"]
        assert board.reference in known and min(known.values()) >= LEAST, (instance, known)
        if entry.file is None:
            assert {**problem.reference_costs(problem.load(instance)), **known} == problem.reference_costs(
                problem.load(instance)
            )


# ------------------------------------------------------------------------------------------------ figures


@pytest.fixture
def mine(tmp_path: Path) -> Board:
    (tmp_path / "mine.toml").write_text(TOML)
    return load_board(tmp_path / "mine.toml")


def solved_by_half(board: Board) -> dict[tuple[str, int], Answer]:
    """Answers whose agreement is known by hand for `shipped/iris`: the true classes, the last two of them one."""
    problem, found = board.make_problem(), {}
    for name, seed in board.pairs():
        classes = catalogue.truth(name)
        assert classes is not None
        labels = np.minimum(classes - 1, problem.clusters(problem.load(name)) - 2)
        found[name, seed] = Answer({"labels": labels})
    return found


@pytest.mark.slow
def test_a_run_on_a_board_shows_what_labels_says(sysgym: Any, mine: Board, tmp_path: Path) -> None:
    names = [word for name in NAMES for word in ("--instances", name)]
    sysgym("evaluate", "-p", "Clustering", "-a", "merge-split", *names, "--seeds", "2", "--out", "run")
    sysgym("pack", "run", "--board", "mine.toml", "-o", "mine.zip")
    certificate = json.loads(sysgym("submit", "mine.zip", "--board", "mine.toml", "--json").stdout)
    assert certificate["accepted"], certificate["reason"]
    for row in certificate["rows"]:
        (answer,) = (line for line in rows_of(tmp_path / "run") if line["instance"] == row["instance"]
                     and line["seed"] == row["seed"])  # fmt: skip
        labels = parse_npz((tmp_path / "run" / answer["solution"]).read_bytes())["labels"]
        (tmp_path / "labels.txt").write_text("\n".join(map(str, labels.tolist())))
        said = json.loads(sysgym("labels", "labels.txt", row["instance"], "--json").stdout)
        assert row["beside"] == list(MEASURES)
        assert {key: row["metrics"][key] for key in MEASURES} == {key: said[key] for key in MEASURES}
    (line,) = json.loads(sysgym("board", "show", "mine.toml", "--json").stdout)["rows"]
    (whole,) = json.loads(sysgym("labels", "run", "--json").stdout)["rows"]
    assert [line[key] for key in MEASURES] == pytest.approx([whole[key] for key in MEASURES], abs=1e-8)
    assert [*line][[*line].index("gap") + 1 :][:4] == [*MEASURES, "wins"]
    assert "1 entries verified" in sysgym("board", "verify", "mine.toml").stdout
    check_pages(Store(tmp_path / "boards.sqlite"), mine, line)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    from sysgym_zoo.jobs.report import read_rows

    rows: list[dict[str, Any]] = read_rows(folder)
    return rows


def check_pages(store: Store, board: Board, line: dict[str, Any]) -> None:
    """The figures stand in what is published, under their names."""
    report = board_report(store, board)
    page, table = board_page(report, []), csv_text(report).splitlines()
    assert "<th>Gap</th><th>acc</th><th>nmi</th><th>ari</th><th>Wins</th>" in page
    assert "acc, nmi, ari: means over the answers" in page and "which they do not decide" in page
    assert all(f"<td>{line[key]:.3f}</td>" in page for key in MEASURES)
    assert ",feasible,acc,nmi,ari,instance," in table[0]
    assert f",{line['acc']},{line['nmi']},{line['ari']},digits/test-0," in table[1]


@pytest.mark.usefixtures("forked_judge")
def test_names_of_clusters_change_nothing_and_a_changed_figure_is_found(mine: Board, tmp_path: Path) -> None:
    for name in ("scipy.optimize", "sklearn.datasets", "sklearn.decomposition", "sklearn.metrics"):
        import_module(name)  # once, not in each fork
    judge_of(mine.make_problem())  # its hash as well
    store, answers = Store(tmp_path / "s.sqlite"), solved_by_half(mine)
    turned = {
        key: Answer({"labels": (answer.arrays["labels"] + 1) % (3 if key[0] == "shipped/iris" else 10)})
        for key, answer in answers.items()
    }
    assert all((renumbered(turned[key].arrays["labels"]) == renumbered(answers[key].arrays["labels"])).all()
               for key in answers)  # fmt: skip
    first, second = (
        store.submit(pack(tmp_path / f"{name}.zip", mine, {"agent": name}, found), mine)
        for name, found in (("one", answers), ("turned", turned))
    )
    assert first.accepted and second.accepted
    for one, other in zip(first.rows, second.rows, strict=True):
        assert {*MEASURES} < {*one.metrics} and one.metrics == pytest.approx(other.metrics, rel=1e-12)
    iris = next(row for row in first.rows if row.instance == "shipped/iris")
    assert iris.metrics["acc"] == pytest.approx(2 / 3) and iris.beside == MEASURES
    assert store.check_chain() == store.reverify(mine) == []

    def change(table: dict[str, Any]) -> None:
        table["rows"][0]["metrics"].update(acc=1.0)
        table["rows"][2].pop("beside")

    forge(store.path, change)
    found = "; ".join(store.reverify(mine))
    assert "entry 2 (turned): digits/test-0 seed 0: metric acc was 1.0, is" in found
    assert "shipped/iris seed 0: beside was (), is ('acc', 'nmi', 'ari') now" in found


def forge(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrite the last certificate of a store, and its hash."""
    with closing(sqlite3.connect(path)) as db:
        number, *content, before, _ = db.execute("SELECT * FROM entry ORDER BY number DESC").fetchone()
        table = json.loads(content[3])
        change(table)
        content[3] = json.dumps(table, sort_keys=True)
        db.execute("DROP TRIGGER IF EXISTS entry_no_update")
        db.execute(
            "UPDATE entry SET certificate = ?, hash = ? WHERE number = ?",
            (content[3], entry_hash(before, *content), number),
        )
        db.commit()


@needs(PUBLIC / "clustering")
def test_classes_that_are_not_here_are_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A board must not lose figures: on a machine without the classes it says so, and nothing is recorded."""
    problem = sysgym.make_problem("Clustering")
    instance = problem.load("graph-instances-v1/00-mnist-256")
    assert set(problem.beside(instance, {"labels": np.zeros(256, int)})) == set(MEASURES)
    monkeypatch.setenv("SYSGYM_DATA", "/nowhere")
    with pytest.raises(UsageError, match="SYSGYM_DATA"):
        problem.beside(instance, {"labels": np.zeros(256, int)})


# ------------------------------------------------------------------------------------------------ secrecy


def holding(word: str, folder: str) -> list[Path]:
    """Files of a folder in whose text a word stands."""
    return [path for path in sorted((ROOT / folder).rglob("*.py")) if word in path.read_text()]


def uses(*folders: str) -> Iterator[str]:
    """Files that take a member `beside` of anything, or look it up by its name."""
    for folder in folders:
        for path in holding("beside", folder):
            for node in ast.walk(ast.parse(path.read_text())):
                taken = isinstance(node, ast.Attribute) and node.attr == "beside"
                if taken or (isinstance(node, ast.Constant) and node.value == "beside"):
                    yield path.relative_to(ROOT).as_posix()


def test_nothing_but_boards_asks_for_what_stands_beside() -> None:
    assert {*uses("agents", "envs")} == set()
    assert {*uses("zoo")} == {"zoo/sysgym_zoo/jobs/boards.py"}
    worker = ROOT / "leaderboards" / "sysgym_leaderboards" / "verify_worker.py"
    calls = [
        path.name
        for path in holding("beside", "leaderboards")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "beside"
    ]
    assert calls == [worker.name]


def test_no_agent_environment_or_judge_asks_for_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("true classes are read")

    for module, name in ((catalogue, "truth"), (catalogue, "_classes"), (agreements, "agreement")):
        monkeypatch.setattr(module, name, refuse)
    problem = sysgym.make_problem("Clustering")
    instance = problem.load("digits/test-0")
    verdict = problem.judge(instance, {"labels": np.arange(instance.nodes) % 10})
    assert not {*verdict.metrics} & {*MEASURES} and problem.reference_costs(instance)
    env = gym.make("sysgym/Clustering-v0", instance="digits/test-0", mode="assign")
    env.reset(seed=0)
    over = False
    for step in range(instance.nodes):
        assert not over
        *_, over, _, info = env.step(step % 10)
    assert over and not any(f'"{word}"' in json.dumps(info, default=str) for word in MEASURES)
    with pytest.raises(AssertionError, match="true classes"):
        problem.beside(instance, {"labels": np.zeros(instance.nodes, int)})
