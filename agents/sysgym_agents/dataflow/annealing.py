"""Simulated annealing of placement, schedule and fusion over groups of operators, on the exact simulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.options import Range, check_fields
from sysgym.core.problem import Solution
from sysgym_agents.core import Budget, Clock
from sysgym_agents.dataflow import baselines as rules

if TYPE_CHECKING:
    from sysgym.dataflow.features import Work
    from sysgym.dataflow.graphs.graph import DataflowGraph
    from sysgym.dataflow.problem import GraphProblem
    from sysgym.dataflow.simulator.job import Job
    from sysgym_agents.dataflow.anneal.proposals import Proposer
    from sysgym_agents.dataflow.anneal.starts import Start

MOST = 1.1  # of the time, at which an answer may be expected to end
SCARCE = 8  # times as many answers as starts and rules make: then all of them are judged
Found = tuple[Any, Any, Any]  # placement, priority and fusion


@dataclass(kw_only=True, eq=False)
class DeviceAnnealer:
    """Moves groups of operators between devices, from the best classical placement, by simulated annealing.

    Moves change a group, a group and its neighbours in time, a swap of two devices' groups, or a layer; groups are cut
    by layer, phase and chunks of time, ever finer. In graph optimisation, priorities start from the critical path and
    groups are moved forward or back, and fusion rules are tried on the way.

    Everything but fusion, noise, throughput and Placeto's simulator runs in compiled code that stops a simulation as
    soon as it is certain to be refused. No start is begun after 40 % of the time; where the fastest one does not fit
    in memory, its units are moved off the full devices first. With fusion every start is judged by the first rules of
    schedule and fusion, then the best one by all of them, and where answers are not scarce the others too.

    Hyper-parameters:
        steps: simulations, if there is no budget. hot, cold: first and last temperature, relative to the cost.
        groups: how many groups there are about at first; twice and four times as many later.
        metis: starts from METIS too, where pymetis is installed.
        propose: which group goes where is drawn evenly, or by a rule: critical ones to devices that are idle meanwhile.
    """

    problems: ClassVar[tuple[str, ...]] = rules.PROBLEMS
    step: ClassVar[str] = "a simulated answer (a move that changes nothing counts too)"
    indivisible: ClassVar[str] = "a simulation, or one start: METIS, HEFT or m-ETF on the whole graph"

    steps: Annotated[int, Range(1, 10**12)] = 4000
    hot: Annotated[float, Range(1e-300, 1e9)] = 0.005
    cold: Annotated[float, Range(1e-300, 1e9)] = 0.0005
    groups: Annotated[int, Range(1, 10**9)] = 64
    metis: bool = True
    propose: Literal["uniform", "rule"] = "uniform"

    def __post_init__(self) -> None:
        check_fields(self, "{} of agent 'sa-device'")
        if self.cold > self.hot:
            raise UsageError(f"cold of agent 'sa-device' must not be above hot, got {self.cold} and {self.hot}.")

    def solve(
        self, problem: GraphProblem, instance: DataflowGraph, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The best decision found, at least the expert's; the budget counts simulations."""
        from sysgym_agents.dataflow.anneal.proposals import rule

        return self.annealed(problem, instance, rng, budget, rule if self.propose == "rule" else None)

    def annealed(
        self, problem: GraphProblem, instance: DataflowGraph, rng: np.random.Generator, budget: Budget,
        propose: Proposer | None, moves: bool = True,
    ) -> Solution:  # fmt: skip
        """The same with a proposer of moves, or without moves: the best of the starts."""
        from sysgym_agents.dataflow.anneal.starts import Start, starts_of

        clock, job, tasks = Clock(budget), problem.job(instance), rules.tasks_of(problem)
        if propose is not None:
            check_scheduled(job)
        limit = budget.steps if budget.steps is not None else (10**9 if budget.timed else self.steps)
        starts = starts_of(job, rng, self.metis) if "placement" in tasks else [Start(lambda: job.expert, 0.0)]
        able = job.devices > 1 or tasks != ("placement",)  # to change anything
        search = self._compiled if job.plain and "fusion" not in tasks else self._stepwise
        how = _How(job, tasks, limit if able else 1, able and moves, propose if "placement" in tasks else None)
        placement, priority, fusion = search(how, starts, rng, clock)
        arrays = {"placement": placement, "priority": priority, "fusion": fusion}
        nodes = instance.nodes
        return rules.pick(tasks, {name: np.zeros(nodes, np.int64) if value is None else value
                                  for name, value in arrays.items()})  # fmt: skip

    def _compiled(self, how: _How, starts: list[Start], rng: np.random.Generator, clock: Clock) -> Found:
        from sysgym_agents.dataflow.anneal.compiled import CompiledSearch, Settings

        patience = self._patience(how.limit)
        settings = Settings(self.hot, self.cold, self.groups, how.limit, patience, propose=how.propose)
        search = CompiledSearch(how.job, how.tasks, settings, clock)
        search.begin(starts)
        found = search.run(int(rng.integers(2**63))) if how.able else search.best
        return found.placement, found.priority, None

    def _patience(self, limit: int) -> int:
        """Steps without a better answer after which the search goes on from the best."""
        return max(300, min(limit, self.steps) // 8)

    def _stepwise(self, how: _How, starts: list[Start], rng: np.random.Generator, clock: Clock) -> Found:
        from sysgym.dataflow.features import make_work
        from sysgym_agents.dataflow.anneal.starts import Pace
        from sysgym_agents.dataflow.anneal.stepwise import Search, drawer_of

        pace, before = Pace(clock), clock.share
        search = Search(how.job, how.tasks, rng, drawer_of(how.propose, how.job, how.limit, rng))
        pace.measure(before)

        def spent(judged: int) -> bool:
            return clock.share >= 1 or clock.share + pace.one > MOST or judged >= how.limit

        left = min(how.limit, (1 - clock.share) / pace.one if pace.one > 0 else np.inf)  # answers
        search.begin(starts, spent, pace, not how.able or left >= SCARCE * len(starts) * len(search.pairs))
        scales: dict[int, Work] = {}
        while how.able and not spent(search.judged):
            done = max(clock.share, search.judged / how.limit)
            heat = self.hot * (self.cold / self.hot) ** done
            fine = min(int(rng.integers(0, 1 + int(3 * done))), 2)
            if fine not in scales:
                scales[fine] = make_work(how.job, "layers", self.groups * 2**fine)
            search.move(scales[fine], heat)
            if search.steps - search.improved > self._patience(how.limit):
                search.return_to_best()
        return search.found.placement, search.found.priority, search.found.fusion


def check_scheduled(job: Job) -> None:
    """UsageError where answers have no schedule, by which moves could be proposed."""
    if job.rules.objective != "latency" or job.rules.simulator != "events":
        raise UsageError(
            "moves are proposed by the schedule of the usual simulator, which throughput and Placeto's simulator lack"
            "; use sa-device with propose=uniform."
        )


class _How(NamedTuple):
    """What is searched, and for how long."""

    job: Job
    tasks: tuple[str, ...]
    limit: int  # steps
    able: bool  # whether moves are tried
    propose: Proposer | None


@dataclass(kw_only=True, eq=False)
class BestStart:
    """The best of the placements that `sa-device` starts from, in its order, the cheap ones first: no move is tried.

    Where none fits in memory, units of the fastest are moved until it does.

    Hyper-parameters:
        metis: METIS too, where pymetis is installed.
    """

    problems: ClassVar[tuple[str, ...]] = rules.PROBLEMS
    step: ClassVar[str] = "a simulated answer"
    indivisible: ClassVar[str] = DeviceAnnealer.indivisible

    metis: bool = True

    def __post_init__(self) -> None:
        check_fields(self, "{} of agent 'best-start'")

    def solve(
        self, problem: GraphProblem, instance: DataflowGraph, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The best start, at least the expert's placement; the budget counts simulations."""
        return DeviceAnnealer(metis=self.metis).annealed(problem, instance, rng, budget, None, moves=False)
