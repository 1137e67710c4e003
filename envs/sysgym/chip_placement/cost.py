"""The proxy cost of a macro placement: wirelength, density and congestion, as Google's evaluator computes them.

Source: Circuit Training and the open re-implementation of TILOS (MacroPlacement, `CodeElements/Plc_client`). A net
with a pin outside the canvas is not routed, which reproduces the recorded figures of all published designs.

What a macro blocks jumps where one of its edges crosses a line of the routing grid, also where that is less than a file
can tell. Its bound is the congestion where each macro with an edge at most a unit from a line blocks in each
cell the most that it does anywhere within that unit, so that no rounding of a placement costs more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
    hor, ver = routed_maps(netlist, canvas, placement)
    kernels.block_macros(*_blocking(netlist, canvas, placement, width, height), hor, ver)
    return hor, ver


def routed_maps(netlist: Netlist, canvas: Canvas, placement: Placement) -> tuple[Array, Array]:
    """As `congestion_maps`, of the nets alone: what macros block is not in it."""
    hor, ver = np.zeros(canvas.routing[::-1]), np.zeros(canvas.routing[::-1])
    cell_w, cell_h = canvas.routing_cell
    px, py = positions(netlist, placement)
    kernels.route_nets(netlist.ptr, netlist.pins, netlist.weight, px, py, placement.placed, cell_w, cell_h, canvas.rim,
                       hor, ver)  # fmt: skip
    hor /= cell_h * canvas.routes[0]
    ver /= cell_w * canvas.routes[1]
    if int(canvas.smoothing) > 0:
        kernels.smooth(hor, ver, int(canvas.smoothing))
    return hor, ver


def _blocking(netlist: Netlist, canvas: Canvas, placement: Placement, width: Array, height: Array) -> tuple[Any, ...]:
    """What the kernels of blocked routes take in front of the maps."""
    cell_w, cell_h = canvas.routing_cell
    return (
        np.flatnonzero(netlist.kind == HARD), placement.x, placement.y, width, height, placement.placed, cell_w, cell_h,
        canvas.macro_routes[0] / (cell_h * canvas.routes[0]), canvas.macro_routes[1] / (cell_w * canvas.routes[1]),
    )  # fmt: skip


def density_map(netlist: Netlist, canvas: Canvas, placement: Placement, width: Array, height: Array) -> Array:
    """Covered share of each cell, (rows, columns) float64."""
    grid = np.zeros((canvas.rows, canvas.columns))
    kernels.density_map(netlist.macros, placement.x, placement.y, width, height, placement.placed,
                        *canvas.cell, grid)  # fmt: skip
    return grid


def proxy_cost(netlist: Netlist, canvas: Canvas, placement: Placement, square_soft: bool = True) -> ProxyCost:
    """All parts of the proxy from scratch."""
    return both_costs(netlist, canvas, placement, square_soft)[0]


def both_costs(
    netlist: Netlist, canvas: Canvas, placement: Placement, square_soft: bool = True
) -> tuple[ProxyCost, ProxyCost]:
    """All parts of the proxy from scratch, and the same with the bound of the congestion in its place."""
    width, height = macro_sizes(netlist, square_soft, placement.orientation)
    px, py = positions(netlist, placement)
    lengths = np.empty(netlist.nets)
    kernels.net_lengths(netlist.ptr, netlist.pins, px, py, lengths)
    length = float(netlist.weight @ lengths)
    divisor = (canvas.width + canvas.height) * (float(netlist.weight.sum()) or 1.0)
    grid = density_map(netlist, canvas, placement, width, height)
    density = 0.5 * kernels.mean_of_largest(grid.ravel(), max(1, grid.size // 10))
    hor, ver = routed_maps(netlist, canvas, placement)
    blocking = _blocking(netlist, canvas, placement, width, height)
    bound = 0.0
    if kernels.any_near(*blocking[:8], canvas.unit):
        most = hor.copy(), ver.copy()
        kernels.block_bounds(*blocking, canvas.unit, *most)
        bound = _fullest(*most)
    kernels.block_macros(*blocking, hor, ver)
    exact = ProxyCost(length, length / divisor, float(density), _fullest(hor, ver))
    return exact, exact._replace(congestion_cost=max(exact.congestion_cost, bound))


def _fullest(hor: Array, ver: Array) -> float:
    """Mean of the fullest twentieth of the cells, both directions together."""
    both = np.concatenate([ver.ravel(), hor.ravel()])
    return float(kernels.mean_of_largest(both, max(1, int(0.05 * both.size))))
