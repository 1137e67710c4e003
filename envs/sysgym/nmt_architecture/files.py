"""Reader of tables of configurations: JSON of the format `sysgym.configurations/1`.

`parameters` has the values of each parameter by its name, `rows` the configurations that were measured: `values`, one a
parameter in their order, `mean` and `std` of the quality in points (BLEU, or 100 - the error rate in percent). In place
of `mean` and `std` a row may have its `runs`, the quality of two trainings or more. Their mean is the row's; its
variance is half that of its runs and half the median of such variances among the rows of nearest means, itself and
NEAR others: the deviation of three numbers or so is hardly known by them, and bad configurations scatter more.

What may be left out: `measure` (what quality is), `baseline` (values, else the first row), `seed` of the noise (0),
`evaluations` (20), `networks` (`vocabulary` and `units`, where the values are the words of the published tables, for
the number of parameters) and `about`, which is for people. Configurations that have no row do not exist.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sysgym.core.data import decompress, read_file
from sysgym.core.errors import UsageError, reading, shortened, unknown
from sysgym.core.problem import Array
from sysgym.core.solutions import parse_json
from sysgym.nmt_architecture.instance import POINTS, Configurations, Sizes, Space
from sysgym.search.tables import counted

FORMAT = "sysgym.configurations/1"
KEYS = ("format", "parameters", "rows", "measure", "baseline", "seed", "evaluations", "networks", "about")
ROW = ("values", "mean", "std", "runs")
USUAL, MOST_EVALUATIONS, MOST_SEED = 20, 1000, 2**31 - 1
MOST_PARAMETERS, MOST_ROWS, MOST_RUNS, MOST_SIZE = 64, 2**16, 1000, 10**6
NEAR = 30  # other rows whose variances are looked at
DIGITS = 4  # of means and deviations of runs: the same on every machine


def is_configurations_file(name: str, head: bytes) -> bool:
    """Whether the head of a JSON file says that it is a table of configurations."""
    return name.lower().removesuffix(".gz").endswith(".json") and b'"sysgym.configurations/' in head


def read_configurations(path: Path) -> Configurations:
    """A table from a file; UsageError names the row and what is wrong with it."""
    name, content = str(path), decompress(str(path), read_file(path))
    with reading(name):
        told = parse_json(content)
        space, measure = space_of(name, told)
        seed = _whole(name, "seed", told.get("seed", 0), 0, MOST_SEED)
        evaluations = _whole(name, "evaluations", told.get("evaluations", USUAL), 1, MOST_EVALUATIONS)
        return Configurations(name, "table", space, seed, evaluations, measure)


def space_of(name: str, content: Any) -> tuple[Space, str]:
    """The table of a file's content, and what is measured; UsageError says what is wrong with it."""
    from sysgym.nmt_architecture.networks import network

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
    designs = np.array([row.design for row in found], np.int64)
    if len(np.unique(designs, axis=0)) < len(designs):
        raise UsageError(f"{name}: two rows are of the same configuration.")
    total = sum(map(len, values))
    baseline = designs[0] if "baseline" not in content else _design(name, content["baseline"], parameters, values)
    if not (designs == baseline).all(axis=1).any():
        raise UsageError(f"{name}: the baseline has no row.")
    measure = content.get("measure", "quality")
    if not isinstance(measure, str):
        raise UsageError(f"{name}: measure must be a text.")
    space = Space(parameters, values, np.asarray(baseline), np.zeros(total), np.zeros(total), designs,
                  np.array([row.mean for row in found]), _deviations(found),
                  sizes=_sizes(name, content.get("networks")))  # fmt: skip
    if space.sizes:
        with reading(name):
            for design in designs:
                network(space.named(design), space.sizes)
    return space, measure


class Row(NamedTuple):
    """A configuration that was measured."""

    design: list[int]
    mean: float
    deviation: float  # as it is given, or that of the runs
    repeated: bool  # whether it is of runs


def _deviations(rows: list[Row]) -> Array:
    """Standard deviations of results, (R,): those of runs are drawn halfway to what is usual at such a mean."""
    found, repeated = np.array([row.deviation for row in rows]), np.flatnonzero([row.repeated for row in rows])
    mean, variance = np.array([row.mean for row in rows])[repeated], found[repeated] ** 2
    for row, own, at in zip(repeated, variance, mean, strict=True):
        near = np.argsort(np.abs(mean - at), kind="stable")[: NEAR + 1]
        found[row] = round(math.sqrt((own + float(np.median(variance[near]))) / 2), DIGITS)
    return found


def _sizes(name: str, given: Any) -> Sizes | None:
    if given is None:
        return None
    if not isinstance(given, dict) or set(given) != set(Sizes._fields):
        raise UsageError(f"{name}: networks must have {' and '.join(Sizes._fields)}.")
    return Sizes(*(_whole(f"{name}: networks", key, given[key], 1, MOST_SIZE) for key in Sizes._fields))


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


def _row(where: str, row: Any, *told: Any) -> Row:
    known = isinstance(row, dict) and not set(row) - set(ROW)
    if not known or set(row) - {"std"} not in ({"values", "mean"}, {"values", "runs"}) or {"std", "runs"} <= set(row):
        raise UsageError(f"{where} must have values, mean and std, or values and runs.")
    design = _design(where, row["values"], *told)
    if "runs" not in row:
        return Row(design, _points(where, "mean", row["mean"]), _points(where, "std", row.get("std", 0.0)), False)
    runs = row["runs"]
    if not isinstance(runs, list) or not 2 <= len(runs) <= MOST_RUNS:
        raise UsageError(f"{where}: runs must be a list of 2 to {MOST_RUNS} numbers.")
    results = [_points(where, "a run", run) for run in runs]
    mean = math.fsum(results) / len(results)
    deviation = math.sqrt(math.fsum((result - mean) ** 2 for result in results) / (len(results) - 1))
    return Row(design, round(mean, DIGITS), deviation, True)


def _points(where: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= POINTS:
        raise UsageError(f"{where}: {key} must be a number from 0 to {POINTS:g}, got {shortened(repr(value), 40)}.")
    return float(value)


def _whole(name: str, key: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        shown = shortened(repr(value), 40)
        raise UsageError(f"{name}: {key} must be a whole number from {low} to {high}, got {shown}.")
    return value
