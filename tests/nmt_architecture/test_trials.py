"""The search: noise, answers, features, and tables that do not have every configuration."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import sysgym
from sysgym.core.problem import Size
from sysgym.nmt_architecture.catalogue import published_space
from sysgym.nmt_architecture.drawn import drawn_space
from sysgym.nmt_architecture.instance import Configurations, Space, table
from sysgym.nmt_architecture.modes import choose_mode
from sysgym.search.tables import ABSENT, counted
from sysgym.search.trial_kernels import GLOBALS, VALUE_FEATURES
from sysgym_agents.general.random import sample_action

PROBLEM = sysgym.make_problem("NMTArchitecture")
GOLDEN = Path(__file__).parents[1] / "golden" / "instances" / "architecture.json"


def played(env: Any, seed: int) -> tuple[float, Any]:
    """The return of a random episode, and the verdict."""
    env.reset(seed=seed)
    rng, total, over = np.random.default_rng(seed), 0.0, False
    while not over:
        _, reward, over, _, info = env.step(sample_action(rng, env.action_space, env.unwrapped.action_masks()))
        total += reward
    return total, info["verdict"]


def test_noise_has_the_mean_and_deviation_of_the_table() -> None:
    """At four standard errors, for a design of little and one of much noise; and no two evaluations share a draw."""
    space, known = published_space(), table(published_space())
    for values in ({}, {"encoder": "Bidi-8-ResD"}, {"encoder": "Bidi-8-ResD", "cell": "LSTM"}):
        base = space.named(space.baseline)
        number = int(known.number(space.design({**base, **values})))
        drawn = np.array([known.result(seed, turn, number) for seed in range(200) for turn in range(20)])
        mean, deviation = known.cost[number], known.spread[number]
        assert abs(drawn.mean() - mean) < 4 * deviation / math.sqrt(len(drawn))
        assert abs(drawn.std() - deviation) < 4 * deviation / math.sqrt(2 * len(drawn))
        assert len(np.unique(drawn)) == len(drawn)
    assert known.result(1, 2, 3) == known.result(1, 2, 3) != known.result(1, 2, 4)


def test_strides_and_prefixes_are_those_of_the_array() -> None:
    rng = np.random.default_rng(0)
    for seed in range(5):
        space = drawn_space(np.random.default_rng(seed))
        known = table(space)
        shaped = known.cost.reshape(space.counts)
        for design in rng.integers(0, space.counts, (50, len(space.counts))):
            assert shaped[tuple(design)] == known.cost[known.number(design)]
    with pytest.raises(sysgym.UsageError, match="1048576 at most"):
        counted(np.array([2] * 21))


@pytest.mark.parametrize("mode", ["sequential", "oneshot"])
def test_rewards_telescope_and_the_answer_is_the_best_mean_seen(mode: str) -> None:
    for name in ("published/test-1", "drawn/train-0", str(GOLDEN)):
        env: Any = gym.make("sysgym/NMTArchitecture-v0", instance=name, mode=mode).unwrapped
        total, verdict = played(env, 5)
        known, state = table(env.instance.space), env.state
        first = known.cost[known.number(known.first())]
        scale = PROBLEM.reference_costs(env.instance)["baseline"]
        assert total == pytest.approx((first - verdict["cost"]) / scale, abs=1e-12) or not verdict["feasible"]
        means: dict[tuple[int, ...], list[float]] = {}
        for design, seen in zip(state.designs.tolist(), state.results, strict=True):
            means.setdefault(tuple(design), []).append(seen)
        best = min(means, key=lambda design: np.mean(means[design]))
        assert env.solution()["design"].tolist() == list(best)
        assert state.done == len(state.results) == env.instance.evaluations
        numbers = known.number(state.designs)
        assert state.results.tolist() == [known.result(env.instance.seed, t, int(n)) for t, n in enumerate(numbers)]


def features(state: Any, instance: Configurations) -> tuple[Any, Any]:
    """What the page says of values and of the search, once more in plain numpy."""

    def log(x: float) -> float:
        return math.copysign(math.log1p(abs(x)), x)

    counts, done = instance.space.counts, state.done
    designs, results = state.designs[:done], state.results[:done]
    x = np.zeros((int(counts.sum()), len(VALUE_FEATURES)))
    rows = [(p, v) for p, count in enumerate(counts) for v in range(count)]
    for row, (p, v) in enumerate(rows):
        hit = designs[:, p] == v
        x[row, 2] = not hit.any()
        if hit.any():
            x[row, :2] = hit.mean(), math.log1p(hit.sum())
            mean, age = results[hit].mean(), done - np.flatnonzero(hit)[-1]
            x[row, 3:5] = log(mean - results.mean()), log(mean - results.min())
            x[row, 5:7] = log(results[hit].min() - results.min()), age / len(state.results)
            x[row, 8:10] = designs[results.argmin(), p] == v, state.answer[p] == v
        x[row, 7], x[row, 10] = state.design[p] == v, state.place == p
    if done:  # ridge regression on which values a design has, of the centred distances to the best result
        has = np.array([[design[p] == v for p, v in rows] for design in designs], float) / math.sqrt(len(counts))
        y = np.log1p(results - results.min())
        primal = has.T @ has + 0.1 * np.eye(len(rows))
        x[:, 11] = np.linalg.solve(primal, has.T @ (y - y.mean())) / math.sqrt(len(counts))
    told = np.zeros(len(GLOBALS))
    left = len(state.results) - done
    told[:2] = left / len(state.results), math.log1p(left) / 5
    if done:
        trials = (designs == state.answer).all(axis=1)
        changed = sum(state.design[p] not in (-1, state.answer[p]) for p in range(len(counts)))
        told[2:9] = (1, math.log1p(results.std()), log(results.mean() - results.min()), log(state.seen - results.min()),
                     log(results[-1] - results.min()), math.log1p(trials.sum()), changed)  # fmt: skip
    told[9:] = state.place / len(counts), len(counts) / 10
    return x, told


def test_features_are_what_the_page_says() -> None:
    instance = PROBLEM.load("drawn/train-1")
    dynamics, size = choose_mode("sequential"), PROBLEM.size(instance)
    state, rng = dynamics.start(instance, np.random.default_rng(0)), np.random.default_rng(1)
    while not dynamics.done(instance, state):
        nodes, globals_ = dynamics.nodes(instance, state), dynamics.globals(instance, state)
        x, told = features(state, instance)
        assert np.allclose(nodes[:, :-1], x[:, :-1], atol=1e-5) and np.allclose(globals_[:-1], told, atol=1e-5)
        rows, owners = dynamics.candidates(instance, state, size)
        real = owners >= 0
        assert real.sum() == instance.space.counts[state.place] and np.array_equal(rows[real, :-2], nodes[owners[real]])
        assert not rows[~real].any() and np.array_equal(dynamics.mask(instance, state, size) > 0, real)
        state = dynamics.step(instance, state, int(rng.choice(np.flatnonzero(real))))
    assert dynamics.globals(instance, state)[-1] == 1


def permuted(space: Space, orders: list[Any]) -> Space:
    """The space with the values of each parameter in another order."""
    starts = np.cumsum(space.counts) - space.counts
    flat = np.concatenate([start + order for start, order in zip(starts, orders, strict=True)])
    places = [np.argsort(order) for order in orders]

    def moved(designs: Any) -> Any:
        return np.stack([place[column] for place, column in zip(places, np.atleast_2d(designs).T, strict=True)], axis=1)

    values = tuple(tuple(names[i] for i in order) for names, order in zip(space.values, orders, strict=True))
    return replace(space, values=values, baseline=moved(space.baseline)[0], effect=space.effect[flat],
                   spread=space.spread[flat], rows=moved(space.rows))  # fmt: skip


def test_the_order_of_values_changes_no_cost() -> None:
    rng = np.random.default_rng(0)
    for space in (published_space(), drawn_space(rng)):
        other = permuted(space, [rng.permutation(count) for count in space.counts])
        for design in rng.integers(0, space.counts, (200, len(space.counts))):
            twin = other.design(space.named(design))
            one, two = table(space), table(other)
            assert one.cost[one.number(design)] == pytest.approx(two.cost[two.number(twin)], abs=1e-9)
            assert one.spread[one.number(design)] == pytest.approx(two.spread[two.number(twin)], abs=1e-12)


def test_a_table_of_rows_has_no_other_configurations() -> None:
    """Masks leave them out; chosen at once, one uses up an evaluation, shows the worst, and is judged infeasible."""
    instance, size = PROBLEM.load(str(GOLDEN)), Size(4, 4, (2, 2))
    sequential, oneshot = choose_mode("sequential"), choose_mode("oneshot")
    state = sequential.start(instance, np.random.default_rng(0))
    assert sequential.mask(instance, state, size).tolist() == [1, 1]
    state = sequential.step(instance, state, 0)
    assert sequential.mask(instance, state, size).tolist() == [1, 0]
    state = oneshot.start(instance, np.random.default_rng(0))
    assert oneshot.cost(instance, state) == 27.5  # of the first row, before any evaluation
    state = oneshot.step(instance, state, np.array([0, 1]))
    assert state.results[0] == ABSENT and state.done == 1
    verdict = PROBLEM.judge(instance, oneshot.solution(instance, state))
    assert not verdict.feasible and verdict.cost == ABSENT and "no such configuration" in verdict.violations[0]
    state = oneshot.step(instance, state, np.array([1, 1]))
    assert PROBLEM.judge(instance, oneshot.solution(instance, state)).cost == oneshot.cost(instance, state) == 25.75
    assert "not in the table" not in PROBLEM.describe(instance, oneshot.solution(instance, state))
    assert PROBLEM.render(instance, oneshot.solution(instance, state)).ndim == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rows": []}, "rows must be a list of 1 to"),
        ({"parameters": {"cell": ["gru", "gru"]}}, "cell must have a list of different texts"),
        ({"rows": [{"values": ["gru", 3], "mean": 1}]}, "row 0: depth must be one of 1, 2, got 3"),
        ({"rows": [{"values": ["gru", 1], "mean": 101}]}, "row 0: mean must be a number from 0 to 100, got 101"),
        ({"rows": [{"values": ["gru", 1], "mean": 1}] * 2}, "two rows are of the same configuration"),
        ({"baseline": ["gru", 2]}, "the baseline has no row"),
        ({"evaluations": 0}, "evaluations must be a whole number from 1 to 1000, got 0"),
        ({"sed": 1}, "Did you mean 'seed'"),
    ],
)
def test_a_malformed_table_is_a_sentence(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**json.loads(GOLDEN.read_text()), **change}))
    with pytest.raises(sysgym.UsageError) as caught:
        PROBLEM.load(str(path))
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("published:sed=1", "Did you mean 'seed'"), ("drawn:seed=-1", "seed must be a whole number from 0"),
        ("published:evaluations=1001", "from 1 to 1000, got '1001'"), ("publishd/test-1", "published/test-1"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(sysgym.UsageError, match=sentence):
        PROBLEM.load(name)


def test_values_by_name_are_checked() -> None:
    instance = PROBLEM.load(str(GOLDEN))
    for content, sentence in (
        ({"cell": "gru"}, "lacks 'depth'"), ({"cell": "rnn", "depth": 1}, "must be one of gru, lstm, got 'rnn'"),
        ({"cel": "gru", "depth": 1}, "Did you mean 'cell'"), ({"cell": "gru", "depth": True}, "got True"),
    ):  # fmt: skip
        with pytest.raises(sysgym.InvalidSolution, match=sentence):
            PROBLEM.named_solution(instance, content)
    with pytest.raises(sysgym.InvalidSolution, match="cell has 2 values"):
        PROBLEM.judge(_wide(), {"design": np.array([2, 0])})


def _wide() -> Configurations:
    """A table whose parameters have different numbers of values."""
    space = Space(("cell", "depth"), (("a", "b"), ("1", "2", "3")), np.zeros(2, np.int64), np.zeros(5), np.zeros(5),
                  np.zeros((1, 2), np.int64), np.ones(1), np.zeros(1), 1.0)  # fmt: skip
    return Configurations("wide", "drawn", space, 0, 3)
