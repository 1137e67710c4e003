"""Clustered netlists: standard cells grouped into soft macros by the rules of Circuit Training.

Source: google-research/circuit_training, `grouping/`, whose stages are followed to the bit. Macros' pins and ports that
lie close together seed fixed groups, which take in the cells next to them; a hypergraph partitioner groups the other
cells; groups that are too wide are broken up and small ones merged into their neighbours; and each group becomes a
soft macro. Groups are (n,) int64 arrays over all nodes, -1 for none. Stages before the last see the netlist without
its nets of more than 500 sinks.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from sysgym.chip_placement.formats.netlist import CELL, HARD, PIN, PORT, Netlist
from sysgym.chip_placement.grouping.clusters import Fanouts, centres, cluster, fanouts, locations, on_cells
from sysgym.core.data import read_text
from sysgym.core.errors import MissingDependency, UsageError
from sysgym.core.problem import Array


def group_cells(
    netlist: Netlist, canvas_width: float, canvas_height: float, columns: int, rows: int | None = None, *,
    groups: Array | None = None, partition: Array | None = None, free_groups: int = 500, utilization: float = 0.5,
    seed: int = 0,
) -> Netlist:  # fmt: skip
    """The clustered netlist of a full one: its cells in soft macros `Grp_<group>`, one grid column wide.

    Lengths in microns, the canvas of `columns` times `rows` (default: about square cells). `groups` holds the final
    group of every node; or `partition` the part of every node as hMETIS reports it, which is broken up and merged
    first; without either Mt-KaHyPar partitions into `free_groups` more parts than there are fixed groups (package
    mtkahypar). Soft macros get the area of their cells over `utilization`. UsageError if an array has not one entry a
    node; MissingDependency without mtkahypar.
    """
    rows = rows or max(1, round(columns * canvas_height / canvas_width))
    if groups is None:
        fixed = fixed_groups(netlist, canvas_width, canvas_height, columns, rows)
        if partition is None:
            parts = free_groups + len(np.unique(fixed[fixed >= 0]))
            partition = partition_cells(netlist, fixed, parts, seed)
        groups = final_groups(netlist, fixed, _one_each(partition, netlist), canvas_width, canvas_height)
    return cluster(netlist, _one_each(groups, netlist), canvas_width / columns, utilization)


def read_groups(path: str | Path, netlist: Netlist) -> Array:
    """One group a node from a file of one number a line (`groups.final`, `.fix`, `.part.k`), also gzipped."""
    lines = read_text(path).split()
    for number, word in enumerate(lines, 1):
        if not (word == "-1" or (word.isascii() and word.isdecimal() and len(word) < 19)):
            raise UsageError(f"{path} line {number}: expected the number of a group or -1, got {word[:40]!r}.")
    if len(lines) != len(netlist.kind):
        raise UsageError(f"{path} names {len(lines)} groups, netlist {netlist.name} has {len(netlist.kind)} nodes.")
    return np.array(lines, np.int64)


def _one_each(values: Array, netlist: Netlist) -> Array:
    values = np.asarray(values, np.int64)
    if values.shape != netlist.kind.shape:
        raise UsageError(f"groups have the shape {values.shape}; netlist {netlist.name} has {len(netlist.kind)} nodes.")
    return values


def fixed_groups(netlist: Netlist, width: float, height: float, columns: int, rows: int, levels: int = 1) -> Array:
    """Groups of the pins of each hard macro and of ports closer than a cell of the grid, -1 for other nodes.

    Cells within `levels` nets of such a pin or port join its group, the first that reaches them. Ports without
    coordinates count as placed at (0, 0).
    """
    x, y = locations(netlist)
    group = np.full(len(x), -1, np.int64)
    hard = np.flatnonzero(netlist.kind == HARD)
    number = np.full(len(x), -1, np.int64)
    number[hard] = np.arange(len(hard))
    pins = np.flatnonzero(netlist.kind == PIN)
    group[pins] = number[netlist.parent[pins]]
    ports = np.flatnonzero(netlist.kind == PORT)
    diagonal = x[ports] * height / width
    above, right = y[ports] > diagonal, y[ports] > height - diagonal
    last = len(hard)
    for vertical, members in ((False, above & right), (True, ~above & right), (False, ~above & ~right),
                              (True, above & ~right)):  # fmt: skip
        at = ports[members]
        along = y if vertical else x
        reach = height / rows if vertical else width / columns
        at = at[np.argsort(along[at], kind="stable")]
        start = along[at[0]] if len(at) else 0.0
        for port in at:
            if along[port] - start > reach:
                last, start = last + 1, along[port]
            group[port] = last
        last += len(at) > 0
    nets = fanouts(netlist)
    for _ in range(levels):
        _expand(netlist, nets, group)
    return group


def _expand(netlist: Netlist, nets: Fanouts, group: Array) -> None:
    """Let the cells that a grouped node drives or is driven by join its group, unless they have one."""
    sources: list[list[int]] = [[] for _ in group]
    sinks: list[list[int]] = [[] for _ in group]
    for driver, driven in zip(nets.driver, nets.sinks, strict=True):
        sinks[driver] += driven
        for sink in driven:
            sources[sink].append(driver)
    free = ((netlist.kind == CELL) & (group < 0)).tolist()
    for node in np.flatnonzero(group >= 0).tolist():
        for other in sinks[node] + sources[node]:
            if free[other]:
                free[other] = False
                group[other] = group[node]


def final_groups(netlist: Netlist, fixed: Array, partition: Array, width: float, height: float) -> Array:
    """Groups from the parts of a partitioner that kept the `fixed` groups, broken up and merged, (n,) int64.

    A free node in part p starts in group p plus the number of fixed groups. UsageError if a fixed node is elsewhere.
    """
    wrong = np.flatnonzero((fixed >= 0) & (partition != fixed))
    if len(wrong):
        at = int(wrong[0])
        name = netlist.names[at]
        raise UsageError(f"the partition puts {name!r} into part {partition[at]}; it is fixed to part {fixed[at]}.")
    groups = np.where(fixed >= 0, fixed, partition + len(np.unique(fixed[fixed >= 0])))
    threshold = float(np.sqrt(width * height / 16))
    most = len(groups) // len(np.unique(groups)) // 4
    groups = break_up(netlist, groups, threshold)
    merged = most <= 0
    while not merged:
        groups, merged = merge_small(netlist, groups, most, threshold / 2)
    return groups


def break_up(netlist: Netlist, groups: Array, threshold: float) -> Array:
    """Groups none of which is wider or higher than about `threshold` microns, (n,) int64.

    A group that is too wide is cut into buckets around the centre of its cells; all but the middle one get new
    numbers, in the order of their first nodes.
    """
    x, y = locations(netlist)
    centre_x, centre_y = centres(netlist, groups)
    groups, last = groups.copy(), int(groups.max())
    order = np.argsort(groups, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        at = groups[members[0]]
        if at < 0 or not (np.ptp(x[members]) > threshold or np.ptp(y[members]) > threshold):
            continue
        buckets = _buckets(x[members], centre_x[at], threshold), _buckets(y[members], centre_y[at], threshold)
        new: dict[tuple[int, int], int] = {(0, 0): int(at)}
        for node, bucket in zip(members, zip(*buckets, strict=True), strict=True):
            if bucket not in new:
                last += 1
                new[bucket] = last
            groups[node] = new[bucket]
    return groups


def _buckets(at: Array, centre: float, threshold: float) -> list[int]:
    if np.ptp(at) < threshold:
        return [0] * len(at)
    steps: list[int] = np.trunc(np.where(at > centre, 0.5, -0.5) + (at - centre) / threshold).astype(np.int64).tolist()
    return steps


def merge_small(netlist: Netlist, groups: Array, most: int, distance: float) -> tuple[Array, bool]:
    """Groups with those of up to `most` nodes joined to the neighbour they share most nets with.

    Neighbours are those whose centre is within `distance` (Manhattan). Returns the groups and whether no merged one
    is still that small, so that another pass would be of no use.
    """
    shared = _shared_nets(netlist, groups)
    x, y = centres(netlist, groups)
    groups, done = groups.copy(), True
    sizes = np.bincount(groups[groups >= 0], minlength=len(x))
    for group in np.flatnonzero(sizes).tolist():
        if sizes[group] > most:
            continue
        near = np.abs(x - x[group]) + np.abs(y - y[group]) <= distance
        count = np.where(near, shared[group], 0)
        count[group] = 0
        best = int(count.argmax())
        if count[best] == 0:
            continue
        moved = np.flatnonzero(groups == group)
        groups[moved] = best
        sizes[group], sizes[best] = sizes[group] - len(moved), sizes[best] + len(moved)
        done &= bool(sizes[best] > most)
    return groups, done


def _shared_nets(netlist: Netlist, groups: Array) -> Array:
    """How many nets each pair of groups shares, (k, k) int64; a macro and its driving pins count as a net."""
    nets = fanouts(netlist)
    lists = [[driver, *sinks] for driver, sinks in zip(nets.driver, nets.sinks, strict=True) if groups[driver] >= 0]
    own: dict[int, list[int]] = {}
    for pin in np.unique(netlist.pins[netlist.ptr[:-1]]).tolist():
        if netlist.kind[pin] == PIN:
            macro = int(netlist.parent[pin])
            own.setdefault(macro, [macro]).append(pin)
    lists += [pins for macro, pins in own.items() if groups[macro] >= 0]
    row = np.repeat(np.arange(len(lists)), [len(item) for item in lists])
    column = groups[np.array([node for item in lists for node in item], np.int64)]
    row, column = row[column >= 0], column[column >= 0]
    touch = sp.csr_matrix((np.ones(len(row), np.int64), (row, column)), shape=(len(lists), int(groups.max()) + 1))
    touch.sum_duplicates()
    touch.data[:] = 1
    return np.asarray((touch.T @ touch).toarray())


def format_hypergraph(netlist: Netlist) -> str:
    """The nets as hMETIS reads them: counts of nets and nodes, then a line of nodes from 1 on for each net."""
    nets = fanouts(netlist)
    lines = [" ".join(str(node + 1) for node in (driver, *sinks)) for driver, sinks, _ in zip(*nets, strict=True)]
    return "\n".join([f"{len(lines)} {len(netlist.kind)}", *lines]) + "\n"


def format_groups(groups: Array) -> str:
    """One group a line, as `read_groups` reads it."""
    return "\n".join(map(str, groups.tolist())) + "\n"


def partition_cells(netlist: Netlist, fixed: Array, parts: int, seed: int = 0, imbalance: float = 0.1) -> Array:
    """Part of every node, (n,) int64, by Mt-KaHyPar: connectivity is minimised, fixed groups are parts of that number.

    Deterministic. `imbalance` is how much more than the average a part may hold. MissingDependency without mtkahypar.
    """
    mtkahypar, kahypar = _mtkahypar()
    real = on_cells(netlist) == np.arange(len(fixed))
    number = np.cumsum(real) - 1
    nets = fanouts(netlist)
    edges = [number[list(dict.fromkeys((at, *sinks)))].tolist() for at, sinks, _ in zip(*nets, strict=True)]
    mtkahypar.set_seed(seed)
    context = kahypar.context_from_preset(mtkahypar.PresetType.DETERMINISTIC)
    context.set_partitioning_parameters(parts, imbalance, mtkahypar.Objective.KM1)
    context.logging = False
    graph = kahypar.create_hypergraph(context, int(real.sum()), len(edges), edges)
    graph.add_fixed_vertices(fixed[real].tolist(), parts)
    found: Array = np.array(graph.partition(context).get_partition(), np.int64)[number]
    return found  # pins of cells follow the node before them; nothing looks at them


@cache
def _mtkahypar() -> tuple[Any, Any]:
    """The module and its initialised core, one thread; a process can set this up only once."""
    try:
        module = importlib.import_module("mtkahypar")
    except ImportError as error:
        raise MissingDependency(
            "grouping cells without a given partition needs mtkahypar: pip install 'sysgym[partitioners]'."
        ) from error
    return module, module.initialize(1)
