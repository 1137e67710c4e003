"""What stays in global memory between regions, chosen greedily: fast, for search. `fusion` has the exact answer.

An activation may stay from its producer to its k-th consumer; weights may stay for ever. Sizes in bytes, times in
nanoseconds; the rules stand in `sysgym.accelerator_design.fusion`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sysgym.accelerator_design.fastsim_kernels import MIB, Arrays, Times, time_regions, unfused
from sysgym.accelerator_design.instance import BMM, SOFTMAX, VECTOR, Workloads
from sysgym.accelerator_design.space import BANDWIDTH, BATCH, GM
from sysgym.compiled import njit

CAPACITY = 0.75  # the share of global memory for what stays, where `BLOCKING` of it is for blocks


class Consumers(NamedTuple):
    """Which regions read each tensor, in order of execution, and which produces it."""

    ptr: Any  # (T+1,)
    region: Any  # (I,)
    often: Any  # (I,) int8, how often it is read: FIRST, STATIONARY or ONCE
    producer: Any  # (T,)


class Residency(NamedTuple):
    """Workspace of one workload."""

    left: Any  # (R,) nanoseconds of traffic beyond the computing time of each region
    used: Any  # (R,) bytes that stay while it runs
    chosen: Any  # (T,) int64, consumers up to which a tensor stays; 0: it does not
    tensor: Any  # (I,) int64 and
    upto: Any  # (I,) int64, candidates, with their
    gain: Any  # (I,) nanoseconds a byte
    pinned: Any  # (R,) bool, whose weights stay


FIRST, STATIONARY, ONCE = range(3)  # as often as the first input, as the weights, once


def consumers_of(workloads: Workloads) -> Consumers:
    """The consumers of a workload's tensors."""
    ptr, region = workloads.consumers
    often = np.full(len(region), ONCE, np.int8)
    for tensor in range(len(workloads.elems)):
        for j in range(ptr[tensor], ptr[tensor + 1]):
            kind = workloads.kind[region[j]]
            first = workloads.in_tensor[workloads.in_ptr[region[j]]] == tensor
            often[j] = FIRST if first or kind in (VECTOR, SOFTMAX) else STATIONARY if kind == BMM else ONCE
    return Consumers(ptr, region, often, workloads.producer)


def workspace(work: Arrays) -> Residency:
    """An empty workspace."""
    regions, tensors, reads = len(work.kind), len(work.elems), len(work.in_tensor)
    return Residency(np.zeros(regions), np.zeros(regions), np.zeros(tensors, np.int64), np.zeros(reads, np.int64),
                     np.zeros(reads, np.int64), np.zeros(reads), np.zeros(regions, np.bool_))  # fmt: skip


@njit(inline="always")
def reads_of(consumers, times, j):
    """How often the j-th row of the consumers reads its tensor from memory."""
    often = consumers.often[j]
    region = consumers.region[j]
    return times.first[region] if often == FIRST else times.weights[region] if often == STATIONARY else 1.0


@njit(inline="always")
def gained(consumers, times, tensor, upto, cost, left):
    """Nanoseconds gained if a tensor, which takes `cost` to move once, stays to its `upto`-th consumer."""
    begin, total = consumers.ptr[tensor], 0.0
    for j in range(begin, begin + upto):
        total += min(cost * reads_of(consumers, times, j), max(left[consumers.region[j]], 0.0))
    if begin + upto == consumers.ptr[tensor + 1]:
        total += min(cost, max(left[consumers.producer[tensor]], 0.0))
    return total


@njit(inline="always")
def stay(consumers, times, tensor, upto, cost, left):
    """Take the traffic of a tensor that stays to its `upto`-th consumer off what is left; a negative cost adds it."""
    begin = consumers.ptr[tensor]
    for j in range(begin, begin + upto):
        left[consumers.region[j]] -= cost * reads_of(consumers, times, j)
    if begin + upto == consumers.ptr[tensor + 1]:
        left[consumers.producer[tensor]] -= cost


@njit
def fuse(work, consumers, machine, times, first, last, room):
    """The least nanoseconds of a batch that greedy choices of what stays find for the regions first..last, and whether
    nothing can be better: all that helps fitted, or nothing waits for memory.

    Candidates by what they gain for each byte and, to an exponent, each region that they outlast; then weights.
    """
    batch, bandwidth, capacity = machine[BATCH], machine[BANDWIDTH], CAPACITY * machine[GM] * MIB
    left, _, chosen, tensors, upto, gain, _ = room
    count = 0
    computing = _reset(times, bandwidth, first, last, room)
    for i in range(first, last):
        tensor = work.out[i]
        chosen[tensor] = 0
        size = 2 * batch * work.elems[tensor]
        if size > capacity:
            continue
        for k in range(1, consumers.ptr[tensor + 1] - consumers.ptr[tensor] + 1):
            value = gained(consumers, times, tensor, k, size / bandwidth, left)
            if value > 0:
                tensors[count], upto[count], gain[count] = tensor, k, value / size
                count += 1
    best = np.inf
    for exponent in range(2):
        if exponent > 0:
            for c in range(count):
                end = consumers.region[consumers.ptr[tensors[c]] + upto[c] - 1]
                gain[c] /= end - consumers.producer[tensors[c]] + 1.0
                chosen[tensors[c]] = 0
            _reset(times, bandwidth, first, last, room)
        refused = 0
        for c in np.argsort(-gain[:count]):
            refused += not _keep(work, consumers, times, bandwidth, capacity, tensors[c], upto[c], batch, room)
        total = computing
        left_out = refused + _pin(work, bandwidth, capacity, times, first, last, room)
        for i in range(first, last):
            total += max(left[i], 0.0)
        best = min(best, total)
        if left_out == 0 or total <= computing * (1 + 1e-12):
            return best, True
        if refused == 0:  # another order chooses the same
            break
    return best, False


@njit
def _reset(times, bandwidth, first, last, room):
    """Let nothing stay; nanoseconds of computing alone."""
    computing = 0.0
    for i in range(first, last):
        room.left[i] = times.bytes[i] / bandwidth - times.compute[i]
        room.used[i] = 0.0
        room.pinned[i] = False
        computing += times.compute[i]
    return computing


@njit(inline="always")
def _keep(work, consumers, times, bandwidth, capacity, tensor, k, batch, room):
    """Let a tensor stay to its k-th consumer if that gains something; False if it does not fit."""
    left, used, chosen = room.left, room.used, room.chosen
    before = chosen[tensor]
    if before >= k:
        return True
    size, ptr = 2 * batch * work.elems[tensor], consumers.ptr[tensor]
    cost = size / bandwidth
    begin = consumers.producer[tensor] if before == 0 else consumers.region[ptr + before - 1] + 1
    end = consumers.region[ptr + k - 1]
    for r in range(begin, end + 1):
        if used[r] + size > capacity:
            return False
    had = 0.0
    if before > 0:  # it stays longer than was chosen before
        stay(consumers, times, tensor, before, -cost, left)
        had = gained(consumers, times, tensor, before, cost, left)
    if gained(consumers, times, tensor, k, cost, left) > had:
        stay(consumers, times, tensor, k, cost, left)
        chosen[tensor] = k
        for r in range(begin, end + 1):
            used[r] += size
    elif before > 0:
        stay(consumers, times, tensor, before, cost, left)
    return True


@njit
def _pin(work, bandwidth, capacity, times, first, last, room):
    """Keep weights in what the activations leave free all the time, the best for their bytes first; how many that would
    help do not fit.
    """
    left = room.left
    free = capacity - room.used[first:last].max()
    count = refused = 0
    regions, gain = np.empty(last - first, np.int64), np.empty(last - first)
    for i in range(first, last):
        size = 2.0 * work.weights[i]
        refused += left[i] > 0 and free < size <= capacity
        if left[i] > 0 and 0 < size <= free:
            regions[count], gain[count] = i, min(size * times.weights[i] / bandwidth, left[i]) / size
            count += 1
    for place in np.argsort(-gain[:count]):
        i = regions[place]
        size = 2.0 * work.weights[i]
        if size <= free:
            free -= size
            left[i] -= size * times.weights[i] / bandwidth
            room.pinned[i] = True
        else:
            refused += 1
    return refused


@njit
def batch_time(work, consumers, machine, schedule, fusion, first, last, times, room):
    """Nanoseconds of a batch of one network; -1 where the machine cannot work. Fusion never hurts."""
    if not time_regions(work, machine, schedule, first, last, times):
        return -1.0
    best = unfused(machine, first, last, times)
    if not fusion or machine[GM] == 0:
        return best
    return min(best, fuse(work, consumers, machine, times, first, last, room)[0])


@njit
def batch_times(work, consumers, networks, machines, schedule, fusion, times, room, found):
    """`batch_time` of every machine (n, 20) on every network, into `found` (n, M)."""
    for d in range(len(machines)):
        for m in range(len(networks) - 1):
            first, last = networks[m], networks[m + 1]
            found[d, m] = batch_time(work, consumers, machines[d], schedule, fusion, first, last, times, room)


def empty_times(work: Arrays) -> Times:
    """Room for the times of a workload."""
    return Times(*(np.zeros(len(work.kind)) for _ in range(5)))
