"""Global placement by gradients: smooth wirelength, an electrostatic density, and routes that weigh like macros."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sysgym.core.problem import Array
from sysgym_agents.core import Budget, Clock

if TYPE_CHECKING:
    from sysgym.chip_placement.formats.netlist import Netlist
    from sysgym.chip_placement.formats.plc import Canvas, Placement

UNLIMITED = Budget()
BINS = 64  # a side
FIRST, GROWTH = 0.02, 1.4e5  # the force of the charges, of that of the wires, and how it grows over the schedule
CROWDED = 0.03  # of the area in bins beyond what they hold, at which the pressure stops growing
STRIDE = 3.2  # sides of the canvas that a macro could go in all, were it not for ever shorter steps


def electric_field(charge: Array, cell: tuple[float, float]) -> tuple[Array, Array]:
    """The field (x, y) of charges on bins, no flux through the border: Poisson's equation by cosine transforms.

    The density of ePlace (Lu et al., 2015). Charge is that above the mean.
    """
    from scipy.fft import dctn, idctn

    rows, columns = charge.shape
    down = (np.pi * np.arange(rows) / (rows * cell[1])) ** 2
    across = (np.pi * np.arange(columns) / (columns * cell[0])) ** 2
    square = down[:, None] + across
    square[0, 0] = 1.0
    waves = dctn(charge, norm="ortho") / square
    waves[0, 0] = 0.0
    slope_y, slope_x = np.gradient(idctn(waves, norm="ortho"), cell[1], cell[0])
    return -slope_x, -slope_y


def congested(netlist: Netlist, canvas: Canvas, placement: Placement, width: Array, height: Array) -> Array:
    """Cells of the routing grid by how much fuller they are than the emptiest of the fullest tenth."""
    from sysgym.chip_placement.cost import congestion_maps

    hor, ver = congestion_maps(netlist, canvas, placement, width, height)
    both = np.maximum(hor, ver)
    return np.maximum(both - np.quantile(both, 0.9), 0.0)


def spread(
    netlist: Netlist, canvas: Canvas, placement: Placement, rng: np.random.Generator, nodes: Array, *,
    congestion: float = 0.5, square_soft: bool = True, iterations: int = 400, time: Budget = UNLIMITED,
) -> Placement:  # fmt: skip
    """Macros `nodes` from the middle of the canvas to where wirelength and density balance; hard ones may overlap.

    Adam (Kingma, Ba, 2015) on wirelength + pressure * energy of the charges; the pressure grows until the bins hold at
    most a few per cent too much. Every tenth step the congested cells, times `congestion`, are charged anew. With
    a limit of `time` there may be fewer iterations, on the same schedule.
    """
    from sysgym.chip_placement import kernels
    from sysgym.chip_placement.geometry.legal import rectangles
    from sysgym.chip_placement.geometry.macros import positions
    from sysgym_agents.chip_placement import chip_kernels

    x, y, width, height, placed, obstacles = rectangles(netlist, canvas, placement, square_soft)
    cell = canvas.width / BINS, canvas.height / BINS
    span = np.array([[canvas.width], [canvas.height]])
    half = np.stack([width[nodes], height[nodes]]) / 2
    at = np.stack([x, y])
    low, high = np.minimum(half, span / 2), np.maximum(span - half, span / 2)
    at[:, nodes] = np.clip(span * (0.5 + 0.02 * rng.standard_normal((2, len(nodes)))), low, high)
    placed[nodes] = True
    bodies, own = np.union1d(np.union1d(obstacles, netlist.macros), nodes), netlist.parent
    bodies = bodies[placed[bodies]]
    offset = np.stack(positions(netlist, placement)) - np.stack([placement.x, placement.y])[:, own]
    grid, extra = np.zeros((BINS, BINS)), np.zeros((BINS, BINS))
    first, second, pressure = np.zeros((2, len(nodes))), np.zeros((2, len(nodes))), 0.0
    clock, progress, steps = Clock(time._replace(steps=iterations)), 0.0, 0
    while not clock.spent(steps):
        before, progress = progress, max(steps / iterations, clock.share)
        pull, push = np.zeros_like(at), np.zeros_like(at)
        sharp = BINS / (span.mean() * (0.5 + 4 * (1 - progress) ** 2))
        chip_kernels.wire_gradient(netlist.ptr, netlist.pins, netlist.weight, own, *(at[:, own] + offset), sharp,
                                       *pull)  # fmt: skip
        kernels.density_map(bodies, *at, width, height, placed, *cell, grid)
        if steps % 10 == 0 and congestion > 0 and progress > 0.25:
            now = replace(placement, x=at[0, own], y=at[1, own], placed=placed[own])
            extra = _resampled(congested(netlist, canvas, now, width[: len(own)], height[: len(own)]))
        field = electric_field(grid + congestion * extra, cell)
        chip_kernels.field_force(nodes, *at, width, height, *cell, *field, *push)
        if steps == 0:
            pressure = FIRST * abs(pull[:, nodes]).sum() / max(abs(push[:, nodes]).sum(), 1e-12)
        elif np.maximum(grid - 1.0, 0.0).sum() > CROWDED * grid.sum():
            pressure *= GROWTH ** (progress - before)
        steps += 1
        slope = pull[:, nodes] - pressure * push[:, nodes]
        first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
        mean, size = first / (1 - 0.9**steps), np.sqrt(second / (1 - 0.99**steps))
        rate = span.mean() * min(STRIDE * max(progress - before, 1 / iterations), 0.03) * 0.1**progress
        at[:, nodes] = np.clip(at[:, nodes] - rate * mean / (size + 1e-12), low, high)
    return replace(placement, x=at[0, own], y=at[1, own], placed=placed[own])


def _resampled(table: Array) -> Array:
    """A map on the canvas' own grid, looked up at the centres of the bins."""
    rows, columns = (np.minimum(((np.arange(BINS) + 0.5) * many / BINS).astype(int), many - 1) for many in table.shape)
    return table[rows[:, None], columns]
