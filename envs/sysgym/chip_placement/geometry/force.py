"""Force-directed placement of soft macros around fixed hard macros, as Circuit Training does it.

Rules: TILOS' description of Google's placer (MacroPlacement, `Docs/CodeElements`); parameters: Circuit Training's
`optimize_stdcells`. The first phase pulls connected nodes together, the later ones push overlapping ones apart.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sysgym.chip_placement.formats.netlist import HARD, SOFT, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.chip_placement.geometry.force_kernels import Bodies, Nets, Phases, force_directed
from sysgym.chip_placement.geometry.macros import macro_sizes, positions
from sysgym.chip_placement.geometry.resolution import canonical, on_units
from sysgym.core.problem import Array

STEPS = (100, 100, 100)
SOFT_ONLY = ((1.0, 1.0, 1.0), (100.0, 1e-3, 1e-5), (0.0, 1e6, 1e7))  # reach, attraction, repulsion of each phase
MIXED = ((1.0, 2.0, 2.0), (100.0, 1e-3, 1e-5), (0.0, 1e5, 1e6))


def place_soft(netlist: Netlist, canvas: Canvas, placement: Placement, square_soft: bool = True) -> Placement:
    """The placement with its soft macros placed anew, from the middle of the canvas; deterministic.

    Computed in float32, as the reference does: macros that coincide are pushed differently from those that nearly do,
    and the outcome is chaotic, a few per cent of the cost either way.
    """
    return _place(netlist, canvas, placement, (netlist.kind == SOFT) & ~placement.fixed, SOFT_ONLY,
                  square_soft)  # fmt: skip


def settle_soft(netlist: Netlist, canvas: Canvas, placement: Placement, square_soft: bool = True) -> Placement:
    """The placement as files hold it (`canonical`), its soft macros by forces, on whole units and inside the canvas."""
    placed = place_soft(netlist, canvas, canonical(netlist, canvas, placement, square_soft), square_soft)
    soft = np.flatnonzero((netlist.kind == SOFT) & ~placement.fixed)
    return on_units(netlist, canvas, inside(netlist, canvas, placed, square_soft), soft)


def inside(netlist: Netlist, canvas: Canvas, placement: Placement, square_soft: bool = True) -> Placement:
    """The placement with its soft macros shifted into the canvas, as far as they fit; fixed ones stay."""
    width, height = macro_sizes(netlist, square_soft, placement.orientation)
    x, y = placement.x.copy(), placement.y.copy()
    soft = (netlist.kind == SOFT) & ~placement.fixed
    for at, size, end in ((x, width, canvas.limits[0]), (y, height, canvas.limits[1])):
        half = np.minimum(size[soft], end) / 2
        at[soft] = np.clip(at[soft], half, end - half)
    return replace(placement, x=x[netlist.parent], y=y[netlist.parent])


def place_all(netlist: Netlist, canvas: Canvas, placement: Placement) -> Placement:
    """Soft and hard macros placed together, overlaps and all: where Circuit Training lets its agent see them first."""
    free = ((netlist.kind == SOFT) | (netlist.kind == HARD)) & ~placement.fixed
    return _place(netlist, canvas, placement, free, MIXED)


def _place(
    netlist: Netlist, canvas: Canvas, placement: Placement, free: Array, phases: tuple[tuple[float, ...], ...],
    square_soft: bool = True,
) -> Placement:  # fmt: skip
    x, y, placed = placement.x.copy(), placement.y.copy(), placement.placed.copy()
    own = free & (netlist.parent == np.arange(len(free)))
    x[own], y[own], placed[own] = canvas.width / 2, canvas.height / 2, True
    width, height = macro_sizes(netlist, square_soft, placement.orientation)
    px, py = positions(netlist, placement)
    short = [array.astype(np.float32) for array in (x, y, px, py, width, height)]
    nets = Nets(netlist.ptr, netlist.pins, netlist.weight, netlist.parent)
    bodies = Bodies(netlist.macros, own, placed, *short)
    force_directed(nets, bodies, canvas.width, canvas.height, Phases(np.array(STEPS), *map(np.array, phases)))
    x[own], y[own] = short[0][own], short[1][own]
    at = netlist.parent
    return replace(placement, x=x[at], y=y[at], placed=placed[at])
