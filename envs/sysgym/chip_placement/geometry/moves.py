"""A complete placement that is changed macro by macro, with its proxy cost kept up to date."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import numpy as np

from sysgym.chip_placement import kernels
from sysgym.chip_placement.cost import ProxyCost
from sysgym.chip_placement.formats.netlist import HARD, PIN, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.chip_placement.geometry import move_kernels
from sysgym.chip_placement.geometry.legal import rectangles
from sysgym.chip_placement.geometry.macros import positions
from sysgym.chip_placement.geometry.move_kernels import Tables, Terms
from sysgym.core.problem import Array


def incidence(owner: Array, item: Array, count: int) -> tuple[Array, Array]:
    """The distinct items of each owner as (ptr (count + 1,), items), both int64."""
    pairs = np.unique(np.stack([owner.astype(np.int64), item.astype(np.int64)], axis=1), axis=0)
    return np.searchsorted(pairs[:, 0], np.arange(count + 1)), np.ascontiguousarray(pairs[:, 1])


class Moves:
    """The maps behind the proxy of one placement, and moves on it in about the time its nets need.

    Arrays over nodes go on with the blockages, which no hard macro may overlap (`obstacles`).

    Moves are exact: after any number of them `cost()` is what `both_costs` finds from scratch, up to rounding, with
    the bound of the congestion for the congestion. They do not swap a macro's width and height, so orientations are N,
    FN, S, FS. Kernels of placers keep `gap` microns between hard macros, and `margin` from the border.
    """

    def __init__(
        self, netlist: Netlist, canvas: Canvas, placement: Placement, square_soft: bool = True, gap: float = 0.0,
        margin: float = 0.0,
    ) -> None:  # fmt: skip
        self.gap, self.margin = gap, margin
        self.netlist, self.canvas, self.placement = netlist, canvas, placement
        count = len(netlist.kind)
        net = np.repeat(np.arange(netlist.nets), np.diff(netlist.ptr))
        self.nets_of = incidence(netlist.parent[netlist.pins], net, count)
        own = np.flatnonzero(netlist.kind == PIN)
        self.pins_of = incidence(netlist.parent[own], own, count)
        found = rectangles(netlist, canvas, placement, square_soft)
        self.x, self.y, self.width, self.height, self.placed, self.obstacles = found
        hard = netlist.kind == HARD
        self.movable = np.flatnonzero(hard & ~placement.fixed)
        more = len(self.x) - count
        self.hard = np.append(hard, np.zeros(more, bool))
        self.orientation = np.append(placement.orientation, np.zeros(more, np.int8))
        shape = canvas.routing[::-1]
        self.grid = np.zeros((canvas.rows, canvas.columns))
        self.hor, self.ver, self.block_h, self.block_v = (np.zeros(shape) for _ in range(4))
        self.scratch = np.zeros(shape), np.zeros(shape), np.zeros(2 * self.hor.size)
        self.cells, self.seen = np.zeros(self.hor.size, np.int64), np.full(self.hor.size, -1, np.int64)
        self.marks, self.touched = np.full(netlist.nets, -1, np.int64), np.zeros(netlist.nets, np.int64)
        self.length = np.zeros(netlist.nets)
        self.scalars = np.zeros(3)
        route_w, route_h = canvas.routing_cell
        self.capacity = route_h * canvas.routes[0], route_w * canvas.routes[1]
        self.per = canvas.macro_routes[0] / self.capacity[0], canvas.macro_routes[1] / self.capacity[1]
        self.divisor = (canvas.width + canvas.height) * (float(netlist.weight.sum()) or 1.0)
        self.recompute()

    def recompute(self) -> None:
        """All maps from scratch: sheds rounding errors, and follows soft macros that were placed anew."""
        netlist = self.netlist
        self.px, self.py = positions(netlist, self.as_placement())
        for table in (self.hor, self.ver, self.block_h, self.block_v):
            table[:] = 0.0
        kernels.route_nets(netlist.ptr, netlist.pins, netlist.weight, self.px, self.py, self.placed,
                           *self.canvas.routing_cell, self.canvas.rim, self.hor, self.ver)  # fmt: skip
        arrays = (self.x, self.y, self.width, self.height, self.placed)
        kernels.block_bounds(np.flatnonzero(self.hard), *arrays, *self.canvas.routing_cell, *self.per,
                             self.canvas.unit, self.block_h, self.block_v)  # fmt: skip
        kernels.density_map(netlist.macros, *arrays, *self.canvas.cell, self.grid)
        kernels.net_lengths(netlist.ptr, netlist.pins, self.px, self.py, self.length)
        self.scalars[0] = netlist.weight @ self.length

    def tables(self) -> Tables:
        """What the kernels work on."""
        netlist = self.netlist
        return Tables(
            *self.nets_of, *self.pins_of, netlist.ptr, netlist.pins, netlist.weight, self.width, self.height,
            self.hard, self.placed, self.x, self.y, self.orientation, netlist.x_offset, netlist.y_offset, self.px,
            self.py, self.length, self.hor, self.ver, self.block_h, self.block_v, self.grid, self.cells, self.seen,
            self.marks, self.touched, self.scalars, *self.per, *self.canvas.cell, *self.canvas.routing_cell,
            self.canvas.rim, self.canvas.unit,
        )  # fmt: skip

    def terms(self, weights: tuple[float, float, float]) -> Terms:
        """What the kernels pay for."""
        return Terms(np.array(weights), self.obstacles, *self.canvas.limits, self.gap, self.margin, self.divisor,
                     *self.capacity, int(self.canvas.smoothing), *self.scratch)  # fmt: skip

    def put(self, nodes: Sequence[int], x: Sequence[float], y: Sequence[float], orientation: Sequence[int]) -> None:
        """Move some macros at once; whether that is legal is not looked at."""
        move_kernels.put_macros(len(nodes), np.array(nodes, np.int64), np.array(x, float), np.array(y, float),
                           np.array(orientation, np.int8), *self.tables())  # fmt: skip

    def cost(self) -> ProxyCost:
        """The proxy's parts as they stand; the congestion is its bound."""
        found = move_kernels.parts(self.scalars[0], self.divisor, self.grid, self.hor, self.ver, self.block_h,
                              self.block_v, *self.capacity, int(self.canvas.smoothing), *self.scratch)  # fmt: skip
        return ProxyCost(float(self.scalars[0]), *map(float, found))

    def copy(self) -> Moves:
        """An independent copy; the netlist and its tables are shared."""
        made = copy(self)
        for name in ("x", "y", "orientation", "placed", "px", "py", "grid", "hor", "ver", "block_h", "block_v", "cells",
                     "seen", "marks", "touched", "length", "scalars"):  # fmt: skip
            setattr(made, name, getattr(self, name).copy())
        made.scratch = tuple(part.copy() for part in self.scratch)  # type: ignore[assignment]
        return made

    def as_placement(self) -> Placement:
        """The placement as it stands."""
        at = self.netlist.parent
        return replace(self.placement, x=self.x[at], y=self.y[at], orientation=self.orientation[at],
                       placed=self.placed[at])  # fmt: skip
