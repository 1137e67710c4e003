"""Random graph families. A graph is named by its recipe, `delaunay:n=500,seed=3`, and is the same on every call.

Delaunay and geometric graphs keep their points out of the instance: agents see the topology only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError, unknown
from sysgym.core.options import keyword_options
from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph, from_edges

Edges = tuple[int, Array, Array]  # nodes, u, v


def delaunay(rng: np.random.Generator, n: int = 500) -> Edges:
    """Delaunay triangulation of n uniform points in the unit square."""
    from scipy.spatial import Delaunay

    corners = Delaunay(rng.random((n, 2))).simplices
    pairs = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    return n, pairs[:, 0], pairs[:, 1]


def grid(rng: np.random.Generator, n: int = 500, rows: int = 0) -> Edges:
    """Rectangular grid of at least n nodes, `rows` high (default: square). The generator is not used."""
    height = rows or int(np.sqrt(n))
    width = -(-n // height)
    index = np.arange(height * width).reshape(height, width)
    u = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    v = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    return height * width, u, v


def geometric(rng: np.random.Generator, n: int = 500, degree: float = 8.0) -> Edges:
    """Random geometric graph: uniform points joined within the radius that gives this mean degree."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(rng.random((n, 2))).query_pairs(np.sqrt(degree / (np.pi * n)), output_type="ndarray")
    return n, pairs[:, 0], pairs[:, 1]


def barabasi_albert(rng: np.random.Generator, n: int = 500, m: int = 3) -> Edges:
    """Preferential attachment: each new node brings m edges (Barabasi and Albert 1999)."""
    if not 1 <= m < n:
        raise UsageError(f"barabasi_albert needs 1 <= m < n, got m={m} and n={n}.")
    ends: list[int] = list(range(m))  # every node once a degree: a uniform draw is degree-proportional
    u, v = [], []
    for node in range(m, n):
        chosen: set[int] = set(range(m)) if node == m else set()
        while len(chosen) < m:
            chosen.add(ends[int(rng.integers(len(ends)))])
        for other in sorted(chosen):
            u.append(other)
            v.append(node)
            ends += [other, node]
    return n, np.array(u), np.array(v)


def erdos_renyi(rng: np.random.Generator, n: int = 500, degree: float = 8.0) -> Edges:
    """Uniform random graph with exactly round(n * degree / 2) edges."""
    wanted = min(round(n * degree / 2), n * (n - 1) // 2)
    keys: Array = np.zeros(0, np.int64)
    while len(keys) < wanted:
        a, b = rng.integers(n, size=(2, wanted))
        fresh = (np.minimum(a, b) * n + np.maximum(a, b))[a != b]
        keys = np.unique(np.concatenate([keys, fresh]))
    keys = rng.permutation(keys)[:wanted]
    return n, keys // n, keys % n


def stochastic_block(
    rng: np.random.Generator, n: int = 500, blocks: int = 5, degree: float = 8.0, mixing: float = 0.1
) -> Edges:
    """Planted partition: a share `mixing` of the edges joins different blocks (equal blocks, in node order)."""
    if not 1 <= blocks <= n:
        raise UsageError(f"stochastic_block needs 1 <= blocks <= n, got blocks={blocks} and n={n}.")
    block = np.arange(n) * blocks // n
    keys: Array = np.zeros(0, np.int64)
    inside = round(n * degree / 2 * (1 - mixing))
    outside = round(n * degree / 2 * mixing) if blocks > 1 else 0
    a, b = rng.integers(n, size=(2, 40 * (inside + outside) * max(blocks // 4, 1) + 64))
    for wanted, same in ((inside, True), (outside, False)):
        fits = (a != b) & ((block[a] == block[b]) == same)
        fresh = np.unique(np.minimum(a, b)[fits] * n + np.maximum(a, b)[fits])
        keys = np.concatenate([keys, rng.permutation(fresh)[:wanted]])
    return n, keys // n, keys % n


FAMILIES: dict[str, Callable[..., Edges]] = {
    "delaunay": delaunay,
    "grid": grid,
    "geometric": geometric,
    "barabasi_albert": barabasi_albert,
    "erdos_renyi": erdos_renyi,
    "stochastic_block": stochastic_block,
}


RANGES: dict[str, Callable[[int], tuple[float, float]]] = {  # of options, by the number of nodes
    "rows": lambda n: (0, n),
    "degree": lambda n: (0, n - 1),
    "mixing": lambda n: (0, 1),
    "nets": lambda n: (0.1, 100),
    "pins": lambda n: (2, n),
    "rent": lambda n: (0, 1),
}


def is_recipe(name: str) -> bool:
    """Whether a name looks like `family:option=value,...`."""
    return name.split(":")[0] in FAMILIES and "/" not in name


def recipe_options(recipe: str, families: Mapping[str, Callable[..., Any]]) -> tuple[str, dict[str, float], int]:
    """Family, options and seed of a recipe; UsageError lists families and options, and names a value out of range."""
    family, _, rest = recipe.partition(":")
    if family not in families:
        raise unknown("graph family", family, families)
    known = {k: p for k, p in keyword_options(families[family]).items() if k != "rng"}
    options: dict[str, float] = {}
    seed = 0
    for item in filter(None, rest.split(",")):
        key, _, value = item.partition("=")
        if key != "seed" and key not in known:
            raise unknown(f"option of {family}", key, [*known, "seed"])
        try:
            if key == "seed":
                seed = int(value)
            else:
                default = known[key].default
                options[key] = int(value) if isinstance(default, int) else float(value)
        except ValueError:
            raise UsageError(f"{recipe!r}: {key} must be a number, got {value!r}.") from None
    limit = inspect.signature(families[family]).parameters["n"].default
    if options.get("n", limit) < 3 or options.get("n", limit) > 10_000_000 or seed < 0:
        raise UsageError(f"{recipe!r}: n must be 3 to 10000000 and seed not negative.")
    for key, number in options.items():
        low, high = RANGES[key](int(options.get("n", limit))) if key in RANGES else (-np.inf, np.inf)
        if not low <= number <= high:  # nan is in no range
            raise UsageError(f"{recipe!r}: {key} must be from {low} to {high}, got {number}.")
    return family, options, seed


def generate_graph(recipe: str) -> Graph:
    """The graph that a recipe names; UsageError lists families and options.

    >>> generate_graph("grid:n=12,rows=3").edges
    17
    """
    family, options, seed = recipe_options(recipe, FAMILIES)
    nodes, u, v = FAMILIES[family](np.random.default_rng(seed), **options)
    return from_edges(recipe, nodes, u, v)
