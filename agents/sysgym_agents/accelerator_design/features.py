"""What a surrogate sees of regions, of machines, and of a region on a machine: logarithms, each of a few units."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sysgym.accelerator_design.fusion_kernels import CAPACITY
from sysgym.accelerator_design.instance import C, K, P, Q, R, S
from sysgym.accelerator_design.space import BANDWIDTH, BATCH, GM, L2CFG, L2I, L2O, PE_X, PE_Y, SA_X, SA_Y, VM
from sysgym.core.problem import Array

if TYPE_CHECKING:
    from sysgym.accelerator_design.instance import Workloads
    from sysgym.accelerator_design.problem import AcceleratorDesign

MIB = 2.0**20
NODES, MACHINE, PAIR = 26, 25, 11  # widths of the three


class Regions(NamedTuple):
    """Sizes of regions, (U,) float64 each: multiply-adds, vector operations, channels, filters, rows of output, taps
    of a kernel; elements of the inputs, the output and the weights.
    """

    macs: Array
    ops: Array
    depth: Array
    filters: Array
    rows: Array
    taps: Array
    reads: Array
    out: Array
    weights: Array

    def of(self, rows: Array) -> Regions:
        """Some of them."""
        return Regions(*(column[rows] for column in self))


def regions_of(work: Workloads) -> Regions:
    """The regions of a workload."""
    shape = work.shape.astype(np.float64)
    reads = np.add.reduceat(work.elems[work.in_tensor], work.in_ptr[:-1])
    columns = (work.macs, work.vec_ops, shape[:, C], shape[:, K], shape[:, P] * shape[:, Q],
               shape[:, R] * shape[:, S], reads, work.elems[work.out], work.weights)  # fmt: skip
    return Regions(*(column.astype(np.float64) for column in columns))


def node_features(problem: AcceleratorDesign, work: Workloads) -> Array:
    """(R, NODES) float32: the observation's, how long the output is needed and by how many, and the whole network."""
    ptr, readers = work.consumers
    count = np.diff(ptr)[work.out]
    place = np.arange(len(work.kind))
    last = np.where(count > 0, readers[np.maximum(ptr[work.out + 1] - 1, 0)], place)
    first, sizes = work.first[:-1], regions_of(work)
    whole = np.stack([
        np.add.reduceat(sizes.macs, first), np.add.reduceat(2 * sizes.weights, first),
        np.maximum.reduceat(2 * sizes.out, first), np.add.reduceat(2 * sizes.out, first), np.diff(work.first),
    ], axis=1)  # fmt: skip
    static = problem.static(work)["nodes"]
    own = np.stack([np.log1p(last - place) / 3, np.log1p(count)], axis=1)
    return np.concatenate([static, own, np.log1p(whole)[work.network] / 10], axis=1).astype(np.float32)


def machine_features(machines: Array) -> Array:
    """(n, MACHINE) float32 of machines (n, 20)."""
    from sysgym_agents.accelerator_design.surrogate_kernels import sizes

    derived = np.empty((len(machines), 6))
    sizes(machines, derived)
    values = np.log2(np.maximum(machines[:, : BATCH + 1], 0.5))
    values[machines[:, L2CFG] == 0, L2I : L2O + 1] = 0
    kinds = np.eye(3)[machines[:, L2CFG].astype(np.int64)]
    return np.concatenate([values / 4, kinds, derived / 4], axis=1).astype(np.float32)


def pair_features(regions: Regions, machines: Array) -> tuple[Array, Array]:
    """(n, U, PAIR) float32 of regions on machines, and the nanoseconds (n, U) that computing takes at least there.

    Times of multiplying, of vector operations and of the least traffic; sizes over what may stay in memory; how badly
    channels and filters fill the array; rows and filters an element.
    """
    elements = (machines[:, PE_X] * machines[:, PE_Y])[:, None]
    rows, columns, batch = machines[:, SA_X, None], machines[:, SA_Y, None], machines[:, BATCH, None]
    room = np.maximum(machines[:, GM, None], 0.1) * CAPACITY * MIB
    multiply = regions.macs * batch / (elements * rows * columns)
    vector = regions.ops * batch / (elements * columns * machines[:, VM, None])
    moved = 2 * (batch * (regions.reads + regions.out) + regions.weights)
    taps = regions.depth * regions.taps
    found = [
        multiply + 1, vector + 1, moved / machines[:, BANDWIDTH, None] + 1, (2 * batch * regions.out + 1) / room,
        (2 * batch * regions.reads + 1) / room, (2 * regions.weights + 1) / room,
        np.ceil(regions.depth / rows) * rows / regions.depth, np.ceil(taps / rows) * rows / taps,
        np.ceil(regions.filters / columns) * columns / regions.filters, (batch * regions.rows + 1) / elements,
        np.ceil(regions.filters / columns) / elements,
    ]  # fmt: skip
    floor = np.maximum(np.maximum(multiply, vector), 1.0)
    return (np.log(np.stack(np.broadcast_arrays(*found), axis=-1)) / 4).astype(np.float32), floor
