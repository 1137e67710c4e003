"""Certificates: what verification found out about a submission, as plain data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sysgym_leaderboards.judge import Judge
from sysgym_leaderboards.names import bounded


@dataclass(frozen=True)
class Row:
    """The judged answer to one instance with one seed."""

    instance: str
    seed: int
    feasible: bool
    cost: float  # as judged; infinite where the problem gives an infeasible answer no cost
    reference: float  # cost of the board's reference on this instance
    metrics: Mapping[str, float]
    violations: tuple[str, ...]
    claimed: float | None = None  # cost, by the author
    seconds: float | None = None  # self-reported
    evaluations: int | None = None  # self-reported
    solution: str = ""  # SHA-256 of the judged arrays
    canonical: str = ""  # SHA-256 of their canonical form: equal for the same solution, however it is written
    beside: tuple[str, ...] = ()  # which of the metrics no judge found: see `Problem.beside`

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; an infinite cost becomes None, and `beside` stands only where there is something."""
        plain = {**vars(self), "metrics": dict(self.metrics), "violations": list(self.violations)}
        plain |= {"cost": self.cost if math.isfinite(self.cost) else None, "beside": list(self.beside)}
        return {key: value for key, value in plain.items() if key != "beside" or value}


@dataclass(frozen=True)
class Certificate:
    """The recomputation of a submission. Nothing is ranked unless `accepted` is True."""

    board: str
    board_hash: str
    submission: str  # SHA-256 of the zip that is stored: of a rejected one, of the file as it came
    agent: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)  # authors, code, licence, hardware, threads, ...
    instances: tuple[str, ...] = ()  # of the board, in its order
    rows: tuple[Row, ...] = ()
    reason: str = ""  # why it was rejected
    suite_version: str = ""  # of the sysgym that judged
    judge_seconds: float = 0.0
    accepted: bool = False
    judge: Judge | None = None  # None where nothing was judged, and of entries from before judges were named

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", bounded(self.reason))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        judge = None if self.judge is None else vars(self.judge)
        plain = {**vars(self), "about": dict(self.about), "instances": list(self.instances), "judge": judge}
        return {**plain, "rows": [row.as_dict() for row in self.rows]}


def parse_row(table: Mapping[str, Any]) -> Row:
    """A row from plain data; KeyError, TypeError or ValueError if it is none."""
    cost = math.inf if table["cost"] is None else float(table["cost"])
    lists = {"violations": tuple(table["violations"]), "beside": tuple(table.get("beside", ()))}
    row = Row(**{**table, "cost": cost, **lists})
    if type(row.feasible) is not bool or type(row.seed) is not int or math.isnan(cost):
        raise ValueError(f"no row of a certificate: {table!r:.200}")
    if row.feasible and not math.isfinite(cost):
        raise ValueError(f"a feasible answer without a finite cost: {table!r:.200}")
    if not set(row.beside) <= set(row.metrics):
        raise ValueError(f"no metrics stand under what is beside the cost: {table!r:.200}")
    return row


def parse_judge(table: Mapping[str, str] | None) -> Judge | None:
    """A judge from plain data; TypeError if it is none."""
    if table is not None and not all(isinstance(text, str) for text in table.values()):
        raise TypeError(f"no judge: {table!r:.200}")
    return None if table is None else Judge(**table)


def parse_certificate(table: Mapping[str, Any]) -> Certificate:
    """A certificate from plain data, as `as_dict` gives it."""
    rows = tuple(parse_row(row) for row in table["rows"])
    certificate = Certificate(
        **{**table, "instances": tuple(table["instances"]), "rows": rows, "judge": parse_judge(table.get("judge"))}
    )
    if type(certificate.accepted) is not bool:
        raise ValueError("no certificate: accepted is neither true nor false")
    return certificate


def means_beside(rows: Sequence[Row]) -> dict[str, float]:
    """The mean over an entry's answers of each figure that stands beside their costs, by name."""
    names = dict.fromkeys(name for row in rows for name in row.beside)
    found = {name: [float(row.metrics[name]) for row in rows if name in row.beside] for name in names}
    return {name: math.fsum(values) / len(values) for name, values in found.items()}


def names_beside(figures: Iterable[Mapping[str, float]]) -> list[str]:
    """The names of all figures that stand beside the costs of some entries."""
    return list(dict.fromkeys(name for found in figures for name in found))
