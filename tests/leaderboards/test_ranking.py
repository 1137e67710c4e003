"""Ranking against answers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import sysgym
from sysgym_leaderboards import Board, Certificate, Entry, Row, geometric_mean, performance_profile, rank
from sysgym_leaderboards.ranking import bootstrap_intervals, failure_ratios, ratio

NAMES = ("tiny/delaunay-test", "tiny/grid-test", "tiny/geometric-test", "tiny/stochastic_block-test")


# Published geomeans of the CompilerGym LLVM board (facebookresearch/CompilerGym, commit 00cd50f) and the rewards behind
# them, one a cBench program. The last entry covers 22 of the 23 programs and was ranked all the same.
PUBLISHED = [
    (1.070, "1.00838 1.101781 1.0 1.029609 1.02829 1.049325 1.011123 1.109237 0.996269 1.026875 1.046137 1.0459 "
     "1.019912 1.221215 0.994898 1.129607 1.046843 1.078949 1.136223 1.525084 1.016393 1.044593 1.048875"),
    (1.062, "1.00838 1.015487 1.088041 1.209655 1.0 0.994898 1.016929 1.094622 1.020408 1.037356 1.040021 1.056593 "
     "1.007786 1.142415 1.107321 1.535117 1.019126 1.003731 0.984771 1.040653 1.039423 1.041955 1.038796"),
    (1.047, "1.005587 0.988938 1.030025 1.171692 1.0 0.994898 1.036977 1.010415 1.028149 1.031488 1.047825 0.986652 "
     "1.133127 1.075125 1.488294 0.979508 0.981343 0.989634 1.034385 1.038022 1.035431 1.034903"),
]  # fmt: skip
# 5 runs of 6 tasks; mean over tasks 0.775667, 95 % stratified bootstrap interval by rliable 1.2.0 with 20,000 resamples
RUNS = [
    [0.825, 0.774, 0.928, 0.821, 0.693, 0.872],
    [1.061, 0.989, 0.659, 0.547, 0.675, 0.808],
    [0.335, 0.756, 0.551, 0.654, 0.691, 0.737],
    [0.882, 1.009, 0.774, 1.073, 0.667, 0.87],
    [0.981, 0.819, 0.651, 0.616, 0.708, 0.844],
]
RLIABLE = (0.7206666666666668, 0.8268016666666667)


def entry(board: Board, number: int, costs: Any, references: Any = (10.0, 10.0, 10.0, 10.0), **fields: Any) -> Entry:
    """An accepted entry; costs per instance, or per instance and seed; None is infeasible, "-" is missing."""
    rows = []
    for name, seeds, reference in zip(NAMES, costs, references, strict=True):
        for seed, cost in enumerate(seeds if isinstance(seeds, list | tuple) else [seeds]):
            if cost != "-":
                rows.append(Row(name, seed, cost is not None, math.inf if cost is None else cost, reference, {}, ()))
    options = {"accepted": True, "agent": f"agent{number}", "rows": tuple(rows), "instances": NAMES, **fields}
    certificate = Certificate(board.id, options.pop("board_hash", board.hash), f"{number}", **options)
    return Entry(number, board.id, certificate, "2026-01-31T12:00:00Z", "", "")


def test_geometric_means() -> None:
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0, rel=1e-15)
    assert geometric_mean([1.0, 1.0, 1.0]) == 1.0
    assert geometric_mean([0.0, 5.0]) == 0.0
    for wrong in ([], [-1.0]):
        with pytest.raises(ValueError, match="geometric mean"):
            geometric_mean(wrong)


@pytest.mark.parametrize(("published", "rewards"), PUBLISHED)
def test_published_geometric_means_are_reproduced(published: float, rewards: str) -> None:
    assert round(geometric_mean(map(float, rewards.split())), 3) == published


def test_bootstrap_agrees_with_rliable() -> None:
    table = np.exp(np.array(RUNS).T)  # the geometric mean of these is the mean of the scores
    assert geometric_mean(table.ravel()) == pytest.approx(np.exp(0.7756666666666666), rel=1e-12)
    np.testing.assert_allclose(np.log(bootstrap_intervals(table[None])[0]), RLIABLE, atol=0.003)


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
    assert {line.number: (line.score, line.wins) for line in rank(board, [none, poor])} == {1: (5.0, 0), 2: (5.0, 4)}


def test_an_infeasible_answer_never_pays(board: Board) -> None:
    none, poor = entry(board, 1, (None,) * 4), entry(board, 2, (50.0, 30.0, 11.0, 70.0))  # the penalty is 2
    partly = entry(board, 3, (None, "-", 11.0, 70.0))
    standings = rank(board, [none, partly, poor])
    assert [(line.number, line.rank) for line in standings] == [(2, 1), (3, 2), (1, 3)]
    assert [result.ratio for result in standings[2].results] == [5.0, 3.0, 2.0, 7.0]
    assert [line.score for line in rank(board, [none])] == [2.0]


def test_failures_count_the_worst_feasible_ratio_of_any_seed() -> None:
    known = np.array([[[1.0, 9.0], [1.0, np.nan]], [[np.nan, 2.0], [1.5, 1.0]]])
    assert failure_ratios(known, 2.0).tolist() == [9.0, 2.0]


def test_seeds_are_averaged_inside_an_instance(board: Board) -> None:
    three = replace(board, seeds=3)
    one = entry(three, 1, ([5.0, 10.0, 20.0], [10.0, 10.0, 80.0], [10.0] * 3, [10.0, None, 10.0]))
    line = rank(three, [one])[0]
    expected = [1.0, 2.0, 1.0, 2 ** (1 / 3)]  # (.5*1*2)^(1/3), 8^(1/3), 1, (1*2*1)^(1/3)
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


def test_bootstrap_over_instances() -> None:
    rng = np.random.default_rng(5)
    sample = np.exp(rng.normal(0.1, 0.2, (2, 40, 1)))
    low, high = bootstrap_intervals(sample)[0]
    # the percentile interval of a mean of 40 is close to mean +- 1.96 standard errors
    logs = np.log(sample[0, :, 0])
    error = 1.96 * logs.std() / np.sqrt(40)
    assert np.log(low) == pytest.approx(logs.mean() - error, abs=0.01)
    assert np.log(high) == pytest.approx(logs.mean() + error, abs=0.01)
    np.testing.assert_array_equal(bootstrap_intervals(sample), bootstrap_intervals(sample))
    np.testing.assert_array_equal(bootstrap_intervals(sample[:1])[0], bootstrap_intervals(sample)[0])


def test_bootstrap_over_seeds_ignores_differences_between_instances() -> None:
    constant = np.repeat(np.array([0.5, 1.0, 3.0])[None, :, None], 5, axis=2)
    np.testing.assert_allclose(bootstrap_intervals(constant)[0], 1.5 ** (1 / 3), rtol=1e-8)
    assert np.ptp(bootstrap_intervals(constant[:, :, :1])[0]) > 0.5


def test_bootstrap_against_a_plain_loop() -> None:
    table = np.exp(np.random.default_rng(1).normal(0, 0.3, (4, 5)))
    rng, means = np.random.default_rng(2), []
    for _ in range(4000):
        means.append(geometric_mean([table[i, s] for i in range(4) for s in rng.integers(5, size=5)]))
    expected = np.percentile(means, [2.5, 97.5])
    np.testing.assert_allclose(bootstrap_intervals(table[None])[0], expected, rtol=0.02)


def test_bootstrap_with_a_cost_of_zero() -> None:
    table = np.array([0.0, 1.0, 1.0, 1.0])[None, :, None]
    assert bootstrap_intervals(table).tolist() == [[0.0, 1.0]]


def test_performance_profile(board: Board) -> None:
    standings = rank(board, [entry(board, 1, (5.0, 10.0, 11.0, None)), entry(board, 2, (30.0,) * 4)])
    profile = performance_profile(standings, [0.4, 0.5, 1.0, 1.1, 2.0, 3.1])
    assert profile == {1: [0, 0.25, 0.5, 0.75, 0.75, 0.75], 2: [0, 0, 0, 0, 0, 1]}
