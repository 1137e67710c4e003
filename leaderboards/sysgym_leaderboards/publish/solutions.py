"""The answers of a board as files, in the formats of its problem's field: an archive that anyone can judge again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sysgym.core.errors import SysgymError, UsageError, announce, unknown
from sysgym.core.problem import AnyProblem, Array, Instance
from sysgym.core.solutions import restricted, write_solution
from sysgym_leaderboards.board import Board
from sysgym_leaderboards.certificates import Row
from sysgym_leaderboards.events import Entry
from sysgym_leaderboards.store import Store
from sysgym_leaderboards.submissions import Submission, read_bytes

ARRAYS = (".json", ".npz")  # every problem has these
Pick = Callable[[str, int], Mapping[str, Array]]  # the arrays of an entry's answer by instance and seed


def solution_files(store: Store, board: Board, ending: str) -> dict[str, bytes]:
    """Every feasible answer of the accepted entries, and `BOARD-solutions.json`, which says whose each file is.

    Files are `BOARD/ENTRY/INSTANCE-SEED.ENDING` and hold what the board's freedom leaves of the answer, so that each,
    judged with the board's options, has the cost of its row. UsageError if the problem does not write such files.
    """
    ending = f".{ending.removeprefix('.')}"
    problem = board.make_problem()
    freedom = board.freedom_in(problem)
    entries = [(entry, read_bytes(store.submission(entry.number))) for entry in store.entries(board)]
    files: dict[str, bytes] = {}
    rows: list[dict[str, Any]] = []
    names = board.instance_names(problem)
    short = _short(names)
    for name in names if entries else []:
        try:
            instance = problem.load(name)
        except SysgymError as error:  # public data that is not on this machine
            announce(f"{board.id}: the answers to {name} are left out: {error}")
            continue
        check_ending(problem, instance, ending)
        for entry, row, arrays in _answers(entries, name):
            file = f"{board.id}/{entry.number}/{short[name]}-{row.seed}{ending}"
            files[file] = _content(problem, instance, restricted(problem, instance, arrays, freedom), ending)
            rows.append(_told(entry, row, file))
    if entries and not rows:
        announce(f"{board.id}: no feasible answer is kept; where agents are judged, the store has them instead.")
    index = {"board": board.id, "problem": board.problem, "options": dict(board.options), "freedom": freedom,
             "solutions": rows}  # fmt: skip
    files[f"{board.id}-solutions.json"] = (json.dumps(index, indent=1, sort_keys=True) + "\n").encode()
    return files


def check_ending(problem: AnyProblem, instance: Instance, ending: str) -> None:
    """UsageError unless a problem writes solutions of an instance into files of this ending."""
    known = (*problem.solution_endings(instance), *ARRAYS)
    if ending not in known:
        error = unknown(f"ending of solution files of {problem.name}", ending, known)
        raise UsageError(f"{error} Name boards whose problems write such files, or take one that all have.")


def _answers(entries: list[tuple[Entry, Submission]], name: str) -> Iterator[tuple[Entry, Row, Mapping[str, Array]]]:
    """The feasible answers to an instance, by entry and seed; an entry's agent that was run left none in the store."""
    for entry, submission in entries:
        for row in entry.certificate.rows:
            answer = submission.answers.get((name, row.seed)) if row.instance == name and row.feasible else None
            if answer is not None:
                yield entry, row, answer.arrays


def _content(problem: AnyProblem, instance: Instance, solution: Mapping[str, Array], ending: str) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"solution{ending}"
        write_solution(problem, instance, solution, path)
        return path.read_bytes()


def _told(entry: Entry, row: Row, file: str) -> dict[str, Any]:
    return {"file": file, "entry": entry.number, "agent": entry.shown.agent, "instance": row.instance,
            "seed": row.seed, "cost": row.cost, "judged_by": str(entry.shown.judge)}  # fmt: skip


def _short(names: list[str]) -> dict[str, str]:
    """Names of instances as parts of file names, each another one."""
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.") or "instance"
        found[name] = plain if plain not in found.values() else f"{plain}-{len(found)}"
    return found
