"""Verification: what is wrong is rejected with a sentence, and a judge that fails never accepts."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sysgym
from sysgym_leaderboards import Answer, Board, Certificate, Limits, pack, verify
from sysgym_leaderboards.certificates import parse_certificate
from sysgym_leaderboards.submissions import read_bytes
from sysgym_leaderboards.verify import judge_bytes
from sysgym_leaderboards.verify_worker import check_head, report_on

verify_module = sys.modules["sysgym_leaderboards.verify"]
Edited = Callable[..., bytes]


def judged(data: bytes, board: Board) -> dict[str, Any]:
    """What the worker reports, without a process of its own (it is the slow part)."""
    report, _ = report_on(data, board)
    assert report["accepted"] is (not report["reason"])
    return report


def array(values: Any, file: str = "part.npy") -> tuple[Callable[[dict[str, Any]], None], dict[str, Any]]:
    """A change of the first answer to other values: the manifest's function and the members."""
    if file.endswith(".npy"):
        stream = io.BytesIO()
        np.save(stream, values)
        data = stream.getvalue()
    else:
        data = json.dumps(values).encode()

    def change(manifest: dict[str, Any]) -> None:
        manifest["answers"][0]["files"] = {file: hashlib.sha256(data).hexdigest()}

    return change, {"solutions/0/0/part.npy": None, f"solutions/0/0/{file}": data}


def test_a_certificate_starts_rejected() -> None:
    assert Certificate("b", "h", "s").accepted is False


def test_a_true_claim_is_accepted(packed: bytes, board: Board, halves: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(packed)
    found = verify(path, board.id)
    assert found.accepted and not found.reason and found.agent == "halves"
    assert found.submission == hashlib.sha256(packed).hexdigest()
    assert {(row.instance, row.seed): row.cost for row in found.rows} == {p: a.cost for p, a in halves.items()}
    assert [row.reference for row in found.rows] == [16.0, 8.0, 14.0, 26.0]
    # the grid's ids run along its columns, so the first half is a side of 8 cut edges: the optimum
    assert next(row for row in found.rows if row.instance == "tiny/grid-test").cost == 8.0
    assert parse_certificate(json.loads(json.dumps(found.as_dict()))) == found


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.full(64, 2), "holds values from 2 to 2, expected 0 to 1"),
        (np.full(64, -1), "holds values from -1"),
        (np.zeros(63, int), "has shape (63,), expected (64,)"),
        (np.zeros(65, int), "has shape (65,)"),
        (np.zeros((64, 1), int), "has shape (64, 1)"),
        (np.zeros(64), "has type float64, expected int"),
        (-np.zeros(64), "has type float64"),
        (np.full(64, np.nan), "not finite"),
        (np.zeros(64, bool), "type is bool"),
        (np.full(64, 2**64 - 1, np.uint64), "holds values from 18446744073709551615"),
    ],
)
def test_wrong_arrays_are_rejected(edited: Edited, board: Board, values: Any, sentence: str) -> None:
    change, members = array(values)
    report = judged(edited(change, members=members), board)
    assert sentence in report["reason"] and not report["accepted"]


def test_float_ids_in_json_are_rejected(edited: Edited, board: Board) -> None:
    change, members = array([0.0, 1.0] * 32, "part.json")
    assert "expected int" in judged(edited(change, members=members), board)["reason"]


def test_other_arrays_are_rejected(edited: Edited, board: Board) -> None:
    change, members = array(np.zeros(64, int), "colour.npy")
    assert "expected the arrays part, got colour" in judged(edited(change, members=members), board)["reason"]


def test_a_mutated_solution_breaks_its_claim(edited: Edited, packed: bytes, board: Board) -> None:
    part = read_bytes(packed).answers["tiny/delaunay-test", 0].arrays["part"].copy()
    part[[0, 63]] = part[[63, 0]]
    change, members = array(part)
    assert "the claimed cost is" in judged(edited(change, members=members), board)["reason"]
    assert (
        "sha256"
        in judged(edited(members={"solutions/0/0/part.npy": members["solutions/0/0/part.npy"]}), board)["reason"]
    )


@pytest.mark.parametrize("factor", [0.5, 2.0, 1 - 3e-9, 1 + 3e-9, 0.0, -1.0])
def test_a_wrong_claim_is_rejected(edited: Edited, board: Board, factor: float) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["answers"][2]["cost"] *= factor

    report = judged(edited(change), board)
    assert "tiny/geometric-test seed 0: the claimed cost is" in report["reason"]
    assert len(report["rows"]) == 4  # the judged numbers are in the report all the same


def test_rounding_and_silence_are_no_wrong_claims(edited: Edited, board: Board) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["answers"][0]["cost"] *= 1 + 5e-10
        manifest["answers"][1]["cost"] = None
        manifest["answers"][2]["cost"] = int(manifest["answers"][2]["cost"])

    assert judged(edited(change), board)["accepted"]


def swapped(manifest: dict[str, Any]) -> None:
    a, b = manifest["instances"][:2]
    a["name"], b["name"] = b["name"], a["name"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.update(board="partitioning-delaunay-k4-v1"), "for the board 'partitioning-delaunay-k4-v1'"),
        (lambda m: m.update(board_hash="0" * 64), "made for other rules"),
        (lambda m: m.update(options={"k": 3, "eps": 0.03}), "the board asks for Partitioning-v0 with"),
        (lambda m: m.update(options={"k": 2, "eps": 0.5}), "the board asks for"),
        (lambda m: m.update(options={"k": 2.0, "eps": 0.03}), "with {'k': 2.0, 'eps': 0.03}, the board asks for"),
        (lambda m: m.update(problem="Clustering-v0"), "the submission solves Clustering-v0"),
        (lambda m: m["instances"][0].update(hash="0" * 64), "tiny/delaunay-test was solved on other data"),
        (lambda m: m["instances"][0].update(name="tiny/delaunay-train"), "3 of 4 (instance, seed) pairs"),
        (lambda m: m["instances"].append({"name": "tiny/x", "hash": "0" * 64}), "does not have"),
        (swapped, "was solved on other data"),
    ],
)
def test_other_boards_and_instances_are_rejected(edited: Edited, board: Board, change: Any, sentence: str) -> None:
    assert sentence in judged(edited(change), board)["reason"]


@pytest.mark.parametrize(
    ("given", "wanted", "same"),
    [(True, 1, False), (1, True, False), (0.0, False, False), (2.0, 2, False), (1, 1, True), (True, True, True)],
)
def test_options_agree_in_type(packed: bytes, board: Board, given: Any, wanted: Any, same: bool) -> None:
    asked = replace(board, options={"k": 2, "eps": wanted})
    submission = replace(read_bytes(packed), options={"eps": given, "k": 2}, board_hash=asked.hash)
    if same:
        check_head(submission, asked)
        return
    with pytest.raises(sysgym.InvalidSolution, match="the board asks for"):
        check_head(submission, asked)


def test_a_changed_board_rejects_what_was_made_before(packed: bytes, board: Board) -> None:
    assert "other rules" in judged(packed, replace(board, penalty=3.0))["reason"]


def test_partial_coverage_is_rejected(edited: Edited, board: Board) -> None:
    def change(manifest: dict[str, Any]) -> None:
        del manifest["answers"][3]

    reason = judged(edited(change, members={"solutions/3/0/part.npy": None}), board)["reason"]
    assert reason == ("3 of 4 (instance, seed) pairs are answered, missing: tiny/stochastic_block-test seed 0.")


def test_22_of_23_instances_are_rejected(toy_board: Callable[..., Board], toy_pack: Callable[..., Path]) -> None:
    names = tuple("x" * (index + 1) for index in range(23))
    wide = toy_board(instances=names, seeds=1)
    path = toy_pack(wide)
    submission = read_bytes(path.read_bytes())
    assert len(submission.answers) == 23 and judged(path.read_bytes(), wide)["accepted"]
    narrow = toy_board(instances=names[:22], seeds=1)
    short = toy_pack(narrow)
    with zipfile.ZipFile(short) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members["submission.json"])
    manifest["board_hash"] = wide.hash  # it pretends to be for the board of 23
    members["submission.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(short, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    reason = judged(short.read_bytes(), wide)["reason"]
    assert reason == f"22 of 23 (instance, seed) pairs are answered, missing: {'x' * 23} seed 0."


def test_infeasible_answers_are_allowed(board: Board, halves: Any, tmp_path: Path) -> None:
    problem = board.make_problem()
    graph = problem.load("tiny/grid-test")
    lopsided = np.zeros(graph.nodes, int)
    cost = problem.judge(graph, {"part": lopsided}).cost
    answers = {**halves, ("tiny/grid-test", 0): Answer({"part": lopsided}, cost)}
    path = pack(tmp_path / "a.zip", board, {"agent": "x"}, answers)
    report = judged(path.read_bytes(), board)
    assert report["accepted"]
    assert [row["feasible"] for row in report["rows"]] == [True, False, True, True]
    assert "weighs 64" in report["rows"][1]["violations"][0]


def test_an_infeasible_answer_without_cost_takes_no_claim(
    toy_board: Callable[..., Board], toy_pack: Callable[..., Path], toy_file: Path
) -> None:
    board = toy_board(behave="reject")
    found = verify(toy_pack(board), board, imports=[str(toy_file)])
    assert found.accepted and found.rows[0].cost == np.inf and not found.rows[0].feasible
    found = verify(toy_pack(board, cost=1.0), board, imports=[str(toy_file)])
    assert not found.accepted and "has no cost" in found.reason


def test_a_plugin_problem_is_imported(
    toy_board: Callable[..., Board], toy_pack: Callable[..., Path], toy_file: Path
) -> None:
    board = toy_board()
    path = toy_pack(board, choice=1)
    found = verify(path, board, imports=[str(toy_file)])
    assert found.accepted and [row.cost for row in found.rows] == [3.0, 3.0, 4.0, 4.0]
    assert [row.reference for row in found.rows] == [-2.0, -2.0, -1.0, -1.0]
    assert found.rows[0].metrics == {"choice": 1.0}  # what is not finite is left out
    with pytest.raises(sysgym.UsageError, match="unknown problem"):
        verify(path, board)  # without the import, the board cannot be judged: not the submission's fault


@pytest.mark.parametrize(
    ("behave", "sentence"),
    [
        ("exit", "printed no report"),
        ("crash", "failed with code 1: ZeroDivisionError: a slip in the judge"),
        ("kill", "killed by signal 9"),
        ("spin", "more than 2 CPU seconds"),
        ("sleep", "longer than 3 seconds"),
        ("memory", "MemoryError"),
        ("disk", "File too large"),
        ("nan", "the judged cost is nan"),
    ],
)
def test_a_judge_that_fails_never_accepts(
    toy_board: Callable[..., Board],
    toy_pack: Callable[..., Path],
    toy_file: Path,
    tmp_path: Path,
    behave: str,
    sentence: str,
) -> None:
    limits = Limits(wall_seconds=3 if behave == "sleep" else 60, cpu_seconds=2, memory_mb=4096, file_mb=8)
    board = toy_board(behave=f"disk:{tmp_path / 'large'}" if behave == "disk" else behave)
    path, started = toy_pack(board), time.monotonic()
    found = verify(path, board, limits=limits, imports=[str(toy_file)])
    assert found.accepted is False and not found.rows
    assert sentence in found.reason, found.reason
    assert time.monotonic() - started < 20


def test_what_a_judge_prints_does_not_reach_the_report(
    toy_board: Callable[..., Board], toy_pack: Callable[..., Path], toy_file: Path
) -> None:
    board = toy_board(behave="print")
    assert verify(toy_pack(board), board, imports=[str(toy_file)]).accepted


@pytest.mark.parametrize(
    "output",
    [
        "", "nonsense", "[]", "{}", "null", '{"accepted": true}', "[" * 100_000,
        '{"accepted": true, "agent": "a", "about": {}, "instances": [], "rows": [], "reason": "", '
        '"submission": "SHA", "board_hash": "HASH"}',
        '{"accepted": 1, "agent": "a", "about": {}, "instances": ["i"], "reason": "", "submission": "SHA", '
        '"board_hash": "HASH", "rows": [{"instance": "i", "seed": 0, "feasible": true, "cost": 1, "reference": 1, '
        '"metrics": {}, "violations": []}]}',
        '{"accepted": true, "agent": "a", "about": {}, "instances": ["i"], "reason": "", "submission": "other", '
        '"board_hash": "HASH", "rows": [{"instance": "i", "seed": 0, "feasible": true, "cost": 1, "reference": 1, '
        '"metrics": {}, "violations": []}]}',
        '{"accepted": true, "agent": "a", "about": {}, "instances": ["i"], "reason": "", "submission": "SHA", '
        '"board_hash": "HASH", "rows": [{"instance": "i", "seed": 0, "feasible": true, "cost": null, '
        '"reference": 1, "metrics": {}, "violations": []}]}',
        '{"accepted": true, "agent": "a", "about": {}, "instances": ["i"], "reason": "it is wrong", '
        '"submission": "SHA", "board_hash": "HASH", "rows": []}',
    ],
)  # fmt: skip
def test_nonsense_from_the_worker_is_rejected(
    packed: bytes, board: Board, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    text = output.replace("SHA", hashlib.sha256(packed).hexdigest()).replace("HASH", board.hash)
    code = f"import sys; sys.stdin.buffer.read(); print({text!r})"
    monkeypatch.setattr(verify_module, "_command", lambda: [sys.executable, "-S", "-c", code])
    found = judge_bytes(packed, board).certificate
    assert found.accepted is False and (found.reason or '"accepted": 1' in output)


def test_an_oversized_file_is_rejected(board: Board, tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    with path.open("wb") as stream:
        stream.truncate(33 * 2**20)
    found = verify(path, board)
    assert not found.accepted and "larger than" in found.reason


def test_a_board_without_reference_is_a_usage_error(packed: bytes, board: Board, halves: Any, tmp_path: Path) -> None:
    odd = replace(board, reference="nobody")
    path = pack(tmp_path / "a.zip", odd, {"agent": "x"}, halves)
    with pytest.raises(sysgym.UsageError, match="no reference cost 'nobody' for tiny/delaunay-test; known: metis"):
        verify(path, odd)
