"""Statistics of few runs against rliable's answers and plain formulas."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym_leaderboards import statistics
from sysgym_leaderboards.statistics import (
    bootstrap_interval,
    geometric_mean,
    geometric_means,
    improvement_interval,
    iqm,
    mean,
    median,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)

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
# 5 runs of 6 tasks and what rliable 1.2.0 says of them
RUNS = np.array([
    [0.825, 0.774, 0.928, 0.821, 0.693, 0.872],
    [1.061, 0.989, 0.659, 0.547, 0.675, 0.808],
    [0.335, 0.756, 0.551, 0.654, 0.691, 0.737],
    [0.882, 1.009, 0.774, 1.073, 0.667, 0.87],
    [0.981, 0.819, 0.651, 0.616, 0.708, 0.844],
])  # fmt: skip
KNOWN = {  # value, low, high
    "mean": (0.7756666666666666, 0.7206666666666668, 0.8268016666666667),
    "median": (0.7795, 0.6954, 0.8437),
    "iqm": (0.770875, 0.7261875, 0.8234390625),
    "optimality_gap": (0.2291, 0.1817333333333333, 0.2814),
}


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


def test_geometric_means_are_means_of_logarithms() -> None:
    table = np.exp(RUNS)
    assert float(geometric_means(table)) == pytest.approx(geometric_mean(table.ravel()), rel=1e-14)
    interval = bootstrap_interval(table, geometric_means)
    np.testing.assert_allclose(np.log(interval), bootstrap_interval(RUNS, mean), rtol=1e-6)  # percentiles interpolate
    assert geometric_means(np.array([[0.0, 5.0]])) == 0.0


@pytest.mark.parametrize("name", KNOWN)
def test_known_answers(name: str) -> None:
    function: Callable[[Any], Any] = getattr(statistics, name)
    value, *interval = KNOWN[name]
    assert float(function(RUNS)) == pytest.approx(value, abs=1e-12)
    np.testing.assert_allclose(bootstrap_interval(RUNS, function), interval, atol=0.01)
    assert performance_profile(RUNS, [0.5, 0.7, 0.9]) == pytest.approx([29 / 30, 19 / 30, 6 / 30], abs=1e-15)


def test_every_answer_of_rliable_is_reproduced(public_data: Path) -> None:
    sets = json.loads((public_data / "ecosystem" / "rliable_reference.json").read_text())
    assert len(sets) == 3
    for known in sets:
        tolerance = 0.05 if known["name"] == "3x4_ties" else 0.01
        runs = {name: np.array(table) for name, table in known["runs_by_tasks"].items()}
        for name, table in runs.items():
            for key, function in (("mean", mean), ("median", median), ("iqm", iqm)):
                assert float(function(table)) == pytest.approx(known["point"][name][key], abs=1e-12)
                interval = bootstrap_interval(table, function)
                np.testing.assert_allclose(interval, known["ci95"][name][key], atol=tolerance, err_msg=key)
            assert float(optimality_gap(table, known["gamma"])) == pytest.approx(
                known["point"][name]["optimality_gap"], abs=1e-12
            )
            interval = bootstrap_interval(table, lambda scores, gamma=known["gamma"]: optimality_gap(scores, gamma))
            np.testing.assert_allclose(interval, known["ci95"][name]["optimality_gap"], atol=tolerance)
            profile = performance_profile(table, known["taus"])
            np.testing.assert_allclose(profile, known["performance_profile"][name], atol=1e-12)
        found = probability_of_improvement(runs["X"], runs["Y"])
        assert found == pytest.approx(known["probability_of_improvement_X_over_Y"], abs=1e-12)
        np.testing.assert_allclose(
            improvement_interval(runs["X"], runs["Y"]), known["probability_of_improvement_ci95"], atol=tolerance
        )


def test_intervals_are_seeded_and_have_ten_thousand_repetitions() -> None:
    sizes: list[int] = []

    def count(scores: Any) -> Any:
        sizes.append(len(scores))
        return mean(scores)

    first = bootstrap_interval(RUNS, count)
    assert sum(sizes) >= 10_000
    np.testing.assert_array_equal(first, bootstrap_interval(RUNS, mean))
    assert (first != bootstrap_interval(RUNS, mean, seed=1)).any()
    np.testing.assert_array_equal(improvement_interval(RUNS, RUNS), improvement_interval(RUNS, RUNS))


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap_interval(RUNS, mean)
    monkeypatch.setattr(statistics, "_CHUNK", 1000)
    np.testing.assert_array_equal(bootstrap_interval(RUNS, mean), whole)


def test_several_statistics_share_their_draws() -> None:
    both = bootstrap_interval(RUNS, lambda scores: np.stack([mean(scores), iqm(scores)], axis=-1))
    np.testing.assert_array_equal(both, [bootstrap_interval(RUNS, mean), bootstrap_interval(RUNS, iqm)])


def test_strata_are_kept_apart() -> None:
    """Tasks that differ, runs that do not: nothing varies. A single run: the tasks are drawn again."""
    constant = np.repeat(np.array([[0.1, 0.5, 0.9]]), 4, axis=0)
    np.testing.assert_allclose(bootstrap_interval(constant, mean), 0.5, rtol=1e-12)
    assert np.ptp(bootstrap_interval(constant[:1], mean)) > 0.3
    assert improvement_interval(constant, constant - 1).tolist() == [1.0, 1.0]
    low, high = improvement_interval(constant[:1], np.array([[0.2, 0.4, 0.8]]))
    assert (low, high) == (0.0, 1.0)


def test_iqm_is_scipys_trimmed_mean() -> None:
    from scipy.stats import trim_mean

    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 2), (1, 3), (2, 3), (3, 7), (10, 26)):
        table = rng.random(shape)
        assert float(iqm(table)) == pytest.approx(trim_mean(table, 0.25, axis=None), rel=1e-14)


def test_aggregates_take_leading_axes() -> None:
    tables = np.random.default_rng(0).random((3, 2, 5, 6))
    for function in (mean, median, iqm, optimality_gap, geometric_means):
        found = function(tables)
        assert found.shape == (3, 2) and found[1, 1] == function(tables[1, 1])


def test_probability_of_improvement() -> None:
    x, y = np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]]), np.array([[3.0, 1.0]])
    assert probability_of_improvement(x, y) == ((1 + 0.5) / 3 + 1) / 2
    assert probability_of_improvement(y, x) == pytest.approx(1 - probability_of_improvement(x, y), abs=1e-15)
    with pytest.raises(ValueError, match="scores of 2 and of 1 tasks"):
        probability_of_improvement(x, y[:, :1])
