"""Boards and result tables from strangers: whatever stands in one, the answer is a table or one sentence.

What can be read is used as the commands do: boards are built, listed and ranked, tables are audited, reported and
packed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mutations import check, mutated, mutated_json

import sysgym
from sysgym_leaderboards import audit, load_board, rank, read_published, read_results
from sysgym_zoo.jobs.boards import audit_rows
from sysgym_zoo.jobs.evaluate import How, evaluate
from sysgym_zoo.jobs.packing import pack_runs
from sysgym_zoo.jobs.report import report, update
from sysgym_zoo.lookup.resolve import build_agent

Use = tuple[bytes, Callable[[bytes], Any], Any]  # a valid file, what uses its content, how to change it
BOARD = b"""
id = "mine-v1"
title = "Mine"
problem = "Partitioning-v0"
instances = ["tiny/test", "delaunay:n=20,seed=3"]
seeds = 2
division = "solutions"
reference = "metis"
penalty = 2
seconds = 5.5
floor = 0.01
[options]
k = 2
eps = 0.03
mode = "refine"
"""
RESULTS = b'algorithm,benchmark,reward,walltime_s\na,x,1.0,2\na,y,4.0,4\n"b, c",X,2.0,1e-3\n"b, c",y,2.0,.5\n'
PUBLISHED = b'algorithm,x_geomean,walltime\na,2.00,3s\nb,2.1,?\nc,1,"1,000.5s"\n'
PAGE = b"a\n<!-- sysgym report: results -->\nold\n<!-- end -->\nb\n<!-- sysgym report: other -->\n<!-- end -->\n"
TINY = "partitioning-tiny-k2-v1"


def printable(text: str) -> None:
    """A table as a terminal and a file may show it."""
    assert text.replace("\n", "").isprintable(), text[:200]
    text.encode()


def board(folder: Path) -> Use:
    """A board, listed, hashed and ranked."""
    file = folder / "mine.toml"

    def use(content: bytes) -> None:
        file.write_bytes(content)
        found = load_board(file)
        problem = found.make_problem()
        assert len(found.pairs(problem)) == len(found.instance_hashes(problem)) * found.seeds
        assert len(found.hash) == 64 and rank(found, []) == []
        json.dumps(found.as_dict(), allow_nan=False).encode()

    return BOARD, use, mutated


def results(folder: Path) -> Use:
    """A table of results, audited against published figures."""
    (folder / "p.csv").write_bytes(PUBLISHED)

    def use(content: bytes) -> None:
        (folder / "r.csv").write_bytes(content)
        audit(read_results(folder / "r.csv"), read_published(folder / "p.csv"))

    return RESULTS, use, mutated


def published(folder: Path) -> Use:
    """Published figures, audited against a table of results."""
    (folder / "r.csv").write_bytes(RESULTS)

    def use(content: bytes) -> None:
        (folder / "p.csv").write_bytes(content)
        rows = audit_rows(folder / "r.csv", folder / "p.csv")
        assert all(len(row["problems"]) < 2000 for row in rows)

    return PUBLISHED, use, mutated


def evaluation(folder: Path, ablation: bool = False) -> Path:
    """The folder of an evaluation of two agents, or of one that compares them."""
    problem = sysgym.make_problem("Partitioning", k=2)
    agents = [build_agent(name, problem) for name in ("ldg", "random")]
    roles = {solver.name: {"role": "baseline", "freedom": ""} for solver in agents}
    notes = {"ablation": {"agent": "ldg", "contestants": roles}} if ablation else {}
    how = How(seeds=1, out=folder / "evaluated", notes=notes)
    names = ("tiny/grid-test", "tiny/delaunay-test", "tiny/geometric-test", "tiny/stochastic_block-test")
    return evaluate(problem, agents, [problem.load(name) for name in names], how)[0]


def compared(folder: Path, file: str) -> Use:
    """The record, or the rows, of an ablation, reported."""
    made = evaluation(folder, ablation=True)

    def use(content: bytes) -> None:
        (made / file).write_bytes(content)
        printable(report([made])[1])

    return (made / file).read_bytes(), use, mutated_json if file == "run.json" else mutated


def packed(folder: Path, file: str) -> Use:
    """The record, or the rows, of an evaluation, packed for a board."""
    made = evaluation(folder)

    def use(content: bytes) -> None:
        (made / file).write_bytes(content)
        pack_runs([made], TINY, folder / "x.zip", "ldg", ["A"], "", "CC0-1.0")

    return (made / file).read_bytes(), use, mutated_json if file == "run.json" else mutated


def page(folder: Path) -> Use:
    """A page that a report is written into."""

    def use(content: bytes) -> None:
        (folder / "R.md").write_bytes(content)
        update(folder / "R.md", "results", "| table |")
        assert b"| table |" in (folder / "R.md").read_bytes()

    return PAGE, use, mutated


READERS: dict[str, Callable[[Path], Use]] = {
    "board": board, "results": results, "published": published, "page": page,
    **{f"ablation-{file}": lambda folder, file=file: compared(folder, file) for file in ("run.json", "metrics.jsonl")},
    **{f"packed-{file}": lambda folder, file=file: packed(folder, file) for file in ("run.json", "metrics.jsonl")},
}  # fmt: skip


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", READERS)
def test_mutations_of_a_table_get_an_answer_or_a_sentence(name: str, count: int, tmp_path: Path) -> None:
    data, use, mutate = READERS[name](tmp_path)
    found = check(use, data, mutate, count)
    assert found["sentence"] > count / 50
