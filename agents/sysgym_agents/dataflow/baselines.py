"""Classical placements of dataflow graphs, joined with rules for the schedule and for fusion.

Every agent answers device placement and graph optimisation. In the latter `priority` and `fusion` name the rule for
the other tasks, or "best": try them all on the simulator and keep the fastest that fits in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from sysgym.core.options import check_fields
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget

if TYPE_CHECKING:
    from sysgym.dataflow.graphs.graph import DataflowGraph
    from sysgym.dataflow.problem import GraphProblem
    from sysgym.dataflow.simulator.job import Job

Priority = Literal["fifo", "critical_path", "best"]
Fusion = Literal["none", "forward", "reverse", "bytes", "best"]
PRIORITIES, FUSIONS = get_args(Priority), get_args(Fusion)
PROBLEMS = ("DevicePlacement", "GraphOptimization")


def priority_rule(job: Job, rule: str) -> Array:
    """Priorities (N,) int64 of the schedule: none (first come, first served) or along the critical path."""
    return job.critical_path if rule == "critical_path" else np.zeros(job.graph.nodes, np.int64)


def fusion_rule(graph: DataflowGraph, rule: str) -> Array:
    """Priorities (N,) int64 of fusion: none, from the first operator on, from the last, or by the largest output."""
    nodes = graph.nodes
    if rule == "none":
        return np.zeros(nodes, np.int64)
    if rule == "forward":
        return np.ones(nodes, np.int64)
    if rule == "reverse":
        return np.arange(1, nodes + 1)
    out_bytes = np.bincount(graph.tensor_src, weights=graph.tensor_bytes, minlength=nodes)
    return 1 + np.argsort(np.argsort(out_bytes, kind="stable"), kind="stable")


def tasks_of(problem: GraphProblem) -> tuple[str, ...]:
    """What a problem asks to decide."""
    return problem.chosen


def complete(
    problem: GraphProblem, job: Job, placement: Array, priority: str = "best", fusion: str = "best"
) -> Solution:
    """The solution with a placement and, where the problem asks for them, the rules' priorities."""
    tasks = tasks_of(problem)
    if "placement" not in tasks:
        placement = job.expert
    orders: list[Array | None] = [None]
    fusions: list[Array | None] = [None]
    if "schedule" in tasks:
        orders = [priority_rule(job, rule) for rule in (PRIORITIES[:-1] if priority == "best" else (priority,))]
    if "fusion" in tasks:
        fusions = [fusion_rule(job.graph, rule) for rule in (FUSIONS[:-1] if fusion == "best" else (fusion,))]
    pairs = [(order, level) for order in orders for level in fusions]
    if len(pairs) > 1:
        scores = [job.score(placement, order, level) for order, level in pairs]
        best = min(range(len(pairs)), key=lambda i: (scores[i].over_bytes > 0, scores[i].cost))
        pairs = [pairs[best]]
    return pick(tasks, {"placement": placement, "priority": pairs[0][0], "fusion": pairs[0][1]})


FALLBACK = "the expert's placement, or one device where that does not fit"


def fitting(problem: GraphProblem, job: Job) -> Solution | None:
    """The expert's placement, else everything on one device, with the rules' priorities; None if neither fits."""
    for placement in (job.expert, job.single):
        found = complete(problem, job, placement)
        score = job.score(found.get("placement", job.expert), found.get("priority"), found.get("fusion"))
        if score.over_bytes == 0:
            return found
    return None


def pick(tasks: tuple[str, ...], found: dict[str, Any]) -> Solution:
    """The arrays of the tasks."""
    names = {"placement": "placement", "schedule": "priority", "fusion": "fusion"}
    return {names[task]: np.asarray(found[names[task]]) for task in tasks}


@dataclass(kw_only=True, eq=False)
class Rule:
    """Base of the classical placements: `place` says where operators go."""

    problems: ClassVar[tuple[str, ...]] = PROBLEMS
    indivisible: ClassVar[str] = "the whole answer, one pass over the graph"

    priority: Priority = "best"
    fusion: Fusion = "best"

    def __post_init__(self) -> None:
        check_fields(self, "{}")

    def place(self, job: Job, rng: np.random.Generator) -> Array:
        """Device of each operator, (N,) int32."""
        raise NotImplementedError

    def solve(
        self, problem: GraphProblem, instance: DataflowGraph, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The placement, and the rules' priorities where the problem asks for them; no budget is needed."""
        job = problem.job(instance)
        return complete(problem, job, self.place(job, rng), self.priority, self.fusion)


class Single(Rule):
    """Everything on device 0."""

    def place(self, job: Job, rng: np.random.Generator) -> Array:
        """Zeros, (N,) int32."""
        return job.single


class RoundRobin(Rule):
    """Operator v on device v modulo D."""

    def place(self, job: Job, rng: np.random.Generator) -> Array:
        """Device of each operator, (N,) int32."""
        return (np.arange(job.graph.nodes) % job.devices).astype(np.int32)


class Blocks(Rule):
    """Equal contiguous blocks of the topological order."""

    def place(self, job: Job, rng: np.random.Generator) -> Array:
        """Device of each operator, (N,) int32."""
        return (np.arange(job.graph.nodes) * job.devices // job.graph.nodes).astype(np.int32)


class Expert(Rule):
    """Contiguous blocks of layers whose longest is shortest, as human experts place; the source's own if it has one."""

    def place(self, job: Job, rng: np.random.Generator) -> Array:
        """Device of each operator, (N,) int32."""
        return job.expert


class LayerRoundRobin(Rule):
    """Layer l on device l modulo D."""

    def place(self, job: Job, rng: np.random.Generator) -> Array:
        """Device of each operator, (N,) int32."""
        return (job.graph.layer % job.devices).astype(np.int32)


class MetisPlacement(Rule):
    """METIS parts of equal time with few bytes between them, numbered in the order of their first operators."""

    def place(self, job: Job, rng: np.random.Generator) -> Array:
        """Device of each operator, (N,) int32; MissingDependency without pymetis."""
        return self.seeded(job, int(rng.integers(2**31)) if job.devices > 1 else 0)

    @staticmethod
    def seeded(job: Job, seed: int) -> Array:
        """The same with METIS' own seed."""
        from sysgym.dataflow.graphs.groups import metis_groups

        return job.single if job.devices == 1 else metis_groups(job.graph, job.devices, seed=seed)


def _follow(graph: DataflowGraph) -> Array:
    """Operators without time and inputs, (N,) bool: they go where they are read first."""
    return np.asarray((np.diff(graph.in_ptr) == 0) & (graph.time_ns == 0))


def _ties(graph: DataflowGraph, colocate: bool) -> Array:
    """Group of operators that read the same parameter, (N,) int64, -1 for none."""
    tie = np.full(graph.nodes, -1, np.int64)
    if colocate:
        reads = graph.param_bytes[graph.edge_src] > 0
        order = np.flatnonzero(reads)[::-1]  # the first parameter that an operator reads rules
        tie[graph.edge_dst[order]] = graph.edge_src[order]
    return tie


def _tables(job: Job, colocate: bool) -> tuple[Any, Any]:
    """Operators and devices as the kernels take them."""
    from sysgym_agents.dataflow.schedule_kernels import Devices, Tasks

    graph, cluster = job.graph, job.cluster
    tasks = Tasks(
        _ties(graph, colocate), graph.in_ptr, graph.edge_tensor, graph.out_ptr, graph.use_ptr, graph.use_node,
        graph.tensor_src, graph.tensor_bytes, job.times, _follow(graph), graph.param_bytes,
    )  # fmt: skip
    return tasks, Devices(job.capacity, cluster.bandwidth, cluster.latency_ns)


@dataclass(kw_only=True, eq=False)
class HEFT(Rule):
    """Heterogeneous earliest finish time (Topcuoglu et al. 2002): by upward rank, each where it ends first.

    colocate: operators that read the same parameter stay together, without which unrolled networks fall apart.
    """

    colocate: bool = True

    def place(self, job: Job, rng: np.random.Generator) -> Array:
        """Device of each operator, (N,) int32."""
        from sysgym.dataflow.simulator.simulate import critical_path_rank
        from sysgym_agents.dataflow.schedule_kernels import earliest_finish

        graph, place = job.graph, np.empty(job.graph.nodes, np.int32)
        rank = critical_path_rank(graph, job.times.mean(axis=0), job.devices)
        order = np.lexsort((np.arange(graph.nodes), -rank)).astype(np.int32)
        earliest_finish(order, *_tables(job, self.colocate), place)
        return place


@dataclass(kw_only=True, eq=False)
class METF(Rule):
    """Earliest time first under memory limits (Baechi's m-ETF, Jeon et al. 2020): the pair that can start first.

    colocate: operators that read the same parameter stay together.
    """

    colocate: bool = True

    def place(self, job: Job, rng: np.random.Generator) -> Array:
        """Device of each operator, (N,) int32."""
        from sysgym_agents.dataflow.schedule_kernels import earliest_start

        place = np.empty(job.graph.nodes, np.int32)
        earliest_start(*_tables(job, self.colocate), place)
        return place
