"""Reader of tables of one's own: JSON of the format `sysgym.configurations/1`.

`parameters` has the values of each parameter by its name, `rows` the configurations that were measured: `values`, one a
parameter in their order, `mean` and `std` of the quality in points (BLEU, or 100 - the error rate in percent). What may
be left out: `measure` (what quality is), `baseline` (values, else the first row), `seed` of the noise (0) and
`evaluations` (20). Configurations that have no row do not exist.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.data import decompress, read_file
from sysgym.core.errors import UsageError, reading, shortened, unknown
from sysgym.core.solutions import parse_json
from sysgym.nmt_architecture.instance import POINTS, Configurations, Space
from sysgym.search.tables import counted

FORMAT = "sysgym.configurations/1"
KEYS = ("format", "parameters", "rows", "measure", "baseline", "seed", "evaluations")
ROW = ("values", "mean", "std")
USUAL, MOST_EVALUATIONS, MOST_SEED = 20, 1000, 2**31 - 1
MOST_PARAMETERS, MOST_ROWS = 64, 2**16


def is_configurations_file(name: str, head: bytes) -> bool:
    """Whether the head of a JSON file says that it is a table of configurations."""
    return name.lower().removesuffix(".gz").endswith(".json") and b'"sysgym.configurations/' in head


def read_configurations(path: Path) -> Configurations:
    """A table from a file; UsageError names the row and what is wrong with it."""
    name, content = str(path), decompress(str(path), read_file(path))
    with reading(name):
        return _configurations(name, parse_json(content))


def _configurations(name: str, content: Any) -> Configurations:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"{name} is no table of configurations: expected an object of the format {FORMAT!r}.")
    for key in content:
        if key not in KEYS:
            raise unknown(f"key of {name}", key, KEYS)
    parameters, values = _parameters(name, content.get("parameters"))
    counted(np.array([len(each) for each in values]))
    rows = content.get("rows")
    if not isinstance(rows, list) or not 1 <= len(rows) <= MOST_ROWS:
        raise UsageError(f"{name}: rows must be a list of 1 to {MOST_ROWS} configurations.")
    found = [_row(f"{name}: row {i}", row, parameters, values) for i, row in enumerate(rows)]
    designs = np.array([design for design, _, _ in found], np.int64)
    if len(np.unique(designs, axis=0)) < len(designs):
        raise UsageError(f"{name}: two rows are of the same configuration.")
    total = sum(map(len, values))
    baseline = designs[0] if "baseline" not in content else _design(name, content["baseline"], parameters, values)
    if not (designs == baseline).all(axis=1).any():
        raise UsageError(f"{name}: the baseline has no row.")
    space = Space(parameters, values, np.asarray(baseline), np.zeros(total), np.zeros(total), designs,
                  np.array([mean for _, mean, _ in found]), np.array([std for _, _, std in found]))  # fmt: skip
    measure = content.get("measure", "quality")
    if not isinstance(measure, str):
        raise UsageError(f"{name}: measure must be a text.")
    seed = _whole(name, "seed", content.get("seed", 0), 0, MOST_SEED)
    return Configurations(
        name, "table", space, seed, _whole(name, "evaluations", content.get("evaluations", USUAL), 1, MOST_EVALUATIONS),
        measure,
    )  # fmt: skip


def _parameters(name: str, given: Any) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    if not isinstance(given, dict) or not 1 <= len(given) <= MOST_PARAMETERS:
        raise UsageError(f"{name}: parameters must be an object of 1 to {MOST_PARAMETERS} lists of values.")
    for key, values in given.items():
        sound = isinstance(values, list) and values and all(isinstance(value, str | int) for value in values)
        if not sound or len({str(value) for value in values}) < len(values):
            raise UsageError(f"{name}: {shortened(key, 60)} must have a list of different texts or whole numbers.")
    return tuple(given), tuple(tuple(map(str, values)) for values in given.values())


def _design(where: str, given: Any, parameters: tuple[str, ...], values: tuple[tuple[str, ...], ...]) -> list[int]:
    if not isinstance(given, list) or len(given) != len(parameters):
        raise UsageError(f"{where} must have {len(parameters)} values: {', '.join(parameters)}.")
    found = []
    for parameter, known, value in zip(parameters, values, given, strict=True):
        if not isinstance(value, str | int) or str(value) not in known:
            shown = shortened(repr(value), 60)
            raise UsageError(f"{where}: {parameter} must be one of {', '.join(known)}, got {shown}.")
        found.append(known.index(str(value)))
    return found


def _row(where: str, row: Any, *told: Any) -> tuple[list[int], float, float]:
    if not isinstance(row, dict) or set(row) - set(ROW) or not {"values", "mean"} <= set(row):
        raise UsageError(f"{where} must have {', '.join(ROW)}.")
    numbers = []
    for key, most in (("mean", POINTS), ("std", POINTS)):
        value = row.get(key, 0.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise UsageError(f"{where}: {key} must be a number from 0 to {most:g}, got {shortened(repr(value), 40)}.")
        numbers.append(float(value))
    assert all(map(math.isfinite, numbers))
    return _design(where, row["values"], *told), numbers[0], numbers[1]


def _whole(name: str, key: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        shown = shortened(repr(value), 40)
        raise UsageError(f"{name}: {key} must be a whole number from {low} to {high}, got {shown}.")
    return value
