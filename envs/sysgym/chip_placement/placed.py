"""Solutions as DEF and Tcl: of a chip that was read from a DEF, or that a DEF belongs to."""

from __future__ import annotations

import gzip

import numpy as np

from sysgym.chip_placement.formats.lefdef.source import Source
from sysgym.chip_placement.formats.lefdef.write import format_def, format_tcl, parse_placed, written_corners
from sysgym.chip_placement.instance import Chip
from sysgym.chip_placement.judge import as_freedom
from sysgym.core.errors import InvalidSolution, SysgymError, UsageError, announce
from sysgym.core.problem import Array, Solution

ENDINGS = (".def", ".tcl")


def writes(file_name: str) -> bool:
    """Whether a file is written as DEF or Tcl by its ending, `.gz` apart."""
    return file_name.lower().removesuffix(".gz").endswith(ENDINGS)


def _source(chip: Chip, file_name: str, kind: type[SysgymError]) -> Source:
    if chip.source is None:
        raise kind(
            f"{file_name} goes with a chip that was read from a DEF, and {chip.name} was not; use a name that ends in "
            ".plc, .json or .npz, or say by -O template=FILE.def which DEF it comes from."
        )
    return chip.source


def parse_def_solution(chip: Chip, content: bytes, file_name: str, square_soft: bool) -> Solution:
    """The arrays of a solution from a placed DEF of the same components; InvalidSolution if it is none.

    A DEF holds no soft macros: they are placed by forces, which is announced.
    """
    source = _source(chip, file_name, InvalidSolution)
    centres, orientation = parse_placed(content, file_name, source)
    start = chip.placement
    found: dict[str, Array] = {key: getattr(start, key)[chip.macros].copy() for key in ("x", "y")}
    found["orientation"] = start.orientation[chip.macros].astype(np.int64)
    for key, values in (("x", centres[:, 0]), ("y", centres[:, 1]), ("orientation", orientation)):
        found[key][source.rows] = values
    if not chip.has_soft:
        return found
    announce(f"{file_name} holds no soft macros, as no DEF does: forces place them around the hard ones.")
    return as_freedom(chip, found, "forces", square_soft)


def format_def_solution(chip: Chip, solution: Solution, file_name: str, fix: bool) -> tuple[bytes, Solution]:
    """A solution as the DEF of the chip, or as Tcl for OpenROAD, gzipped if the name says so; UsageError otherwise.

    And the solution with its hard macros where the file has them, on the manufacturing grid.
    """
    source = _source(chip, file_name, UsageError)
    x, y, orientation = (np.asarray(solution[key])[source.rows] for key in ("x", "y", "orientation"))
    if file_name.lower().removesuffix(".gz").endswith(".tcl"):
        content = format_tcl(source, (x, y, orientation))
    else:
        content = format_def(source, (x, y, orientation), fix)
    at = source.centres(written_corners(source, (x, y, orientation)), orientation, source.units)
    written = {key: np.array(values) for key, values in solution.items()}
    written["x"][source.rows], written["y"][source.rows] = at.T
    return gzip.compress(content, mtime=0) if file_name.lower().endswith(".gz") else content, written
