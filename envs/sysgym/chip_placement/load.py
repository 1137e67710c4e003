"""From a name to a chip: registered designs, recipes and files of the user's own."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from sysgym.chip_placement.formats.comments import canvas_facts
from sysgym.chip_placement.formats.design import is_def, read_design, refuse_lef
from sysgym.chip_placement.formats.lefdef.build import USUAL, Reading, plain, read_design_exchange, shown
from sysgym.chip_placement.formats.netlist import HARD, PORT, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement, canvas_of, check_canvas, netlist_placement, read_plc
from sysgym.chip_placement.generate import generate_chip, is_recipe
from sysgym.chip_placement.graph import without_cells
from sysgym.chip_placement.grouping.grid import with_chosen_grid
from sysgym.chip_placement.iccad04 import design_in, say_unlike
from sysgym.chip_placement.instance import Chip
from sysgym.core import data
from sysgym.core.errors import UsageError, announce
from sysgym.core.instances import Entry, as_promised, find_entry, load_index, no_instance
from sysgym.core.problem import Array

ENDINGS = (".txt", ".pb", ".aux", ".nodes", ".nets", ".pl", ".scl", ".block", ".blocks", ".def")
LIBRARY = ".lef"  # which is no design, but may stand beside one
HEAD = re.compile(rb"\bnode\s*:?\s*[{<]")  # of a text that is a netlist

DIGITS = 1e-3  # microns: Circuit Training writes so many digits of a canvas
TOPIC = "chip"  # of the packaged chips


def make_chip(name: str, netlist: Netlist, canvas: Canvas | None, placement: Placement | None) -> Chip:
    """A chip from what was read; without a canvas, that of the netlist's comments, or Google's defaults."""
    if not (netlist.kind == HARD).any():
        raise UsageError(f"{name} holds no hard macro; there is nothing to place.")
    canvas = canvas_of(netlist, name) if canvas is None else canvas
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
    return _with_comments(canvas, netlist, path), placement


def _with_comments(canvas: Canvas, netlist: Netlist, path: Path) -> Canvas:
    """The canvas of a placement file, and the blockages that only the netlist's comments name.

    Of two sizes that of the placement file counts, as in Circuit Training. Either is announced.
    """
    facts = canvas_facts((("comment", line) for line in netlist.comments), f"the netlist {netlist.name}")
    width, height = facts.get("width", canvas.width), facts.get("height", canvas.height)
    if max(abs(width - canvas.width), abs(height - canvas.height)) > DIGITS:
        announce(
            f"{path} has a canvas of {canvas.width:g} x {canvas.height:g}, the comments of the netlist {netlist.name} "
            f"say {width:g} x {height:g}; the former counts."
        )
    given = check_canvas(replace(canvas, blockages=facts.get("blockages", ())), netlist.name).blockages
    more = tuple(dict.fromkeys(blockage for blockage in given if blockage not in canvas.blockages))
    if not more:
        return canvas
    announce(f"{path}: {len(more)} blockages that only the comments of the netlist {netlist.name} name count too.")
    return replace(canvas, blockages=(*canvas.blockages, *more))


def with_fixed(chip: Chip) -> Chip:
    """The same chip with the macros fixed that its `.pl` file marks `/FIXED`."""
    placement = chip.placement
    return replace(chip, placement=replace(placement, fixed=placement.fixed | marked(chip)[chip.netlist.parent]))


def marked(chip: Chip) -> Array:
    """Which nodes are hard macros marked `/FIXED`, (n,) bool."""
    hard: Array = chip.netlist.kind == HARD
    marks = chip.placement.marks
    return np.zeros_like(hard) if marks is None else hard & (marks > 0)


def read_def_chip(path: Path, how: Reading, grid: int | None = None) -> Chip:
    """A chip from a DEF and its LEF files: the grid by Circuit Training's rule, or `grid` cells on the longer side."""
    netlist, canvas, placement, source = read_design_exchange(path, how)
    chip = replace(make_chip(str(path), netlist, canvas, placement), source=source)
    if grid:
        return with_grid(chip, grid)
    return replace(chip, canvas=with_chosen_grid(netlist, canvas, placement))


def with_template(chip: Chip, template: str, how: Reading) -> Chip:
    """The chip of a clustered netlist, to be written into the DEF that its hard macros and its canvas come from."""
    netlist, canvas, placement, source = read_design_exchange(Path(template), how)
    row = {
        chip.netlist.names[node]: number for number, node in enumerate(chip.macros) if chip.netlist.kind[node] == HARD
    }
    missing = [name for name in source.names if plain(name) not in row]
    if missing or len(row) != len(source.names):
        raise UsageError(
            f"{template} has {len(source.names)} hard macros and {chip.name} {len(row)}"
            f"{f', but no {shown(missing)}' if missing else ''}; give the DEF that the netlist comes from."
        )
    if max(abs(canvas.width - chip.canvas.width), abs(canvas.height - chip.canvas.height)) > DIGITS:
        raise UsageError(
            f"the canvas of {chip.name} is {chip.canvas.width:g} x {chip.canvas.height:g}, that of {template} "
            f"{canvas.width:g} x {canvas.height:g}; choose among its die and its core by -O canvas=core or die."
        )
    still = placement.fixed[netlist.kind == HARD]
    held = chip.placement.fixed[[chip.macros[row[plain(name)]] for name in source.names]]
    loose = [name for name, fixed, own in zip(source.names, still, held, strict=True) if fixed and not own]
    if loose:
        raise UsageError(
            f"{template} has {len(loose)} macros FIXED that {chip.name} moves: {shown(loose)}; give the placement file "
            "that `sysgym group --write-plc` writes, which keeps them, by -O plc=FILE."
        )
    return replace(chip, source=replace(source, rows=np.array([row[plain(name)] for name in source.names], np.int64)))


def read_chip(path: Path, plc: str | None = None, name: str | None = None) -> Chip:
    """A chip from a design file, with the canvas of `plc`, or of an `initial.plc` beside the file; not from a DEF."""
    refuse_lef(path)
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


def load_chip(
    name: str, plc: str | None = None, grid: int | None = None, keep_fixed: bool = False, how: Reading = USUAL
) -> Chip:
    """A chip by registered name (`ct/ariane133_NanGate45`), recipe (`tiles:rows=4,columns=4,seed=1`) or file.

    `how` says how a DEF is read; LEF files with anything else are refused.
    """
    if how.lef and not is_def(Path(name)):
        raise UsageError(f"LEF files go with a DEF; {name} is none, so leave -O lef out, or add -O template=FILE.def.")
    if how != USUAL and not is_def(Path(name)):
        word = "canvas" if how.area != USUAL.area else "missing_masters"
        raise UsageError(f"option {word} goes with a DEF; {name} is none, so leave it out.")
    sets, ending = load_index(TOPIC), Path(name.removesuffix(".gz")).suffix.lower()
    if find_entry(sets, name) is None and is_def(Path(name)):
        if plc is not None:
            raise UsageError(f"option plc goes with a netlist; {name} is a DEF, which has a canvas and places itself.")
        return read_def_chip(Path(name), how, grid)
    if find_entry(sets, name):
        if plc is not None:
            chip = _registered(name)
            canvas, placement = complete_plc(Path(plc), chip.netlist)
            chip = replace(chip, canvas=canvas, placement=placement)
            return with_grid(chip, grid) if grid else chip
        chip = _cut(name, grid) if grid else _registered(name)
        return with_fixed(chip) if keep_fixed and marked(chip).any() else chip
    if is_recipe(name):
        if plc is not None:
            raise UsageError(f"option plc goes with a netlist; {name!r} is generated with a canvas of its own.")
        chip = generate_chip(name)
    elif (folder := _folder(name)) is not None:
        chip = read_chip(folder, plc, name)
        say_unlike(chip)
    elif (len(name) < 1024 and Path(name).is_file()) or ending in (*ENDINGS, LIBRARY):
        chip = read_chip(Path(name), plc)
    else:
        hint = (
            "a design file (netlist.pb.txt, bookshelf .aux, floorplan .block), a folder with netlist.pb.txt and "
            "initial.plc, or a recipe such as"
        )
        raise no_instance(sets, name, f"{hint} 'tiles:rows=4,columns=4,seed=1'")
    count = int(marked(chip).sum())
    if count and not keep_fixed:
        announce(
            f"{name}: {count} macros that are marked /FIXED are placed all the same, as benchmarks of macros have it; "
            "-O keep_fixed=true leaves them where they are."
        )
    chip = with_fixed(chip) if count and keep_fixed else chip
    return with_grid(chip, grid) if grid else chip


def _folder(name: str) -> Path | None:
    """The netlist in a folder that is one design, None for any other word."""
    return design_in(Path(name)) if len(name) < 1024 and "\0" not in name and Path(name).is_dir() else None


def is_design(name: str, head: bytes = b"") -> bool:
    """Whether this is a recipe of a chip, a design file by its ending, or a folder that holds one design.

    A `.txt` must hold nodes of a netlist.
    """
    if _folder(name) is not None:
        return True
    plain = name.removesuffix(".gz").lower()
    if plain.endswith(".txt"):
        return plain.endswith(".pb.txt") or HEAD.search(head) is not None
    return plain.endswith(ENDINGS) or is_recipe(name)
