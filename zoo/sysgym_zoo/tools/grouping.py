"""`sysgym group`: the standard cells of a full netlist become soft macros, in a file that chip placement reads."""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sysgym import UsageError
from sysgym.chip_placement.formats.design import is_def, read_design
from sysgym.chip_placement.formats.lefdef.build import USUAL, Reading
from sysgym.chip_placement.formats.netlist import CELL, HARD, PORT, SOFT, Netlist
from sysgym.chip_placement.formats.netlist_writer import format_netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement, format_plc, netlist_placement, parse_plc
from sysgym.chip_placement.grouping.grid import with_chosen_grid
from sysgym.chip_placement.grouping.rules import group_cells, read_groups
from sysgym.core.data import read_text
from sysgym.core.problem import Array
from sysgym_zoo.tools.flat import Preparation, prepare

MOST = 10_000_000  # groups, parts and cells of the grid that a file or an option may name


class Shape(NamedTuple):
    """The canvas as options name it, in microns and cells; None is not said."""

    width: float | None = None
    height: float | None = None
    columns: int | None = None
    rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """What `sysgym group` is asked for."""

    netlist: Path
    output: Path
    shape: Shape = field(default_factory=Shape)
    plc: Path | None = None  # a placement file that names the canvas instead
    groups: Path | None = None  # the group of every node, to be used as is
    partition: Path | None = None  # the part of every node
    free_groups: int = 500
    seed: int = 0
    reading: Reading = USUAL  # of a DEF
    placement: Path | None = None  # a `.plc` file to write, with the canvas and where ports and macros are
    utilization: float = 0.5  # area of the cells of a soft macro over its own
    first: Preparation = field(default_factory=Preparation)

    def check(self) -> None:
        """UsageError for options that do not go together, or files that cannot be written."""
        output, placement = self.output, self.placement
        self.first.check()
        if not 0 < self.utilization <= 1:
            raise UsageError(f"--utilization must be above 0 and at most 1, got {self.utilization}.")
        if placement is not None and placement.suffix != ".plc":
            raise UsageError(f"cannot write {placement}: use a name that ends in .plc.")
        if not output.name.endswith((".pb.txt", ".pb.txt.gz")):
            raise UsageError(f"cannot write {output}: use a name that ends in .pb.txt or .pb.txt.gz.")
        for file in (output, placement):
            if file is not None and not file.parent.is_dir():
                raise UsageError(f"cannot write {file}: the folder {file.parent} does not exist.")
        if self.groups is not None and self.partition is not None:
            raise UsageError("both --groups and --partition are given; a partition is broken up and merged, groups "
                             "are taken as they are, so give one of them.")  # fmt: skip
        if is_def(self.netlist) and self.first.unit not in (None, 1.0):
            raise UsageError(f"--unit {self.first.unit:g} goes with bookshelf files; a DEF names its own unit.")
        if is_def(self.netlist) and self.plc is None and self.shape.width is self.shape.height is None:
            if self.shape.rows is not None and self.shape.columns is None:
                raise UsageError("--rows is given without --columns; give both, or neither for the grid by rule.")
            check_sides({"--columns": self.shape.columns, "--rows": self.shape.rows})
            return
        if self.plc is None:
            check_size(*self.shape)
        elif self.shape != Shape():
            raise UsageError(
                f"both --plc and a size are given; leave out --plc, or take the canvas of {self.plc} alone."
            )


def group(asked: Grouping) -> dict[str, Any]:
    """Write the clustered netlist of a full one; what was counted."""
    asked.check()
    _, netlist, own, start = read_design(asked.netlist, asked.reading)
    cells = int((netlist.kind == CELL).sum())
    if cells == 0:
        raise UsageError(
            f"{asked.netlist} holds no standard cells to group; give the full netlist, before any clustering."
        )
    canvas = _own_canvas(asked, netlist, own, start) if asked.plc is None else plc_canvas(asked.plc, netlist)
    size = asked.shape if canvas is None else Shape(canvas.width, canvas.height, canvas.columns, canvas.rows)
    width, height, columns = size.width or 0.0, size.height or 0.0, size.columns or 0
    rows = size.rows or max(1, round((columns or 1) * height / width))
    canvas = canvas or Canvas(width, height, columns or 1, rows)
    full = prepare(netlist, canvas, asked.first, start, asked.seed)
    found = group_cells(
        full, width, height, columns, size.rows, groups=_numbers(asked.groups, netlist, -1),
        partition=_numbers(asked.partition, netlist, 0), free_groups=asked.free_groups,
        utilization=asked.utilization, seed=asked.seed,
    )  # fmt: skip
    write(asked.output, format_netlist(found, utilization=asked.utilization))
    if asked.placement is not None:
        write(asked.placement, format_plc(found, canvas, _placement(netlist, start, found)))
    return {"file": str(asked.output), **_counts(netlist, found)}


def _placement(netlist: Netlist, start: Placement | None, found: Netlist) -> Placement:
    """Where a clustered netlist stands at first, with the hard macros fixed that a DEF has FIXED."""
    placement = netlist_placement(found)
    if start is None:
        return placement
    still = {netlist.names[i] for i in np.flatnonzero((netlist.kind == HARD) & start.fixed)}
    fixed = np.array([name in still for name in found.names], bool)[found.parent]
    return replace(placement, fixed=placement.fixed | fixed)


def _own_canvas(asked: Grouping, netlist: Netlist, own: Canvas | None, start: Placement | None) -> Canvas | None:
    """The canvas of a DEF, with the grid that is asked for, or else the one that Circuit Training's rule chooses."""
    if own is None or start is None or not is_def(asked.netlist) or asked.shape.width is not None:
        return None
    columns, rows = asked.shape.columns, asked.shape.rows
    if columns is None:
        return with_chosen_grid(netlist, own, start)
    return replace(own, columns=columns, rows=rows or max(1, round(columns * own.height / own.width)))


def _counts(netlist: Netlist, found: Netlist) -> dict[str, int | float]:
    kinds = {"soft_macros": SOFT, "hard_macros": HARD, "ports": PORT}
    return {
        "nodes_before": len(netlist.kind), "nodes_after": len(found.kind),
        "nets_before": netlist.nets, "nets_after": found.nets,
        "cells_before": int((netlist.kind == CELL).sum()), "cells_after": int((found.kind == CELL).sum()),
        **{name: int((found.kind == kind).sum()) for name, kind in kinds.items()},
        "soft_pins": int((found.kind[found.parent] == SOFT).sum() - (found.kind == SOFT).sum()),
        "soft_area": float((found.width * found.height)[found.kind == SOFT].sum()),
        "net_weight": float(found.weight.sum()),
    }  # fmt: skip


def check_size(width: float | None, height: float | None, columns: int | None, rows: int | None) -> None:
    """UsageError unless the options name a canvas; only rows may be left out."""
    given = {"--width": width, "--height": height, "--columns": columns}
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise UsageError(f"the canvas is not known: {', '.join(missing)} missing; give --width, --height (microns) and "
                         "--columns, or a placement file with --plc.")  # fmt: skip
    check_sides({**given, "--rows": rows})


def check_sides(sides: dict[str, float | None]) -> None:
    """UsageError for a side that is given and is no positive number."""
    for name, value in sides.items():
        if value is not None and not (0 < value <= MOST and math.isfinite(value)):
            raise UsageError(f"{name} must be a positive number up to {MOST}, got {value}.")


def plc_canvas(path: Path, netlist: Netlist) -> Canvas:
    """The canvas in the comments of a placement file, whichever netlist its nodes are of."""
    lines = read_text(path).splitlines()
    return parse_plc("\n".join(line if line.startswith("#") else "" for line in lines), netlist, path)[0]


def _numbers(path: Path | None, netlist: Netlist, least: int) -> Array | None:
    """The group or part of every node from a file; UsageError if one is out of range."""
    if path is None:
        return None
    found = read_groups(path, netlist)
    wrong = (found < least) | (found >= MOST)
    if wrong.any():
        at = int(wrong.argmax())
        raise UsageError(f"{path} gives node {netlist.names[at]!r} the number {found[at]}; expected {least} to "
                         f"{MOST - 1}.")  # fmt: skip
    return found


def write(path: Path, text: str) -> None:
    """Write text, gzipped if the name says so: the same bytes for the same text."""
    data = text.encode()
    try:
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}.") from error
