"""Libraries in LEF: how large the masters of a design are, and where their pins are. Source: LEF/DEF 5.8 reference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sysgym.chip_placement.formats.lefdef.words import Words
from sysgym.core.data import read_text
from sysgym.core.errors import UsageError, announce, reading

Box = tuple[float, float, float, float]  # left, low, right, high
SUPPLY = ("POWER", "GROUND")  # uses of pins and nets that are left out
_BLOCKS = ("LAYER", "VIA", "VIARULE", "NONDEFAULTRULE", "ARRAY")  # with a name, which their END repeats
_PLAIN_BLOCKS = ("PROPERTYDEFINITIONS", "SPACING", "IRDROP", "NOISETABLE", "CORRECTIONTABLE")  # END names the block


@dataclass
class Pin:
    """A pin of a master; `x`, `y` are the middle of the box around its shapes, microns in the master's coordinates."""

    direction: str = ""
    use: str = "SIGNAL"
    x: float = 0.0
    y: float = 0.0


@dataclass
class Master:
    """A macro of a library; lengths in microns."""

    kind: str = "CORE"  # the first word of its CLASS
    size: tuple[float, float] = (0.0, 0.0)
    origin: tuple[float, float] = (0.0, 0.0)
    symmetry: tuple[str, ...] = ()
    pins: dict[str, Pin] = field(default_factory=dict)

    def offset(self, pin: str) -> tuple[float, float] | None:
        """Where a pin is from the centre of the box, facing N; None for a pin that is not there."""
        found = self.pins.get(pin)
        if found is None:
            return None
        return found.x + self.origin[0] - self.size[0] / 2, found.y + self.origin[1] - self.size[1] / 2


@dataclass
class Library:
    """What all LEF files of a design say together."""

    masters: dict[str, Master] = field(default_factory=dict)
    sites: dict[str, tuple[float, float]] = field(default_factory=dict)  # width and height, microns
    grid: float = 0.0  # of manufacturing, microns; 0 where none is named
    units: int = 0  # database units a micron; 0 where none are named
    again: int = 0  # masters that were defined before


def read_lef(paths: Iterable[str | Path]) -> Library:
    """The library of LEF files, which may be gzipped; UsageError names the file and the line that is wrong.

    Of masters that several files define the first counts, which is announced.
    """
    library = Library()
    for path in paths:
        if not str(path):
            raise UsageError("a LEF file has an empty name; give -O lef=FILE.")
        text = read_text(path)
        with reading(path):
            parse_lef(text, library, path)
    if library.again:
        announce(f"{library.again} masters are defined in several LEF files; the first definition counts.")
    return library


def parse_lef(text: str, library: Library, source: str | Path = "lef") -> None:
    """Add what the text of a LEF file defines."""
    words = Words(text, source)
    while words.at < words.count:
        word, name = words.all[words.at], words.all[words.at + 1]
        if word == "MACRO":
            words.at += 2
            master = _master(words, name)
            library.again += name in library.masters
            library.masters.setdefault(name, master)
        elif word == "SITE":
            library.sites.setdefault(name, _site(words, name))
        elif word == "UNITS":
            _units(words, library)
        elif word == "END" and name == "LIBRARY":
            return
        elif word == "BEGINEXT":
            words.at = words.find("ENDEXT", words.at) + 1
        elif word in _PLAIN_BLOCKS:
            words.leave(word)
        elif word in _BLOCKS and _opens(words):
            words.leave(name)
        else:
            if word == "MANUFACTURINGGRID":
                library.grid = words.real(words.at + 1)
            words.at = words.find(";", words.at) + 1


def _opens(words: Words) -> bool:
    """Whether a word such as VIA opens a block: `VIA name ;` and the like do not."""
    return words.all[words.at + 1] != ";" and words.all[words.at + 2] != ";"


def _units(words: Words, library: Library) -> None:
    first = words.at
    words.leave("UNITS")
    for at in range(first, words.at - 2):
        if words.all[at] == "DATABASE" and words.all[at + 1] == "MICRONS":
            library.units = words.whole(at + 2)


def _site(words: Words, name: str) -> tuple[float, float]:
    first = words.at
    words.leave(name)
    for at in range(first + 2, words.at - 2):
        if words.all[at] == "SIZE":
            return _size(words, at)
    raise words.wrong(first, f"site {name!r} has no SIZE")


def _size(words: Words, at: int) -> tuple[float, float]:
    """Width and height of a statement `SIZE w BY h ;`."""
    if words.all[at + 2] != "BY":
        raise words.unexpected(at + 2, "'SIZE width BY height ;'")
    size = words.real(at + 1), words.real(at + 3)
    if min(size) < 0:
        raise words.wrong(at, f"a size of {size[0]:g} BY {size[1]:g} is negative")
    return size


def _master(words: Words, name: str) -> Master:
    """The master whose statements begin here, up to its END."""
    found, sized, first = Master(), False, words.at
    while True:
        at, word = words.at, words.all[words.at]
        if word == "END":
            if words.all[at + 1] != name:
                raise words.unexpected(at + 1, f"{name!r}, the master that ends here")
            if not sized:
                raise words.wrong(first, f"master {name!r} has no SIZE")
            words.at += 2
            return found
        if word == "PIN":
            words.at += 2
            found.pins[words.all[at + 1]] = _pin(words, words.all[at + 1])
            continue
        if word in ("OBS", "DENSITY"):
            words.at = words.find("END", at) + 1
            continue
        if word == "TIMING":
            words.leave("TIMING")
            continue
        if word in ("MACRO", "") and at >= words.count:
            raise words.wrong(first, f"the file ends within master {name!r}; it is damaged")
        last = words.find(";", at)
        if word == "CLASS":
            found.kind = words.all[at + 1]
        elif word == "SIZE":
            found.size, sized = _size(words, at), True
        elif word == "ORIGIN":
            found.origin = words.real(at + 1), words.real(at + 2)
        elif word == "SYMMETRY":
            found.symmetry = tuple(words.all[at + 1 : last])
        words.at = last + 1


def _pin(words: Words, name: str) -> Pin:
    """The pin whose statements begin here, up to its END."""
    found, boxes = Pin(), list[Box]()
    while True:
        at, word = words.at, words.all[words.at]
        if word == "END":
            if words.all[at + 1] != name:
                raise words.unexpected(at + 1, f"{name!r}, the pin that ends here")
            words.at += 2
            break
        if word == "PORT":
            words.at += 1
            boxes += _port(words)
            continue
        last = words.find(";", at)
        if word == "DIRECTION":
            found.direction = words.all[at + 1]
        elif word == "USE":
            found.use = words.all[at + 1]
        words.at = last + 1
    if boxes:
        left, low, right, high = zip(*boxes, strict=True)
        found.x, found.y = (min(left) + max(right)) / 2, (min(low) + max(high)) / 2
    return found


def _port(words: Words) -> list[Box]:
    """The boxes around the shapes of a port, up to its END."""
    boxes: list[Box] = []
    while words.all[words.at] != "END":
        at = words.at
        last = words.find(";", at)
        if words.all[at] in ("RECT", "POLYGON", "PATH"):
            boxes.append(_shape(words, at, last))
        words.at = last + 1
    words.at += 1
    return boxes


def _shape(words: Words, at: int, last: int) -> Box:
    """The box around `RECT | POLYGON | PATH [MASK n] [ITERATE] points [DO n BY m STEP x y] ;`."""
    first = at + 1
    if words.all[first] == "MASK":
        first += 2
    repeats = words.all[first] == "ITERATE"
    first += repeats
    end = words.find("DO", first) if repeats else last
    places = [i for i in range(first, min(end, last)) if words.all[i] not in "()"]
    if len(places) < (2 if words.all[at] == "PATH" else 4) or len(places) % 2:
        raise words.wrong(at, f"a shape {words.all[at]} of {len(places)} numbers; expected two points at least")
    values = [words.real(i) for i in places]
    left, right, low, high = min(values[::2]), max(values[::2]), min(values[1::2]), max(values[1::2])
    if repeats:
        right += (words.real(end + 1) - 1) * words.real(end + 5)
        high += (words.real(end + 3) - 1) * words.real(end + 6)
    return left, low, right, high
