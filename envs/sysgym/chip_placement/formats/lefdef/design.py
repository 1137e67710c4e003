"""Designs in DEF, as the file has them: whole numbers of database units. Source: LEF/DEF 5.8 reference.

Read are DESIGN, UNITS, DIEAREA, ROW, COMPONENTS, PINS, NETS and BLOCKAGES; REGIONS and GROUPS are counted, all else is
passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sysgym.chip_placement.formats.lefdef.words import Words
from sysgym.chip_placement.formats.netlist import ORIENTATIONS, bad_orientation
from sysgym.core.data import as_text
from sysgym.core.errors import announce, reading

Point = tuple[int, int]
PLACED = ("PLACED", "FIXED", "COVER")  # words of a component or port that has a place
LEFT_OUT = ("REGIONS", "GROUPS")  # sections that bear on places and are not read


class Component(NamedTuple):
    """An instance of a master; its place is the lower left corner of its box as it stands."""

    name: str
    master: str
    status: str  # PLACED, FIXED, COVER, UNPLACED, or nothing
    place: Point | None
    orientation: int  # index into ORIENTATIONS
    halo: tuple[int, int, int, int]  # left, bottom, right, top
    at: int  # the place of its name among the words


class Port(NamedTuple):
    """A pin of the design."""

    name: str
    net: str
    direction: str
    use: str
    place: Point | None
    at: int


class Net(NamedTuple):
    """A net and the pins on it, (component, pin) each; the component "PIN" stands for a port."""

    name: str
    pins: list[tuple[str, str]]
    weight: float
    use: str
    at: int


class Row(NamedTuple):
    """A row of sites."""

    site: str
    place: Point
    turned: bool  # by a quarter: the site stands on its side
    sites: Point  # to the right and up
    step: Point | None  # None: from site to site


class Blockage(NamedTuple):
    """An area that a placement must leave free: `points` are two corners, or those of a polygon."""

    kind: str  # "" for a hard one, SOFT, PARTIAL or COMPONENT
    points: list[Point]


@dataclass
class Design:
    """The content of a DEF file."""

    name: str = ""
    units: int = 0  # database units a micron
    die: list[Point] = field(default_factory=list)  # two corners, or those of a polygon
    rows: list[Row] = field(default_factory=list)
    components: list[Component] = field(default_factory=list)
    ports: list[Port] = field(default_factory=list)
    nets: list[Net] = field(default_factory=list)
    blockages: list[Blockage] = field(default_factory=list)
    headers: dict[str, int] = field(default_factory=dict)  # counts as the sections announce them
    left_out: dict[str, int] = field(default_factory=dict)  # entries of LEFT_OUT


def read_def(content: bytes, source: str | Path) -> tuple[Design, Words]:
    """A design from the bytes of a DEF file, and its words; UsageError names the line that is wrong.

    Counts that a section announces and that do not hold are announced; what follows counts.
    """
    text = as_text(source, content)
    with reading(source):
        words = Words(text, source)
        design = _parse(words)
        found: dict[str, list[Any]] = {"COMPONENTS": design.components, "PINS": design.ports, "NETS": design.nets}
        for section, items in found.items():
            said = design.headers.get(section, len(items))
            if said != len(items):
                announce(f"{source} says {section} {said}, but {len(items)} follow; those count.")
    return design, words


def _parse(words: Words) -> Design:
    design = Design()
    sections = {"COMPONENTS": _components, "PINS": _ports, "NETS": _nets, "BLOCKAGES": _blockages}
    skipped = ("PROPERTYDEFINITIONS", "VIAS", "STYLES", "NONDEFAULTRULES", "SPECIALNETS", "FILLS", "SLOTS",
               "SCANCHAINS", "PINPROPERTIES", "IOTIMINGS", "ARRAY", "ASSERTIONS", "CONSTRAINTS")  # fmt: skip
    while words.at < words.count:
        at, word = words.at, words.all[words.at]
        if word in sections:
            design.headers[word] = _count(words)
            sections[word](words, design)
        elif word in LEFT_OUT:
            _count(words)
            design.left_out[word] = sum(1 for _ in words.entries(word))
        elif word in skipped:
            words.leave(word)
        elif word == "BEGINEXT":
            words.at = words.find("ENDEXT", at) + 1
        elif word == "END" and words.all[at + 1] == "DESIGN":
            return design
        else:
            last = words.find(";", at)
            _statement(words, design, word, last)
            words.at = last + 1
    raise words.wrong(words.count, "the file ends before its 'END DESIGN'; it is damaged")


def _count(words: Words) -> int:
    """The number in `SECTION number ;`, which is passed."""
    at = words.at
    if words.all[at + 2] != ";":
        raise words.unexpected(at + 2, f"'{words.all[at]} number ;'")
    words.at = at + 3
    return words.whole(at + 1)


def _statement(words: Words, design: Design, word: str, last: int) -> None:
    """A statement outside of sections, which ends at `last`."""
    at = words.at
    if word == "DESIGN":
        design.name = words.all[at + 1]
    elif word == "UNITS":
        design.units = words.whole(last - 1)
        if design.units < 1:
            raise words.wrong(last - 1, f"{design.units} database units a micron are none")
    elif word == "DIEAREA":
        design.die = words.points(at + 1)
        if len(design.die) < 2:
            raise words.wrong(at, "DIEAREA has fewer than two points")
    elif word == "ROW":
        design.rows.append(_row(words, last))


def _row(words: Words, last: int) -> Row:
    """`ROW name site x y orientation [DO n BY m [STEP x y]] ... ;`."""
    at = words.at
    count: Point = (1, 1)
    step: Point | None = None
    if last > at + 6 and words.all[at + 6] == "DO":
        count = words.whole(at + 7), words.whole(at + 9)
        if words.all[at + 10] == "STEP":
            step = words.whole(at + 11), words.whole(at + 12)
    turned = _facing(words, at + 5) >= ORIENTATIONS.index("E")
    return Row(words.all[at + 2], (words.whole(at + 3), words.whole(at + 4)), turned, count, step)


_FACINGS = {word: number for number, word in enumerate(ORIENTATIONS)}


def _facing(words: Words, at: int) -> int:
    """The orientation at a place."""
    found = _FACINGS.get(words.all[at])
    if found is None:
        raise bad_orientation(words.all[at], words.where(at))
    return found


def _components(words: Words, design: Design) -> None:
    known: set[str] = set()
    every = words.all
    for first, last in words.entries("COMPONENTS"):
        if last < first + 2:
            raise words.unexpected(last, "'- name master ... ;'")
        name = every[first]
        if name in known:
            raise words.wrong(first, f"a second component is named {name!r}")
        known.add(name)
        status, place, orientation, halo = "", None, 0, (0, 0, 0, 0)
        for at in range(first + 2, last):
            if every[at] != "+":
                continue
            word = every[at + 1]
            if word in PLACED:
                status, place, orientation = word, words.point(at + 2), _facing(words, at + 6)
            elif word == "UNPLACED":
                status = word
            elif word == "HALO":
                begin = at + 2 + (every[at + 2] == "SOFT")
                left, bottom, right, top = (words.whole(begin + i) for i in range(4))
                halo = left, bottom, right, top
        design.components.append(Component(name, every[first + 1], status, place, orientation, halo, first))


def _ports(words: Words, design: Design) -> None:
    every = words.all
    for first, last in words.entries("PINS"):
        net, direction, use, place = "", "", "SIGNAL", None
        for at in range(first + 1, last):
            if every[at] != "+":
                continue
            word = every[at + 1]
            if word == "NET":
                net = every[at + 2]
            elif word == "DIRECTION":
                direction = every[at + 2]
            elif word == "USE":
                use = every[at + 2]
            elif word in PLACED and place is None:  # of several PORTs the first that has a place
                place = words.point(at + 2)
        design.ports.append(Port(every[first], net, direction, use, place, first))


def _nets(words: Words, design: Design) -> None:
    every = words.all
    for first, last in words.entries("NETS"):
        at, pins = first + 1, list[tuple[str, str]]()
        if every[first] == "MUSTJOIN":
            continue
        while every[at] == "(":
            pins.append((every[at + 1], every[at + 2]))
            at = at + 4 if every[at + 3] == ")" else words.find(")", at + 3) + 1
        if at > last:
            raise words.wrong(first, f"a pin of net {every[first]!r} is not closed by ')'")
        weight, use = 1.0, "SIGNAL"
        for option in range(at, last):
            if every[option] != "+":
                continue
            if every[option + 1] == "WEIGHT":
                weight = words.real(option + 2)
                if weight < 0:
                    raise words.wrong(option + 2, f"the weight of net {every[first]!r} is negative")
            elif every[option + 1] == "USE":
                use = every[option + 2]
        design.nets.append(Net(every[first], pins, weight, use, first))


def _blockages(words: Words, design: Design) -> None:
    every = words.all
    for first, last in words.entries("BLOCKAGES"):
        if every[first] != "PLACEMENT":  # on a layer, for wires
            continue
        kind, at = "", first + 1
        while at < last:
            word = every[at]
            if word in ("SOFT", "PARTIAL", "COMPONENT"):
                kind = word
            if word in ("RECT", "POLYGON"):
                points = words.points(at + 1)
                if len(points) < 2 or (word == "RECT" and len(points) != 2):
                    raise words.wrong(at, f"a {word} of {len(points)} points is none")
                design.blockages.append(Blockage(kind, points))
            at += 1
