"""Placement designs in the UCLA bookshelf format (ISPD98/ISPD02 mixed-size, ICCAD04, ISPD2005, ISPD2006).

A design is five files: `.nodes` (sizes), `.nets` (pins), `.pl` (lower left corners), `.scl` (rows) and, if nets have
weights, `.wts`; an `.aux` file may name them. Any may be gzipped. Format: the bookshelf pages of U. Michigan (GSRC).

Nodes taller than a row are HARD macros, whether marked `terminal` or not (in ISPD2005 the fixed terminals are the
macros that placers of macros place); other terminals and every `terminal_NI` are ports, the rest cells. Ports are
fixed; which nodes the `.pl` marks `/FIXED` is kept, for `keep_fixed` holds such macros, and a `.pl` says it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from sysgym.chip_placement.formats.bookshelf_parts import (
    Nets,
    Nodes,
    lines_of,
    numbers_of,
    parse_nets,
    parse_nodes,
    parse_scl,
    parse_wts,
    unexpected,
)
from sysgym.chip_placement.formats.netlist import CELL, HARD, ORIENTATIONS, PIN, PORT, Netlist, bad_orientation
from sysgym.chip_placement.formats.plc import MARKS, Canvas, Placement
from sysgym.chip_placement.geometry.macros import positions
from sysgym.core.data import read_text
from sysgym.core.errors import UsageError, shortened
from sysgym.core.problem import Array

PARTS = ("nodes", "nets", "pl", "scl")
_TURNED = ORIENTATIONS.index("E")  # from here on width and height are swapped


def read_bookshelf(path: str | Path) -> tuple[Netlist, Canvas, Placement]:
    """Netlist, canvas and positions of the design that `path` belongs to: an `.aux` file or any part of the design.

    UsageError if a part is missing or damaged.
    """
    path = Path(path)
    sources = _from_aux(path) if part_of(path) == "aux" else _siblings(path)
    texts = {part: read_text(file) for part, file in sources.items()}
    return parse_bookshelf(texts, path.name.split(".")[0], sources)


def part_of(path: Path) -> str:
    """Which part of a design a file is by its ending, `.gz` apart: "nodes" of `ibm01.nodes.gz`."""
    return path.name.removesuffix(".gz").rpartition(".")[2].lower()


def _siblings(path: Path) -> dict[str, Path]:
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    found = {part: _plain_or_gzip(path, f"{stem}.{part}") for part in PARTS}
    weights = [file for file in (path.parent / f"{stem}.wts", path.parent / f"{stem}.wts.gz") if file.is_file()]
    return found | {"wts": weights[0]} if weights else found


def _from_aux(path: Path) -> dict[str, Path]:
    words = [word for word in read_text(path).partition(":")[2].split() if part_of(Path(word)) in (*PARTS, "wts")]
    found = {part_of(Path(word)): _plain_or_gzip(path, word) for word in words}
    for part in PARTS:
        if part not in found:
            raise UsageError(
                f"{path} line 1: names no .{part} file; expected 'RowBasedPlacement : a.nodes a.nets a.wts a.pl a.scl'."
            )
    return found


def _plain_or_gzip(beside: Path, name: str) -> Path:
    if Path(name).name != name.removeprefix("./"):  # whoever opens a design opens its folder, and no other
        raise UsageError(f"{beside} names the file {shortened(name, 200)!r}; the parts of a design must lie beside it.")
    for file in (beside.parent / name, beside.parent / f"{name}.gz"):
        if file.is_file():
            return file
    raise UsageError(f"{beside} is one part of a bookshelf design; {name} (or {name}.gz) must lie beside it.")


def parse_bookshelf(
    texts: Mapping[str, str], name: str, sources: Mapping[str, str | Path] | None = None
) -> tuple[Netlist, Canvas, Placement]:
    """As `read_bookshelf`, from the texts of "nodes", "nets", "pl", "scl" and perhaps "wts"."""
    named = {part: f"{name}.{part}" for part in texts} | dict(sources or {})
    nodes = parse_nodes(texts["nodes"], named["nodes"])
    canvas, row_height = parse_scl(texts["scl"], named["scl"])
    nets = parse_nets(texts["nets"], nodes, named["nets"])
    weight = np.ones(len(nets.ptr) - 1)
    if "wts" in texts:
        weight = parse_wts(texts["wts"], nodes, nets, named["wts"])
    netlist = assemble(name, nodes, nets, weight, row_height)
    placement = parse_pl(texts["pl"], netlist, canvas, named["pl"])
    if not placement.placed.all():
        first = netlist.names[int(np.flatnonzero(~placement.placed)[0])]
        raise UsageError(f"{named['pl']} gives {first!r} no position; it must list every node of {named['nodes']}.")
    px, py = positions(netlist, placement)
    return replace(netlist, x=px, y=py, orientation=placement.orientation), canvas, placement


def assemble(name: str, nodes: Nodes, nets: Nets, weight: Array, row_height: float) -> Netlist:
    """A netlist without positions: the nodes of the file, then a PIN for every pin on a macro or with an offset."""
    kind = np.full(len(nodes.width), CELL, np.int8)
    kind[nodes.terminal] = PORT
    kind[(nodes.height > row_height) & ~nodes.overlapping] = HARD
    owner = nets.node
    own = (kind[owner] == HARD) | (nets.x_offset != 0) | (nets.y_offset != 0)
    made = int(own.sum())
    pins = owner.copy()
    pins[own] = len(kind) + np.arange(made)
    nth: dict[int, int] = {}
    names = list(nodes.index)
    for at in owner[own].tolist():
        nth[at] = nth.get(at, -1) + 1
        names.append(f"{names[at]}.p{nth[at]}")
    if len(set(names)) != len(names):
        raise UsageError(f"design {name!r} has nodes named as its pins are named here (node.p0); rename those nodes.")
    count, zero = len(kind), np.zeros(made)
    return Netlist(
        name=name, kind=np.r_[kind, np.full(made, PIN, np.int8)], width=np.r_[nodes.width, zero],
        height=np.r_[nodes.height, zero], x=np.zeros(count + made), y=np.zeros(count + made),
        orientation=np.zeros(count + made, np.int8), parent=np.r_[np.arange(count, dtype=np.int32), owner[own]],
        x_offset=np.r_[np.zeros(count), nets.x_offset[own]], y_offset=np.r_[np.zeros(count), nets.y_offset[own]],
        ptr=nets.ptr, pins=pins, weight=weight, names=tuple(names),
    )  # fmt: skip


def parse_pl(text: str, netlist: Netlist, canvas: Canvas, source: str | Path = "pl") -> Placement:
    """Positions of the nodes that a `.pl` file lists, centres relative to `canvas`; `placed` is false for others.

    Lines are `name x y [: orientation] [/FIXED]`. UsageError names the line that is wrong.
    """
    index = {name: i for i, name in enumerate(netlist.names) if netlist.kind[i] != PIN}
    count = len(netlist.kind)
    x, y = np.zeros(count), np.zeros(count)
    orientation, placed = np.zeros(count, np.int8), np.zeros(count, bool)
    facings, marks = {word: i for i, word in enumerate(ORIENTATIONS)}, np.zeros(count, np.int8)
    form = "name x y : orientation [/FIXED | /FIXED_NI]"
    for number, words in lines_of(text):
        at = index.get(words[0])
        if at is None:
            raise UsageError(f"{source} line {number}: {words[0]!r} is no node of {netlist.name}.")
        if placed[at]:
            raise UsageError(f"{source} line {number}: {words[0]!r} has a position already.")
        rest = [word for word in words[3:] if word not in MARKS]
        if len(rest) > 1 or len(words) - len(rest) > 4:
            raise unexpected(words, number, source, form)
        if rest and rest[0] not in facings:
            raise bad_orientation(rest[0], f"{source} line {number}: {words[0]!r}")
        marks[at] = next((MARKS.index(word) for word in words[3:] if word in MARKS), 0)
        x[at], y[at] = numbers_of(words, 1, number, source, form)
        orientation[at], placed[at] = facings[rest[0]] if rest else 0, True
    width, height = _extent(netlist, orientation)
    x += width / 2 - canvas.origin[0]
    y += height / 2 - canvas.origin[1]
    parent = netlist.parent
    fixed = (netlist.kind == PORT)[parent]
    return Placement(x[parent], y[parent], orientation[parent], placed[parent], fixed, marks[parent])


def _extent(netlist: Netlist, orientation: Array) -> tuple[Array, Array]:
    """Widths and heights as the nodes stand."""
    turned = orientation >= _TURNED
    return np.where(turned, netlist.height, netlist.width), np.where(turned, netlist.width, netlist.height)


def format_pl(netlist: Netlist, canvas: Canvas, placement: Placement, plain: bool = False) -> str:
    """A `.pl` file of the placed nodes, lower left corners in the coordinates of the design's files.

    Nodes are marked `/FIXED` as the design's own file marks them, or where it has no marks if they are fixed. `plain`
    leaves out the header, orientations and marks: `name x y`, as floorplanning tools write it.
    """
    width, height = _extent(netlist, placement.orientation)
    left = placement.x - width / 2 + canvas.origin[0]
    low = placement.y - height / 2 + canvas.origin[1]
    lines = [] if plain else ["UCLA pl 1.0", ""]
    for at in np.flatnonzero(placement.placed & (netlist.kind != PIN)):
        line = f"{netlist.names[at]} {left[at]:.12g} {low[at]:.12g}"
        mark = MARKS[int(placement.fixed[at]) if placement.marks is None else placement.marks[at]]
        lines.append(line if plain else f"{line} : {ORIENTATIONS[placement.orientation[at]]} {mark}".rstrip())
    return "\n".join(lines) + "\n"
