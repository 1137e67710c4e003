"""Floorplans in the UCSC format of GSRC, `UCSC blocks 1.0`: `.blocks`, `.nets` and, for terminals, `.pl`.

`.blocks`: `name hardrectilinear 4 (x, y) (x, y) (x, y) (x, y)`, `name softrectangular area least most` (width over
height) or `name terminal`. `.nets` and `.pl` are those of bookshelf; pins may be `%` of the block's size away from its
centre. No file names the canvas: it is guessed, and announced. Format: the GSRC bookshelf, slot "Block packing".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sysgym.chip_placement.formats.bookshelf import assemble, parse_pl
from sysgym.chip_placement.formats.bookshelf_parts import (
    Nodes,
    check_counts,
    count_of,
    lines_of,
    numbers_of,
    parse_nets,
    parse_wts,
    unexpected,
)
from sysgym.chip_placement.formats.netlist import HARD, PORT, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement, square_side
from sysgym.chip_placement.geometry.macros import positions
from sysgym.core.data import read_text
from sysgym.core.errors import UsageError, announce
from sysgym.core.problem import Array

CELLS = 64  # of the grid for placing, on the longer side
COUNTS = {"numsoftrectangularblocks": "soft", "numhardrectilinearblocks": "hard", "numterminals": "terminal"}
NAMES = {"soft": "NumSoftRectangularBlocks", "hard": "NumHardRectilinearBlocks", "terminal": "NumTerminals"}
FORM = "name hardrectilinear 4 (x, y) ... | name softrectangular area least most | name terminal"
_CORNER = re.compile(r"\(\s*([^\s,()]+)\s*[,\s]\s*([^\s,()]+)\s*\)")


@dataclass
class Blocks:
    """The content of a `.blocks` file: sizes by name, 0 x 0 for terminals."""

    sizes: dict[str, tuple[float, float]]
    terminals: set[str]
    soft: int  # blocks that have an area and a range of shapes


def beside(path: Path, part: str) -> Path | None:
    """The file of another part of the same design, plain or gzipped; None if there is none."""
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    files = (path.parent / f"{stem}.{part}", path.parent / f"{stem}.{part}.gz")
    return next((file for file in files if file.is_file()), None)


def read_blocks(path: str | Path) -> tuple[Netlist, Canvas, Placement]:
    """Netlist, canvas and positions of a design from any of its files; UsageError if one is missing or damaged."""
    path = Path(path)
    found = {part: beside(path, part) for part in ("blocks", "nets", "pl", "wts")}
    for part in ("blocks", "nets"):
        if found[part] is None:
            stem = path.name.removesuffix(".gz").rpartition(".")[0]
            raise UsageError(f"{path} is one part of a UCSC floorplan; {stem}.{part} (or .gz) must lie beside it.")
    texts = {part: read_text(file) for part, file in found.items() if file is not None}
    sources = {part: file for part, file in found.items() if file is not None}
    return parse_blocks(texts, path.name.split(".")[0], sources)


def parse_blocks(
    texts: dict[str, str], name: str, sources: dict[str, Path] | None = None
) -> tuple[Netlist, Canvas, Placement]:
    """As `read_blocks`, from the texts of "blocks", "nets" and perhaps "pl" and "wts"."""
    named = {part: Path(f"{name}.{part}") for part in (*texts, "pl")} | (sources or {})
    blocks = _parse(texts["blocks"], named["blocks"])
    if blocks.soft:
        announce(
            f"{named['blocks']}: {blocks.soft} soft blocks are read as hard ones, each of the shape nearest to a "
            "square that its range allows."
        )
    width, height = np.array(list(blocks.sizes.values())).reshape(-1, 2).T
    terminal = np.array([block in blocks.terminals for block in blocks.sizes], bool)
    index = {block: i for i, block in enumerate(blocks.sizes)}
    nodes = Nodes(index, width.copy(), height.copy(), terminal, np.zeros(len(terminal), bool))
    nets = parse_nets(texts["nets"], nodes, named["nets"])
    weight = parse_wts(texts["wts"], nodes, nets, named["wts"]) if "wts" in texts else np.ones(len(nets.ptr) - 1)
    netlist = assemble(name, nodes, nets, weight, row_height=0.0)
    placement = parse_pl(texts.get("pl", ""), netlist, Canvas(1.0, 1.0, 1, 1), named["pl"])
    astray = np.flatnonzero((netlist.kind == PORT) & ~placement.placed)
    if len(astray):
        raise UsageError(
            f"{named['pl']} gives the terminal {netlist.names[astray[0]]!r} no position; it must list all."
        )
    canvas = _canvas(netlist, placement, named["blocks"])
    return _started(netlist, canvas, placement)


def _parse(text: str, source: Path) -> Blocks:
    expected: dict[str, int] = {}
    found = Blocks({}, set(), 0)
    for number, words in lines_of(text):
        if words[0] == "UCSC":
            continue
        if words[0].lower() in COUNTS:
            expected[NAMES[COUNTS[words[0].lower()]]] = count_of(words, number, source)
            continue
        if words[0] in found.sizes:
            raise UsageError(f"{source} line {number}: a second block or terminal is named {words[0]!r}.")
        kind = words[1].lower() if len(words) > 1 else ""
        if kind == "terminal":
            found.terminals.add(words[0])
            found.sizes[words[0]] = (0.0, 0.0)
        elif kind == "softrectangular":
            found.sizes[words[0]] = _shaped(words, number, source)
            found.soft += 1
        elif kind == "hardrectilinear":
            found.sizes[words[0]] = _rectangle(words, number, source)
        else:
            raise unexpected(words, number, source, FORM)
    counted = {
        "soft": found.soft, "terminal": len(found.terminals),
        "hard": len(found.sizes) - found.soft - len(found.terminals),
    }  # fmt: skip
    check_counts(expected, {NAMES[key]: count for key, count in counted.items()}, source)
    return found


def _rectangle(words: list[str], number: int, source: Path) -> tuple[float, float]:
    """Width and height of a hard block of four corners."""
    corners = [numbers_of(list(pair), 0, number, source, FORM) for pair in _CORNER.findall(" ".join(words[3:]))]
    if len(words) < 3 or words[2] != str(len(corners)):
        raise unexpected(words, number, source, FORM)
    xs, ys = sorted({x for x, _ in corners}), sorted({y for _, y in corners})
    if len(corners) != 4 or len(xs) != 2 or len(ys) != 2 or len({tuple(corner) for corner in corners}) != 4:
        raise UsageError(
            f"{source} line {number}: block {words[0]!r} is no rectangle; blocks of other shapes are not placed here."
        )
    return xs[1] - xs[0], ys[1] - ys[0]


def _shaped(words: list[str], number: int, source: Path) -> tuple[float, float]:
    """Width and height of a soft block: of the ratio nearest to 1 that it may have."""
    area, least, most = numbers_of(words, 2, number, source, FORM, many=3)
    if not (area > 0 and 0 < least <= most and len(words) == 5):
        raise unexpected(words, number, source, FORM)
    ratio = min(max(1.0, least), most)
    return float(np.sqrt(area * ratio)), float(np.sqrt(area / ratio))


def _canvas(netlist: Netlist, placement: Placement, source: Path) -> Canvas:
    """The box from (0, 0) to the terminals, if the blocks may fit in there, else a square that they fill to 60 %."""
    port, hard = netlist.kind == PORT, netlist.kind == HARD
    if not hard.any():
        raise UsageError(f"{source} holds no block; there is nothing to place.")
    at = np.array([placement.x[port], placement.y[port]])
    low, high = (np.minimum(at.min(axis=1), 0), at.max(axis=1)) if port.any() else (np.zeros(2), np.zeros(2))
    box, largest = high - low, np.array([netlist.width[hard].max(), netlist.height[hard].max()])
    area = float((netlist.width * netlist.height)[hard].sum())
    how = "the box of the terminals"
    if (box < largest).any() or box.prod() < area:
        side = max(square_side(netlist), float(largest.max()))
        box, low, how = np.array([side, side]), np.zeros(2), "a square that the blocks fill to 60 %"
    width, height = box.tolist()
    columns, rows = (max(1, round(CELLS * length / max(width, height))) for length in (width, height))
    announce(
        f"{source}: no file of this format says how large the canvas is; {how}, {width:.6g} x {height:.6g}, is "
        f"guessed, with {columns} x {rows} cells. Give the true one by -O plc=FILE."
    )
    return Canvas(width, height, columns, rows, origin=(float(low[0]), float(low[1])), guessed=True)


def _started(netlist: Netlist, canvas: Canvas, placement: Placement) -> tuple[Netlist, Canvas, Placement]:
    """Positions on the canvas. Blocks that the `.pl` heaps on one spot, or leaves out, are unplaced in its middle."""
    x, y = placement.x - canvas.origin[0], placement.y - canvas.origin[1]
    hard, parent = netlist.kind == HARD, netlist.parent
    corners = np.stack([x - netlist.width / 2, y - netlist.height / 2])[:, hard]
    heaped = hard & (~placement.placed | bool(len(corners.T) > 1 and (corners == corners[:, :1]).all()))
    x[heaped], y[heaped] = canvas.width / 2, canvas.height / 2
    placed: Array = placement.placed & ~heaped
    start = replace(placement, x=x[parent], y=y[parent], placed=placed[parent])
    px, py = positions(netlist, start)
    return replace(netlist, x=px, y=py), canvas, start
