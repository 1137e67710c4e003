"""Numba kernels of moves on a complete placement.

What is called once a sweep takes `Tables` and `Terms`, what is called at every step takes their fields.
"""

from __future__ import annotations

from typing import NamedTuple

from sysgym.chip_placement.kernels import block_bound, cover, mean_of_largest, net_length, route_net, smooth, turned
from sysgym.compiled import njit
from sysgym.core.problem import Array


class Tables(NamedTuple):
    """The netlist, a placement and the maps behind its proxy, as the kernels take them; see `Moves`.

    scalars (3,) float64: wirelength, the last stamp of `seen`, the last stamp of `marks`. cell_w, cell_h are of the
    cells for density, route_w, route_h of those for routing. rim, unit: of the canvas.
    """

    net_ptr: Array
    net_of: Array
    pin_ptr: Array
    pin_of: Array
    ptr: Array
    pins: Array
    weight: Array
    width: Array
    height: Array
    hard: Array
    placed: Array
    x: Array
    y: Array
    orientation: Array
    x_offset: Array
    y_offset: Array
    px: Array
    py: Array
    length: Array
    hor: Array
    ver: Array
    block_h: Array
    block_v: Array
    grid: Array
    cells: Array
    seen: Array
    marks: Array
    touched: Array
    scalars: Array
    per_h: float
    per_v: float
    cell_w: float
    cell_h: float
    route_w: float
    route_h: float
    rim: float
    unit: float


class Terms(NamedTuple):
    """What a placement costs, and where macros may be."""

    weights: Array  # (3,) float64, of wirelength, density and congestion
    obstacles: Array  # (k,) int64, nodes that no hard macro may overlap
    canvas_width: float
    canvas_height: float
    gap: float  # microns between hard macros, and between them and the border
    margin: float
    divisor: float
    capacity_h: float
    capacity_v: float
    reach: int
    scratch_h: Array
    scratch_v: Array
    both: Array


@njit
def shift_pins(node, pin_ptr, pin_of, x, y, orientation, x_offset, y_offset, px, py):
    """Recompute the positions of a macro's pins."""
    px[node], py[node] = x[node], y[node]
    for j in range(pin_ptr[node], pin_ptr[node + 1]):
        v = pin_of[j]
        a, b = turned(x_offset[v], y_offset[v], orientation[node])
        px[v], py[v] = x[node] + a, y[node] + b


@njit
def put(count, nodes, new_x, new_y, new_o, tables):
    """Move macros nodes[:count] and keep wirelength, routes, blocked routes and density up to date."""
    (net_ptr, net_of, pin_ptr, pin_of, ptr, pins, weight, width, height, hard, placed, x, y,
     orientation, x_offset, y_offset, px, py, length, hor, ver, block_h, block_v, grid, cells,
     seen, marks, touched, scalars, per_h, per_v, cell_w, cell_h, route_w, route_h, rim, unit) = tables  # fmt: skip
    per_area = 1.0 / (cell_w * cell_h)
    scalars[2] += 1
    mark, many = int(scalars[2]), 0
    for k in range(count):
        i = nodes[k]
        for j in range(net_ptr[i], net_ptr[i + 1]):
            e = net_of[j]
            if marks[e] != mark:
                marks[e] = mark
                touched[many] = e
                many += 1
    for k in range(many):
        e = touched[k]
        scalars[0] -= weight[e] * length[e]
        scalars[1] += 1
        route_net(ptr[e], ptr[e + 1], pins, -max(1.0, weight[e]), px, py, placed, route_w, route_h, rim, hor, ver,
                  cells, seen, int(scalars[1]))  # fmt: skip
    for k in range(count):
        i = nodes[k]
        cover(x[i], y[i], width[i], height[i], cell_w, cell_h, -per_area, grid)
        if hard[i]:
            block_bound(x[i], y[i], width[i], height[i], route_w, route_h, per_h, per_v, unit, -1.0, block_h, block_v)
        x[i], y[i], orientation[i] = new_x[k], new_y[k], new_o[k]
        cover(x[i], y[i], width[i], height[i], cell_w, cell_h, per_area, grid)
        if hard[i]:
            block_bound(x[i], y[i], width[i], height[i], route_w, route_h, per_h, per_v, unit, 1.0, block_h, block_v)
        shift_pins(i, pin_ptr, pin_of, x, y, orientation, x_offset, y_offset, px, py)
    for k in range(many):
        e = touched[k]
        length[e] = net_length(ptr[e], ptr[e + 1], pins, px, py)
        scalars[0] += weight[e] * length[e]
        scalars[1] += 1
        route_net(ptr[e], ptr[e + 1], pins, max(1.0, weight[e]), px, py, placed, route_w, route_h, rim, hor, ver,
                  cells, seen, int(scalars[1]))  # fmt: skip


@njit
def put_macros(count, nodes, new_x, new_y, new_o, net_ptr, net_of, pin_ptr, pin_of, ptr, pins, weight, width, height,
               hard, placed, x, y, orientation, x_offset, y_offset, px, py, length, hor, ver, block_h, block_v, grid,
               cells, seen, marks, touched, scalars, per_h, per_v, cell_w, cell_h, route_w, route_h, rim,
               unit):  # fmt: skip
    """`put`, with the fields of `Tables` one by one: what a step of an environment calls."""
    tables = Tables(net_ptr, net_of, pin_ptr, pin_of, ptr, pins, weight, width, height, hard, placed,
                    x, y, orientation, x_offset, y_offset, px, py, length, hor, ver, block_h, block_v,
                    grid, cells, seen, marks, touched, scalars, per_h, per_v, cell_w, cell_h, route_w,
                    route_h, rim, unit)  # fmt: skip
    put(count, nodes, new_x, new_y, new_o, tables)


@njit
def parts(wire, divisor, grid, hor, ver, block_h, block_v, capacity_h, capacity_v, reach, scratch_h, scratch_v, both):
    """Wirelength cost, density cost and congestion cost from the maps; `both` (2 * cells for routing,) is scratch."""
    density = 0.5 * mean_of_largest(grid.ravel(), max(1, grid.size // 10))
    scratch_h[:] = hor / capacity_h
    scratch_v[:] = ver / capacity_v
    if reach > 0:
        smooth(scratch_h, scratch_v, reach)
    size = hor.size
    for r in range(hor.shape[0]):
        for c in range(hor.shape[1]):
            at = r * hor.shape[1] + c
            both[at] = scratch_v[r, c] + block_v[r, c]
            both[size + at] = scratch_h[r, c] + block_h[r, c]
    return wire / divisor, density, mean_of_largest(both, max(1, int(0.05 * 2 * size)))
