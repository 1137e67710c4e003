"""What an agent may know of a search under a budget of noisy evaluations: kept up with each result, told as features.

Numbers of points are shown as sign(x) log1p(|x|), so that collapses and small effects fit one scale. The effect of a
value is what a ridge regression on the values of all parameters gives it of the shown distances to the best result.
"""

from __future__ import annotations

import math

import numpy as np

from sysgym.compiled import njit
from sysgym.core.problem import Array

VALUE_FEATURES = (
    "tried", "often", "untried", "mean", "mean_to_best", "best", "last", "chosen", "in_best", "in_answer", "focused",
    "effect", "allowed",
)  # fmt: skip
GLOBALS = (
    "left", "log_left", "seen", "spread", "best_to_mean", "answer_to_best", "last_to_best", "answer_tried", "changed",
    "place", "parameters",
)  # fmt: skip
RIDGE = 0.1  # noise over signal in the regression
REMEMBERED = 128  # the last results, which the regression is of
BEST, ANSWER = range(2)  # rows of the trials: of the best result, and of the first evaluation of the answer


@njit
def shown(points: float) -> float:
    """Points on a scale that both effects and collapses fit."""
    return math.copysign(math.log1p(abs(points)), points)


@njit
def heard(counts: Array, designs: Array, results: Array, same: Array, sums: Array, hits: Array, chosen: Array,
          turn: int) -> None:  # fmt: skip
    """Take in the result of evaluation `turn`: which of the trials is the best one, and which the answer.

    same (N,): the first trial of the same design. sums, hits (N,): of each design, at its first trial.
    """
    first = turn
    for i in range(turn):
        if same[i] == i:
            equal = True
            for p in range(len(counts)):
                if designs[i, p] != designs[turn, p]:
                    equal = False
                    break
            if equal:
                first = i
                break
    same[turn] = first
    sums[first] += results[turn]
    hits[first] += 1
    if turn == 0 or results[turn] < results[chosen[BEST]]:
        chosen[BEST] = turn
    best = 0
    for i in range(1, turn + 1):
        if same[i] == i and sums[i] / hits[i] < sums[best] / hits[best]:
            best = i
    chosen[ANSWER] = best


@njit
def solved(k: Array, y: Array) -> None:
    """y (n,) becomes the solution of k y, k (n, n) symmetric and positive; k is overwritten (Cholesky)."""
    n = len(y)
    for i in range(n):
        for j in range(i + 1):
            total = k[i, j]
            for m in range(j):
                total -= k[i, m] * k[j, m]
            k[i, j] = math.sqrt(total) if i == j else total / k[j, j]
    for i in range(n):
        for m in range(i):
            y[i] -= k[i, m] * y[m]
        y[i] /= k[i, i]
    for i in range(n - 1, -1, -1):
        for m in range(i + 1, n):
            y[i] -= k[m, i] * y[m]
        y[i] /= k[i, i]


@njit
def regressed(counts: Array, designs: Array, results: Array, best: float, done: int, effect: Array) -> None:
    """The effects of all values (V,), lower is better; 0 of values that were not tried."""
    first = max(done - REMEMBERED, 0)
    n, parameters = done - first, len(counts)
    k, y = np.empty((n, n)), np.empty(n)
    mean = 0.0
    for i in range(n):
        y[i] = shown(results[first + i] - best)
        mean += y[i] / n
        for j in range(i + 1):
            same = 0
            for p in range(parameters):
                if designs[first + i, p] == designs[first + j, p]:
                    same += 1
            k[i, j] = same / parameters
        k[i, i] += RIDGE
    for i in range(n):
        y[i] -= mean
    solved(k, y)
    effect[:] = 0.0
    start = 0
    for p in range(parameters):
        for i in range(n):
            effect[start + designs[first + i, p]] += y[i] / parameters
        start += counts[p]


@njit
def describe(counts: Array, designs: Array, results: Array, sums: Array, hits: Array, chosen: Array, done: int,
             design: Array, place: int, effect: Array, x: Array, g: Array) -> None:  # fmt: skip
    """Features of all values x (V, 13), one parameter after the other, and those of the search g (11,).

    `place` is the parameter whose turn it is, or -1: all, or none.
    """
    most = len(results)
    mean, square, best, answer = 0.0, 0.0, 0.0, 0.0
    if done:
        for i in range(done):
            mean += results[i] / done
        for i in range(done):
            square += (results[i] - mean) ** 2 / done
        best = results[chosen[BEST]]
        answer = sums[chosen[ANSWER]] / hits[chosen[ANSWER]]
    row, changed = 0, 0
    for p in range(len(counts)):
        for v in range(counts[p]):
            times, total, least, last = 0, 0.0, np.inf, -1
            for i in range(done):
                if designs[i, p] == v:
                    times += 1
                    total += results[i]
                    least = min(least, results[i])
                    last = i
            x[row, :] = 0.0
            x[row, 2] = 1.0 if times == 0 else 0.0
            if times:
                x[row, 0] = times / done
                x[row, 1] = math.log1p(times)
                x[row, 3] = shown(total / times - mean)
                x[row, 4] = shown(total / times - best)
                x[row, 5] = shown(least - best)
                x[row, 6] = (done - last) / most
                x[row, 8] = 1.0 if designs[chosen[BEST], p] == v else 0.0
                x[row, 9] = 1.0 if designs[chosen[ANSWER], p] == v else 0.0
            x[row, 7] = 1.0 if design[p] == v else 0.0
            x[row, 10] = 1.0 if place == p else 0.0
            x[row, 11] = effect[row]
            row += 1
        if done and design[p] >= 0 and design[p] != designs[chosen[ANSWER], p]:
            changed += 1
    left = most - done
    g[0] = left / most
    g[1] = math.log1p(left) / 5
    g[2] = 1.0 if done else 0.0
    g[3] = math.log1p(math.sqrt(square))
    g[4] = shown(mean - best)
    g[5] = shown(answer - best)
    g[6] = shown(results[done - 1] - best) if done else 0.0
    g[7] = math.log1p(hits[chosen[ANSWER]]) if done else 0.0
    g[8] = float(changed)
    g[9] = max(place, 0) / len(counts)
    g[10] = len(counts) / 10
