"""Force-directed placement of soft macros around fixed hard macros, as Circuit Training does it.

Rules: TILOS' description of Google's placer (MacroPlacement, `Docs/CodeElements`); parameters: Circuit Training's
`optimize_stdcells`. The first phase pulls connected nodes together, the later ones push overlapping ones apart.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sysgym.chip.cost import macro_sizes, positions
from sysgym.chip.force_kernels import force_directed
from sysgym.chip.netlist import SOFT, Netlist
from sysgym.chip.plc import Canvas, Placement

STEPS = (100, 100, 100)
PULL = (100.0, 1e-3, 1e-5)
PUSH = (0.0, 1e6, 1e7)


def place_soft(netlist: Netlist, canvas: Canvas, placement: Placement) -> Placement:
    """The placement with its soft macros placed anew, from the middle of the canvas; deterministic.

    Computed in float32, as the reference does: macros that coincide are pushed differently from those that nearly do,
    and the outcome is chaotic, a few per cent of the cost either way.
    """
    soft = netlist.kind == SOFT
    x, y, placed = placement.x.copy(), placement.y.copy(), placement.placed.copy()
    own = soft & (netlist.parent == np.arange(len(soft)))
    x[own], y[own], placed[own] = canvas.width / 2, canvas.height / 2, True
    width, height = macro_sizes(netlist)
    px, py = positions(netlist, placement)
    short = [array.astype(np.float32) for array in (x, y, px, py, width, height)]
    force_directed(
        netlist.ptr, netlist.pins, netlist.weight, netlist.parent, netlist.macros, own, placed, *short, canvas.width,
        canvas.height, np.array(STEPS), np.array(PULL), np.array(PUSH),
    )  # fmt: skip
    x[own], y[own] = short[0][own], short[1][own]
    at = netlist.parent
    return replace(placement, x=x[at], y=y[at], placed=placed[at])
