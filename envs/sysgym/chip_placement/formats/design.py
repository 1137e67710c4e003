"""Any file of a placement design, told by its ending and, where two formats share one, by its content."""

from __future__ import annotations

from pathlib import Path

from sysgym.chip_placement.formats.blocks import beside, read_blocks
from sysgym.chip_placement.formats.bookshelf import part_of, read_bookshelf
from sysgym.chip_placement.formats.cache import read_netlist_cached
from sysgym.chip_placement.formats.floorplan import read_floorplan
from sysgym.chip_placement.formats.lefdef.build import USUAL, Reading, read_design_exchange
from sysgym.chip_placement.formats.netlist import Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.core.data import read_text
from sysgym.core.errors import UsageError, announce, reading

ACCEPTED = (
    "netlist.pb.txt (Circuit Training), .aux, .nodes, .nets, .pl or .scl (bookshelf), .blocks, .nets or .pl (UCSC, "
    "GSRC), .block or .nets (MCNC, GSRC) and .def with its LEF files, each also gzipped"
)


def read_design(path: str | Path, how: Reading = USUAL) -> tuple[str, Netlist, Canvas | None, Placement | None]:
    """Name, netlist, canvas and positions of a design from any of its files; `how` is for a DEF.

    Canvas and positions are None for a protobuf netlist, whose placement file holds them (`read_plc`); the canvas of a
    DEF has no grid, but a single cell. UsageError if the format is not read here or the file is damaged.
    """
    path = Path(path)
    if is_def(path):
        netlist, canvas, placement, _ = read_design_exchange(path, how)
        return netlist.name, netlist, canvas, placement
    refuse_lef(path)
    if how.lef:
        raise UsageError(f"LEF files go with a DEF; {path.name} is none, so leave them out.")
    with reading(path):
        return _read(path)


def _read(path: Path) -> tuple[str, Netlist, Canvas | None, Placement | None]:
    ending = part_of(path)
    if path.name.removesuffix(".gz").endswith((".pb.txt", ".pb")) or ending == "pbtxt":
        netlist = read_netlist_cached(path)
        for remark in netlist.remarks:
            announce(f"{path}: {remark}.")
        return netlist.name, netlist, None, None
    if ending == "blocks" or (ending in ("nets", "pl", "wts") and beside(path, "blocks") and not beside(path, "nodes")):
        netlist, canvas, placement = read_blocks(path)
    elif ending == "block" or (ending == "nets" and not _is_bookshelf(path)):
        netlist, canvas, placement = read_floorplan(path)
    elif ending in ("aux", "nodes", "nets", "pl", "scl", "wts"):
        netlist, canvas, placement = read_bookshelf(path)
    else:
        raise UsageError(f"{path.name} is no design file by its ending; expected {ACCEPTED}.")
    return netlist.name, netlist, canvas, placement


def is_def(path: Path) -> bool:
    """Whether a file is a DEF by its ending."""
    return part_of(path) == "def"


def refuse_lef(path: Path) -> None:
    """UsageError for a LEF file where a design is wanted."""
    if part_of(path) == "lef":
        raise UsageError(
            f"{path.name} is a LEF file, a library; give the DEF of the design, and this file by -O lef={path.name}."
        )


def _is_bookshelf(path: Path) -> bool:
    """Whether a `.nets` file is one of bookshelf, which counts pins; the floorplanning suites do not."""
    head = read_text(path)[:4000]
    return head.lstrip().startswith("UCLA") or "NumPins" in head
