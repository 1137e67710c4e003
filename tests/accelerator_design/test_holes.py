"""What no design may do, however a search finds it: beat the multipliers, the memory, or pay nothing for silicon."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sysgym import make_problem
from sysgym.accelerator_design.catalogue import known_designs, load_workloads
from sysgym.accelerator_design.fastsim_kernels import DEPTHWISE_OPS, SUPPLY, area_and_power
from sysgym.accelerator_design.instance import DWCONV, Workloads
from sysgym.accelerator_design.joint.plans import Decisions, arrays_of_plan, parts, readers, room_of, room_taken
from sysgym.accelerator_design.simulator import Simulator, works
from sysgym.accelerator_design.space import (
    BANDWIDTH,
    BATCH,
    CLOCK,
    COUNTS,
    GM,
    L2CFG,
    L2I,
    L2O,
    NAMES,
    PE_X,
    PE_Y,
    SA_X,
    SA_Y,
    VM,
    machines,
)
from sysgym.core.problem import Array

ODD = ("cnns/train-0", "cnns/test-3", "bert:tokens=17", "fast/ocr-recognizer-like")


def drawn(count: int, seed: int = 0) -> Array:
    """Random designs that can work, and the best known ones, (n, 16)."""
    designs = np.random.default_rng(seed).integers(0, COUNTS, (count, len(COUNTS)))
    return np.concatenate([designs[works(machines(designs))], known_designs()])


def least_compute(work: Workloads, machine: Array) -> Array:
    """Nanoseconds that the multiplications of each region take at least, (R,): no multiplier does two in a cycle. The
    vector unit may do a depthwise convolution in their place.
    """
    columns = machine[PE_X] * machine[PE_Y] * machine[SA_Y]
    most = np.where(work.kind == DWCONV, max(machine[SA_X], machine[VM] / DEPTHWISE_OPS), machine[SA_X]) * columns
    return np.asarray(
        np.maximum(work.macs / most, work.vec_ops / (columns * machine[VM])) * machine[BATCH] / machine[CLOCK]
    )


def moved_once(work: Workloads, batch: float) -> Array:
    """Bytes of each region where everything is moved once, (R,)."""
    reads = np.add.reduceat(work.elems[work.in_tensor], work.in_ptr[:-1])
    return np.asarray(2.0 * (batch * (reads + work.elems[work.out]) + work.weights))


def compulsory(work: Workloads, batch: float, pinned: Array) -> Array:
    """Bytes that each region moves whatever stays, (R,): the inputs and outputs of its network, weights not pinned."""
    unread = np.diff(work.consumers[0]) == 0
    given = np.add.reduceat(np.where(work.producer < 0, work.elems, 0)[work.in_tensor], work.in_ptr[:-1])
    out = np.where(unread[work.out], work.elems[work.out], 0)
    return np.asarray(2.0 * (batch * (given + out) + np.where(pinned, 0, work.weights)))


@pytest.mark.parametrize("schedule", [0, 1, 2])
@pytest.mark.parametrize("name", ODD)
def test_no_region_beats_its_multipliers_or_its_memory(name: str, schedule: int) -> None:
    work = load_workloads(name)
    sim = Simulator(work, schedule)
    for machine in machines(drawn(2000)):
        times, once = sim.times(machine), moved_once(work, machine[BATCH])
        assert (times.compute >= least_compute(work, machine) * (1 - 1e-12)).all()
        assert (times.whole >= once).all() and (times.bytes >= times.whole).all()
        if machine[GM] > 0:
            assert (times.compute >= once / SUPPLY / machine[CLOCK] * (1 - 1e-12)).all()


def test_no_network_beats_what_it_must_move_and_multiply() -> None:
    for name in ODD[:3]:
        work = load_workloads(name)
        sim = Simulator(work)
        designs = machines(drawn(2000, 1))
        greedy = sim.seconds(designs)[:, 0] * 1e9
        for machine, fused in zip(designs, greedy, strict=True):
            never = compulsory(work, machine[BATCH], work.weights > 0) / machine[BANDWIDTH]
            assert fused >= np.maximum(never, least_compute(work, machine)).sum() * (1 - 1e-9)
            if machine[GM] == 0:
                once = moved_once(work, machine[BATCH]) / machine[BANDWIDTH]
                assert fused >= np.maximum(once, least_compute(work, machine)).sum() * (1 - 1e-9)


def test_twice_the_batch_takes_no_less() -> None:
    work = load_workloads("cnns/train-0")
    sim, rows = Simulator(work, 2, fusion=False), machines(drawn(2000, 2))
    rows = rows[rows[:, BATCH] < 256]
    twice = rows.copy()
    twice[:, BATCH] *= 2
    once, later = sim.seconds(rows)[:, 0], sim.seconds(twice)[:, 0]
    assert (later >= once * (1 - 1e-12)).all()


def steps(designs: Array) -> Iterator[tuple[str, Array, Array]]:
    """Each pair of designs that differ by one step in one parameter, the smaller one first, with its name."""
    for design in designs:
        for place, name in enumerate(NAMES):
            if design[place] + 1 < COUNTS[place]:
                larger = design.copy()
                larger[place] += 1
                yield name, design, larger


def test_each_step_costs_silicon_or_power_but_the_batch_and_an_absent_l2() -> None:
    """The batch is a choice of how to run the chip: it moves time and footprint, not area or peak power."""
    sim = Simulator(load_workloads("cnns/train-0"))
    exempt = dict.fromkeys(("batch", *NAMES[L2I : L2O + 1]), 0)
    for name, smaller, larger in steps(drawn(150, 3)):
        rows = machines(np.stack([smaller, larger]))
        before, after = (np.array(area_and_power(row)) for row in rows)
        if name == "batch" or (name in exempt and smaller[L2CFG] == 0):
            exempt[name] += 1
            assert (after == before).all()
            seconds = sim.seconds(rows)[:, 0]
            assert (seconds[1] != seconds[0]) == (name == "batch")
        else:
            assert (after >= before).all() and (after > before).any(), name
    assert min(exempt.values()) > 10


def plan_of_anything(work: Workloads, rng: np.random.Generator) -> Decisions:
    """Any schedule, and anything that stays, whether it fits or not."""
    share = rng.random()
    upto = np.where(rng.random(len(work.elems)) < share, rng.integers(0, readers(work) + 1), 0)
    pinned = (rng.random(len(work.kind)) < rng.random()) & (work.weights > 0)
    return Decisions(rng.integers(0, 3, len(work.kind)), upto, pinned)


def test_no_plan_beats_what_must_be_moved_and_one_that_does_not_fit_is_infeasible() -> None:
    joint: Any = make_problem("AcceleratorDesign", mode="joint", fusion="greedy", area_budget=100, tdp_budget=100)
    rng, full, none = np.random.default_rng(0), 0, 0
    for name in ("cnns/train-0", "bert:tokens=17"):
        work = joint.load(name)
        sim = joint.measured(work).simulator
        for design in drawn(250, 4):
            machine, plan = machines(design[None])[0], plan_of_anything(work, rng)
            compute, traffic = parts(sim, machine, plan)
            assert (compute >= least_compute(work, machine) * (1 - 1e-12)).all()
            least = compulsory(work, machine[BATCH], plan.pinned) / machine[BANDWIDTH]
            assert (traffic >= least * (1 - 1e-9) - 1e-12 * compute).all()  # what it lacks to computing is added to it
            verdict = joint.judge(work, {"design": design, **arrays_of_plan(work, plan)})
            assert verdict.metrics["seconds_per_batch"] == pytest.approx(np.maximum(compute, traffic).sum() * 1e-9)
            fits = room_taken(work, machine[BATCH], plan).max() <= room_of(machine)
            assert any("stay in global memory" in line for line in verdict.violations) == (not fits)
            full += not fits and machine[GM] > 0
            none += not fits and machine[GM] == 0
    assert full > 20 and none > 5


def test_what_lives_at_once_is_counted_until_the_last_reader_and_weights_for_ever() -> None:
    """Room by counting, region by region, what is produced and not yet read for the last time that was asked for."""
    for name in ODD:
        work, rng = load_workloads(name), np.random.default_rng(5)
        ptr, region = work.consumers
        for _ in range(20):
            plan = plan_of_anything(work, rng)
            expected = np.zeros(len(work.kind))
            for begin, end in pairwise(work.first.tolist()):
                expected[begin:end] += 2.0 * work.weights[begin:end][plan.pinned[begin:end]].sum()
            for tensor in np.flatnonzero(plan.upto).tolist():
                last = region[ptr[tensor] + plan.upto[tensor] - 1]
                expected[work.producer[tensor] : last + 1] += 2.0 * 8 * work.elems[tensor]
            assert room_taken(work, 8, plan) == pytest.approx(expected, rel=1e-12, abs=1e-6)
