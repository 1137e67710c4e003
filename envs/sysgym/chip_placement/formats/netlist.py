"""Clustered netlists in Circuit Training's format, a text protobuf `GraphDef` (`netlist.pb.txt`, also gzipped).

Nodes are indexed as they appear in the file, `__metadata__` left out; placement files use these indices. Macros whose
names start with `Grp` are soft, whatever the case of their type. A net weighs what its driver weighs; one that a port
drives weighs 1, and a weight of that port is announced.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sysgym.chip_placement.formats.comments import telling
from sysgym.chip_placement.formats.graphdef import Node, parse_graph
from sysgym.chip_placement.formats.textproto import line_of, number_of
from sysgym.core.data import read_text
from sysgym.core.errors import UsageError, reading
from sysgym.core.problem import Array

PORT, HARD, SOFT, PIN, CELL = range(5)  # kinds of nodes; the pins of hard and of soft macros are both PIN
ORIENTATIONS = ("N", "FN", "S", "FS", "E", "FE", "W", "FW")
SOFT_PREFIX = "Grp"  # of the names of soft macros
_KINDS = {"port": PORT, "macro": HARD, "macro_pin": PIN, "stdcell": CELL}


@dataclass(frozen=True)
class Netlist:
    """A netlist as plain arrays over its n nodes and m nets.

    `x`, `y` are centres in microns, of a pin those of the macro it is on plus its offset. Net e joins the nodes
    `pins[ptr[e]:ptr[e + 1]]`, its driver first.
    """

    name: str
    kind: Array  # (n,) int8, PORT to CELL
    width: Array  # (n,) float64, 0 for ports and pins
    height: Array
    x: Array  # (n,) float64, as in the file
    y: Array
    orientation: Array  # (n,) int8, index into ORIENTATIONS
    parent: Array  # (n,) int32, macro of a pin, the node itself otherwise
    x_offset: Array  # (n,) float64, of a pin from the centre of its macro in orientation N
    y_offset: Array
    ptr: Array  # (m + 1,) int64
    pins: Array  # int32
    weight: Array  # (m,) float64
    names: tuple[str, ...] = field(repr=False, metadata={"hashed": False})  # the same problem whatever its names
    comments: tuple[str, ...] = field(default=(), repr=False, metadata={"hashed": False})  # that describe the canvas
    remarks: tuple[str, ...] = field(default=(), repr=False, metadata={"hashed": False})  # what its user should know

    @cached_property
    def macros(self) -> Array:
        """Indices of hard and soft macros, in the order of the file."""
        return np.flatnonzero((self.kind == HARD) | (self.kind == SOFT))

    @property
    def nets(self) -> int:
        """Number of nets."""
        return len(self.weight)


def read_netlist(path: str | Path) -> Netlist:
    """Read `netlist.pb.txt` or `netlist.pb.txt.gz`; UsageError names the line that is wrong."""
    path = Path(path)
    return parse_netlist(read_text(path), name_of(path), path)


def name_of(path: Path) -> str:
    """What the netlist of a file is called: as its folder, or as the file where no folder is named."""
    return path.name.split(".")[0] if path.parent.name == "" else path.parent.name


def parse_netlist(text: str, name: str, source: str | Path = "netlist") -> Netlist:
    """A netlist from the text of a protobuf; `source` is named in errors."""
    with reading(source):
        return _netlist(text, name, source)


def _netlist(text: str, name: str, source: str | Path) -> Netlist:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    read = _Read(text, source, [node for node in parse_graph(text, source) if node.name != "__metadata__"])
    index: dict[str, int] = {}
    for i, node in enumerate(read.nodes):
        if index.setdefault(str(node.name), i) != i:
            raise read.wrong(node, f"a second node is named {node.name!r}")
    kind = np.array([_kind(read, node) for node in read.nodes], np.int8)
    columns = {
        key: np.array([_number(read, node, key, 0.0) for node in read.nodes])
        for key in ("width", "height", "x", "y", "x_offset", "y_offset")
    }
    weights = np.array([_number(read, node, "weight", 1.0) for node in read.nodes])
    negative = np.flatnonzero((columns["width"] < 0) | (columns["height"] < 0) | (weights < 0))
    if len(negative):
        node = read.nodes[negative[0]]
        raise read.wrong(node, f"a size or weight of {node.name!r} is negative")
    orientation = np.array([_orientation(read, node) for node in read.nodes], np.int8)
    ptr, pins, weight = _nets(read, index, kind, weights)
    return Netlist(
        name=name, kind=kind, orientation=orientation, parent=_parents(read, index, kind), ptr=np.array(ptr, np.int64),
        pins=np.array(pins, np.int32), weight=np.array(weight), names=tuple(index), comments=telling(text),
        remarks=_remarks(read, kind, weights), **columns,
    )  # fmt: skip


class _Read(NamedTuple):
    """The nodes of a text."""

    text: str
    source: str | Path
    nodes: list[Node]

    def wrong(self, node: Node, why: str) -> UsageError:
        """The error for a node, which names the line that it begins on."""
        return UsageError(f"{self.source} line {line_of(self.text, node.at)}: {why}.")


def _parents(read: _Read, index: dict[str, int], kind: Array) -> Array:
    """The macro that each pin is on, a node itself otherwise."""
    parent = np.arange(len(kind), dtype=np.int32)
    for i in np.flatnonzero(kind == PIN).tolist():
        node = read.nodes[i]
        owner = node.attributes.get("macro_name")
        if owner not in index:
            raise read.wrong(node, f"the macro {owner!r} of pin {node.name!r} is missing")
        parent[i] = index[owner]
        if kind[parent[i]] == PIN:  # a macro's or, in what bookshelf designs become, a pad's
            raise read.wrong(node, f"{owner!r}, which pin {node.name!r} is on, is a pin")
    return parent


def _nets(read: _Read, index: dict[str, int], kind: Array, weights: Array) -> tuple[list[int], list[int], list[float]]:
    """Where each net begins and ends, the nodes on them, and what they weigh: 1 where a port drives."""
    ptr, pins, weight = [0], [], []
    for i, node in enumerate(read.nodes):
        if not node.inputs:
            continue
        pins.append(i)
        for sink in node.inputs:
            if sink not in index:
                raise read.wrong(node, f"{node.name!r} drives {sink!r}, which is missing")
            pins.append(index[sink])
        ptr.append(len(pins))
        weight.append(1.0 if kind[i] == PORT else float(weights[i]))
    return ptr, pins, weight


def _remarks(read: _Read, kind: Array, weights: Array) -> tuple[str, ...]:
    """What to tell about a netlist that is read otherwise than its text may lead one to think."""
    port = kind == PORT
    drives = np.array([bool(node.inputs) for node in read.nodes], bool)
    heavy = int((port & drives & (weights != 1)).sum())
    again = sum(node.again for node in read.nodes)
    astray = sum(not {"x", "y"} <= set(read.nodes[i].attributes) for i in np.flatnonzero(port).tolist())
    found = (
        (heavy, f"{heavy} ports have a weight, which does not count: nets that ports drive weigh 1, as in Circuit "
                "Training; drive them by pins of macros if they are to weigh more"),
        (again, f"{again} attributes are given twice in a node; the last counts, as protobuf has it"),
        (astray, f"{astray} ports have no x or no y, which is read as 0 unless a placement file places them"),
    )  # fmt: skip
    return tuple(sentence for count, sentence in found if count)


def _kind(read: _Read, node: Node) -> int:
    given = str(node.attributes.get("type", "")).lower()
    if given not in _KINDS:
        raise read.wrong(
            node,
            f"{node.name!r} has the type {node.attributes.get('type')!r}; expected PORT, MACRO, MACRO_PIN or STDCELL",
        )
    return SOFT if given == "macro" and str(node.name).startswith(SOFT_PREFIX) else _KINDS[given]


def _orientation(read: _Read, node: Node) -> int:
    facing = node.attributes.get("orientation") or "N"
    if facing in ORIENTATIONS:
        return ORIENTATIONS.index(facing)
    raise bad_orientation(facing, f"{read.source} line {line_of(read.text, node.at)}: {node.name!r}")


def bad_orientation(facing: str, where: str, *others: str) -> UsageError:
    """UsageError for a word that is no orientation, which names those that are."""
    known = ", ".join((*ORIENTATIONS, *others))
    return UsageError(f"{where} has the orientation {facing[:20]!r}, which is none; expected one of {known}.")


def _number(read: _Read, node: Node, key: str, default: float) -> float:
    if key not in node.attributes:
        return default
    text = node.attributes[key]
    try:
        value = number_of(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise read.wrong(node, f"{key} of {node.name!r} is {text!r}, expected a number")
    return value
