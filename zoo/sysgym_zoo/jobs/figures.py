"""Metrics in tables of evaluations: means over instances with their intervals, paired with an agent's in ablations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sysgym.core.errors import unknown
from sysgym.core.problem import Array
from sysgym_leaderboards.statistics import bootstrap_interval

Line = dict[str, Any]


def with_metrics(
    lines: Sequence[Line], rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], agent: str = ""
) -> list[Line]:
    """The lines of a table with the mean of each metric and its 95 % interval over instances; beside an `agent` that of
    the difference to its own, instance by instance. UsageError for a metric that the rows do not have.
    """
    known = {name for row in rows for name in row.get("metrics", {})}
    for metric in metrics:
        if metric not in known:
            raise unknown("metric", metric, known)
    return [{**line, **_columns(line["agent"], rows, metrics, agent)} for line in lines]


def _columns(name: str, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], agent: str) -> Line:
    found: Line = {}
    for metric in metrics:
        mine = _means(name, rows, metric)
        found[metric] = float(np.mean(list(mine.values())))
        if not agent:
            found |= _interval(metric, np.array(list(mine.values())))
            continue
        own = _means(agent, rows, metric)
        more = np.array([mine[item] - own[item] for item in mine if item in own])
        found[f"{metric} more"] = float(more.mean()) if len(more) else None
        found |= _interval(f"{metric} more", more)
    return found


def _means(name: str, rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float]:
    """The mean over the seeds of each instance."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["agent"] == name and metric in row.get("metrics", {}):
            values.setdefault(row["instance"], []).append(float(row["metrics"][metric]))
    return {instance: float(np.mean(found)) for instance, found in values.items()}


def _interval(name: str, values: Array) -> Line:
    """Low and high of a mean, by drawing instances again."""
    if not len(values):
        return {f"{name} low": None, f"{name} high": None}
    low, high = bootstrap_interval(values[None], lambda drawn: drawn.mean(axis=(-2, -1))).tolist()
    return {f"{name} low": low, f"{name} high": high}
