"""What a datapath with a plan of its own costs: schedule and residency are judged as given."""

from __future__ import annotations

import numpy as np

from sysgym.accelerator_design.fastsim_kernels import MIB
from sysgym.accelerator_design.instance import Workloads
from sysgym.accelerator_design.joint.plans import Decisions, parts, room_of, room_taken
from sysgym.accelerator_design.judge import Measured, Rules, Timing, broken, greedy_gap, mean, verdict_of
from sysgym.accelerator_design.simulator import works
from sysgym.accelerator_design.space import BATCH, machines
from sysgym.core.problem import Array, Verdict


def judge_joint(work: Workloads, design: Array, decisions: Decisions, rules: Rules, measured: Measured) -> Verdict:
    """Judge table indices (16,) with a plan. The cost, budgets and metrics are those of `judge_design`; besides, what
    stays must fit, and the metric `ilp_gap` is `gap_to_exact`.

    The plan's own time counts even where it is longer than without anything that stays.
    """
    machine = machines(design[None])[0]
    if not works(machine[None])[0]:
        return broken(work, machine, ("greedy_gap", "ilp_gap"))
    regions = np.maximum(*parts(measured.simulator, machine, decisions))
    seconds = np.add.reduceat(regions, work.first[:-1]) * 1e-9
    gaps = {"greedy_gap": 0.0, "ilp_gap": 0.0}
    if rules.fusion == "ilp":
        gaps["greedy_gap"] = greedy_gap(measured, machine)
        gaps["ilp_gap"] = gap_to_exact(measured, machine, decisions, seconds)
    timing = Timing(seconds, regions, gaps, _overfull(work, machine, decisions))
    return verdict_of(work, machine, timing, rules, measured)


def gap_to_exact(measured: Measured, machine: Array, decisions: Decisions, seconds: Array) -> float:
    """How much longer a plan takes than the exact one, the geometric mean over the networks, less 1; 0 at least.

    The exact one is the best residency (to 1e-6) at the schedules as given or at the problem's schedule everywhere,
    whichever is faster on a network. Both count since neither schedule is always better: a mapping in fewer cycles may
    move more bytes. So a plan has no gap where its residency is the best for its schedules and these are no worse
    than the usual one; it may then cost less than the same datapath does in the other modes.
    """
    usual, own = measured.simulator.exact(machine), measured.simulator.exact(machine, decisions.schedule)
    return max(mean(seconds / np.minimum(usual.seconds, own.seconds)) - 1, 0.0)


def _overfull(work: Workloads, machine: Array, decisions: Decisions) -> tuple[tuple[str, float], ...]:
    """A sentence about the region where most stays, and the relative excess, if that does not fit."""
    taken, room = room_taken(work, machine[BATCH], decisions), room_of(machine)
    fullest = int(taken.argmax())
    over = float(taken[fullest]) - room
    if over <= 0:
        return ()
    sentence = (
        f"while region {fullest}, {work.regions[fullest]}, runs, {taken[fullest] / MIB:.6g} MiB stay in global memory, "
        f"{over / MIB:.6g} MiB more than the {room / MIB:.6g} that it has room for"
    )
    return ((sentence, over / max(room, MIB)),)
