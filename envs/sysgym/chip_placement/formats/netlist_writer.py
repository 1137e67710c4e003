"""Netlists as text protobufs in Circuit Training's layout, the inverse of `parse_netlist`.

A full netlist comes out in the layout of a clustered one: keys in alphabetical order, hard macros, ports and pins in
capital letters, soft macros and their pins in small ones, each number as the shortest decimal that reads back as it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from sysgym.chip_placement.formats.netlist import CELL, HARD, ORIENTATIONS, PIN, PORT, SOFT, Netlist
from sysgym.chip_placement.formats.plc import Placement
from sysgym.chip_placement.geometry.macros import positions
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array

_SIDES = ("LEFT", "RIGHT", "BOTTOM", "TOP")
_TYPES = {PORT: "PORT", HARD: "MACRO", SOFT: "macro", PIN: "MACRO_PIN", CELL: "STDCELL"}


def format_netlist(netlist: Netlist, placement: Placement | None = None, utilization: float = 0.5) -> str:
    """The text of a `netlist.pb.txt`, with the positions of `placement` if given.

    The format keeps one net a driver and no weight for nets that ports drive; UsageError for other netlists, such as
    those from bookshelf files that name no drivers. It also keeps the border that each port is on, here the nearest
    one of the box around all nodes. `utilization` of soft macros is recorded if there are any.
    """
    x, y, orientation = netlist.x, netlist.y, netlist.orientation
    if placement is not None:
        (x, y), orientation = positions(netlist, placement), placement.orientation
    inputs, weight = _inputs(netlist)
    columns = {"x": x, "y": y, "x_offset": netlist.x_offset, "y_offset": netlist.y_offset, "width": netlist.width,
               "height": netlist.height}  # fmt: skip
    shown = {key: [repr(value) for value in values.tolist()] for key, values in columns.items()}
    sides = _sides(netlist.kind == PORT, x, y)
    parts = [f"{line}\n" for line in netlist.comments]
    if (netlist.kind == SOFT).any():
        parts.append(_node("__metadata__", [], [("soft_macro_area_bloating_ratio", f"f: {1 / utilization!r}")]))
    for i, kind in enumerate(netlist.kind.tolist()):
        values = [("x", f"f: {shown['x'][i]}"), ("y", f"f: {shown['y'][i]}")]
        name = _TYPES[kind]
        if kind == PIN:
            owner = int(netlist.parent[i])
            name = name.lower() if netlist.kind[owner] == SOFT else name
            values += [(key, f"f: {shown[key][i]}") for key in ("x_offset", "y_offset")]
            values.append(("macro_name", f"placeholder: {_quoted(netlist.names[owner])}"))
        if kind == PORT:
            values.append(("side", f'placeholder: "{_SIDES[sides[i]]}"'))
        if kind == HARD or orientation[i]:
            values.append(("orientation", f'placeholder: "{ORIENTATIONS[orientation[i]]}"'))
        if kind in (HARD, SOFT, CELL) or netlist.width[i] or netlist.height[i]:
            values += [(key, f"f: {shown[key][i]}") for key in ("width", "height")]
        if weight[i] != 1:
            values.append(("weight", f"f: {weight[i]!r}"))
        values.append(("type", f'placeholder: "{name}"'))
        parts.append(_node(netlist.names[i], [netlist.names[at] for at in inputs[i]], sorted(values)))
    return "".join(parts)


def _quoted(text: str) -> str:
    """A text in quotes, as protobuf's text format wants it."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    escaped = (f"\\{c}" if c in '"\\' else c if c.isprintable() else _bytes(c) for c in text)
    return f'"{"".join(escaped)}"'


def _bytes(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode())


def _node(name: str, inputs: list[str], values: list[tuple[str, str]]) -> str:
    lines = ["node {", f"  name: {_quoted(name)}", *(f"  input: {_quoted(item)}" for item in inputs)]
    for key, value in values:
        lines += ["  attr {", f'    key: "{key}"', "    value {", f"      {value}", "    }", "  }"]
    return "\n".join([*lines, "}\n"])


def _inputs(netlist: Netlist) -> tuple[list[list[int]], list[float]]:
    """The sinks of each node, and the weight of the net that it drives."""
    inputs: list[list[int]] = [[] for _ in netlist.names]
    weight = [1.0] * len(inputs)
    pins, ptr = netlist.pins.tolist(), netlist.ptr.tolist()
    for e, (first, last) in enumerate(pairwise(ptr)):
        driver = pins[first]
        if inputs[driver]:
            raise shared_driver(netlist, driver)
        if netlist.kind[driver] == PORT and netlist.weight[e] != 1:
            raise UsageError(f"netlist {netlist.name!r} has a net of weight {netlist.weight[e]:g} driven by the port "
                             f"{netlist.names[driver]!r}; netlist.pb.txt weighs those 1.")  # fmt: skip
        inputs[driver] = pins[first + 1 : last]
        weight[driver] = float(netlist.weight[e])
    return inputs, weight


def shared_driver(netlist: Netlist, driver: int) -> UsageError:
    """The error for a node that drives several nets."""
    return UsageError(
        f"netlist {netlist.name!r} has several nets driven by {netlist.names[driver]!r}; netlist.pb.txt keeps one net "
        "a driver, which `sysgym group --merge-nets` makes of them."
    )


def _sides(port: Array, x: Array, y: Array) -> Array:
    """Index into _SIDES of the border of the box around all nodes nearest to each port, (n,) int64, 0 for others."""
    side = np.zeros(len(port), np.int64)
    if port.any():
        gaps = np.array([x - x.min(), x.max() - x, y - y.min(), y.max() - y])
        side[port] = gaps[:, port].argmin(axis=0)
    return side


def single(values: Array) -> Array:
    """The float64 numbers that the shortest decimals of `values` in single precision stand for."""
    return values.astype(np.float32).astype("U").astype(np.float64)
