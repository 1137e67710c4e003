"""The only definition of cost and validity of an accelerator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sysgym.accelerator_design.fastsim_kernels import area_and_power
from sysgym.accelerator_design.instance import Workloads
from sysgym.accelerator_design.simulator import Simulator, tpu_v3, works
from sysgym.accelerator_design.space import BATCH, SPACE, TPU_V3, machines
from sysgym.core.instances import Memo
from sysgym.core.problem import Array, Verdict

BROKEN = 1e4  # the cost of a machine that cannot work: it is infeasible too
MOST_EXCESS = 5.0
BATCHES = np.array(SPACE["batch"], float)


class Rules(NamedTuple):
    """What counts."""

    objective: str  # perf_per_tdp, perf or edp
    area_budget: float  # times that of TPU-v3
    tdp_budget: float
    latency_ms: float | None  # of a batch
    schedule: int
    fusion: str  # none, greedy or ilp


class Measured(NamedTuple):
    """A workload with its simulator and what TPU-v3 does with it."""

    simulator: Simulator
    tpu_seconds: Array  # (M,)
    tpu_area: float
    tpu_power: float


class Measuring:
    """`Measured` of a workload."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def __call__(self, work: Workloads) -> Measured:
        """Build the simulator."""
        return Measured(Simulator(work, self.rules.schedule, self.rules.fusion != "none"), *tpu_v3(work))


@lru_cache(maxsize=16)
def measured_by(rules: Rules) -> Memo:
    """`Measured` of the workloads asked for last; problems of the same rules share them, and their exact answers."""
    return Memo(Measuring(rules), 16)


def ratios(rules: Rules, measured: Measured, batch: Array, seconds: Array, power: Array) -> Array:
    """How many times better than TPU-v3, of each network; `batch` and `power` are (n, 1), `seconds` (n, M)."""
    tpu, tpu_batch = measured.tpu_seconds, TPU_V3[BATCH]
    faster = (batch / seconds) / (tpu_batch / tpu)
    if rules.objective == "perf":
        return np.asarray(faster)
    if rules.objective == "perf_per_tdp":
        return np.asarray(faster * measured.tpu_power / power)
    return np.asarray((measured.tpu_power * tpu**2 / tpu_batch) / (power * seconds**2 / batch))


def quick_costs(rules: Rules, measured: Measured, designs: Array) -> tuple[Array, Array]:
    """Costs (n,) of designs (n, 16) with greedy fusion, BROKEN where a machine cannot work; and what is over budget,
    0 where nothing is.
    """
    rows = machines(designs)
    seconds = measured.simulator.seconds(rows)
    sizes = np.array([area_and_power(row) for row in rows])
    good = seconds[:, 0] > 0
    cost = np.full(len(rows), BROKEN)
    better = ratios(rules, measured, rows[good, BATCH, None], seconds[good], sizes[good, 1:])
    cost[good] = np.exp(-np.log(better).mean(axis=1))
    over = np.log1p(np.maximum(sizes[:, 0] / (rules.area_budget * measured.tpu_area) - 1, 0))
    over += np.log1p(np.maximum(sizes[:, 1] / (rules.tdp_budget * measured.tpu_power) - 1, 0))
    if rules.latency_ms is not None:
        over += np.log1p(np.maximum(seconds.max(axis=1) * 1e3 / rules.latency_ms - 1, 0))
    return cost, np.where(good, over, np.inf)


def expected_costs(rules: Rules, measured: Measured, designs: Array, seconds: Array) -> Array:
    """Costs (n,) of designs (n, 16) of which the seconds (n, M) of a batch are known or guessed."""
    rows = machines(designs)
    power = np.array([area_and_power(row)[1] for row in rows])
    return np.asarray(np.exp(-np.log(ratios(rules, measured, rows[:, BATCH, None], seconds, power[:, None])).mean(1)))


def least_cost(rules: Rules, measured: Measured, design: Array) -> float:
    """What a design that can work costs at least: its regions take the time to compute them."""
    machine = machines(design[None])[0]
    compute, _ = measured.simulator.compute(machine)
    seconds = np.add.reduceat(compute, measured.simulator.workloads.first[:-1]) * 1e-9
    power = area_and_power(machine)[1]
    return 1 / mean(ratios(rules, measured, machine[BATCH], seconds, power))


class Timing(NamedTuple):
    """How long a machine that can work takes."""

    seconds: Array  # (M,) of a batch
    regions: Array  # (R,) nanoseconds
    gaps: Mapping[str, float]  # metrics
    faults: tuple[tuple[str, float], ...] = ()  # what makes it infeasible: a sentence, and the relative excess


def judge_design(work: Workloads, design: Array, rules: Rules, measured: Measured) -> Verdict:
    """Judge table indices (16,). cost = TPU-v3's value / the design's, its geometric mean over the networks.

    TPU-v3 has its batch of 256, schedule 0 and no fusion. Value: items a second over TDP ("perf_per_tdp"), items a
    second ("perf"), or the inverse of TDP x seconds^2 / items ("edp"). What stays in memory is chosen exactly, or by
    `rules.fusion`. Metrics (geometric means over the networks, then each network's own): `perf_per_tdp`, a ratio to
    TPU-v3; `seconds_per_batch`, `tdp_w`, `area_mm2`, `utilisation` of the multipliers, `greedy_gap` (greedy over exact
    seconds, less 1), `depthwise_share` of the time; 0 where a machine cannot work.
    """
    machine = machines(design[None])[0]
    if not works(machine[None])[0]:
        return broken(work, machine, ("greedy_gap",))
    simulator = measured.simulator
    if rules.fusion != "ilp":
        greedy = simulator.seconds(machine[None])[0]
        return verdict_of(
            work, machine, Timing(greedy, simulator.regions(machine), {"greedy_gap": 0.0}), rules, measured
        )
    exact = simulator.exact(machine)
    timing = Timing(exact.seconds, exact.regions, {"greedy_gap": greedy_gap(measured, machine)})
    return verdict_of(work, machine, timing, rules, measured)


def greedy_gap(measured: Measured, machine: Array) -> float:
    """How much slower greedy fusion is than exact fusion, on a machine that can work."""
    greedy = measured.simulator.seconds(machine[None])[0]
    return max(mean(greedy / measured.simulator.exact(machine).seconds) - 1, 0.0)


def broken(work: Workloads, machine: Array, gaps: tuple[str, ...]) -> Verdict:
    """The verdict on a machine that cannot work, with the names of its other metrics."""
    area, power = area_and_power(machine)
    names = ("perf_per_tdp", "seconds_per_batch", "tdp_w", "area_mm2", "utilisation", *gaps, "depthwise_share",
             *_own(work, np.zeros(len(work.networks))))  # fmt: skip
    metrics = {**dict.fromkeys(names, 0.0), "tdp_w": float(power), "area_mm2": float(area), "excess": 8.0}
    return Verdict(False, BROKEN, metrics, ("the buffers hold no tile: they are too small for the array",))


def verdict_of(work: Workloads, machine: Array, timing: Timing, rules: Rules, measured: Measured) -> Verdict:
    """The verdict on a machine that can work, by the time that it takes."""
    area, power = area_and_power(machine)
    seconds = timing.seconds
    better = ratios(rules, measured, machine[BATCH], seconds, power)
    efficient = ratios(rules._replace(objective="perf_per_tdp"), measured, machine[BATCH], seconds, power)
    limits = {
        "area": (float(area), rules.area_budget * measured.tpu_area, "mm2"),
        "TDP": (float(power), rules.tdp_budget * measured.tpu_power, "W"),
    }
    if rules.latency_ms is not None:
        limits["latency"] = (float(seconds.max()) * 1e3, rules.latency_ms, "ms a batch")
    faults = [
        (f"{name} is {value:.6g} {unit}, the budget is {limit:.6g}", value / limit - 1)
        for name, (value, limit, unit) in limits.items()
        if value > limit
    ] + [*timing.faults]
    excess = 2 + min(sum(math.log1p(over) for _, over in faults), MOST_EXCESS) if faults else 0.0
    simulator = measured.simulator
    metrics = {
        "perf_per_tdp": mean(efficient), "seconds_per_batch": mean(seconds), "tdp_w": float(power),
        "area_mm2": float(area), "utilisation": mean(simulator.utilisation(machine, seconds)), **timing.gaps,
        "depthwise_share": float(simulator.depthwise(timing.regions).mean()), **_own(work, efficient), "excess": excess,
    }  # fmt: skip
    return Verdict(not faults, 1 / mean(better), metrics, tuple(sentence for sentence, _ in faults))


def _own(work: Workloads, efficient: Array) -> dict[str, float]:
    """The figure of each network where there are several."""
    if len(work.networks) == 1:
        return {}
    return {f"perf_per_tdp {name}": float(value) for name, value in zip(work.networks, efficient, strict=True)}


def mean(values: Array) -> float:
    """Geometric mean."""
    return math.exp(math.fsum(np.log(values).tolist()) / len(values))


def better_tpu(work: Workloads, rules: Rules, measured: Measured) -> float:
    """The cost of TPU-v3 with the schedule and (greedy) fusion in force, at the batch that suits each network best."""
    rows = np.repeat(TPU_V3[None], len(BATCHES), axis=0)
    rows[:, BATCH] = BATCHES
    seconds = measured.simulator.seconds(rows)
    better = ratios(rules, measured, rows[:, BATCH, None], seconds, np.full((len(rows), 1), measured.tpu_power))
    return 1 / mean(better.max(axis=0))
