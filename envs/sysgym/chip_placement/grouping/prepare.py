"""What a full netlist may need before its cells are grouped: another unit, sizes and places, one net a driver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sysgym.chip_placement.formats.netlist import CELL, HARD, PORT, Netlist
from sysgym.chip_placement.formats.netlist_writer import shared_driver
from sysgym.chip_placement.formats.plc import Placement, netlist_placement
from sysgym.chip_placement.geometry.macros import positions
from sysgym.chip_placement.grouping.clusters import fanouts
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array

_LENGTHS = ("width", "height", "x", "y", "x_offset", "y_offset")


def scaled(netlist: Netlist, unit: float) -> Netlist:
    """The netlist with all its lengths times `unit`."""
    return replace(netlist, **{name: getattr(netlist, name) * unit for name in _LENGTHS})


def placed_at(netlist: Netlist, placement: Placement) -> Netlist:
    """The netlist with the positions of a placement as its own."""
    x, y = positions(netlist, placement)
    return replace(netlist, x=x, y=y, orientation=placement.orientation)


def merge_nets(netlist: Netlist) -> Netlist:
    """The netlist with one net for all that a cell, a port or a pin of a macro drives.

    Drivers are first pins; pins on a cell or a port drive as that. The one net stands where the first of them stood,
    has each sink once, in the order of the file, and weighs as much as the heaviest.
    """
    of = np.where((netlist.kind == CELL)[netlist.parent] | (netlist.kind == PORT)[netlist.parent], netlist.parent,
                  np.arange(len(netlist.kind)))  # fmt: skip
    pins, ptr, weight = netlist.pins.tolist(), netlist.ptr.tolist(), netlist.weight.tolist()
    nets: dict[int, dict[int, None]] = {}
    most: dict[int, float] = {}
    for e, driver in enumerate(of[netlist.pins[netlist.ptr[:-1]]].tolist()):
        nets.setdefault(driver, {}).update(dict.fromkeys(pins[ptr[e] : ptr[e + 1]]))
        most[driver] = max(most.get(driver, 0.0), weight[e])
    members = [list(net) for net in nets.values()]
    return replace(
        netlist, ptr=np.cumsum([0, *map(len, members)], dtype=np.int64),
        pins=np.array([node for net in members for node in net], np.int32), weight=np.array(list(most.values())),
    )  # fmt: skip


def check_drivers(netlist: Netlist) -> None:
    """UsageError where grouping would leave a port or a pin of a macro several nets, which netlist.pb.txt cannot."""
    driver = np.array(fanouts(netlist).driver, np.int64)
    count = np.bincount(driver[netlist.kind[driver] != CELL], minlength=1)
    if (count > 1).any():
        raise shared_driver(netlist, int(count.argmax()))


def with_macros_of(netlist: Netlist, other: Netlist, placement: Placement) -> Netlist:
    """The netlist with hard macros and ports of the sizes and places that those of the same names have in another.

    Offsets of pins grow and shrink with their macros. UsageError if `other` lacks one, or has it as another kind.
    """
    wanted = np.flatnonzero((netlist.kind == HARD) | (netlist.kind == PORT))
    index = {name: i for i, name in enumerate(other.names)}
    found = np.array([index.get(netlist.names[at], -1) for at in wanted], np.int64)
    wrong = (found < 0) | (other.kind[found] != netlist.kind[wanted])
    if wrong.any():
        first = netlist.names[wanted[int(wrong.argmax())]]
        raise UsageError(
            f"{int(wrong.sum())} of the {len(wanted)} hard macros and ports of {netlist.name} are none of "
            f"{other.name}, the first {first!r}; give a netlist that names them all."
        )
    size = {name: getattr(netlist, name).copy() for name in ("width", "height")}
    own = netlist_placement(netlist)
    place = {name: getattr(own, name).copy() for name in ("x", "y", "orientation")}
    for name, values in size.items():
        values[wanted] = getattr(other, name)[found]
    for name, values in place.items():
        values[wanted] = getattr(placement, name)[found]
    grown = {f"{axis}_offset": getattr(netlist, f"{axis}_offset") * _ratio(size[name], getattr(netlist, name))[
        netlist.parent] for axis, name in (("x", "width"), ("y", "height"))}  # fmt: skip
    moved = replace(own, **{name: values[netlist.parent] for name, values in place.items()})
    return placed_at(replace(netlist, **size, **grown), moved)


def _ratio(new: Array, old: Array) -> Array:
    return np.divide(new, old, out=np.ones_like(new), where=(old > 0) & (new > 0))


def at_one_point(netlist: Netlist, kind: int) -> tuple[int, int]:
    """How many nodes of a kind have their centres, or their lower left corners, at the commonest point, and all."""
    nodes = np.flatnonzero(netlist.kind == kind)
    if not len(nodes):
        return 0, 0
    centre = np.stack([netlist.x[nodes], netlist.y[nodes]])
    corner = centre - np.stack([netlist.width[nodes], netlist.height[nodes]]) / 2
    return max(int(np.unique(np.round(at, 9), axis=1, return_counts=True)[1].max()) for at in (centre, corner)), len(
        nodes
    )
