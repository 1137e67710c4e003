"""The action modes of device placement; what they share is `sysgym.dataflow.modes`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from sysgym.core.defaults import complete
from sysgym.core.problem import Array, Size, Solution
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.modes import Plan, UnitDynamics, refuse_start

if TYPE_CHECKING:
    from sysgym.core.instances import Memo
    from sysgym.dataflow.simulator.rules import Rules


@complete
class OneShot(UnitDynamics):
    """A device for every unit at once; with several rounds each sees what the last one did, and the best counts."""

    keep_best = True

    def __init__(self, works: Memo, rules: Rules, start: str, mode: str, rounds: int) -> None:
        super().__init__(works, rules, start)
        self.mode, self.rounds = mode, rounds

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A device for every row; 0 where the row is no unit."""
        return spaces.MultiDiscrete(np.full(size.nodes, size.choices[0]))

    def start(self, graph: DataflowGraph, rng: np.random.Generator, solution: Solution | None = None) -> Plan:
        """Nothing is decided; what is shown is the start's placement. A starting solution is refused."""
        refuse_start(solution, self.mode)
        return self.plan(graph, rng, None, self.rounds)

    def step(self, graph: DataflowGraph, plan: Plan, action: Any) -> Plan:
        """Decide all units. The best round counts."""
        work = self.work(graph)
        first = plan.steps == 0
        plan.device = np.asarray(action, np.int32)[: work.units.count].copy()
        plan.placed[:] = 1
        plan.given = None
        plan.steps += 1
        if first:
            plan.best = None  # the start is no answer of the agent's
        self.evaluate(graph, plan)
        return plan


@complete
class Sequential(UnitDynamics):
    """Placeto's process: visit every unit once, in topological order, and set its device."""

    candidate_features = ("load", "near", "memory", "busy", "here", "work")

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A device."""
        return spaces.Discrete(size.choices[0])

    def start(self, graph: DataflowGraph, rng: np.random.Generator, solution: Solution | None = None) -> Plan:
        """All units stand where the option `start` says; a starting solution is refused."""
        refuse_start(solution, "sequential")
        plan = self.plan(graph, rng, None, self.work(graph).units.count)
        plan.current = 0
        return plan

    def step(self, graph: DataflowGraph, plan: Plan, action: Any) -> Plan:
        """Set the device of the current unit and simulate."""
        changed = self.move(graph, plan, plan.current, int(action))
        plan.placed[plan.current] = 1
        plan.steps += 1
        plan.current = plan.steps if plan.steps < plan.horizon else -1
        if changed:
            self.evaluate(graph, plan)
        return plan

    def room(self, graph: DataflowGraph, plan: Plan) -> Array:
        """Bytes that are left on each device beside the parameters of the units decided, (D,) float64."""
        work = self.work(graph)
        held = np.bincount(plan.device, weights=work.held * (plan.placed > 0), minlength=work.job.devices)
        return np.asarray(work.job.capacity - held)

    def mask(self, graph: DataflowGraph, plan: Plan, size: Size) -> Array:
        """Devices with room for the unit's parameters; the one with most room where there is none. (D,) int8."""
        allowed = np.zeros(size.choices[0], np.int8)
        devices = self.work(graph).job.devices
        if plan.current < 0:
            allowed[:devices] = 1
            return allowed
        room = self.room(graph, plan)
        allowed[:devices] = room >= self.work(graph).held[plan.current]
        if not allowed.any():
            allowed[int(np.argmax(room))] = 1
        return allowed

    def candidates(self, graph: DataflowGraph, plan: Plan, size: Size) -> tuple[Array, Array]:
        """Each device for the current unit: load (time decided, of an even share), near (share of the unit's bytes from
        or to units decided there), memory (share full), busy (of the makespan now), here, work (unit's time there)."""
        work = self.work(graph)
        job, v = work.job, plan.current
        rows = np.zeros((size.choices[0], len(self.candidate_features)), np.float32)
        nodes = np.full(size.choices[0], v, np.int32)
        if v < 0:
            return rows, nodes
        devices = job.devices
        even = max(float(work.mean_work.sum()) / devices, 1.0)
        load = np.bincount(plan.device, weights=work.mean_work * (plan.placed > 0), minlength=devices)
        rows[:devices, 0] = load / even
        around = slice(int(work.link_ptr[v]), int(work.link_ptr[v + 1]))
        others, size_ = work.links[1][around], work.links[2][around]
        near = np.bincount(plan.device[others], weights=size_ * (plan.placed[others] > 0), minlength=devices)
        rows[:devices, 1] = near / work.neighbour_bytes[v]
        rows[:devices, 2] = np.clip(1 - self.room(graph, plan) / np.maximum(job.capacity, 1), 0, 10)
        outcome = plan.score.outcome if plan.score is not None else None
        if outcome is not None:
            rows[:devices, 3] = outcome.busy_ns / max(outcome.makespan_ns, 1)
        rows[plan.device[v], 4] = 1
        rows[:devices, 5] = np.minimum(work.work[:, v] / even, 100)
        return rows, nodes


@complete
class Refine(UnitDynamics):
    """Moves of one unit to a device, from a start; the best placement seen is the solution (GiPH's relocations)."""

    keep_best = True

    def __init__(self, works: Memo, rules: Rules, start: str, steps: int | None) -> None:
        super().__init__(works, rules, start)
        self.steps = steps

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """(unit, device)."""
        return spaces.MultiDiscrete([size.nodes, size.choices[0]])

    def start(self, graph: DataflowGraph, rng: np.random.Generator, solution: Solution | None = None) -> Plan:
        """From `solution`, kept as it is on operators until units are moved, or from what `start` says."""
        units = self.work(graph).units
        plan = self.plan(graph, rng, solution, self.steps if self.steps is not None else max(16, 2 * units.count))
        plan.placed[:] = 1
        return plan

    def scale(self, graph: DataflowGraph, plan: Plan) -> float:
        """A tenth of the cost of everything on one device."""
        return super().scale(graph, plan) / 10

    def legal(self, graph: DataflowGraph, plan: Plan, action: Any, size: Size) -> bool:
        """The mask's answer in constant time."""
        work = self.work(graph)
        return bool(0 <= action[0] < work.units.count and 0 <= action[1] < work.job.devices)

    def mask(self, graph: DataflowGraph, plan: Plan, size: Size) -> Array:
        """Every unit and every device, (U + D,) int8."""
        work = self.work(graph)
        allowed = np.zeros(size.nodes + size.choices[0], np.int8)
        allowed[: work.units.count] = 1
        allowed[size.nodes : size.nodes + work.job.devices] = 1
        return allowed

    def step(self, graph: DataflowGraph, plan: Plan, action: Any) -> Plan:
        """Move a unit."""
        self.move(graph, plan, int(action[0]), int(action[1]))
        plan.current = -1
        plan.steps += 1
        self.evaluate(graph, plan)
        return plan
