"""Solutions as named plain arrays: checking them against their spec, reading and writing files."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from sysgym.core.errors import InvalidSolution, UsageError
from sysgym.core.problem import AnyProblem, Array, ArraySpec, Instance, Solution

MAX_BYTES = 256 * 2**20  # no solution file is larger than this once unpacked


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
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise InvalidSolution(f"the key {max(keys, key=keys.count)!r} occurs twice in one JSON object.")
    return dict(pairs)


def parse_json(text: str | bytes) -> Any:
    """Strict JSON: no NaN or Infinity, no duplicate keys, no absurd nesting; InvalidSolution otherwise."""

    def refuse(constant: str) -> Any:
        raise InvalidSolution(f"{constant} is not a JSON number.")

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidSolution):
            raise
        raise InvalidSolution(f"this is no valid JSON: {error}.") from error


def parse_npy(data: bytes) -> Array:
    """An array from the bytes of a `.npy` file. Objects (pickles) and oversized headers are refused."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        if dtype.hasobject or dtype.kind not in "iuf":
            raise ValueError(f"its type is {dtype}, expected integers or floats")
        if int(np.prod(shape, dtype=object)) * dtype.itemsize > len(data):
            raise ValueError("its header claims more data than the file holds")
        stream.seek(0)
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    except (ValueError, EOFError, TypeError, SyntaxError, TokenError, MemoryError, OverflowError) as error:
        raise InvalidSolution(f"this is no usable .npy array: {str(error) or type(error).__name__}.") from error


def parse_npz(data: bytes) -> dict[str, Array]:
    """Named arrays from the bytes of a `.npz` file, read member by member within MAX_BYTES."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            arrays, left = {}, MAX_BYTES
            for member in archive.infolist():
                with archive.open(member) as stream:
                    content = stream.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise InvalidSolution(f"the .npz file unpacks to more than {MAX_BYTES} bytes.")
                arrays[member.filename.removesuffix(".npy")] = parse_npy(content)
            return arrays
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise InvalidSolution(f"this is no usable .npz file: {str(error) or type(error).__name__}.") from error


def read_solution(problem: AnyProblem, instance: Instance, path: str | Path) -> dict[str, Array]:
    """Read a solution file: `.json`, `.npz`, `.npy`, or a format of the problem's field (`problem.parse_solution`)."""
    file = Path(path)
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the solution file {file}: {error.strerror or error}.") from error
    if len(data) > MAX_BYTES:
        raise InvalidSolution(f"{file} is larger than {MAX_BYTES} bytes, no solution is.")
    specs = problem.solution_arrays(instance)
    try:
        if file.suffix == ".json":
            content = parse_json(data)
            if isinstance(content, dict) and isinstance(content.get("solution"), dict):
                content = content["solution"]  # what `sysgym solve --json` prints
            return check_arrays(specs, content)
        if file.suffix == ".npz":
            return check_arrays(specs, parse_npz(data))
        if file.suffix == ".npy":
            return check_arrays(specs, parse_npy(data))
        parse = problem.parse_solution
        if parse is None:
            raise InvalidSolution("expected a .json, .npz or .npy file.")
        return check_arrays(specs, parse(instance, data, file.name))
    except InvalidSolution as error:
        raise InvalidSolution(f"{file}: {error}") from error


def write_solution(problem: AnyProblem, instance: Instance, solution: Solution, path: str | Path) -> None:
    """Write a solution in the format that the file's ending names; see `read_solution`."""
    file = Path(path)
    if not file.parent.is_dir():
        raise UsageError(f"cannot write {file}: the folder {file.parent} does not exist.")
    try:
        _write(problem, instance, solution, file)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror or error}.") from error


def _write(problem: AnyProblem, instance: Instance, solution: Solution, file: Path) -> None:
    if file.suffix == ".json":
        file.write_text(json.dumps({name: np.asarray(value).tolist() for name, value in solution.items()}) + "\n")
    elif file.suffix == ".npz":
        with file.open("wb") as stream:
            np.savez_compressed(stream, **{name: np.asarray(value) for name, value in solution.items()})  # type: ignore[arg-type]
    elif file.suffix == ".npy" and len(solution) == 1:
        np.save(file, np.asarray(next(iter(solution.values()))), allow_pickle=False)
    elif problem.format_solution is not None:
        file.write_bytes(problem.format_solution(instance, solution, file.name))
    else:
        raise UsageError(f"cannot write {file}: use a name that ends in .json or .npz.")
