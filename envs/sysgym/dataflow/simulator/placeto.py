"""Placeto's simulator (Addanki et al., NeurIPS 2019), for comparison with results that were measured by it.

Time is in floating-point microseconds. A device takes ready operators in the order in which they became ready and rests
a little after each that takes any time. It has one bus for all that it sends: a tensor goes once to all readers on
other devices together, and the bus rests after it. An operator counts as one reader of another, whatever the number of
tensors between them; only the last of these is sent. The result is the time of the last event, rests included.
"""

from __future__ import annotations

import numpy as np

from sysgym.core.problem import Array
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.simulator.placeto_kernels import run_placeto

DEVICE_REST_US, BUS_REST_US, BYTES_PER_US = 5.7, 25.0, 7600.0


def placeto_us(
    graph: DataflowGraph, placement: Array, times_us: Array | None = None, device_rest_us: float = DEVICE_REST_US,
    bus_rest_us: float = BUS_REST_US, bytes_per_us: float = BYTES_PER_US,
) -> float:  # fmt: skip
    """Microseconds of one execution in Placeto's simulator.

    placement: (N,) device of each operator. times_us: (N,), or (D, N) by device, microseconds; by default the graph's
    own. Ties are broken as if the operators' ids were their names. No value is checked.
    """
    place = np.ascontiguousarray(placement, np.int32)
    cost = graph.time_ns / 1000 if times_us is None else np.asarray(times_us, np.float64)
    if cost.ndim == 2:
        cost = cost[place, np.arange(graph.nodes)]
    src, dst = graph.edge_src, graph.edge_dst
    last = np.ones(graph.edges, np.bool_)  # of the reads of tensors of one operator by another
    last[:-1] = (src[1:] != src[:-1]) | (dst[1:] != dst[:-1])
    kept = np.flatnonzero(last)
    kept = kept[np.argsort(src[kept], kind="stable")]
    ptr = np.searchsorted(src[kept], np.arange(graph.nodes + 1)).astype(np.int32)
    waits = np.bincount(dst[kept], minlength=graph.nodes).astype(np.int64)
    return float(
        run_placeto(
            ptr, dst[kept], graph.edge_tensor[kept], waits, place, np.ascontiguousarray(cost, np.float64),
            graph.tensor_bytes / float(bytes_per_us), graph.tensor_src, float(device_rest_us), float(bus_rest_us),
            int(place.max(initial=0)) + 1,
        )
    )  # fmt: skip
