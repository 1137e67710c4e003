"""Ranking: geometric means of cost over reference cost, with bootstrap intervals. Same entries, same numbers.

An infeasible or missing answer never pays: it counts the board's penalty, or the worst ratio of a feasible answer that
any ranked entry gave to that instance where that is more. Of equal scores, the one with more feasible answers is ahead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sysgym.core.errors import UsageError
from sysgym_leaderboards.boards import Board
from sysgym_leaderboards.certificates import Row
from sysgym_leaderboards.store import Entry

RESAMPLES = 10_000
CONFIDENCE = 0.95
_CHUNK = 2_000_000  # numbers drawn at a time
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """What one entry reached on one instance."""

    instance: str
    ratio: float  # geometric mean over the seeds of cost / reference; see `failure_ratios` where infeasible or missing
    cost: float | None  # best feasible cost
    mean_cost: float | None  # arithmetic mean of the feasible costs
    reference: float
    feasible: float  # share of the seeds


@dataclass(frozen=True)
class Standing:
    """One line of a ranking."""

    rank: int  # equal scores with equally many feasible answers share a rank
    number: int  # of the entry in the store
    agent: str
    score: float  # geometric mean of the ratios, lower is better
    low: float  # 95 % bootstrap interval of the score
    high: float
    wins: int  # instances that it answered feasibly and on which no such entry has a lower ratio
    feasible: float  # share of all (instance, seed) pairs
    results: tuple[Result, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**vars(self), "results": [vars(result) for result in self.results]}


def geometric_mean(values: Iterable[float]) -> float:
    """exp(mean(log(values))) of numbers >= 0; 0 if one of them is 0.

    >>> round(geometric_mean([1.0, 2.0, 4.0]), 12)
    2.0
    """
    numbers = list(values)
    if not numbers or min(numbers) < 0:
        raise ValueError(f"the geometric mean needs numbers of at least 0, got {numbers!r:.80}")
    if min(numbers) == 0:
        return 0.0
    return math.exp(math.fsum(map(math.log, numbers)) / len(numbers))


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
    ratios = np.where(np.isnan(known), failure_ratios(known, board.penalty)[None, :, None], known)
    intervals = bootstrap_intervals(ratios)
    # rounded, so that equal answers tie whatever their last bits
    means = [[round(geometric_mean(seeds), 12) for seeds in table] for table in ratios.tolist()]
    scores = [round(geometric_mean(row), 12) for row in means]
    results = [
        tuple(_result(board, found, name, references[name], mean) for name, mean in zip(names, row, strict=True))
        for found, row in zip(rows, means, strict=True)
    ]
    best = [min((r.ratio for r in column if r.cost is not None), default=-1.0) for column in zip(*results, strict=True)]
    feasible = [math.fsum(result.feasible for result in row) / len(names) for row in results]
    keys = [(score, -share) for score, share in zip(scores, feasible, strict=True)]
    standings = []
    for i, entry in enumerate(chosen):
        standings.append(
            Standing(
                rank=1 + sum(key < keys[i] for key in keys),
                number=entry.number,
                agent=entry.certificate.agent,
                score=scores[i],
                low=float(intervals[i, 0]),
                high=float(intervals[i, 1]),
                wins=sum(r.cost is not None and r.ratio <= low for r, low in zip(results[i], best, strict=True)),
                feasible=feasible[i],
                results=results[i],
            )
        )
    return sorted(standings, key=lambda standing: (standing.rank, standing.number))


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


def failure_ratios(ratios: Floats, penalty: float) -> Floats:
    """What an infeasible or missing answer counts: ratios (E, I, S) float64, nan where there is none -> (I,) float64.

    This is the penalty, or the worst ratio that a feasible answer to the instance has, whichever is more.

    >>> failure_ratios(np.array([[[1.5], [7.0]], [[np.nan], [3.0]]]), 2.0).tolist()
    [2.0, 7.0]
    """
    worst: Floats = np.where(np.isnan(ratios), penalty, ratios).max(axis=(0, 2))
    return np.maximum(worst, penalty)


def _result(board: Board, rows: Mapping[tuple[str, int], Row], name: str, reference: float, mean: float) -> Result:
    found = [rows[name, seed] for seed in range(board.seeds) if (name, seed) in rows]
    costs = [row.cost for row in found if row.feasible]
    average = math.fsum(costs) / len(costs) if costs else None
    return Result(name, mean, min(costs, default=None), average, reference, len(costs) / board.seeds)


def bootstrap_intervals(ratios: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Percentile bootstrap of the geometric mean: ratios (E, I, S) of E entries -> intervals (E, 2).

    With several seeds, the seeds are drawn again within each instance (stratified); with one, the instances are.
    All entries see the same draws.
    """
    entries, instances, seeds = ratios.shape
    flat = ratios.reshape(entries, instances * seeds)
    zero = flat == 0
    logs = np.log(np.where(zero, 1.0, flat))
    groups, size = (instances, seeds) if seeds > 1 else (1, instances)
    rng = np.random.default_rng(seed)
    scores = np.empty((resamples, entries))
    step = max(1, _CHUNK // flat.shape[1])
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = rng.integers(size, size=(count, groups, size)) + size * np.arange(groups)[:, None]
        drawn = drawn.reshape(count, -1) + flat.shape[1] * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * flat.shape[1]).reshape(count, -1)
        mean = np.exp(times @ logs.T / flat.shape[1])
        scores[start : start + count] = np.where(times @ zero.T > 0, 0.0, mean) if zero.any() else mean
    tail = 50 * (1 - CONFIDENCE)
    interval: Floats = np.percentile(scores, [tail, 100 - tail], axis=0).T
    return interval.round(9)  # the last bits of a matrix product differ between machines


def performance_profile(standings: Sequence[Standing], taus: Sequence[float]) -> dict[int, list[float]]:
    """Entry number -> share of the instances with a ratio to the reference of at most tau, for each tau.

    An instance on which some seed was infeasible is never counted.
    """
    return {
        standing.number: [
            sum(result.ratio <= tau and result.feasible == 1 for result in standing.results) / len(standing.results)
            for tau in taus
        ]
        for standing in standings
    }
