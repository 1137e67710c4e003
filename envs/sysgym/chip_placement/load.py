"""From a name to a chip: registered designs, recipes and files of the user's own."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from sysgym.chip_placement.formats.design import read_design
from sysgym.chip_placement.formats.netlist import HARD, PORT, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement, default_canvas, netlist_placement, read_plc
from sysgym.chip_placement.generate import generate_chip, is_recipe
from sysgym.chip_placement.graph import without_cells
from sysgym.chip_placement.instance import Chip
from sysgym.core import data
from sysgym.core.errors import UsageError
from sysgym.core.instances import Entry, as_promised, find_entry, load_index, no_instance

ENDINGS = (".txt", ".pb", ".aux", ".nodes", ".nets", ".pl", ".scl", ".block", ".lef", ".def")

TOPIC = "chip"  # of the packaged chips


def make_chip(name: str, netlist: Netlist, canvas: Canvas | None, placement: Placement | None) -> Chip:
    """A chip from what was read; without a canvas, Google's defaults for a netlist alone."""
    if not (netlist.kind == HARD).any():
        raise UsageError(f"{name} holds no hard macro; there is nothing to place.")
    canvas = default_canvas(netlist) if canvas is None else canvas
    placement = netlist_placement(netlist) if placement is None else placement
    return Chip(name, without_cells(netlist), canvas, placement)


def with_grid(chip: Chip, cells: int) -> Chip:
    """The same chip with another number of cells along the longer side of the canvas."""
    canvas = chip.canvas
    side = max(canvas.width, canvas.height) / cells
    columns, rows = max(1, round(canvas.width / side)), max(1, round(canvas.height / side))
    return replace(chip, canvas=replace(canvas, columns=columns, rows=rows))


def complete_plc(path: Path, netlist: Netlist) -> tuple[Canvas, Placement]:
    """Canvas and positions of a placement file that places all ports and hard macros; UsageError otherwise."""
    canvas, placement = read_plc(path, netlist)
    wanted = (netlist.kind == HARD) | (netlist.kind == PORT)
    found, count = int((wanted & placement.placed).sum()), int(wanted.sum())
    if found < count:
        raise UsageError(
            f"{path} places {found} of the {count} ports and hard macros of {netlist.name}; it seems to be of another "
            "netlist, so give the one that belongs to it."
        )
    return canvas, placement


def read_chip(path: Path, plc: str | None = None, name: str | None = None) -> Chip:
    """A chip from a design file, with the canvas of `plc`, or of an `initial.plc` beside the file."""
    _, netlist, canvas, placement = read_design(path)
    beside = path.parent / "initial.plc"
    if plc is not None or (canvas is None and beside.is_file()):
        canvas, placement = complete_plc(Path(plc) if plc is not None else beside, netlist)
    return make_chip(str(path) if name is None else name, netlist, canvas, placement)


@lru_cache(maxsize=16)
def _registered(name: str) -> Chip:
    entry = find_entry(load_index(TOPIC), name)
    assert entry is not None
    chip: Chip = as_promised(entry, _from_entry(entry))
    return chip


def _from_entry(entry: Entry) -> Chip:
    """The files of a registered design, whose checksums hold."""
    for file in entry.files:
        data.read(file)
    paths = [data.find(file) for file in entry.files]
    assert all(path is not None for path in paths)
    found = [path for path in paths if path is not None]
    plc = next((str(path) for path in found if path.name.endswith(".plc")), None)
    return read_chip(found[0], plc, entry.name)


@lru_cache(maxsize=16)
def _cut(name: str, cells: int) -> Chip:
    return with_grid(_registered(name), cells)


def load_chip(name: str, plc: str | None = None, grid: int | None = None) -> Chip:
    """A chip by registered name (`ct/ariane133_NanGate45`), recipe (`tiles:rows=4,columns=4,seed=1`) or file."""
    sets = load_index(TOPIC)
    if find_entry(sets, name):
        if plc is not None:
            chip = _registered(name)
            canvas, placement = complete_plc(Path(plc), chip.netlist)
            chip = replace(chip, canvas=canvas, placement=placement)
            return with_grid(chip, grid) if grid else chip
        return _cut(name, grid) if grid else _registered(name)
    if is_recipe(name):
        if plc is not None:
            raise UsageError(f"option plc goes with a netlist; {name!r} is generated with a canvas of its own.")
        chip = generate_chip(name)
    elif (len(name) < 1024 and Path(name).is_file()) or Path(name.removesuffix(".gz")).suffix.lower() in ENDINGS:
        chip = read_chip(Path(name), plc)
    else:
        hint = "a design file (netlist.pb.txt, bookshelf .aux, floorplan .block) or a recipe such as"
        raise no_instance(sets, name, f"{hint} 'tiles:rows=4,columns=4,seed=1'")
    return with_grid(chip, grid) if grid else chip


def is_design(name: str, head: bytes = b"") -> bool:
    """Whether this is a recipe of a chip, or a design file by its ending; a `.txt` must hold nodes of a netlist."""
    plain = name.removesuffix(".gz").lower()
    if plain.endswith(".txt"):
        return plain.endswith(".pb.txt") or b"node {" in head
    return plain.endswith(ENDINGS) or is_recipe(name)
