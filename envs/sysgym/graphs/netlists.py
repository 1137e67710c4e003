"""Random netlists: hypergraphs whose nets are local by Rent's rule. Named by their recipe, `netlist:n=500,seed=3`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sysgym.core.problem import Array
from sysgym.graphs.generate import recipe_options
from sysgym.graphs.hypergraph import Hypergraph, from_nets

Nets = tuple[int, Array, Array]  # nodes, net_ptr, pins


def netlist(rng: np.random.Generator, n: int = 500, nets: float = 1.1, pins: float = 3.6, rent: float = 0.65) -> Nets:
    """Cells in nested blocks of 2, 4, 8, ... in a row, renamed at random; `nets` of them a cell, of `pins` pins in the
    mean (2 and a geometric rest). All pins of a net lie in one block, whose size is drawn so that 2^h cells are left
    by about 2^(h rent) nets (Landman and Russo 1971).
    """
    count, deepest = max(round(nets * n), 1), int(np.ceil(np.log2(n)))
    sizes = np.minimum(1 + rng.geometric(1 / max(pins - 1, 1), count), n)
    chance = 2.0 ** ((rent - 1) * np.arange(1, deepest + 1))
    level = 1 + rng.choice(deepest, count, p=chance / chance.sum())
    level = np.maximum(level, np.ceil(np.log2(sizes)).astype(np.int64))
    centre, names = rng.integers(n, size=count), rng.permutation(n)
    chosen = []
    for size, high, cell in zip(sizes.tolist(), level.tolist(), centre.tolist(), strict=True):
        low = cell >> high << high
        low, top = min(low, max(n - size, 0)), min(low + (1 << high), n)
        chosen.append(names[low + rng.choice(max(top - low, size), size, replace=False)])
    return n, np.concatenate([[0], np.cumsum(sizes)]), np.concatenate(chosen)


FAMILIES: dict[str, Callable[..., Nets]] = {"netlist": netlist}


def is_netlist(name: str) -> bool:
    """Whether a name looks like `family:option=value,...`."""
    return name.split(":")[0] in FAMILIES and "/" not in name


def generate_hypergraph(recipe: str) -> Hypergraph:
    """The hypergraph that a recipe names; UsageError lists families and options.

    >>> generate_hypergraph("netlist:n=50,seed=1").edges
    55
    """
    family, options, seed = recipe_options(recipe, FAMILIES)
    return from_nets(recipe, *FAMILIES[family](np.random.default_rng(seed), **options))
