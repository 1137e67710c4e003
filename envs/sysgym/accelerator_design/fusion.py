"""Which activations and weights stay in global memory, exactly: an integer program for HiGHS.

Exactly means to a gap of GAP, or as near as the first of NODES come: 3e-5 on the worst that was seen.

Rules. With a share `BLOCKING` of the global memory for blocks, a share `CAPACITY` is for what stays. An activation
stays from its producer to its k-th consumer, at most one k; each of the first k consumers saves its reads, the
producer its write if k is the last. Weights that stay save their reads and are there while every region runs. The time
of a region is max(compute, bytes left / bandwidth); what is live in any region must fit. Fusion is used where it is
faster than none.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sysgym.accelerator_design.fastsim_kernels import MIB, Arrays, Times
from sysgym.accelerator_design.fusion_kernels import CAPACITY, Consumers, reads_of, stay
from sysgym.accelerator_design.space import BANDWIDTH, BATCH, GM
from sysgym.core.problem import Array

GAP = 1e-6  # relative, of the integer program
NODES = (300, 3_000, 30_000)  # of branch and bound, after which the best answer counts if it is no worse than the
# greedy one: the last millionths can take hours
US = 1e-3  # microseconds a nanosecond: HiGHS errs on seconds and bytes


class Plan(NamedTuple):
    """What stays."""

    nanoseconds: float
    regions: Array  # (R of the network,) nanoseconds of each region
    upto: Array  # (T,) int64, consumers up to which a tensor stays
    pinned: Array  # (R,) bool, whose weights stay


class Network(NamedTuple):
    """The regions first..last of a workload on a machine, whose `times` are those with blocking."""

    work: Arrays
    consumers: Consumers
    machine: Array
    times: Times
    first: int
    last: int


class Columns:
    """The binaries of the program: what each one is, saves and how long it lives."""

    def __init__(self, network: Network) -> None:
        self.bandwidth, self.first = network.machine[BANDWIDTH], network.first
        span = slice(network.first, network.last)
        self.floor = network.times.compute[span] * US
        self.whole = network.times.bytes[span] / self.bandwidth * US
        self.meaning: list[tuple[int, int, float]] = []  # tensor, or -1 - region for weights; consumers; MiB
        self.saves: list[tuple[int, int, float]] = []  # region, column, microseconds
        self.lives: list[tuple[int, int, int]] = []  # column, first region, last region

    def add(self, meaning: tuple[int, int, float], helped: list[tuple[int, float]], life: tuple[int, int]) -> None:
        """Add a binary where it helps a region that memory bounds."""
        useful = [
            (region - self.first, amount / self.bandwidth * US)
            for region, amount in helped
            if self.whole[region - self.first] > self.floor[region - self.first]
        ]
        if useful:
            self.saves += [(region, len(self.meaning), amount) for region, amount in useful]
            self.lives.append((len(self.meaning), *life))
            self.meaning.append(meaning)


def _columns(network: Network, capacity: float) -> Columns:
    """Every activation up to each of its consumers, and the weights of every region."""
    work, consumers, machine, times, first, last = network
    found, batch = Columns(network), machine[BATCH]
    for i in range(first, last):
        tensor, size = int(work.out[i]), 2 * batch * work.elems[work.out[i]]
        begin, end = int(consumers.ptr[tensor]), int(consumers.ptr[tensor + 1])
        readers = consumers.region[begin:end].tolist()
        reads = [size * reads_of(consumers, times, j) for j in range(begin, end)]
        for k in range(1, len(readers) + 1) if size <= capacity else ():
            helped = [*zip(readers[:k], reads[:k], strict=True), *([(i, size)] if k == len(readers) else [])]
            found.add((tensor, k, size / MIB), helped, (i, readers[k - 1]))
        size = 2.0 * work.weights[i]
        if 0 < size <= capacity:
            found.add((-1 - i, 0, size / MIB), [(i, size * times.weights[i])], (first, last - 1))
    return found


def solve_fusion(network: Network, greedy: float = np.inf) -> Plan:
    """The best residency, no worse than the nanoseconds of a `greedy` one."""
    for nodes in NODES:
        plan = _solved(network, nodes)
        if plan.nanoseconds <= greedy * (1 + 1e-12):
            break
    return plan


def _solved(network: Network, nodes: int) -> Plan:
    """The best residency that so many nodes find."""
    capacity = CAPACITY * network.machine[GM] * MIB
    upto, pinned = np.zeros(len(network.work.elems), np.int64), np.zeros(len(network.work.kind), bool)
    columns = _columns(network, capacity)
    if not columns.meaning:
        return _plan(np.maximum(columns.floor, columns.whole) / US, upto, pinned)
    for column in np.flatnonzero(_chosen(network, columns, capacity, nodes)).tolist():
        tensor, k, _ = columns.meaning[column]
        if tensor >= 0:
            upto[tensor] = k
        else:
            pinned[-1 - tensor] = True
    return _plan(planned_times(network, upto, pinned), upto, pinned)


def _chosen(network: Network, columns: Columns, capacity: float, nodes: int) -> Array:
    """Which binaries are 1 in the best answer: the sum of the regions' times is least."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    active = np.unique([region for region, _, _ in columns.saves])
    row_of = {int(region): row for row, region in enumerate(active)}
    binaries, rows = len(columns.meaning), len(active)
    table = [(row_of[region], column, value) for region, column, value in columns.saves]
    table += [(row, binaries + row, 1.0) for row in range(rows)]
    lower, upper = columns.whole[active].tolist(), [np.inf] * rows
    for tensor in {tensor for tensor, _, _ in columns.meaning if tensor >= 0}:
        mine = [column for column, (other, _, _) in enumerate(columns.meaning) if other == tensor]
        if len(mine) > 1:
            table += [(len(lower), column, 1.0) for column in mine]
            lower.append(-np.inf)
            upper.append(1.0)
    for live in _live_sets(columns.lives, network.first, network.last):
        table += [(len(lower), column, columns.meaning[column][2]) for column in live]
        lower.append(-np.inf)
        upper.append(capacity / MIB)
    r, c, v = (np.array(item) for item in zip(*table, strict=True))
    matrix = csr_array((v.astype(float), (r, c)), shape=(len(lower), binaries + rows))
    bounds = Bounds(
        np.concatenate([np.zeros(binaries), columns.floor[active]]),
        np.concatenate([np.ones(binaries), np.full(rows, np.inf)]),
    )
    with _no_stray_lines():
        found = milp(
            np.concatenate([np.zeros(binaries), np.ones(rows)]), bounds=bounds,
            constraints=LinearConstraint(matrix, lower, upper), options={"mip_rel_gap": GAP, "node_limit": nodes},
            integrality=np.concatenate([np.ones(binaries), np.zeros(rows)]),
        )  # fmt: skip
    assert found.x is not None, found.message  # keeping nothing is always feasible
    return np.asarray(np.round(found.x[:binaries]))


def _plan(regions: Array, upto: Array, pinned: Array) -> Plan:
    return Plan(float(regions.sum()), regions, upto, pinned)


def planned_times(network: Network, upto: Array, pinned: Array) -> Array:
    """Nanoseconds of each region of a network with a residency; whether it fits is not looked at."""
    compute = network.times.compute[network.first : network.last]
    return np.asarray(compute + np.maximum(_beyond(network, upto, pinned), 0.0))


def planned_traffic(network: Network, upto: Array, pinned: Array) -> Array:
    """Nanoseconds of each region's traffic with a residency; its time is this or that of computing, the longer one."""
    return np.asarray(network.times.compute[network.first : network.last] + _beyond(network, upto, pinned))


def _beyond(network: Network, upto: Array, pinned: Array) -> Array:
    """How much longer the traffic of each region takes than computing, nanoseconds."""
    work, consumers, machine, times, first, last = network
    left = times.bytes / machine[BANDWIDTH] - times.compute
    for i in range(first, last):
        tensor = work.out[i]
        if upto[tensor]:
            cost = 2.0 * machine[BATCH] * work.elems[tensor] / machine[BANDWIDTH]
            stay(consumers, times, tensor, int(upto[tensor]), cost, left)
        if pinned[i]:
            left[i] -= 2.0 * work.weights[i] * times.weights[i] / machine[BANDWIDTH]
    return np.asarray(left[first:last])


def _live_sets(lives: list[tuple[int, int, int]], first: int, last: int) -> list[list[int]]:
    """The columns that are live together in some region; only those sets that no other one holds."""
    starts: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for column, begin, end in lives:
        starts.setdefault(begin, []).append(column)
        ends.setdefault(end, []).append(column)
    found, live, grown = [], set[int](), False
    for region in range(first, last):
        if region in starts:
            live |= set(starts[region])
            grown = True
        if region in ends:
            if grown and len(live) > 1:  # only before something leaves can a set be the largest
                found.append(sorted(live))
            live -= set(ends[region])
            grown = False
    return found


@contextlib.contextmanager
def _no_stray_lines() -> Iterator[None]:
    """HiGHS prints lines of its own on stdout now and then."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:
        yield
        return
    hidden = os.open(os.devnull, os.O_WRONLY)
    os.dup2(hidden, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(hidden)
