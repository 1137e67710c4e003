"""The action modes of accelerator design: a table of sixteen parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from sysgym.accelerator_design.bound_kernels import needed, possible
from sysgym.accelerator_design.fastsim_kernels import area_and_power
from sysgym.accelerator_design.instance import Workloads
from sysgym.accelerator_design.judge import judge_design, least_cost
from sysgym.accelerator_design.simulator import works
from sysgym.accelerator_design.space import BATCH, CLOCK, COUNTS, PE_X, PE_Y, SA_X, SA_Y, TABLE, TPU_V3, machines
from sysgym.core.problem import Array, Verdict
from sysgym.search.modes import UNSET, OneShot, Refine, Sequential

LARGEST = 10.0  # of what is shown of area and power over their budgets


class Datapaths:
    """What the sixteen parameters mean (`sysgym.search.modes.Choices`)."""

    counts = COUNTS
    region_features: tuple[str, ...] = ("compute_share", "traffic_share", "utilisation")
    summary: tuple[str, ...] = ("area", "tdp")

    def __init__(self, problem: Any) -> None:
        self.problem = problem
        area, power = area_and_power(TPU_V3)
        self.limits = float(problem.area_budget * area), float(problem.tdp_budget * power)
        self._last: tuple[Any, bytes, Verdict | None] = (None, b"", None)

    def allowed(self, instance: Workloads, design: Array, position: int) -> Array:
        """Values that leave a machine within area and TDP possible."""
        found = np.zeros(int(COUNTS[position]), bool)
        possible(TABLE, COUNTS, design, position, *self.limits, found)
        return found

    def _verdict(self, instance: Workloads, design: Array) -> Verdict:
        """What the judge says; the last verdict is remembered."""
        known, key, verdict = self._last
        if verdict is None or known is not instance or key != design.tobytes():
            verdict = judge_design(instance, design, self.problem.rules, self.problem.measured(instance))
            self._last = instance, design.tobytes(), verdict
        return verdict

    def cost(self, instance: Workloads, design: Array) -> float:
        """By the judge."""
        return float(self._verdict(instance, design).cost)

    def feasible(self, instance: Workloads, design: Array) -> bool:
        """By the judge."""
        return self._verdict(instance, design).feasible

    def workable(self, instance: Workloads, designs: Array) -> Array:
        """Whether the buffers hold a tile."""
        return works(machines(designs))

    def at_least(self, instance: Workloads, design: Array) -> float:
        """By the time of computing alone."""
        return least_cost(self.problem.rules, self.problem.measured(instance), design)

    def begin(self, instance: Workloads, rng: np.random.Generator) -> Array:
        """Random values that the budgets allow."""
        design = np.full(len(COUNTS), UNSET, np.int64)
        for position in range(len(COUNTS)):
            design[position] = rng.choice(np.flatnonzero(self.allowed(instance, design, position)))
        return design

    def regions(self, instance: Workloads, design: Array) -> Array:
        """Shares of the time, and how well each region uses the multipliers, (R, 3) float32."""
        machine = machines(design[None])[0]
        return shares(instance, machine, *self.problem.measured(instance).simulator.compute(machine))

    def told(self, instance: Workloads, design: Array) -> Array:
        """Area and TDP that the design needs at least, over their budgets."""
        known = design != UNSET
        values = np.where(known, TABLE[np.arange(len(COUNTS)), np.maximum(design, 0)], 0).astype(np.float64)
        area, power, _ = needed(values, known, *self.limits)
        shown = np.array([area, power]) / self.limits
        return np.asarray(np.minimum(np.where(np.isfinite(shown), shown, LARGEST), LARGEST).astype(np.float32))


def shares(instance: Workloads, machine: Array, compute: Array, traffic: Array) -> Array:
    """Shares of the time that computing and traffic take, and how well each region uses the multipliers, (R, 3)
    float32; `compute` and `traffic` are nanoseconds of each region.
    """
    total = max(float(np.maximum(compute, traffic).sum()), 1e-9)
    peak = machine[PE_X] * machine[PE_Y] * machine[SA_X] * machine[SA_Y] * machine[CLOCK]
    used = instance.macs * machine[BATCH] / np.maximum(np.maximum(compute, traffic) * peak, 1e-9)
    shown = np.stack([compute / total, traffic / total, np.minimum(used, 1.0)], axis=1)
    return np.asarray(np.clip(shown, 0, 1e3), np.float32)


def choose_mode(problem: Any) -> Any:
    """The dynamics of a mode that chooses the datapath alone."""
    choices = Datapaths(problem)
    if problem.mode == "refine":
        return Refine(choices, problem.steps)
    return OneShot(choices) if problem.mode == "oneshot" else Sequential(choices)
