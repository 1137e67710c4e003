"""The proxy cost of a macro placement: wirelength, density and congestion, as Google's evaluator computes them.

Source: Circuit Training and the open re-implementation of TILOS (MacroPlacement, `CodeElements/Plc_client`). A net
with a pin outside the canvas is not routed, which reproduces the recorded figures of all published designs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sysgym.chip_placement import kernels
from sysgym.chip_placement.formats.netlist import HARD, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.chip_placement.geometry.macros import macro_sizes, positions
from sysgym.core.problem import Array


class ProxyCost(NamedTuple):
    """The three parts of the proxy; each is lower-is-better."""

    wirelength: float  # microns
    wirelength_cost: float  # of the half perimeter of the canvas, a unit of net weight
    density_cost: float
    congestion_cost: float

    def proxy(self, weights: tuple[float, float, float] = (1.0, 0.5, 0.5)) -> float:
        """Weighted sum of wirelength cost, density cost and congestion cost."""
        return weights[0] * self.wirelength_cost + weights[1] * self.density_cost + weights[2] * self.congestion_cost


def congestion_maps(
    netlist: Netlist, canvas: Canvas, placement: Placement, width: Array, height: Array
) -> tuple[Array, Array]:
    """Horizontal and vertical routing demand as a share of each cell's capacity, (rows, columns) float64 each."""
    hor, ver = np.zeros(canvas.routing[::-1]), np.zeros(canvas.routing[::-1])
    cell_w, cell_h = canvas.routing_cell
    px, py = positions(netlist, placement)
    kernels.route_nets(netlist.ptr, netlist.pins, netlist.weight, px, py, placement.placed, cell_w, cell_h, hor, ver)
    hor /= cell_h * canvas.routes[0]
    ver /= cell_w * canvas.routes[1]
    if int(canvas.smoothing) > 0:
        kernels.smooth(hor, ver, int(canvas.smoothing))
    hard = np.flatnonzero(netlist.kind == HARD)
    kernels.block_macros(
        hard, placement.x, placement.y, width, height, placement.placed, cell_w, cell_h,
        canvas.macro_routes[0] / (cell_h * canvas.routes[0]), canvas.macro_routes[1] / (cell_w * canvas.routes[1]),
        hor, ver,
    )  # fmt: skip
    return hor, ver


def density_map(netlist: Netlist, canvas: Canvas, placement: Placement, width: Array, height: Array) -> Array:
    """Covered share of each cell, (rows, columns) float64."""
    grid = np.zeros((canvas.rows, canvas.columns))
    kernels.density_map(netlist.macros, placement.x, placement.y, width, height, placement.placed,
                        *canvas.cell, grid)  # fmt: skip
    return grid


def proxy_cost(netlist: Netlist, canvas: Canvas, placement: Placement, square_soft: bool = True) -> ProxyCost:
    """All parts of the proxy from scratch."""
    width, height = macro_sizes(netlist, square_soft, placement.orientation)
    px, py = positions(netlist, placement)
    lengths = np.empty(netlist.nets)
    kernels.net_lengths(netlist.ptr, netlist.pins, px, py, lengths)
    length = float(netlist.weight @ lengths)
    divisor = (canvas.width + canvas.height) * (float(netlist.weight.sum()) or 1.0)
    grid = density_map(netlist, canvas, placement, width, height)
    density = 0.5 * kernels.mean_of_largest(grid.ravel(), max(1, grid.size // 10))
    hor, ver = congestion_maps(netlist, canvas, placement, width, height)
    both = np.concatenate([ver.ravel(), hor.ravel()])
    congestion = kernels.mean_of_largest(both, max(1, int(0.05 * both.size)))
    return ProxyCost(length, length / divisor, float(density), float(congestion))
