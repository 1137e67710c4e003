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
from typing import IO, Any, NamedTuple

import sysgym
from sysgym.core.errors import InvalidSolution, UsageError
from sysgym_leaderboards.archive import MAX_FILE, read_file_limited
from sysgym_leaderboards.board import Board, board_names, load_board
from sysgym_leaderboards.certificates import Certificate, parse_judge, parse_row
from sysgym_leaderboards.names import bounded

WORKER = "sysgym_leaderboards.verify_worker"
_THREADS = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
_PASSED = (  # what the worker sees of the environment: where things lie and how text is written
    "PATH", "HOME", "USER", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV",
    "XDG_CACHE_HOME", "XDG_DATA_HOME", "SYSGYM_DATA",
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What the verification process may use."""

    wall_seconds: float = 900.0
    cpu_seconds: int = 600
    memory_mb: int = 6144  # address space
    file_mb: int = 64  # largest file that it may write, its own report included
    pace: float = 1.0  # times the board's seconds that a submitted agent may take; more for an entry that was accepted


class _Failed(Exception):
    """The worker gave no usable report; the sentence becomes the reason of the rejection."""


class Judged(NamedTuple):
    """A certificate, the canonical zip of an accepted submission, and whether the one given holds the very same."""

    certificate: Certificate
    packed: bytes
    unchanged: bool


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
        return refusal(board, str(error))
    return judge_bytes(data, board, limits=limits, imports=imports).certificate


def refusal(board: Board, reason: str, submission: str = "") -> Certificate:
    """The certificate of what was not judged."""
    return Certificate(board.id, board.hash, submission, reason=reason, suite_version=sysgym.__version__)


def judge_bytes(
    data: bytes, board: Board | None = None, *, limits: Limits | None = None, imports: Sequence[str] = ()
) -> Judged:
    """`verify` for a submission in memory. Without a board, the one that the submission names: the limited process
    reads that too; InvalidSolution if it cannot, UsageError if that board is not installed.
    """
    if os.name != "posix":
        raise UsageError("verification limits a process by rlimits; use Linux or macOS (or WSL on Windows).")
    started = time.perf_counter()
    digest = hashlib.sha256(data).hexdigest()
    try:
        report, packed = _run(data, board, limits or Limits(), imports)
        board = board or _named_board(report)
        certificate = _read_report(report, refusal(board, "", digest), board)
        if certificate.accepted:
            certificate = replace(certificate, submission=hashlib.sha256(packed).hexdigest())
    except _Failed as error:
        if board is None:
            raise InvalidSolution(str(error)) from error
        report, packed, certificate = {}, b"", refusal(board, str(error), digest)
    certificate = replace(certificate, judge_seconds=round(time.perf_counter() - started, 3))
    return Judged(certificate, packed if certificate.accepted else b"", report.get("unchanged") is True)


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


def judging_environment() -> dict[str, str]:
    """The environment of the worker: a few named variables, one thread, and a cache of kernels that only it writes."""
    from sysgym import compiled

    kernels = str(compiled.root().with_name("judge-kernels"))
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    return {**passed, **_THREADS, "PYTHONHASHSEED": "0", compiled.ENVIRONMENT_VARIABLE: kernels}


def _run(data: bytes, board: Board | None, limits: Limits, imports: Sequence[str]) -> tuple[Mapping[str, Any], bytes]:
    """The report of the worker, and the submission as it packs it.

    Its input is one line of JSON and then the bytes of the submission; so is its output.
    """
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
            env=judging_environment(),
        )
        code = _wait(process, limits)
        if code:
            raise _Failed(_death(code, limits, stderr))
        stdout.seek(0)
        line, packed = stdout.readline(limits.file_mb * 2**20 + 1), stdout.read(MAX_FILE + 1)
    try:
        report = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _Failed(f"the verification process printed no report: {error}.") from error
    if not isinstance(report, dict):
        raise _Failed("the verification process printed no report.")
    return report, packed


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
    last = bounded(lines[-1], 300) if lines else "it said nothing"
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
            judge=parse_judge(report["judge"]),
        )
        same = report["submission"] == empty.submission and report["board_hash"] == empty.board_hash
    except (KeyError, TypeError, ValueError) as error:
        raise _Failed(f"the verification process printed a wrong report: {error}.") from error
    if certificate.reason:
        return certificate
    expected = [(name, seed) for name in certificate.instances for seed in range(board.seeds)]
    if (
        certificate.judge is None
        or not same
        or not expected
        or [(row.instance, row.seed) for row in certificate.rows] != expected
    ):
        raise _Failed("the verification process reported on something else than this submission.")
    return replace(certificate, accepted=report.get("accepted") is True)
