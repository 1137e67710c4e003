"""`sysgym group`: the standard cells of a full netlist become soft macros, in a file that chip placement reads."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

from sysgym import UsageError
from sysgym.chip_placement.formats.design import read_design
from sysgym.chip_placement.formats.netlist import CELL, HARD, PORT, SOFT, Netlist, read_text
from sysgym.chip_placement.formats.netlist_writer import format_netlist
from sysgym.chip_placement.formats.plc import Canvas, format_plc, netlist_placement, parse_plc
from sysgym.chip_placement.grouping.rules import group_cells, read_groups
from sysgym.core.problem import Array

MOST = 10_000_000  # groups, parts and cells of the grid that a file or an option may name


def group(
    path: Path, output: Path, plc: Path | None, size: tuple[float | None, float | None, int | None, int | None],
    groups: Path | None, partition: Path | None, free_groups: int, seed: int, placement: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the clustered netlist of a full one; what was counted. `size` is width, height, columns, rows or None.

    `placement` is a `.plc` file to write, with the canvas and where the netlist has its ports and macros.
    """
    if placement is not None and placement.suffix != ".plc":
        raise UsageError(f"cannot write {placement}: use a name that ends in .plc.")
    if not output.name.endswith((".pb.txt", ".pb.txt.gz")):
        raise UsageError(f"cannot write {output}: use a name that ends in .pb.txt or .pb.txt.gz.")
    if not output.parent.is_dir():
        raise UsageError(f"cannot write {output}: the folder {output.parent} does not exist.")
    if placement is not None and not placement.parent.is_dir():
        raise UsageError(f"cannot write {placement}: the folder {placement.parent} does not exist.")
    if groups is not None and partition is not None:
        raise UsageError("both --groups and --partition are given; a partition is broken up and merged, groups are "
                         "taken as they are, so give one of them.")  # fmt: skip
    if plc is None:
        check_size(*size)
    elif any(value is not None for value in size):
        raise UsageError(f"both --plc and a size are given; leave out --plc, or take the canvas of {plc} alone.")
    _, netlist, _, _ = read_design(path)
    cells = int((netlist.kind == CELL).sum())
    if cells == 0:
        raise UsageError(f"{path} holds no standard cells to group; give the full netlist, before any clustering.")
    columns, rows = size[2:]
    if plc is None:
        width, height = size[0] or 0.0, size[1] or 0.0
    else:
        canvas = plc_canvas(plc, netlist)
        width, height, columns, rows = canvas.width, canvas.height, canvas.columns, canvas.rows
    found = group_cells(
        netlist, width, height, columns or 0, rows, groups=_numbers(groups, netlist, -1),
        partition=_numbers(partition, netlist, 0), free_groups=free_groups, seed=seed,
    )  # fmt: skip
    write(output, format_netlist(found))
    if placement is not None:
        shape = Canvas(width, height, columns or 1, rows or max(1, round((columns or 1) * height / width)))
        shape = shape if plc is None else canvas
        write(placement, format_plc(found, shape, netlist_placement(found)))
    kinds = {"hard_macros": HARD, "ports": PORT}
    return {
        "file": str(output), "nodes_before": len(netlist.kind), "nodes_after": len(found.kind),
        "nets_before": netlist.nets, "nets_after": found.nets, "cells_before": cells,
        "cells_after": int((found.kind == CELL).sum()), "soft_macros": int((found.kind == SOFT).sum()),
        **{name: int((found.kind == kind).sum()) for name, kind in kinds.items()},
    }  # fmt: skip


def check_size(width: float | None, height: float | None, columns: int | None, rows: int | None) -> None:
    """UsageError unless the options name a canvas; only rows may be left out."""
    given = {"--width": width, "--height": height, "--columns": columns}
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise UsageError(f"the canvas is not known: {', '.join(missing)} missing; give --width, --height (microns) and "
                         "--columns, or a placement file with --plc.")  # fmt: skip
    for name, value in {**given, "--rows": rows}.items():
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
