"""The append-only record of submissions: SQLite, one row an event, each chained to the one before by SHA-256.

Triggers refuse changes; `check_chain` finds those that were made past them. Rows that were cut off at the end
cannot be seen from inside: compare with a `head` that was published before.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sysgym.core.errors import InvalidSolution, UsageError
from sysgym_leaderboards.archive import read_file_limited
from sysgym_leaderboards.board import Board, load_board
from sysgym_leaderboards.certificates import Certificate, parse_certificate
from sysgym_leaderboards.verify import Limits, verify, verify_bytes

ENVIRONMENT_VARIABLE = "SYSGYM_STORE"
GENESIS = "0" * 64
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


@dataclass(frozen=True)
class Entry:
    """One event of the store. Of a rejected submission only the SHA-256 is kept, not the zip."""

    number: int
    board: str
    certificate: Certificate
    created: str
    previous: str
    hash: str
    submission: bytes = field(default=b"", repr=False)


def default_path() -> Path:
    """`$SYSGYM_STORE`, or `leaderboards.sqlite` in the user's data folder."""
    if os.environ.get(ENVIRONMENT_VARIABLE):
        return Path(os.environ[ENVIRONMENT_VARIABLE])
    from platformdirs import user_data_path

    return user_data_path("sysgym") / "leaderboards.sqlite"


def entry_hash(previous: str, *content: str | int | bytes) -> str:
    """SHA-256 over the previous hash and the columns board to created; each is preceded by its length."""
    digest = hashlib.sha256(b"sysgym-entry/1")
    for part in (previous, *content):
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


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

        Without a board, it is the one that the submission names. Bytes that a board has accepted before are refused:
        the certificate says so, nothing is recorded.
        """
        rules = board if isinstance(board, Board) or board is None else load_board(board)
        try:
            data = read_file_limited(path)
        except InvalidSolution:
            if rules is None:
                raise
            return self._append(rules, b"", verify(path, rules))
        digest = hashlib.sha256(data).hexdigest()
        for known in self.boards() if rules is None else [rules.id]:
            replay = self._replay(digest, known)
            if replay is not None:
                return replay
        certificate = verify_bytes(data, rules, limits=self.limits, imports=self.imports)
        return self._append(rules or load_board(certificate.board), data, certificate)

    def _replay(self, digest: str, board: str) -> Certificate | None:
        for entry in self.entries(board):
            if entry.certificate.submission == digest:
                reason = f"this submission is on {board} already, as entry {entry.number}."
                return replace(entry.certificate, rows=(), accepted=False, reason=reason)
        return None

    def _append(self, board: Board, data: bytes, certificate: Certificate) -> Certificate:
        """Record one event in one transaction; whatever happens, the store stays whole."""
        text = json.dumps(certificate.as_dict(), sort_keys=True, allow_nan=False)
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        kept = data if certificate.accepted else b""
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
            replay = self._replay(certificate.submission, board.id) if certificate.accepted else None
            if replay is not None:  # somebody was faster while we judged
                db.execute("ROLLBACK")
                return replay
            last = db.execute("SELECT number, hash FROM entry ORDER BY number DESC LIMIT 1").fetchone()
            number, previous = last or (0, GENESIS)
            content = (board.id, int(certificate.accepted), kept, text, created)
            digest = entry_hash(previous, *content)
            db.execute("INSERT INTO entry VALUES (?,?,?,?,?,?,?,?)", (number + 1, *content, previous, digest))
            db.execute("COMMIT")
        return certificate

    # ------------------------------------------------------------------------------------------ reading

    def _select(self, columns: str, where: str = "", values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        if not self.path.is_file():
            return
        with self._open() as db:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'entry'").fetchone():
                yield from db.execute(f"SELECT {columns} FROM entry {where} ORDER BY number", values)

    def entries(self, board: Board | str, *, rejected: bool = False) -> list[Entry]:
        """Entries of a board as they arrived, without their zips: the accepted or the rejected ones."""
        name = board if isinstance(board, str) else board.id
        columns = "number, board, certificate, created, previous, hash"
        rows = self._select(columns, "WHERE board = ? AND accepted = ?", (name, int(not rejected)))
        found = []
        for number, board_id, text, *rest in rows:
            certificate = _parse(number, text)
            if certificate.accepted is not rejected and certificate.board == board_id:
                found.append(Entry(number, board_id, certificate, *rest))
        return found

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
        """Number of entries and hash of the last one: publish it, and nobody can cut the store unseen."""
        rows = list(self._select("number, hash"))
        return (len(rows), str(rows[-1][1])) if rows else (0, GENESIS)

    # ------------------------------------------------------------------------------------------ auditing

    def check_chain(self, head: tuple[int, str] | None = None) -> list[str]:
        """Sentences about every row that was edited, removed or slipped in; empty if the store is whole.

        `head` is what `head()` gave earlier, to find rows that were cut off at the end.
        """
        problems: list[str] = []
        expected, previous, hashes = 1, GENESIS, [GENESIS]
        columns = "number, board, accepted, submission, certificate, created, previous, hash"
        for number, *content, before, digest in self._select(columns):
            if number != expected:
                problems.append(f"entries {expected} to {number - 1} are missing.")
            elif before != previous:
                problems.append(f"entry {number} does not continue entry {number - 1}.")
            if entry_hash(before, *content) != digest:
                problems.append(f"entry {number} was edited: its content does not have the hash stored with it.")
            problems += _inconsistencies(number, *content)
            expected, previous = number + 1, digest
            hashes.append(digest)
        if head is not None and (head[0] >= len(hashes) or hashes[head[0]] != head[1]):
            problems.append(
                f"the store does not contain the history that ended with entry {head[0]} ({head[1][:12]}...)."
            )
        return problems

    def reverify(self, board: Board | str | Path | None = None) -> list[str]:
        """Judge every accepted submission again; a sentence for each difference to what is stored."""
        chosen = [board] if board is not None else self.boards()
        return [text for item in chosen for text in self._reverify(item)]

    def _reverify(self, board: Board | str | Path) -> Iterator[str]:
        name = board.id if isinstance(board, Board) else str(board)
        try:
            rules = board if isinstance(board, Board) else load_board(board)
            for entry in self.entries(rules):
                data = self.submission(entry.number)
                found = verify_bytes(data, rules, limits=self.limits, imports=self.imports)
                for text in differences(entry.certificate, found):
                    yield f"entry {entry.number} ({entry.certificate.agent}): {text}"
        except UsageError as error:
            yield f"{name} cannot be verified here: {error}"


def differences(stored: Certificate, found: Certificate) -> list[str]:
    """How a second verification differs from the stored one; times and versions do not count."""
    if stored.submission != found.submission:
        return ["the stored submission is not the one that was judged."]
    if stored.accepted != found.accepted:
        return [f"it was {'accepted' if stored.accepted else 'rejected'}, now: {found.reason or 'accepted'}"]
    texts = []
    for name in ("agent", "instances"):
        if getattr(stored, name) != getattr(found, name):
            texts.append(f"its {name} was {getattr(stored, name)!r}, is {getattr(found, name)!r} now.")
    before = {(row.instance, row.seed): row for row in stored.rows}
    for row in found.rows:
        old = before.get((row.instance, row.seed))
        for key in ("feasible", "cost", "reference"):
            was, now = getattr(old, key, None), getattr(row, key)
            if was != now:
                texts.append(f"{row.instance} seed {row.seed}: {key} was {was}, is {now} now.")
    if len(before) != len(stored.rows) or len(found.rows) != len(stored.rows):
        texts.append(f"it had {len(stored.rows)} rows, has {len(found.rows)} now.")
    return texts


def _parse(number: int, text: str) -> Certificate:
    try:
        return parse_certificate(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"entry {number} of the store is damaged ({error}); run `sysgym board verify`.") from error


def _inconsistencies(number: int, board: str, accepted: int, submission: bytes, text: str, created: str) -> list[str]:
    try:
        certificate = _parse(number, text)
    except UsageError as error:
        return [str(error)]
    found = []
    if certificate.board != board or certificate.accepted != bool(accepted):
        found.append(f"entry {number} is filed otherwise than its certificate says.")
    if accepted and hashlib.sha256(submission).hexdigest() != certificate.submission:
        found.append(f"entry {number} holds another submission than its certificate says.")
    return found


def summary(entry: Entry) -> Mapping[str, Any]:
    """An entry as plain data, without rows and zip: for lists."""
    certificate = entry.certificate
    return {
        "number": entry.number,
        "board": entry.board,
        "agent": certificate.agent,
        "accepted": certificate.accepted,
        "reason": certificate.reason,
        "created": entry.created,
        "submission": certificate.submission,
        "hash": entry.hash,
    }
