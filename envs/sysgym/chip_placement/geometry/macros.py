"""Sizes of macros, by their orientation, and positions of their pins."""

from __future__ import annotations

import numpy as np

from sysgym.chip_placement import kernels
from sysgym.chip_placement.formats.netlist import SOFT, Netlist
from sysgym.chip_placement.formats.plc import Placement
from sysgym.core.problem import Array

QUARTER = 4  # orientations from E on are turned by a quarter: width and height change places


def macro_sizes(netlist: Netlist, square_soft: bool = True, orientation: Array | None = None) -> tuple[Array, Array]:
    """Widths and heights (n,) float64; soft macros are squares of their area, as Circuit Training makes them.

    With orientations (n,), those of macros that are turned by a quarter change places.
    """
    width, height = netlist.width.copy(), netlist.height.copy()
    if orientation is not None:
        turned = orientation >= QUARTER
        width[turned], height[turned] = netlist.height[turned], netlist.width[turned]
    if square_soft:
        soft = netlist.kind == SOFT
        width[soft] = height[soft] = np.sqrt(width[soft] * height[soft])
    return width, height


def sizes_of(netlist: Netlist, macros: Array, orientation: Array, square_soft: bool = True) -> tuple[Array, Array]:
    """As `macro_sizes`, of some macros (k,) in their orientations (k,)."""
    turned, wide, tall = orientation >= QUARTER, netlist.width[macros], netlist.height[macros]
    width, height = np.where(turned, tall, wide), np.where(turned, wide, tall)
    if not square_soft:
        return width, height
    soft, side = netlist.kind[macros] == SOFT, np.sqrt(wide * tall)
    return np.where(soft, side, width), np.where(soft, side, height)


def positions(netlist: Netlist, placement: Placement) -> tuple[Array, Array]:
    """Positions of all nodes, pins by the orientation of their macro, (n,) float64 each."""
    px, py = np.empty(len(netlist.kind)), np.empty(len(netlist.kind))
    kernels.pin_positions(netlist.parent, placement.x, placement.y, placement.orientation, netlist.x_offset,
                          netlist.y_offset, px, py)  # fmt: skip
    return px, py
