"""What benchmarks share: rows of their tables, how long a call takes, and figures of peers from elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

Rows = list[dict[str, Any]]
LEAST = 3  # runs behind every time, in a quick benchmark too
HERE = "this process"


class Measured(float):
    """A number that was measured in this process, in so many runs; scaled or divided, it stays one."""

    runs: int

    def __new__(cls, value: float, runs: int) -> Measured:
        """The number, usually the median of the runs."""
        found = super().__new__(cls, value)
        found.runs = runs
        return found

    def __mul__(self, other: float) -> Measured:
        return Measured(float(self) * float(other), _fewer(self, other))

    def __truediv__(self, other: float) -> Measured:
        return Measured(float(self) / float(other), _fewer(self, other))

    def __rtruediv__(self, other: float) -> Measured:
        return Measured(float(other) / float(self), self.runs)

    __rmul__ = __mul__


def _fewer(one: Measured, other: float) -> int:
    return min(one.runs, other.runs) if isinstance(other, Measured) else one.runs


class Recorded(NamedTuple):
    """A peer's figure from elsewhere. It is shown as it stands: a ratio to ours would compare two machines."""

    value: float
    date: str  # when it was measured, as far as it is known
    machine: str


def row(what: str, value: float, unit: str, bar: str = "") -> dict[str, Any]:
    """One line of the table; `bar` is a comparison such as ">= 10", and `met` tells whether the value passes it.

    `runs` says how many runs are behind a `Measured` value, 1 for any other. A value that is not finite (never
    reached) is shown as none, and passes nothing.
    """
    runs = value.runs if isinstance(value, Measured) else 1
    if not np.isfinite(value):
        return _line(what, None, unit, (bar, False if bar else None), (runs, HERE))
    sign, _, limit = bar.partition(" ")
    met = None if not bar else bool(value >= float(limit) if sign == ">=" else value <= float(limit))
    return _line(what, float(f"{value:.4g}"), unit, (bar, met), (runs, HERE))


def _line(
    what: str, value: float | None, unit: str, bar: tuple[str, bool | None], origin: tuple[int | None, str]
) -> dict[str, Any]:
    runs, source = origin
    return {"what": what, "value": value, "unit": unit, "bar": bar[0], "met": bar[1], "runs": runs, "source": source}


def cpu(function: Callable[[], Any], runs: int = LEAST) -> Measured:
    """CPU seconds of a call: the median over some runs, the first included."""
    return median([_timed(function) for _ in range(max(runs, LEAST))])


def each(function: Callable[[], Any], seconds: float) -> Measured:
    """CPU seconds of a call: the median over as many calls as fit into `seconds`, three at least."""
    function()  # compiles, or loads what is compiled
    found: list[float] = []
    while sum(found) < seconds or len(found) < LEAST:
        found.append(_timed(function))
    return median(found)


def _timed(function: Callable[[], Any]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def median(found: Sequence[float]) -> Measured:
    """The median of some runs.

    >>> median([3.0, 1.0, 2.0]), median([3.0, 1.0, 2.0]).runs
    (2.0, 3)
    """
    return Measured(float(np.median(found)), len(found))


def beside(what: str, value: float, unit: str, bar: str, peers: Mapping[str, Recorded]) -> Rows:
    """A row for our figure and one for each peer's recorded figure, in the same unit."""
    return [row(what, value, unit, bar), *(recorded(f"{what}: {peer}", figure, unit) for peer, figure in peers.items())]


def recorded(what: str, figure: Recorded, unit: str) -> dict[str, Any]:
    """A row for a figure from elsewhere, which passes and fails no bar."""
    source = f"recorded elsewhere, {figure.date}, {figure.machine}"
    return _line(what, figure.value, unit, ("", None), (None, source))


def lacking(who: str, module: str, extra: str) -> Rows:
    """Nothing where a peer can run in this process, else the line that says so."""
    if find_spec(module) is not None:
        return []
    return [left_out(f"{who} is left out: it needs {module}, pip install 'sysgym[{extra}]'")]


def geomean(values: Sequence[float]) -> float:
    """Geometric mean."""
    return float(np.exp(np.mean(np.log(values))))


def left_out(why: str) -> dict[str, Any]:
    """A line that says what was not measured."""
    return _line(why, None, "", ("", None), (None, ""))
