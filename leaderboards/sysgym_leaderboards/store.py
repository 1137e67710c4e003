"""The append-only record of submissions: SQLite, one row an event, each chained to the one before by SHA-256.

Triggers refuse changes; `auditing` finds those that were made past them. Rows that were cut off at the end, and a chain
that was written anew as a whole, cannot be seen from inside: compare with a `head` that was kept or published before.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sysgym.core.errors import InvalidSolution, UsageError
from sysgym_leaderboards.archive import read_file_limited
from sysgym_leaderboards.auditing import check_chain, differences, reverify
from sysgym_leaderboards.board import Board, load_board
from sysgym_leaderboards.certificates import Certificate, parse_certificate
from sysgym_leaderboards.events import GENESIS, Entry, Event, entry_hash, make_event, parse_row
from sysgym_leaderboards.verify import Judged, Limits, judge_bytes, refusal

ENVIRONMENT_VARIABLE = "SYSGYM_STORE"
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS entry (
        number INTEGER PRIMARY KEY,
        board TEXT NOT NULL,
        accepted INTEGER NOT NULL,
        submission BLOB NOT NULL,
        certificate TEXT NOT NULL,
        created TEXT NOT NULL,
        previous TEXT NOT NULL UNIQUE,
        hash TEXT NOT NULL UNIQUE
    ) STRICT""",
    "CREATE INDEX IF NOT EXISTS entry_board ON entry (board, accepted)",
    """CREATE TRIGGER IF NOT EXISTS entry_no_update BEFORE UPDATE ON entry
    BEGIN SELECT RAISE(ABORT, 'the store is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS entry_no_delete BEFORE DELETE ON entry
    BEGIN SELECT RAISE(ABORT, 'the store is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS entry_no_replace BEFORE INSERT ON entry
    WHEN NEW.number <= (SELECT COALESCE(MAX(number), 0) FROM entry)
        OR NEW.previous IN (SELECT previous FROM entry) OR NEW.hash IN (SELECT hash FROM entry)
    BEGIN SELECT RAISE(ABORT, 'the store is append-only'); END""",
)


def default_path() -> Path:
    """`$SYSGYM_STORE`, or `leaderboards.sqlite` in the user's data folder."""
    if os.environ.get(ENVIRONMENT_VARIABLE):
        return Path(os.environ[ENVIRONMENT_VARIABLE])
    from platformdirs import user_data_path

    return user_data_path("sysgym") / "leaderboards.sqlite"


PACE = 10.0  # times a board's seconds, for an agent that was in time when it was submitted


class Store:
    """Boards' entries in one SQLite file; it is created by the first submission."""

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        limits: Limits | None = None,
        imports: Sequence[str] = (),
    ) -> None:
        """`limits` and `imports` are those of `verify`."""
        self.path = Path(path) if path is not None else default_path()
        self.limits, self.imports = limits, tuple(imports)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection that is closed afterwards; transactions are explicit."""
        try:
            connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        except sqlite3.Error as error:
            raise UsageError(f"cannot open the store {self.path}: {error}.") from error
        try:
            yield connection
        except sqlite3.DatabaseError as error:
            raise UsageError(f"the store {self.path} cannot be used: {error}.") from error
        finally:
            connection.close()

    # ------------------------------------------------------------------------------------------ writing

    def submit(self, path: str | Path, board: Board | str | Path | None = None) -> Certificate:
        """Verify a submission file and record what was found. Only an accepted one is ever ranked.

        The file is read once. Without a board, it is the one that the submission names. What a board has accepted
        before is refused: the certificate says so, nothing is recorded.
        """
        rules = board if isinstance(board, Board) or board is None else load_board(board)
        try:
            data = read_file_limited(path)
        except InvalidSolution as error:
            if rules is None:
                raise
            return self._record(rules, Judged(refusal(rules, str(error)), b"", False))
        digest = hashlib.sha256(data).hexdigest()
        for known in self.boards() if rules is None else [rules.id]:
            replay = self._replay(digest, known)
            if replay is not None:
                return replay
        found = self.judge(data, rules, again=False)
        return self._record(rules or load_board(found.certificate.board), found)

    def judge(self, data: bytes, board: Board | None, again: bool = True) -> Judged:
        """Judge the bytes of a submission, within the store's limits; nothing is recorded. An agent that is run `again`
        may take longer than a board gives: it was in time when it was submitted, and machines differ.
        """
        limits = replace(self.limits or Limits(), pace=PACE if again else 1.0)
        return judge_bytes(data, board, limits=limits, imports=self.imports)

    def withdraw(self, number: int, reason: str = "") -> None:
        """Take an entry out of the ranking, as its author wishes; it stays in the store."""
        self._happened("withdrawn", number, reason)

    def correct_authors(self, number: int, authors: Sequence[str]) -> None:
        """Give an entry another list of authors."""
        self._happened("authors", number, list(authors))

    def show_as(self, number: int, name: str) -> None:
        """Show an entry under a name and without its authors, such as for anonymous review; '' ends that."""
        self._happened("named", number, name)

    def rejudge(self, board: Board | str | Path) -> list[Entry]:
        """Judge the entries of a board again; where judge or verdict differ, the new certificate is appended.

        Returns the entries that changed, as they were. UsageError if the board cannot be judged here.
        """
        rules = board if isinstance(board, Board) else load_board(board)
        changed = []
        for entry in self.all_entries(rules):
            if not self._accepted_once(entry.number):
                continue
            found = self.judge(self.submission(entry.number), rules)
            before = self.certificates(entry.number)[-1]
            now = replace(found.certificate, submission=before.submission)
            if now.judge == before.judge and not differences(before, found):
                continue
            self._happened("rejudged", entry.number, now.as_dict())
            changed.append(entry)
        return changed

    def _accepted_once(self, number: int) -> bool:
        return bool(list(self._select("number", "WHERE number = ? AND accepted = 1", (number,))))

    def _replay(self, digest: str, board: str) -> Certificate | None:
        for entry in self.all_entries(board):
            if entry.certificate.submission == digest and entry.state == "accepted":
                reason = f"this submission is on {board} already, as entry {entry.number}."
                return replace(entry.certificate, rows=(), accepted=False, reason=reason)
        return None

    def _happened(self, kind: str, number: int, value: Any) -> None:
        """Append an event about an entry that was accepted once."""
        event = make_event(kind, number, value)
        found = list(self._select("board", "WHERE number = ? AND accepted = 1", (number,)))
        if not found:
            raise UsageError(f"the store {self.path} has no accepted entry {number}.")
        self._append(found[0][0], 0, b"", event.as_dict())

    def _record(self, board: Board, found: Judged) -> Certificate:
        """Record what was found about a submission; whatever happens, the store stays whole."""
        certificate = found.certificate
        kept = found.packed if certificate.accepted else b""
        if certificate.accepted and hashlib.sha256(kept).hexdigest() != certificate.submission:
            raise RuntimeError("what would be stored is not what was judged")
        return self._append(board.id, int(certificate.accepted), kept, certificate.as_dict()) or certificate

    def _append(self, board: str, accepted: int, kept: bytes, table: Mapping[str, Any]) -> Certificate | None:
        """Append one row in one transaction. The certificate of a replay, if somebody was faster while we judged."""
        text = json.dumps(table, sort_keys=True, allow_nan=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot create the folder of {self.path}: {error.strerror}.") from error
        with self._open() as db:
            db.execute("PRAGMA synchronous=FULL")
            # the rollback journal: switching a new file to WAL fails at once if another process writes just then
            db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                db.execute(statement)
            replay = self._replay(str(table["submission"]), board) if accepted else None
            if replay is not None:
                db.execute("ROLLBACK")
                return replay
            last = db.execute("SELECT number, hash, created FROM entry ORDER BY number DESC LIMIT 1").fetchone()
            number, previous, before = last or (0, GENESIS, "")
            created = max(before, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))  # a clock may have been set back
            content = (board, accepted, kept, text, created)
            digest = entry_hash(previous, *content)
            db.execute("INSERT INTO entry VALUES (?,?,?,?,?,?,?,?)", (number + 1, *content, previous, digest))
            db.execute("COMMIT")
        return None

    # ------------------------------------------------------------------------------------------ reading

    def _select(self, columns: str, where: str = "", values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        if not self.path.is_file():
            return
        with self._open() as db:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'entry'").fetchone():
                yield from db.execute(f"SELECT {columns} FROM entry {where} ORDER BY number", values)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """All rows as they are stored: number, board, accepted, submission, certificate, created, previous, hash."""
        return self._select("number, board, accepted, submission, certificate, created, previous, hash")

    def all_entries(self, board: Board | str) -> list[Entry]:
        """Every entry of a board as all events left it, without zips; damaged rows are left out, see `check_chain`."""
        name = board if isinstance(board, str) else board.id
        columns = "number, accepted, certificate, created, previous, hash"
        found: dict[int, Entry] = {}
        for number, accepted, text, *rest in self._select(columns, "WHERE board = ?", (name,)):
            try:
                row = parse_row(text)
                if isinstance(row, Event):
                    if row.entry in found:
                        found[row.entry] = row.applied(found[row.entry], number)
                elif row.board == name and row.accepted == bool(accepted):
                    created, previous, digest = rest
                    found[number] = Entry(number, name, row, created, previous, digest, judged=number)
            except (ValueError, KeyError, TypeError):
                continue
        return list(found.values())

    def certificates(self, number: int) -> list[Certificate]:
        """The certificates of an entry as they were recorded: the first, and those of re-judging."""
        found = []
        for row, text in self._select("number, certificate", "WHERE number >= ?", (number,)):
            item = parse_row(text) if row == number or '"rejudged"' in text else None
            if isinstance(item, Certificate):
                found += [item] if row == number else []
            elif item is not None and item.kind == "rejudged" and item.entry == number:
                found.append(parse_certificate(item.value))
        return found

    def entries(self, board: Board | str, *, rejected: bool = False) -> list[Entry]:
        """Entries of a board as they arrived, without their zips: the accepted or the rejected ones."""
        state = "rejected" if rejected else "accepted"
        return [entry for entry in self.all_entries(board) if entry.state == state]

    def boards(self) -> list[str]:
        """Ids of the boards that have an entry, accepted or not."""
        return sorted({row[0] for row in self._select("board")})

    def submission(self, number: int) -> bytes:
        """The zip of an accepted submission."""
        rows = list(self._select("submission", "WHERE number = ? AND accepted = 1", (number,)))
        if not rows:
            raise UsageError(f"the store {self.path} has no accepted entry {number}.")
        data: bytes = rows[0][0]
        return data

    def head(self) -> tuple[int, str]:
        """Number of rows and hash of the last one: keep or publish it, and nobody can cut the store unseen."""
        rows = list(self._select("number, hash"))
        return (len(rows), str(rows[-1][1])) if rows else (0, GENESIS)

    # ------------------------------------------------------------------------------------------ auditing

    def check_chain(self, head: tuple[int, str] | str | None = None) -> list[str]:
        """Sentences about every row that was edited, removed or slipped in, see `auditing.check_chain`."""
        return check_chain(self, head)

    def reverify(self, board: Board | str | Path | None = None) -> list[str]:
        """Judge every accepted submission again; a sentence for each difference to what is stored."""
        chosen = [board] if board is not None else self.boards()
        return [text for item in chosen for text in reverify(self, item)]
