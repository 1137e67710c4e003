"""What the problems on dataflow graphs share. Imports no kernels, so that listing problems stays cheap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from sysgym.core.errors import UsageError, unknown
from sysgym.core.instances import InstanceSet, Memo, find_entry, load_index
from sysgym.core.options import Range
from sysgym.core.problem import Array, Size, Solution
from sysgym.core.solutions import renumbered
from sysgym.dataflow.graphs.cluster import MAX_DEVICES
from sysgym.dataflow.graphs.load import TOPIC, is_graph
from sysgym.dataflow.simulator.rules import Rules

if TYPE_CHECKING:
    from sysgym.dataflow.features import Work
    from sysgym.dataflow.graphs.graph import DataflowGraph
    from sysgym.dataflow.simulator.job import Job


TASKS = ("placement", "schedule", "fusion")
KEPT = 256  # graphs whose units are kept: more than there are in any split


@dataclass(kw_only=True, eq=False)
class GraphProblem:
    """Graphs, devices and pictures; a problem adds its options, modes and judge."""

    groups: Annotated[int | None, Range(1, 2**24)] = None
    start: Literal["single", "expert", "random"] = "single"
    schedule: Literal["fifo", "critical_path"] = "fifo"
    devices: Annotated[int | str | None, Range(1, MAX_DEVICES)] = None
    link_mode: Literal["egress_ingress", "pair", "none"] = "egress_ingress"
    bandwidth: Annotated[float, Range(1e-3, 1e6)] = 12.0
    latency_ns: Annotated[int, Range(0, 10**12)] = 10_000
    capacity: Annotated[float, Range(0, 2.0**50)] = 16e9
    mem_factor: Annotated[float | None, Range(0, 1e6)] = None
    noise: Annotated[float, Range(0, 10)] = 0.0
    noise_samples: Annotated[int, Range(1, 10**6)] = 5
    noise_seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    generator: str = "layered:depth=4,width=3"

    choice_names = ("devices",)
    reads = staticmethod(is_graph)
    tasks = "placement"  # what is decided, joined by "+"
    objective, simulator = "latency", "events"
    usual_schedule = "fifo"  # for which the index knows costs

    @property
    def chosen(self) -> tuple[str, ...]:
        """The tasks one by one."""
        return parse_tasks(self.tasks)

    def check_rules(self) -> None:
        """UsageError for options that do not go together."""
        family = self.generator.split(":")[0]
        if family != "layered":
            raise unknown("generator", family, ["layered"])
        rules_of(self).check()

    @property
    def unit_kind(self) -> str:
        """What a unit is: op, layers or metis."""
        raise NotImplementedError

    @cached_property
    def rules(self) -> Rules:
        """On what a graph runs and what counts."""
        return rules_of(self)

    @cached_property
    def works(self) -> Memo:
        """The job and units of each graph, made once."""
        from sysgym.dataflow.features import work_of

        return Memo(partial(work_of, self.rules, self.unit_kind, self.groups), KEPT)

    def work(self, instance: DataflowGraph) -> Work:
        """The graph's job, cut into units."""
        found: Work = self.works(instance)
        return found

    def job(self, instance: DataflowGraph) -> Job:
        """The graph on its devices, for agents that evaluate placements themselves."""
        return self.work(instance).job

    def load(self, name: str) -> DataflowGraph:
        """A graph by registered name, recipe or file; UsageError if it cannot be had or is malformed."""
        from sysgym.dataflow.graphs.load import load_graph

        return load_graph(name)

    def generate(self, rng: np.random.Generator) -> DataflowGraph:
        """A random graph of the `generator` family."""
        from sysgym.dataflow.graphs.generate import random_graph

        return random_graph(self.generator, rng)

    def instance_sets(self) -> Mapping[str, InstanceSet]:
        """Registered sets of graphs by name."""
        return load_index(TOPIC)

    def size(self, instance: DataflowGraph) -> Size:
        """Units, links between them, and devices."""
        work = self.work(instance)
        return Size(work.units.count, len(work.units.edge_bytes), (work.job.devices,))

    def static(self, instance: DataflowGraph) -> Mapping[str, Array]:
        """Features that never change: nodes (U, 18), edges (M, 2), edge_index (2, M)."""
        return self.work(instance).static

    def reference_costs(self, instance: DataflowGraph) -> Mapping[str, float]:
        """`who -> ns`: the expert's, first come, first served; then what the index knows for the usual rules."""
        entry = find_entry(self.instance_sets(), instance.name)
        usual = self.rules == Rules(schedule=self.usual_schedule)
        known = entry.references.get(self.tasks, {}) if entry and usual else {}
        return {"expert": self.job(instance).expert_ns, **known}

    def canonical(self, instance: DataflowGraph, solution: Solution) -> Solution:
        """Like devices renumbered by their first operator, priorities and fusion by their ranks (0 stays 0)."""
        found = {}
        for name, values in solution.items():
            if name == "placement":
                found[name] = renumbered(values, self.job(instance).cluster.alike)
            else:
                levels = np.unique(values[values > 0] if name == "fusion" else values)
                found[name] = np.searchsorted(levels, values) + (values > 0) * (name == "fusion")
        return found

    def legend(self, instance: DataflowGraph, solution: Solution) -> list[dict[str, Any]]:
        """Of each operator its name, layer, module and phase, and what the solution decides for it."""
        from sysgym.dataflow.pictures.legend import legend

        return legend(instance, solution)

    def render(self, instance: DataflowGraph, solution: Solution) -> Array:
        """Gantt chart of devices and links, and memory over time, (H, W, 3) uint8."""
        from sysgym.dataflow.pictures.render import draw

        return draw(self.job(instance), solution)

    def frames(self, instance: DataflowGraph, solution: Solution) -> list[Array]:
        """The chart as time passes, for an animation, (H, W, 3) uint8 each; the last frame is the whole."""
        from sysgym.dataflow.pictures.render import frames

        return frames(self.job(instance), solution)

    def timeline(self, instance: DataflowGraph, solution: Solution) -> dict[str, Any]:
        """The execution in Chrome's trace event format, for Perfetto or chrome://tracing."""
        from sysgym.dataflow.pictures.chrome import chrome_trace

        return chrome_trace(self.job(instance), solution)

    def describe(self, instance: DataflowGraph, solution: Solution) -> str:
        """Cost, memory and what each device does over time as text."""
        from sysgym.dataflow.pictures.summary import describe

        return describe(self.job(instance), solution)


def rules_of(problem: GraphProblem) -> Rules:
    """The rules that the options of a problem name."""
    return Rules(**{item.name: getattr(problem, item.name) for item in fields(Rules)})


def parse_tasks(text: str) -> tuple[str, ...]:
    """The tasks in a text, in the order in which they are decided; UsageError unless they are known and unlike."""
    if not isinstance(text, str):
        raise UsageError(f"option tasks must be a text such as 'placement+schedule', got {text!r}.")
    parts = text.replace(",", "+").split("+")
    for part in parts:
        if part not in TASKS:
            raise unknown("task", part, TASKS)
    if len({*parts}) < len(parts):
        raise UsageError(f"option tasks names a task twice: {text!r}.")
    return tuple(task for task in TASKS if task in parts)
