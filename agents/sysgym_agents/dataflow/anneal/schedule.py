"""What the schedule of a decision says about moving a unit to a device: slacks, loads, transfers, as features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sysgym.core.problem import Array
from sysgym.dataflow.simulator.simulate import Outcome, simulate
from sysgym_agents.dataflow.anneal.slack_kernels import slacks

if TYPE_CHECKING:
    from sysgym.dataflow.features import Work
    from sysgym.dataflow.simulator.job import Job

BINS = 64  # of time, for how busy devices are
CRITICAL = 0.02  # of the makespan: an operator with that much slack, or more, is not critical at all
FEATURES = (
    "time", "critical_share", "critical_time", "least_slack", "load_here", "load_there", "load_there_after",
    "load_difference_after", "busy_here", "busy_there", "near_here", "near_there", "near_all", "farther",
    "critical_transfers_there", "critical_transfers", "links_there", "links_here", "start", "forward", "backward",
    "layer_there", "devices", "size",
)  # fmt: skip


@dataclass(frozen=True)
class Schedule:
    """A placement and what its simulation recorded.

    The rules' plain simulator recorded it, without noise and fusion. place: (N,) device of each operator.
    """

    job: Job
    place: Array
    outcome: Outcome

    @cached_property
    def end(self) -> float:
        """The makespan, ns, at least 1."""
        return max(float(self.outcome.makespan_ns), 1.0)

    @cached_property
    def spare(self) -> tuple[Array, Array]:
        """Slack of operators (N,) and of transfers (M,), int64 ns."""
        outcome, graph = self.outcome, self.job.graph
        begin = np.concatenate([outcome.start, outcome.spans[:, 0]])
        events = np.lexsort((np.arange(len(begin)), begin))[::-1].astype(np.int64)
        slack, spare = np.zeros(graph.nodes, np.int64), np.zeros(len(outcome.moves), np.int64)
        slacks(self.job.lean.net, self.job.lean.machines, np.asarray(self.place, np.int64), events, outcome.start,
               outcome.finish, outcome.moves, outcome.spans, graph.tensor_src, np.int64(outcome.makespan_ns), slack,
               spare)  # fmt: skip
        return slack, spare

    @cached_property
    def critical(self) -> tuple[Array, Array]:
        """How critical operators (N,) and transfers (M,) are: 1 without slack, 0 from `CRITICAL` of the makespan on."""
        one, two = (np.maximum(1.0 - each / (CRITICAL * self.end), 0.0) for each in self.spare)
        return one, two

    @cached_property
    def spans_of(self) -> Array:
        """Time of each operator, (N,) float64 ns."""
        return np.asarray(self.outcome.finish - self.outcome.start, np.float64)

    @cached_property
    def busy(self) -> Array:
        """Share of each bin of time in which each device computes, (D, BINS) float64."""
        edges, found = np.linspace(0.0, self.end, BINS + 1), np.zeros((self.job.devices, BINS))
        for device in range(self.job.devices):
            mine = np.flatnonzero(self.place == device)
            mine = mine[np.argsort(self.outcome.start[mine], kind="stable")]
            if not len(mine):
                continue
            times = np.stack([self.outcome.start[mine], self.outcome.finish[mine]], axis=1).ravel()
            done = np.cumsum(self.spans_of[mine])
            spent = np.stack([done - self.spans_of[mine], done], axis=1).ravel()
            found[device] = np.diff(np.interp(edges, times, spent)) / (edges[1] - edges[0])
        return found

    def crossings(self, work: Work) -> Array:
        """Critical time of the transfers between each unit and each device, (U, D) float64 ns."""
        graph, outcome, devices = self.job.graph, self.outcome, self.job.devices
        found = np.zeros((work.units.count, devices))
        if not len(outcome.moves):
            return found
        x, p = outcome.moves[:, 0].astype(np.int64), outcome.moves[:, 1].astype(np.int64)
        latency = self.job.cluster.latency_ns[self.place[graph.tensor_src[x]], p]
        weight = self.critical[1] * (outcome.spans[:, 1] - outcome.spans[:, 0] + latency)
        np.add.at(found, (work.units.of[graph.tensor_src[x]], p), weight)
        key = x * devices + p
        order = np.argsort(key)
        there = self.place[graph.edge_dst].astype(np.int64)
        away = np.flatnonzero(there != self.place[graph.edge_src])
        read = graph.edge_tensor[away].astype(np.int64) * devices + there[away]
        move = order[np.searchsorted(key[order], read)]
        readers = np.bincount(move, minlength=len(key))
        np.add.at(found, (work.units.of[graph.edge_dst[away]], self.place[graph.edge_src[away]]),
                  weight[move] / readers[move])  # fmt: skip
        return found


def simulated(job: Job, place: Array, priority: Array | None) -> Schedule:
    """The schedule of a placement (N,) with priorities (N,), or with the rules' own order."""
    if priority is None and job.rules.schedule == "critical_path":
        priority = job.critical_path
    return Schedule(job, place, simulate(job.graph, job.times, job.cluster, place, priority, memory=False))


def near_of(work: Work, home: Array, devices: int) -> tuple[Array, Array]:
    """Time to send what links each unit to the units of each device, and how many links, both (U, D) float64."""
    pace, latency = work.link
    near, count = np.zeros((work.units.count, devices)), np.zeros((work.units.count, devices))
    np.add.at(near, (work.links[0], home[work.links[1]]), work.links[2] / pace + latency)
    np.add.at(count, (work.links[0], home[work.links[1]]), 1.0)
    return near, count


def features(schedule: Schedule, work: Work) -> Array:
    """FEATURES of every pair of a unit and a device, (U, D, 24) float32. A unit is where its first operator is."""
    job, end, units = schedule.job, schedule.end, work.units
    graph, devices, rows = job.graph, job.devices, np.arange(units.count)
    home = np.asarray(schedule.place, np.int64)[work.first]
    critical, spans = schedule.critical[0], schedule.spans_of
    mine = np.maximum(work.sums(spans), 1.0)
    load = np.bincount(schedule.place, weights=spans, minlength=devices)
    there = work.work.T  # (U, D)
    least = np.full(units.count, np.inf)
    np.minimum.at(least, units.of, schedule.spare[0])
    near, count = near_of(work, home, devices)
    crossing = schedule.crossings(work)
    middle = (schedule.outcome.start + schedule.outcome.finish) / 2
    bins = np.minimum((middle / end * BINS).astype(np.int64), BINS - 1)
    when = np.bincount(units.of * BINS + bins, weights=spans + 1.0, minlength=units.count * BINS)
    when = when.reshape(units.count, BINS)
    busy = (when / when.sum(axis=1, keepdims=True)) @ schedule.busy.T  # (U, D)
    layer = graph.layer[work.first]
    alike = layer[work.links[0]] == layer[work.links[1]]
    same = np.zeros((units.count, devices))
    np.add.at(same, (work.links[0][alike], home[work.links[1][alike]]), 1.0)
    operators = work.sums(np.ones(graph.nodes))
    after = load[None, :] + there
    left = (load[home] - work.work[home, rows])[:, None]
    links = np.maximum(count.sum(axis=1), 1.0)

    def column(values: Array) -> Array:
        return np.broadcast_to(values[:, None] if values.ndim == 1 else values, (units.count, devices))

    parts = (
        mine / end, work.sums(critical * spans) / mine, work.sums(critical * spans) / end, least / end,
        load[home] / end, np.broadcast_to(load / end, (units.count, devices)), after / end, (after - left) / end,
        busy[rows, home], busy, near[rows, home] / end, near / end, near.sum(axis=1) / end,
        (near[rows, home][:, None] - near) / end, crossing / end, crossing.sum(axis=1) / end,
        count / links[:, None], count[rows, home] / links, work.sums(schedule.outcome.start) / operators / end,
        work.sums(graph.phase == 0) / operators, work.sums(graph.phase == 1) / operators,
        same / np.maximum(same.sum(axis=1, keepdims=True), 1.0), np.full(units.count, np.log2(devices) / 3),
        np.log1p(operators) / 8,
    )  # fmt: skip
    return np.clip(np.stack([column(np.asarray(part)) for part in parts], axis=2), -10.0, 10.0).astype(np.float32)
