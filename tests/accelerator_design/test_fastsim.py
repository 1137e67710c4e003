"""The model against vectors of two independent implementations, and SCALE-Sim's own cycles."""

from __future__ import annotations

import csv
from functools import cache
from typing import Any

import numpy as np
import pytest
from public import PUBLIC

from sysgym import make_problem
from sysgym.accelerator_design.catalogue import NETWORKS, load_workloads
from sysgym.accelerator_design.fastsim_kernels import area_and_power
from sysgym.accelerator_design.fusion import planned_times
from sysgym.accelerator_design.fusion_kernels import CAPACITY
from sysgym.accelerator_design.scalesim import cycles, output_size
from sysgym.accelerator_design.simulator import Simulator, tpu_v3, works
from sysgym.accelerator_design.space import BATCH, COUNTS, GM, NAMES, SPACE, TPU_V3, indices, machines
from sysgym.core.errors import UsageError

FOLDER = PUBLIC / "accelerator"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason="SYSGYM_DATA names no public data")
SMALL = ("resnet50v2", "ocr-recognizer-like")  # whose integer programs are quick


def rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open() as stream:
        return list(csv.DictReader(stream))


@cache
def simulator(name: str, schedule: int, fusion: bool) -> Simulator:
    return Simulator(NETWORKS[name](), schedule, fusion)


def vectors() -> list[tuple[dict[str, str], Any]]:
    return [(row, machines(indices({name: int(row[name]) for name in NAMES})[None])[0])
            for row in rows("sim_vectors.csv")]  # fmt: skip


@needs_data
def test_area_power_validity_and_time_of_every_vector() -> None:
    table = vectors()
    assert len(table) == 300
    for row, machine in table:
        assert area_and_power(machine) == pytest.approx((float(row["area_mm2"]), float(row["tdp_w"])), rel=1e-6)
        assert works(machine[None])[0] == (row["valid"] == "1")
        for schedule, column in enumerate(("t_baseline_s", "t_map_s", "t_map_toeplitz_s")):
            found = simulator(row["workload"], schedule, False).seconds(machine[None])[0, 0]
            if row["valid"] == "1":
                assert found == pytest.approx(float(row[column]), rel=1e-6)
            else:
                assert found < 0
        if row["valid"] == "1":
            used = simulator(row["workload"], 2, False).utilisation(machine, np.array([float(row["t_map_toeplitz_s"])]))
            assert used[0] == pytest.approx(float(row["util_map_toeplitz"]), rel=1e-6)


def fused(names: Any) -> None:
    for row, machine in vectors():
        if row["valid"] != "1" or row["workload"] not in names:
            continue
        sim = simulator(row["workload"], 2, True)
        exact = sim.exact(machine)
        assert exact.seconds[0] == pytest.approx(float(row["t_best_s"]), rel=1e-4)
        greedy = sim.seconds(machine[None])[0, 0]
        assert exact.seconds[0] <= greedy * (1 + 1e-6) and greedy <= exact.unfused[0] * (1 + 1e-12)
        assert exact.regions.sum() * 1e-9 == pytest.approx(exact.seconds[0], rel=1e-9)


@needs_data
def test_fusion_of_the_quick_vectors() -> None:
    fused(SMALL)


@needs_data
@pytest.mark.slow
def test_fusion_of_the_other_vectors() -> None:
    fused({row["workload"] for row, _ in vectors()} - {*SMALL})


@pytest.mark.parametrize(
    "name", ["cnns/train-0", "cnns/train-5", pytest.param("bert:tokens=16", marks=pytest.mark.slow)]
)
def test_exact_greedy_and_no_fusion_are_ordered_and_what_stays_fits(name: str) -> None:
    work = load_workloads(name)
    sim, rng, used = Simulator(work), np.random.default_rng(0), 0
    for machine in machines(rng.integers(0, COUNTS, (60, len(COUNTS)))):
        if not works(machine[None])[0]:
            continue
        exact, greedy = sim.exact(machine), sim.seconds(machine[None])[0, 0]
        assert exact.seconds[0] <= greedy * (1 + 1e-6) <= exact.unfused[0] * (1 + 1e-5)
        plan = exact.plans[0]
        if plan is None:
            continue
        used += 1
        sim.regions(machine)
        times = planned_times(sim.network(machine, 0, len(work.kind)), plan.upto, plan.pinned)
        assert times.sum() == pytest.approx(plan.nanoseconds, rel=1e-9)
        live = np.full(len(work.kind), 2.0 * work.weights[plan.pinned].sum())
        ptr, region = work.consumers
        for tensor in np.flatnonzero(plan.upto).tolist():
            last = region[ptr[tensor] + plan.upto[tensor] - 1]
            live[work.producer[tensor] : last + 1] += 2.0 * machine[BATCH] * work.elems[tensor]
        assert live.max() <= CAPACITY * machine[GM] * 2**20 * (1 + 1e-9)
    assert used > 5


@needs_data
def test_the_modelled_tpu_v3() -> None:
    for row in rows("tpu_v3_baseline.csv"):
        work = NETWORKS[row["workload"]]()
        seconds, area, power = tpu_v3(work)
        assert (area, power) == pytest.approx((224.45, 131.33), rel=1e-4)
        assert TPU_V3[BATCH] / seconds[0] == pytest.approx(float(row["items_per_s_baseline"]), rel=1e-3)
        plain = Simulator(work, 0, False)
        assert plain.utilisation(TPU_V3, seconds)[0] == pytest.approx(float(row["mac_utilisation"]), rel=1e-3)
        share = plain.depthwise(plain.regions(TPU_V3))[0]
        assert share == pytest.approx(float(row["depthwise_time_share"]), rel=1e-3, abs=1e-9)
        for schedule, column in ((1, "speedup_mapping"), (2, "speedup_mapping_toeplitz")):
            faster = seconds[0] / Simulator(work, schedule, False).seconds(TPU_V3[None])[0, 0]
            assert faster == pytest.approx(float(row[column]), rel=1e-3)
        best = 1 / make_problem("AcceleratorDesign").reference_costs(work)["tpu-v3 rescheduled"]
        assert 0.999 < best / float(row["speedup_all_best_batch"]) < 1.02  # that one fused greedily by another rule


@needs_data
def test_scalesim_counts_the_same_cycles() -> None:
    table = rows("scalesim_reference.csv")
    assert {row["dataflow"] for row in table} == {"ws", "os"}
    for row in table:
        high, wide, r, s, channels, filters, stride = (
            int(row[key])
            for key in ("ifmap_h", "ifmap_w", "filt_h", "filt_w", "channels", "num_filters", "stride")
        )  # fmt: skip
        pixels = output_size(high, r, stride) * output_size(wide, s, stride)
        array = int(row["array_rows"]), int(row["array_cols"])
        assert cycles(row["dataflow"], *array, pixels, filters, r * s * channels) == int(row["total_cycles"])
    assert cycles("is", 8, 4, 10, 6, 20) == 3 * 3 * (2 * 8 + 4 + 6 - 2) - 1
    with pytest.raises(UsageError, match="unknown dataflow 'rs'"):
        cycles("rs", 8, 4, 10, 6, 20)


def test_every_parameter_costs_area_or_power() -> None:
    rng = np.random.default_rng(0)
    for design in rng.integers(0, COUNTS, (40, len(COUNTS))):
        base = np.array(area_and_power(machines(design[None])[0]))
        for place, name in enumerate(NAMES):
            if name == "batch" or (name in ("l2i", "l2w", "l2o") and design[NAMES.index("l2cfg")] == 0):
                continue
            if design[place] + 1 == COUNTS[place]:
                continue
            larger = design.copy()
            larger[place] += 1
            more = np.array(area_and_power(machines(larger[None])[0]))
            assert (more >= base).all() and (more > base).any(), name  # so lower bounds of partial designs are sound


def test_the_space_is_that_of_the_paper() -> None:
    assert [len(values) for values in SPACE.values()] == [9, 9, 9, 9, 5, 2, 11, 11, 11, 3, 8, 8, 8, 10, 4, 9]
    assert float(np.prod(COUNTS.astype(float))) == pytest.approx(4.83e13, rel=1e-2)


def test_one_multiplier_by_hand() -> None:
    """A single multiplication, on TPU-v3 and on the smallest machine of all.

    TPU-v3, batch 256, schedule 0, split over 2 x 2 elements: 128 rows each, one pass of 128 cycles (as long as loading
    the next weights), 128 + 128 to fill and drain: 384 cycles at 0.94 GHz. The traffic of 1026 bytes takes 1.14 ns. The
    smallest machine, batch 1: 1 + 1 + 1 cycles at 1 GHz; 6 bytes take 0.1 ns.
    """
    from sysgym.accelerator_design.workloads.builder import Builder

    net = Builder("one")
    net.valid_conv("one", net.input(1, 1, 1), 1, (1, 1), 1)
    work = net.finish()
    smallest = {name: values[0] for name, values in SPACE.items()}
    assert tpu_v3(work)[0][0] == pytest.approx(384 / 0.94 * 1e-9, rel=1e-12)
    verdict = make_problem("AcceleratorDesign", objective="perf").judge(work, {"design": indices(smallest)})
    assert verdict.metrics["seconds_per_batch"] == pytest.approx(3e-9) and verdict.feasible
    assert verdict.cost == pytest.approx((256 / (384 / 0.94)) / (1 / 3), rel=1e-12)  # 1.88


@pytest.mark.slow
def test_a_program_whose_last_millionths_would_take_minutes_ends() -> None:
    """The best answer of a limited search; a minute of HiGHS proves that none is better by more than 3e-5."""
    problem: Any = make_problem("AcceleratorDesign")
    work = problem.load("fast/efficientnet-b7")
    design = np.array([3, 4, 4, 4, 0, 1, 9, 2, 0, 0, 0, 0, 0, 8, 1, 0])
    verdict = problem.judge(work, {"design": design})
    assert verdict.metrics["seconds_per_batch"] == pytest.approx(2.02765e-3, rel=1e-4)
    assert verdict.metrics["greedy_gap"] > 0
