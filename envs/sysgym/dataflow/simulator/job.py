"""A graph on a cluster under rules: the one place where decisions become a cost and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sysgym.core.problem import Array, Verdict
from sysgym.dataflow.graphs.cluster import Cluster
from sysgym.dataflow.graphs.fusion import Fused, fuse, fused_graph
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.graphs.groups import expert_placement
from sysgym.dataflow.simulator.lean import Lean
from sysgym.dataflow.simulator.placeto import placeto_us
from sysgym.dataflow.simulator.rules import Rules
from sysgym.dataflow.simulator.simulate import (
    Outcome,
    check_range,
    critical_path_priority,
    lower_bound_ns,
    simulate,
)
from sysgym.dataflow.simulator.throughput import device_loads

INVALID = 10.0  # what an answer that does not fit in memory costs in rewards, at least (GDP, section 3)


class Score(NamedTuple):
    """What a decision costs."""

    cost: float  # ns: the makespan, or the largest load of a device
    over_bytes: int  # by which devices exceed their memories, added up
    outcome: Outcome | None  # of the simulator; None for Placeto's
    fused: Fused | None  # the graph that ran, where operators were fused


class Job:
    """A graph, its devices, and the rules. Decisions: `placement` (N,), `priority` and `fusion` (N,) or None.

    Without a priority the rules' schedule orders the operators; without fusion each runs on its own.
    """

    def __init__(self, graph: DataflowGraph, rules: Rules) -> None:
        self.graph, self.rules = graph, rules
        self.cluster: Cluster = rules.cluster(graph)
        self.devices = self.cluster.devices
        self.times = self.cluster.times(graph)
        check_range(graph, self.times, self.cluster)
        self._last: tuple[tuple[Array | None, ...], Score] | None = None

    @cached_property
    def single(self) -> Array:
        """Everything on device 0, (N,) int32."""
        return np.zeros(self.graph.nodes, np.int32)

    @cached_property
    def expert(self) -> Array:
        """The human expert's placement, (N,) int32."""
        return expert_placement(self.graph, self.devices)

    @cached_property
    def single_ns(self) -> float:
        """Cost of everything on device 0, first come first served, whether it fits or not."""
        return self.plain_cost(self.single)

    @cached_property
    def expert_ns(self) -> float:
        """Cost of the expert's placement, first come first served, without fusion."""
        return self.plain_cost(self.expert)

    @cached_property
    def bound_ns(self) -> int:
        """No decision without fusion costs less (latency)."""
        return lower_bound_ns(self.graph, self.times)

    @cached_property
    def capacity(self) -> Array:
        """Bytes of each device, (D,) int64; with `mem_factor` a multiple of the peak on a single device."""
        if self.rules.mem_factor is None:
            return self.cluster.capacity
        if self.rules.objective == "throughput":
            peak = self.graph.param_bytes.sum()
        else:
            peak = simulate(self.graph, self.times, self.cluster, self.single).peak_bytes[0]
        return np.full(self.devices, int(self.rules.mem_factor * float(peak)), np.int64)

    @cached_property
    def critical_path(self) -> Array:
        """Priorities along the critical path, (N,) int64."""
        return critical_path_priority(self.graph, self.times, self.cluster)

    @property
    def plain(self) -> bool:
        """Whether the cost, without fusion, is the makespan of the usual simulator, which `lean` has faster."""
        return self.rules.objective == "latency" and self.rules.simulator == "events" and not self.rules.noise

    @cached_property
    def lean(self) -> Lean:
        """The graph on its devices, for searches."""
        return Lean(self.graph, self.times, self.cluster)

    @cached_property
    def noisy_times(self) -> list[Array]:
        """Log-normal factors (mean 1) of the samples over which a cost is averaged, (N,) float64 each."""
        rng = np.random.default_rng(self.rules.noise_seed)
        sigma, nodes = self.rules.noise, self.graph.nodes
        return [rng.lognormal(-(sigma**2) / 2, sigma, nodes) for _ in range(self.rules.noise_samples)]

    def plain_cost(self, placement: Array) -> float:
        """Cost of a placement, first come first served, no fusion, by the rules' simulator and objective."""
        return self._score(placement, None, None, "fifo").cost

    def score(self, placement: Array, priority: Array | None = None, fusion: Array | None = None) -> Score:
        """Cost and memory of a decision; not checked for range here. The last one is remembered: who steps, judges."""
        given = (placement, priority, fusion)
        if self._last is not None and all(map(_same, self._last[0], given)):
            return self._last[1]
        found = self._score(placement, priority, fusion, self.rules.schedule)
        self._last = (tuple(None if item is None else item.copy() for item in given), found)
        return found

    def _score(self, placement: Array, priority: Array | None, fusion: Array | None, schedule: str) -> Score:
        graph, times, fused = self.graph, self.times, None
        if self.rules.simulator == "placeto":
            return Score(1000.0 * placeto_us(graph, placement, times / 1000), 0, None, None)
        if fusion is not None and fusion.any():
            fused = fused_graph(graph, fuse(graph, placement, fusion), times)
            graph, times = fused.graph, fused.times
            placement = placement[fused.first]
            priority = None if priority is None else fused.largest(priority)
        if self.rules.objective == "throughput":
            bandwidth = float(self.cluster.bandwidth[0, -1]) / 1000  # all links are alike: Rules.cluster
            loads = device_loads(graph, placement, times, bandwidth)
            held = np.bincount(placement, weights=graph.param_bytes, minlength=self.devices)
            over = int(np.maximum(held - self.capacity, 0).sum())
            return Score(float(loads.max()), over, None, fused)
        if priority is None and schedule == "critical_path":
            priority = self.critical_path if fused is None else critical_path_priority(graph, times, self.cluster)
        outcome = simulate(graph, times, self.cluster, placement, priority)
        cost = float(outcome.makespan_ns)
        if self.rules.noise:
            cost = float(np.mean(self._noisy(graph, times, placement, priority, fused)))
        return Score(cost, self._over(outcome.peak_bytes), outcome, fused)

    def _over(self, peaks: Array) -> int:
        return int(np.maximum(peaks - self.capacity, 0).sum())

    def _noisy(
        self, graph: DataflowGraph, times: Array, placement: Array, priority: Array | None, fused: Fused | None
    ) -> list[int]:
        """Makespans when the times of the operators (of a group: of its first) vary."""
        found = []
        for factor in self.noisy_times:
            shaken = np.rint(times * (factor if fused is None else factor[fused.first])).astype(np.int64)
            found.append(simulate(graph, shaken, self.cluster, placement, priority, memory=False).makespan_ns)
        return found

    def verdict(self, placement: Array, priority: Array | None = None, fusion: Array | None = None) -> Verdict:
        """What a decision costs, with all metrics; infeasible where a device's memory does not hold it."""
        score = self.score(placement, priority, fusion)
        cost = score.cost
        metrics = {
            "makespan_ns": cost, "speedup_vs_single": self.single_ns / max(cost, 1.0),
            "speedup_vs_expert": self.expert_ns / max(cost, 1.0), "devices": float(self.devices),
        }  # fmt: skip
        if self.rules.objective == "throughput":
            metrics["max_load_ns"] = metrics.pop("makespan_ns")
        if score.outcome is not None:
            metrics |= self._details(score.outcome)
        if fusion is not None:
            metrics["groups"] = float(self.graph.nodes if score.fused is None else score.fused.graph.nodes)
        metrics["excess"] = 0.0
        if not score.over_bytes:
            return Verdict(True, cost, metrics)
        capacity = int(self.capacity.max(initial=0))
        metrics["excess"] = INVALID + min(score.over_bytes / max(capacity, 1), 1000.0)
        return Verdict(False, cost, metrics, self._violations(score, placement))

    def _details(self, outcome: Outcome) -> Mapping[str, float]:
        span = max(outcome.makespan_ns, 1)
        return {
            "peak_bytes": float(outcome.peak_bytes.max()), "transfers": float(outcome.transfers),
            "transfer_bytes": float(outcome.transfer_bytes), "busy_ns": float(outcome.busy_ns.max()),
            "busy_share": float(outcome.busy_ns.sum()) / span / self.devices,
            "gap_to_bound": span / max(self.bound_ns, 1),
        }  # fmt: skip

    def _violations(self, score: Score, placement: Array) -> tuple[str, ...]:
        if score.outcome is None:
            peaks = np.bincount(placement, weights=self.graph.param_bytes, minlength=self.devices)
        else:
            peaks = score.outcome.peak_bytes
        return tuple(
            f"device {d} is out of memory: it needs {peaks[d] / 1e9:.4g} GB at its peak and has "
            f"{self.capacity[d] / 1e9:.4g} GB"
            for d in np.flatnonzero(peaks > self.capacity).tolist()
        )


def _same(one: Array | None, two: Array | None) -> bool:
    return one is two if one is None or two is None else np.array_equal(one, two)
