"""Labels of moves: what a move from a placement on an annealing run is worth, by the exact simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sysgym.core.problem import Array
from sysgym.dataflow.features import make_work
from sysgym_agents.core import Budget, Clock
from sysgym_agents.dataflow.anneal.compiled import CompiledSearch, Settings, layers_of, parts_of
from sysgym_agents.dataflow.anneal.proposals import even
from sysgym_agents.dataflow.anneal.schedule import FEATURES, features, simulated
from sysgym_agents.dataflow.anneal.starts import Start, starts_of
from sysgym_agents.dataflow.anneal.trial_kernels import trials

if TYPE_CHECKING:
    from sysgym.dataflow.simulator.job import Job

MOST_STEPS = 400  # of a run that a placement is taken from
KINDS = np.array([0, 1, 3])  # relocate, stretch, layer


class Samples(NamedTuple):
    """Moves and what they were worth."""

    inputs: Array  # (B, 24) float32
    kind: Array  # (B,) row of the weights: relocate, stretch, layer
    gain: Array  # (B,) float64 share of the cost that a move saves, negative if it adds


class Wish(NamedTuple):
    """How labels are made."""

    groups: int  # units of the coarsest scale, about
    moves: int  # of one placement
    further: int  # moves tried after each, those that make nothing worse being kept


def sampled(job: Job, wish: Wish, left: int, rng: np.random.Generator) -> tuple[Samples, int]:
    """Moves from one placement, and how many answers were simulated for them: at most `left`, or all of it if no
    other placement would have room after this one.

    The placement is the best of a run of at most MOST_STEPS from some of the starts that need no library. Where `left`
    allows fewer moves than wished, they are repeated.
    """
    groups, further = wish.groups, wish.further
    count = min(wish.moves, (left - 1) // (1 + further) - 1)
    if count < 1:
        blank = np.zeros((wish.moves, len(FEATURES)), np.float32)
        return Samples(blank, np.zeros(wish.moves, np.int64), np.zeros(wish.moves)), left
    room = left - (count + 1) * (1 + further)
    starts, few = starts_of(job, rng, metis=False), int(rng.integers(1, 7))
    chosen: list[Start] = [starts[i] for i in rng.permutation(len(starts))[:few].tolist()]
    limit = min(10 + int(np.exp(rng.uniform(0.0, np.log(MOST_STEPS)))), room)
    limit = room if room - limit < (wish.moves + 1) * (1 + further) + 10 + MOST_STEPS else limit
    search = CompiledSearch(job, ("placement",), Settings(0.005, 0.0005, groups, limit, 300), Clock(Budget()))
    search.begin(chosen)
    found = search.run(int(rng.integers(2**63)))
    works = [make_work(job, "layers", groups * 2**scale) for scale in range(3)]
    schedule, parts = simulated(job, found.placement, found.priority), parts_of(works)
    scale, row = rng.integers(len(works), size=count), rng.integers(len(KINDS), size=count)
    unit = (rng.random(count) * np.diff(parts.begin)[scale]).astype(np.int64) + parts.begin[scale]
    home = np.concatenate([np.asarray(found.placement, np.int64)[work.first] for work in works])
    device = (home[unit] + rng.integers(1, job.devices, size=count)) % job.devices
    moves = np.full((count + 1, 3), -1, np.int64)  # the last: none
    moves[:-1] = np.stack([KINDS[row], unit, device], axis=1)
    search.best, costs = found, np.empty(count + 1, np.int64)
    decision, log = search.decision(), search.log()
    random = np.array([rng.integers(2**63)], np.uint64)
    trials(job.lean.net, job.lean.machines, parts, layers_of(job), decision, log, search.scratch, even(),
           found.priority is None, moves, further, random, costs)  # fmt: skip
    gain = (costs[-1] - costs[:-1]) / max(float(found.cost), 1.0)
    inputs = np.concatenate([features(schedule, work) for work in works])[unit, device]
    again = np.resize(np.arange(count), wish.moves)
    return Samples(inputs[again], row[again], gain[again]), search.judged + (count + 1) * (1 + further)
