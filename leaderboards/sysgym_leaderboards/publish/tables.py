"""Audit of result tables from elsewhere: are the published figures those of the rows, and do the rows cover everything?

Results are CSV rows algorithm, benchmark, reward, walltime_s, one a run; higher rewards are better. A published table
is CSV with a column `algorithm`, one that ends in `geomean` and one that starts with `walltime`. Benchmarks are named
without regard to case: CompilerGym's files write both `cbench-v1/crc32` and `cBench-v1/crc32`.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sysgym.core.errors import InvalidSolution, UsageError, shortened
from sysgym_leaderboards.statistics import geometric_mean
from sysgym_leaderboards.submissions import coverage_problem

RESULT_COLUMNS = ("algorithm", "benchmark", "reward", "walltime_s")
_MAX_FILE = 64 * 2**20
DIGITS = 17  # after the point, of a figure that is shown
# float() alone also reads 1_0 and digits of other scripts
_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_PRINTED = re.compile(r"([0-9]+|[1-9][0-9]{0,2}(,[0-9]{3})+)(\.[0-9]+)?s?")


@dataclass(frozen=True)
class Run:
    """One row of a result table."""

    benchmark: str
    seed: int  # how many rows of this algorithm and benchmark stand before it
    reward: float
    seconds: float


@dataclass(frozen=True)
class Published:
    """One row of a published table; the figures are the text that was printed."""

    geomean: str
    walltime: str


@dataclass(frozen=True)
class Audit:
    """What the rows of an algorithm say."""

    algorithm: str
    rows: int
    geomean: float | None  # of the rewards of all rows; None if there are none
    seconds: float | None  # mean walltime of all rows
    refused: str  # why it cannot be ranked, or ''
    flags: tuple[str, ...]  # published figures that are not those of the rows

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**vars(self), "flags": list(self.flags)}


def _rows(path: str | Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and row of a CSV file with a header."""
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets write a byte order mark
            if len(stream.read(_MAX_FILE + 1)) > _MAX_FILE:
                raise InvalidSolution(f"{path} is larger than {_MAX_FILE} characters, no result table is.")
            stream.seek(0)
            reader = csv.DictReader(stream, strict=True)
            for row in reader:
                if None in row or None in row.values():
                    raise InvalidSolution(
                        f"{path}, line {reader.line_num}: the row is shorter or longer than its header."
                    )
                yield reader.line_num, row
    except OSError as error:
        raise UsageError(f"cannot read the table {path}: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidSolution(f"{path} is no CSV file: {error}.") from error


def _number(text: str) -> float:
    """A number from 0 in ASCII digits such as `0.95` or `1e-5`; nan if it is anything else."""
    return float(text.strip()) if _NUMBER.fullmatch(text.strip()) else math.nan


def _figure(text: str) -> float:
    """The number in a printed figure such as `10,512.356s`; nan if there is none."""
    found = _PRINTED.fullmatch(text.strip())
    return float(found[0].removesuffix("s").replace(",", "")) if found else math.nan


def read_results(path: str | Path) -> dict[str, list[Run]]:
    """The runs of each algorithm, in the order of the file; InvalidSolution names the first line that is wrong."""
    found: dict[str, list[Run]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for line, row in _rows(path):
        missing = [name for name in RESULT_COLUMNS if not row.get(name)]
        if missing:
            raise InvalidSolution(
                f"{path}, line {line}: {missing[0]} is missing; expected {', '.join(RESULT_COLUMNS)}."
            )
        reward, seconds = _number(row["reward"]), _number(row["walltime_s"])
        if not (0 <= reward < math.inf and 0 <= seconds < math.inf):
            raise InvalidSolution(f"{path}, line {line}: reward and walltime_s must be numbers from 0, like 1.25.")
        pair = (row["algorithm"], row["benchmark"].lower())
        found.setdefault(pair[0], []).append(Run(pair[1], seen[pair], reward, seconds))
        seen[pair] += 1
    if not found:
        raise InvalidSolution(f"{path} holds no results.")
    return found


def read_published(path: str | Path) -> dict[str, Published]:
    """The published figures by algorithm."""
    found: dict[str, Published] = {}
    for line, row in _rows(path):
        means = [name for name in row if name.endswith("geomean")]
        times = [name for name in row if name.startswith("walltime")]
        if "algorithm" not in row or len(means) != 1 or len(times) != 1:
            raise InvalidSolution(f"{path}: expected the columns algorithm, one *geomean and one walltime*.")
        if row["algorithm"] in found:
            raise InvalidSolution(f"{path}, line {line}: {row['algorithm']!r} stands twice.")
        found[row["algorithm"]] = Published(row[means[0]], row[times[0]])
    return found


def audit(results: Mapping[str, Sequence[Run]], published: Mapping[str, Published] | None = None) -> list[Audit]:
    """What the rows say of each algorithm: those that can be ranked first, the highest geometric mean ahead.

    The benchmarks are those that any algorithm ran; who leaves one out, or runs one less often, is refused by the rule
    of the boards. A published figure is flagged if it is not the rows' figure, rounded to the digits printed.
    """
    benchmarks = list(dict.fromkeys(run.benchmark for runs in results.values() for run in runs))
    found = [_audit(name, runs, benchmarks, (published or {}).get(name)) for name, runs in results.items()]
    absent = [Audit(name, 0, None, None, "it has no rows.", ()) for name in published or {} if name not in results]
    return sorted(found, key=lambda item: (bool(item.refused), -(item.geomean or 0.0))) + absent


def _audit(name: str, runs: Sequence[Run], benchmarks: Sequence[str], published: Published | None) -> Audit:
    seeds = 1 + max(run.seed for run in runs)
    pairs = [(benchmark, seed) for benchmark in benchmarks for seed in range(seeds)]
    refused = coverage_problem([(run.benchmark, run.seed) for run in runs], pairs)
    geomean = geometric_mean(run.reward for run in runs)
    seconds = math.fsum(run.seconds for run in runs) / len(runs)
    flags = []
    if published is not None:
        figures = (("geometric mean", published.geomean, geomean), ("walltime", published.walltime, seconds))
        flags = [text for what, printed, value in figures if (text := _flag(name, what, printed, value))]
    return Audit(name, len(runs), geomean, seconds, refused, tuple(flags))


def _flag(name: str, what: str, printed: str, value: float) -> str:
    """A sentence if a printed figure is not the value rounded to its digits, or ''."""
    _, _, decimals = printed.strip().removesuffix("s").partition(".")
    if abs(_figure(printed) - value) <= 0.5001 * 10.0 ** -len(decimals):
        return ""
    digits = min(max(len(decimals), 3), DIGITS)
    return (
        f"{shortened(name, 200)}: the published {what} is {shortened(printed, 80)}, the rows give {value:.{digits}f}."
    )
