"""Throughput of a pipeline: how long each device is occupied by one sample.

The model of "Efficient Algorithms for Device Placement of DNN Graph Operators" (Tarnawski et al., NeurIPS 2020): many
samples are under way at once, so the device with the most to do limits their rate, and no order matters.
"""

from __future__ import annotations

import numpy as np

from sysgym.core.problem import Array
from sysgym.dataflow.graphs.graph import DataflowGraph


def device_loads(graph: DataflowGraph, placement: Array, times: Array, bandwidth: float) -> Array:
    """Nanoseconds that one sample occupies each device, (D,) float64; the largest is the time between two samples.

    placement: (N,) device of each operator. times: (D, N) nanoseconds. bandwidth: bytes per nanosecond. A device is
    occupied by its operators, by every tensor from elsewhere that they read, once however many of them read it, and by
    every tensor of its own that is read elsewhere, once however many devices read it.
    """
    devices, nodes = times.shape
    place = np.asarray(placement, np.int64)
    load = np.bincount(place, times[place, np.arange(nodes)], devices)
    cost = graph.tensor_bytes / bandwidth
    owner, reader = place[graph.tensor_src], place[graph.edge_dst]
    away = np.flatnonzero(owner[graph.edge_tensor] != reader)
    moves = np.unique(graph.edge_tensor[away].astype(np.int64) * devices + reader[away])  # tensor and destination
    sent = np.unique(moves // devices)
    load += np.bincount(moves % devices, cost[moves // devices], devices)
    load += np.bincount(owner[sent], cost[sent], devices)
    return np.asarray(load)


def max_load_ns(graph: DataflowGraph, placement: Array, times: Array, bandwidth: float) -> float:
    """Nanoseconds between two samples: the largest of `device_loads`."""
    return float(device_loads(graph, placement, times, bandwidth).max())
