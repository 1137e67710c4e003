"""What a picture of a design shows, as plain numbers: areas, powers, and what each region does."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sysgym.accelerator_design.fastsim_kernels import SUPPLY, area_and_power, sram_pj
from sysgym.accelerator_design.instance import Workloads
from sysgym.accelerator_design.joint.plans import Decisions, decisions_for, exact_plan, parts
from sysgym.accelerator_design.simulator import works
from sysgym.accelerator_design.space import (
    BANDWIDTH,
    BATCH,
    CLOCK,
    DRAM_AREA,
    DRAM_PJ,
    GM,
    L1CFG,
    L1I,
    L1O,
    L1W,
    L2CFG,
    L2I,
    L2O,
    L2W,
    PE_X,
    PE_Y,
    SA_X,
    SA_Y,
    VM,
    machines,
)
from sysgym.core.problem import Array, Solution

PARTS = ("multipliers", "vector units", "control", "L1", "L2", "global memory", "DRAM", "rest")


def area_parts(machine: Array) -> Array:
    """mm2 of each of PARTS, (8,); their sum is the area."""
    n, lanes = machine[PE_X] * machine[PE_Y], machine[PE_X] * machine[PE_Y] * machine[SA_Y] * machine[VM]
    l1, l2 = _buffers(machine)
    shared = 1.1 if machine[L1CFG] == 1 else 1.0
    found = [
        5.5e-4 * n * machine[SA_X] * machine[SA_Y], 3e-3 * lanes, 0.05 * n, n * l1 / 1024 * shared,
        n * l2 / 1024 * shared, 0.55 * machine[GM], machine[DRAM_AREA], 40.0,
    ]  # fmt: skip
    return 1.5 * np.array(found)


def power_parts(machine: Array) -> Array:
    """W of each of PARTS, (8,); their sum is the TDP. Leakage, 0.04 W a mm2, counts with the part that leaks."""
    n, sx, sy, f = machine[PE_X] * machine[PE_Y], machine[SA_X], machine[SA_Y], machine[CLOCK]
    l1, l2 = _buffers(machine)
    each = [float(sram_pj(machine[kind])) for kind in (L1I, L1W, L1O)]
    if machine[L1CFG] == 1:
        each = [1.1 * float(sram_pj(l1))] * 3
    second = 0.0
    if machine[L2CFG] > 0:
        e2 = float(sram_pj(l2)) if machine[L2CFG] == 1 else float(sram_pj(l2 * n)) + 0.3
        second = 1e-3 * n * f * 0.25 * (2 * sx + 6 * sy) * e2
    found = [
        0.74e-3 * n * sx * sy * f, 3e-3 * n * sy * machine[VM] * f, 0.03 * n * f,
        1e-3 * n * f * (2 * sx * each[0] + sy * each[1] + 8 * sy * each[2]), second,
        SUPPLY * f * 2.5e-3 * (machine[GM] > 0), machine[BANDWIDTH] * 1e-3 * machine[DRAM_PJ], 15.0,
    ]  # fmt: skip
    return np.array(found) + 0.04 * area_parts(machine)


def _buffers(machine: Array) -> tuple[float, float]:
    """KiB of L1 and of L2 of a processing element."""
    l1 = float(machine[L1I] + machine[L1W] + machine[L1O])
    if machine[L2CFG] == 0:
        return l1, 0.0
    return l1, float(machine[L1I] * machine[L2I] + machine[L1W] * machine[L2W] + machine[L1O] * machine[L2O])


class Facts(NamedTuple):
    """A machine that can work, and what each region does on it."""

    machine: Array  # (20,)
    area: float  # mm2
    power: float  # W
    plan: Decisions
    compute: Array  # (R,) nanoseconds of computing
    traffic: Array  # (R,) nanoseconds of traffic; a region takes the longer of the two
    ops: Array  # (R,) operations of a batch: two a multiply-add, those of vector units where there is none
    utilisation: Array  # (R,) share of the multipliers' cycles that multiply
    peak: float  # operations a nanosecond of all multipliers

    @property
    def time(self) -> Array:
        """Nanoseconds of each region."""
        return np.asarray(np.maximum(self.compute, self.traffic))

    @property
    def moved(self) -> Array:
        """Bytes to and from DRAM, of each region."""
        return np.asarray(self.traffic * self.machine[BANDWIDTH])


def plan_of(problem: Any, work: Workloads, solution: Solution) -> Decisions:
    """The plan of a solution; where a problem chooses it greedily, that of exact fusion, which is close by."""
    if problem.mode == "joint" or problem.fusion != "greedy":
        return decisions_for(problem, work, solution)
    machine = machines(np.asarray(solution["design"])[None])[0]
    return exact_plan(problem.measured(work).simulator, machine)


def facts_of(problem: Any, work: Workloads, solution: Solution) -> Facts | None:
    """What a solution does; None where its machine cannot work."""
    machine = machines(np.asarray(solution["design"])[None])[0]
    if not works(machine[None])[0]:
        return None
    plan = plan_of(problem, work, solution)
    compute, traffic = parts(problem.measured(work).simulator, machine, plan)
    macs = work.macs * machine[BATCH]
    peak = 2 * machine[PE_X] * machine[PE_Y] * machine[SA_X] * machine[SA_Y] * machine[CLOCK]
    ops = np.where(macs > 0, 2.0 * macs, work.vec_ops * machine[BATCH])
    used = 2.0 * macs / np.maximum(np.maximum(compute, traffic) * peak, 1e-9)
    area, power = area_and_power(machine)
    return Facts(machine, float(area), float(power), plan, compute, traffic, ops, np.minimum(used, 1.0), float(peak))
