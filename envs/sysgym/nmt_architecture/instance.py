"""Configurations: the parameters of a network with what is known of each choice, and how a search in them goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from sysgym.core.errors import InvalidSolution, shortened, unknown
from sysgym.core.problem import Array
from sysgym.search.tables import Table, counted, table_of

CAP = 0.5  # the most that a result scatters where its standard deviation is not known
POINTS = 100.0  # of quality at most, 0 at least


class Sizes(NamedTuple):
    """What no factor of a network chooses."""

    vocabulary: int  # tokens on either side
    units: int  # of every cell


@dataclass(frozen=True, eq=False, repr=False)
class Space:
    """P parameters with V values in all, one parameter after the other, and the quality of each choice of values.

    Rows are designs whose mean and standard deviation are known. Without a base there are no others; with one, another
    design has base + e_max + shrink * (sum of the other positive effects) + (sum of the negative effects), from 0 to
    100, and the root of the sum of its values' variances, CAP at most, as standard deviation. e_max is the largest
    effect of its values, or 0 if none is positive.
    """

    parameters: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    baseline: Array  # (P,) int64, a design to compare with
    effect: Array  # (V,) float64, points of quality over the baseline's value
    spread: Array  # (V,) float64
    rows: Array  # (R, P) int64
    mean: Array  # (R,) float64, points of quality
    deviation: Array  # (R,) float64
    base: float | None = None
    shrink: float = 0.0
    sizes: Sizes | None = field(default=None, metadata={"hashed": "changed"})  # of networks in the published words

    def __repr__(self) -> str:
        """One line."""
        return f"<Space of {len(self.parameters)} parameters, {len(self.rows)} known designs>"

    @property
    def counts(self) -> Array:
        """How many values each parameter has, (P,) int64."""
        return np.array([len(values) for values in self.values], np.int64)

    def named(self, design: Array) -> dict[str, str]:
        """The values of a design by the names of the parameters."""
        chosen = zip(self.parameters, self.values, np.asarray(design).tolist(), strict=True)
        return {name: values[index] for name, values, index in chosen}

    def design(self, content: Mapping[str, Any]) -> Array:
        """A design (P,) int64 from values by name; InvalidSolution names a wrong one."""
        for name in content:
            if name not in self.parameters:
                raise InvalidSolution(str(unknown("parameter", str(name), self.parameters)))
        found = []
        for name, values in zip(self.parameters, self.values, strict=True):
            if name not in content:
                raise InvalidSolution(f"the design lacks {name!r}; its parameters are {', '.join(self.parameters)}.")
            given = content[name]
            if isinstance(given, bool) or not isinstance(given, str | int) or str(given) not in values:
                listed = ", ".join(values)
                raise InvalidSolution(f"{name} must be one of {listed}, got {shortened(repr(given), 60)}.")
            found.append(values.index(str(given)))
        return np.array(found, np.int64)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What networks of the backend `live` are trained for: pairs `text TAB text`, a line each."""

    train: str = field(repr=False)
    judged: str = field(repr=False)  # "" to hold some of the others out
    epochs: int = 3
    units: int = 64  # of every cell


@dataclass(frozen=True, eq=False, repr=False)
class Configurations:
    """A space with a seed of the noise and a number of evaluations."""

    name: str
    backend: str  # "published", "drawn", "table" or "live"
    space: Space
    seed: int
    evaluations: int
    measure: str = "BLEU"  # what quality is, in points
    task: Task | None = field(default=None, metadata={"hashed": "changed"})  # of the backend `live`

    def __repr__(self) -> str:
        """One line."""
        return f"<Configurations {self.name}: {len(self.space.parameters)} parameters, {self.evaluations} evaluations>"


def _combined(space: Space) -> tuple[Array, Array]:
    """Quality and standard deviation of all designs by their values alone, (D,) each."""
    counts = space.counts
    positive, largest, negative, variance = (np.zeros(counts) for _ in range(4))
    ends = np.cumsum(counts)
    for place, (count, end) in enumerate(zip(counts.tolist(), ends.tolist(), strict=True)):
        shape = [1] * len(counts)
        shape[place] = count
        effect, spread = (array[end - count : end].reshape(shape) for array in (space.effect, space.spread))
        gain = np.maximum(effect, 0)
        positive, largest = positive + gain, np.maximum(largest, gain)
        negative, variance = negative + np.minimum(effect, 0), variance + spread**2
    assert space.base is not None
    quality = space.base + largest + space.shrink * (positive - largest) + negative
    return np.clip(quality, 0, POINTS).reshape(-1), np.minimum(np.sqrt(variance), CAP).reshape(-1)


@lru_cache(maxsize=256)
def table(space: Space) -> Table:
    """All designs of a space with their costs, 100 - quality."""
    total, strides = counted(space.counts)
    if space.base is None:
        quality, spread, present = np.zeros(total), np.zeros(total), np.zeros(total, bool)
    else:
        quality, spread = _combined(space)
        present = np.ones(total, bool)
    known = space.rows @ strides
    quality[known], spread[known], present[known] = space.mean, space.deviation, True
    return table_of(space.counts, POINTS - quality, spread, present)
