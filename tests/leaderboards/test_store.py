"""The store: append-only, whole after a kill, and every edit past its triggers is found."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sysgym
from sysgym_leaderboards import Board, Certificate, Row, Store, pack
from sysgym_leaderboards.events import entry_hash
from sysgym_leaderboards.judge import judge_of
from sysgym_leaderboards.verify import Judged

JUDGE = judge_of(sysgym.make_problem("Partitioning"))

APPEND = """
import hashlib, sys
from sysgym_leaderboards import Certificate, Store, load_board
from sysgym_leaderboards.verify import Judged
board, store, name, count = load_board("partitioning-tiny-k2-v1"), Store(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for i in range(count):
    data = f"{name}-{i}".encode() * 10_000
    digest = hashlib.sha256(data).hexdigest()
    store._record(board, Judged(Certificate(board.id, board.hash, digest, accepted=True), data, True))
    print(i, flush=True)
"""


def record(store: Store, board: Board, name: str, *, accepted: bool = True, data: bytes | None = None) -> None:
    """Put a certificate into the store without judging anything."""
    data = name.encode() if data is None else data
    row = Row("tiny/grid-test", 0, True, 8.0, 8.0, {}, ())
    digest = hashlib.sha256(data).hexdigest()
    certificate = Certificate(board.id, board.hash, digest, name, rows=(row,), accepted=accepted, judge=JUDGE)
    store._record(board, Judged(certificate, data, True))


ROUNDS = 25
TOGETHER = """
import hashlib, sys, time
from sysgym_leaderboards import Certificate, Store, load_board
from sysgym_leaderboards.verify import Judged
board = load_board("partitioning-tiny-k2-v1")
for line in sys.stdin:  # a moment and a store each; the test writes the same line to all processes
    moment, path = line.strip().split(" ", 1)
    store = Store(path)
    while time.time() < float(moment):
        pass
    for i in range(5):
        data = f"{sys.argv[1]}{i}".encode()
        digest = hashlib.sha256(data).hexdigest()
        store._record(board, Judged(Certificate(board.id, board.hash, digest, accepted=True), data, True))
    print("done", flush=True)
"""


@pytest.fixture
def filled(tmp_path: Path, board: Board) -> Store:
    store = Store(tmp_path / "store.sqlite")
    for name in ("one", "two", "three", "four"):
        record(store, board, name)
    return store


def tamper(store: Store, *statements: str) -> None:
    with closing(sqlite3.connect(store.path)) as db:
        for name in ("entry_no_update", "entry_no_delete", "entry_no_replace"):
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            db.execute(statement)
        db.commit()


def test_submitting(packed: bytes, board: Board, edited: Callable[..., bytes], tmp_path: Path) -> None:
    store, path = Store(tmp_path / "new" / "store.sqlite"), tmp_path / "a.zip"
    assert store.entries(board) == [] and store.check_chain() == [] and not store.path.exists()
    path.write_bytes(packed)
    assert store.submit(path, board).accepted
    replay = store.submit(path, board.id)
    assert not replay.accepted and replay.reason == "this submission is on partitioning-tiny-k2-v1 already, as entry 1."
    path.write_bytes(edited(lambda m: m["answers"][0].update(cost=1.0)))
    assert "the claimed cost is 1.0" in store.submit(path, board).reason
    path.write_bytes(b"no zip")
    assert "no plain zip" in store.submit(path, board).reason
    assert [entry.number for entry in store.entries(board)] == [1]
    assert [(e.number, e.certificate.accepted) for e in store.entries(board, rejected=True)] == [(2, False), (3, False)]
    assert store.submission(1) == packed
    with pytest.raises(sysgym.UsageError, match="no accepted entry 2"):
        store.submission(2)
    assert store.check_chain() == [] and store.head()[0] == 3 and store.boards() == [board.id]
    assert store.reverify(board) == []


def test_a_rejected_submission_may_come_again(
    tmp_path: Path, toy_board: Callable[..., Board], toy_pack: Callable[..., Path], toy_file: Path
) -> None:
    board = toy_board()
    store = Store(tmp_path / "s.sqlite", imports=[str(toy_file)])
    path = toy_pack(board, cost=99.0)
    assert not store.submit(path, board).accepted
    assert "claimed cost" in store.submit(path, board).reason
    assert store.submit(toy_pack(board, choice=0), board).accepted


def test_triggers_refuse_changes(filled: Store) -> None:
    statements = [
        "UPDATE entry SET board = 'x'",
        "DELETE FROM entry WHERE number = 4",
        "INSERT OR REPLACE INTO entry SELECT 4, board, accepted, submission, 'x', created, previous, hash FROM entry "
        "WHERE number = 4",
        "INSERT OR REPLACE INTO entry SELECT 9, board, accepted, submission, 'x', created, previous, 'y' FROM entry "
        "WHERE number = 2",
    ]
    with closing(sqlite3.connect(filled.path)) as db:
        for statement in statements:
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)
    assert filled.check_chain() == [] and filled.head()[0] == 4


@pytest.mark.parametrize(
    "change",
    [
        "board = 'other-v1'", "accepted = 0", "submission = X'00'", "created = '2020-01-01T00:00:00Z'",
        "certificate = replace(certificate, '8.0', '7.0')", "certificate = 'x'", f"hash = '{'0' * 64}'",
        f"previous = '{'0' * 63}1'",
    ],
)  # fmt: skip
def test_an_edited_row_is_named(filled: Store, change: str) -> None:
    tamper(filled, f"UPDATE entry SET {change} WHERE number = 2")
    problems = filled.check_chain()
    assert any(text.startswith("entry 2 was edited") for text in problems)
    assert not any("entry 1 " in text or "entry 4 was" in text for text in problems)


def test_an_edit_with_a_fresh_hash_breaks_the_next_link(filled: Store) -> None:
    with closing(sqlite3.connect(filled.path)) as db:
        _, *content, before, _ = db.execute(
            "SELECT number, board, accepted, submission, certificate, created, previous, hash FROM entry "
            "WHERE number = 2"
        ).fetchone()
    content[3] = content[3].replace("two", "TWO")
    digest = entry_hash(before, *content)
    tamper(filled, f"UPDATE entry SET certificate = '{content[3]}', hash = '{digest}' WHERE number = 2")
    assert filled.check_chain() == ["entry 3 does not continue entry 2."]


def test_removed_rows_are_found(filled: Store) -> None:
    head = filled.head()
    assert filled.check_chain(head) == []
    tamper(filled, "DELETE FROM entry WHERE number = 4")
    assert filled.check_chain() == []  # a cut at the end shows only against a published head
    assert "does not contain the history that ended with entry 4" in filled.check_chain(head)[0]
    with closing(sqlite3.connect(filled.path)) as db:
        db.execute("DELETE FROM entry WHERE number IN (1, 2)")
        db.commit()
    assert filled.check_chain()[0] == "entries 1 to 2 are missing."


def test_the_head_grows_with_the_store(filled: Store, board: Board) -> None:
    head = filled.head()
    record(filled, board, "five")
    assert filled.check_chain(head) == [] and filled.head() != head
    assert filled.check_chain((4, "0" * 64)) and filled.check_chain((9, head[1]))


def test_a_replayed_certificate_is_not_stored_twice(filled: Store, board: Board) -> None:
    record(filled, board, "two")  # as if it had been judged while another process stored it
    assert filled.head()[0] == 4


def test_reverification_finds_a_forged_certificate(packed: bytes, board: Board, tmp_path: Path, halves: Any) -> None:
    store, path = Store(tmp_path / "s.sqlite"), tmp_path / "a.zip"
    path.write_bytes(packed)
    true = store.submit(path, board)
    about = {**true.about, "hardware": "another"}
    forged = replace(true, about=about, rows=(replace(true.rows[0], cost=1.0), *true.rows[1:]), submission="")
    other = pack(tmp_path / "b.zip", board, {"agent": "halves", **about}, halves).read_bytes()
    store._record(board, Judged(replace(forged, submission=hashlib.sha256(other).hexdigest()), other, True))
    problems = store.reverify()
    cost = true.rows[0].cost
    assert problems == [f"entry 2 (halves): tiny/delaunay-test seed 0: cost was 1.0, is {cost} now."]
    assert "entry 1 (halves) was judged by other rules" in store.reverify(replace(board, seconds=11.0))[0]


def test_boards_that_are_not_here_are_reported(tmp_path: Path, board: Board) -> None:
    store = Store(tmp_path / "s.sqlite")
    record(store, replace(board, id="private-v1"), "one")
    assert store.reverify()[0].startswith("private-v1 cannot be verified here: unknown board")


def test_a_kill_leaves_the_store_whole(tmp_path: Path, board: Board) -> None:
    path = tmp_path / "s.sqlite"
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", APPEND, str(path), f"run{attempt}", "100000"], stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None
            for _ in range(5):
                said = process.stdout.readline()
            time.sleep(0.007 * attempt)
            os.kill(process.pid, signal.SIGKILL)
        store = Store(path)
        assert store.check_chain() == []
        assert len(store.entries(board)) == store.head()[0] >= int(said) + 1
    record(store, board, "after")
    assert store.check_chain() == []


def test_processes_append_to_one_chain(tmp_path: Path) -> None:
    """Also where all of them create the file: each round starts from none."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen([sys.executable, "-c", TOGETHER, str(n)], **pipes))  # type: ignore[call-overload]
            for n in range(4)
        ]
        for round_ in range(ROUNDS):
            moment = time.time() + 0.02
            for process in processes:
                process.stdin.write(f"{moment} {tmp_path / str(round_)}.sqlite\n")
                process.stdin.flush()
            assert [process.stdout.readline() for process in processes] == ["done\n"] * 4
        for process in processes:
            process.stdin.close()
    for round_ in range(ROUNDS):
        store = Store(tmp_path / f"{round_}.sqlite")
        assert store.head()[0] == 4 * 5
        hashes = list(store._select("previous, hash"))
        assert all(after[0] == before[1] for before, after in itertools.pairwise(hashes))


def test_a_file_that_is_no_store_is_a_usage_error(tmp_path: Path, board: Board) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"this is text" * 100)
    with pytest.raises(sysgym.UsageError, match="cannot be used"):
        Store(path).entries(board)
    with pytest.raises(sysgym.UsageError, match="cannot be used"):
        record(Store(path), board, "one")
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(sysgym.UsageError, match="cannot create the folder"):
        record(Store(blocked / "s.sqlite"), board, "one")


def test_the_default_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSGYM_STORE", str(tmp_path / "x.sqlite"))
    assert Store().path == tmp_path / "x.sqlite"
    monkeypatch.delenv("SYSGYM_STORE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Store().path.name == "leaderboards.sqlite"


def test_certificates_are_stored_as_json(filled: Store) -> None:
    with closing(sqlite3.connect(filled.path)) as db:
        text = db.execute("SELECT certificate FROM entry").fetchone()[0]
    assert json.loads(text)["agent"] == "one"  # readable without this package
