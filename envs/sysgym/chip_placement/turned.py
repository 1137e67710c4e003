"""Chips turned and mirrored: the same design as seen from elsewhere, for learners to train on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sysgym.chip_placement.formats.netlist import ORIENTATIONS
from sysgym.chip_placement.instance import Chip
from sysgym.core.errors import UsageError


def turned(chip: Chip, way: int) -> Chip:
    """A chip mirrored in x (`way` & 1), in y (& 2), then with x and y exchanged (& 4).

    Its macros face N at first. UsageError for a chip with fixed macros, blockages or a core of its own, whose places
    would have to follow, and for another way.
    """
    netlist, canvas, placement = chip.netlist, chip.canvas, chip.placement
    if not 0 <= way < len(ORIENTATIONS):
        raise UsageError(f"a chip is turned by a number from 0 to {len(ORIENTATIONS) - 1}, got {way}.")
    if canvas.blockages or canvas.core or placement.fixed[chip.macros].any():
        raise UsageError(f"{chip.name} has fixed macros, blockages or a core, and cannot be turned.")
    x, y, dx, dy = placement.x, placement.y, netlist.x_offset, netlist.y_offset
    if way & 1:
        x, dx = canvas.width - x, -dx
    if way & 2:
        y, dy = canvas.height - y, -dy
    width, height = netlist.width, netlist.height
    if way & 4:
        x, y, dx, dy, width, height = y, x, dy, dx, height, width
        canvas = replace(
            canvas, width=canvas.height, height=canvas.width, columns=canvas.rows, rows=canvas.columns,
            routes=canvas.routes[::-1], macro_routes=canvas.macro_routes[::-1],
            congestion_grid=canvas.congestion_grid and canvas.congestion_grid[::-1], origin=canvas.origin[::-1],
        )  # fmt: skip
    x, y = np.clip(x, 0, canvas.width), np.clip(y, 0, canvas.height)
    facing = np.zeros_like(netlist.orientation)
    netlist = replace(
        netlist, width=width, height=height, x=x, y=y, x_offset=dx, y_offset=dy, orientation=facing
    )  # fmt: skip
    return Chip(f"{chip.name} turned {way}", netlist, canvas, replace(placement, x=x, y=y, orientation=facing.copy()))
