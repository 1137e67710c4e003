"""Numba kernels of Placeto's simulator. Queues are linked: heads (D,), tails (D,), the item after each; -1 is none."""

from __future__ import annotations

import heapq

import numpy as np

from sysgym.compiled import njit

RELEASE, BUS, DEVICE = 0, 1, 2  # kinds of events, in the order of those at the same time


@njit
def _push(events, t, kind, a, b):
    heapq.heappush(events, (t, np.int64(kind), np.int64(a), np.int64(b)))


@njit
def _enqueue(events, t, kind, d, item, heads, tails, after, busy):
    """Put an item behind queue d; a resource that was idle gets an event."""
    after[item] = -1
    if heads[d] < 0:
        heads[d] = item
    else:
        after[tails[d]] = item
    tails[d] = item
    if not busy[d]:
        busy[d] = True
        _push(events, t, kind, d, 0)


@njit
def _send(events, end, x, v, ptr, child, carried, place):
    """The readers of tensor x of v on other devices have it at `end`."""
    for j in range(ptr[v], ptr[v + 1]):
        if carried[j] == x and place[child[j]] != place[v]:
            _push(events, end, RELEASE, v, child[j])


@njit
def run_placeto(ptr, child, carried, waits, place, cost, delay, source, device_rest, bus_rest, devices):
    """Time of the last event, microseconds.

    ptr (N + 1,), child (K,) int32 ascending readers of each operator, carried (K,) int32 tensor that each reads; waits
    (N,) int64 number of operators each waits for, used up; place (N,) int32; cost (N,) and delay (T,) float64
    microseconds; source (T,) int32 producers.
    """
    ops, last_op, busy = np.full(devices, -1, np.int64), np.empty(devices, np.int64), np.zeros(devices, np.bool_)
    jobs, last_job, sending = np.full(devices, -1, np.int64), np.empty(devices, np.int64), np.zeros(devices, np.bool_)
    next_op, next_job, ready = np.empty(len(place), np.int64), np.empty(len(delay), np.int64), np.full(len(delay), -1.0)
    t = 0.0
    events = [(t, np.int64(DEVICE), np.int64(0), np.int64(0)) for _ in range(0)]
    for v in range(len(place)):
        if waits[v] == 0:
            _enqueue(events, t, DEVICE, place[v], v, ops, last_op, next_op, busy)
    while len(events) > 0:
        t, kind, a, b = heapq.heappop(events)
        if kind == RELEASE:
            waits[b] -= 1
            if waits[b] == 0:
                _enqueue(events, t, DEVICE, place[b], b, ops, last_op, next_op, busy)
        elif kind == BUS:
            x = jobs[a]
            if x < 0:
                sending[a] = False
            elif ready[x] > t:
                _push(events, ready[x], BUS, a, 0)
            else:
                jobs[a] = next_job[x]
                _send(events, t + delay[x], x, source[x], ptr, child, carried, place)
                _push(events, t + delay[x] + bus_rest, BUS, a, 0)
        elif ops[a] < 0:
            busy[a] = False
        else:
            v = ops[a]
            ops[a] = next_op[v]
            end = t + cost[v]
            for j in range(ptr[v], ptr[v + 1]):
                x = carried[j]
                if place[child[j]] == a:
                    _push(events, end, RELEASE, v, child[j])
                elif ready[x] < 0:
                    ready[x] = end
                    _enqueue(events, end, BUS, a, x, jobs, last_job, next_job, sending)
            _push(events, end + device_rest if cost[v] > 0 else end, DEVICE, a, 0)
    return t
