"""The files of a bookshelf design apart from its positions: `.nodes`, `.nets`, `.scl` and `.wts`.

All are lines of words; colons separate, `#` begins a comment. Errors name the file and the line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sysgym.chip_placement.formats.plc import Canvas
from sysgym.core.errors import UsageError, announce
from sysgym.core.problem import Array

MOST_CELLS = 256  # columns or rows of the grid for placing
NOISE = 1e-9  # of a cell: what rounding makes of a length


@dataclass(frozen=True)
class Nodes:
    """The content of a `.nodes` file of n nodes."""

    index: dict[str, int]
    width: Array  # (n,) float64, units of the file
    height: Array
    terminal: Array  # (n,) bool
    overlapping: Array  # (n,) bool, `terminal_NI`: pads that others may cover


@dataclass(frozen=True)
class Nets:
    """The content of a `.nets` file of m nets and p pins, the pins of a net with direction O first."""

    names: dict[str, int]  # of those nets that have one
    ptr: Array  # (m + 1,) int64
    node: Array  # (p,) int32
    x_offset: Array  # (p,) float64, from the centre of the node
    y_offset: Array


@dataclass
class _Row:
    line: int
    height: float = 0.0
    low: float = 0.0
    spacing: float = 1.0
    site: float | None = None  # width of a site; as the spacing if the file does not say
    spans: list[tuple[float, float]] = field(default_factory=list)  # left end and number of sites of each subrow


def lines_of(text: str) -> Iterator[tuple[int, list[str]]]:
    """Numbers and words of the lines that say something."""
    for number, line in enumerate(text.split("\n"), 1):
        words = line.replace(":", " ").split()
        if words and words[0][0] != "#" and words[0] != "UCLA":
            yield number, words


def unexpected(words: list[str], number: int, source: str | Path, form: str) -> UsageError:
    """The error for a line that has not the expected form."""
    return UsageError(f"{source} line {number}: expected '{form}', got {' '.join(words)[:60]!r}.")


def count_of(words: list[str], number: int, source: str | Path) -> int:
    """The count in a line such as `NumNodes : 7`."""
    if len(words) < 2 or not words[1].isdecimal():
        raise unexpected(words, number, source, f"{words[0]} : count")
    return int(words[1])


def numbers_of(words: list[str], first: int, number: int, source: str | Path, form: str, many: int = 2) -> list[float]:
    """The finite numbers `words[first : first + many]` of a line."""
    try:
        values = [float(word) for word in words[first : first + many]]
    except ValueError:
        values = []
    if len(values) != many or not all(abs(value) < 1e15 for value in values):
        raise unexpected(words, number, source, form)
    return values


def check_counts(expected: dict[str, int], found: dict[str, int], source: str | Path) -> None:
    """UsageError if a count of the header differs from what the file lists."""
    for key, count in found.items():
        if expected.get(key, count) != count:
            raise UsageError(f"{source} lists {count}, its {key} says {expected[key]}; the file is damaged or cut off.")


def check_degree(ptr: list[int], pins: int, degree: int, begun: int, source: str | Path) -> None:
    """UsageError if the net that begins in line `begun` has not the pins that it announces."""
    if ptr and pins - ptr[-1] != degree:
        raise UsageError(f"{source} line {begun}: a net of {degree} pins lists {pins - ptr[-1]}.")


def parse_nodes(text: str, source: str | Path = "nodes") -> Nodes:
    """The nodes of a `.nodes` file; UsageError names the line that is wrong."""
    expected: dict[str, int] = {}
    index: dict[str, int] = {}
    sizes: list[float] = []
    marks: list[str] = []
    form = "name width height [terminal | terminal_NI]"
    for number, words in lines_of(text):
        if words[0] in ("NumNodes", "NumTerminals"):
            expected[words[0]] = count_of(words, number, source)
            continue
        size = numbers_of(words, 1, number, source, form)
        mark = words[3].lower() if len(words) > 3 else ""
        if mark not in ("", "terminal", "terminal_ni") or min(size) < 0:
            raise unexpected(words, number, source, form)
        if index.setdefault(words[0], len(marks)) != len(marks):
            raise UsageError(f"{source} line {number}: a second node is named {words[0]!r}.")
        sizes += size
        marks.append(mark)
    check_counts(expected, {"NumNodes": len(marks), "NumTerminals": len(marks) - marks.count("")}, source)
    width, height = np.array(sizes).reshape(-1, 2).T
    terminal = np.array([mark != "" for mark in marks], bool)
    return Nodes(index, width.copy(), height.copy(), terminal, np.array([m == "terminal_ni" for m in marks], bool))


def parse_nets(text: str, nodes: Nodes, source: str | Path = "nets") -> Nets:
    """The nets of a `.nets` file over `nodes`; UsageError names the line that is wrong."""
    expected: dict[str, int] = {}
    names: dict[str, int] = {}
    starts: list[int] = []
    node: list[int] = []
    drives: list[bool] = []
    offsets: list[float] = []
    degree, begun = 0, 0
    for number, words in lines_of(text):
        if words[0] == "NetDegree":
            check_degree(starts, len(node), degree, begun, source)
            degree, begun = count_of(words, number, source), number
            if len(words) > 2 and names.setdefault(words[2], len(starts)) != len(starts):
                raise UsageError(f"{source} line {number}: a second net is named {words[2]!r}.")
            starts.append(len(node))
        elif words[0] in ("NumNets", "NumPins"):
            expected[words[0]] = count_of(words, number, source)
        elif words[0] not in nodes.index or not starts:
            raise UsageError(f"{source} line {number}: {words[0]!r} is no node of the design within a net.")
        else:
            node.append(nodes.index[words[0]])
            drives.append(len(words) > 1 and words[1] == "O")
            offsets += _offsets(words, nodes, number, source)
    check_degree(starts, len(node), degree, begun, source)
    check_counts(expected, {"NumNets": len(starts), "NumPins": len(node)}, source)
    ptr = np.array([*starts, len(node)], np.int64)
    order = np.lexsort((~np.array(drives, bool), np.repeat(np.arange(len(starts)), np.diff(ptr))))
    x, y = np.array(offsets).reshape(-1, 2)[order].T
    ptr, index = without_empty(ptr, source)
    names = {name: int(index[at]) for name, at in names.items()}
    return Nets(names, ptr, np.array(node, np.int32)[order], x.copy(), y.copy())


def _offsets(words: list[str], nodes: Nodes, number: int, source: str | Path) -> list[float]:
    """How far a pin is from the centre of its node: lengths, or with a `%` before them hundredths of its size."""
    form = "node direction : x_offset y_offset"
    if len(words) < 3:
        return [0.0, 0.0]
    if not all(word[0] == "%" for word in words[2:4]):
        return numbers_of(words, 2, number, source, form)
    x, y = numbers_of([word[1:] for word in words[2:]], 0, number, source, form)
    at = nodes.index[words[0]]
    return [float(x * nodes.width[at] / 100), float(y * nodes.height[at] / 100)]


def without_empty(ptr: Array, source: str | Path) -> tuple[Array, Array]:
    """Where nets with pins begin and end, and the number that each net has among those, -1 for the others.

    Nets without pins cost nothing; that they are left out is announced.
    """
    full = np.diff(ptr) > 0
    if not full.all():
        announce(f"{source}: {int((~full).sum())} nets without pins are left out, as they cost nothing.")
    return np.append(ptr[:-1][full], ptr[-1:]), np.where(full, np.cumsum(full) - 1, -1)


def parse_wts(text: str, nodes: Nodes, nets: Nets, source: str | Path = "wts") -> Array:
    """Weights of the nets, (m,) float64, 1 where the `.wts` file names none; weights of nodes are passed over."""
    weight = np.ones(len(nets.ptr) - 1)
    for number, words in lines_of(text):
        if words[0] not in nets.names and words[0] not in nodes.index:
            raise UsageError(f"{source} line {number}: {words[0]!r} is no net of the design.")
        value = numbers_of(words, 1, number, source, "net weight", many=1)[0]
        if value < 0:
            raise unexpected(words, number, source, "net weight")
        if nets.names.get(words[0], -1) >= 0:
            weight[nets.names[words[0]]] = value
    return weight


def parse_scl(text: str, source: str | Path = "scl") -> tuple[Canvas, float]:
    """The canvas over all rows of a `.scl` file, and the height of a row.

    Cells of the canvas are squares of the row height times the least power of two that gives at most 256 columns
    and rows. The grid ends where its last cells end, the core, which macros must not leave, where the last row ends.
    """
    rows = _rows(text, source)
    for row in rows:
        if row.height != rows[0].height or not row.height > 0:
            raise UsageError(f"{source} line {row.line}: every row needs the same Height above 0.")
    spans = [_span(row, left, sites) for row in rows for left, sites in row.spans]
    if not spans:
        raise UsageError(f"{source} holds no rows; expected 'CoreRow Horizontal' blocks with SubrowOrigin lines.")
    left, right = min(span[0] for span in spans), max(span[1] for span in spans)
    low, high = min(row.low for row in rows), max(row.low + row.height for row in rows)
    side = rows[0].height
    while max(right - left, high - low) > MOST_CELLS * side:
        side *= 2
    core = right - left, high - low
    columns, lines = (int(np.ceil(length / side - NOISE)) for length in core)
    if columns < 1:
        raise UsageError(f"{source} line {rows[0].line}: the rows hold no sites.")
    size = columns * side, lines * side
    exact = all(abs(cells - length) <= NOISE * side for cells, length in zip(size, core, strict=True))
    return Canvas(*size, columns, lines, origin=(left, low), core=None if exact else core), rows[0].height


def _span(row: _Row, left: float, sites: float) -> tuple[float, float]:
    """Where the sites of a subrow begin and end."""
    site = row.spacing if row.site is None else row.site
    return left, left + (sites - 1) * row.spacing + site if sites > 0 else left


def _rows(text: str, source: str | Path) -> list[_Row]:
    rows: list[_Row] = []
    expected: dict[str, int] = {}
    for number, words in lines_of(text):
        key = words[0].lower()
        if key == "numrows":
            expected["NumRows"] = count_of(words, number, source)
        elif key == "corerow":
            rows.append(_Row(number))
        elif not rows:
            raise unexpected(words, number, source, "CoreRow Horizontal")
        elif key == "coordinate":
            rows[-1].low = numbers_of(words, 1, number, source, "Coordinate : y", many=1)[0]
        elif key == "height":
            rows[-1].height = numbers_of(words, 1, number, source, "Height : height", many=1)[0]
        elif key == "sitespacing":
            rows[-1].spacing = numbers_of(words, 1, number, source, "Sitespacing : distance", many=1)[0]
        elif key == "sitewidth":
            rows[-1].site = numbers_of(words, 1, number, source, "Sitewidth : width", many=1)[0]
        elif key == "subroworigin":
            form = "SubrowOrigin : x NumSites : count"
            left, sites = (numbers_of(words, at, number, source, form, many=1)[0] for at in (1, 3))
            rows[-1].spans.append((left, sites))
    check_counts(expected, {"NumRows": len(rows)}, source)
    return rows
