"""The record: one reading, bounded, and everything that can be derived again is compared."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sysgym
from sysgym_leaderboards import Board, Store, export, pack, rank
from sysgym_leaderboards.archive import MAX_FILE
from sysgym_leaderboards.events import GENESIS, entry_hash

pytestmark = pytest.mark.usefixtures("forked_judge")

Edited = Callable[..., bytes]


@pytest.mark.attack("Bytes that nobody reads give one solution endlessly many hashes")
def test_bytes_that_nobody_reads_are_not_stored(packed: bytes, board: Board, tmp_path: Path, submit: Any) -> None:
    """200 kB between the members, extra fields, another order of keys: one solution has one hash."""
    import io
    import zipfile

    padded = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as source, zipfile.ZipFile(padded, "w", zipfile.ZIP_STORED) as target:
        for name in sorted(source.namelist(), reverse=True):
            data = source.read(name)
            if name.endswith(".json"):
                table = json.loads(data)
                table["options"] = dict(reversed(table["options"].items()))
                table["answers"].reverse()
                data = json.dumps(table).encode() + b" " * 1000
            info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            info.extra = b"\xfe\xca\xe8\x03" + os.urandom(1000)
            target.writestr(info, data)
    found = submit(padded.getvalue())
    assert found.accepted, found.reason
    store = Store(tmp_path / "s.sqlite")
    assert store.submission(1) == packed and store.reverify() == [] and store.check_chain() == []
    assert "already, as entry 1" in submit(packed, "again").reason


@pytest.mark.attack("The file changes between two readings")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_file_is_read_once(packed: bytes, board: Board, store: Store, tmp_path: Path) -> None:
    """A pipe that is too large at first, and in whose place a valid file stands then."""
    path = tmp_path / "x.zip"
    os.mkfifo(path)
    (tmp_path / "good.zip").write_bytes(packed)

    def feed() -> None:
        with path.open("wb") as stream:
            stream.write(bytes(MAX_FILE))
            stream.flush()
            os.replace(tmp_path / "good.zip", path)
            stream.write(b"x")

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    found = store.submit(path, board)
    thread.join()
    assert not found.accepted and "larger than" in found.reason and store.entries(board) == []
    assert store.check_chain() == [] and store.reverify() == []
    export(store, [board], tmp_path / "site")


def test_what_is_stored_is_what_was_judged(board: Board, store: Store, packed: bytes) -> None:
    found = store.judge(packed, board)
    with pytest.raises(RuntimeError, match="not what was judged"):
        store._record(board, found._replace(packed=packed + b"x"))
    assert store.head()[0] == 0


@pytest.mark.attack("Claims of absurd size stop every later export")
@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("seconds", 1.7e308, "seconds from 0 to 1e"), ("seconds", 10**400, "seconds from 0 to"),
        ("evaluations", 10**19, "a whole number up to 1e"), ("cost", 1.7e308, "a number up to 1e"),
        ("cost", -(10**301), "a number up to"),
    ],
)  # fmt: skip
def test_absurd_claims_are_refused(
    key: str, value: Any, words: str, edited: Edited, submit: Any, store: Store, board: Board, tmp_path: Path
) -> None:
    reason = submit(edited(lambda m: [answer.update({key: value}) for answer in m["answers"]])).reason
    assert words in reason and len(reason) < 400
    for kind in ("html", "csv", "json"):
        export(store, [board], tmp_path / kind, kind)


@pytest.mark.attack("A small zip makes the store grow by megabytes through a long reason")
def test_a_store_does_not_grow_with_what_it_refuses(edited: Edited, submit: Any, tmp_path: Path) -> None:
    options = {f"k{i}": "x" * 100_000 for i in range(100)}
    reason = submit(edited(lambda m: m.update(options=options))).reason
    assert "the board asks for" in reason or len(reason) == 500
    assert (tmp_path / "s.sqlite").stat().st_size < 100_000


@pytest.mark.attack("One damaged entry, or a board that is not installed, stops export and verification")
def test_one_bad_entry_or_board_stops_nothing(
    submit: Any, packed: bytes, store: Store, board: Board, halves: Any, tmp_path: Path, capsys: Any, other_answers: Any
) -> None:
    from sysgym_zoo.jobs.boards import export as write

    submit(packed)
    submit(other_answers(3), "other")
    with sqlite3.connect(store.path) as db:
        db.execute("DROP TRIGGER entry_no_update")
        db.execute("UPDATE entry SET certificate = '{\"x\": 1}', submission = X'00' WHERE number = 1")
        db.execute("UPDATE entry SET board = board WHERE number = 1")
    db.close()
    unknown = replace(board, id="unknown-v1")
    path = pack(tmp_path / "u.zip", unknown, {"agent": "lost"}, halves)
    assert store.submit(path, unknown).accepted
    assert [line.agent for line in rank(board, store.entries(board))] == ["other"]
    files = write([], tmp_path / "site", "html", store.path)
    assert any(file.name == f"{board.id}.html" for file in files) and "unknown-v1" in capsys.readouterr().err
    assert not list((tmp_path / "site").glob(".writing*"))
    sentences = [*store.check_chain(), *store.reverify()]
    assert any("entry 1 of the store is damaged" in text for text in sentences)
    assert any("unknown-v1 cannot be verified here" in text for text in sentences)


def rewritten(store: Store, change: Callable[[int, dict[str, Any], list[Any]], Any]) -> Store:
    """The store with every row changed by a function and the whole chain written anew: by who can write the file."""
    path = store.path.with_name("rewritten.sqlite")
    shutil.copy(store.path, path)
    db = sqlite3.connect(path)
    rows = list(db.execute("SELECT * FROM entry ORDER BY number"))
    for name in ("update", "delete", "replace"):
        db.execute(f"DROP TRIGGER entry_no_{name}")
    db.execute("DELETE FROM entry")
    previous = GENESIS
    for number, *content, _, _ in rows:
        table = json.loads(content[3])
        change(number, table, content)
        content[3] = json.dumps(table, sort_keys=True)
        digest = entry_hash(previous, *content)
        db.execute("INSERT INTO entry VALUES (?,?,?,?,?,?,?,?)", (number, *content, previous, digest))
        previous = digest
    db.commit()
    db.close()
    return Store(path)


def first_row(key: str, value: Any) -> Callable[[int, dict[str, Any], list[Any]], Any]:
    return lambda number, table, _: table["rows"][0].__setitem__(key, value) if number == 1 else None


def of_first(key: str, value: Any) -> Callable[[int, dict[str, Any], list[Any]], Any]:
    return lambda number, table, _: table.__setitem__(key, value) if number == 1 else None


TAMPERED = {
    "authors": (lambda n, t, _: t["about"].update(authors=["Mallory"]), "its about was"),
    "code": (lambda n, t, _: t["about"].update(code="https://evil.example"), "its about was"),
    "agent": (of_first("agent", "other"), "its agent was 'other'"),
    "instances": (of_first("instances", ["tiny/grid-test"]), "its instances was"),
    "claim": (first_row("claimed", None), "claimed was None"),
    "seconds": (first_row("seconds", 1e-6), "seconds was 1e-06"),
    "evaluations": (first_row("evaluations", 7), "evaluations was 7"),
    "metric": (first_row("metrics", {"cut": 0.0}), "metric cut was 0.0"),
    "violations": (first_row("violations", ["x"]), "violations was ('x',)"),
    "solution hash": (first_row("solution", "0" * 64), "solution was"),
    "canonical hash": (first_row("canonical", "0" * 64), "canonical was"),
    "cost": (first_row("cost", 1.0), "cost was 1.0"),
    "reference": (first_row("reference", 99.0), "reference was 99.0"),
    "board hash": (of_first("board_hash", "0" * 64), "judged by other rules"),
    "date": (lambda n, t, content: content.__setitem__(4, f"{2030 - n}-01-01T00:00:00Z"), "is dated 2028-01-01"),
    "rejected": (
        lambda n, t, c: (t.update(accepted=False, reason="no"), c.__setitem__(1, 0), c.__setitem__(2, b""))
        if n == 1 else None, "",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def two(packed: bytes, board: Board, tmp_path_factory: pytest.TempPathFactory, other_answers: Any) -> Store:
    """A store with two entries."""
    from importlib import import_module

    from forked import ForkedModule

    folder = tmp_path_factory.mktemp("two")
    store = Store(folder / "s.sqlite")
    module = import_module("sysgym_leaderboards.verify")
    real, module.subprocess = module.subprocess, ForkedModule  # type: ignore[attr-defined]
    try:
        (folder / "a.zip").write_bytes(packed)
        pack(folder / "b.zip", board, {"agent": "other"}, other_answers(3))
        assert all(store.submit(folder / f"{name}.zip", board).accepted for name in "ab")
    finally:
        module.subprocess = real  # type: ignore[attr-defined]
    return store


@pytest.mark.attack("Who can write the store rewrites certificates and the whole chain of hashes")
@pytest.mark.parametrize("what", TAMPERED)
def test_whatever_is_rewritten_is_named(what: str, two: Store, tmp_path: Path) -> None:
    change, words = TAMPERED[what]
    shutil.copy(two.path, tmp_path / "s.sqlite")
    forged = rewritten(Store(tmp_path / "s.sqlite"), change)
    number, head = two.head()
    for kept in ((number, head), head, f"{number}:{head}", head[:16]):
        assert any("does not contain the history" in text for text in forged.check_chain(kept))
        assert two.check_chain(kept) == []
    found = [*forged.check_chain(), *forged.reverify()]
    assert what == "rejected" or any(words in text for text in found), found


@pytest.mark.attack("A submission is entered twice past the checks")
def test_a_doubled_submission_is_named(two: Store, tmp_path: Path) -> None:
    def double(number: int, table: dict[str, Any], content: list[Any]) -> None:
        if number == 2:
            first = next(iter(two.rows()))
            content[2] = first[3]
            table.clear()
            table.update(json.loads(first[4]))

    shutil.copy(two.path, tmp_path / "s.sqlite")
    forged = rewritten(Store(tmp_path / "s.sqlite"), double)
    assert "entry 2 is the submission of entry 1 once more." in forged.check_chain()


def test_a_head_is_text_of_one_form(two: Store) -> None:
    with pytest.raises(sysgym.UsageError, match="a head is NUMBER:HASH or HASH"):
        two.check_chain("xyz")
    assert two.check_chain(f"1:{two.head()[1]}") != []


@pytest.mark.attack("An event is forged, such as the withdrawal of an entry that does not exist")
def test_forged_events_are_named(two: Store, tmp_path: Path) -> None:
    shutil.copy(two.path, tmp_path / "s.sqlite")
    store = Store(tmp_path / "s.sqlite")
    store.withdraw(1, "x")

    def forge(number: int, table: dict[str, Any], content: list[Any]) -> None:
        if number == 3:
            table["entry"] = 8

    assert "which is no accepted entry of" in " ".join(rewritten(store, forge).check_chain())

    def break_it(number: int, table: dict[str, Any], content: list[Any]) -> None:
        if number == 3:
            table["reason"] = 7

    assert "entry 3 of the store is damaged" in " ".join(rewritten(store, break_it).check_chain())
