"""What benchmarks share: rows of their tables, and how long a call takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Rows = list[dict[str, Any]]


def row(what: str, value: float, unit: str, bar: str = "") -> dict[str, Any]:
    """One line of the table; `bar` is a comparison such as ">= 10", and `met` tells whether the value passes it.

    A value that is not finite (never reached) is shown as none, and passes nothing.
    """
    if not np.isfinite(value):
        return {"what": what, "value": None, "unit": unit, "bar": bar, "met": False if bar else None}
    sign, _, limit = bar.partition(" ")
    met = None if not bar else value >= float(limit) if sign == ">=" else value <= float(limit)
    return {"what": what, "value": float(f"{value:.4g}"), "unit": unit, "bar": bar, "met": met}


def cpu(function: Callable[[], Any], repeats: int = 1) -> float:
    """Least CPU seconds of one call, over some repeats."""
    best = np.inf
    for _ in range(repeats):
        started = time.process_time()
        function()
        best = min(best, time.process_time() - started)
    return float(best)


def each(function: Callable[[], Any], seconds: float) -> float:
    """CPU seconds of a call: the median over as many calls as fit into `seconds`, three at least."""
    function()  # compiles, or loads what is compiled
    found: list[float] = []
    while sum(found) < seconds or len(found) < 3:
        started = time.process_time()
        function()
        found.append(time.process_time() - started)
    return float(np.median(found))


def beside(what: str, value: float, unit: str, bar: str, peers: dict[str, float]) -> Rows:
    """A row for our figure and one for each peer's recorded figure, as how many times faster ours is."""
    more = unit.endswith("/s")
    rows = [row(what, value, unit, bar)]
    for peer, theirs in peers.items():
        ratio = value / theirs if more else theirs / value
        rows.append(row(f"{what}: faster than {peer} ({theirs:g} {unit})", ratio, "x"))
    return rows


def geomean(values: Sequence[float]) -> float:
    """Geometric mean."""
    return float(np.exp(np.mean(np.log(values))))


def left_out(why: str) -> dict[str, Any]:
    """A line that says what was not measured."""
    return {"what": why, "value": None, "unit": "", "bar": "", "met": None}
