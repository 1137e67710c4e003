"""Points by recipe, `blobs:n=96,k=4,seed=3`: the same on every call and every machine, in no order of their classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sysgym.core.errors import UsageError, unknown
from sysgym.core.problem import Array


class Made(NamedTuple):
    """Points, their true classes (which no instance holds), and the preprocessing that fits them."""

    x: Array  # (n, d)
    y: Array  # (n,) int64
    preprocess: str


def blobs(rng: np.random.Generator, n: int, k: int) -> Made:
    """Gaussians of unequal size and spread in 8 dimensions, whose neighbours overlap."""
    share = rng.dirichlet(np.full(k, 8.0))
    y = rng.choice(k, n, p=share)
    middles, spread = rng.standard_normal((k, 8)) * 2.0, rng.uniform(0.6, 1.6, k)
    return Made(middles[y] + rng.standard_normal((n, 8)) * spread[y, None], y, "none")


def moons(rng: np.random.Generator, n: int, k: int) -> Made:
    """Half circles side by side, each reaching into the next, with noise."""
    y = rng.integers(k, size=n)
    angle = rng.random(n) * np.pi
    side = np.where(y % 2 == 0, 1.0, -1.0)
    x = np.stack([np.cos(angle) + y, side * np.sin(angle) + np.where(y % 2 == 0, 0.0, 0.5)], axis=1)
    return Made(x + rng.standard_normal((n, 2)) * 0.12, y, "none")


def circles(rng: np.random.Generator, n: int, k: int) -> Made:
    """Circles around one another, with noise."""
    y = rng.choice(k, n, p=np.arange(1, k + 1) / (k * (k + 1) / 2))
    angle = rng.random(n) * 2 * np.pi
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (y[:, None] + 1.0)
    return Made(x + rng.standard_normal((n, 2)) * 0.1, y, "none")


@lru_cache(maxsize=1)
def _all_digits() -> tuple[Array, Array]:
    """Those of scikit-learn, to read: (1797, 64) pixels and their classes."""
    from sklearn.datasets import load_digits

    found: tuple[Array, Array] = load_digits(return_X_y=True)
    for array in found:
        array.setflags(write=False)
    return found


def digits(rng: np.random.Generator, n: int, k: int) -> Made:
    """Handwritten digits of 8 x 8 pixels out of the 1,797 that come with scikit-learn, of k classes."""
    x, y = _all_digits()
    classes = np.sort(rng.permutation(10)[:k])
    there = int(np.isin(y, classes).sum())
    if n > there:
        raise UsageError(f"n={n} is more than the {there} digits of the {k} classes that are drawn; ask for fewer.")
    kept = rng.permutation(np.flatnonzero(np.isin(y, classes)))[:n]
    return Made(x[kept], np.searchsorted(classes, y[kept]), "pca")


class Family(NamedTuple):
    """A family of points, with what its recipes may ask for."""

    draw: Callable[[np.random.Generator, int, int], Made]
    n: int  # points, unless a recipe says
    k: int
    most_points: int = 10**6
    most_clusters: int = 64


FAMILIES = {
    "blobs": Family(blobs, 96, 4),
    "moons": Family(moons, 96, 2),
    "circles": Family(circles, 96, 2),
    "digits": Family(digits, 256, 10, 1797, 10),
}


def is_recipe(name: str) -> bool:
    """Whether a name looks like `family:option=value,...`."""
    return name.split(":")[0] in FAMILIES and ":" in name and "/" not in name


def drawn(recipe: str) -> tuple[Made, int]:
    """The points that a recipe names, and how many clusters; UsageError lists families and options.

    >>> drawn("moons:n=40,seed=1")[0].x.shape
    (40, 2)
    """
    name, _, rest = recipe.partition(":")
    if name not in FAMILIES:
        raise unknown("family of points", name, FAMILIES)
    family = FAMILIES[name]
    values = {"n": family.n, "k": family.k, "seed": 0}
    most = {"n": family.most_points, "k": family.most_clusters, "seed": 2**63 - 1}
    given = [item.partition("=")[::2] for item in rest.split(",") if item]
    for key, value in given:
        if key not in values:
            raise unknown(f"option of {name}", key, values)
        if not (value.isascii() and value.isdecimal() and len(value) < 20):
            raise UsageError(f"{recipe!r}: {key} must be a whole number, {most[key]} at most, got {value[:40]!r}.")
        if sum(other == key for other, _ in given) > 1:
            raise UsageError(f"{recipe!r}: {key} is given more than once.")
        values[key] = int(value)
    for key, least in (("n", 8), ("k", 2), ("seed", 0)):
        if not least <= values[key] <= most[key]:
            raise UsageError(f"{recipe!r}: {key} must be from {least} to {most[key]}, got {values[key]}.")
    return family.draw(np.random.default_rng(values["seed"]), values["n"], values["k"]), values["k"]
