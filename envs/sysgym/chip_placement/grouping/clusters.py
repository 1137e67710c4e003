"""Soft macros out of groups of standard cells, the last stage of Circuit Training's grouping.

Source: google-research/circuit_training, `grouping/grouping.py` (`write_grouped_netlist`). Sums run in the order of
the nodes and in double precision over single precision values, so that results agree to the last bit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sysgym.chip_placement.formats.netlist import CELL, PIN, SOFT, Netlist
from sysgym.chip_placement.formats.netlist_writer import single
from sysgym.chip_placement.formats.plc import netlist_placement
from sysgym.chip_placement.geometry.macros import positions
from sysgym.core.problem import Array

Driven = list[tuple[list[int], float]]  # sinks of nets and their weights
MOST_SINKS = 500  # nets of more are left out


class Fanouts(NamedTuple):
    """Nets without those of too many sinks, by the index of their driver; pins of cells stand for their cells."""

    driver: list[int]
    sinks: list[list[int]]  # each once, in the order of the net
    weight: list[float]


def fanouts(netlist: Netlist) -> Fanouts:
    """The nets that grouping sees."""
    first = netlist.pins[netlist.ptr[:-1]]
    pins = on_cells(netlist)[netlist.pins].tolist()
    ptr, weight = netlist.ptr.tolist(), netlist.weight.tolist()
    found = Fanouts([], [], [])
    for e in np.argsort(first, kind="stable").tolist():
        sinks = list(dict.fromkeys(pins[ptr[e] + 1 : ptr[e + 1]]))
        if 0 < len(sinks) <= MOST_SINKS:
            found.driver.append(pins[ptr[e]])
            found.sinks.append(sinks)
            found.weight.append(weight[e])
    return found


def on_cells(netlist: Netlist) -> Array:
    """The cell that a pin is on, otherwise the node itself, (n,) int64."""
    on_cell = (netlist.kind == PIN) & (netlist.kind[netlist.parent] == CELL)
    return np.where(on_cell, netlist.parent, np.arange(len(on_cell)))


def locations(netlist: Netlist) -> tuple[Array, Array]:
    """Positions of all nodes, (n,) float64 each, from the netlist's numbers in single precision."""
    rounded = replace(netlist, x=_rounded(netlist.x), y=_rounded(netlist.y), x_offset=_rounded(netlist.x_offset),
                      y_offset=_rounded(netlist.y_offset))  # fmt: skip
    return positions(rounded, netlist_placement(rounded))


def _rounded(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)


def areas(netlist: Netlist) -> Array:
    """Areas of the cells, 0 for other nodes, (n,) float64."""
    return np.where(netlist.kind == CELL, _rounded(netlist.width) * _rounded(netlist.height), 0.0)


def centres(netlist: Netlist, groups: Array) -> tuple[Array, Array]:
    """Centre of mass of the cells of each group, (groups.max() + 1,) float64 each; 0 without cells."""
    area, at = areas(netlist), groups >= 0
    x, y = locations(netlist)
    total = np.bincount(groups[at], area[at])
    some = np.where(total < 1e-9, np.inf, total)
    return np.bincount(groups[at], (x * area)[at]) / some, np.bincount(groups[at], (y * area)[at]) / some


def cluster(netlist: Netlist, groups: Array, width: float, utilization: float) -> Netlist:
    """The netlist with the cells of each group in a soft macro `width` microns wide.

    `groups` is (n,) int64, -1 for cells that stay, which then are nobody's sinks. A cell of a group whose net leaves
    the group becomes an output pin of the soft macro; those that drive only one same node or group share a pin, which
    weighs as much as they do. All sinks within a group are its one input pin.
    """
    grouped = (netlist.kind == CELL) & (groups >= 0)
    kept = np.flatnonzero(~grouped & (on_cells(netlist) == np.arange(len(groups))))
    present = np.unique(groups[grouped])
    names, macro, nets = _lay_out([netlist.names[at] for at in kept], kept, present, _outputs(netlist, groups, grouped))
    new = np.arange(len(kept), len(names))
    soft = np.flatnonzero(new == macro)
    area = np.bincount(groups[grouped], areas(netlist)[grouped])
    zero, wide, high = np.zeros(len(new)), np.zeros(len(new)), np.zeros(len(new))
    wide[soft], high[soft] = width, area[present] / utilization / width
    x, y = locations(netlist)
    centre_x, centre_y = centres(netlist, groups)
    at = np.repeat(present, np.diff(np.r_[soft, len(new)]))
    return Netlist(
        name=netlist.name, kind=np.r_[netlist.kind[kept], np.where(new == macro, SOFT, PIN)].astype(np.int8),
        width=single(np.r_[netlist.width[kept], wide]), height=single(np.r_[netlist.height[kept], high]),
        x=single(np.r_[x[kept], centre_x[at]]), y=single(np.r_[y[kept], centre_y[at]]),
        orientation=np.r_[netlist.orientation[kept], zero].astype(np.int8),
        parent=np.r_[np.searchsorted(kept, netlist.parent[kept]), macro].astype(np.int32),
        x_offset=single(np.r_[netlist.x_offset[kept], zero]), y_offset=single(np.r_[netlist.y_offset[kept], zero]),
        ptr=np.cumsum([0, *(len(pins) for pins, _ in nets)], dtype=np.int64),
        pins=np.array([node for pins, _ in nets for node in pins], np.int32),
        weight=np.array([weight for _, weight in nets], np.float64), names=tuple(names),
    )  # fmt: skip


def _lay_out(
    names: list[str], kept: Array, present: Array, outputs: dict[int, Driven]
) -> tuple[list[str], Array, Driven]:
    """Names of the kept nodes, then of each soft macro and its pins; the macro of each of the latter; all nets."""
    place = {at: i for i, at in enumerate(kept.tolist())}  # also, as -group - 1, of each input pin
    driven = [(place[at], *net) for at in kept.tolist() for net in outputs.get(at, ())]
    macro: list[int] = []
    for group in present.tolist():
        owner = len(names)
        multi, alone = _shared(outputs.get(-group - 1, []))
        names += [f"Grp_{group}", *(f"Grp_{group}/Poutput_multi_{i}" for i in range(len(multi)))]
        names += [*(f"Grp_{group}/Poutput_single_{i}" for i in range(len(alone))), f"Grp_{group}/Pinput"]
        driven += [(owner + 1 + i, *net) for i, net in enumerate(multi + alone)]
        place[-group - 1] = len(names) - 1
        macro += [owner] * (len(names) - owner)
    return names, np.array(macro, np.int64), [([at, *(place[k] for k in keys)], weight) for at, keys, weight in driven]


def _outputs(netlist: Netlist, groups: Array, grouped: Array) -> dict[int, Driven]:
    """What each node, or group as -group - 1, drives: per net that leads elsewhere its sorted sinks and its weight.

    Sinks in a group are -group - 1, other cells are left out.
    """
    keys = np.where(grouped, -groups - 1, np.arange(len(groups))).tolist()
    dropped = ((netlist.kind == CELL) & ~grouped).tolist()
    found: dict[int, Driven] = {}
    for driver, sinks, weight in zip(*fanouts(netlist), strict=True):
        own = keys[driver]
        driven = {keys[sink] for sink in sinks if not dropped[sink]}
        if own < 0:
            driven.discard(own)
        if driven:
            found.setdefault(own, []).append((sorted(driven), weight))
    return found


def _shared(nets: Driven) -> tuple[Driven, Driven]:
    """Nets with several sinks as they are, and one for each sink of the others with the sum of their weights."""
    alone: dict[int, float] = {}
    for sinks, weight in nets:
        if len(sinks) == 1:
            alone[sinks[0]] = alone.get(sinks[0], 0.0) + weight
    return [net for net in nets if len(net[0]) > 1], [([sink], alone[sink]) for sink in sorted(alone)]
