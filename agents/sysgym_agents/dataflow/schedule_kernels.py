"""List scheduling: operators are placed one by one where they would end, or could start, first."""

from __future__ import annotations

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
def earliest_start(tasks, machines, place):
    """Of all ready operators and devices, place the pair that can start first (ETF; with memory, Baechi's m-ETF)."""
    tie, in_ptr, in_tensor, out_ptr, use_ptr, use_node, tensor_src, tensor_bytes, times, source, held = tasks
    capacity, bandwidth, latency = machines
    nodes, devices = len(source), len(capacity)
    finish, free = np.zeros(nodes, np.int64), np.zeros(devices, np.int64)
    sent, room = np.full((len(tensor_src), devices), -1, np.int64), capacity.copy()
    home = np.full(tie.max() + 2, -1, np.int32)
    pend = np.zeros(nodes, np.int32)
    ready, count = np.empty(nodes, np.int32), 0
    reach, need = np.zeros((nodes, devices), np.int64), held.copy()
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
    while count > 0:
        best, best_d, best_begin = 0, -1, np.int64(2**62)
        for i in range(count):
            v = ready[i]
            wanted = home[tie[v]] if tie[v] >= 0 else -1
            for d in range(devices):
                if wanted >= 0 and d != wanted:
                    continue
                begin = max(free[d], reach[v, d])
                if wanted < 0 and need[v] > room[d]:
                    begin += np.int64(2**60)
                if begin < best_begin:
                    best, best_d, best_begin = i, d, begin
        v = ready[best]
        count -= 1
        for i in range(best, count):  # keeps the order in which operators became ready
            ready[i] = ready[i + 1]
        if tie[v] >= 0:
            home[tie[v]] = best_d
        begin = max(free[best_d], reach[v, best_d])
        _commit(v, best_d, begin, in_ptr, in_tensor, tensor_src, tensor_bytes, times, source, place, finish, free,
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
