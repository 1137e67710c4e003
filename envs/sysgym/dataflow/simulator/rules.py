"""What the problems on dataflow graphs share: the options that say on what a graph runs and what counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sysgym.core.errors import UsageError, announce
from sysgym.dataflow.graphs.cluster import CAPACITY, LATENCY_NS, MAX_DEVICES, Cluster, read_cluster, uniform
from sysgym.dataflow.graphs.graph import DataflowGraph


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
        """UsageError, with what is expected, for options that do not go together."""
        if isinstance(self.devices, str) and not self.is_file and not 1 <= int(self.devices) <= MAX_DEVICES:
            raise UsageError(f"option devices must be a whole number from 1 to {MAX_DEVICES}, got {self.devices!r}.")
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
            if "cpu" in found.kinds and not len(graph.time_cpu_ns):
                announce(
                    f"{graph.name} holds no times on a CPU (nodes.time_cpu_ns), so the devices of kind cpu in "
                    f"{self.devices} run it at its times on a GPU, over their speed."
                )
            return found
        count = graph.devices if self.devices is None else int(self.devices)
        return uniform(count, self.bandwidth, self.latency_ns, int(self.capacity), self.link_mode)


def _alike(cluster: Cluster) -> bool:
    """Whether all links between different devices have one bandwidth."""
    apart = ~np.eye(cluster.devices, dtype=bool)
    return len(np.unique(cluster.bandwidth[apart])) <= 1
