"""Random spaces of the kind of the published one: small effects, collapses, and results that scatter differently.

All numbers have two decimals, as published ones have, so that a seed gives the same space on every machine.
"""

from __future__ import annotations

import numpy as np

from sysgym.core.problem import Array
from sysgym.nmt_architecture.instance import POINTS, Configurations, Space

FEWEST, MOST, MOST_DESIGNS = 3, 7, 120_000  # parameters, and designs of a space
SMALL = 0.4  # points, the deviation of small effects
COLLAPSES, WORSE = 0.35, 0.45  # the largest shares of values that fail, and of those that lose a point or so


def _counts(rng: np.random.Generator) -> Array:
    """Numbers of values, drawn again until there are not too many designs."""
    while True:
        counts = rng.integers(2, 12, int(rng.integers(FEWEST, MOST + 1)))
        if counts.prod() <= MOST_DESIGNS:
            return counts


def _effects(rng: np.random.Generator, count: int, baseline: int) -> Array:
    """Points of each value over the baseline's."""
    found = SMALL * rng.standard_normal(count)
    kind, collapse, worse = rng.random(count), COLLAPSES * rng.random(), WORSE * rng.random()
    found = np.where(kind < collapse + worse, -rng.uniform(0.3, 2.5, count), found)
    found = np.where(kind < collapse, -np.exp(rng.uniform(np.log(3), np.log(20), count)), found)
    found[baseline] = 0
    return np.round(found, 2)


def _spreads(rng: np.random.Generator, count: int) -> Array:
    """Standard deviations of the one-factor changes: mostly a fifth of a point, now and then points."""
    usual = np.exp(rng.normal(np.log(0.2), 0.5, count))
    return np.round(np.where(rng.random(count) < 0.05, rng.uniform(1, 3, count), usual), 2)


def drawn_space(rng: np.random.Generator) -> Space:
    """Parameters with effects, and what is known exactly: the baseline and all changes of one of its values."""
    counts = _counts(rng)
    baseline = rng.integers(0, counts)
    effects = [_effects(rng, int(count), int(at)) for count, at in zip(counts, baseline, strict=True)]
    spreads = [_spreads(rng, int(count)) for count in counts]
    base = round(float(rng.uniform(15, 60)), 2)
    rows, mean, deviation = [baseline], [base], [0.1]
    for place, (effect, spread) in enumerate(zip(effects, spreads, strict=True)):
        spread[baseline[place]] = 0  # of the reference there is no change
        for value in np.flatnonzero(np.arange(len(effect)) != baseline[place]).tolist():
            row = baseline.copy()
            row[place] = value
            rows.append(row)
            mean.append(round(float(np.clip(base + effect[value], 0, POINTS)), 2))
            deviation.append(float(spread[value]))
    return Space(
        tuple(f"factor {place}" for place in range(len(counts))),
        tuple(tuple(f"value {value}" for value in range(count)) for count in counts),
        baseline.astype(np.int64), np.concatenate(effects), np.concatenate(spreads),
        np.array(rows, np.int64), np.array(mean), np.array(deviation), base, round(float(rng.uniform(0.1, 0.8)), 2),
    )  # fmt: skip


def drawn(name: str, seed: int, evaluations: int) -> Configurations:
    """A space and its noise from a seed."""
    space = drawn_space(np.random.default_rng([seed, 0]))
    return Configurations(name, "drawn", space, seed, evaluations, "quality")
