"""Graph optimisation as a sysgym problem."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from sysgym.core.defaults import complete
from sysgym.core.options import Range
from sysgym.core.problem import ArraySpec, Solution, Verdict
from sysgym.core.solutions import check_arrays
from sysgym.dataflow.problem import GraphProblem, parse_tasks

if TYPE_CHECKING:
    from sysgym.dataflow.graphs.graph import DataflowGraph


@complete
class GraphOptimization(GraphProblem):
    """Decide placement, schedule and fusion of a dataflow graph together, so that a step takes little time.

    Description: the problem of GO, "Transferable Graph Optimizers for ML Compilers" (Zhou et al., NeurIPS 2020,
    arXiv 2010.12438). Placement: a device for each operator. Schedule: a priority for each operator; a device starts
    its ready operator of highest priority. Fusion: a priority for each operator; operators take in their readers from
    the highest priority down, groups run as one kernel whose time follows a roofline (`sysgym.dataflow.graphs.fusion`).
    cost = makespan in ns of the fused graph in the simulator of `sysgym/DevicePlacement-v0`. Feasible if no device's
    memory is exceeded. Solution: `placement`, `priority` and `fusion`, each (N,) integers, those of the tasks.
    Instances: as for device placement.

    Options:
        tasks: what is decided, any of placement, schedule and fusion, joined by "+". Without placement it is the
            expert's; without a schedule the option `schedule` orders operators; without fusion nothing is fused.
        mode: "oneshot" (all tasks for all units at once) or "sequential" (a step a task).
        levels: of schedule and fusion that an action chooses from; solutions may hold any priority.
        rounds: steps of `oneshot`; each sees the simulation of the last, and the best counts.
        grouping, groups: units that share decisions: "op", "layers" (layer x phase x chunk of time) or "metis".
        start: what is shown first: everything on a "single" device, the "expert" placement or a "random" one.
        schedule: how ready operators of one priority are ordered: "fifo" or "critical_path".
        devices, link_mode, bandwidth, latency_ns, capacity, mem_factor, noise, noise_samples, noise_seed: as for
            `sysgym/DevicePlacement-v0`. generator: recipe of `generate` (a seed is drawn).

    Observation: as for device placement, with the node features level and fusion (over levels) at the end, and a global
    feature TASK_next for each task that is 1 in mode `sequential` when the next step decides it.

    Metrics: as for device placement, and groups, the kernels that run after fusion. The bound of gap_to_bound is that
    of the graph without fusion: a fused graph can come below 1.

    Rewards: see `sysgym.core.rewards`; the scale is the cost of everything on one device, first come first served.
    Version history: v0, first release.
    """

    name = "GraphOptimization"
    version = 0
    variants = (
        {"mode": "oneshot", "rounds": 2, "levels": 4}, {"mode": "sequential", "levels": 4},
    )  # fmt: skip
    recommended_agent = "sa-device"
    secondary = True  # its graphs are those of device placement
    default_instances = "layered/train"
    usual_schedule = "critical_path"

    tasks: str = "placement+schedule+fusion"
    mode: Literal["oneshot", "sequential"] = "oneshot"
    levels: Annotated[int, Range(2, 1024)] = 16
    rounds: Annotated[int, Range(1, 100)] = 1
    grouping: Literal["op", "layers", "metis"] = "layers"
    schedule: Literal["fifo", "critical_path"] = "critical_path"

    def __post_init__(self) -> None:
        parse_tasks(self.tasks)
        self.check_rules()

    @property
    def unit_kind(self) -> str:
        """What a unit is: op, layers or metis."""
        return self.grouping

    @cached_property
    def dynamics(self) -> Any:
        """The dynamics of the chosen mode (imports numba)."""
        from sysgym.graph_optimization.modes import OneShot, TaskByTask

        shared = (self.works, self.rules, self.start, self.chosen, self.levels)
        return OneShot(*shared, self.rounds) if self.mode == "oneshot" else TaskByTask(*shared)

    def solution_arrays(self, instance: DataflowGraph) -> Mapping[str, ArraySpec]:
        """The arrays of the tasks."""
        many = (instance.nodes,)
        specs = {
            "placement": ArraySpec(many, "int", 0, self.job(instance).devices - 1, "device of each operator"),
            "priority": ArraySpec(
                many, "int", 1 - 2**30, 2**30 - 1, "the ready operator of highest priority starts first"
            ),
            "fusion": ArraySpec(many, "int", 0, 2**30, "order of taking readers in, highest first; 0: none"),
        }
        return {{"schedule": "priority"}.get(task, task): specs[{"schedule": "priority"}.get(task, task)]
                for task in self.chosen}  # fmt: skip

    def judge(self, instance: DataflowGraph, solution: Solution) -> Verdict:
        """Fuse, then simulate; InvalidSolution if the arrays are none. Cost is the makespan in ns."""
        found = check_arrays(self.solution_arrays(instance), solution)
        job = self.job(instance)
        placement = np.ascontiguousarray(found.get("placement", job.expert), np.int32)
        return job.verdict(placement, found.get("priority"), found.get("fusion"))
