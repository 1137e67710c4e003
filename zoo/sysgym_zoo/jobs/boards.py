"""Leaderboards from the command line: pack recorded solutions, submit, show, verify, export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sysgym import UsageError
from sysgym_leaderboards import Board, Store, board_names, load_board, rank
from sysgym_leaderboards.certificates import names_beside
from sysgym_leaderboards.ranking import apart
from sysgym_zoo.jobs.console import say, show_json, tell


def board_rows() -> list[dict[str, Any]]:
    """The installed boards; one that cannot be read is left out, `sysgym doctor` says why."""
    rows = []
    for name in board_names():
        try:
            board = load_board(name)
        except UsageError as error:
            say(f"left out: {error}")
            continue
        rows.append(
            {
                "board": board.id,
                "problem": board.problem,
                "options": ", ".join(f"{k}={v}" for k, v in board.options.items()),
                "instances": ", ".join(board.instances),
                "seeds": board.seeds,
                "division": board.division,
                "freedom": freedom_on(board),
                "reference": board.reference,
                "title": board.title,
            }
        )
    return rows


def freedom_on(board: Board) -> str | None:
    """The freedom in force on a board; None where its problem knows none, or is not here."""
    try:
        return board.freedom_in(board.make_problem()) or None
    except UsageError as error:
        say(str(error))
        return board.freedom or None


def submit(file: Path, board_name: str | None, store_path: Path | None) -> Any:
    """Verify and record a submission; its certificate, accepted or not. The limited process reads the file."""
    return Store(store_path).submit(file, None if board_name is None else load_board(board_name))


def outcome(certificate: Any) -> str:
    """One line: accepted, with what was judged, or rejected, with the reason."""
    if not certificate.accepted:
        return f"rejected on {certificate.board}: {certificate.reason}"
    feasible = sum(row.feasible for row in certificate.rows)
    judged = f"{len(certificate.rows)} solutions judged, {feasible} feasible"
    return f"accepted on {certificate.board}: {certificate.agent}, {judged}"


def standings(board_name: str, store_path: Path | None) -> list[dict[str, Any]]:
    """The ranking of a board."""
    board = load_board(board_name)
    entries = Store(store_path).entries(board)
    rows, others = rank(board, entries), apart(board, entries)
    if not rows and not others:
        say(f"nobody has submitted to {board.id} yet.")
    if others:
        say(f"{len(others)} of the entries were judged by another judge than the one installed here, and have no rank; "
            f"judge them again: sysgym board rejudge {board_name}")  # fmt: skip
    waiting = [
        {**dict.fromkeys(COLUMNS), "agent": line.agent, "score": line.score, "entry": line.number,
         "note": f"judged by {line.judge}"}
        for line in others
    ]  # fmt: skip
    freedom = freedom_on(board)
    lines = with_beside(waiting_last(rows, waiting), [row.beside for row in rows])
    return [{**line, "freedom": freedom} if freedom else line for line in lines]


COLUMNS = ("rank", "agent", "score", "low", "high", "iqm", "gap", "wins", "feasible", "entry", "same_as", "note")


def waiting_last(rows: Sequence[Any], waiting: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ranked entries as rows of a table, then those that are not ranked."""
    return [
        {
            "rank": row.rank,
            "agent": row.agent,
            "score": row.score,
            "low": row.low,
            "high": row.high,
            "iqm": row.iqm,
            "gap": row.gap,
            "wins": row.wins,
            "feasible": f"{100 * row.feasible:.0f} %",
            "entry": row.number,
            "same_as": row.same_as,
            "note": f"{row.answers} answers, {row.different} different" if row.different < row.answers else "",
        }
        for row in rows
    ] + waiting


def with_beside(lines: list[dict[str, Any]], found: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """Rows of a table with a column after `gap` for each figure that stands beside the ranking of the first of them."""
    names = [name for name in names_beside(found) if name not in COLUMNS]
    place = COLUMNS.index("gap") + 1
    order = (*COLUMNS[:place], *names, *COLUMNS[place:])
    known = [*found, *({} for _ in lines[len(found) :])]
    return [{**dict.fromkeys(order), **figures, **line} for line, figures in zip(lines, known, strict=True)]


def audit_rows(results: Path, published: Path | None) -> list[dict[str, Any]]:
    """What the rows of a result table from elsewhere say, and which published figures disagree."""
    from sysgym_leaderboards import audit, read_published, read_results

    return [
        {
            "algorithm": item.algorithm,
            "geomean": item.geomean,
            "seconds": item.seconds,
            "rows": item.rows,
            "problems": " ".join([item.refused, *item.flags]).strip(),
        }
        for item in audit(read_results(results), read_published(published) if published else None)
    ]


def problems_in(board_name: str | None, store_path: Path | None, head: str | None = None) -> list[str]:
    """What is wrong with the chain or with any stored solution, judged again; empty if nothing is."""
    store = Store(store_path)
    return [*store.check_chain(head), *store.reverify(None if board_name is None else load_board(board_name))]


def verify(board_name: str | None, store_path: Path | None, kept: str | None, as_json: bool) -> bool:
    """Check the chain and judge everything again, and say what is wrong; whether nothing is."""
    problems = problems_in(board_name, store_path, kept)
    number, head = Store(store_path).head()
    if as_json:
        show_json("verification", {"entries": number, "head": head, "problems": problems})
        return not problems
    tell("\n".join(problems) or f"{number} entries verified, chain head {number}:{head}")
    if not problems:
        say("keep the head: sysgym board verify --head HEAD tells later whether this history is still there.")
    elif any(": " in text and "now" in text for text in problems):
        say("sysgym board rejudge records what is found now; the old verdicts stay in the store.")
    return not problems


def rejudge(board_name: str | None, store_path: Path | None) -> list[dict[str, Any]]:
    """Judge entries again and append what changed; a row for each such entry."""
    store, rows = Store(store_path), []
    for name in [board_name] if board_name else store.boards():
        try:
            board = load_board(name)
            changed = store.rejudge(board)
        except UsageError as error:
            if board_name:
                raise
            say(f"left out: {error}")
            continue
        now = {entry.number: entry for entry in store.all_entries(board)}
        for before in changed:
            after = now[before.number]
            rows.append(
                {
                    "board": board.id,
                    "entry": before.number,
                    "agent": after.shown.agent,
                    "before": before.state,
                    "now": after.state,
                    "judge": str(after.certificate.judge),
                    "reason": after.certificate.reason,
                }
            )
    if not rows:
        say("every entry was judged by the judge installed here, with the same verdicts.")
    return rows


def change(store_path: Path | None, number: int, kind: str, value: Any) -> dict[str, Any]:
    """Append an event about an entry; what was recorded."""
    store = Store(store_path)
    happened: dict[str, Any] = {"withdrawn": store.withdraw, "authors": store.correct_authors, "named": store.show_as}
    happened[kind](number, value)
    count, head = store.head()
    return {"event": kind, "entry": number, "recorded_as": count, "head": head}


def _usable(names: Sequence[str]) -> Iterator[Board]:
    """The boards that are installed here; the others are named and left out."""
    for name in names:
        try:
            board = load_board(name)
            board.instance_names()
        except UsageError as error:
            say(f"left out: {error}")
        else:
            yield board


def export(
    names: Sequence[str], out: Path, kind: str, store_path: Path | None, solutions: str | None = None
) -> list[Path]:
    """Write boards, and with an ending of `solutions` all answers in such files; the files made."""
    from sysgym_leaderboards.publish.export import export as write

    store = Store(store_path)
    boards = [load_board(name) for name in names] or list(_usable(store.boards()))
    if not boards:
        raise UsageError("no board has an entry yet; name one, or submit first.")
    return write(store, boards, out, format=kind, solutions=solutions)
