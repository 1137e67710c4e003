"""Floorplanning instances of MCNC and GSRC as pairs `*.block`, `*.nets` (blocks of given size, terminals at the rim).

`.block`: `Outline: W H`, `NumBlocks: n`, `NumTerminals: t`, then `name width height` and `name terminal x y` lines.
`.nets`: `NumNets: m`, then `NetDegree: d` and d names. Source: the copies in EDA-AI (FlexPlanner) of both suites.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sysgym.chip_placement.formats.bookshelf_parts import check_degree, count_of, lines_of, numbers_of, without_empty
from sysgym.chip_placement.formats.netlist import HARD, PORT, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.core.data import read_text
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array

CELLS = 64  # of the grid for placing, on the longer side


def read_floorplan(path: str | Path, cells: int = CELLS) -> tuple[Netlist, Canvas, Placement]:
    """Netlist, canvas and positions of an instance from its `.block` or `.nets` file, the other one beside it.

    The outline is the canvas, its grid about square with `cells` cells on the longer side. Blocks are HARD macros
    not placed yet, in the middle of the canvas until then; terminals are fixed ports, some of them beyond the
    outline; nets join the centres of blocks and the terminals. UsageError if a file is missing or damaged.
    """
    path = Path(path)
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    files = []
    for name in (f"{stem}.block", f"{stem}.nets"):
        found = [file for file in (path.parent / name, path.parent / f"{name}.gz") if file.is_file()]
        if not found:
            raise UsageError(f"{path} is one half of a floorplanning instance; {name} must lie beside it.")
        files.append(found[0])
    return parse_floorplan(read_text(files[0]), read_text(files[1]), stem, cells, (files[0], files[1]))


def parse_floorplan(
    block: str, nets: str, name: str, cells: int = CELLS, sources: tuple[str | Path, str | Path] = ("block", "nets")
) -> tuple[Netlist, Canvas, Placement]:
    """As `read_floorplan`, from the texts of both files."""
    (width, height), index, values, terminal = _parse_block(block, sources[0])
    ptr, pins = _parse_nets(nets, index, sources[1])
    side = max(width, height) / cells
    canvas = Canvas(width, height, max(1, round(width / side)), max(1, round(height / side)))
    numbers, port = np.array(values).reshape(-1, 2), np.array(terminal, bool)
    size, corner = np.where(port[:, None], 0.0, numbers), np.where(port[:, None], numbers, (width / 2, height / 2))
    count = len(index)
    netlist = Netlist(
        name=name, kind=np.where(port, PORT, HARD).astype(np.int8), width=size[:, 0].copy(), height=size[:, 1].copy(),
        x=corner[:, 0].copy(), y=corner[:, 1].copy(), orientation=np.zeros(count, np.int8),
        parent=np.arange(count, dtype=np.int32), x_offset=np.zeros(count), y_offset=np.zeros(count),
        ptr=ptr, pins=np.array(pins, np.int32), weight=np.ones(len(ptr) - 1), names=tuple(index),
    )  # fmt: skip
    placement = Placement(netlist.x.copy(), netlist.y.copy(), netlist.orientation.copy(), port, port.copy())
    return netlist, canvas, placement


def _parse_block(
    text: str, source: str | Path
) -> tuple[tuple[float, float], dict[str, int], list[list[float]], list[bool]]:
    """The outline, the index of each name, the size of each block or position of each terminal, which are terminals."""
    outline = (0.0, 0.0)
    expected: dict[str, int] = {}
    index: dict[str, int] = {}
    values: list[list[float]] = []
    terminal: list[bool] = []
    for number, words in lines_of(text):
        if words[0] == "Outline":
            width, height = numbers_of(words, 1, number, source, "Outline: width height")
            outline = (width, height)
        elif words[0] in ("NumBlocks", "NumTerminals"):
            expected[words[0]] = count_of(words, number, source)
        else:
            is_terminal = len(words) > 1 and words[1] == "terminal"
            if index.setdefault(words[0], len(values)) != len(values):
                raise UsageError(f"{source} line {number}: a second block or terminal is named {words[0]!r}.")
            form = "name terminal x y" if is_terminal else "name width height"
            values.append(numbers_of(words, 1 + is_terminal, number, source, form))
            terminal.append(is_terminal)
            if not is_terminal and min(values[-1]) <= 0:
                raise UsageError(f"{source} line {number}: block {words[0]!r} has no area.")
    if min(outline) <= 0:
        raise UsageError(f"{source} names no canvas; expected a line 'Outline: width height'.")
    for key, count in (("NumBlocks", terminal.count(False)), ("NumTerminals", terminal.count(True))):
        if expected.get(key, -1) != count:
            raise UsageError(f"{source} lists {count}, its {key} says {expected.get(key, 'nothing')}; it is damaged.")
    return outline, index, values, terminal


def _parse_nets(text: str, index: dict[str, int], source: str | Path) -> tuple[Array, list[int]]:
    """Where each net begins and ends, and the nodes on them."""
    expected, degree, begun = -1, 0, 0
    ptr: list[int] = []
    pins: list[int] = []
    for number, words in lines_of(text):
        if words[0] == "NumNets":
            expected = count_of(words, number, source)
        elif words[0] == "NetDegree":
            check_degree(ptr, len(pins), degree, begun, source)
            degree, begun = count_of(words, number, source), number
            ptr.append(len(pins))
        elif words[0] not in index or not ptr:
            raise UsageError(f"{source} line {number}: {words[0]!r} is no block or terminal within a net.")
        else:
            pins.append(index[words[0]])
    check_degree(ptr, len(pins), degree, begun, source)
    if expected != len(ptr):
        raise UsageError(f"{source} lists {len(ptr)} nets, its NumNets says {expected}; it is damaged.")
    return without_empty(np.array([*ptr, len(pins)], np.int64), source)[0], pins
