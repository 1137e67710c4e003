"""A submission names its board: the limited process reads that, never the command's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sysgym
from sysgym_leaderboards import Board, Store, archive, submissions
from sysgym_leaderboards.verify import Limits, judge_bytes
from sysgym_zoo.jobs import boards

Edited = Callable[..., bytes]


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process cannot look into a zip file, nor parse what is in one."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("the command's own process reads a submission")

    for module, name in ((archive, "read_zip"), (submissions, "read_zip"), (submissions, "read_bytes")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr("zipfile.ZipFile.__init__", refuse)


@pytest.mark.usefixtures("blind")
def test_the_command_never_opens_the_zip(packed: bytes, board: Board, tmp_path: Path) -> None:
    file, path = tmp_path / "a.zip", tmp_path / "store.sqlite"
    file.write_bytes(packed)
    certificate = boards.submit(file, None, path)
    assert certificate.accepted and (certificate.board, certificate.board_hash) == (board.id, board.hash)
    again = boards.submit(file, None, path)  # told by its hash alone
    assert not again.accepted and again.reason == f"this submission is on {board.id} already, as entry 1."
    assert Store(path).head()[0] == 1
    with pytest.raises(sysgym.UsageError, match="cannot read the submission"):
        boards.submit(tmp_path / "none.zip", None, path)


def test_a_submission_without_a_usable_board(edited: Edited, tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    for change, error, sentence in (
        (
            {"board": "nowhere-v1"},
            sysgym.UsageError,
            "for the board 'nowhere-v1', which is not installed; give its file",
        ),
        ({"board": "../evil.toml"}, sysgym.InvalidSolution, "board must be the id of a board"),
        ({"schema": "x"}, sysgym.InvalidSolution, "schema must be"),
    ):
        (tmp_path / "a.zip").write_bytes(edited(lambda m, change=change: m.update(change)))
        with pytest.raises(error, match=sentence):
            store.submit(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(sysgym.InvalidSolution, match="no plain zip"):
        store.submit(tmp_path / "a.zip")
    assert store.head()[0] == 0 and not store.path.exists()


def test_a_worker_that_fails_before_it_names_a_board(packed: bytes) -> None:
    with pytest.raises(sysgym.InvalidSolution, match="took longer than"):
        judge_bytes(packed, limits=Limits(wall_seconds=0.01))


def test_a_wrong_claim_is_rejected_on_the_named_board(edited: Edited, board: Board, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(edited(lambda m: m["answers"][0].update(cost=1.0)))
    certificate = Store(tmp_path / "store.sqlite").submit(tmp_path / "a.zip")
    assert not certificate.accepted and certificate.board == board.id and "claimed cost is 1.0" in certificate.reason
