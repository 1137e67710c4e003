"""Submissions: a zip of `submission.json` and one plain array file per instance, seed and array.

    solutions/<index of the instance>/<seed>/<array name>.npy      (or .json)

`read_submission` treats the file as hostile: nothing is extracted or unpickled, every size is counted.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import sysgym
from sysgym.core.errors import InvalidSolution, UsageError
from sysgym.core.problem import Array, Solution
from sysgym.core.solutions import parse_json, parse_npy
from sysgym_leaderboards.archive import MANIFEST, read_file_limited, read_zip, write_zip
from sysgym_leaderboards.board import Board
from sysgym_leaderboards.manifest import ABOUT, SCHEMA, check_manifest
from sysgym_leaderboards.names import bounded, normal


@dataclass(frozen=True)
class Answer:
    """A solution of one instance with one seed, and what its author claims about it."""

    arrays: Solution
    cost: float | None = None
    seconds: float | None = None
    evaluations: int | None = None


@dataclass(frozen=True)
class Submission:
    """A submission that is well formed; whether it is right, `verify` finds out."""

    sha256: str  # of the zip file
    board: str
    board_hash: str
    problem: str
    options: Mapping[str, Any]
    about: Mapping[str, Any]  # agent, authors, code, licence, hardware, threads, suite_version, created
    instances: Mapping[str, str]  # name -> content hash
    answers: Mapping[tuple[str, int], Answer] = field(repr=False)
    policy: Mapping[str, bytes] = field(default_factory=dict, repr=False)  # files of an agent that gives the answers


def pack(
    path: str | Path,
    board: Board,
    manifest: Mapping[str, Any],
    solutions: Mapping[tuple[str, int], Answer],
    policy: Mapping[str, bytes] | None = None,
) -> Path:
    """Write the submission of one agent to a board; the same arguments give the same bytes.

    `manifest` needs `agent`; `authors` (list), `code` (URL), `licence`, `hardware`, `threads` and `created`
    (`2026-01-31T12:00:00Z`) are optional. `solutions` answers every (instance, seed) of the board; on one of the
    division `policy` there are none, and `policy` holds the files of the agent instead (`agent.json`, and
    `model.safetensors` of one that learns).
    """
    target = Path(path)
    problem = board.make_problem()
    pairs = [] if policy else board.pairs(problem)
    gap = coverage_problem(solutions, pairs)
    if gap:
        raise UsageError(f"board {board.id}: {gap}")
    wrong = of_division(board, bool(policy))
    if wrong:
        raise UsageError(wrong)
    given = Submission(
        "", board.id, board.hash, board.problem, board.options, _complete(manifest), board.instance_hashes(problem),
        {pair: solutions[pair] for pair in pairs}, policy or {},
    )  # fmt: skip
    data = write_zip(canonical_members(given, board))
    try:
        read_bytes(data)  # what we write, we accept
    except InvalidSolution as error:
        raise UsageError(f"this cannot be submitted: {error}") from error
    try:
        target.write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror or error}.") from error
    return target


def of_division(board: Board, policy: bool) -> str:
    """'' or why a board takes no agent, or nothing else."""
    if policy == (board.division == "policy"):
        return ""
    if policy:
        return f"the board {board.id} takes solutions, and the submission holds an agent."
    return f"the board {board.id} runs agents itself: it takes an agent's files, and the submission holds solutions."


def canonical_members(given: Submission, board: Board) -> dict[str, bytes]:
    """What a submission to a board holds, in the one form in which it is stored: equal content, equal bytes."""
    order = {name: index for index, name in enumerate(given.instances)}
    members: dict[str, bytes] = {}
    answers = []
    for (name, seed), answer in sorted(given.answers.items(), key=lambda item: (order[item[0][0]], item[0][1])):
        files = {f"{key}.npy": _npy(key, value) for key, value in sorted(answer.arrays.items())}
        members.update({f"solutions/{order[name]}/{seed}/{file}": data for file, data in files.items()})
        digests = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
        claims = {
            "cost": _plain(answer.cost),
            "seconds": _plain(answer.seconds),
            "evaluations": answer.evaluations,
        }
        answers.append({"instance": order[name], "seed": seed, **claims, "files": digests})
    head = {
        "schema": SCHEMA,
        "board": given.board,
        "board_hash": given.board_hash,
        "problem": given.problem,
        "options": dict(board.options),  # the same, in the board's order
        "instances": [{"name": name, "hash": digest} for name, digest in given.instances.items()],
    }
    table = {**head, **given.about, "answers": answers}
    if given.policy:  # which gives the answers again
        digests = {file: hashlib.sha256(data).hexdigest() for file, data in sorted(given.policy.items())}
        table |= {"answers": [], "policy": digests}
        members = {f"agent/{file}": data for file, data in sorted(given.policy.items())}
    return {MANIFEST: json.dumps(table, indent=1, allow_nan=False).encode(), **members}


def coverage_problem(answered: Iterable[tuple[str, int]], asked: Sequence[tuple[str, int]]) -> str:
    """The rule of coverage: exactly the (instance, seed) pairs asked for are answered. '' or what is wrong.

    >>> coverage_problem([("a", 0)], [("a", 0), ("b", 0)])
    '1 of 2 (instance, seed) pairs are answered, missing: b seed 0.'
    """
    given, wanted = set(answered), set(asked)
    missing = [pair for pair in asked if pair not in given]
    extra = sorted(given - wanted)
    parts = []
    if missing:
        named = ", ".join(f"{name} seed {seed}" for name, seed in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        count = f"{len(asked) - len(missing)} of {len(asked)}"
        parts.append(f"{count} (instance, seed) pairs are answered, missing: {named}{more}")
    if extra:
        named = ", ".join(f"{name} seed {seed}" for name, seed in extra[:3])
        parts.append(f"the board does not ask for {named}")
    return "; ".join(parts) + "." if parts else ""


def _complete(manifest: Mapping[str, Any]) -> dict[str, Any]:
    for key in manifest:
        if key not in ABOUT:
            raise UsageError(f"a submission has no field {str(key)!r}; known: {', '.join(ABOUT)}.")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    empty: dict[str, Any] = {
        "agent": "",
        "authors": [],
        "code": "",
        "licence": "",
        "hardware": "",
        "threads": None,
    }
    return {**empty, "suite_version": sysgym.__version__, "created": now, **manifest}


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value) + 0.0  # -0.0 is 0.0


def _npy(name: str, value: Any) -> bytes:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise UsageError(f"array {name!r} has type {array.dtype}, expected integers or floats.")
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array, array.dtype.newbyteorder("<")), allow_pickle=False)
    return stream.getvalue()


def read_submission(path: str | Path) -> Submission:
    """Read a submission; InvalidSolution says in one sentence what is wrong with it."""
    return read_bytes(read_file_limited(path))


def read_bytes(data: bytes) -> Submission:
    """`read_submission` on bytes."""
    members = read_zip(data)
    if MANIFEST not in members:
        raise InvalidSolution(f"the zip holds no {MANIFEST}.")
    try:
        table = parse_json(members.pop(MANIFEST))
    except InvalidSolution as error:
        raise InvalidSolution(f"{MANIFEST}: {error}") from error
    check_manifest(table)
    names = [item["name"] for item in table["instances"]]
    answers: dict[tuple[str, int], Answer] = {}
    for row in table["answers"]:
        if row["instance"] >= len(names):
            raise InvalidSolution(f"an answer is for instance {row['instance']}, but {len(names)} are listed.")
        pair = (names[row["instance"]], row["seed"])
        if pair in answers:
            raise InvalidSolution(f"{pair[0]} seed {pair[1]} is answered twice.")
        answers[pair] = Answer(_arrays(members, row), row["cost"], row["seconds"], row["evaluations"])
    policy = {file: _checked(members, f"agent/{file}", digest) for file, digest in table.get("policy", {}).items()}
    if members:
        raise InvalidSolution(f"the zip holds {min(members)!r}, which {MANIFEST} does not list.")
    return Submission(
        sha256=hashlib.sha256(data).hexdigest(),
        board=table["board"],
        board_hash=table["board_hash"],
        problem=table["problem"],
        options=table["options"],
        about={key: _normal(table[key]) for key in ABOUT},
        instances={item["name"]: item["hash"] for item in table["instances"]},
        answers=answers,
        policy=policy,
    )


def _normal(value: Any) -> Any:
    """A fact about a submission with its text in Unicode's form NFKC."""
    if isinstance(value, list):
        return [_normal(item) for item in value]
    return normal(value) if isinstance(value, str) else value


def _checked(members: dict[str, bytes], path: str, digest: str) -> bytes:
    """The content of a listed member, which is taken out of `members`."""
    if path not in members:
        raise InvalidSolution(f"{MANIFEST} lists {path}, which the zip does not hold.")
    data = members.pop(path)
    if hashlib.sha256(data).hexdigest() != digest:
        raise InvalidSolution(f"{path} does not have the sha256 that {MANIFEST} gives.")
    return data


def _arrays(members: dict[str, bytes], row: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays of one answer; they are taken out of `members`."""
    arrays: dict[str, Array] = {}
    for file, digest in row["files"].items():
        path = f"solutions/{row['instance']}/{row['seed']}/{file}"
        data = _checked(members, path, digest)
        name, _, ending = file.rpartition(".")
        if name in arrays:
            raise InvalidSolution(f"{path}: the array {name!r} is given twice.")
        try:
            arrays[name] = _parse(data, ending)
        except InvalidSolution as error:
            raise InvalidSolution(f"{path}: {bounded(error)}") from error
    return arrays


def _parse(data: bytes, ending: str) -> Array:
    try:
        array = parse_npy(data) if ending == "npy" else np.asarray(parse_json(data))
    except InvalidSolution:
        raise
    except Exception as error:  # headers are parsed by numpy, which may fail in any way on hostile bytes
        raise InvalidSolution(f"this is no usable array: {type(error).__name__}: {error}.") from error
    if array.dtype.kind not in "iuf":
        raise InvalidSolution(f"its values have type {array.dtype}, expected integers or floats.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidSolution("it holds values that are not finite.")
    return array
