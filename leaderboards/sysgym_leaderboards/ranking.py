"""Ranking: geometric means of cost over reference cost, with bootstrap intervals. Same entries, same numbers.

Beside the score stand the interquartile mean and the optimality gap of reference / cost (higher is better, 1 equals
the reference; see `statistics`), of the same ratios, with seeds as runs and instances as tasks. Only the score ranks.

An infeasible or missing answer counts the board's penalty, and the ratio of a feasible answer counts at most that: so
failing never pays, and no entry changes the score of another. A ratio counts at least the board's floor: no single
instance decides. Of equal scores, the one with more feasible answers is ahead.

Only verdicts of the judge that is installed here rank together; entries of others stand `apart` until they are judged
again. An entry with the very solutions of an earlier one (their canonical forms are equal on every row) has no rank and
counts nowhere. Identical answers to several seeds of an instance count once: where no instance has two different
answers, an entry is one run, and its intervals are over instances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError
from sysgym_leaderboards.board import Board
from sysgym_leaderboards.certificates import Row, means_beside
from sysgym_leaderboards.events import Entry
from sysgym_leaderboards.judge import judge_of
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

    rank: int | None  # equal scores with equally many feasible answers share a rank; None: the solutions of another
    number: int  # of the entry in the store
    agent: str
    score: float  # geometric mean of the ratios, lower is better
    low: float  # 95 % bootstrap interval of the score
    high: float
    iqm: float  # interquartile mean of reference / cost, higher is better
    iqm_low: float
    iqm_high: float
    gap: float  # optimality gap: 1 - mean of min(reference / cost, 1), lower is better
    gap_low: float
    gap_high: float
    wins: int  # instances that it answered feasibly and on which no such entry has a lower ratio
    feasible: float  # share of all (instance, seed) pairs
    same_as: int | None  # the first entry with the very same solutions: the credit is that entry's
    answers: int  # (instance, seed) pairs answered
    different: int  # answers that differ from those of the other seeds of their instance
    over: str  # what the intervals draw again: "seeds" or "instances"
    results: tuple[Result, ...]
    beside: Mapping[str, float] = field(default_factory=dict)  # means over the answers that decide nothing

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `beside` stands only where there is something."""
        plain = {**vars(self), "results": [vars(result) for result in self.results], "beside": dict(self.beside)}
        return {key: value for key, value in plain.items() if key != "beside" or value}


@dataclass(frozen=True)
class Apart:
    """An entry that another judge judged than the one installed here: shown, not ranked."""

    number: int
    agent: str
    judge: str
    score: float  # as that judge's verdicts have it


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


def judged_here(board: Board, entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """The entries that count on a board as it is installed here, and those that another judge judged.

    Entries that were made for other rules (another board hash) are in neither; `sysgym board verify` names them.
    """
    chosen = [entry for entry in entries if entry.certificate.board_hash == board.hash]
    chosen = [entry for entry in chosen if entry.state == "accepted" and entry.board == board.id]
    if not chosen:
        return [], []
    judge = judge_of(board.make_problem())
    here = [judge.same(entry.certificate.judge) for entry in chosen]
    return (
        [entry for entry, ours in zip(chosen, here, strict=True) if ours],
        [entry for entry, ours in zip(chosen, here, strict=True) if not ours],
    )


def apart(board: Board, entries: Sequence[Entry]) -> list[Apart]:
    """The entries of a board that wait for being judged again, in order of arrival."""
    found = []
    for entry in judged_here(board, entries)[1]:
        rows = entry.certificate.rows
        ratios = [ratio(row.cost, row.reference, board.penalty) if row.feasible else board.penalty for row in rows]
        score = geometric_mean(min(max(each, board.floor), board.penalty) for each in ratios) if ratios else math.nan
        judge = str(entry.certificate.judge or f"sysgym {entry.certificate.suite_version}, whose code is not recorded")
        found.append(Apart(entry.number, entry.shown.agent, judge, round(score, 12)))
    return found


def rank(board: Board, entries: Sequence[Entry]) -> list[Standing]:
    """The entries of a board, best first; ties in order of arrival, copies below the entry that they repeat.

    The score decides, then the share of feasible answers: who answers nothing feasibly is never ahead of who does.
    """
    chosen, _ = judged_here(board, entries)
    if not chosen:
        return []
    names = board.instance_names()
    references = _references(board, chosen, names)
    firsts = _first_entries(chosen)
    lines = [_line(board, entry, names, references) for entry in chosen]
    own = [line for line in lines if firsts[line.number] is None]
    best = [min((r.ratio for r in column if r.cost is not None), default=-1.0)
            for column in zip(*(line.results for line in own), strict=True)]  # fmt: skip
    keys = {line.number: (line.score, -line.feasible) for line in own}
    standings = []
    for line in lines:
        first = firsts[line.number]
        if first is None:
            place = 1 + sum(key < keys[line.number] for key in keys.values())
            wins = sum(r.cost is not None and r.ratio <= low for r, low in zip(line.results, best, strict=True))
            standings.append(replace(line, rank=place, wins=wins))
        else:
            standings.append(replace(line, same_as=first))
    places = {line.number: (line.rank, line.number) for line in standings if line.rank is not None}
    return sorted(standings, key=lambda line: (places[line.same_as or line.number], line.number))


def _line(board: Board, entry: Entry, names: Sequence[str], references: Mapping[str, float]) -> Standing:
    """What an entry reached, not yet compared with others."""
    rows = {(row.instance, row.seed): row for row in entry.certificate.rows}
    known = np.array(_ratios(board, rows, names, references))  # (instances, seeds)
    ratios = np.fmin(np.maximum(known, board.floor), board.penalty)  # of nan and the penalty, the penalty
    # rounded, so that equal answers tie whatever their last bits
    means = [round(geometric_mean(seeds), 12) for seeds in ratios.tolist()]
    results = tuple(
        _result(board, rows, name, references[name], mean, seeds)
        for name, mean, seeds in zip(names, means, known.tolist(), strict=True)
    )
    different = [len({row_hash(row) for row in entry.certificate.rows if row.instance == name}) for name in names]
    runs = board.seeds if max(different) > 1 else 1
    score, middle, gap = summary(ratios.T[:runs]).tolist()  # each with its interval
    return Standing(
        rank=None, number=entry.number, agent=entry.shown.agent, score=round(geometric_mean(means), 12),
        low=score[1], high=score[2], iqm=middle[0], iqm_low=middle[1], iqm_high=middle[2],
        gap=gap[0], gap_low=gap[1], gap_high=gap[2], wins=0,
        feasible=math.fsum(result.feasible for result in results) / len(names), same_as=None,
        answers=len(rows), different=sum(different), over="seeds" if runs > 1 else "instances", results=results,
        beside={name: round(value, DIGITS) for name, value in means_beside(entry.certificate.rows).items()},
    )  # fmt: skip


def row_hash(row: Row) -> str:
    """By what an answer is known: the hash of its canonical form."""
    return row.canonical or row.solution or f"{row.instance} {row.seed}"


def _first_entries(entries: Sequence[Entry]) -> dict[int, int | None]:
    """Entry number -> the earlier entry that brought the same solutions, or None."""
    first: dict[tuple[str, ...], int] = {}
    found: dict[int, int | None] = {}
    for entry in sorted(entries, key=lambda entry: entry.number):
        hashes = tuple(row.canonical or row.solution for row in entry.certificate.rows)
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
    scores = 1 / ratios
    return np.stack([geometric_means(ratios), iqm(scores), optimality_gap(scores)], axis=-1)


def summary(ratios: Floats) -> Floats:
    """Score, IQM and optimality gap, a row each, with their 95 % intervals: ratios (S, I) -> (3, 3).

    With several seeds, the seeds are drawn again within each instance (stratified); with one, the instances are.
    """
    point = _aggregates(ratios)
    return np.concatenate([point[:, None], bootstrap_interval(ratios, _aggregates)], axis=1).round(DIGITS)


def ratio_table(standing: Standing) -> Floats:
    """Ratios of an entry, (runs, instances) float64; infinite where an answer is infeasible or missing.

    A run is a seed; an entry whose answers do not depend on the seed has one.
    """
    table = [[math.inf if value is None else value for value in result.ratios] for result in standing.results]
    runs: Floats = np.array(table, np.float64).T
    return runs if standing.over == "seeds" else runs[:1]


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
