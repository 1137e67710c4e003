"""The action modes of graph optimisation; what they share with device placement is `sysgym.dataflow.modes`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from sysgym.core.defaults import complete
from sysgym.core.problem import Array, Size, Solution
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.modes import Plan, UnitDynamics, refuse_start
from sysgym.dataflow.simulator.job import Job
from sysgym.dataflow.simulator.simulate import TOP_PRIORITY

if TYPE_CHECKING:
    from sysgym.core.instances import Memo
    from sysgym.dataflow.simulator.rules import Rules

LEVELS = {"schedule": "level", "fusion": "fusion"}  # tasks that are decided by a level, and the plan's array


class Joint(UnitDynamics):
    """Decisions of several tasks for every unit.

    A level l of the schedule makes the priority l * 2^20 plus that of the critical path (plus nothing where the rules
    say "fifo"), so that levels rule and the critical path breaks ties. A level of fusion is the priority itself.
    """

    node_features = (*UnitDynamics.node_features, "level", "fusion")

    def __init__(self, works: Memo, rules: Rules, start: str, tasks: tuple[str, ...], levels: int) -> None:
        super().__init__(works, rules, start)
        self.tasks, self.levels = tasks, levels
        self.global_features = (*UnitDynamics.global_features[:-1], *(f"{task}_next" for task in tasks), "progress")

    def plan(self, graph: DataflowGraph, rng: np.random.Generator, solution: Solution | None, horizon: int) -> Plan:
        """As `UnitDynamics.plan`; without the task of placement, what is shown is the expert's."""
        found = super().plan(graph, rng, solution, horizon)
        if "placement" not in self.tasks:
            work = self.work(graph)
            found.device = np.asarray(work.job.expert[work.first], np.int32)
        return found

    def choices(self, size: Size) -> int:
        """Choices of each decision: devices or levels, whichever are more."""
        devices = size.choices[0] if "placement" in self.tasks else 1
        return max(devices, self.levels if {"schedule", "fusion"} & {*self.tasks} else 1)

    def _given(self, job: Job, placement: Array) -> Solution:
        nothing = np.zeros(job.graph.nodes, np.int32)
        found = {"placement": placement, "schedule": self._priorities(job, nothing), "fusion": nothing}
        names = {"placement": "placement", "schedule": "priority", "fusion": "fusion"}
        return {names[task]: found[task] for task in self.tasks}

    def _priorities(self, job: Job, level: Array) -> Array:
        ties = job.critical_path if self.rules.schedule == "critical_path" else 0
        return np.asarray(level.astype(np.int64) * (TOP_PRIORITY + 1) + ties)

    def decisions(self, graph: DataflowGraph, plan: Plan) -> dict[str, Array]:
        """`placement`, `priority` and `fusion` of the tasks, on operators."""
        if plan.given is not None:
            return dict(plan.given)
        work = self.work(graph)
        of, found = work.units.of, {}
        if "placement" in self.tasks:
            found["placement"] = plan.device[of]
        if "schedule" in self.tasks:
            found["priority"] = self._priorities(work.job, plan.level[of])
        if "fusion" in self.tasks:
            found["fusion"] = plan.fusion[of]
        return found

    def decide(self, graph: DataflowGraph, plan: Plan, task: str, choice: Array) -> None:
        """Take the decisions (U,) of a task."""
        if task == "placement":
            plan.device = np.asarray(choice, np.int32)
        else:
            setattr(plan, LEVELS[task], np.asarray(choice, np.int32))
        plan.given = None
        plan.placed[:] = 1

    def choosable(self, graph: DataflowGraph, size: Size, task: str) -> Array:
        """(N * C,) int8 mask of the choices of one task; 0 only where a row is no unit."""
        work = self.work(graph)
        mask = np.zeros((size.nodes, self.choices(size)), np.int8)
        mask[:, 0] = 1
        mask[: work.units.count, : work.job.devices if task == "placement" else self.levels] = 1
        return mask.ravel()

    def nodes(self, graph: DataflowGraph, plan: Plan) -> Array:
        """As `UnitDynamics.nodes`, then the levels of schedule and fusion over the number of levels."""
        rows = super().nodes(graph, plan)
        rows[:, -2] = plan.level / max(self.levels, 1)
        rows[:, -1] = plan.fusion / max(self.levels, 1)
        return rows

    def upcoming(self, plan: Plan) -> str:
        """The task that the next step decides alone, or nothing."""
        return ""

    def globals(self, graph: DataflowGraph, plan: Plan) -> Array:
        """As `UnitDynamics.globals`, with a flag for the task that is next before the progress."""
        base = super().globals(graph, plan)
        flags = np.array([task == self.upcoming(plan) for task in self.tasks], np.float32)
        return np.concatenate([base[:-1], flags, base[-1:]])


@complete
class OneShot(Joint):
    """All tasks for all units at once, in rounds: each sees what the last one did, and the best round counts."""

    keep_best = True

    def __init__(self, works: Memo, rules: Rules, start: str, tasks: tuple[str, ...], levels: int, rounds: int) -> None:
        super().__init__(works, rules, start, tasks, levels)
        self.rounds = rounds

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """For each task in turn, a choice for every row; 0 where the row is no unit."""
        return spaces.MultiDiscrete(np.full(len(self.tasks) * size.nodes, self.choices(size)))

    def start(self, graph: DataflowGraph, rng: np.random.Generator, solution: Solution | None = None) -> Plan:
        """Nothing is decided; what is shown is the start's placement. A starting solution is refused."""
        refuse_start(solution, "oneshot")
        return self.plan(graph, rng, None, self.rounds)

    def mask(self, graph: DataflowGraph, plan: Plan, size: Size) -> Array:
        """Devices for placement, levels for the others."""
        return np.concatenate([self.choosable(graph, size, task) for task in self.tasks])

    def step(self, graph: DataflowGraph, plan: Plan, action: Any) -> Plan:
        """Decide everything."""
        count = self.work(graph).units.count
        for task, choice in zip(self.tasks, np.split(np.asarray(action), len(self.tasks)), strict=True):
            self.decide(graph, plan, task, choice[:count].copy())
        plan.steps += 1
        if plan.steps == 1:
            plan.best = None  # the start is no answer of the agent's
        self.evaluate(graph, plan)
        return plan


@complete
class TaskByTask(Joint):
    """A step a task, for all units: the schedule sees the simulated placement, fusion sees both; the last counts."""

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A choice for every row; 0 where the row is no unit."""
        return spaces.MultiDiscrete(np.full(size.nodes, self.choices(size)))

    def start(self, graph: DataflowGraph, rng: np.random.Generator, solution: Solution | None = None) -> Plan:
        """The start's placement, no levels; a starting solution is refused."""
        refuse_start(solution, "sequential")
        return self.plan(graph, rng, None, len(self.tasks))

    def upcoming(self, plan: Plan) -> str:
        """The task of the next step."""
        return self.tasks[plan.steps] if plan.steps < len(self.tasks) else ""

    def mask(self, graph: DataflowGraph, plan: Plan, size: Size) -> Array:
        """Choices of the next task; at the end those of the last."""
        return self.choosable(graph, size, self.upcoming(plan) or self.tasks[-1])

    def step(self, graph: DataflowGraph, plan: Plan, action: Any) -> Plan:
        """Decide one task."""
        count = self.work(graph).units.count
        self.decide(graph, plan, self.upcoming(plan), np.asarray(action)[:count].copy())
        plan.steps += 1
        self.evaluate(graph, plan)
        return plan
