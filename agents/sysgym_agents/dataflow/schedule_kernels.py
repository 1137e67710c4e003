"""List scheduling: operators are placed one by one where they would end, or could start, first."""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np

from sysgym.compiled import njit
from sysgym.core.problem import Array


class Tasks(NamedTuple):
    """Operators, what they read and what they take; see `DataflowGraph`."""

    tie: Array  # (N,) int32, operators of one group go where its first one went; -1 for none
    in_ptr: Array
    in_tensor: Array
    out_ptr: Array
    use_ptr: Array
    use_node: Array
    tensor_src: Array
    tensor_bytes: Array
    times: Array  # (D, N)
    source: Array  # (N,) bool, operators that follow their first reader
    held: Array  # (N,) bytes of parameters


class Devices(NamedTuple):
    """What runs them."""

    capacity: Array
    bandwidth: Array
    latency: Array


@njit
def _arrival(v, d, in_ptr, in_tensor, tensor_src, tensor_bytes, source, place, finish, sent, bandwidth, latency):
    """When the inputs of v are on device d; sent (T, D) holds arrivals of copies, -1 where there is none."""
    ready = np.int64(0)
    for e in range(in_ptr[v], in_ptr[v + 1]):
        x = in_tensor[e]
        u = tensor_src[x]
        p = place[u]
        if p < 0 or (source[u] and p == d):
            continue  # a parameter that follows its reader
        if p == d:
            ready = max(ready, finish[u])
        elif sent[x, d] >= 0:
            ready = max(ready, sent[x, d])
        else:
            ready = max(ready, finish[u] + (tensor_bytes[x] * 1000) // bandwidth[p, d] + latency[p, d])
    return ready


@njit
def _commit(v, d, begin, in_ptr, in_tensor, tensor_src, tensor_bytes, times, source, place, finish, free, room, held,
            sent, bandwidth, latency):  # fmt: skip
    """Place v on d at a time, with the parameters that it is the first to read."""
    for e in range(in_ptr[v], in_ptr[v + 1]):
        x = in_tensor[e]
        u = tensor_src[x]
        if place[u] < 0:
            place[u], finish[u] = d, 0
            room[d] -= held[u]
        elif place[u] != d and sent[x, d] < 0:
            sent[x, d] = finish[u] + (tensor_bytes[x] * 1000) // bandwidth[place[u], d] + latency[place[u], d]
    place[v], finish[v] = d, begin + times[d, v]
    free[d] = finish[v]
    room[d] -= held[v]


@njit
def earliest_finish(order, tasks, machines, place):
    """Place operators in an order, each where it ends first and its parameters fit (HEFT without insertion).

    place (N,) int32 is filled.
    """
    tie, in_ptr, in_tensor, _, _, _, tensor_src, tensor_bytes, times, source, held = tasks
    capacity, bandwidth, latency = machines
    nodes, devices = len(source), len(capacity)
    finish, free = np.zeros(nodes, np.int64), np.zeros(devices, np.int64)
    sent, room = np.full((len(tensor_src), devices), -1, np.int64), capacity.copy()
    home = np.full(tie.max() + 2, -1, np.int32)
    place[:] = -1
    for v in order:
        if source[v]:
            continue
        best, best_end, best_begin = -1, np.int64(2**62), np.int64(0)
        wanted = home[tie[v]] if tie[v] >= 0 else -1
        for d in range(devices):
            if wanted >= 0 and d != wanted:
                continue
            begin = max(free[d], _arrival(v, d, in_ptr, in_tensor, tensor_src, tensor_bytes, source, place, finish,
                                          sent, bandwidth, latency))  # fmt: skip
            end = begin + times[d, v]
            need = held[v]
            for e in range(in_ptr[v], in_ptr[v + 1]):
                u = tensor_src[in_tensor[e]]
                if place[u] < 0:
                    need += held[u]
            if need > room[d] and wanted < 0:
                end += np.int64(2**60)  # only where nothing fits
            if end < best_end:
                best, best_end, best_begin = d, end, begin
        if tie[v] >= 0:
            home[tie[v]] = best
        _commit(v, best, best_begin, in_ptr, in_tensor, tensor_src, tensor_bytes, times, source, place, finish, free,
                room, held, sent, bandwidth, latency)  # fmt: skip
    for v in range(nodes):
        if place[v] < 0:
            place[v] = 0


@njit
def _join(heaps, kind, d, devices, seq, begin, free):
    """Queue a ready operator for a device: among those that can start at once, by turn, or those that start later."""
    if begin <= free:
        heapq.heappush(heaps[kind * devices + d], (np.int64(0), np.int64(seq)))
    else:
        heapq.heappush(heaps[(kind + 1) * devices + d], (np.int64(begin), np.int64(seq)))


@njit
def _first(heaps, kind, d, devices, free, state, room):
    """When the first operator of a device's two queues could start, and its turn; -1 if there is none.

    kind 0 holds those whose parameters were seen to fit, kind 2 those that were not; an operator that does not fit any
    more moves from one to the other, for good. A queue forgets who is placed, or bound to another device.
    """
    ready, place, home, tie, need, reach = state
    now, later = heaps[kind * devices + d], heaps[(kind + 1) * devices + d]
    while later and later[0][0] <= free:  # can start at once by now
        heapq.heappush(now, (np.int64(0), heapq.heappop(later)[1]))
    for at_once in (True, False):
        heap = now if at_once else later
        while heap:
            seq = heap[0][1]
            v = ready[seq]
            wanted = home[tie[v]] if tie[v] >= 0 else -1
            if place[v] >= 0 or (wanted >= 0 and wanted != d):
                heapq.heappop(heap)
            elif kind == 0 and wanted < 0 and need[v] > room:
                heapq.heappop(heap)
                _join(heaps, 2, d, devices, seq, reach[v, d], free)
            else:
                return max(free, reach[v, d]), seq
    return np.int64(0), np.int64(-1)


@njit
def earliest_start(tasks, machines, place):
    """Of all ready operators and devices, place the pair that can start first (ETF; with memory, Baechi's m-ETF).

    Ties go to who became ready first, then to the lower device. Each operator waits in heaps of every device, so that
    a step costs a logarithm of how many are ready.
    """
    tie, in_ptr, in_tensor, out_ptr, use_ptr, use_node, tensor_src, tensor_bytes, times, source, held = tasks
    capacity, bandwidth, latency = machines
    nodes, devices = len(source), len(capacity)
    finish, free = np.zeros(nodes, np.int64), np.zeros(devices, np.int64)
    sent, room = np.full((len(tensor_src), devices), -1, np.int64), capacity.copy()
    home = np.full(tie.max() + 2, -1, np.int32)
    pend = np.zeros(nodes, np.int32)
    ready, count, queued = np.empty(nodes, np.int32), 0, 0
    reach, need = np.zeros((nodes, devices), np.int64), held.copy()
    mates, mate = (
        np.full(tie.max() + 2, -1, np.int64),
        np.full(nodes, -1, np.int64),
    )  # ready operators of a tie, by turn
    heaps = [[(np.int64(0), np.int64(0))] for _ in range(4 * devices)]
    for heap in heaps:
        heap.pop()
    place[:] = -1
    for v in range(nodes):
        for e in range(in_ptr[v], in_ptr[v + 1]):
            if not source[tensor_src[in_tensor[e]]]:
                pend[v] += 1
            else:  # a parameter that may come with it
                need[v] += held[tensor_src[in_tensor[e]]]
        if pend[v] == 0 and not source[v]:
            ready[count] = v
            count += 1
    state = (ready, place, home, tie, need, reach)
    while True:
        for seq in range(queued, count):
            v = ready[seq]
            wanted = home[tie[v]] if tie[v] >= 0 else -1
            for d in range(devices):
                if wanted < 0 or wanted == d:
                    _join(heaps, 0, d, devices, seq, reach[v, d], free[d])
            if tie[v] >= 0 and wanted < 0:
                mate[seq], mates[tie[v]] = mates[tie[v]], seq
        queued = count
        best, best_d, best_begin = np.int64(-1), -1, np.int64(2**62)
        for kind in (0, 2):
            for d in range(devices):
                begin, seq = _first(heaps, kind, d, devices, free[d], state, room[d])
                if seq >= 0 and (begin < best_begin or (begin == best_begin and seq < best)):
                    best, best_d, best_begin = seq, d, begin
            if best >= 0:
                break
        if best < 0:
            break
        v = ready[best]
        if tie[v] >= 0 and home[tie[v]] < 0:
            home[tie[v]] = best_d
            seq = mates[tie[v]]
            while seq >= 0:  # the others may go nowhere else now, whether they fit or not
                _join(heaps, 0, best_d, devices, seq, reach[ready[seq], best_d], free[best_d])
                seq = mate[seq]
        _commit(v, best_d, best_begin, in_ptr, in_tensor, tensor_src, tensor_bytes, times, source, place, finish, free,
                room, held, sent, bandwidth, latency)  # fmt: skip
        for x in range(out_ptr[v], out_ptr[v + 1]):
            for u in range(use_ptr[x], use_ptr[x + 1]):
                c = use_node[u]
                pend[c] -= 1
                if pend[c] == 0:
                    ready[count] = c
                    count += 1
                    for d in range(devices):
                        reach[c, d] = _arrival(c, d, in_ptr, in_tensor, tensor_src, tensor_bytes, source, place,
                                               finish, sent, bandwidth, latency)  # fmt: skip
    for v in range(nodes):
        if place[v] < 0:
            place[v] = 0
