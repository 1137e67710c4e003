"""The graph that agents see of a chip: macros and clustered ports, linked where nets join them.

Rows are the macros in the order of the file, then clusters of ports that share a cell of the grid (Circuit Training,
`get_macro_and_clustered_port_adjacency`). A body is a macro or a single port: what pins stand on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sysgym.chip_placement.formats.netlist import CELL, HARD, PIN, PORT, SOFT, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.chip_placement.geometry.legal import adjacency
from sysgym.chip_placement.geometry.macros import macro_sizes
from sysgym.chip_placement.geometry.moves import incidence
from sysgym.core.problem import Array


class Bodies(NamedTuple):
    """Macros, then ports, as plain arrays over b bodies, and the nets over them."""

    node: Array  # (b,) int64, the node of each body
    width: Array  # (b,) float64
    height: Array
    hard: Array  # (b,) bool
    ptr: Array  # (m + 1,) int64: entries ptr[e]..ptr[e + 1] are net e
    body: Array  # int32
    dx: Array  # float64, of the pin from the centre in orientation N
    dy: Array
    weight: Array  # (m,) float64
    net_ptr: Array  # (b + 1,) int64: net_of[net_ptr[i]:net_ptr[i + 1]] are the nets of body i
    net_of: Array


def start_facing(netlist: Netlist, start: Placement) -> Array:
    """Orientations before anything is placed, (n,): those of fixed macros, N for the others."""
    return np.where(start.fixed[netlist.parent], start.orientation, 0).astype(np.int8)


def make_bodies(netlist: Netlist, start: Placement) -> Bodies:
    """Bodies of a chip."""
    node = np.concatenate([netlist.macros, np.flatnonzero(netlist.kind == PORT)])
    index = np.full(len(netlist.kind), -1, np.int64)
    index[node] = np.arange(len(node))
    own = netlist.kind == PIN
    index[own] = index[netlist.parent[own]]
    body = index[netlist.pins]
    width, height = macro_sizes(netlist, orientation=start_facing(netlist, start))
    nets = np.repeat(np.arange(netlist.nets), np.diff(netlist.ptr))
    return Bodies(
        node, width[node], height[node], netlist.kind[node] == HARD, netlist.ptr, body.astype(np.int32),
        netlist.x_offset[netlist.pins], netlist.y_offset[netlist.pins], netlist.weight,
        *incidence(body, nets, len(node)),
    )  # fmt: skip


def without_cells(netlist: Netlist) -> Netlist:
    """The netlist without the pins of standard cells, and without nets of a single pin."""
    kept = netlist.kind[netlist.parent[netlist.pins]] != CELL
    nets = np.repeat(np.arange(netlist.nets), np.diff(netlist.ptr))[kept]
    sizes = np.bincount(nets, minlength=netlist.nets)
    large = sizes >= 2
    return replace(
        netlist, ptr=np.concatenate([[0], np.cumsum(sizes[large])]).astype(np.int64),
        pins=netlist.pins[kept][large[nets]], weight=netlist.weight[large],
    )  # fmt: skip


def port_clusters(netlist: Netlist, canvas: Canvas, start: Placement) -> tuple[Array, Array]:
    """Cluster of each port (p,) int64, and the positions of the clusters (k, 2) in microns.

    Ports that share a cell are one cluster. It stands on the middle of the border of its cell, in a corner of the
    canvas if the cell is one, in the middle of a cell that touches no border.
    """
    ports = np.flatnonzero(netlist.kind == PORT)
    cells = [
        np.clip(np.floor(at[ports] / side), 0, count - 1).astype(np.int64)
        for at, side, count in zip((start.x, start.y), canvas.cell, (canvas.columns, canvas.rows), strict=True)
    ]
    keys, cluster = np.unique(cells[1] * canvas.columns + cells[0], return_inverse=True)
    places = []
    for index, side, count in ((keys % canvas.columns, canvas.cell[0], canvas.columns),
                               (keys // canvas.columns, canvas.cell[1], canvas.rows)):  # fmt: skip
        places.append(np.where(index == 0, 0.0, np.where(index == count - 1, count * side, (index + 0.5) * side)))
    return cluster, np.stack(places, axis=1).reshape(-1, 2)


class Graph(NamedTuple):
    """Rows and links of a chip."""

    nodes: Array  # (n, 6) float32: width, height (of the half perimeter), hard, soft, port, degree (of the mean)
    ports: Array  # (k, 2) float64, positions of the port clusters, which are the last k rows
    edges: Array  # (2e, 1) float32, weight over the mean weight
    edge_index: Array  # (2, 2e) int32, both directions


NODE_FEATURES = ("width", "height", "hard", "soft", "port", "degree")


def make_graph(netlist: Netlist, canvas: Canvas, start: Placement) -> Graph:
    """The graph of a chip."""
    cluster, places = port_clusters(netlist, canvas, start)
    macros = netlist.macros
    row = np.full(len(netlist.kind), -1, np.int64)
    row[macros] = np.arange(len(macros))
    row[netlist.kind == PORT] = len(macros) + cluster
    a, b, weight = adjacency(netlist)
    low, high = np.minimum(row[a], row[b]), np.maximum(row[a], row[b])
    real = low != high
    count = len(macros) + len(places)
    keys, inverse = np.unique(low[real] * count + high[real], return_inverse=True)
    weight = np.bincount(inverse, weight[real], len(keys))
    low, high = keys // max(count, 1), keys % max(count, 1)
    index = np.stack([np.concatenate([low, high]), np.concatenate([high, low])]).astype(np.int32)
    degree = np.bincount(index[0], np.concatenate([weight, weight]), count)
    hp = canvas.width + canvas.height
    width, height = macro_sizes(netlist, orientation=start_facing(netlist, start))
    kinds = np.concatenate([netlist.kind[macros], np.full(len(places), PORT)])
    none = np.zeros(len(places))
    columns = [
        np.append(width[macros] / hp, none), np.append(height[macros] / hp, none), kinds == HARD, kinds == SOFT,
        kinds == PORT, np.minimum(degree / max(float(degree.mean()) if count else 0.0, 1e-9), 1e3),
    ]  # fmt: skip
    both = np.concatenate([weight, weight]) / max(float(weight.mean()) if len(weight) else 0.0, 1e-9)
    return Graph(
        np.stack(columns, axis=1).astype(np.float32), places, np.minimum(both, 1e3).astype(np.float32)[:, None], index
    )
