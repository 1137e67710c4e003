"""Ranking against answers worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import sysgym
from sysgym_leaderboards import Board, Certificate, Entry, Row, geometric_mean, profiles, rank, win_matrix
from sysgym_leaderboards.judge import judge_of
from sysgym_leaderboards.ranking import ratio, summary

JUDGE = judge_of(sysgym.make_problem("Partitioning"))
NAMES = ("tiny/delaunay-test", "tiny/grid-test", "tiny/geometric-test", "tiny/stochastic_block-test")


@pytest.fixture
def board(board: Board) -> Board:
    """With a small penalty, so that it shows in figures worked out by hand."""
    return replace(board, penalty=2.0)


def entry(board: Board, number: int, costs: Any, references: Any = (10.0, 10.0, 10.0, 10.0), **fields: Any) -> Entry:
    """An accepted entry; costs per instance, or per instance and seed; None is infeasible, "-" is missing."""
    rows = []
    for name, seeds, reference in zip(NAMES, costs, references, strict=True):
        for seed, cost in enumerate(seeds if isinstance(seeds, list | tuple) else [seeds]):
            if cost != "-":
                rows.append(Row(name, seed, cost is not None, math.inf if cost is None else cost, reference, {}, ()))
    options = {
        "accepted": True,
        "judge": JUDGE,
        "agent": f"agent{number}",
        "rows": tuple(rows),
        "instances": NAMES,
        **fields,
    }
    certificate = Certificate(board.id, options.pop("board_hash", board.hash), f"{number}", **options)
    return Entry(number, board.id, certificate, "2026-01-31T12:00:00Z", "", "")


@pytest.mark.parametrize(
    ("cost", "reference", "expected"),
    [
        (0, 0, 1),
        (5, 10, 0.5),
        (10, 5, 2),
        (3, 0, 7),
        (0, 3, 0),
        (-10, -5, 0.5),
        (-5, -10, 2),
        (1, -1, 7),
        (-1, 1, 0),
        (0, -2, 7),
    ],
)
def test_ratios(cost: float, reference: float, expected: float) -> None:
    assert ratio(float(cost), float(reference), 7.0) == expected


def test_scores_by_hand(board: Board) -> None:
    first = entry(board, 1, (20.0, 5.0, 10.0, 10.0))  # 2 * 0.5 * 1 * 1 = 1
    second = entry(board, 2, (5.0, 10.0, None, 10.0))  # 0.5 * 1 * penalty 2 * 1 = 1
    third = entry(board, 3, (5.0, 5.0, 5.0, "-"))  # 0.5^3 * penalty 2 = 0.25 -> fourth root
    standings = rank(board, [first, second, third])
    assert [(line.number, line.rank) for line in standings] == [
        (3, 1),
        (1, 2),
        (2, 3),
    ]  # of equal scores, more feasible answers
    assert [line.score for line in standings] == pytest.approx([0.25**0.25, 1.0, 1.0], rel=1e-12)
    assert [line.feasible for line in standings] == [0.75, 1.0, 0.75]
    assert [line.wins for line in standings] == [
        3,
        2,
        2,
    ]  # entries 2 and 3 tie on the first graph, 1 and 3 on the second
    assert standings[0].results[3].cost is None and standings[0].results[3].ratio == 2.0
    assert standings == rank(board, [first, second, third])


def test_an_infeasible_answer_wins_nothing(board: Board) -> None:
    none, poor = entry(board, 1, (None,) * 4), entry(board, 2, (50.0,) * 4)
    assert {line.number: (line.score, line.wins) for line in rank(board, [none, poor])} == {1: (2.0, 0), 2: (2.0, 4)}


def test_an_infeasible_answer_never_pays(board: Board) -> None:
    none, poor = entry(board, 1, (None,) * 4), entry(board, 2, (50.0, 30.0, 11.0, 70.0))  # the penalty is 2
    partly = entry(board, 3, (None, "-", 11.0, 70.0))
    standings = rank(board, [none, partly, poor])
    assert [(line.number, line.rank) for line in standings] == [(2, 1), (3, 2), (1, 3)]
    assert [result.ratio for result in standings[2].results] == [2.0] * 4
    assert [result.ratio for result in standings[0].results] == [2.0, 2.0, 1.1, 2.0]
    # what a bad answer really cost stays visible
    assert [result.ratios for result in standings[0].results] == [(5.0,), (3.0,), (1.1,), (7.0,)]
    assert [result.cost for result in standings[0].results] == [50.0, 30.0, 11.0, 70.0]
    assert [line.score for line in rank(board, [none])] == [2.0]


@pytest.mark.parametrize(
    "stranger", [(1e7, 10.0, 10.0, 10.0), (1e7,) * 4, (None,) * 4, (0.0,) * 4, ("-", 5.0, 5.0, 5.0)]
)
def test_another_entry_changes_no_score(board: Board, stranger: Any) -> None:
    """Nobody can push an entry with one failure behind a worse one."""
    good, poor = entry(board, 1, (None, 10.0, 10.0, 10.0)), entry(board, 2, (15.0,) * 4)
    alone = {line.number: line for line in rank(board, [good, poor])}
    joined = {line.number: line for line in rank(board, [good, poor, entry(board, 3, stranger)])}
    assert (alone[1].rank, alone[2].rank) == (1, 2) and joined[1].rank < joined[2].rank
    for number, line in alone.items():
        assert replace(joined[number], rank=line.rank, wins=line.wins) == line


def test_random_strangers_change_no_score(board: Board) -> None:
    rng, three = np.random.default_rng(3), replace(board, seeds=3)

    def drawn(number: int) -> Entry:
        costs = np.exp(rng.normal(2.5, 2.0, (4, 3)))
        table = [[None if rng.random() < 0.3 else cost for cost in row] for row in costs.tolist()]
        return entry(three, number, table)

    entries = [drawn(number) for number in range(1, 9)]
    whole = {line.number: line for line in rank(three, entries)}
    for count in range(1, 8):
        part = rank(three, entries[:count])
        assert all(replace(whole[x.number], rank=x.rank, wins=x.wins) == x for x in part)
        order = [line.number for line in part]
        assert order == [number for number in whole if number in order]


@pytest.mark.parametrize("penalty", [1.0, 1.1, 2.0, 3.7, 1e6])
def test_who_fails_everywhere_is_behind_who_answers_anything(board: Board, penalty: float) -> None:
    fixed = replace(board, penalty=penalty)
    none = entry(fixed, 1, (None,) * 4)
    for cost in (10.0, 19.999999, 20.0, 36.999, 37.0, 1e7, 1e300):
        for place in range(4):
            one = entry(fixed, 2, [cost if index == place else None for index in range(4)])
            assert [(line.number, line.rank) for line in rank(fixed, [none, one])] == [(2, 1), (1, 2)]


def test_seeds_are_averaged_inside_an_instance(board: Board) -> None:
    three = replace(board, seeds=3)
    one = entry(three, 1, ([5.0, 10.0, 20.0], [10.0, 10.0, 80.0], [10.0] * 3, [10.0, None, 10.0]))
    line = rank(three, [one])[0]
    expected = [1.0, 2 ** (1 / 3), 1.0, 2 ** (1 / 3)]  # (.5*1*2)^(1/3), 8 counts the penalty 2, 1, (1*2*1)^(1/3)
    assert [result.ratio for result in line.results] == pytest.approx(expected, rel=1e-12)
    assert line.score == pytest.approx(math.prod(expected) ** 0.25, rel=1e-12)
    assert [result.cost for result in line.results] == [5.0, 10.0, 10.0, 10.0]
    assert [result.mean_cost for result in line.results] == pytest.approx([35 / 3, 100 / 3, 10.0, 10.0])
    assert line.results[3].feasible == pytest.approx(2 / 3) and line.feasible == pytest.approx(11 / 12)
    assert line.low <= line.score <= line.high


def test_entries_for_other_rules_are_left_out(board: Board) -> None:
    good, costs = entry(board, 1, (10.0,) * 4), (1.0,) * 4
    others = [entry(board, 2, costs, board_hash="0" * 64), entry(board, 3, costs, accepted=False)]
    assert [line.number for line in rank(board, [good, *others])] == [1]
    assert rank(board, []) == []


def test_the_newest_reference_counts_for_all(board: Board) -> None:
    old = entry(board, 1, (10.0,) * 4, (10.0,) * 4)
    new = entry(board, 2, (10.0,) * 4, (20.0,) * 4)
    assert [line.score for line in rank(board, [old, new])] == pytest.approx([0.5, 0.5])


def test_a_missing_reference_is_named(board: Board) -> None:
    with pytest.raises(sysgym.UsageError, match="no reference cost 'metis' is known for tiny/stochastic_block-test"):
        rank(board, [entry(board, 1, (1.0, 1.0, 1.0, "-"))])


def test_the_interval_of_one_seed_is_over_the_instances() -> None:
    sample = np.exp(np.random.default_rng(5).normal(0.1, 0.2, (1, 40)))
    score, low, high = summary(sample)[0]
    # the percentile interval of a mean of 40 is close to mean +- 1.96 standard errors
    logs = np.log(sample[0])
    error = 1.96 * logs.std() / np.sqrt(40)
    assert np.log([score, low, high]) == pytest.approx(logs.mean() + np.array([0, -error, error]), abs=0.01)
    np.testing.assert_array_equal(summary(sample), summary(sample))


def test_the_interval_of_several_seeds_ignores_differences_between_instances() -> None:
    constant = np.repeat(np.array([[0.5, 1.0, 3.0]]), 5, axis=0)
    np.testing.assert_allclose(summary(constant)[0], 1.5 ** (1 / 3), rtol=1e-8)
    assert np.ptp(summary(constant[:1])[0]) > 0.5


def test_the_interval_against_a_plain_loop() -> None:
    table = np.exp(np.random.default_rng(1).normal(0, 0.3, (5, 4)))
    rng, means = np.random.default_rng(2), []
    for _ in range(4000):
        means.append(geometric_mean([table[s, i] for i in range(4) for s in rng.integers(5, size=5)]))
    np.testing.assert_allclose(summary(table)[0, 1:], np.percentile(means, [2.5, 97.5]), rtol=0.02)


def test_iqm_and_gap_are_of_reference_over_cost(board: Board) -> None:
    line = rank(board, [entry(board, 1, (5.0, 8.0, 12.5, 40.0))])[0]  # 2, 1.25, 0.8, and 0.5 as the penalty is 2
    assert (line.iqm, line.gap) == (pytest.approx(1.025), pytest.approx(0.175))
    assert line.iqm_low is not None and line.iqm_low < 1.025 and line.gap_low < 0.175 < line.gap_high


@pytest.mark.attack("One instance solved at cost 0 decides the whole score")
def test_a_cost_of_zero_counts_the_floor(board: Board) -> None:
    """One instance cannot decide: the score is not 0, and a board may state how low a ratio counts."""
    line = rank(board, [entry(board, 1, (0.0, 10.0, 10.0, 10.0))])[0]
    assert (line.score, line.low, line.high) == pytest.approx((0.01**0.25, 0.01**0.75, 1.0))
    assert (line.iqm, line.iqm_low, line.gap) == (1.0, 1.0, 0.0) and line.iqm_high == 100
    assert json.dumps(line.as_dict(), allow_nan=False)
    better = entry(board, 1, (0.0, 20.0, 20.0, 20.0)), entry(board, 2, (5.0, 5.0, 5.0, 5.0))
    assert [line.number for line in rank(board, better)] == [2, 1]
    strict = replace(board, floor=0.5)
    assert strict.hash != board.hash and board.hash == replace(board, floor=0.01).hash
    other = [replace(item, certificate=replace(item.certificate, board_hash=strict.hash)) for item in better]
    assert [line.score for line in rank(strict, other)] == pytest.approx([0.5, (0.5 * 8) ** 0.25])


def test_win_matrix_by_hand(board: Board) -> None:
    two = replace(board, seeds=2)
    first = entry(two, 1, ([5.0, 5.0], [10.0, 30.0], [10.0, None], [None, None]))
    second = entry(two, 2, ([5.0, 5.0], [20.0, 20.0], [None, None], [50.0, None]))
    matrix = win_matrix(rank(two, [first, second]))
    better = (0.5 + 0.5 + (0.5 * 1 + 0.5 * 0.5) + (0.5 * 0 + 0.5 * 0.5)) / 4  # ties half, infeasible loses
    assert matrix[0][0] is matrix[1][1] is None
    assert matrix[0][1] is not None and matrix[0][1][0] == better and matrix[0][1][1] < better < matrix[0][1][2]
    assert matrix[1][0] == tuple(round(1 - matrix[0][1][i], 9) for i in (0, 2, 1))


def test_the_mean_of_raw_costs_never_ranks(board: Board) -> None:
    """The first is far better on three small instances, the second somewhat on the one with huge costs."""
    references = (10.0, 10.0, 10.0, 1e6)
    small, huge = entry(board, 1, (5.0, 5.0, 5.0, 1e6), references), entry(board, 2, (9.0, 9.0, 9.0, 8e5), references)
    assert [line.number for line in rank(board, [small, huge])] == [1, 2]


def test_performance_profile(board: Board) -> None:
    standings = rank(board, [entry(board, 1, (5.0, 10.0, 11.0, None)), entry(board, 2, (30.0,) * 4)])
    profile = profiles(standings, [0.4, 0.5, 1.0, 1.1, 2.0, 3.1])
    assert profile == {1: [0, 0.25, 0.5, 0.75, 0.75, 0.75], 2: [0, 0, 0, 0, 0, 1]}
