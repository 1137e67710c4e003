"""Annealing of places and priorities in compiled code: what costs the makespan of the usual simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sysgym.core.problem import Array
from sysgym.dataflow.features import Work, make_work
from sysgym_agents.core import Clock
from sysgym_agents.dataflow.anneal import move_kernels as kernels
from sysgym_agents.dataflow.anneal import proposals
from sysgym_agents.dataflow.anneal.schedule import simulated
from sysgym_agents.dataflow.anneal.starts import Pace, Start, repair

if TYPE_CHECKING:
    from sysgym.dataflow.simulator.job import Job
    from sysgym_agents.dataflow.anneal.proposals import Proposer

FIRST_QUOTA = 100_000  # operators simulated before the clock is asked: 3 to 10 ms
SLICE = 0.015  # seconds between two looks at the clock, about
REPAIR_UNTIL = 0.7  # share of the time
WORTH = 0.95  # a placement that does not fit is repaired if it costs less than this part of the best that does


class Settings(NamedTuple):
    """The annealer's hyper-parameters and its limit of steps."""

    hot: float
    cold: float
    groups: int
    limit: int
    patience: int
    bounded: bool = True  # False for tests: the same decisions, every simulation to its end
    propose: Proposer | None = None  # who weighs moves; None: nobody


class Found(NamedTuple):
    """A decision and its score."""

    placement: Array  # (N,) int32
    priority: Array | None
    cost: int
    over: int  # bytes

    @property
    def key(self) -> tuple[int, int]:
        """What is minimised."""
        return self.over, self.cost


class CompiledSearch:
    """The best decision so far, and the loop that betters it."""

    def __init__(self, job: Job, tasks: tuple[str, ...], settings: Settings, clock: Clock) -> None:
        self.job, self.tasks, self.settings, self.clock = job, tasks, settings, clock
        self.scratch, self.pace, self.judged = job.lean.scratch(), Pace(clock), 0
        self.orders: list[Array | None] = [job.critical_path if job.rules.schedule == "critical_path" else None]
        if "schedule" in tasks:
            self.orders = [job.critical_path, np.zeros(job.graph.nodes, np.int64)]
        self.best = self.light = self._scored(job.expert, self.orders[0])  # light: the fastest, whether it fits or not

    def _scored(self, placement: Array, priority: Array | None) -> Found:
        before = self.clock.share
        score = self.job.score(placement, priority)
        self.judged += 1
        self.pace.measure(before)
        return Found(placement, priority, int(score.cost), score.over_bytes)

    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self.clock.share >= 1 or self.judged >= self.settings.limit

    def begin(self, starts: list[Start]) -> None:
        """Take the best of some placements, each with every order, while time and steps last."""
        for number, start in enumerate(starts):
            if not self.spent() and self.pace.allows(start):
                placement = np.asarray(start.make(), np.int32)
                for order in self.orders[number == 0 :]:  # the first placement is judged with the first order
                    if not self.spent():
                        self._consider(placement, order)
        if self.light.over and (self.best.over or self.light.cost < WORTH * self.best.cost):
            self._repair()

    def _consider(self, placement: Array, priority: Array | None) -> None:
        """Score a decision, with memory only if it would be the best."""
        most = None if self.best.over else self.best.cost
        if self.job.lean.makespan(placement, priority, most, self.scratch) is None:
            self.judged += 1
            return
        self._keep(self._scored(placement, priority))

    def _keep(self, found: Found) -> None:
        self.best = min(self.best, found, key=lambda each: each.key)
        self.light = min(self.light, found, key=lambda each: each.cost)

    def _repair(self) -> None:
        """Make the fastest placement fit, if there is time."""
        if "placement" not in self.tasks or self.job.devices == 1 or self.clock.share >= REPAIR_UNTIL or self.spent():
            return
        work = make_work(self.job, "layers", 2 * self.settings.groups)

        def spent(tries: int) -> bool:  # one answer is left to judge by
            return self.clock.share >= REPAIR_UNTIL or self.judged + tries + 1 >= self.settings.limit

        found = repair(self.job, work, self.light.placement, self.light.priority, spent)
        self.judged += found.tries
        if not self.spent():
            self._keep(self._scored(found.placement, self.light.priority))

    def run(self, seed: int) -> Found:
        """Anneal until the budget is used up; the best decision."""
        random, state = np.array([seed], np.uint64), self._state()
        decision, log, full, layers = self.decision(), self.log(), self._full(), layers_of(self.job)
        kernels.settle(self.job.lean.net, self.job.lean.machines, decision)
        works: list[Work] = []
        table, made = proposals.even(), -1  # made: when the weights were
        quota = FIRST_QUOTA if self.clock.budget.timed else 2**60
        while (done := max(self.clock.share, int(state[kernels.STEPS]) / self.settings.limit)) < 1:
            if len(works) < min(3, 1 + int(3 * done)):
                works.append(make_work(self.job, "layers", self.settings.groups * 2 ** len(works)))
                parts, made = parts_of(works), -1
                continue
            if made < 0 or self._stale(state, made):
                table, made = self._weighted(works, decision), int(state[kernels.STEPS])
            before = self.clock.share, self.clock.cpu_seconds
            kernels.anneal(self.job.lean.net, self.job.lean.machines, full, parts, layers, decision, log, self.scratch,
                           self._plan(before[0], quota, made), table, state, random)  # fmt: skip
            if self.clock.budget.timed and not self._stale(state, made):  # else it returned before its quota
                quota = self._quota(quota, self.clock.share - before[0], self.clock.cpu_seconds - before[1])
        self.judged = int(state[kernels.STEPS])
        priority = None if self.best.priority is None else -decision.best_rank
        return Found(decision.best_place.astype(np.int32), priority, int(state[kernels.BEST_COST]),
                     int(state[kernels.BEST_OVER]))  # fmt: skip

    def _quota(self, quota: int, share: float, seconds: float) -> int:
        """Operators to simulate next: a slice of time, no more than what is left of it."""
        rate = min(SLICE / max(seconds, 1e-6), max(1.0 - self.clock.share, 0.0) / max(share, 1e-9))
        return max(1, int(quota * min(max(rate, 0.01), 4.0)))

    def _until(self, made: int) -> int:
        """The step from which on weights made at another one are renewed, if the decision has changed since."""
        if self.settings.propose is None:
            return 2**60
        return made + proposals.renewed_after(self.settings.limit)

    def _stale(self, state: Array, made: int) -> bool:
        """Whether weights made at a step are to be renewed."""
        return bool(state[kernels.STEPS] >= self._until(made) and state[kernels.CHANGED] > made)

    def _weighted(self, works: list[Work], decision: kernels.Decision) -> kernels.Table:
        """Weights by the schedule of the present decision, which was simulated and counted before."""
        if self.settings.propose is None:
            return proposals.even()
        priority = None if self.best.priority is None else -decision.rank
        place = decision.place.astype(np.int32)
        return proposals.tabled(self.settings.propose, simulated(self.job, place, priority), works)

    def _plan(self, share: float, quota: int, made: int) -> kernels.Plan:
        given, shifting = self.settings, "schedule" in self.tasks
        return kernels.Plan(given.hot, given.cold, share, given.limit, quota, given.patience, "placement" in self.tasks,
                            self.best.priority is None, shifting, given.bounded, self._until(made), made)  # fmt: skip

    def _state(self) -> Array:
        peak = self.job.score(self.best.placement, self.best.priority).outcome
        assert peak is not None
        scarce = bool((peak.peak_bytes > kernels.SCARCE_FROM * self.job.capacity).any())
        cost, over = self.best.cost, self.best.over
        return np.array([self.judged, self.judged, cost, over, cost, over, scarce, 0], np.int64)

    def decision(self) -> kernels.Decision:
        """The best decision as the kernels move it on."""
        place, nodes = self.best.placement.astype(np.int8), self.job.graph.nodes
        rank = np.zeros(1, np.int64) if self.best.priority is None else -np.asarray(self.best.priority, np.int64)
        return kernels.Decision(place, rank, np.empty(self.job.devices, np.int64), np.empty(nodes, np.int64),
                                place.copy(), rank.copy())  # fmt: skip

    def log(self) -> kernels.Log:
        """Room for what a move changes."""
        nodes = self.job.graph.nodes
        return kernels.Log(np.empty(nodes, np.int32), np.empty(nodes, np.int64), np.zeros(nodes, np.bool_),
                           np.empty(nodes, np.int32), np.empty(nodes, np.int64))  # fmt: skip

    def _full(self) -> kernels.Full:
        job, graph = self.job, self.job.graph
        nodes, edges, devices = graph.nodes, graph.edges, job.devices
        return kernels.Full(
            graph.edge_tensor, graph.tensor_src, graph.param_bytes, job.times, np.asarray(job.capacity, np.int64),
            np.empty(nodes, np.int32), np.empty(nodes, np.int64), np.empty(nodes, np.int64),
            np.empty(devices, np.int64), np.empty(devices, np.int64), np.empty((edges + 1, 2), np.int32),
            np.empty((edges + 1, 2), np.int64),
        )  # fmt: skip


def parts_of(works: list[Work]) -> kernels.Parts:
    """The units of all scales, numbered through."""
    counts = [work.units.count for work in works]
    begin = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    sizes = np.concatenate([np.bincount(work.units.of, minlength=work.units.count) for work in works])
    degrees = np.concatenate([np.diff(work.link_ptr) for work in works])
    return kernels.Parts(
        begin, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.concatenate([np.argsort(work.units.of, kind="stable") for work in works]).astype(np.int32),
        np.concatenate([[0], np.cumsum(degrees)]).astype(np.int64),
        np.concatenate([work.links[1] + first for work, first in zip(works, begin[:-1], strict=True)]).astype(np.int64),
    )  # fmt: skip


def layers_of(job: Job) -> kernels.Layers:
    """Operators by layer and phase."""
    label = 3 * job.graph.layer.astype(np.int64) + job.graph.phase
    count = 3 * (int(job.graph.layer.max()) + 1)
    ptr = np.concatenate([[0], np.cumsum(np.bincount(label, minlength=count))]).astype(np.int64)
    return kernels.Layers(label, ptr, np.argsort(label, kind="stable").astype(np.int32))
