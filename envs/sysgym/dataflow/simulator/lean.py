"""What a search simulates with: tables made once for a graph on its devices, scratch made once for a search."""

from __future__ import annotations

import numpy as np

from sysgym.core.problem import Array
from sysgym.dataflow.graphs.cluster import LINK_MODES, Cluster
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.simulator import lean_kernels as kernels
from sysgym.dataflow.simulator.kernels import FAR

MOST_LISTED = 2**22  # times on links that are tabled; beyond, they are divided out each time


class Lean:
    """A graph on its devices for `lean_kernels`: the makespan of `simulate`, two to five times as fast.

    times: (D, N) int64 nanoseconds, see `Cluster.times`. Memory is not looked at.
    """

    def __init__(self, graph: DataflowGraph, times: Array, cluster: Cluster) -> None:
        self.nodes, self.edges, self.devices = graph.nodes, graph.edges, cluster.devices
        degree = np.diff(graph.in_ptr).astype(np.int32)
        self.net = kernels.Net(
            graph.in_ptr, graph.edge_src, graph.out_ptr, graph.use_ptr, graph.use_node, graph.tensor_bytes, degree,
            np.flatnonzero(degree == 0).astype(np.int32),
        )  # fmt: skip
        self.machines = _machines(graph, times, cluster)

    def scratch(self) -> kernels.Scratch:
        """Room for simulations, one at a time."""
        nodes, edges, devices = self.nodes, self.edges, self.devices
        return kernels.Scratch(
            np.empty(nodes, np.int32), np.empty(nodes, np.int32), np.empty(nodes, np.int32), np.empty(nodes, np.int64),
            np.empty(edges + 1, np.int64), np.empty(edges + 1, np.int64), np.empty((8, devices), np.int64),
            np.empty((devices, devices), np.int64), np.empty(devices, np.int64),
        )  # fmt: skip

    def loads(self, place: Array) -> Array:
        """Work of each device, (D,) int64 ns, under a placement (N,)."""
        found = np.zeros(self.devices, np.int64)
        np.add.at(found, place, self.machines.times[self.machines.row[place], np.arange(len(place))])
        return found

    def tails(self, place: Array) -> Array:
        """Longest path from the start of each operator on with a placement's transfers, (N,) int64 ns."""
        found = np.empty(len(place), np.int64)
        kernels.tails(self.net, self.machines, np.asarray(place, np.int8), found)
        return found

    def makespan(
        self, placement: Array, priority: Array | None = None, limit: int | None = None,
        scratch: kernels.Scratch | None = None,
    ) -> int | None:  # fmt: skip
        """Makespan in ns, what `simulate` says; None as soon as it is certain to exceed the limit.

        placement: (N,) devices. priority: (N,) integers, the highest first; None is first come, first served.
        """
        place, fifo = np.asarray(placement, np.int8), priority is None
        rank = np.zeros(1, np.int64) if priority is None else -np.asarray(priority, np.int64)
        tail = np.zeros(1, np.int64) if limit is None else self.tails(place)
        found = kernels.makespan(self.net, self.machines, place, rank, fifo, self.loads(place), limit is not None,
                                 limit or 0, tail, scratch or self.scratch())[0]  # fmt: skip
        return None if found == FAR else int(found)


def _machines(graph: DataflowGraph, times: Array, cluster: Cluster) -> kernels.Machines:
    rows, row = times[:1], np.zeros(cluster.devices, np.int64)
    if (times != rows).any():
        rows, row = np.unique(times, axis=0, return_inverse=True)
    apart = np.where(np.eye(cluster.devices, dtype=bool), cluster.bandwidth[0, -1], cluster.bandwidth)
    speeds, pace = np.unique(apart, return_inverse=True)
    if len(speeds) * graph.tensors <= MOST_LISTED:
        occupied = -(-graph.tensor_bytes[None, :] * 1000 // speeds[:, None])
    else:
        occupied = np.zeros((1, 0), np.int64)
    return kernels.Machines(
        np.ascontiguousarray(rows), row.ravel().astype(np.int32), np.ascontiguousarray(occupied),
        pace.reshape(apart.shape).astype(np.int32), cluster.bandwidth, cluster.latency_ns,
        LINK_MODES.index(cluster.link_mode),
    )  # fmt: skip
