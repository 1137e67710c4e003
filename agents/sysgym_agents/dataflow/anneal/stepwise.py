"""Annealing in Python, judge by judge: with fusion, and for objectives and simulators that are not compiled here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sysgym.core.problem import Array
from sysgym.dataflow.features import make_work
from sysgym_agents.dataflow import baselines as rules
from sysgym_agents.dataflow.anneal import proposals
from sysgym_agents.dataflow.anneal.move_kernels import EVEN
from sysgym_agents.dataflow.anneal.schedule import Schedule, simulated
from sysgym_agents.dataflow.anneal.starts import Pace, Start, repair

if TYPE_CHECKING:
    from sysgym.dataflow.features import Work
    from sysgym.dataflow.simulator.job import Job
    from sysgym_agents.dataflow.anneal.proposals import Proposer


REPAIRED = 128  # groups that a repair moves, about


@dataclass
class Answer:
    """A decision on operators and its score."""

    placement: Array
    priority: Array | None
    fusion: Array | None
    cost: float = np.inf
    over: int = 2**62  # bytes beyond the memories

    @property
    def key(self) -> tuple[int, float]:
        """What is minimised."""
        return self.over, self.cost


def _same(one: Answer, two: Answer) -> bool:
    """Whether two answers share their rules and have equal placements."""
    shared = one.priority is two.priority and one.fusion is two.fusion
    return shared and np.array_equal(one.placement, two.placement)


class Drawer:
    """Draws pairs of a unit and a device by a proposer's weights, which are renewed when the answer has changed.

    They are made of the schedule without noise and fusion, which is simulated for them alone and counted nowhere.
    """

    def __init__(self, propose: Proposer, job: Job, renew: int, rng: np.random.Generator) -> None:
        self.propose, self.job, self.renew, self.rng = propose, job, renew, rng
        self.answer: Answer | None = None  # that `left` is about
        self.schedule: Schedule | None = None
        self.made = 0
        self.given: dict[int, Array] = {}  # weights (3, U * D) by the number of units
        self.left: dict[int, Array] = {}  # the same, 0 for what was refused since the answer changed
        self.last: tuple[int, int, int] | None = None  # what was drawn last: units, row and pair

    def draw(self, work: Work, row: int, now: Answer, step: int) -> tuple[int, int] | None:
        """Unit and device, None where weights are to be ignored, or none are left."""
        self.last = None
        if self.rng.random() < EVEN:
            return None
        if self.answer is not now:
            if self.schedule is None or step >= self.made + self.renew:
                self.schedule, self.made, self.given = simulated(self.job, now.placement, now.priority), step, {}
            self.answer, self.left = now, {}
        count = work.units.count
        if count not in self.left:
            if count not in self.given:
                assert self.schedule is not None
                table = proposals.tabled(self.propose, self.schedule, [work])
                self.given[count] = table.given.reshape(proposals.KINDS, -1)
            self.left[count] = self.given[count].copy()
        total = np.cumsum(self.left[count][row])
        pair = int(np.searchsorted(total, self.rng.random() * total[-1], "right"))
        if pair >= len(total):
            return None
        self.last = count, row, pair
        unit, device = divmod(pair, self.job.devices)
        return unit, device

    def refuse(self) -> None:
        """What was drawn last was refused: not again before the answer changes."""
        if self.last is not None:
            count, row, pair = self.last
            self.left[count][row, pair] = 0.0


def drawer_of(propose: Proposer | None, job: Job, limit: int, rng: np.random.Generator) -> Drawer | None:
    """Who draws for a search of so many steps; None without a proposer."""
    return None if propose is None else Drawer(propose, job, proposals.renewed_after(limit), rng)


class Search:
    """The annealer's current and best decision."""

    def __init__(
        self, job: Job, tasks: tuple[str, ...], rng: np.random.Generator, drawer: Drawer | None = None
    ) -> None:
        self.job, self.tasks, self.rng, self.drawer = job, tasks, rng, drawer
        self.steps, self.improved = 0, 0
        self.now = self.best = Answer(job.expert, None, None)
        self.orders: list[Array | None] = [None]
        if "schedule" in tasks:
            self.orders = [job.critical_path, np.zeros(job.graph.nodes, np.int64)]
        self.moves = [self._relocate, self._stretch, self._swap, self._layer] if "placement" in tasks else []
        if "schedule" in tasks:
            self.moves.append(self._shift)
        self.fusions: list[Array] = []
        self.levels: list[Array | None] = [None]  # of fusion, for the starts
        if "fusion" in tasks:
            self.moves.append(self._refuse)
            self.fusions = [rules.fusion_rule(job.graph, name) for name in rules.FUSIONS[:-1]]
            self.levels = [*self.fusions]
        self.pairs = [(order, fusion) for order in self.orders for fusion in self.levels]  # the rules of starts
        self.first = Answer(job.expert, self.orders[0], self.levels[0])  # cheap, and mostly fits
        self._judge(self.first)
        self.ahead = 1  # judged before its turn among the starts
        self.light = self.first  # the fastest start, whether it fits or not

    @property
    def judged(self) -> int:
        """Answers judged so far."""
        return self.steps + self.ahead

    @property
    def found(self) -> Answer:
        """The best answer."""
        return min(self.best, self.first, key=lambda answer: answer.key)

    def begin(self, starts: list[Start], spent: Callable[[int], bool], pace: Pace, every: bool) -> None:
        """Take the best of some placements with the first rules, then of all rules with it, while the budget lasts.

        Where the fastest one does not fit, it is repaired first. `every`: then all rules with the other placements too.
        """
        pairs = self.pairs
        placements: list[Array] = []
        for start in starts:
            if not spent(self.judged) and pace.allows(start):
                placements.append(start.make().astype(np.int32))
                answer = Answer(placements[-1], *pairs[0])
                self.try_answer(answer, 0.0)
                self.light = min(self.light, answer, key=lambda each: each.cost)
        self._repair(spent, pairs[0])
        best = self.found.placement
        for placement in (best, *(other for other in placements if other is not best and every)):
            for pair in pairs[1:]:
                if not spent(self.judged):
                    self.try_answer(Answer(placement, *pair), 0.0)

    def _repair(self, spent: Callable[[int], bool], rules_of: tuple[Array | None, Array | None]) -> None:
        """Make the fastest start fit, if none does and devices are to be chosen; its memory is read off the schedule
        without noise and fusion, and each look at it counts as a step.
        """
        plain = self.job.rules.simulator == "events" and self.job.devices > 1
        if not self.found.over or "placement" not in self.tasks or not plain or spent(self.judged + 1):
            return
        work = make_work(self.job, "layers", REPAIRED)
        found = repair(self.job, work, self.light.placement, rules_of[0], lambda tries: spent(self.judged + tries + 1))
        self.steps += found.tries
        if not spent(self.judged):
            self.try_answer(Answer(found.placement, *rules_of), 0.0)

    def try_answer(self, answer: Answer, heat: float) -> None:
        """Score an answer; take it if it is better, or by chance if it is a little worse."""
        again = self.ahead and _same(answer, self.first)
        if again:
            answer.cost, answer.over, self.ahead = self.first.cost, self.first.over, 0
        else:
            self._judge(answer)
        self.steps += 1
        if self._accepts(answer, heat):
            self.now = answer
        elif self.drawer is not None:
            self.drawer.refuse()
        if answer.key < self.best.key:
            self.best, self.improved = answer, self.steps

    def _accepts(self, answer: Answer, heat: float) -> bool:
        """Whether to go on from an answer: by its cost where it fits as the current one does, else by its excess."""
        if (answer.over > 0) != (self.now.over > 0):
            return not answer.over
        cost, now = (answer.over, self.now.over) if answer.over else (answer.cost, self.now.cost)
        worse = (cost - now) / max(now, 1.0) if np.isfinite(now) else -1.0
        return worse <= 0 or bool(self.rng.random() < np.exp(-worse / max(heat, 1e-12)))

    def _judge(self, answer: Answer) -> None:
        score = self.job.score(answer.placement, answer.priority, answer.fusion)
        answer.cost, answer.over = score.cost, int(score.over_bytes)

    def return_to_best(self) -> None:
        """Go on from the best answer."""
        self.now, self.improved = self.best, self.steps

    def move(self, work: Work, heat: float) -> None:
        """Try a random move on the groups of `work`."""
        answer = Answer(self.now.placement, self.now.priority, self.now.fusion)
        if self.drawer is not None:
            self.drawer.last = None
        move = self.moves[int(self.rng.integers(len(self.moves)))]
        if move(answer, work):
            self.try_answer(answer, heat)
        else:
            self.steps += 1  # nothing to change: counts, so that a search always ends

    def _drawn(self, work: Work, row: int) -> tuple[int, int | None]:
        """A unit, and the device that it is to go to if weights say so; row: 0 relocate, 1 stretch, 2 layer."""
        pair = None if self.drawer is None else self.drawer.draw(work, row, self.now, self.steps)
        return (int(self.rng.integers(work.units.count)), None) if pair is None else pair

    def _device(self, work: Work, unit: int, placement: Array) -> int:
        """Another device: often a neighbour's, else any."""
        here = int(placement[work.first[unit]])
        around = work.links[1][work.link_ptr[unit] : work.link_ptr[unit + 1]]
        if len(around) and self.rng.random() < 0.5:
            there = int(placement[work.first[around[int(self.rng.integers(len(around)))]]])
            if there != here:
                return there
        return (here + 1 + int(self.rng.integers(self.job.devices - 1))) % self.job.devices

    def _relocate(self, answer: Answer, work: Work) -> bool:
        if self.job.devices == 1:
            return False
        unit, device = self._drawn(work, 0)
        device = self._device(work, unit, answer.placement) if device is None else device
        answer.placement = np.where(work.units.of == unit, device, answer.placement).astype(np.int32)
        return True

    def _stretch(self, answer: Answer, work: Work) -> bool:
        """A group and the linked groups of its layer go to one device."""
        if self.job.devices == 1:
            return False
        unit, device = self._drawn(work, 1)
        device = self._device(work, unit, answer.placement) if device is None else device
        around = work.links[1][work.link_ptr[unit] : work.link_ptr[unit + 1]]
        layer = self.job.graph.layer[work.first]
        chosen = np.zeros(work.units.count, bool)
        chosen[unit] = True
        chosen[around[(layer[around] == layer[unit]) & (self.rng.random(len(around)) < 0.7)]] = True
        answer.placement = np.where(chosen[work.units.of], device, answer.placement).astype(np.int32)
        return True

    def _swap(self, answer: Answer, work: Work) -> bool:
        a, b = self.rng.integers(work.units.count, size=2)
        first, second = answer.placement[work.first[a]], answer.placement[work.first[b]]
        if first == second:
            return False
        of = work.units.of
        moved = np.where(of == a, second, np.where(of == b, first, answer.placement))
        answer.placement = moved.astype(np.int32)
        return True

    def _layer(self, answer: Answer, work: Work) -> bool:
        """All operators of a layer, or those of one of its phases, go to one device."""
        if self.job.devices == 1:
            return False
        graph = self.job.graph
        unit, device = self._drawn(work, 2)
        chosen = graph.layer == graph.layer[work.first[unit]]
        if self.rng.random() < 0.5:
            chosen &= graph.phase == graph.phase[work.first[unit]]
        device = self._device(work, unit, answer.placement) if device is None else device
        answer.placement = np.where(chosen, device, answer.placement).astype(np.int32)
        return True

    def _shift(self, answer: Answer, work: Work) -> bool:
        """A group is scheduled earlier or later."""
        from sysgym.dataflow.simulator.simulate import TOP_PRIORITY

        unit = int(self.rng.integers(work.units.count))
        before = np.zeros(self.job.graph.nodes, np.int64) if answer.priority is None else answer.priority
        by = int(self.rng.normal(0, 0.1) * TOP_PRIORITY)
        answer.priority = np.clip(before + np.where(work.units.of == unit, by, 0), -(2**29), 2**29)
        return True

    def _refuse(self, answer: Answer, work: Work) -> bool:
        """A group, or everything, follows another rule of fusion."""
        graph, rng = self.job.graph, self.rng
        before = np.zeros(graph.nodes, np.int64) if answer.fusion is None else answer.fusion
        level = self.fusions[int(rng.integers(len(self.fusions)))]
        if rng.random() < 0.9:
            level = np.where(work.units.of == int(rng.integers(work.units.count)), level, before)
        answer.fusion = level
        return True
