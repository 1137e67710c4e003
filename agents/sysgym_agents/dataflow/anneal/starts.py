"""Placements to start from, the cheap ones first, and their repair where memory does not hold them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sysgym.core.problem import Array
from sysgym_agents.core import Clock
from sysgym_agents.dataflow import baselines as rules

if TYPE_CHECKING:
    from sysgym.dataflow.features import Work
    from sysgym.dataflow.simulator.job import Job
    from sysgym.dataflow.simulator.simulate import Outcome

METIS_STARTS = 4
LAST_START = 0.4  # share of the time after which no start is begun
ROOM = 0.9  # share of the time that a start is expected to leave off at
TRIES = 48  # simulations of a repair


class Start(NamedTuple):
    """A placement, made when it is asked for."""

    make: Callable[[], Array]
    price: float  # how long that takes about, in simulations with memory


def starts_of(job: Job, rng: np.random.Generator, metis: bool) -> list[Start]:
    """Starts, the cheap ones first; METIS before the dearer and mostly worse m-ETF, where it is installed."""
    cheap = (rules.Expert, rules.Single, rules.LayerRoundRobin, rules.Blocks)
    found = [Start(partial(placer().place, job, rng), 0.1) for placer in cheap]
    found += [Start(partial(rules.HEFT(colocate=tie).place, job, rng), 3.0) for tie in (True, False)]
    if metis and _has_metis():
        seeds = [int(rng.integers(2**31)) if job.devices > 1 else 0 for _ in range(METIS_STARTS)]
        found += [Start(partial(rules.MetisPlacement.seeded, job, seed), 16.0) for seed in seeds]
    return [*found, *(Start(partial(rules.METF(colocate=tie).place, job, rng), 18.0) for tie in (True, False))]


def _has_metis() -> bool:
    try:
        import pymetis  # noqa: F401
    except ImportError:
        return False
    return True


class Pace:
    """How long a simulation takes as a share of the time, and what that leaves."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.one = clock, 0.0

    def measure(self, before: float) -> None:
        """A simulation with memory ended that began when `before` of the time was used."""
        self.one = max(self.one, self.clock.share - before)

    def allows(self, start: Start) -> bool:
        """Whether a start may begin: early enough, and likely to end within the time."""
        share = self.clock.share
        return share < LAST_START and share + (start.price + 2.0) * self.one < ROOM


class Repaired(NamedTuple):
    """What a repair has come to."""

    placement: Array  # (N,) int32
    over: int  # bytes by which it exceeds the memories still
    tries: int  # placements that were simulated


def repair(job: Job, work: Work, placement: Array, priority: Array | None, spent: Callable[[int], bool]) -> Repaired:
    """Move units off the fullest device, where that costs least, until the placement fits or nothing helps.

    The loss of a move is what its transfers and the load of the device add, for each byte that leaves the peak. It is
    tried with the simulator, and taken back where the excess does not fall. `spent` is told the placements so far.
    """
    from sysgym.dataflow.simulator.simulate import simulate

    place, barred = placement.copy(), np.zeros((work.units.count, job.devices), bool)

    def run() -> tuple[Outcome, int]:
        outcome = simulate(job.graph, job.times, job.cluster, place, priority)
        return outcome, int(np.maximum(outcome.peak_bytes - job.capacity, 0).sum())

    (outcome, over), tries = run(), 1
    while over and tries < TRIES and not spent(tries):
        full = int(np.argmax(outcome.peak_bytes - job.capacity))
        chosen = _cheapest(job, work, place, outcome, full, barred)
        if chosen is None:
            break
        mine = (work.units.of == chosen[0]) & (place == full)
        place[mine] = chosen[1]
        (after, less), tries = run(), tries + 1
        if less < over:
            outcome, over = after, less
        else:
            place[mine] = full
            barred[chosen] = True
    return Repaired(place, over, tries)


def _cheapest(job: Job, work: Work, place: Array, outcome: Outcome, full: int, barred: Array) -> tuple[int, int] | None:
    """The unit on a full device and the device with room for which the loss a byte is least; None if there is none."""
    units, count = work.units.of, work.units.count
    freed = live_bytes(job, place, outcome, full, units, count)
    on = np.bincount(units[place == full], minlength=count) > 0
    room = job.capacity - outcome.peak_bytes
    home = place[work.first]
    near = np.zeros((count, job.devices))  # bytes linked to each device
    np.add.at(near, (work.links[0], home[work.links[1]]), work.links[2])
    pace, latency = work.link
    extra = np.maximum(near[:, [full]] - near, 0) / pace + latency
    load = outcome.busy_ns[None, :] + work.work.T
    loss = extra + np.maximum(load - outcome.busy_ns.max(), 0)
    excess = -int(room[full])
    value = loss / np.minimum(np.maximum(freed, 1.0), excess)[:, None]
    allowed = on[:, None] & ~barred & (freed > 0)[:, None] & (room > 0)[None, :]
    fits = allowed & (room[None, :] >= freed[:, None])
    allowed = fits if fits.any() else allowed  # peaks of unlike times may share the room
    if not allowed.any():
        return None
    unit, device = np.unravel_index(int(np.argmin(np.where(allowed, value, np.inf))), value.shape)
    return int(unit), int(device)


def live_bytes(job: Job, place: Array, outcome: Outcome, device: int, units: Array, count: int) -> Array:
    """Bytes of each unit (count,) float64 on a device when it is fullest: parameters, outputs, and copies for readers.

    A copy is shared out among the reads of it there. Ties in time are not resolved: it is an estimate.
    """
    graph = job.graph
    src, dst, read = graph.tensor_src, graph.edge_dst, graph.edge_tensor
    ends = np.zeros(graph.tensors, np.int64)  # of the copy of each tensor on the device
    here = np.flatnonzero(place[dst] == device)
    np.maximum.at(ends, read[here], outcome.finish[dst[here]])
    owner = place[src] == device
    sent = outcome.moves[:, 0][owner[outcome.moves[:, 0]]]
    np.maximum.at(ends, sent, outcome.spans[owner[outcome.moves[:, 0]], 1])
    born = np.where(owner, outcome.start[src], outcome.finish[src])
    kept = (ends > born) & ~(owner & (graph.param_bytes[src] > 0))
    tensor = np.flatnonzero(kept)
    times = np.concatenate([born[tensor], ends[tensor]])
    change = np.concatenate([graph.tensor_bytes[tensor], -graph.tensor_bytes[tensor]])
    order = np.lexsort((change, times))
    top = times[order][int(np.argmax(np.cumsum(change[order])))] if len(order) else 0
    live = kept & (born <= top) & (ends > top)
    mine = np.flatnonzero(live & owner)
    own = np.bincount(units[src[mine]], weights=graph.tensor_bytes[mine], minlength=count)
    held = np.bincount(units, weights=np.where(place == device, graph.param_bytes, 0), minlength=count)
    copies = here[live[read[here]] & ~owner[read[here]]]
    readers = np.maximum(np.bincount(read[copies], minlength=graph.tensors), 1)
    share = graph.tensor_bytes[read[copies]] / readers[read[copies]]
    return np.asarray(own + held + np.bincount(units[dst[copies]], weights=share, minlength=count))
