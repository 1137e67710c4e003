"""A placement as DEF, the file that it was read from with only moved macros changed, or as Tcl for OpenROAD.

Tcl: one line `place_macro` a macro that is free to move. Source: OpenROAD, `src/mpl/README.md` and its tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from sysgym.chip_placement.formats.lefdef.build import plain, shown
from sysgym.chip_placement.formats.lefdef.design import Component, read_def
from sysgym.chip_placement.formats.lefdef.source import Source, rounded
from sysgym.chip_placement.formats.lefdef.words import Words, spans
from sysgym.chip_placement.formats.netlist import ORIENTATIONS
from sysgym.core.errors import InvalidSolution, SysgymError, UsageError, reading
from sysgym.core.problem import Array

Arrays = tuple[Array, Array, Array]
SLACK = 0.5  # database units that macros may overlap by before they are rounded
_QUARTER = 4
OPENROAD = ("R0", "MY", "R180", "MX", "R270", "MYR90", "R90", "MXR90")  # of ORIENTATIONS, one each
STAYING = ("FIXED", "COVER")


def parse_placed(content: bytes, file_name: str, source: Source) -> tuple[Array, Array]:
    """Centres (m, 2) float64, microns on the canvas, and orientations (m,) of the hard macros in a placed DEF.

    Names count without their backslashes; other components are passed over. InvalidSolution for a macro that is
    missing, has no place, or is turned by a quarter that its master does not allow.
    """
    with reading(file_name, InvalidSolution):
        design, _ = read_def(content, file_name)
        if not design.units:
            raise InvalidSolution(f"{file_name} has no UNITS DISTANCE MICRONS.")
        found = {plain(component.name): component for component in design.components}
        items: list[Component] = []
        lost, astray = [], []
        for name in source.names:
            item = found.get(plain(name))
            if item is None:
                lost.append(name)
            elif item.place is None:
                astray.append(name)
            else:
                items.append(item)
        if lost:
            raise InvalidSolution(
                f"{file_name} lacks {len(lost)} of the {len(source.names)} hard macros of {source.path}: "
                f"{shown(lost)}; its first components are {shown(found) or 'none'}: is it of the same design?"
            )
        if astray:
            raise InvalidSolution(
                f"{file_name} gives {len(astray)} hard macros no place: {shown(astray)}; a solution places all."
            )
    orientation = np.array([item.orientation for item in items], np.int64)
    free = np.array([item.status not in STAYING for item in items], bool)
    _check_turns(source, orientation, free, InvalidSolution)
    corners = np.array([item.place for item in items], np.int64).reshape(-1, 2)
    return source.centres(corners, orientation, design.units), orientation


def _check_turns(source: Source, orientation: Array, free: Array, kind: type[SysgymError]) -> None:
    """An error for macros that are turned by a quarter and must not be."""
    wrong = np.flatnonzero((orientation >= _QUARTER) & ~source.turns & free)
    if len(wrong):
        raise kind(
            f"{shown(source.names[i] for i in wrong)} would be turned by a quarter, to "
            f"{ORIENTATIONS[orientation[wrong[0]]]}, which SYMMETRY in the LEF does not allow (it lacks R90); choose "
            "among N, FN, S and FS."
        )


class _Moves:
    """Where the hard macros of a DEF go."""

    def __init__(self, source: Source, x: Array, y: Array, orientation: Array) -> None:
        design, words = read_def(source.content, source.path)
        by_name = {component.name: component for component in design.components}
        self.items = [by_name[name] for name in source.names]
        self.words: Words = words
        self.free = np.array([item.status not in STAYING for item in self.items], bool)
        self.orientation = np.asarray(orientation, np.int64)
        exact = source.corners(x, y, self.orientation)
        asked = rounded(exact)
        known = np.array([item.place is not None for item in self.items], bool)
        old = np.array([item.place or (0, 0) for item in self.items], np.int64).reshape(-1, 2)
        facing = np.array([item.orientation for item in self.items], np.int64)
        self.moved = ~known | (asked != old).any(axis=1) | (facing != self.orientation)
        stuck = np.flatnonzero(self.moved & ~self.free)
        if len(stuck):
            raise UsageError(
                f"the solution moves {len(stuck)} macros that are FIXED in {source.path}: "
                f"{shown(source.names[i] for i in stuck)}; leave them where they are."
            )
        _check_turns(source, self.orientation, self.moved, UsageError)
        size = source.standing(self.orientation)
        self.corner = np.where(self.moved[:, None], _on_grid(exact, size, source), asked)
        _check_overlaps(source, exact, self.corner, size)


def written_corners(source: Source, arrays: Arrays) -> Array:
    """Lower left corners (m, 2) int64 as `format_def` and `format_tcl` write them; errors as they have."""
    found: Array = _Moves(source, *arrays).corner
    return found


def _on_grid(corner: Array, size: Array, source: Source) -> Array:
    """Corners on the nearest lines of the manufacturing grid, of those within the canvas if the macro was within it."""
    grid = source.grid
    found = rounded(corner, grid)
    low, high = np.array(source.area[:2]), np.array(source.area[2:])
    asked = rounded(corner)
    within = (asked >= low) & (asked + size <= high)
    found = np.where(within & (found < low), found + grid, found)
    fitted: Array = np.where(within & (found + size > high), found - grid, found)
    return fitted


def _pairs(corner: Array, size: Array) -> set[tuple[int, int]]:
    """Pairs of boxes that share an area."""
    order = np.argsort(corner[:, 0], kind="stable")
    left, low = corner[order].T
    right, high = left + size[order, 0], low + size[order, 1]
    found = set()
    for i in range(len(order)):
        stop = int(np.searchsorted(left, right[i]))
        later = slice(i + 1, stop)
        near = np.flatnonzero((low[later] < high[i]) & (high[later] > low[i]) & (right[later] > left[i]))
        found |= {tuple(sorted((int(order[i]), int(order[i + 1 + j])))) for j in near}
    return found  # type: ignore[return-value]


def _check_overlaps(source: Source, exact: Array, corner: Array, size: Array) -> None:
    """UsageError if macros overlap that did not, by half a database unit or more, before they were put on the grid."""
    made = sorted(_pairs(corner, size) - _pairs(exact + SLACK / 2, size - SLACK))
    if made:
        names = " and ".join(repr(source.names[i]) for i in made[0])
        raise UsageError(
            f"on the manufacturing grid, of {source.grid} database units, {names} overlap"
            f"{f' and {len(made) - 1} more pairs' if len(made) > 1 else ''}, which they did not before; nothing is "
            "written: give -O spacing=MICRONS to keep macros apart."
        )


def format_def(source: Source, arrays: Arrays, fix: bool = False) -> bytes:
    """The DEF with the hard macros elsewhere, and the bytes of all else as they were.

    `arrays` are the centres x and y (m,) in microns on the canvas and the orientations (m,).

    Moved macros stand on the manufacturing grid. A status stays PLACED where it was, and becomes it where there was
    none; with `fix` it becomes FIXED for every hard macro. UsageError if the grid makes macros overlap, if a macro that
    is FIXED was moved, or if one is turned by a quarter and its master does not allow that.
    """
    moves = _Moves(source, *arrays)
    changes: dict[int, str] = {}  # new texts of words
    for number, item in enumerate(moves.items):
        status = item.status or "UNPLACED"
        wanted = "FIXED" if fix and moves.free[number] else "PLACED"
        if moves.moved[number]:
            place = "( {} {} ) {}".format(*moves.corner[number], ORIENTATIONS[moves.orientation[number]])
            _move(moves.words, item, place, wanted if fix or status == "UNPLACED" else status, changes)
        elif fix and status == "PLACED":
            changes[_status_at(moves.words, item)] = "FIXED"
    if not changes:
        return source.content
    text = "".join(_edited(moves.words.text, changes))
    mark = b"\xef\xbb\xbf"
    return (mark if source.content.startswith(mark) else b"") + text.encode()


def _status_at(words: Words, item: Component) -> int:
    """The place of the word that says the status of a component; that of its master where there is none."""
    last = words.find(";", item.at)
    found = [at for at in range(item.at + 2, last) if words.all[at] == item.status and words.all[at - 1] == "+"]
    return found[-1] if item.status and found else item.at + 1


def _move(words: Words, item: Component, place: str, status: str, changes: dict[int, str]) -> None:
    """Note the words that change where a component goes elsewhere."""
    at = _status_at(words, item)
    if at == item.at + 1:
        changes[at] = f"{item.master} + {status} {place}"
        return
    changes[at] = status
    if words.all[at + 1] != "(":
        changes[at] = f"{status} {place}"
        return
    _, x, y, _, facing = place.split()
    changes |= {at + 2: x, at + 3: y, at + 5: facing}


def _edited(text: str, changes: dict[int, str]) -> Iterator[str]:
    """The pieces of a text in which words have changed, by their number."""
    done = 0
    last = max(changes)
    for number, (first, end) in enumerate(islice(spans(text), last + 1)):
        if number in changes:
            yield text[done:first]
            yield changes[number]
            done = end
    yield text[done:]


def format_tcl(source: Source, arrays: Arrays) -> bytes:
    """Lines `place_macro` for the macros that are not FIXED, lower left corners in microns; errors as `format_def`."""
    moves = _Moves(source, *arrays)
    lines = []
    for number in np.flatnonzero(moves.free).tolist():
        left, low = (f"{value / source.units:.12g}" for value in moves.corner[number].tolist())
        facing = OPENROAD[moves.orientation[number]]
        name = f"-macro_name {{{source.names[number]}}}"
        lines.append(f"place_macro {name} -location {{{left} {low}}} -orientation {facing} -exact\n")
    return "".join(lines).encode()
