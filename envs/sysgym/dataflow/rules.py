"""What the problems on dataflow graphs share: the options that say on what a graph runs and what counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sysgym.core.errors import UsageError, unknown
from sysgym.dataflow.cluster import CAPACITY, LATENCY_NS, LINK_MODES, MAX_DEVICES, Cluster, read_cluster, uniform
from sysgym.dataflow.graph import DataflowGraph

OBJECTIVES = ("latency", "throughput")
SCHEDULES = ("fifo", "critical_path")
SIMULATORS = ("events", "placeto")


@dataclass(frozen=True)
class Rules:
    """Devices, links and the objective; see the options of `sysgym/DevicePlacement-v0`."""

    devices: int | str | None = None
    link_mode: str = "egress_ingress"
    bandwidth: float = 12.0
    latency_ns: int = LATENCY_NS
    capacity: float = CAPACITY
    mem_factor: float | None = None
    objective: str = "latency"
    schedule: str = "fifo"
    simulator: str = "events"
    noise: float = 0.0
    noise_samples: int = 5
    noise_seed: int = 0

    def check(self) -> None:
        """UsageError, with what is expected, for an option that cannot be."""
        for option, known in (("link_mode", LINK_MODES), ("objective", OBJECTIVES), ("schedule", SCHEDULES),
                              ("simulator", SIMULATORS)):  # fmt: skip
            if getattr(self, option) not in known:
                raise unknown(option, getattr(self, option), known)
        whole("devices", self.devices if not isinstance(self.devices, str) else None, 1, MAX_DEVICES)
        whole("latency_ns", self.latency_ns, 0, 10**12)
        whole("noise_samples", self.noise_samples, 1, 10**6)
        whole("noise_seed", self.noise_seed, 0, 2**63 - 1)
        number("bandwidth", self.bandwidth, 1e-3, 1e6)
        number("capacity", self.capacity, 0, 2**50)
        number("mem_factor", self.mem_factor, 0, 1e6)
        number("noise", self.noise, 0, 10)
        if self.simulator == "placeto" and (self.objective != "latency" or self.noise or self.schedule != "fifo"):
            raise UsageError(
                "simulator 'placeto' knows latency, first come first served and no noise; leave objective, schedule "
                "and noise at their defaults."
            )

    def cluster(self, graph: DataflowGraph) -> Cluster:
        """The devices for a graph: a number of like ones, those of a file, or as many as the graph's references use."""
        if isinstance(self.devices, str) and not self.devices.isdigit():
            return read_cluster(Path(self.devices))
        count = graph.devices if self.devices is None else int(self.devices)
        return uniform(count, self.bandwidth, self.latency_ns, int(self.capacity), self.link_mode)


def whole(option: str, value: object, low: int, high: int) -> None:
    """UsageError unless an option is None or a whole number in a range."""
    good = isinstance(value, int | np.integer) and not isinstance(value, bool) and low <= value <= high
    if value is not None and not good:
        raise UsageError(f"option {option} must be a whole number from {low} to {high}, got {value!r}.")


def number(option: str, value: object, low: float, high: float) -> None:
    """UsageError unless an option is None or a number in a range."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    if value is not None and not good:
        raise UsageError(f"option {option} must be a number from {low:g} to {high:g}, got {value!r}.")
