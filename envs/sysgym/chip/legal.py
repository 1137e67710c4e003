"""Where macros may stand, and whether they all do: masks of grid cells and strict legality."""

from __future__ import annotations

import numpy as np

from sysgym.chip import kernels
from sysgym.chip.cost import macro_sizes
from sysgym.chip.netlist import HARD, PORT, SOFT, Netlist
from sysgym.chip.plc import Canvas, Placement
from sysgym.core.problem import Array


def node_mask(netlist: Netlist, canvas: Canvas, placement: Placement, node: int, spacing: float = 0.0) -> Array:
    """Cells on whose centre a macro may be put, (rows, columns) int8; a placed macro is in its own way.

    Circuit Training's `get_node_mask`: inside the canvas, no overlap with a placed hard or soft macro.
    """
    width, height = macro_sizes(netlist)
    mask = np.zeros((canvas.rows, canvas.columns), np.int8)
    kernels.node_mask(netlist.macros, placement.placed, placement.x, placement.y, width, height, width[node],
                      height[node], canvas.width, canvas.height, spacing, mask)  # fmt: skip
    return mask


def violations(netlist: Netlist, canvas: Canvas, placement: Placement) -> tuple[str, ...]:
    """Sentences about hard macros that are unplaced, overlap or stick out by more than a millionth of a micron."""
    hard = np.flatnonzero(netlist.kind == HARD)
    width, height = macro_sizes(netlist)
    arrays = (placement.placed, placement.x, placement.y, width, height)
    found = []
    missing = int((~placement.placed[netlist.macros]).sum())
    if missing:
        found.append(f"{missing} macros are not placed")
    pairs, area = kernels.overlaps(hard, *arrays)
    if pairs:
        found.append(f"{pairs} pairs of hard macros overlap, by {area:.6g} square microns in all")
    out = kernels.outside(hard, *arrays, canvas.width, canvas.height)
    if out:
        found.append(f"{out} hard macros stick out of the canvas")
    return tuple(found)


def adjacency(netlist: Netlist) -> tuple[Array, Array, Array]:
    """Links between macros and ports: (a, b, weight) with a < b, weights summed over all (driver, sink) pairs.

    Circuit Training's `get_macro_and_clustered_port_adjacency` before ports are clustered.
    """
    sizes = np.diff(netlist.ptr)
    driver = np.repeat(netlist.parent[netlist.pins[netlist.ptr[:-1]]], sizes - 1)
    first = np.zeros(len(netlist.pins), bool)
    first[netlist.ptr[:-1]] = True
    sink = netlist.parent[netlist.pins[~first]]
    weight = np.repeat(netlist.weight, sizes - 1)
    known = np.isin(netlist.kind, (HARD, SOFT, PORT))
    real = (driver != sink) & known[driver] & known[sink]
    low, high = np.minimum(driver, sink)[real].astype(np.int64), np.maximum(driver, sink)[real]
    keys, inverse = np.unique(low * len(netlist.kind) + high, return_inverse=True)
    total = np.bincount(inverse, weight[real], len(keys))
    return (keys // len(netlist.kind)).astype(np.int32), (keys % len(netlist.kind)).astype(np.int32), total
