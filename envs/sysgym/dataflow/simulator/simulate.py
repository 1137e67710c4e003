"""The simulator: what a placement and an order cost, exactly, in integer nanoseconds."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.dataflow.graphs.cluster import BANDWIDTH, LATENCY_NS, LINK_MODES, Cluster
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.simulator import kernels
from sysgym.resources import threads as allowed_threads

TOP_PRIORITY = 2**20 - 1  # that the critical path is given
PRIORITY_LIMIT = 2**30


class Outcome(NamedTuple):
    """One execution of a graph."""

    makespan_ns: int
    peak_bytes: Array  # (D,) int64 largest memory of each device at any time
    busy_ns: Array  # (D,) int64 time in which each device computes
    transfers: int
    transfer_bytes: int
    start: Array  # (N,) int64 nanoseconds
    finish: Array  # (N,) int64 nanoseconds
    moves: Array  # (transfers, 2) int32 tensor and destination, in the order of issue
    spans: Array  # (transfers, 2) int64 when each transfer occupies its links; it arrives the latency later


def check_range(graph: DataflowGraph, times: Array, cluster: Cluster) -> None:
    """UsageError where times could leave the simulator's range of integers."""
    longest = float(times.max(axis=0).sum(dtype=np.float64)) + cluster.devices * (
        graph.tensors * float(cluster.latency_ns.max())
        + float(graph.tensor_bytes.sum(dtype=np.float64)) * 1000 / float(cluster.bandwidth.min())
    )
    bits = 62 - (graph.edges + 1).bit_length() - 1
    if longest >= 2**bits or int(graph.tensor_bytes.max(initial=0)) >= 2**52:
        raise UsageError(
            f"{graph.name} on these devices could take {longest:.3g} ns, more than the simulator counts (2^{bits}); "
            "use a higher bandwidth, a lower latency, or a larger unit of time."
        )


def ranks(priority: Array) -> Array:
    """Places in the order of priorities, (..., N) int64: 0 is the highest."""
    wide = np.asarray(priority, np.int64)
    return np.asarray(wide.max(initial=0) - wide)


def simulate(
    graph: DataflowGraph, times: Array, cluster: Cluster, placement: Array, priority: Array | None = None,
    memory: bool = True,
) -> Outcome:  # fmt: skip
    """Execute a graph.

    times: (D, N) int64 nanoseconds, see `Cluster.times`. placement: (N,) device of each operator. priority: (N,)
    integers, the highest first; None is first come, first served. Without `memory`, peaks count parameters only.
    Rules: section "Simulator" of the problem's documentation; no value is checked here (`check_range`).
    """
    nodes, devices, edges = graph.nodes, cluster.devices, graph.edges
    start, finish = np.empty(nodes, np.int64), np.empty(nodes, np.int64)
    peak, busy = np.empty(devices, np.int64), np.empty(devices, np.int64)
    moves, spans = np.empty((edges + 1, 2), np.int32), np.empty((edges + 1, 2), np.int64)
    makespan, count, moved = kernels.run(
        *_graph_arrays(graph), times, np.ascontiguousarray(placement, np.int32),
        _NO_RANKS if priority is None else ranks(priority), priority is None, cluster.bandwidth, cluster.latency_ns,
        LINK_MODES.index(cluster.link_mode), memory, start, finish, peak, busy, moves, spans,
    )  # fmt: skip
    return Outcome(makespan, peak, busy, count, moved, start, finish, moves[:count], spans[:count])


def evaluate_batch(
    graph: DataflowGraph, times: Array, cluster: Cluster, placements: Array, priorities: Array | None = None,
    memory: bool = True, threads: int | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """Makespans (B,) int64 and peaks (B, D) int64 of placements (B, N).

    priorities: (B, N), one row (1, N) for all, or None. Threads (default: those that `set_threads` allows) share the
    rows; results do not depend on them.
    """
    rows = np.ascontiguousarray(placements, np.int32)
    order = _NO_RANKS[None, :] if priorities is None else ranks(np.atleast_2d(priorities))
    makespans = np.empty(len(rows), np.int64)
    peaks = np.empty((len(rows), cluster.devices), np.int64)
    workers = max(1, min(threads or allowed_threads(), len(rows)))
    cuts = np.linspace(0, len(rows), workers + 1).astype(int).tolist()

    def work(first: int, last: int) -> None:
        kernels.run_all(
            *_graph_arrays(graph), times, rows, order, priorities is None, cluster.bandwidth, cluster.latency_ns,
            LINK_MODES.index(cluster.link_mode), memory, first, last, makespans, peaks,
        )  # fmt: skip

    if workers == 1:
        work(0, len(rows))
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, cuts[:-1], cuts[1:]))
    return makespans, peaks


def critical_path_rank(
    graph: DataflowGraph, time_ns: Array, devices: int, share: float | None = None,
    bandwidth: float = BANDWIDTH, latency_ns: float = LATENCY_NS,
) -> Array:  # fmt: skip
    """Upward rank, (N,) float64 ns: the longest path from each operator on, transfers counted by `share`.

    `share`, by default (D - 1) / D, is the chance that a reader stands on another device (HEFT, Topcuoglu et al. 2002).
    """
    rank = np.empty(graph.nodes)
    share = (devices - 1) / devices if share is None else share
    kernels.upward_rank(graph.out_ptr, graph.use_ptr, graph.use_node, graph.tensor_bytes,
                        np.asarray(time_ns, np.float64), float(bandwidth), float(latency_ns), share, rank)  # fmt: skip
    return rank


def critical_path_priority(graph: DataflowGraph, times: Array, cluster: Cluster, share: float | None = None) -> Array:
    """Priorities 0..TOP_PRIORITY, (N,) int64, in proportion to the upward rank with mean times and links."""
    devices = cluster.devices
    apart = ~np.eye(devices, dtype=bool) if devices > 1 else np.ones((1, 1), bool)
    rank = critical_path_rank(
        graph, times.mean(axis=0), devices, share, cluster.bandwidth[apart].mean() / 1000,
        cluster.latency_ns[apart].mean(),
    )  # fmt: skip
    return np.asarray(rank / max(rank.max(), 1e-9) * TOP_PRIORITY).astype(np.int64)


def critical_path_ns(graph: DataflowGraph, time_ns: Array) -> int:
    """Length of the longest path, without any transfer."""
    finish = np.empty(graph.nodes, np.int64)
    return int(kernels.longest_path(graph.in_ptr, graph.edge_src, np.asarray(time_ns, np.int64), finish))


def lower_bound_ns(graph: DataflowGraph, times: Array) -> int:
    """No execution is faster than the longest path, or than the total over the devices, at the best times."""
    best = times.min(axis=0)
    return max(critical_path_ns(graph, best), -(-int(best.sum()) // len(times)))


_NO_RANKS = np.zeros(1, np.int64)


def _graph_arrays(graph: DataflowGraph) -> Sequence[Array]:
    return (graph.in_ptr, graph.edge_tensor, graph.out_ptr, graph.use_ptr, graph.use_node, graph.tensor_src,
            graph.tensor_bytes, graph.param_bytes)  # fmt: skip
