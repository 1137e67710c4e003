"""Solutions as named plain arrays: checking them against their spec, reading and writing files."""

from __future__ import annotations

import io
import json
import math
import os
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from sysgym.core.data import MAX_FILE, decompress, read_file
from sysgym.core.errors import InvalidSolution, UsageError, reading, shortened, unknown
from sysgym.core.options import file_hashes
from sysgym.core.problem import AnyProblem, Array, ArraySpec, Instance, Solution
from sysgym.core.registry import options_of

MAX_BYTES = 256 * 2**20  # no solution file is larger than this once unpacked
MAX_ARRAYS = 1000  # nor has more arrays
LEGEND = "nodes"  # beside its arrays in a .json file: what a person reads, see `Problem.legend`
MADE = "sysgym"  # beside its arrays: what it was made for, see `Made`


class Made(NamedTuple):
    """What a solution was made for."""

    problem: str = ""  # such as `Partitioning-v0`; empty where nothing is said
    options: Mapping[str, Any] = MappingProxyType({})
    files: Mapping[str, str] = MappingProxyType({})  # SHA-256 of files that options name, by option


def check_arrays(specs: Mapping[str, ArraySpec], solution: Any) -> dict[str, Array]:
    """The solution as int64 / float64 arrays, or InvalidSolution saying what is wrong.

    A bare array (or list) is accepted where the problem has a single named array.
    """
    if not isinstance(solution, Mapping):
        if len(specs) != 1:
            raise InvalidSolution(f"expected the named arrays {', '.join(specs)}, got a {type(solution).__name__}.")
        solution = {next(iter(specs)): solution}
    if set(solution) != set(specs):
        raise InvalidSolution(
            f"expected the arrays {', '.join(sorted(specs))}, got {', '.join(sorted(map(str, solution))) or 'none'}."
        )
    return {name: _check_array(name, spec, solution[name]) for name, spec in specs.items()}


def restricted(problem: AnyProblem, instance: Instance, solution: Solution, freedom: str) -> Solution:
    """What a freedom leaves of a solution, the whole of it where the problem knows none (`freedom` is '' then)."""
    if not freedom:
        return solution
    if problem.restrict is None or freedom not in problem.freedoms:
        raise unknown(f"freedom of {problem.name}", freedom, problem.freedoms)
    return problem.restrict(instance, solution, freedom)


def freedom_of(problem: AnyProblem, instance: Instance, solution: Solution) -> str:
    """The narrowest freedom that leaves a solution as it is; '' where the problem knows none."""
    *narrow, widest = problem.freedoms or ("",)
    if not narrow:
        return widest
    form = problem.canonical or (lambda _, given: given)
    given = form(instance, solution)
    for name in narrow:
        found = form(instance, restricted(problem, instance, solution, name))
        if all(np.array_equal(found[key], given[key]) for key in given):
            return name
    return widest


def widest_of(found: Iterable[str], freedoms: Iterable[str]) -> str:
    """The widest of the freedoms found, in the order of all; '' if there is none.

    >>> widest_of(["some", "none"], ["none", "some", "all"])
    'some'
    """
    seen = set(found)
    return next((name for name in reversed(list(freedoms)) if name in seen), "")


def _check_array(name: str, spec: ArraySpec, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise InvalidSolution(f"array {name!r} is not a regular array of numbers: {error}.") from error
    fits = array.shape == spec.shape
    if spec.varying and array.ndim == len(spec.shape):
        fits = array.shape[0] <= spec.shape[0] and array.shape[1:] == spec.shape[1:]
    if not fits:
        wanted = f"{spec.shape} or shorter along the first axis" if spec.varying else f"{spec.shape}"
        raise InvalidSolution(f"array {name!r} ({spec.meaning}) has shape {array.shape}, expected {wanted}.")
    wanted = "iu" if spec.kind == "int" else "iuf"
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(np.int64)  # an empty JSON list has no type
    if array.dtype.kind not in wanted:
        raise InvalidSolution(f"array {name!r} ({spec.meaning}) has type {array.dtype}, expected {spec.kind} values.")
    if spec.kind == "float":
        with np.errstate(over="ignore"):  # a wider float may be infinite as a float64: checked next
            array = array.astype(np.float64)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidSolution(f"array {name!r} holds values that are not finite.")
    if array.size and (array.min() < spec.low or array.max() > spec.high):
        raise InvalidSolution(
            f"array {name!r} ({spec.meaning}) holds values from {array.min()} to {array.max()}, "
            f"expected {spec.low:g} to {spec.high:g}."
        )
    return array.astype(np.int64) if spec.kind == "int" else array


def renumbered(labels: Array, kinds: Array | None = None) -> Array:
    """Labels in 0..K-1 renumbered by first occurrence, so that two that differ in names only are equal: int64 (N,).

    `kinds` (K,), if given, says which labels are alike: only those change places. For `Problem.canonical`.

    >>> renumbered(np.array([2, 2, 0, 1])).tolist()
    [0, 0, 1, 2]
    """
    labels = np.asarray(labels, np.int64)
    used, first = np.unique(labels, return_index=True)
    kinds = np.zeros(int(labels.max(initial=-1)) + 1, np.int64) if kinds is None else kinds
    free = {kind: iter(np.flatnonzero(kinds == kind).tolist()) for kind in np.unique(kinds).tolist()}
    names = np.zeros(len(kinds), np.int64)
    for label in used[np.argsort(first)].tolist():
        names[label] = next(free[int(kinds[label])])
    return names[labels]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidSolution(f"the key {shortened(twice, 80)!r} occurs twice in one JSON object.")
    return found


def _refuse(constant: str) -> Any:
    raise InvalidSolution(f"{constant} is not a JSON number.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidSolution(f"the number {shortened(text, 80)} is not finite as a float64.")
    return number


def parse_json(text: str | bytes) -> Any:
    """Strict JSON: no NaN or Infinity, no duplicate keys, no absurd nesting; InvalidSolution otherwise."""
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
    except InvalidSolution:
        raise
    except (ValueError, RecursionError, MemoryError) as error:
        raise InvalidSolution(f"this is no valid JSON: {error or type(error).__name__}.") from error


def read_json(path: Path, limit: int = MAX_FILE) -> Any:
    """What a JSON file holds, gzipped or not, as `parse_json` reads it; UsageError if it cannot be read."""
    data = decompress(str(path), read_file(path, limit))
    with reading(path):
        return parse_json(data)


def parse_npy(data: bytes) -> Array:
    """An array from the bytes of a `.npy` file. Objects (pickles) and oversized headers are refused."""
    try:
        return _parse_npy(data)
    except Exception as error:  # numpy evaluates the header as Python text, which fails in nearly any way
        why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InvalidSolution(f"this is no usable .npy array: {shortened(why, 200)}.") from error


def _parse_npy(data: bytes) -> Array:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # headers that Python 2 wrote
        shape, _, dtype = read(stream)
        if dtype.hasobject or dtype.kind not in "iuf":
            raise ValueError(f"its type is {dtype}, expected integers or floats")
        if min(shape, default=0) < 0 or int(np.prod(shape, dtype=object)) * dtype.itemsize > len(data):
            raise ValueError("its header claims more data than the file holds")
        stream.seek(0)
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def parse_npz(data: bytes, limit: int = MAX_BYTES) -> dict[str, Array]:
    """Named arrays from the bytes of a `.npz` file, read member by member within `limit` bytes."""
    try:
        return _parse_npz(data, limit)
    except InvalidSolution:
        raise
    except Exception as error:  # a damaged archive provokes nearly any
        why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InvalidSolution(f"this is no usable .npz file: {shortened(why, 200)}.") from error


def _parse_npz(data: bytes, limit: int) -> dict[str, Array]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > MAX_ARRAYS:
            raise InvalidSolution(f"the .npz file holds {len(members)} arrays, no solution more than {MAX_ARRAYS}.")
        arrays: dict[str, Array] = {}
        left = limit
        for member in members:
            with archive.open(member) as stream:
                content = stream.read(left + 1)
            left -= len(content)
            if left < 0:
                raise InvalidSolution(f"the .npz file unpacks to more than {limit} bytes.")
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise InvalidSolution(f"the .npz file holds the array {shortened(name, 80)!r} twice.")
            arrays[name] = parse_npy(content)
        return arrays


def read_solution(problem: AnyProblem, instance: Instance, path: str | Path) -> dict[str, Array]:
    """Read a solution file: `.json`, `.npz`, `.npy`, or a format of the problem's field (`problem.parse_solution`)."""
    file = Path(path)
    data = read_file(file, MAX_BYTES, InvalidSolution)
    specs = problem.solution_arrays(instance)
    try:
        with reading("its content", InvalidSolution):
            content = _parsed(problem, instance, file, data)
            told = content.pop(LEGEND, None) if problem.legend is not None and isinstance(content, dict) else None
            found = check_arrays(specs, content)
            if told is not None and problem.legend is not None:
                _check_legend(told, problem.legend(instance, found))
            return found
    except InvalidSolution as error:
        raise InvalidSolution(f"{file}: {error}") from error


def _check_legend(told: Any, expected: Sequence[Mapping[str, Any]]) -> None:
    """InvalidSolution at the first row of the legend of a file that is not what the instance and the arrays say."""
    if not isinstance(told, list) or len(told) != len(expected):
        got = f"{len(told)} rows" if isinstance(told, list) else f"a {type(told).__name__}"
        raise InvalidSolution(
            f"{LEGEND!r} holds {got}, expected a list of {len(expected)}; correct it or leave it out."
        )
    for number, (row, wanted) in enumerate(zip(told, expected, strict=True)):
        if row != wanted:
            raise InvalidSolution(
                f"{LEGEND}[{number}] says {shortened(json.dumps(row), 200)}, but the instance and the arrays say "
                f"{json.dumps(wanted)}; make them agree, or leave {LEGEND!r} out."
            )


def _parsed(problem: AnyProblem, instance: Instance, file: Path, data: bytes) -> Any:
    """What the bytes of a solution file hold, by its ending."""
    if file.suffix in (".json", ".npz"):
        content = _named(file, data)
        if not isinstance(content, dict):
            return content
        content = {key: value for key, value in content.items() if key != MADE}
        own = problem.named_solution if file.suffix == ".json" else None
        if own is not None and next(iter(problem.solution_arrays(instance))) not in content:
            return own(instance, content)
        return content
    if file.suffix == ".npy":
        return parse_npy(data)
    if problem.parse_solution is None:
        raise InvalidSolution("expected a .json, .npz or .npy file.")
    return problem.parse_solution(instance, data, file.name)


def _named(file: Path, data: bytes) -> Any:
    """The arrays of a `.json` or `.npz` file by name, and beside them what it was made for."""
    if file.suffix == ".npz":
        return parse_npz(data)
    content = parse_json(data)
    inner = content.get("solution") if isinstance(content, dict) else None
    if not isinstance(inner, dict):
        return content
    made = {key: content[key] for key in Made._fields if key in content}  # of `sysgym solve --json`
    return {**inner, **({MADE: made} if {"problem", "options"} <= made.keys() else {})}


def made_for(path: str | Path) -> Made:
    """The problem, its options and their files that a solution file says it was made with.

    An empty name and nothing else where it says nothing, as files in formats of a field or damaged ones;
    InvalidSolution if what it says is none of that.
    """
    file = Path(path)
    if file.suffix not in (".json", ".npz"):
        return Made()
    try:
        with reading(file, InvalidSolution):
            content = _named(file, read_file(file, MAX_BYTES, InvalidSolution))
    except InvalidSolution:
        return Made()  # `read_solution` says what is wrong
    told = content.get(MADE) if isinstance(content, dict) else None
    if isinstance(told, np.ndarray):
        with reading(file, InvalidSolution):
            told = parse_json(told.astype(np.uint8).tobytes())
    if told is None:
        return Made()
    if (
        not isinstance(told, dict)
        or not isinstance(told.get("problem"), str)
        or not isinstance(told.get("options"), dict)
        or not isinstance(told.get("files", {}), dict)
    ):
        raise InvalidSolution(f"{file}: {MADE!r} must be an object with a problem's name and its options.")
    return Made(told["problem"], told["options"], told.get("files", {}))


def made_with(problem: AnyProblem) -> dict[str, Any]:
    """What a solution keeps beside its arrays of the problem that it was made for, see `Made`."""
    options = options_of(problem)
    files = file_hashes(type(problem), options)
    return {
        "problem": f"{problem.name}-v{problem.version}", "options": options, **({"files": files} if files else {})
    }  # fmt: skip


def check_output(problem: AnyProblem, instance: Instance, path: str | Path) -> None:
    """UsageError unless a solution can be written there: called before the work begins."""
    file = Path(path)
    if not file.parent.is_dir():
        raise UsageError(f"cannot write {file}: the folder {file.parent} does not exist.")
    if file.is_dir():
        raise UsageError(f"cannot write {file}: it is a folder; name a file in it.")
    if file.suffix not in (".json", ".npz", ".npy") and problem.format_solution is None:
        raise UsageError(f"cannot write {file}: use a name that ends in .json or .npz.")
    names = list(problem.solution_arrays(instance))
    if file.suffix == ".npy" and len(names) > 1:
        raise UsageError(f"cannot write {file}: it holds one array, not {', '.join(names)}; use .json or .npz.")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise UsageError(f"cannot write {file}: permission denied.")


def write_solution(
    problem: AnyProblem, instance: Instance, solution: Solution, path: str | Path,
    made: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write a solution in the format that the file's ending names; see `read_solution`.

    A `.json` or `.npz` file also holds the problem, its options and the hashes of files that they name (`made_for`), a
    `.json` file the legend of the solution where the problem has one. `made` is what `made_with` said before solving,
    as those files may change meanwhile.
    """
    file = Path(path)
    check_output(problem, instance, file)
    try:
        _write(problem, instance, solution, file, made_with(problem) if made is None else made)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror or error}.") from error


def _write(
    problem: AnyProblem, instance: Instance, solution: Solution, file: Path, made: Mapping[str, Any]
) -> None:  # fmt: skip
    if file.suffix == ".json":
        arrays = {name: np.asarray(value).tolist() for name, value in solution.items()}
        text = json.dumps({**arrays, MADE: made})
        if problem.legend is not None:
            rows = ",\n".join(json.dumps(row) for row in problem.legend(instance, solution))
            text = f'{text[:-1]}, "{LEGEND}": [\n{rows}\n]}}'
        file.write_text(text + "\n")
    elif file.suffix == ".npz":
        told = np.frombuffer(json.dumps(made).encode(), np.uint8)
        with file.open("wb") as stream:
            np.savez_compressed(stream, **{name: np.asarray(value) for name, value in solution.items()}, **{MADE: told})  # type: ignore[arg-type]
    elif file.suffix == ".npy":
        np.save(file, np.asarray(next(iter(solution.values()))), allow_pickle=False)
    elif problem.format_solution is not None:
        file.write_bytes(problem.format_solution(instance, solution, file.name))
    else:
        raise UsageError(f"cannot write {file}: use a name that ends in .json or .npz.")
