"""The machines that run a graph: devices, their speeds and memories, and the links between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError, reading, unknown
from sysgym.core.problem import Array
from sysgym.core.solutions import read_json
from sysgym.dataflow.graphs.graph import DataflowGraph

KINDS = ("gpu", "cpu")
LINK_MODES = ("none", "pair", "egress_ingress")
MAX_DEVICES = 64
BANDWIDTH, LATENCY_NS, CAPACITY = 12.0, 10_000, 16_000_000_000  # PCIe 3 and a card of 16 GB


@dataclass(frozen=True)
class Cluster:
    """D devices and their links."""

    kinds: tuple[str, ...]  # (D,) "gpu" or "cpu", which runs at a graph's time_cpu_ns where it has them
    speed: Array  # (D,) float64 times are divided by it
    capacity: Array  # (D,) int64 bytes
    bandwidth: Array  # (D, D) int64 thousandths of a byte per nanosecond, from row to column
    latency_ns: Array  # (D, D) int64 nanoseconds that follow the occupancy of a link
    link_mode: str  # none: no contention; pair: a link for each ordered pair; egress_ingress: one port each way

    @property
    def devices(self) -> int:
        """Number of devices D."""
        return len(self.kinds)

    @property
    def alike(self) -> Array:
        """(D,) int64: devices with one number can change places, and no time changes but by ties."""
        apart = ~np.eye(self.devices, dtype=bool)
        if any(len(np.unique(table[apart])) > 1 for table in (self.bandwidth, self.latency_ns)):
            return np.arange(self.devices)
        facts = list(zip(self.kinds, self.speed.tolist(), self.capacity.tolist(), strict=True))
        return np.array([facts.index(fact) for fact in facts], np.int64)

    def times(self, graph: DataflowGraph) -> Array:
        """(D, N) int64 nanoseconds of every operator on every device."""
        rows = []
        for kind, speed in zip(self.kinds, self.speed.tolist(), strict=True):
            base = graph.time_cpu_ns if kind == "cpu" and len(graph.time_cpu_ns) else graph.time_ns
            scaled = base / speed
            if float(scaled.max(initial=0.0)) >= 2**60:
                raise UsageError(f"{graph.name} takes too long on a device of speed {speed:g}; use a higher speed.")
            rows.append(base if speed == 1.0 else np.rint(scaled).astype(np.int64))
        return np.stack(rows)


def uniform(
    devices: int, bandwidth: float = BANDWIDTH, latency_ns: int = LATENCY_NS, capacity: int = CAPACITY,
    link_mode: str = "egress_ingress",
) -> Cluster:  # fmt: skip
    """Like devices with like links. `bandwidth` in bytes per nanosecond, `capacity` in bytes."""
    return Cluster(
        kinds=("gpu",) * devices, speed=np.ones(devices), capacity=np.full(devices, capacity, np.int64),
        bandwidth=np.full((devices, devices), max(1, round(bandwidth * 1000)), np.int64),
        latency_ns=np.full((devices, devices), latency_ns, np.int64), link_mode=link_mode,
    )  # fmt: skip


def read_cluster(path: Path) -> Cluster:
    """A cluster from a JSON file; UsageError with what is wrong.

    `{"devices": [{"kind": "gpu", "speed": 1.0, "capacity": 16e9}, ...], "bandwidth": 12 or a D x D matrix (bytes per
    ns), "latency_ns": 10000 or a matrix, "link_mode": "egress_ingress"}`; every key but `devices` has a default.
    """
    found = read_json(path)
    with reading(path):
        return _cluster(path, found)


def _cluster(path: Path, found: Any) -> Cluster:
    rows = found.get("devices") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_DEVICES or not all(isinstance(r, dict) for r in rows):
        raise UsageError(f"{path} must be an object whose `devices` lists 1 to {MAX_DEVICES} objects.")
    for key in found:
        if key not in ("devices", "bandwidth", "latency_ns", "link_mode"):
            raise unknown(f"key of {path}", key, ["devices", "bandwidth", "latency_ns", "link_mode"])
    for row in rows:
        for key in row:
            if key not in ("kind", "speed", "capacity"):
                raise unknown(f"key of a device in {path}", key, ["kind", "speed", "capacity"])
        if row.get("kind", "gpu") not in KINDS:
            raise unknown(f"kind of a device in {path}", row["kind"], KINDS)
    mode = found.get("link_mode", "egress_ingress")
    if mode not in LINK_MODES:
        raise unknown("link_mode", mode, LINK_MODES)
    count = len(rows)
    return Cluster(
        kinds=tuple(str(row.get("kind", "gpu")) for row in rows),
        speed=_numbers(path, "speed", [row.get("speed", 1.0) for row in rows], (count,), 1e-6, 1e6),
        capacity=_numbers(path, "capacity", [row.get("capacity", CAPACITY) for row in rows], (count,), 0, 2**50).astype(
            np.int64
        ),
        bandwidth=np.rint(
            1000 * _numbers(path, "bandwidth", found.get("bandwidth", BANDWIDTH), (count, count), 1e-3, 1e6)
        ).astype(np.int64),
        latency_ns=_numbers(path, "latency_ns", found.get("latency_ns", LATENCY_NS), (count, count), 0, 1e12).astype(
            np.int64
        ),
        link_mode=mode,
    )


def _numbers(path: Path, key: str, value: Any, shape: tuple[int, ...], low: float, high: float) -> Array:
    try:
        given = np.array(value, np.float64)
        found = np.array(np.broadcast_to(given, shape))
        if given.ndim and given.shape != shape:
            raise ValueError(f"the shape is {given.shape}")
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: {key} must be a number or numbers of shape {shape}: {error}.") from error
    if len(shape) == 2:
        np.fill_diagonal(found, np.clip(found.diagonal(), low, high))  # a device sends nothing to itself
    if not ((found >= low) & (found <= high)).all():
        raise UsageError(f"{path}: {key} must lie between {low:g} and {high:g}.")
    return found
