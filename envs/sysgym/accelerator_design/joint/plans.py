"""Plans: the schedule of every region, and what stays in global memory; as arrays, their room and their time.

The rules of what stays are those of `sysgym.accelerator_design.fusion`. A network in which nothing stays has all of the
global memory for blocks; one in which anything stays has the share that fusion leaves, as given, faster or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from sysgym.accelerator_design.fastsim_kernels import MIB
from sysgym.accelerator_design.fusion import planned_traffic
from sysgym.accelerator_design.fusion_kernels import CAPACITY
from sysgym.accelerator_design.instance import Workloads
from sysgym.accelerator_design.simulator import Simulator, works
from sysgym.accelerator_design.space import BANDWIDTH, GM, machines
from sysgym.core.errors import InvalidSolution
from sysgym.core.problem import Array, ArraySpec, Solution


class Decisions(NamedTuple):
    """What is decided for a workload beside its datapath."""

    schedule: Array  # (R,) int64
    upto: Array  # (T,) int64, consumers up to which a tensor stays; 0: it does not
    pinned: Array  # (R,) bool, whose weights stay


def nothing_stays(work: Workloads, schedule: int) -> Decisions:
    """The same schedule everywhere, and nothing in memory."""
    regions = len(work.kind)
    return Decisions(np.full(regions, schedule), np.zeros(len(work.elems), np.int64), np.zeros(regions, bool))


def readers(work: Workloads) -> Array:
    """How many regions read what each tensor holds, (T,) int64; 0 of the inputs of networks, which cannot stay."""
    return np.asarray(np.where(work.producer >= 0, np.diff(work.consumers[0]), 0))


def most_readers(work: Workloads) -> int:
    """The most readers of a tensor, 1 at least."""
    return max(int(readers(work).max()), 1)


def plan_arrays(work: Workloads, schedule: int) -> dict[str, ArraySpec]:
    """`schedule`, `residency` and `pinned` of a solution."""
    regions, tensors = len(work.kind), len(work.elems)
    stays = "1 in column k - 1: the tensor stays from its producer to its k-th consumer"
    return {
        "schedule": ArraySpec((regions,), "int", 0, schedule, "the schedule of each region"),
        "residency": ArraySpec((tensors, most_readers(work)), "int", 0, 1, stays),
        "pinned": ArraySpec((regions,), "int", 0, 1, "1: the weights of the region stay for ever"),
    }


def decisions_of(work: Workloads, arrays: Mapping[str, Array]) -> Decisions:
    """The plan that checked arrays say; InvalidSolution where they say none."""
    residency, pinned = arrays["residency"], arrays["pinned"].astype(bool)
    count, upto = residency.sum(axis=1), np.where(residency.any(axis=1), residency.argmax(axis=1) + 1, 0)
    if (count > 1).any():
        t = int(np.argmax(count > 1))
        raise InvalidSolution(f"row {t} of 'residency' holds {count[t]} ones; a tensor stays up to one consumer.")
    known = readers(work)
    if (upto > known).any():
        t = int(np.argmax(upto > known))
        if work.producer[t] < 0:
            raise InvalidSolution(f"tensor {t} is an input of its network: no region produces it, so it cannot stay.")
        name = work.regions[work.producer[t]]
        raise InvalidSolution(
            f"tensor {t}, the output of {name}, has {known[t]} consumers; 'residency' lets it stay to number {upto[t]}."
        )
    if (pinned & (work.weights == 0)).any():
        i = int(np.argmax(pinned & (work.weights == 0)))
        raise InvalidSolution(f"region {i}, {work.regions[i]}, has no weights that 'pinned' could keep.")
    return Decisions(arrays["schedule"], upto, pinned)


def arrays_of_plan(work: Workloads, decisions: Decisions) -> dict[str, Array]:
    """The arrays of a plan."""
    columns = np.arange(1, most_readers(work) + 1)
    residency = (decisions.upto[:, None] == columns).astype(np.int64)
    return {"schedule": decisions.schedule.copy(), "residency": residency, "pinned": decisions.pinned.astype(np.int64)}


def room_of(machine: Array) -> float:
    """Bytes of global memory for what stays."""
    return float(CAPACITY * machine[GM] * MIB)


def room_taken(work: Workloads, batch: float, decisions: Decisions) -> Array:
    """Bytes that stay while each region runs, (R,) float64."""
    ptr, region = work.consumers
    kept = np.flatnonzero(decisions.upto)
    size, change = 2.0 * batch * work.elems[kept], np.zeros(len(work.kind) + 1)
    np.add.at(change, work.producer[kept], size)
    np.add.at(change, region[ptr[kept] + decisions.upto[kept] - 1] + 1, -size)
    pinned = np.add.reduceat(np.where(decisions.pinned, 2.0 * work.weights, 0.0), work.first[:-1])
    return np.asarray(np.cumsum(change)[:-1] + pinned[work.network])


def parts(simulator: Simulator, machine: Array, decisions: Decisions) -> tuple[Array, Array]:
    """Nanoseconds of computing and of traffic of each region, (R,) each, on a machine that can work.

    A region takes the longer of the two. Whether what stays fits is not looked at.
    """
    work, times = simulator.workloads, simulator.times(machine, decisions.schedule)
    traffic = np.asarray(times.whole / machine[BANDWIDTH])
    for begin, end in pairwise(work.first.tolist()):
        if decisions.upto[work.out[begin:end]].any() or decisions.pinned[begin:end].any():
            network = simulator.network(machine, begin, end)
            traffic[begin:end] = planned_traffic(network, decisions.upto, decisions.pinned)
    return times.compute.copy(), traffic


def exact_plan(simulator: Simulator, machine: Array) -> Decisions:
    """The simulator's schedule everywhere and the best residency; nothing stays where a machine cannot work."""
    work = simulator.workloads
    found = nothing_stays(work, simulator.schedule)
    if not works(machine[None])[0]:
        return found
    for (begin, end), plan in zip(pairwise(work.first.tolist()), simulator.exact(machine).plans, strict=True):
        if plan is not None:
            mine = work.out[begin:end]
            found.upto[mine], found.pinned[begin:end] = plan.upto[mine], plan.pinned[begin:end]
    return found


def planned_solution(problem: Any, instance: Workloads, design: Array) -> Solution:
    """The solution of a design (16,), rows of the table: in mode `joint` with the exact plan at the problem's schedule,
    which has the cost that the design has in the other modes.
    """
    if problem.mode != "joint":
        return {"design": design}
    machine = machines(np.asarray(design)[None])[0]
    plan = exact_plan(problem.measured(instance).simulator, machine)
    return {"design": design, **arrays_of_plan(instance, plan)}


def decisions_for(problem: Any, work: Workloads, solution: Solution) -> Decisions:
    """The plan of a solution of any mode: as given, or what exact fusion chooses, or else nothing that stays."""
    if problem.mode == "joint":
        return decisions_of(work, {name: np.asarray(value) for name, value in solution.items()})
    if problem.fusion != "ilp":
        return nothing_stays(work, problem.schedule)
    machine = machines(np.asarray(solution["design"])[None])[0]
    return exact_plan(problem.measured(work).simulator, machine)
