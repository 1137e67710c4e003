"""Placement files (`.plc`) of Circuit Training: the canvas in comments, a line for each placed node."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sysgym.chip_placement.formats.comments import canvas_facts
from sysgym.chip_placement.formats.netlist import HARD, ORIENTATIONS, PIN, PORT, SOFT, Netlist, bad_orientation
from sysgym.core.data import read_text
from sysgym.core.errors import UsageError, announce, reading
from sysgym.core.problem import Array

MOST_CELLS, MOST_SMOOTHING = 4096, 100
MARKS = ("", "/FIXED", "/FIXED_NI")  # how a bookshelf file marks nodes that stay, the last those others may cover


@dataclass(frozen=True)
class Canvas:
    """Where to place and how to route; lengths in microns, routes a micron."""

    width: float
    height: float
    columns: int
    rows: int
    routes: tuple[float, float] = (57.031, 56.818)  # horizontal, vertical
    macro_routes: tuple[float, float] = (39.583, 30.303)  # those that a hard macro blocks
    smoothing: float = 0.0
    blockages: tuple[tuple[float, float, float, float, float], ...] = ()  # x0, y0, x1, y1, rate
    congestion_grid: tuple[int, int] | None = None  # columns, rows for routing; None = those for placing
    origin: tuple[float, float] = (0.0, 0.0)  # lower left corner in the coordinates of a bookshelf file
    # Where the core ends, width and height, if that is before the last cells end; macros must stay within it
    core: tuple[float, float] | None = field(default=None, metadata={"hashed": "changed"})
    clamp_pins: bool = field(default=False, metadata={"hashed": "changed"})  # pins outside count in the border's cells
    # Database units a micron, of a design that knows no finer places: lower left corners are whole numbers of them
    database: int | None = field(default=None, metadata={"hashed": "changed"})
    step: int = field(default=1, metadata={"hashed": "changed"})  # database units of the manufacturing grid
    guessed: bool = field(default=False, compare=False, metadata={"hashed": False})  # no file names size or grid

    @property
    def cell(self) -> tuple[float, float]:
        """Width and height of a cell for placing and for density."""
        return self.width / self.columns, self.height / self.rows

    @property
    def routing(self) -> tuple[int, int]:
        """Columns and rows of the grid for routing."""
        return self.congestion_grid or (self.columns, self.rows)

    @property
    def routing_cell(self) -> tuple[float, float]:
        """Width and height of a cell for routing."""
        return self.width / self.routing[0], self.height / self.routing[1]

    @property
    def unit(self) -> float:
        """Microns that a file can tell apart: a unit of the sixth digit of the longer side.

        Where lower left corners are on database units, a step of the manufacturing grid, on which they are written.
        """
        if self.database is not None:
            return self.step / self.database
        return float(f"1e{math.floor(math.log10(max(self.width, self.height))) - 5}")

    @property
    def tolerance(self) -> float:
        """Microns by which macros may overlap or stick out: a unit, which two roundings make; none of a database's."""
        return self.unit * (1 + 1e-9) if self.database is None else 1e-3 / self.database

    @property
    def rim(self) -> float:
        """Microns outside the canvas up to which a pin counts in the cell at the border."""
        return math.inf if self.clamp_pins else self.unit * (1 + 1e-6)

    @property
    def limits(self) -> tuple[float, float]:
        """How far macros may reach to the right and up."""
        return self.core or (self.width, self.height)

    @property
    def obstacles(self) -> Array:
        """Rectangles that no hard macro may cover: blockages and what lies beyond the core, (b, 5) float64."""
        right, top = self.limits
        strips = [(right, 0.0, self.width, self.height, 1.0)] if right < self.width else []
        strips += [(0.0, top, self.width, self.height, 1.0)] if top < self.height else []
        return np.array([*self.blockages, *strips], float).reshape(-1, 5)

    def automatic_congestion(self) -> Canvas:
        """The same canvas with Circuit Training's own grid for routing: cells that hold a thousand routes a side."""
        side = 2 * 1000 / (self.routes[0] + self.routes[1])
        return replace(self, congestion_grid=(max(1, int(self.width / side)), max(1, int(self.height / side))))


@dataclass(frozen=True)
class Placement:
    """Positions of all n nodes of a netlist; `placed` is false where a file lists none."""

    x: Array  # (n,) float64, centres; of pins those of their macro
    y: Array
    orientation: Array  # (n,) int8
    placed: Array  # (n,) bool
    fixed: Array  # (n,) bool
    marks: Array | None = field(default=None, metadata={"hashed": False})  # (n,) int8, words of a bookshelf file: MARKS


def canvas_of(netlist: Netlist, source: str | Path) -> Canvas:
    """The canvas of a netlist alone, as its comments say; what they leave out is as Google's evaluator assumes it.

    That is a square that the macros fill to 60 % and a grid of 10 x 10, which is announced.
    """
    lines = (("comment", line) for line in netlist.comments)
    facts = canvas_facts(lines, source)
    guessed = not {"width", "columns"} <= set(facts)
    if "width" not in facts:
        side = square_side(netlist)
        facts |= {"width": side, "height": side}
        announce(
            f"{source}: nothing says how large the canvas is; a square of {side:.6g} x {side:.6g} is guessed, which "
            "the macros fill to 60 %. Give the true one by -O plc=FILE, or by a comment '# FP bbox: {0 0} {W H}'."
        )
    if "columns" not in facts:
        facts |= {"columns": 10, "rows": 10}
        announce(
            f"{source}: nothing says which grid the canvas has; 10 x 10 cells are guessed. Give the true one by "
            "-O plc=FILE, or by a comment '# Columns : C  Rows : R'."
        )
    return check_canvas(Canvas(**facts, guessed=guessed), source)


def square_side(netlist: Netlist, filled: float = 0.6) -> float:
    """The side of the square that the macros fill to a share."""
    macros = netlist.macros
    side = float(np.sqrt((netlist.width[macros] * netlist.height[macros]).sum() / filled))
    if side <= 0:
        raise UsageError(f"the macros of {netlist.name} have no area, so no canvas follows from them; give one by plc.")
    return side


def netlist_placement(netlist: Netlist) -> Placement:
    """The positions that the netlist itself records."""
    return _with_pins(netlist, netlist.x.copy(), netlist.y.copy(), netlist.orientation.copy(),
                      np.ones(len(netlist.kind), bool), netlist.kind == PORT)  # fmt: skip


def _with_pins(netlist: Netlist, x: Array, y: Array, orientation: Array, placed: Array, fixed: Array) -> Placement:
    """Let each pin stand where its macro stands; `pin_positions` adds the offsets."""
    at = netlist.parent
    return Placement(x[at], y[at], orientation[at], placed[at], fixed[at])


def read_plc(path: str | Path, netlist: Netlist) -> tuple[Canvas, Placement]:
    """Canvas and positions of a placement file; UsageError names the line that is wrong."""
    return parse_plc(read_text(Path(path)), netlist, path)


def parse_plc(text: str, netlist: Netlist, source: str | Path = "plc") -> tuple[Canvas, Placement]:
    """As `read_plc`, from text."""
    with reading(source):
        return _parse(text, netlist, source)


def _parse(text: str, netlist: Netlist, source: str | Path) -> tuple[Canvas, Placement]:
    lines = text.splitlines()
    canvas = _parse_canvas(lines, source)
    count = len(netlist.kind)
    x, y = np.zeros(count), np.zeros(count)
    orientation, placed, fixed = np.zeros(count, np.int8), np.zeros(count, bool), np.zeros(count, bool)
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0][0] == "#":
            continue
        try:
            at, right, up, facing, flag = int(words[0]), float(words[1]), float(words[2]), words[3], words[4]
        except (ValueError, IndexError):
            raise UsageError(
                f"{source} line {number}: expected 'node_index x y orientation fixed', got {line[:60]!r}."
            ) from None
        if 0 <= at < count and placed[at]:
            raise UsageError(f"{source} line {number}: node {at} is placed a second time.")
        if not 0 <= at < count or netlist.kind[at] == PIN:
            raise UsageError(f"{source} line {number}: node {at} is no macro, port or cell of {netlist.name}.")
        if facing not in (*ORIENTATIONS, "-"):
            raise bad_orientation(facing, f"{source} line {number}: node {at}", "-")
        if flag not in ("0", "1") or not np.isfinite([right, up]).all():
            raise UsageError(
                f"{source} line {number}: {line[:60]!r} is no placement of a node; expected finite x and y, and 0 or "
                "1 for fixed."
            )
        x[at], y[at], placed[at], fixed[at] = right, up, True, flag == "1"
        orientation[at] = 0 if facing == "-" else ORIENTATIONS.index(facing)
    return canvas, _with_pins(netlist, x, y, orientation, placed, fixed)


def _parse_canvas(lines: list[str], source: str | Path) -> Canvas:
    said = ((f"line {number}", line) for number, line in enumerate(lines, 1) if line.startswith("#"))
    canvas = replace(Canvas(0.0, 0.0, 0, 0), **canvas_facts(said, source))
    if min(canvas.width, canvas.height, canvas.columns, canvas.rows) <= 0:
        raise UsageError(
            f"{source} names no canvas; its comments must hold 'Columns : C  Rows : R' and 'Width : W  Height : H'."
        )
    return check_canvas(canvas, source)


def check_canvas(canvas: Canvas, source: str | Path) -> Canvas:
    """The canvas, the corners of its blockages sorted; UsageError for sizes, routes or grids that cannot be."""
    numbers = [canvas.width, canvas.height, canvas.smoothing, *canvas.routes, *canvas.macro_routes]
    numbers += [value for blockage in canvas.blockages for value in blockage]
    sides = [canvas.columns, canvas.rows, *canvas.routing]
    if not np.isfinite(numbers).all() or min(canvas.width, canvas.height) <= 0:
        raise UsageError(f"{source} describes a canvas with sizes that are not finite and positive.")
    if min(canvas.routes) <= 0 or min(canvas.macro_routes) < 0 or not 0 <= canvas.smoothing <= MOST_SMOOTHING:
        raise UsageError(
            f"{source} has routes per micron {canvas.routes}, used by macros {canvas.macro_routes}, smoothing "
            f"{canvas.smoothing:g}; expected positive routes, none negative, and a smoothing up to {MOST_SMOOTHING}."
        )
    if not 1 <= min(sides) <= max(sides) <= MOST_CELLS:
        raise UsageError(f"{source} has a grid of {max(sides)} cells a side; expected 1 to {MOST_CELLS}.")
    sorted_ = tuple(
        (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1), rate) for x0, y0, x1, y1, rate in canvas.blockages
    )
    return replace(canvas, blockages=sorted_)


def format_plc(netlist: Netlist, canvas: Canvas, placement: Placement) -> str:
    """A placement file that this module, Circuit Training and TILOS' tools read.

    Positions have all digits: with Circuit Training's six, macros that touch would overlap when it is read again.
    """
    routing = canvas.congestion_grid
    lines = [
        f"# Columns : {canvas.columns}  Rows : {canvas.rows}",
        *([f"# Congestion Columns : {routing[0]}  Congestion Rows : {routing[1]}"] if routing else []),
        f"# Width : {canvas.width!r}  Height : {canvas.height!r}",
        f"# Routes per micron, hor : {canvas.routes[0]:.12g}  ver : {canvas.routes[1]:.12g}",
        f"# Routes used by macros, hor : {canvas.macro_routes[0]:.12g}  ver : {canvas.macro_routes[1]:.12g}",
        f"# Smoothing factor : {canvas.smoothing:g}",
        *(f"# Blockage : {' '.join(f'{value:.12g}' for value in item)}" for item in canvas.blockages),
        "#", "# node_index x y orientation fixed",
    ]  # fmt: skip
    for at in np.flatnonzero(placement.placed & (netlist.kind != PIN)):
        facing = ORIENTATIONS[placement.orientation[at]] if netlist.kind[at] in (HARD, SOFT) else "-"
        lines.append(f"{at} {float(placement.x[at])!r} {float(placement.y[at])!r} {facing} {int(placement.fixed[at])}")
    return "\n".join(lines) + "\n"
