"""Macro-only wirelength, the objective of MaskPlace (Lai, Mu, Luo, 2022) and WireMask-BBO (Shi et al., 2023).

HPWL = sum over nets with two or more distinct hard macros of weight * (x range + y range), over the first pin of each
macro on the net; ports, soft macros and cells do not count. Macros stand with their lower left corner on that of a grid
cell and take whole cells; they face N, fixed ones as their placement says. Blockages are in the way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sysgym.chip_placement.formats.netlist import HARD, Netlist
from sysgym.chip_placement.formats.plc import Canvas
from sysgym.chip_placement.geometry import wire_kernels as kernels
from sysgym.chip_placement.geometry.macros import macro_sizes
from sysgym.chip_placement.instance import Chip
from sysgym.chip_placement.kernels import turned
from sysgym.core.problem import Array

ROUNDING = 1e-12  # cells by which a macro may exceed what it takes


@dataclass(frozen=True)
class MacroNets:
    """Nets between hard macros as CSR both ways; macros are rows of `netlist.macros`, of which soft ones have no net.

    Net e joins `macro[ptr[e]:ptr[e + 1]]`, as in the netlist, its driver first if that is a macro.
    """

    ptr: Array  # (E + 1,) int64
    macro: Array  # (P,) int64
    x_offset: Array  # (P,) float64, of the first pin from the centre of its macro in orientation N, microns
    y_offset: Array
    weight: Array  # (E,) float64
    span: Array  # (m + 1,) int64: macro i is in incidences `at[span[i]:span[i + 1]]`
    at: Array  # (P,) int64, positions in `macro`
    net_of: Array  # (P,) int64, the net of each of `at`

    @property
    def nets(self) -> int:
        """Number of nets."""
        return len(self.weight)


@dataclass(frozen=True)
class Wire:
    """What stays the same while the macros of a chip are placed: see `wire_kernels` for the names."""

    nets: MacroNets
    movable: Array  # (k,) int64, rows of the hard macros to place, in the order of the file
    width: Array  # (m,) float64, microns
    height: Array
    wide: Array  # (m,) int64, cells
    tall: Array
    dx: Array  # (P,) float64, in the order of `nets.at`
    dy: Array
    boxes: Array  # (E, 4) float64, of the fixed macros
    run: Array  # (rows, columns) int16, with fixed macros and blockages in the way
    start: float  # HPWL over the fixed macros
    cell_w: float
    cell_h: float

    @property
    def tables(self) -> tuple[Array, ...]:
        """The arguments that the kernels have in common."""
        return self.nets.span, self.nets.net_of, self.dx, self.dy, self.nets.weight, self.wide, self.tall

    @property
    def cell(self) -> tuple[float, float]:
        """Width and height of a grid cell, microns."""
        return self.cell_w, self.cell_h


def macro_nets(netlist: Netlist) -> MacroNets:
    """The nets that join two or more distinct hard macros, with the first pin of each macro."""
    macros, count = netlist.macros, len(netlist.kind)
    row = np.full(count, -1, np.int64)
    row[macros] = np.arange(len(macros))
    owner = netlist.parent[netlist.pins]
    net = np.repeat(np.arange(netlist.nets), np.diff(netlist.ptr))
    hard = np.flatnonzero(netlist.kind[owner] == HARD)
    key = net[hard] * count + owner[hard]
    first = hard[np.sort(np.unique(key, return_index=True)[1])]  # one entry a net and macro, in the order of the file
    size = np.bincount(net[first], minlength=netlist.nets)
    kept = np.flatnonzero(size >= 2)
    first = first[size[net[first]] >= 2]
    macro, pin = row[owner[first]], netlist.pins[first]
    at = np.argsort(macro, kind="stable")
    return MacroNets(
        ptr=np.concatenate([[0], np.cumsum(size[kept])]).astype(np.int64), macro=macro,
        x_offset=netlist.x_offset[pin], y_offset=netlist.y_offset[pin], weight=netlist.weight[kept].astype(np.float64),
        span=np.searchsorted(macro[at], np.arange(len(macros) + 1)).astype(np.int64), at=at,
        net_of=np.searchsorted(kept, net[first])[at].astype(np.int64),
    )  # fmt: skip


def macro_hpwl(nets: MacroNets, x: Array, y: Array, orientation: Array) -> float:
    """HPWL in microns of centres x, y (m,) and orientations (m,) of all macros, hard and soft, as in a solution."""
    at = (np.asarray(x, np.float64), np.asarray(y, np.float64), np.asarray(orientation, np.int64))
    return float(kernels.hpwl(nets.ptr, nets.macro, nets.x_offset, nets.y_offset, nets.weight, *at))


def wire(chip: Chip) -> Wire:
    """The tables of a chip, made once and kept with it (as its cached properties are)."""
    kept: Wire | None = vars(chip).get("_wire")
    if kept is None:
        kept = vars(chip)["_wire"] = _wire(chip)
    return kept


def _wire(chip: Chip) -> Wire:
    netlist, canvas, macros = chip.netlist, chip.canvas, chip.macros
    nets = macro_nets(netlist)
    facing = _facing(chip)
    sizes = netlist.orientation.copy()
    sizes[macros] = facing
    width, height = (size[macros] for size in macro_sizes(netlist, False, sizes))
    wide, tall = (np.maximum(np.ceil(size / cell - ROUNDING), 1).astype(np.int64)
                  for size, cell in zip((width, height), canvas.cell, strict=True))  # fmt: skip
    owner = nets.macro[nets.at]
    offsets = [turned(nets.x_offset[j], nets.y_offset[j], facing[nets.macro[j]]) for j in nets.at]
    dx, dy = np.array(offsets, np.float64).reshape(-1, 2).T + np.stack([width[owner], height[owner]]) / 2
    boxes = np.tile([np.inf, -np.inf, np.inf, -np.inf], (nets.nets, 1))
    run = np.tile(np.arange(canvas.columns, 0, -1, dtype=np.int16), (canvas.rows, 1))
    for left, low, right, high, _ in canvas.obstacles.tolist():
        _obstruct(canvas, run, left, low, right, high)
    movable = np.searchsorted(macros, chip.movable)
    start = 0.0
    for i in np.setdiff1d(np.flatnonzero(netlist.kind[macros] == HARD), movable):
        x, y = chip.placement.x[macros[i]] - width[i] / 2, chip.placement.y[macros[i]] - height[i] / 2
        start += kernels.widen(nets.span[i], nets.span[i + 1], nets.net_of, dx, dy, nets.weight, x, y, boxes)
        _obstruct(canvas, run, x, y, x + width[i], y + height[i])
    return Wire(
        nets, movable, width, height, wide, tall, np.ascontiguousarray(dx), np.ascontiguousarray(dy), boxes, run,
        float(start), *canvas.cell,
    )  # fmt: skip


def _facing(chip: Chip) -> Array:
    """Orientations in which the macros will stand, (m,) int8: N, except fixed ones."""
    own = chip.placement
    return np.where(own.fixed[chip.macros], own.orientation[chip.macros], 0).astype(np.int8)


def _obstruct(canvas: Canvas, run: Array, left: float, low: float, right: float, high: float) -> None:
    """Take the cells of the grid that a rectangle overlaps."""
    columns, rows = _cells(left, right, canvas.cell[0], canvas.columns), _cells(low, high, canvas.cell[1], canvas.rows)
    if columns[0] < columns[1] and rows[0] < rows[1]:
        kernels.take(run, columns[0], rows[0], columns[1] - columns[0], rows[1] - rows[0])


def _cells(low: float, high: float, cell: float, count: int) -> tuple[int, int]:
    """The range of cells that an interval overlaps, clipped to the grid."""
    first, last = np.floor(low / cell + ROUNDING), np.ceil(high / cell - ROUNDING)
    return int(np.clip(first, 0, count)), int(np.clip(last, 0, count))


ORDERS = ("area", "nets", "connected", "netlist", "random")


def placing_order(chip: Chip, order: str, rng: np.random.Generator | None = None) -> Array:
    """Rows of the movable hard macros in the order to place them, (k,) int64; ties in the order of the file.

    "connected": next the macro with most weight of nets that placed macros are on, then with most weight of nets, then
    the largest; "nets": by the areas of the macros on their nets, summed over nets, largest first (WireMask-BBO);
    "area": largest first; "netlist": as in the file; "random" draws from `rng`.
    """
    tables, nets = wire(chip), wire(chip).nets
    if order == "random":
        assert rng is not None
        return rng.permutation(tables.movable)
    if order == "netlist":
        return tables.movable.copy()
    area, net = tables.width * tables.height, np.repeat(np.arange(nets.nets), np.diff(nets.ptr))
    by_area = tables.movable[np.argsort(-area[tables.movable], kind="stable")]
    if order == "area":
        return by_area
    if order == "nets":
        areas = np.bincount(net, area[nets.macro], nets.nets)
        score = np.bincount(nets.macro, areas[net], len(area))
        return tables.movable[np.argsort(-score[tables.movable], kind="stable")]
    weight = np.bincount(nets.macro, nets.weight[net], len(area))
    ranked = by_area[np.argsort(-weight[by_area], kind="stable")]
    begun = tables.boxes[:, 0] <= tables.boxes[:, 1]
    found: Array = kernels.connected(ranked, begun, nets.ptr, nets.macro, nets.span, nets.net_of, nets.weight)
    return found


def macro_solution(chip: Chip, placed: Array, x: Array, y: Array) -> dict[str, Array]:
    """A solution from lower left corners x, y (m,) of the macros that `placed` (m,) bool names.

    Others that are to be placed go into the lower left corner of the canvas, where they overlap; soft and fixed macros
    stand where the chip's placement has them.
    """
    tables, macros = wire(chip), chip.macros
    given = {"x": chip.placement.x[macros].astype(np.float64), "y": chip.placement.y[macros].astype(np.float64)}
    own = tables.movable
    for key, corner, size in (("x", x, tables.width), ("y", y, tables.height)):
        given[key][own] = np.where(placed[own], corner[own], 0.0) + size[own] / 2
    facing = chip.placement.orientation[macros].astype(np.int64)
    facing[own] = 0
    return {**given, "orientation": facing}
