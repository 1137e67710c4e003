"""The process that judges a submission: `python -m sysgym_leaderboards.verify_worker`.

Input: one line of JSON (board, limits, imports, size), then the zip. Output: one line of JSON, the report, then the zip
of an accepted submission packed anew, so that nothing that was not read is ever stored. See `verify`.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import json
import math
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import sysgym
from sysgym.core.errors import InvalidSolution, MissingDependency, SysgymError, UsageError
from sysgym.core.problem import AnyProblem, Array, Solution, Verdict
from sysgym.core.registry import Registry
from sysgym.core.solutions import check_arrays, freedom_of, restricted
from sysgym_leaderboards.archive import check_size, read_zip, write_zip
from sysgym_leaderboards.board import Board, board_names, instance_hash, load_board, parse_board
from sysgym_leaderboards.certificates import Row
from sysgym_leaderboards.judge import judge_of
from sysgym_leaderboards.names import bounded
from sysgym_leaderboards.submissions import (
    Answer,
    Submission,
    canonical_members,
    coverage_problem,
    of_division,
    read_bytes,
)

CLAIMED = 1e-9  # relative difference that a claimed cost may have, as it was written down
PLAYER = "portable"  # who runs the agents of submissions, among entry points
policy_registry = Registry("sysgym.players")


def die_with_parent(parent: int) -> None:
    """Kill this process when the one that started it is gone: nobody reads the report then."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: at once, even inside a kernel
    if sys.platform != "linux" or os.getppid() != parent:
        threading.Thread(target=watch, daemon=True).start()


def limit_process(limits: Mapping[str, Any]) -> None:
    """Limit this process for good."""
    memory, size = limits["memory_mb"] * 2**20, limits["file_mb"] * 2**20
    for what, soft, hard in (
        (resource.RLIMIT_CPU, limits["cpu_seconds"], limits["cpu_seconds"] + 5),
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_FSIZE, size, size),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        if what == resource.RLIMIT_AS and sys.platform == "darwin":
            continue  # the system does not offer it
        _, most = resource.getrlimit(what)
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(what, (soft, hard))


def import_modules(names: Sequence[str]) -> None:
    """Import modules, by name or from `.py` files, that register further problems."""
    for number, name in enumerate(names):
        if not name.endswith(".py"):
            importlib.import_module(name)
            continue
        spec = importlib.util.spec_from_file_location(f"sysgym_import_{number}_{Path(name).stem}", name)
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot import {name}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)


class BoardError(Exception):
    """The board cannot be judged here; that is not the fault of a submission."""


def _same(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether these are the same options, of the same types: 2.0 is not 2, and true is not 1."""
    mine, theirs = dict(given), dict(wanted)
    return mine == theirs and json.dumps(mine, sort_keys=True) == json.dumps(theirs, sort_keys=True)


def check_head(submission: Submission, board: Board) -> None:
    """Refuse a submission to another board, or to another state of this one."""
    if submission.board != board.id:
        raise InvalidSolution(f"the submission is for the board {submission.board!r}, not for {board.id!r}.")
    if submission.board_hash != board.hash:
        raise InvalidSolution(
            f"the submission was made for other rules of {board.id}: its board hash is "
            f"{submission.board_hash[:12]}..., expected {board.hash[:12]}..."
        )
    if submission.problem != board.problem or not _same(submission.options, board.options):
        raise InvalidSolution(
            f"the submission solves {submission.problem} with {dict(submission.options)}, "
            f"the board asks for {board.problem} with {dict(board.options)}."
        )
    wrong = of_division(board, bool(submission.policy))
    if wrong:
        raise InvalidSolution(wrong)


def check_coverage(submission: Submission, pairs: Sequence[tuple[str, int]]) -> None:
    """Refuse a submission that does not answer exactly the (instance, seed) pairs of the board."""
    gap = coverage_problem(submission.answers, pairs)
    if gap:
        raise InvalidSolution(gap)
    if set(submission.instances) != {name for name, _ in pairs}:
        raise InvalidSolution("the submission lists instances that the board does not have.")


def _prepare(board: Board) -> tuple[Any, list[str]]:
    try:
        problem = board.make_problem()
        board.freedom_in(problem)
        return problem, board.instance_names(problem)
    except UsageError as error:
        raise BoardError(f"board {board.id}: {error}") from error


def _load(board: Board, problem: AnyProblem, name: str) -> tuple[Any, str, float]:
    """An instance, its content hash (checked against the index) and its reference cost."""
    try:
        instance = problem.load(name)
        digest = sysgym.content_hash(instance)
        if digest != instance_hash(problem, name):
            raise UsageError(f"{name} does not have the content that its index promises.")
        references = problem.reference_costs(instance)
    except UsageError as error:
        raise BoardError(f"board {board.id}: {error}") from error
    if board.reference not in references:
        known = ", ".join(references) or "none"
        raise BoardError(f"board {board.id}: no reference cost {board.reference!r} for {name}; known: {known}.")
    return instance, digest, float(references[board.reference])


def judge_rows(submission: Submission, board: Board, problem: AnyProblem, names: Sequence[str]) -> Iterator[Row]:
    """Judge every answer, in the board's order. InvalidSolution names the first one that is no solution, or says that
    all are of a narrower freedom than the board's: those have boards of their own.
    """
    freedom, narrow = board.freedom_in(problem), set[str]()
    for name in names:
        instance, digest, reference = _load(board, problem, name)
        given = submission.instances[name]
        if given != digest:
            raise InvalidSolution(
                f"{name} was solved on other data: its hash is {given[:12]}... in the submission, "
                f"{digest[:12]}... on the board."
            )
        for seed in range(board.seeds):
            answer = submission.answers[name, seed]
            yield _judge((problem, freedom), instance, (name, seed), answer, reference)
            narrow.add(_freedom(problem, freedom, instance, answer))
    if freedom and freedom not in narrow:
        found = " or ".join(map(repr, sorted(narrow)))
        raise InvalidSolution(
            f"the board is for the freedom {freedom!r}, and every answer is of {found}; submit it to such a board."
        )


def played(submission: Submission, board: Board, problem: AnyProblem, names: Sequence[str], pace: float) -> Submission:
    """The submission with what its agent answers every (instance, seed), run here, and the agent's files as they are
    stored. InvalidSolution where it fails, or takes more than `pace` times the CPU time that the board gives for one;
    BoardError where what it needs is not installed here.
    """
    if PLAYER not in policy_registry.names():
        raise BoardError(f"board {board.id} runs agents, and no package that does is installed here.")
    try:
        play, files = policy_registry.get(PLAYER)(submission.policy)
    except MissingDependency as error:
        raise BoardError(f"board {board.id}: the submitted agent needs more than is installed here: {error}") from error
    except Exception as error:  # files from strangers: reading them may fail in any way
        raise InvalidSolution(f"the submitted agent cannot be used: {_told(error)}") from error
    found: dict[tuple[str, int], Answer] = {}
    for name in names:
        instance = _load(board, problem, name)[0]
        for seed in range(board.seeds):
            try:
                solution, spent = play(problem, instance, seed, board.steps or None)
                arrays = {str(key): np.asarray(value) for key, value in solution.items()}
            except MissingDependency as error:
                raise BoardError(f"board {board.id}: the agent needs more than is installed here: {error}") from error
            except Exception as error:  # agents run by numbers from strangers: they may fail in any way
                raise InvalidSolution(f"the agent fails at {name} with seed {seed}: {_told(error)}") from error
            if spent > board.seconds * pace:
                raise InvalidSolution(
                    f"the agent took {spent:.0f} CPU seconds for {name} with seed {seed}; the board gives "
                    f"{board.seconds:g}."
                )
            found[name, seed] = Answer(arrays)
    return replace(submission, answers=found, policy=files)


def _told(error: Exception) -> str:
    """An error as a part of a sentence."""
    what = str(error) if isinstance(error, SysgymError) else f"{type(error).__name__}: {error}"
    return bounded(what.rstrip("."), 300) + "."


def _freedom(problem: AnyProblem, freedom: str, instance: Any, answer: Answer) -> str:
    """The freedom of an answer on a board of `freedom`, which everything fits that has more."""
    if freedom == next(iter(problem.freedoms), ""):
        return freedom
    arrays = check_arrays(problem.solution_arrays(instance), answer.arrays)
    return freedom_of(problem, instance, restricted(problem, instance, arrays, freedom))


def solution_hash(arrays: Mapping[str, Array]) -> str:
    """SHA-256 over checked arrays: the same for equal values, however they were written."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(f"|{name}:{little.dtype.str}{little.shape}".encode() + little.tobytes())
    return digest.hexdigest()


def _judge(
    rules: tuple[AnyProblem, str], instance: Any, place: tuple[str, int], answer: Answer, reference: float
) -> Row:
    """The row of an answer to (instance, seed) by a problem, as the board's freedom leaves it."""
    (problem, freedom), (name, seed) = rules, place
    try:
        arrays = check_arrays(problem.solution_arrays(instance), answer.arrays)  # a judge may be careless
        judged = restricted(problem, instance, arrays, freedom)
        verdict = problem.judge(instance, judged)
    except (InvalidSolution, UsageError) as error:
        raise InvalidSolution(f"{name} seed {seed}: {error}") from error
    feasible, cost = bool(verdict.feasible), float(verdict.cost)
    if math.isnan(cost) or (feasible and not math.isfinite(cost)):
        raise InvalidSolution(f"{name} seed {seed}: the judged cost is {cost}, which cannot be ranked.")
    beside = _beside(problem, instance, judged, verdict)
    metrics = {str(key): float(value) for key, value in verdict.metrics.items() if math.isfinite(value)} | beside
    violations = tuple(bounded(text, 300) for text in verdict.violations[:20])
    claims = (answer.cost, answer.seconds, answer.evaluations)
    canonical = judged if problem.canonical is None else problem.canonical(instance, judged)
    hashes = solution_hash(arrays), solution_hash({key: np.asarray(value) for key, value in canonical.items()})
    return Row(name, seed, feasible, cost, reference, metrics, violations, *claims, *hashes, beside=tuple(beside))


def _beside(problem: AnyProblem, instance: Any, solution: Solution, verdict: Verdict) -> dict[str, float]:
    """What stands beside the cost of a solution; BoardError if the problem cannot say it here, or says it wrongly."""
    if problem.beside is None:
        return {}
    try:
        found = {str(name): float(value) for name, value in problem.beside(instance, solution).items()}
    except UsageError as error:
        raise BoardError(f"what stands beside the cost on {instance.name} is not known here: {error}") from error
    for name, value in found.items():
        if name in verdict.metrics or not math.isfinite(value):
            raise BoardError(f"{problem.name} puts {name} = {value} beside the cost: a metric already, or not finite.")
    return found


def claim_mismatch(rows: Sequence[Row], precision: float) -> str:
    """A sentence about the first claimed cost that is not the judged one (`Problem.precision`), or ''."""
    for row in rows:
        if row.claimed is None:
            continue
        where = f"{row.instance} seed {row.seed}: the claimed cost is {row.claimed!r}"
        if math.isinf(row.cost):
            return f"{where}, but the answer is infeasible and has no cost."
        if abs(row.claimed - row.cost) > max(precision, CLAIMED) * abs(row.cost):
            return f"{where}, but it was judged {row.cost!r}."
    return ""


def named_board(submission: Submission) -> Board:
    """The installed board that a submission is for."""
    if submission.board not in board_names():
        raise BoardError(
            f"the submission is for the board {submission.board!r}, which is not installed; give its file by --board."
        )
    return load_board(submission.board)


def report_on(data: bytes, board: Board | None, pace: float = 1.0) -> tuple[dict[str, Any], bytes]:
    """The report: who submitted, who judged, the judged rows, and the reason if it must be rejected; and the zip of an
    accepted submission in its canonical form. Without a board, the submission names it.
    """
    report: dict[str, Any] = {
        "submission": hashlib.sha256(data).hexdigest(), "board": "", "board_hash": "", "agent": "", "about": {},
        "instances": [], "rows": [], "reason": "", "accepted": False, "judge": None, "unchanged": False,
    }  # fmt: skip
    rows: list[Row] = []
    packed = b""
    try:
        submission = None
        if board is None:
            submission = read_bytes(data)
            board = named_board(submission)
        report |= {"board": board.id, "board_hash": board.hash}
        problem, names = _prepare(board)
        report["judge"] = vars(judge_of(problem))
        submission = submission or read_bytes(data)
        about = dict(submission.about)
        report |= {"agent": about.pop("agent"), "about": about, "instances": names}
        check_head(submission, board)
        if submission.policy:
            submission = played(submission, board, problem, names, pace)
        check_coverage(submission, [(name, seed) for name in names for seed in range(board.seeds)])
        for row in judge_rows(submission, board, problem, names):
            rows.append(row)
        report["reason"] = claim_mismatch(rows, problem.precision)
        if not report["reason"]:
            ordered = replace(submission, instances={name: submission.instances[name] for name in names})
            members = canonical_members(ordered, board)
            packed = write_zip(members)
            check_size(packed)
            report |= {"accepted": True, "unchanged": members == read_zip(data)}
    except InvalidSolution as error:
        report["reason"] = str(error)
    except BoardError as error:
        report["usage"] = str(error)
    return {**report, "rows": [row.as_dict() for row in rows]}, packed


def main() -> None:
    """Read a request from stdin, judge within the limits, write the report to stdout."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a problem prints goes to stderr, not into the report
    request = json.loads(sys.stdin.buffer.readline())
    die_with_parent(request["parent"])
    limit_process(request["limits"])
    data = sys.stdin.buffer.read(request["size"])
    if len(data) != request["size"]:
        raise EOFError("the submission did not arrive completely")
    import_modules(request["imports"])
    board = parse_board(request["board"], "the board") if request["board"] else None
    report, packed = report_on(data, board, request["limits"]["pace"])
    with output:
        output.write(json.dumps(report, allow_nan=False).encode() + b"\n" + packed)


if __name__ == "__main__":
    main()
