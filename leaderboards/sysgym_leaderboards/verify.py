"""Verification: a submission is judged again, in a separate process with limits.

Whatever goes wrong there (a crash, a limit, nonsense on its output) gives a rejected certificate.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import sysgym
from sysgym.core.errors import InvalidSolution, UsageError
from sysgym_leaderboards.archive import read_file_limited
from sysgym_leaderboards.board import Board, board_names, load_board
from sysgym_leaderboards.certificates import Certificate, parse_row

WORKER = "sysgym_leaderboards.verify_worker"
_ENVIRONMENT = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMBA")}


@dataclass(frozen=True)
class Limits:
    """What the verification process may use."""

    wall_seconds: float = 900.0
    cpu_seconds: int = 600
    memory_mb: int = 6144  # address space
    file_mb: int = 64  # largest file that it may write, its own report included


class _Failed(Exception):
    """The worker gave no usable report; the sentence becomes the reason of the rejection."""


def verify(
    path: str | Path,
    board: Board | str | Path,
    *,
    limits: Limits | None = None,
    imports: Sequence[str] = (),
) -> Certificate:
    """Judge a submission file for a board. A broken or wrong one gives a rejected certificate, no exception.

    `imports` names modules (or `.py` files) that register problems which are not installed as plugins.
    UsageError: the file cannot be read, or the board itself cannot be judged on this machine.
    """
    board = board if isinstance(board, Board) else load_board(board)
    try:
        data = read_file_limited(path)
    except InvalidSolution as error:
        return Certificate(board.id, board.hash, "", reason=str(error), suite_version=sysgym.__version__)
    return verify_bytes(data, board, limits=limits, imports=imports)


def verify_bytes(
    data: bytes, board: Board | None = None, *, limits: Limits | None = None, imports: Sequence[str] = ()
) -> Certificate:
    """`verify` for a submission in memory. Without a board, the one that the submission names: the limited process
    reads that too; InvalidSolution if it cannot, UsageError if that board is not installed.
    """
    if os.name != "posix":
        raise UsageError("verification limits a process by rlimits; use Linux or macOS (or WSL on Windows).")
    started = time.perf_counter()
    digest = hashlib.sha256(data).hexdigest()
    try:
        report = _run(data, board, limits or Limits(), imports)
        board = board or _named_board(report)
        empty = Certificate(board.id, board.hash, digest, suite_version=sysgym.__version__)
        certificate = _read_report(report, empty, board)
    except _Failed as error:
        if board is None:
            raise InvalidSolution(str(error)) from error
        certificate = Certificate(board.id, board.hash, digest, reason=str(error), suite_version=sysgym.__version__)
    return replace(certificate, judge_seconds=round(time.perf_counter() - started, 3))


def _named_board(report: Mapping[str, Any]) -> Board:
    """The installed board that a report is about; the worker's word is not taken for more than a name."""
    if report.get("usage"):
        raise UsageError(str(report["usage"]))
    name = report.get("board")
    if not isinstance(name, str) or name not in board_names():
        raise InvalidSolution(str(report.get("reason") or "the submission names no board."))
    return load_board(name)


def _command() -> list[str]:
    return [sys.executable, "-P", "-m", WORKER]  # -P: no module is taken from the current folder


def _run(data: bytes, board: Board | None, limits: Limits, imports: Sequence[str]) -> Mapping[str, Any]:
    """The report of the worker. Its input is one line of JSON and then the bytes of the submission."""
    request = {
        "board": None if board is None else board.as_dict(),
        "limits": asdict(limits),
        "imports": list(imports),
        "parent": os.getpid(),
        "size": len(data),
    }
    with contextlib.ExitStack() as stack:
        stdin, stdout, stderr = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        stdin.write(json.dumps(request).encode() + b"\n" + data)
        stdin.seek(0)
        process = subprocess.Popen(
            _command(),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            env={**os.environ, **_ENVIRONMENT},
        )
        code = _wait(process, limits)
        if code:
            raise _Failed(_death(code, limits, stderr))
        stdout.seek(0)
        output = stdout.read(limits.file_mb * 2**20 + 1)
    try:
        report = json.loads(output)
    except (ValueError, RecursionError) as error:
        raise _Failed(f"the verification process printed no report: {error}.") from error
    if not isinstance(report, dict):
        raise _Failed("the verification process printed no report.")
    return report


def _wait(process: subprocess.Popen[bytes], limits: Limits) -> int:
    try:
        return process.wait(timeout=limits.wall_seconds)
    except subprocess.TimeoutExpired as error:
        raise _Failed(f"judging took longer than {limits.wall_seconds:g} seconds and was stopped.") from error
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # children of the worker, if any, go with it
        process.wait()


def _death(code: int, limits: Limits, stderr: IO[bytes]) -> str:
    stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - 4096))
    lines = stderr.read().decode("utf-8", "replace").strip().splitlines()
    last = "".join(c for c in lines[-1] if c.isprintable())[:300] if lines else "it said nothing"
    if code == -signal.SIGXCPU:
        return f"judging took more than {limits.cpu_seconds} CPU seconds and was stopped."
    if code < 0:
        return f"the verification process was killed by signal {-code} ({last})."
    return f"the verification process failed with code {code}: {last}"


def _read_report(report: Mapping[str, Any], empty: Certificate, board: Board) -> Certificate:
    """The certificate behind a report. It accepts only what covers the board completely."""
    if report.get("usage"):
        raise UsageError(str(report["usage"]))
    try:
        certificate = replace(
            empty,
            agent=str(report["agent"]),
            about=dict(report["about"]),
            instances=tuple(map(str, report["instances"])),
            rows=tuple(parse_row(row) for row in report["rows"]),
            reason=str(report["reason"]),
        )
        same = report["submission"] == empty.submission and report["board_hash"] == empty.board_hash
    except (KeyError, TypeError, ValueError) as error:
        raise _Failed(f"the verification process printed a wrong report: {error}.") from error
    if certificate.reason:
        return certificate
    expected = [(name, seed) for name in certificate.instances for seed in range(board.seeds)]
    if not same or not expected or [(row.instance, row.seed) for row in certificate.rows] != expected:
        raise _Failed("the verification process reported on something else than this submission.")
    return replace(certificate, accepted=report.get("accepted") is True)
