"""What the action modes on dataflow graphs share: a decision for every unit, its score, and how both are shown."""

from __future__ import annotations

from copy import copy as shallow
from dataclasses import dataclass
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.instances import Memo
from sysgym.core.problem import Array, Size, Solution
from sysgym.dataflow.features import Work
from sysgym.dataflow.graphs.cluster import LINK_MODES
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.simulator.job import Job, Score
from sysgym.dataflow.simulator.rules import Rules


@dataclass
class Plan:
    """Decisions under way."""

    device: Array  # (U,) int32
    level: Array  # (U,) int32 of the schedule
    fusion: Array  # (U,) int32
    placed: Array  # (U,) float32 whether this episode has decided the unit
    current: int  # unit that the next action concerns, or -1
    horizon: int  # steps in the episode
    steps: int = 0
    given: Solution | None = None  # exact arrays that the episode began with, until a step changes something
    score: Score | None = None  # of the decisions as they are
    best: Any = None  # (infeasible, cost) of the best decisions so far
    best_solution: Solution | None = None
    cost: float = np.nan  # of the answer as it stands


class UnitDynamics:
    """Base of the modes: `Plan`s on `Work`s, which are made once for each graph.

    keep_best: the answer is the best decision seen, as in moves from a start; else the last one.
    """

    node_features: tuple[str, ...] = ("device", "placed", "current", "start", "load", "local", "memory")
    global_features: tuple[str, ...] = (
        "log_units", "log_operators", "log_devices", "cost", "best", "memory", "transfers", "sending",
        "links", "progress",
    )  # fmt: skip
    keep_best = False

    def __init__(self, works: Memo, rules: Rules, start: str) -> None:
        self.works, self.rules, self.start_from = works, rules, start

    def work(self, graph: DataflowGraph) -> Work:
        """The job and units of a graph."""
        found: Work = self.works(graph)
        return found

    def plan(self, graph: DataflowGraph, rng: np.random.Generator, solution: Solution | None, horizon: int) -> Plan:
        """Decisions to start from: those of `solution`, everything on one device, the expert's or random ones."""
        work = self.work(graph)
        job, count = work.job, work.units.count
        plan = Plan(np.zeros(count, np.int32), np.zeros(count, np.int32), np.zeros(count, np.int32),
                    np.zeros(count, np.float32), -1, horizon)  # fmt: skip
        if solution is not None:
            plan.given = {key: np.asarray(value) for key, value in solution.items()}
            placement = np.asarray(solution.get("placement", job.expert))
        elif self.start_from == "random":
            placement = rng.integers(0, job.devices, count)[work.units.of]
        else:
            placement = job.expert if self.start_from == "expert" else job.single
        if solution is None:
            plan.given = self._given(job, np.asarray(placement, np.int32))
        plan.device = np.asarray(placement[work.first], np.int32)
        self.evaluate(graph, plan)
        return plan

    def _given(self, job: Job, placement: Array) -> Solution:
        return {"placement": placement}

    def decisions(self, graph: DataflowGraph, plan: Plan) -> dict[str, Array]:
        """The arrays of the decisions as they are, on operators."""
        if plan.given is not None:
            return dict(plan.given)
        return {"placement": plan.device[self.work(graph).units.of]}

    def move(self, graph: DataflowGraph, plan: Plan, unit: int, device: int) -> bool:
        """Put the operators of a unit on a device, and leave the others; whether that changes anything."""
        before = self.decisions(graph, plan)["placement"]
        mine = self.work(graph).units.of == unit
        plan.device[unit] = device
        if (before[mine] == device).all():
            return False
        plan.given = {"placement": np.where(mine, device, before).astype(np.int32)}
        return True

    def evaluate(self, graph: DataflowGraph, plan: Plan) -> None:
        """Score the decisions and keep them if they are the best."""
        job = self.work(graph).job
        found = self.decisions(graph, plan)
        placement = found.get("placement", job.expert)
        plan.score = job.score(placement, found.get("priority"), found.get("fusion"))
        key = (plan.score.over_bytes > 0, plan.score.cost)
        if not self.keep_best or plan.best is None or key < plan.best:
            plan.best, plan.best_solution, plan.cost = key, found, plan.score.cost

    def mask(self, graph: DataflowGraph, plan: Plan, size: Size) -> Array:
        """Every device for every unit; device 0 for rows that are no unit."""
        work = self.work(graph)
        allowed = np.zeros((size.nodes, size.choices[0]), np.int8)
        allowed[:, 0] = 1
        allowed[: work.units.count, : work.job.devices] = 1
        return allowed.ravel()

    def done(self, graph: DataflowGraph, plan: Plan) -> bool:
        """Whether all steps are taken."""
        return plan.steps >= plan.horizon

    def solution(self, graph: DataflowGraph, plan: Plan) -> Solution:
        """The answer as it stands, arrays on operators."""
        return dict(plan.best_solution or self.decisions(graph, plan))

    def copy(self, plan: Plan) -> Plan:
        """A fork."""
        fork = shallow(plan)
        fork.device, fork.level, fork.fusion = plan.device.copy(), plan.level.copy(), plan.fusion.copy()
        fork.placed = plan.placed.copy()
        return fork

    def cost(self, graph: DataflowGraph, plan: Plan) -> float:
        """Cost of the answer as it stands, ns."""
        return plan.cost

    def scale(self, graph: DataflowGraph, plan: Plan) -> float:
        """Cost of everything on one device, whether it fits or not."""
        return max(self.work(graph).job.single_ns, 1.0)

    def focus(self, graph: DataflowGraph, plan: Plan) -> int:
        """The unit that is decided next, or -1."""
        return plan.current

    def nodes(self, graph: DataflowGraph, plan: Plan) -> Array:
        """What changes: device (of D), placed, current, start (of the makespan), load (of its device, of the
        makespan), local (share of bytes from or to units on the same device), memory (of its device)."""
        work = self.work(graph)
        units, job = work.units, work.job
        rows = np.zeros((units.count, len(self.node_features)), np.float32)
        rows[:, 0] = (plan.device + 0.5) / job.devices
        rows[:, 1] = plan.placed
        if plan.current >= 0:
            rows[plan.current, 2] = 1
        source, target, size = work.links
        same = np.where(plan.device[source] == plan.device[target], size, 0.0)
        rows[:, 5] = np.bincount(source, weights=same, minlength=units.count) / work.neighbour_bytes
        assert plan.score is not None
        outcome, fused = plan.score.outcome, plan.score.fused
        if outcome is not None:
            span = max(outcome.makespan_ns, 1)
            rows[:, 3] = outcome.start[work.first if fused is None else fused.group[work.first]] / span
            rows[:, 4] = (outcome.busy_ns / span)[plan.device]
            rows[:, 6] = np.minimum(outcome.peak_bytes / np.maximum(job.capacity, 1), 10.0)[plan.device]
        return rows

    def globals(self, graph: DataflowGraph, plan: Plan) -> Array:
        """Sizes, the costs of the decisions and of the answer over that of one device, memory, transfers, progress."""
        work = self.work(graph)
        job, score = work.job, plan.score
        single = max(job.single_ns, 1.0)
        outcome = score.outcome if score is not None else None
        full = 0.0 if outcome is None else float((outcome.peak_bytes / np.maximum(job.capacity, 1)).max())
        return np.array(
            [
                np.log10(work.units.count) / 6, np.log10(graph.nodes) / 6, np.log2(job.devices) / 6,
                min((score.cost if score else plan.cost) / single, 100.0), min(plan.cost / single, 100.0),
                min(full, 10.0), 0.0 if outcome is None else outcome.transfers / max(graph.edges, 1),
                work.sending, LINK_MODES.index(job.cluster.link_mode) / 2, plan.steps / max(plan.horizon, 1),
            ],
            np.float32,
        )  # fmt: skip


def refuse_start(solution: Solution | None, mode: str) -> None:
    """UsageError where an episode is given a solution but does not go on from one."""
    if solution is not None:
        raise UsageError(
            f"mode {mode!r} starts from nothing; a starting solution needs mode='refine' of DevicePlacement."
        )
