"""What `sysgym group` does to a full netlist before it groups the cells: units, macros, nets, and a flat placement."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sysgym import UsageError
from sysgym.chip_placement.formats.design import read_design
from sysgym.chip_placement.formats.netlist import CELL, HARD, SOFT, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement, netlist_placement
from sysgym.chip_placement.grouping.prepare import (
    at_one_point,
    check_drivers,
    merge_nets,
    placed_at,
    scaled,
    with_macros_of,
)
from sysgym.chip_placement.load import complete_plc
from sysgym.core.errors import announce

PILE = 0.5  # of the cells or macros: where more stand at one point, places mean nothing
ITERATIONS, TRIAL = 400, 5  # of the gradients: all, and those by which their seconds are guessed
SLOWER = 2.0  # so many times the seconds of the trial are believed to do


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What is asked for before the cells are grouped."""

    unit: float = 1.0  # microns of one unit of the file
    merge: bool = False  # one net a driver
    macros: Path | None = None  # a netlist whose hard macros and ports lend sizes and places
    seconds: float | None = None  # for a flat placement; None: cells stand where the file has them
    move_macros: bool = False  # in that placement hard macros that are not fixed are placed too

    def check(self) -> None:
        """UsageError for values out of range and options that do not go together."""
        for name, value in (("--unit", self.unit), ("--place", self.seconds)):
            if value is not None and not (0 < value < math.inf):
                raise UsageError(f"{name} must be a positive number, got {value}.")
        if self.move_macros and self.seconds is None:
            raise UsageError("--place-macros is about the flat placement; give its seconds by --place.")


def prepare(netlist: Netlist, canvas: Canvas, asked: Preparation, marks: Placement | None, seed: int) -> Netlist:
    """The netlist as it is grouped; what makes its places meaningless is announced.

    `marks` is the placement of a format that marks nodes that stay, whose macros `move_macros` leaves alone.
    """
    if asked.unit != 1.0:
        netlist = scaled(netlist, asked.unit)
    if asked.macros is not None:
        netlist = with_macros_of(netlist, *_macros_from(asked.macros))
    if asked.merge:
        netlist = merge_nets(netlist)
    check_drivers(netlist)
    if asked.seconds is not None:
        if not asked.move_macros:
            _warn_of_pile(netlist, HARD, "hard macros", "give their places by --macros-from FILE, or --place-macros")
        stays = np.zeros(len(netlist.kind), bool) if marks is None or marks.marks is None else marks.marks > 0
        netlist = place_cells(netlist, canvas, asked, stays, seed)
    _warn_of_pile(netlist, CELL, "cells", "place them first by --place SECONDS")
    _warn_of_scale(netlist, canvas)
    return netlist


def _macros_from(path: Path) -> tuple[Netlist, Placement]:
    """A netlist and where its nodes are: as its format has it, as an `initial.plc` beside it, or as it records."""
    _, netlist, _, placement = read_design(path)
    beside = path.parent / "initial.plc"
    if placement is None and beside.is_file():
        placement = complete_plc(beside, netlist)[1]
    return netlist, netlist_placement(netlist) if placement is None else placement


def _warn_of_pile(netlist: Netlist, kind: int, what: str, advice: str) -> None:
    most, count = at_one_point(netlist, kind)
    if count > 1 and most > PILE * count:
        announce(f"{most} of the {count} {what} of {netlist.name} stand at one point, and groups are cut and joined by "
                 f"where cells stand: {advice}.")  # fmt: skip


def _warn_of_scale(netlist: Netlist, canvas: Canvas) -> None:
    bodies, room = (netlist.kind == CELL) | (netlist.kind == HARD), canvas.width * canvas.height
    taken = float((netlist.width * netlist.height)[bodies].sum())
    if taken > room:
        announce(f"cells and hard macros of {netlist.name} take {taken:.6g} square microns, the canvas has "
                 f"{room:.6g}; --unit says how long one unit of the file is.")  # fmt: skip
    cells = netlist.kind == CELL
    x, y = netlist.x[cells], netlist.y[cells]
    outside = int(((x < 0) | (y < 0) | (x > canvas.width) | (y > canvas.height)).sum())
    if outside > PILE * len(x):
        announce(f"{outside} of the {len(x)} cells of {netlist.name} stand outside the canvas of {canvas.width:g} x "
                 f"{canvas.height:g} microns; --unit says how long one unit of the file is.")  # fmt: skip


def place_cells(netlist: Netlist, canvas: Canvas, asked: Preparation, stays: np.ndarray, seed: int) -> Netlist:
    """The netlist with its cells where gradients put them, around the hard macros.

    The same seed gives the same places where the seconds are twice what all iterations need; with fewer there are
    fewer iterations, on the same schedule. `stays` (n,) bool are macros that `asked.move_macros` leaves alone; the
    others go to free places near where the gradients put them.
    """
    from sysgym.chip_placement.geometry.packing import legalise
    from sysgym_agents.chip_placement.spreading import UNLIMITED, spread

    hard, own = netlist.kind == HARD, netlist.parent
    moved = hard & ~stays & asked.move_macros
    soft = replace(netlist, kind=np.where(netlist.kind == CELL, SOFT, netlist.kind).astype(np.int8))
    start = netlist_placement(netlist)
    start = replace(start, fixed=start.fixed | (hard & ~moved)[own])
    nodes = np.flatnonzero((netlist.kind == CELL) | moved)

    def run(iterations: int, seconds: float | None = None) -> Placement:
        time = UNLIMITED._replace(seconds=seconds)
        return spread(soft, canvas, start, np.random.default_rng(seed), nodes, square_soft=False,
                      iterations=iterations, time=time)  # fmt: skip

    assert asked.seconds is not None
    run(1)  # compiles
    begun = time.perf_counter()
    run(TRIAL)
    need = (time.perf_counter() - begun) * ITERATIONS / TRIAL * SLOWER
    if need > asked.seconds:
        announce(f"--place {asked.seconds:g} may not do for all {ITERATIONS} iterations, which take about {need:.3g} "
                 "seconds or less; places then depend on the speed of the machine.")  # fmt: skip
    found = run(ITERATIONS, asked.seconds if need > asked.seconds else None)
    if moved.any():
        legal = legalise(netlist, canvas, found)
        if legal is None:
            announce("no places without overlaps were found for the hard macros; they overlap where the gradients "
                     "put them.")  # fmt: skip
        else:
            found = legal
    return placed_at(netlist, found)
