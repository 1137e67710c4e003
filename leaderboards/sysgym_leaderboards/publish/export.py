"""Rankings as files: JSON, CSV, or a static site. The same store gives the same bytes: no clock, sorted keys."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sysgym.core.errors import UsageError, unknown
from sysgym_leaderboards.board import Board, load_board
from sysgym_leaderboards.certificates import names_beside
from sysgym_leaderboards.events import Entry
from sysgym_leaderboards.names import normal
from sysgym_leaderboards.publish.charts import SHOWN
from sysgym_leaderboards.ranking import apart, profiles, rank, win_matrix
from sysgym_leaderboards.store import Store

FORMATS = ("json", "csv", "html")
TAUS = tuple(round(1 + step / 50, 2) for step in range(-10, 51))  # of the performance profile
_SCORES = ("score", "low", "high", "iqm", "iqm_low", "iqm_high", "gap", "gap_low", "gap_high", "wins", "feasible")
CSV_COLUMNS = (
    "board", "division", "freedom", "rank", "entry", "agent", *_SCORES,
    "instance", "ratio", "cost", "reference", "instance_feasible",
)  # fmt: skip
OF_ENTRY = CSV_COLUMNS.index("instance")  # so many columns are about an entry


def board_report(store: Store, board: Board) -> dict[str, Any]:
    """Everything that is published about a board, as plain data."""
    entries = store.entries(board)
    standings = rank(board, entries)
    profile = profiles(standings, TAUS)
    ranked = [standing for standing in standings if standing.rank is not None]
    by_number = {entry.number: entry for entry in entries}
    states = [entry.state for entry in store.all_entries(board)]
    count, digest = store.head()
    return {
        "board": _board(board),
        "standings": [
            {**standing.as_dict(), "entry": _entry(by_number[standing.number]), "profile": profile[standing.number]}
            for standing in standings
        ],
        "profile_at": list(TAUS),
        "win_matrix": win_matrix(ranked[:SHOWN]),
        "apart": [vars(line) for line in apart(board, entries)],
        "rejected": states.count("rejected"),
        "withdrawn": states.count("withdrawn"),
        "store": {"entries": count, "head": digest},
    }


def _board(board: Board) -> dict[str, Any]:
    """The board as it is published, with the freedom in force and what it means."""
    problem = board.make_problem()
    freedom = board.freedom_in(problem)
    said = problem.freedoms[freedom].about if freedom else ""
    return {
        **board.as_dict(),
        "hash": board.hash,
        "expanded": board.instance_names(problem),
        "freedom": freedom,
        "freedom_about": said,
    }


def _entry(entry: Entry) -> dict[str, Any]:
    certificate = entry.shown
    seconds = [row.seconds for row in certificate.rows if row.seconds is not None]
    return {
        "about": dict(certificate.about),
        "created": entry.created,
        "submission": certificate.submission,
        "hash": entry.hash,
        "judged_by": str(certificate.judge),
        "claimed_seconds": math.fsum(seconds) / len(seconds) if seconds else None,  # mean of an answer
    }


def export(
    store: Store,
    boards: Iterable[Board | str | Path],
    out: str | Path,
    format: str = "html",
    *,
    pictures: int = 6,
    solutions: str | None = None,
) -> list[Path]:
    """Write the rankings of some boards into the folder `out`; returns the files written.

    "json" and "csv" write one file a board. "html" writes `index.html`, a page a board with up to `pictures`
    pictures of the best solutions, and the JSON and CSV that the pages link to. `solutions` names an ending, such as
    "json" or one of the problem's field: every feasible answer is written into such a file too (`solution_files`).
    """
    if format not in FORMATS:
        raise unknown("export format", format, FORMATS)
    chosen = [board if isinstance(board, Board) else load_board(board) for board in boards]
    if len({board.id for board in chosen}) != len(chosen):
        raise UsageError("a board is named twice.")
    files: dict[str, bytes] = {}
    reports = {board.id: board_report(store, board) for board in chosen}
    for board in chosen:
        report = reports[board.id]
        if format != "csv":
            files[f"{board.id}.json"] = json_text(report).encode()
        if format != "json":
            files[f"{board.id}.csv"] = csv_text(report).encode()
        if format == "html":
            from sysgym_leaderboards.publish.pictures import best_solutions
            from sysgym_leaderboards.publish.site import board_page

            drawn = best_solutions(store, board, report, pictures)
            files |= {picture.file: picture.png for picture in drawn}
            files[f"{board.id}.html"] = board_page(report, drawn).encode()
        if solutions is not None:
            from sysgym_leaderboards.publish.solutions import solution_files

            files |= solution_files(store, board, solutions)
    if format == "html":
        from sysgym_leaderboards.publish.site import index_page

        files["index.html"] = index_page([reports[board.id] for board in chosen]).encode()
    return _write(Path(out), files)


def _write(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Each file is written beside its place and renamed: whoever reads the folder meanwhile sees whole files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".writing-") as beside:
            for name, data in files.items():
                for place in (Path(beside) / name, folder / name):
                    place.parent.mkdir(parents=True, exist_ok=True)
                (Path(beside) / name).write_bytes(data)
            for name in files:
                (Path(beside) / name).replace(folder / name)
    except OSError as error:
        raise UsageError(f"cannot write to the folder {folder}: {error.strerror or error}.") from error
    return [folder / name for name in files]


def json_text(report: Mapping[str, Any]) -> str:
    """A report as JSON."""
    return json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n"


def csv_text(report: Mapping[str, Any]) -> str:
    """A report as CSV: one line an entry and instance."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    beside = names_beside(line.get("beside", {}) for line in report["standings"])
    writer.writerow([*CSV_COLUMNS[:OF_ENTRY], *map(_cell, beside), *CSV_COLUMNS[OF_ENTRY:]])
    for line in report["standings"]:
        head = [report["board"][key] for key in ("id", "division", "freedom")]
        head += [line["rank"], line["number"], _cell(line["agent"])]
        head += [line[key] for key in _SCORES] + [line.get("beside", {}).get(name) for name in beside]
        for result in line["results"]:
            values = [result[key] for key in ("ratio", "cost", "reference", "feasible")]
            writer.writerow([*head, _cell(result["instance"]), *values])
    return stream.getvalue()


def _cell(text: str) -> str:
    """Text that a spreadsheet does not take for a formula, in full-width letters either."""
    return f"'{text}" if normal(text).lstrip()[:1] in ("=", "+", "-", "@", "|", "%") else text
