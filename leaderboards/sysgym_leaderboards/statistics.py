"""Statistics of few runs, after Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice" (arXiv 2108.13264): aggregates, stratified bootstrap intervals, performance profiles, improvement.

Scores are float64 (..., runs, tasks), higher is better; the aggregates take any leading axes, as the bootstrap does.
With a single run no spread within a task is known, and the intervals are over the tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
CONFIDENCE = 0.95
_CHUNK = 2_000_000  # numbers drawn at a time
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


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


def geometric_means(scores: Floats) -> Floats:
    """Geometric mean over runs and tasks of scores >= 0: (..., R, T) -> (...)."""
    with np.errstate(divide="ignore"):  # log 0 is -inf, and the mean is 0 as it should
        means: Floats = np.exp(np.log(scores).mean((-2, -1)))
    return means


def mean(scores: Floats) -> Floats:
    """Mean over runs and tasks (section 4.3): (..., R, T) -> (...)."""
    found: Floats = np.asarray(scores).mean((-2, -1))
    return found


def median(scores: Floats) -> Floats:
    """Median over the tasks of the mean over the runs (section 4.3): (..., R, T) -> (...)."""
    found: Floats = np.median(np.asarray(scores).mean(-2), axis=-1)
    return found


def iqm(scores: Floats) -> Floats:
    """Interquartile mean (section 4.3): (..., R, T) -> (...), the mean of the scores without floor(RT/4) at each end.

    >>> float(iqm(np.array([[9.0, 1.0], [2.0, 3.0]])))
    2.5
    """
    flat = np.asarray(scores).reshape(*np.shape(scores)[:-2], -1)
    count = flat.shape[-1]
    cut = count // 4
    found: Floats = np.partition(flat, sorted({cut, count - cut - 1}), axis=-1)[..., cut : count - cut].mean(-1)
    return found


def optimality_gap(scores: Floats, gamma: float = 1.0) -> Floats:
    """gamma - mean(min(score, gamma)) (section 4.3): (..., R, T) -> (...), lower is better."""
    found: Floats = gamma - np.minimum(scores, gamma).mean((-2, -1))
    return found


def performance_profile(scores: Floats, taus: Sequence[float]) -> Floats:
    """Share of the runs and tasks with a score above each tau (section 4.2): (R, T) -> (len(taus),).

    >>> performance_profile(np.array([[0.4, 0.6, 0.8, 1.0]]), [0.5, 0.8]).tolist()
    [0.75, 0.25]
    """
    flat = np.sort(np.asarray(scores), axis=None)
    above: Floats = (flat.size - np.searchsorted(flat, np.asarray(taus, np.float64), side="right")) / flat.size
    return above


def probability_of_improvement(x: Floats, y: Floats) -> float:
    """P(X > Y) (section 4.3): mean over the tasks of (#(x > y) + #(x = y) / 2) / (Rx Ry).

    x (Rx, T), y (Ry, T). Half means that neither is better.
    """
    return float(_preferences(x, y).mean())


def _preferences(x: Floats, y: Floats) -> Floats:
    """1 where a run of x is better than a run of y, 1/2 where equal: (Rx, T), (Ry, T) -> (Rx, Ry, T)."""
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"scores of {x.shape[-1]} and of {y.shape[-1]} tasks cannot be compared")
    first, second = np.asarray(x)[:, None], np.asarray(y)[None]
    found: Floats = (first > second) + 0.5 * (first == second)
    return found


def _draws(runs: int, tasks: int, rng: np.random.Generator, reps: int, cost: int) -> Iterator[tuple[Indices, Indices]]:
    """Run and task of each drawn score, int64 (n, R, T) and (n, R, T) or (T,), n adding up to `reps`.

    The runs are drawn again independently within each task (stratified bootstrap, section 4.1); of a single run, the
    tasks are. `cost` is how many numbers one repetition takes in memory.
    """
    step = max(1, _CHUNK // cost)
    for start in range(0, reps, step):
        count = min(step, reps - start)
        if runs > 1:
            yield rng.integers(runs, size=(count, runs, tasks)), np.arange(tasks)
        else:
            drawn = rng.integers(tasks, size=(count, 1, tasks))
            yield np.zeros_like(drawn), drawn


def _percentiles(samples: list[Floats]) -> Floats:
    tail = 50 * (1 - CONFIDENCE)
    with np.errstate(invalid="ignore"):  # between two infinite samples stands nan
        found: Floats = np.percentile(np.concatenate(samples), [tail, 100 - tail], axis=0)
    return found.T


def bootstrap_interval(
    scores: Floats, statistic: Callable[[Floats], Floats], *, reps: int = RESAMPLES, seed: int = 0
) -> Floats:
    """95 % percentile bootstrap interval of a statistic (section 4.1): scores (R, T) -> (2,), low and high.

    `statistic` maps (n, R, T) to (n,), or to (n, k) for k statistics of the same draws: then the interval is (k, 2).
    """
    runs, tasks = scores.shape
    rng = np.random.default_rng(seed)
    return _percentiles([statistic(scores[drawn]) for drawn in _draws(runs, tasks, rng, reps, scores.size)])


def improvement_interval(x: Floats, y: Floats, *, reps: int = RESAMPLES, seed: int = 0) -> Floats:
    """95 % percentile bootstrap interval of P(X > Y): x (Rx, T), y (Ry, T) -> (2,).

    Both sides are drawn again, each stratified by task; if either has a single run, the tasks are drawn again instead.
    """
    table = _preferences(x, y)
    first, second, tasks = table.shape
    rng = np.random.default_rng(seed)
    if min(first, second) == 1:
        means = table.mean((0, 1))
        return _percentiles([means[drawn].mean((1, 2)) for _, drawn in _draws(1, tasks, rng, reps, tasks)])
    samples = []
    for mine, task in _draws(first, tasks, rng, reps, table.size):
        theirs = rng.integers(second, size=(len(mine), second, tasks))
        samples.append(table[mine[:, :, None], theirs[:, None], task].mean((1, 2, 3)))
    return _percentiles(samples)


def difference_interval(x: Floats, y: Floats, *, reps: int = RESAMPLES, seed: int = 0) -> Floats:
    """95 % percentile bootstrap interval of mean(X) - mean(Y) over the same tasks: x (Rx, T), y (Ry, T) -> (2,).

    Both sides are drawn again, each stratified by task; if either has a single run, the tasks are drawn again instead,
    in pairs.
    """
    rng, (first, tasks), second = np.random.default_rng(seed), x.shape, y.shape[0]
    if min(first, second) == 1:
        means = x.mean(0) - y.mean(0)
        return _percentiles([means[drawn].mean((1, 2)) for _, drawn in _draws(1, tasks, rng, reps, tasks)])
    samples = []
    for mine, task in _draws(first, tasks, rng, reps, x.size + y.size):
        theirs = rng.integers(second, size=(len(mine), second, tasks))
        samples.append(x[mine, task].mean((1, 2)) - y[theirs, task].mean((1, 2)))
    return _percentiles(samples)
