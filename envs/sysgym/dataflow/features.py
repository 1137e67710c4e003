"""What policies see of a graph: features of units (operators or groups of them) and of the links between units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sysgym.core.problem import Array
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.graphs.groups import Units, make_units
from sysgym.dataflow.simulator import kernels
from sysgym.dataflow.simulator.job import Job
from sysgym.dataflow.simulator.rules import Rules
from sysgym.dataflow.simulator.simulate import critical_path_rank

STATIC_FEATURES = (
    "time", "output_bytes", "param_bytes", "flops", "operators", "layer", "forward", "backward", "update",
    "in_degree", "out_degree", "up_rank", "down_rank", "never", "elementwise", "heavy", "reduction", "time_share",
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """A job cut into units, with what is computed once for both."""

    job: Job
    units: Units

    @cached_property
    def work(self) -> Array:
        """(D, U) float64 time of each unit on each device, ns."""
        return np.stack([self.sums(row) for row in self.job.times])

    @cached_property
    def mean_work(self) -> Array:
        """(U,) float64 time of each unit, the mean over devices, ns."""
        return np.asarray(self.work.mean(axis=0))

    @cached_property
    def held(self) -> Array:
        """(U,) float64 bytes of parameters."""
        return self.sums(self.job.graph.param_bytes)

    def sums(self, values: Array) -> Array:
        """Sums over the operators of each unit, (U,) float64."""
        return np.bincount(self.units.of, weights=values, minlength=self.units.count)

    @cached_property
    def first(self) -> Array:
        """(U,) first operator of each unit."""
        return np.unique(self.units.of, return_index=True)[1]

    @cached_property
    def links(self) -> tuple[Array, Array, Array]:
        """Both directions of every link: (2M,) source, (2M,) target, (2M,) float64 bytes, sorted by source."""
        source, target = self.units.edge_index
        both = np.concatenate([source, target]), np.concatenate([target, source])
        order = np.argsort(both[0], kind="stable")
        size = np.concatenate([self.units.edge_bytes, self.units.edge_bytes]).astype(np.float64)
        return both[0][order], both[1][order], size[order]

    @cached_property
    def link_ptr(self) -> Array:
        """(U + 1,) where the links of each unit begin."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.links[0], minlength=self.units.count))])

    @cached_property
    def neighbour_bytes(self) -> Array:
        """(U,) float64 bytes of all links of each unit, at least 1."""
        return np.maximum(np.bincount(self.links[0], weights=self.links[2], minlength=self.units.count), 1.0)

    @cached_property
    def link(self) -> tuple[float, float]:
        """Mean bandwidth, bytes per ns, and mean latency, ns, between devices."""
        cluster = self.job.cluster
        apart = ~np.eye(cluster.devices, dtype=bool) if cluster.devices > 1 else np.ones((1, 1), bool)
        return float(cluster.bandwidth[apart].mean()) / 1000, float(cluster.latency_ns[apart].mean())

    @cached_property
    def sending(self) -> float:
        """Logarithm of the time to send every tensor once, over that of everything on a single device."""
        graph = self.job.graph
        total = float(graph.tensor_bytes.sum()) / self.link[0] + graph.tensors * self.link[1]
        return float(np.log1p(min(total / max(self.job.single_ns, 1.0), 1e6)) / 4)

    @cached_property
    def static(self) -> Mapping[str, Array]:
        """Static arrays of the observation: nodes (U, 18), edges (M, 2), edge_index (2, M)."""
        size = self.units.edge_bytes.astype(np.float64)
        sending = np.minimum((size / self.link[0] + self.link[1]) / max(self.job.single_ns, 1.0), 100.0)
        return {
            "nodes": unit_features(self),
            "edges": np.stack([np.log1p(size / 1e3) / 10, sending], axis=1).astype(np.float32),
            "edge_index": self.units.edge_index,
        }


def work_of(rules: Rules, grouping: str, groups: int | None, graph: DataflowGraph) -> Work:
    """A graph under rules, cut into units."""
    return make_work(Job(graph, rules), grouping, groups)


def make_work(job: Job, grouping: str, groups: int | None) -> Work:
    """The job of a graph cut into units."""
    return Work(job, make_units(job.graph, grouping, groups))


def unit_features(work: Work) -> Array:
    """STATIC_FEATURES of each unit, (U, 18) float32; logarithms are scaled to about 0..1."""
    job, units = work.job, work.units
    graph = job.graph
    out_bytes = np.bincount(graph.tensor_src, weights=graph.tensor_bytes, minlength=graph.nodes)
    operators = work.sums(np.ones(graph.nodes))
    up = critical_path_rank(graph, graph.time_ns, job.devices, None, *work.link)
    down, alone = np.empty(graph.nodes), graph.time_ns.astype(np.float64)
    share = (job.devices - 1) / job.devices
    kernels.downward_rank(graph.in_ptr, graph.edge_tensor, graph.tensor_src, graph.tensor_bytes, alone, *work.link,
                          share, down)  # fmt: skip
    longest = max(float(up.max()), 1.0)
    source, target = units.edge_index
    time = work.sums(graph.time_ns)
    columns = [
        np.log1p(time / 1e3) / 12, np.log1p(work.sums(out_bytes) / 1e3) / 16,
        np.log1p(work.held / 1e3) / 16, np.log1p(work.sums(graph.flops) / 1e6) / 16, np.log1p(operators) / 8,
        work.sums(graph.layer) / operators / max(int(graph.layer.max()), 1),
        *(work.sums(graph.phase == phase) / operators for phase in range(3)),
        np.log1p(np.bincount(target, minlength=units.count)) / 4,
        np.log1p(np.bincount(source, minlength=units.count)) / 4,
        work.sums(up) / operators / longest, work.sums(down) / operators / longest,
        *(work.sums(graph.classes == kind) / operators for kind in range(4)),
        time / max(float(graph.total_ns), 1.0) * job.devices,
    ]  # fmt: skip
    return np.stack(columns, axis=1).astype(np.float32)
