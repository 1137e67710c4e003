"""A workload and how it is scheduled: seconds of a batch on machines, greedily fused or exactly."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sysgym.accelerator_design.fastsim_kernels import (
    Arrays,
    Times,
    area_and_power,
    arrays_of,
    stream_tile,
    time_regions,
    unfused,
)
from sysgym.accelerator_design.fusion import Network, Plan, solve_fusion
from sysgym.accelerator_design.fusion_kernels import (
    Consumers,
    Residency,
    batch_times,
    consumers_of,
    empty_times,
    fuse,
    workspace,
)
from sysgym.accelerator_design.instance import DWCONV, Workloads
from sysgym.accelerator_design.space import BANDWIDTH, BATCH, CLOCK, GM, PE_X, PE_Y, SA_X, SA_Y, TPU_V3
from sysgym.core.problem import Array

KEPT = 4096  # exact answers that are remembered


class Exact(NamedTuple):
    """What a machine does with each network, fused exactly."""

    seconds: Array  # (M,) of a batch
    unfused: Array  # (M,)
    regions: Array  # (R,) nanoseconds of each region
    plans: tuple[Plan | None, ...]  # what stays; None where nothing does


class Simulator:
    """`schedule` 0 is what XLA-like compilers do, 1 maps better, 2 packs depthwise convolutions as well."""

    def __init__(self, workloads: Workloads, schedule: int = 2, fusion: bool = True) -> None:
        self.workloads, self.schedule, self.fusion = workloads, schedule, fusion
        self.work, self.consumers = arrays_of(workloads), consumers_of(workloads)
        self._times, self._room = empty_times(self.work), workspace(self.work)
        self._exact: OrderedDict[bytes, Exact] = OrderedDict()

    @property
    def model(self) -> tuple[Arrays, Consumers]:
        """The workload, as the kernels take it."""
        return self.work, self.consumers

    @property
    def room(self) -> tuple[Times, Residency]:
        """Workspaces of the kernels."""
        return self._times, self._room

    def seconds(self, machines: Array) -> Array:
        """Seconds of a batch of each network with greedy fusion, (n, M); negative where a machine cannot work."""
        found = np.empty((len(machines), len(self.workloads.first) - 1))
        rows = np.ascontiguousarray(machines, np.float64)
        batch_times(self.work, self.consumers, self.workloads.first, rows, self.schedule, self.fusion, self._times,
                    self._room, found)  # fmt: skip
        return found * 1e-9

    def exact(self, machine: Array, schedule: Array | None = None) -> Exact:
        """What a machine that can work does, with the best fusion; `schedule` (R,) of each region, None: the usual."""
        chosen = None if schedule is None or (schedule == self.schedule).all() else schedule
        key = machine.tobytes() + (b"" if chosen is None else chosen.tobytes())
        if key not in self._exact:
            self._exact[key] = self._solved(machine, chosen)
            if len(self._exact) > KEPT:
                self._exact.popitem(last=False)
        self._exact.move_to_end(key)
        return self._exact[key]

    def times(self, machine: Array, schedule: Array | None = None) -> Times:
        """What is known of each region on a machine that can work; `schedule` (R,) of each region, None: the usual.

        The arrays are those of the simulator: the next call overwrites them.
        """
        usual, *others = [self.schedule] if schedule is None else np.unique(schedule).tolist()
        time_regions(self.work, machine, usual, 0, len(self.workloads.kind), self._times)
        for other in others:
            more = empty_times(self.work)
            time_regions(self.work, machine, other, 0, len(self.workloads.kind), more)
            for mine, theirs in zip(self._times, more, strict=True):
                mine[schedule == other] = theirs[schedule == other]
        return self._times

    def _solved(self, machine: Array, schedule: Array | None) -> Exact:
        first, times, plans = self.workloads.first.tolist(), self.times(machine, schedule), []
        seconds, plain = np.empty(len(first) - 1), np.empty(len(first) - 1)
        regions = np.empty(len(self.workloads.kind))
        for m, (begin, end) in enumerate(pairwise(first)):
            plain[m] = seconds[m] = unfused(machine, begin, end, times)
            regions[begin:end] = np.maximum(times.compute[begin:end], times.whole[begin:end] / machine[BANDWIDTH])
            plan = None
            bound = times.whole[begin:end] / machine[BANDWIDTH] > times.compute[begin:end]
            if self.fusion and machine[GM] > 0 and bound.any():
                plan = self._plan(machine, begin, end)
                if plan.nanoseconds < seconds[m]:
                    seconds[m], regions[begin:end] = plan.nanoseconds, plan.regions
                else:
                    plan = None
            plans.append(plan)
        return Exact(seconds * 1e-9, plain * 1e-9, regions, tuple(plans))

    def _plan(self, machine: Array, begin: int, end: int) -> Plan:
        """The best residency of a network whose times are known; without an integer program where greedy choices are
        certain to be best.
        """
        best, certain = fuse(self.work, self.consumers, machine, self._times, begin, end, self._room)
        if not certain:
            return solve_fusion(self.network(machine, begin, end), best)
        regions = self._times.compute[begin:end] + np.maximum(self._room.left[begin:end], 0.0)
        return Plan(best, regions, self._room.chosen.copy(), self._room.pinned.copy())

    def network(self, machine: Array, begin: int, end: int) -> Network:
        """The regions of a network whose times were just found."""
        return Network(self.work, self.consumers, machine, self._times, begin, end)

    def regions(self, machine: Array) -> Array:
        """Nanoseconds of each region on a machine that can work, without fusion, (R,)."""
        times = self.times(machine)
        return np.asarray(np.maximum(times.compute, times.whole / machine[BANDWIDTH]))

    def compute(self, machine: Array) -> tuple[Array, Array]:
        """Nanoseconds of computing and of traffic of each region, without fusion, (R,) each."""
        times = self.times(machine)
        return times.compute.copy(), times.whole / machine[BANDWIDTH]

    def utilisation(self, machine: Array, seconds: Array) -> Array:
        """Share of the multipliers' cycles that multiply, of each network, (M,)."""
        macs = np.add.reduceat(self.workloads.macs, self.workloads.first[:-1])
        multipliers = machine[PE_X] * machine[PE_Y] * machine[SA_X] * machine[SA_Y]
        return np.asarray(macs * machine[BATCH] / (seconds * multipliers * machine[CLOCK] * 1e9))

    def depthwise(self, regions: Array) -> Array:
        """Share of the time that depthwise convolutions take, of each network, (M,)."""
        starts = self.workloads.first[:-1]
        deep = np.where(self.workloads.kind == DWCONV, regions, 0.0)
        return np.asarray(np.add.reduceat(deep, starts) / np.add.reduceat(regions, starts))


def tpu_v3(workloads: Workloads) -> tuple[Array, float, float]:
    """The modelled TPU-v3 at batch 256 with schedule 0 and no fusion: seconds of a batch (M,), area and TDP."""
    area, power = area_and_power(TPU_V3)
    return Simulator(workloads, 0, False).seconds(TPU_V3[None])[0], float(area), float(power)


def works(machines: Array) -> Array:
    """Whether the buffers of machines (n, 20) hold a tile of anything, (n,) bool."""
    return np.array([stream_tile(machine)[0] >= 1 for machine in machines], bool)
