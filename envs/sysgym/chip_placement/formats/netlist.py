"""Clustered netlists in Circuit Training's format, a text protobuf `GraphDef` (`netlist.pb.txt`, also gzipped).

Nodes are indexed as they appear in the file, `__metadata__` left out; placement files use these indices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.data import read_text
from sysgym.core.errors import UsageError, reading
from sysgym.core.problem import Array

PORT, HARD, SOFT, PIN, CELL = range(5)  # kinds of nodes; the pins of hard and of soft macros are both PIN
ORIENTATIONS = ("N", "FN", "S", "FS", "E", "FE", "W", "FW")
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

    @property
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
    nodes = [node for node in _scan(text, source) if node["name"] != "__metadata__"]
    index: dict[str, int] = {}
    for i, node in enumerate(nodes):
        if index.setdefault(node["name"], i) != i:
            raise UsageError(f"{source} line {node['line']}: a second node is named {node['name']!r}.")
    count = len(nodes)
    columns = {key: np.zeros(count) for key in ("width", "height", "x", "y", "x_offset", "y_offset")}
    kind, orientation = np.zeros(count, np.int8), np.zeros(count, np.int8)
    parent = np.arange(count, dtype=np.int32)
    weights = np.ones(count)
    for i, node in enumerate(nodes):
        kind[i] = _kind(node, source)
        for key, column in columns.items():
            column[i] = _number(node, key, 0.0, source)
        weights[i] = _number(node, "weight", 1.0, source)
        if min(columns["width"][i], columns["height"][i], weights[i]) < 0:
            raise UsageError(f"{source} line {node['line']}: a size or weight of {node['name']!r} is negative.")
        facing = node.get("orientation") or "N"
        if facing not in ORIENTATIONS:
            raise UsageError(f"{source} line {node['line']}: {node['name']!r} has the orientation {facing!r}; "
                             f"expected one of {', '.join(ORIENTATIONS)}.")  # fmt: skip
        orientation[i] = ORIENTATIONS.index(facing)
        if kind[i] == PIN:
            owner = node.get("macro_name")
            if owner not in index:
                raise UsageError(
                    f"{source} line {node['line']}: the macro {owner!r} of pin {node['name']!r} is missing."
                )
            parent[i] = index[owner]
            if _kind(nodes[parent[i]], source) == PIN:  # a macro's or, in what bookshelf designs become, a pad's
                raise UsageError(
                    f"{source} line {node['line']}: {owner!r}, which pin {node['name']!r} is on, is a pin."
                )
    ptr, pins, weight = [0], [], []
    for i, node in enumerate(nodes):
        if not node["inputs"]:
            continue
        pins.append(i)
        for sink in node["inputs"]:
            if sink not in index:
                raise UsageError(f"{source} line {node['line']}: {node['name']!r} drives {sink!r}, which is missing.")
            pins.append(index[sink])
        ptr.append(len(pins))
        weight.append(1.0 if kind[i] == PORT else weights[i])
    return Netlist(
        name=name, kind=kind, orientation=orientation, parent=parent, ptr=np.array(ptr, np.int64),
        pins=np.array(pins, np.int32), weight=np.array(weight), names=tuple(node["name"] for node in nodes), **columns,
    )  # fmt: skip


def _kind(node: dict[str, Any], source: str | Path) -> int:
    given = str(node.get("type", "")).lower()
    if given not in _KINDS:
        raise UsageError(
            f"{source} line {node['line']}: {node['name']!r} has the type {node.get('type')!r}; "
            "expected PORT, MACRO, MACRO_PIN or STDCELL."
        )
    return SOFT if given == "macro" and node["name"].startswith("Grp_") else _KINDS[given]


def _number(node: dict[str, Any], key: str, default: float, source: str | Path) -> float:
    text = node.get(key)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise UsageError(f"{source} line {node['line']}: {key} of {node['name']!r} is {text!r}, expected a number.")
    return value


def _scan(text: str, source: str | Path) -> list[dict[str, Any]]:
    """Nodes as dicts of strings, `inputs` a list, `line` where each begins."""
    nodes: list[dict[str, Any]] = []
    node: dict[str, Any] = {}
    key, depth = "", 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line[0] == "#":
            continue
        if line[-1] == "{":
            depth += 1
            if depth == 1:
                if line.split()[0] != "node":
                    raise UsageError(f"{source} line {number}: expected 'node {{', got {line[:40]!r}.")
                node = {"name": None, "inputs": [], "line": number}
            continue
        if line == "}":
            depth -= 1
            if depth == 0:
                if node["name"] is None:
                    raise UsageError(f"{source} line {node['line']}: this node has no name.")
                nodes.append(node)
            elif depth < 0:
                raise UsageError(f"{source} line {number}: this bracket closes nothing.")
            continue
        word, colon, value = line.partition(":")
        value = value.strip()
        if not colon or depth == 0:
            raise UsageError(f"{source} line {number}: expected 'key: value' within a node, got {line[:40]!r}.")
        if value[:1] == '"':
            if len(value) < 2 or value[-1] != '"':
                raise UsageError(f"{source} line {number}: this text has no closing quote.")
            value = value[1:-1]
        if word == "key":
            key = value
        elif word in ("f", "placeholder", "i", "s"):
            node[key] = value
        elif word == "input":
            node["inputs"].append(value)
        elif word == "name":
            node["name"] = value
        else:
            raise UsageError(f"{source} line {number}: unknown field {word!r} of a node.")
    if depth:
        raise UsageError(f"{source} ends within the node of line {node['line']}; the file is cut off.")
    return nodes
