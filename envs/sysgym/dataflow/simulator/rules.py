"""What the problems on dataflow graphs share: the options that say on what a graph runs and what counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sysgym.core.errors import UsageError, unknown
from sysgym.dataflow.graphs.cluster import CAPACITY, LATENCY_NS, LINK_MODES, MAX_DEVICES, Cluster, read_cluster, uniform
from sysgym.dataflow.graphs.graph import DataflowGraph

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
        if not self.is_file:
            count = int(self.devices) if isinstance(self.devices, str) else self.devices
            whole("devices", count, 1, MAX_DEVICES, optional=True)
        whole("latency_ns", self.latency_ns, 0, 10**12)
        whole("noise_samples", self.noise_samples, 1, 10**6)
        whole("noise_seed", self.noise_seed, 0, 2**63 - 1)
        number("bandwidth", self.bandwidth, 1e-3, 1e6)
        number("capacity", self.capacity, 0, 2**50)
        number("mem_factor", self.mem_factor, 0, 1e6, optional=True)
        number("noise", self.noise, 0, 10)
        if self.simulator == "placeto" and (self.objective != "latency" or self.noise or self.schedule != "fifo"):
            raise UsageError(
                "simulator 'placeto' knows latency, first come first served and no noise; leave objective, schedule "
                "and noise at their defaults."
            )
        if self.objective == "throughput" and (self.noise or self.schedule != "fifo"):
            raise UsageError(
                "objective 'throughput' knows no order and no noise; leave schedule and noise at their defaults."
            )
        self._check_links()

    def _check_links(self) -> None:
        """UsageError for options of links that would not be heard."""
        usual = Rules()
        changed = [name for name in ("link_mode", "bandwidth", "latency_ns", "capacity")
                   if getattr(self, name) != getattr(usual, name)]  # fmt: skip
        if self.is_file and (changed or self.mem_factor is not None):
            what = ", ".join([*changed, *(["mem_factor"] if self.mem_factor is not None else [])])
            raise UsageError(f"the file {self.devices} says what devices and links are like; leave out {what}.")
        if self.simulator == "placeto" and changed:
            raise UsageError(f"simulator 'placeto' has links of its own and no memory; leave out {', '.join(changed)}.")

    @property
    def is_file(self) -> bool:
        """Whether `devices` names a file."""
        return isinstance(self.devices, str) and not (self.devices.isascii() and self.devices.isdecimal())

    def cluster(self, graph: DataflowGraph) -> Cluster:
        """The devices for a graph: a number of like ones, those of a file, or as many as the graph's references use."""
        if self.is_file:
            found = read_cluster(Path(str(self.devices)))
            if self.objective == "throughput" and not _alike(found):
                raise UsageError(f"{self.devices}: objective 'throughput' needs links of one bandwidth.")
            return found
        count = graph.devices if self.devices is None else int(self.devices)
        return uniform(count, self.bandwidth, self.latency_ns, int(self.capacity), self.link_mode)


def _alike(cluster: Cluster) -> bool:
    """Whether all links between different devices have one bandwidth."""
    apart = ~np.eye(cluster.devices, dtype=bool)
    return len(np.unique(cluster.bandwidth[apart])) <= 1


def whole(option: str, value: object, low: int, high: int, optional: bool = False) -> None:
    """UsageError unless an option is a whole number in a range, or None where that is allowed."""
    good = isinstance(value, int | np.integer) and not isinstance(value, bool) and low <= value <= high
    if not good and not (optional and value is None):
        raise UsageError(f"option {option} must be a whole number from {low} to {high}, got {value!r}.")


def number(option: str, value: object, low: float, high: float, optional: bool = False) -> None:
    """UsageError unless an option is a number in a range, or None where that is allowed."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    if not good and not (optional and value is None):
        raise UsageError(f"option {option} must be a number from {low:g} to {high:g}, got {value!r}.")
