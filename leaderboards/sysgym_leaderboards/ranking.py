"""Ranking: geometric means of cost over reference cost, with bootstrap intervals. Same entries, same numbers.

Beside the score stand the interquartile mean and the optimality gap of reference / cost (higher is better, 1 equals
the reference; see `statistics`), of the same ratios, with seeds as runs and instances as tasks. Only the score ranks.

An infeasible or missing answer counts the board's penalty, and the ratio of a feasible answer counts at most that: so
failing never pays, and no entry changes the score of another. Of equal scores, the one with more feasible answers is
ahead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError
from sysgym_leaderboards.board import Board
from sysgym_leaderboards.certificates import Row
from sysgym_leaderboards.statistics import (
    Floats,
    bootstrap_interval,
    geometric_mean,
    geometric_means,
    improvement_interval,
    iqm,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)
from sysgym_leaderboards.store import Entry

DIGITS = 9  # the last bits of means and percentiles differ between machines


@dataclass(frozen=True)
class Result:
    """What one entry reached on one instance."""

    instance: str
    ratio: float  # geometric mean over the seeds of min(cost / reference, penalty); infeasible or missing: the penalty
    cost: float | None  # best feasible cost
    mean_cost: float | None  # arithmetic mean of the feasible costs
    reference: float
    feasible: float  # share of the seeds
    ratios: tuple[float | None, ...]  # cost / reference of each seed, however large; None where infeasible or missing


@dataclass(frozen=True)
class Standing:
    """One line of a ranking."""

    rank: int  # equal scores with equally many feasible answers share a rank
    number: int  # of the entry in the store
    agent: str
    score: float  # geometric mean of the ratios, lower is better
    low: float  # 95 % bootstrap interval of the score
    high: float
    iqm: float | None  # interquartile mean of reference / cost, higher is better; None where it is infinite (cost 0)
    iqm_low: float | None
    iqm_high: float | None
    gap: float  # optimality gap: 1 - mean of min(reference / cost, 1), lower is better
    gap_low: float
    gap_high: float
    wins: int  # instances that it answered feasibly and on which no such entry has a lower ratio
    feasible: float  # share of all (instance, seed) pairs
    same_as: int | None  # the first entry with the very same solutions: the credit is that entry's
    results: tuple[Result, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**vars(self), "results": [vars(result) for result in self.results]}


def ratio(cost: float, reference: float, penalty: float) -> float:
    """cost / reference, lower is better, 1 where both are 0.

    Costs below 0 (a value to maximise) compare as reference / cost. Where no ratio exists, because only one of them
    is 0 or they differ in sign, the answer counts 0 if it is better than the reference, and `penalty` if worse.
    """
    if cost == reference:
        return 1.0
    if cost * reference > 0:
        return cost / reference if cost > 0 else reference / cost
    return 0.0 if cost < reference else penalty


def rank(board: Board, entries: Sequence[Entry]) -> list[Standing]:
    """The entries of a board, best first; ties in order of arrival.

    The score decides, then the share of feasible answers: who answers nothing feasibly is never ahead of who does.
    Entries that were made for other rules (another board hash) are left out; `sysgym board verify` names them.
    """
    chosen = [entry for entry in entries if entry.certificate.board_hash == board.hash]
    chosen = [entry for entry in chosen if entry.certificate.accepted and entry.board == board.id]
    if not chosen:
        return []
    names = board.instance_names()
    references = _references(board, chosen, names)
    rows = [{(row.instance, row.seed): row for row in entry.certificate.rows} for entry in chosen]
    known = np.array([_ratios(board, found, names, references) for found in rows])  # (entries, instances, seeds)
    ratios = np.fmin(known, board.penalty)  # of nan and the penalty, the penalty
    tables = [summary(table.T) for table in ratios]
    # rounded, so that equal answers tie whatever their last bits
    means = [[round(geometric_mean(seeds), 12) for seeds in table] for table in ratios.tolist()]
    scores = [round(geometric_mean(row), 12) for row in means]
    results = [
        tuple(
            _result(board, found, name, references[name], mean, seeds)
            for name, mean, seeds in zip(names, row, table.tolist(), strict=True)
        )
        for found, row, table in zip(rows, means, known, strict=True)
    ]
    best = [min((r.ratio for r in column if r.cost is not None), default=-1.0) for column in zip(*results, strict=True)]
    feasible = [math.fsum(result.feasible for result in row) / len(names) for row in results]
    firsts = _first_entries(chosen)
    keys = [(score, -share) for score, share in zip(scores, feasible, strict=True)]
    standings = []
    for i, entry in enumerate(chosen):
        score, middle, gap = tables[i].tolist()  # each with its interval
        standings.append(
            Standing(
                rank=1 + sum(key < keys[i] for key in keys),
                number=entry.number,
                agent=entry.certificate.agent,
                score=scores[i],
                low=score[1],
                high=score[2],
                iqm=_finite(middle[0]),
                iqm_low=_finite(middle[1]),
                iqm_high=_finite(middle[2]),
                gap=gap[0],
                gap_low=gap[1],
                gap_high=gap[2],
                wins=sum(r.cost is not None and r.ratio <= low for r, low in zip(results[i], best, strict=True)),
                feasible=feasible[i],
                same_as=firsts[entry.number],
                results=results[i],
            )
        )
    return sorted(standings, key=lambda standing: (standing.rank, standing.number))


def _first_entries(entries: Sequence[Entry]) -> dict[int, int | None]:
    """Entry number -> the earlier entry that brought the same solutions, or None."""
    first: dict[tuple[str, ...], int] = {}
    found: dict[int, int | None] = {}
    for entry in sorted(entries, key=lambda entry: entry.number):
        hashes = tuple(row.solution for row in entry.certificate.rows)
        earlier = first.setdefault(hashes, entry.number) if all(hashes) else entry.number
        found[entry.number] = None if earlier == entry.number else earlier
    return found


def _references(board: Board, entries: Sequence[Entry], names: Sequence[str]) -> dict[str, float]:
    """Reference cost of each instance: what the newest certificate recorded counts for all."""
    found = {row.instance: row.reference for entry in entries for row in entry.certificate.rows}
    for name in names:
        if name not in found:
            raise UsageError(f"board {board.id}: no reference cost {board.reference!r} is known for {name}.")
    return found


def _ratios(
    board: Board,
    rows: Mapping[tuple[str, int], Row],
    names: Sequence[str],
    references: Mapping[str, float],
) -> list[list[float]]:
    """The ratio of each feasible answer, (instances, seeds); nan where an answer is infeasible or missing."""

    def one(name: str, seed: int) -> float:
        row = rows.get((name, seed))
        if row is None or not row.feasible:
            return math.nan
        return ratio(row.cost, references[name], board.penalty)

    return [[one(name, seed) for seed in range(board.seeds)] for name in names]


def _result(
    board: Board, rows: Mapping[tuple[str, int], Row], name: str, reference: float, mean: float, ratios: list[float]
) -> Result:
    found = [rows[name, seed] for seed in range(board.seeds) if (name, seed) in rows]
    costs = [row.cost for row in found if row.feasible]
    average = math.fsum(costs) / len(costs) if costs else None
    shown = tuple(None if math.isnan(value) else value for value in ratios)
    return Result(name, mean, min(costs, default=None), average, reference, len(costs) / board.seeds, shown)


def _aggregates(ratios: Floats) -> Floats:
    """Geometric mean of the ratios, IQM and optimality gap of the scores 1 / ratio: (..., S, I) -> (..., 3)."""
    with np.errstate(divide="ignore"):  # a ratio of 0 is an infinite score
        scores = 1 / ratios
    return np.stack([geometric_means(ratios), iqm(scores), optimality_gap(scores)], axis=-1)


def summary(ratios: Floats) -> Floats:
    """Score, IQM and optimality gap, a row each, with their 95 % intervals: ratios (S, I) -> (3, 3).

    With several seeds, the seeds are drawn again within each instance (stratified); with one, the instances are.
    """
    point = _aggregates(ratios)
    return np.concatenate([point[:, None], bootstrap_interval(ratios, _aggregates)], axis=1).round(DIGITS)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def ratio_table(standing: Standing) -> Floats:
    """Ratios of an entry, (seeds, instances) float64; infinite where an answer is infeasible or missing."""
    table = [[math.inf if value is None else value for value in result.ratios] for result in standing.results]
    return np.array(table, np.float64).T


def profiles(standings: Sequence[Standing], taus: Sequence[float]) -> dict[int, list[float]]:
    """Entry number -> share of its answers that are feasible with a ratio to the reference of at most tau, for each."""
    tables = {standing.number: ratio_table(standing) for standing in standings}
    return {number: (1 - performance_profile(table, taus)).round(DIGITS).tolist() for number, table in tables.items()}


def win_matrix(standings: Sequence[Standing]) -> list[list[tuple[float, float, float] | None]]:
    """Probability that the entry of the row answers an instance better than that of the column, with its interval.

    An infeasible answer is worse than every feasible one; two that tie count half. None on the diagonal.
    """
    scores = [-ratio_table(standing) for standing in standings]
    table: list[list[tuple[float, float, float] | None]] = [[None] * len(scores) for _ in scores]
    for i, mine in enumerate(scores):
        for j, theirs in enumerate(scores[:i]):
            low, high = improvement_interval(mine, theirs).round(DIGITS).tolist()
            value = round(probability_of_improvement(mine, theirs), DIGITS)
            table[i][j] = (value, low, high)
            table[j][i] = (round(1 - value, DIGITS), round(1 - high, DIGITS), round(1 - low, DIGITS))
    return table
