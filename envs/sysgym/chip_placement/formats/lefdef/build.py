"""From a design and its library to a netlist, a canvas and positions.

Macros of class BLOCK are hard macros; others are standard cells, of which those on no net (taps, fillers) are left out,
as are macros of class COVER, PAD and RING, supply nets and pins, and ports without a place. All of it is announced.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sysgym.chip_placement.formats.lefdef.areas import Rectangle, box_of, clipped, core_of, outside, rectangles_of
from sysgym.chip_placement.formats.lefdef.design import Component, Design, Net, read_def
from sysgym.chip_placement.formats.lefdef.lef import SUPPLY, Library, Master, read_lef
from sysgym.chip_placement.formats.lefdef.source import NOISE, Source
from sysgym.chip_placement.formats.lefdef.words import Words
from sysgym.chip_placement.formats.netlist import CELL, HARD, PIN, PORT, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement, check_canvas
from sysgym.chip_placement.geometry.macros import positions
from sysgym.core.data import decompress, read_file
from sysgym.core.errors import UsageError, announce, reading

BLOCK, IGNORED = "BLOCK", ("COVER", "PAD", "RING")  # classes of masters
_QUARTER = 4  # orientations from E on are turned by a quarter


class Reading(NamedTuple):
    """How a DEF is read."""

    lef: tuple[str, ...] = ()  # files of the library
    area: str = "die"  # what the canvas is: "die", or "core", the box of the rows
    missing: str = "refuse"  # components whose master no LEF defines: "refuse", or count as "cells" without a size


USUAL = Reading()


class Built(NamedTuple):
    """What a DEF says, as chip placement has it."""

    netlist: Netlist
    canvas: Canvas  # its grid is one cell: nothing in a DEF says which it is
    placement: Placement
    source: Source


def plain(name: str) -> str:
    """A name without the backslashes that DEF puts before brackets and dividers, as netlists in protobuf have it."""
    return name.replace("\\", "")


def shown(names: Iterable[str], most: int = 3) -> str:
    """The first of some names, and how many there are more."""
    listed = list(names)
    return ", ".join(repr(name) for name in listed[:most]) + (
        f" and {len(listed) - most} more" if len(listed) > most else ""
    )


def counted(count: int, what: str) -> str:
    """A number and what it counts.

    >>> counted(1, "port"), counted(2, "port")
    ('1 port', '2 ports')
    """
    return f"{count} {what}" + "s" * (count != 1)


def read_design_exchange(path: str | Path, how: Reading) -> Built:
    """The netlist, canvas and positions of a DEF with its LEF files; UsageError where a file is damaged or lacking."""
    path = Path(path)
    content = decompress(str(path), read_file(path))
    design, words = read_def(content, path)
    if not how.lef:
        masters = sorted({component.master for component in design.components})
        raise UsageError(
            f"{path} says where its {len(design.components)} components stand, not how large they are: give the LEF "
            f"files that define {shown(masters) or 'its masters'} by the option lef, again for each or with commas."
        )
    library = read_lef(how.lef)
    with reading(path):
        return build(design, library, how, words, content)


def build(design: Design, library: Library, how: Reading, words: Words, content: bytes) -> Built:
    """As `read_design_exchange`, from what was read; `content` are the bytes of the DEF."""
    source = str(words.source)
    if not design.units or not design.die:
        lacks = "DIEAREA" if design.units else "UNITS DISTANCE MICRONS"
        raise UsageError(f"{source} has no {lacks}, which chip placement needs; write the floorplan into the DEF too.")
    _check_masters(design, library, how, source)
    _tell_roundings(design, library, source)
    area = _area(design, library, how, source)
    parts = _Parts(design, library, words, area)
    netlist = parts.netlist()
    if not netlist.nets:
        announce(f"{source} joins nothing by nets: wires cost nothing, density and the room for routing count alone.")
    canvas = Canvas(
        (area[2] - area[0]) / design.units, (area[3] - area[1]) / design.units, 1, 1,
        origin=(area[0] / design.units, area[1] / design.units), blockages=_blockages(design, area, source),
        database=design.units, step=_grid_of(library, design.units),
    )  # fmt: skip
    canvas = check_canvas(canvas, source)
    placement = parts.placement(netlist)
    x, y = positions(netlist, placement)
    found = replace(netlist, x=x, y=y, orientation=placement.orientation)
    return Built(found, canvas, placement, parts.source(content, library, area))


def _check_masters(design: Design, library: Library, how: Reading, source: str) -> None:
    """UsageError for components whose master no LEF defines, unless they may be cells; announced then."""
    counts: dict[str, int] = {}
    for component in design.components:
        if component.master not in library.masters:
            counts[component.master] = counts.get(component.master, 0) + 1
    if not counts:
        return
    total, many = sum(counts.values()), len(counts)
    said = "master is" if many == 1 else f"{many} masters are"
    named = f"{counted(total, 'component')} whose {said} in no LEF file given"
    if how.missing == "cells":
        announce(f"{source} has {named} ({shown(counts)}), taken as standard cells without a size.")
        return
    raise UsageError(
        f"{source} has {named}: {shown(counts)}; give the LEF that defines {'it' if many == 1 else 'them'} by the "
        "option lef, or let them count as standard cells without a size by missing_masters=cells."
    )


def _area(design: Design, library: Library, how: Reading, source: str) -> Rectangle:
    """The canvas in database units."""
    if how.area == "core":
        return core_of(design.rows, library.sites, design.units, source)
    return box_of(design.die)


def _blockages(design: Design, area: Rectangle, source: str) -> tuple[tuple[float, float, float, float, float], ...]:
    """What macros must leave free, relative to the corner of the canvas in microns.

    What only standard cells must leave free is announced.
    """
    soft = [item for item in design.blockages if item.kind]
    if soft:
        kinds = "/".join(sorted({item.kind for item in soft}))
        announce(
            f"{source}: left out: {counted(len(soft), f'{kinds} blockage')}; they bind standard cells and no macro."
        )
    for section, count in design.left_out.items():
        if count:
            announce(f"{source}: left out: {section} ({count}); they bind no macro here.")
    areas = [part for item in design.blockages if not item.kind for part in rectangles_of(item.points, "a blockage")]
    areas += outside(design.die, "DIEAREA")
    kept = [part for part in (clipped(area_, area) for area_ in areas) if part is not None]
    x, y = area[0], area[1]
    return tuple(
        ((x0 - x) / design.units, (y0 - y) / design.units, (x1 - x) / design.units, (y1 - y) / design.units, 1.0)
        for x0, y0, x1, y1 in kept
    )


class _Parts:
    """The nodes and nets of a design while they are put together: ports, then macros and cells, then pins of macros."""

    def __init__(self, design: Design, library: Library, words: Words, area: Rectangle) -> None:
        self.design, self.library, self.words, self.area = design, library, words, area
        self.nothing = Master()
        self.by_name = {component.name: component for component in design.components}
        self.masters = {name: library.masters.get(name, self.nothing) for name in {c.master for c in design.components}}
        self.signals = [net for net in design.nets if net.use not in SUPPLY]
        self.ports = {port.name: port for port in design.ports}
        self.hard = [c for c in design.components if self.masters[c.master].kind == BLOCK]
        on_nets = {component for net in self.signals for component, _ in net.pins}
        others = [c for c in design.components if self.masters[c.master].kind not in (BLOCK, *IGNORED)]
        self.cells = [c for c in others if c.name in on_nets]
        self.standing = [port for port in design.ports if port.place is not None and port.use not in SUPPLY]
        self.size = {name: _units_of(master, design.units) for name, master in self.masters.items()}
        self._tell(len(others) - len(self.cells))

    def _tell(self, loose: int) -> None:
        """Announce what is left out."""
        ignored = sum(self.masters[c.master].kind in IGNORED for c in self.design.components)
        astray = sum(port.place is None and port.use not in SUPPLY for port in self.design.ports)
        said = [
            counted(count, what) + more
            for count, what, more in (
                (ignored, "component", f" of class {', '.join(IGNORED[:-1])} or {IGNORED[-1]}"),
                (loose, "standard cell", " on no net (taps, fillers and the like)"),
                (astray, "port", " without a place yet"),
            )
            if count
        ]
        if said:
            announce(f"{self.words.source}: left out: {', '.join(said)}.")
        loose = sum(cell.place is None for cell in self.cells)
        if loose:
            announce(
                f"{self.words.source}: {loose} of {counted(len(self.cells), 'standard cell')} without a place yet "
                "stand in the middle of the canvas."
            )

    def netlist(self) -> Netlist:
        """The netlist, facing N and without positions."""
        units, bodies = self.design.units, [*self.hard, *self.cells]
        nodes = [port.name for port in self.standing] + [item.name for item in bodies]
        index = {(number < len(self.standing), name): number for number, name in enumerate(nodes)}
        pins = _Pins(self, index, len(nodes))
        ptr, members, weight = pins.nets()
        made = len(pins.parent)
        count = len(nodes) + made
        size = np.zeros((count, 2))
        for number, item in enumerate(bodies, len(self.standing)):
            size[number] = self.size[item.master]
        kind = np.full(count, PIN, np.int8)
        kind[: len(nodes)] = np.repeat([PORT, HARD, CELL], [len(self.standing), len(self.hard), len(self.cells)])
        offset = np.zeros((count, 2))
        offset[len(nodes) :] = np.array(pins.offset).reshape(-1, 2)
        return Netlist(
            name=self.design.name or "design", kind=kind, width=size[:, 0] / units, height=size[:, 1] / units,
            x=np.zeros(count), y=np.zeros(count), orientation=np.zeros(count, np.int8),
            parent=np.r_[np.arange(len(nodes)), np.array(pins.parent, np.int64)].astype(np.int32),
            x_offset=offset[:, 0].copy(), y_offset=offset[:, 1].copy(), ptr=np.array(ptr, np.int64),
            pins=np.array(members, np.int32), weight=np.array(weight, float),
            names=_names(nodes, len(self.standing), pins.names),
        )  # fmt: skip

    def placement(self, netlist: Netlist) -> Placement:
        """Where the file puts all nodes; what has no place stands in the middle of the canvas."""
        left, low, right, high = self.area
        rows: list[tuple[float, float, int, bool, bool]] = []
        for port in self.standing:
            assert port.place is not None
            rows.append((port.place[0], port.place[1], 0, True, True))
        for item in (*self.hard, *self.cells):
            if item.place is None:
                rows.append(((left + right) / 2, (low + high) / 2, 0, False, False))
                continue
            wide, tall = self.size[item.master][:: -1 if item.orientation >= _QUARTER else 1]
            fixed = item.status in ("FIXED", "COVER")
            rows.append((item.place[0] + wide / 2, item.place[1] + tall / 2, item.orientation, True, fixed))
        x, y, facing, placed, fixed_ = np.array(rows, float).reshape(-1, 5).T
        at, units = netlist.parent, self.design.units
        return Placement(
            ((x - left) / units)[at], ((y - low) / units)[at], facing.astype(np.int8)[at],
            (placed > 0)[at], (fixed_ > 0)[at],
        )  # fmt: skip

    def source(self, content: bytes, library: Library, area: Rectangle) -> Source:
        """What writing needs."""
        masters = [self.masters[item.master] for item in self.hard]
        return Source(
            path=str(self.words.source), content=content, units=self.design.units, area=area,
            grid=_grid_of(library, self.design.units), names=tuple(item.name for item in self.hard),
            size=np.array([self.size[item.master] for item in self.hard], np.int64).reshape(-1, 2),
            turns=np.array(["R90" in master.symmetry for master in masters], bool),
            halos=np.array([item.halo for item in self.hard], np.int64).reshape(-1, 4),
            rows=np.arange(len(self.hard)),
        )  # fmt: skip


def _grid_of(library: Library, units: int) -> int:
    """Steps of the manufacturing grid in database units, the least number that is whole, 1 where the grid is finer."""
    asked = library.grid * units
    found = next((many * asked for many in range(1, 1001) if abs(many * asked - round(many * asked)) < NOISE), asked)
    return max(1, round(found))


def _tell_roundings(design: Design, library: Library, source: str) -> None:
    """Announce macros whose sizes, and a manufacturing grid whose steps, are no whole database units of the design."""
    used = {component.master for component in design.components} & set(library.masters)
    rough = sorted(
        name for name in used
        if library.masters[name].kind == BLOCK
        and any(abs(side * design.units - round(side * design.units)) > NOISE for side in library.masters[name].size)
    )  # fmt: skip
    if rough:
        announce(
            f"{source}: the sizes of {shown(rough)} are no whole numbers of its database units, 1/{design.units} of a "
            "micron; they count as the next larger ones."
        )
    asked, grid = library.grid * design.units, _grid_of(library, design.units)
    if asked and abs(asked - grid) > NOISE:
        announce(
            f"{source}: a manufacturing grid of {library.grid:g} microns is no whole number of its database units, "
            f"1/{design.units} of a micron; macros stand on every {grid / design.units:g} microns."
        )


def _units_of(master: Master, units: int) -> tuple[int, int]:
    """Width and height of a master in whole database units, the next larger ones."""
    return math.ceil(master.size[0] * units - NOISE), math.ceil(master.size[1] * units - NOISE)


def _names(nodes: list[str], ports: int, pins: list[tuple[int, str]]) -> tuple[str, ...]:
    """Names of all nodes as netlists in protobuf have them, each of them once."""
    found = [plain(name) for name in nodes]
    if len(set(found[ports:])) < len(found) - ports:
        found = list(nodes)  # names that differ by backslashes alone
    found += [f"{found[number]}/{plain(pin)}" for number, pin in pins]
    taken = set(found[ports : len(nodes)])
    for number in (*range(ports), *range(len(nodes), len(found))):
        name, n = found[number], 1
        while found[number] in taken:  # a port may be named as a component is
            n += 1
            found[number] = f"{name}~{n}"
        taken.add(found[number])
    return tuple(found)


class _Pins:
    """The pins of hard macros, as far as nets touch them."""

    def __init__(self, parts: _Parts, index: dict[tuple[bool, str], int], first: int) -> None:
        self.parts, self.index, self.first = parts, index, first
        self.number: dict[tuple[str, str], int] = {}
        self.parent: list[int] = []
        self.offset: list[tuple[float, float]] = []
        self.names: list[tuple[int, str]] = []

    def nets(self) -> tuple[list[int], list[int], list[float]]:
        """Where each net of two nodes or more begins and ends, the nodes on it, its driver first, and its weight."""
        ptr, members, weight = [0], list[int](), list[float]()
        for net in self.parts.signals:
            found, driver = list[int](), -1
            for component, pin in net.pins:
                node, drives = self.node(net, component, pin)
                if node is None:
                    continue
                if drives and driver < 0:
                    driver = len(found)
                found.append(node)
            if len(found) < 2:
                continue
            if driver > 0:
                found.insert(0, found.pop(driver))
            members += found
            ptr.append(len(members))
            weight.append(net.weight)
        return ptr, members, weight

    def node(self, net: Net, component: str, pin: str) -> tuple[int | None, bool]:
        """The node of a pin, None where it is left out, and whether it drives its net; UsageError if there is none."""
        parts = self.parts
        if component == "PIN":
            port = parts.ports.get(pin)
            if port is None:
                raise parts.words.wrong(net.at, f"net {net.name!r} names the port {pin!r}, which PINS lacks")
            return self.index.get((True, pin)), port.direction == "INPUT"
        item = parts.by_name.get(component)
        if item is None:
            raise parts.words.wrong(net.at, f"net {net.name!r} names the component {component!r}, which is missing")
        master = parts.masters[item.master]
        node = self.index.get((False, component))
        if master is parts.nothing or node is None:
            return node, False
        found = master.pins.get(pin)
        if found is None:
            pin = plain(pin)
            found = master.pins.get(pin)
        if found is None:
            raise parts.words.wrong(
                net.at,
                f"net {net.name!r} names the pin {pin!r} of {component!r}, which its master {item.master!r} lacks",
            )
        if found.use in SUPPLY:
            return None, False
        drives = found.direction == "OUTPUT"
        return (self.own(item, pin, node, master) if master.kind == BLOCK else node), drives

    def own(self, item: Component, pin: str, node: int, master: Master) -> int:
        """The node of a hard macro's pin, made if it is new."""
        key = item.name, pin
        number = self.number.get(key)
        if number is None:
            number = self.number[key] = self.first + len(self.parent)
            offset = master.offset(pin)
            assert offset is not None
            self.parent.append(node)
            self.offset.append(offset)
            self.names.append((node, pin))
        return number
