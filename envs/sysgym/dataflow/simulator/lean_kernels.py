"""The simulator of `kernels` for searches: the same makespan, with scratch that is reused and nothing recorded.

Left out are the memory of devices, the times of operators and the log of transfers. How long a tensor occupies a link
is looked up. A simulation stops as soon as two exact bounds say that the makespan exceeds a limit: an operator's start
and the longest path from there with the transfers of this placement, or the start and what its device has yet to do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sysgym.compiled import njit
from sysgym.core.problem import Array
from sysgym.dataflow.simulator.kernels import EGRESS_INGRESS, FAR, PAIR, _pop, _push

# Arrays are borrowed from the caller, so that none is counted as in use: by default numba counts at every call that it
# inlines, which took three quarters of the time. Such kernels can make no array.
BORROWING = {"nogil": True, "_nrt": False}
INLINED = {**BORROWING, "inline": "always"}


class Net(NamedTuple):
    """A graph as the kernels read it; see `DataflowGraph`."""

    in_ptr: Array  # (N + 1,) int32
    edge_src: Array  # (E,) int32 producer of what is read
    out_ptr: Array  # (N + 1,) int32
    use_ptr: Array  # (T + 1,) int32
    use_node: Array  # (E,) int32
    tensor_bytes: Array  # (T,) int64
    pend: Array  # (N,) int32 reads of each operator
    sources: Array  # (S,) int32 operators that read nothing


class Machines(NamedTuple):
    """Devices and links. Devices of one row have equal times, links of one pace equal bandwidth."""

    times: Array  # (K, N) int64 ns
    row: Array  # (D,) int32 row of times
    occupied: Array  # (P, T) int64 ns on links of each pace; (1, 0) where there are too many to list
    pace: Array  # (D, D) int32
    bandwidth: Array  # (D, D) int64
    latency: Array  # (D, D) int64
    mode: int  # of links


class Scratch(NamedTuple):
    """Room that simulations share; what is in it before one does not matter."""

    pend: Array  # (N,) int32
    follow: Array  # (N,) int32
    order: Array  # (N,) int32
    heap: Array  # (N,) int64
    arrivals: Array  # (E + 1,) int64
    sent: Array  # (E + 1,) int64 tensor * 64 + destination of each transfer
    device: Array  # (8, D) int64 head, tail, waiting, base, current, ends, egress, ingress
    link: Array  # (D, D) int64
    left: Array  # (D,) int64 work that each device has not begun


@njit(**INLINED)
def _occupied(x, d, p, occupied, pace, bandwidth, tensor_bytes):
    """Nanoseconds for which tensor x occupies the link from d to p."""
    if occupied.shape[1] > 0:
        return occupied[pace[d, p], x]
    return (tensor_bytes[x] * 1000 + bandwidth[d, p] - 1) // bandwidth[d, p]


@njit(**INLINED)
def _tail(v, out_ptr, use_ptr, use_node, tensor_bytes, times, row, occupied, pace, bandwidth, latency, place, tail):
    """Longest path from the start of v on, with transfers, given those of its readers."""
    longest = np.int64(0)
    d = place[v]
    for x in range(out_ptr[v], out_ptr[v + 1]):
        for u in range(use_ptr[x], use_ptr[x + 1]):
            c = use_node[u]
            p = place[c]
            rest = tail[c]
            if p != d:
                rest += _occupied(x, d, p, occupied, pace, bandwidth, tensor_bytes) + latency[d, p]
            longest = max(longest, rest)
    return times[row[d], v] + longest


@njit(**BORROWING)
def tails(net, machines, place, tail):
    """Longest path from the start of each operator on, into tail (N,) int64."""
    _, _, out_ptr, use_ptr, use_node, tensor_bytes, _, _ = net
    times, row, occupied, pace, bandwidth, latency, _ = machines
    for v in range(len(place) - 1, -1, -1):
        tail[v] = _tail(v, out_ptr, use_ptr, use_node, tensor_bytes, times, row, occupied, pace, bandwidth, latency,
                        place, tail)  # fmt: skip


@njit(**BORROWING)
def retail(net, machines, place, tail, moved, count, dirty, log_node, log_tail):
    """Bring tail up to date after moved[:count] have changed places; returns how many entries were logged.

    dirty (N,) bool must be False everywhere, and is again afterwards. The log holds operators and their old tails.
    """
    in_ptr, edge_src, out_ptr, use_ptr, use_node, tensor_bytes, _, _ = net
    times, row, occupied, pace, bandwidth, latency, _ = machines
    highest, logged = -1, 0
    for i in range(count):
        v = moved[i]
        dirty[v] = True
        highest = max(highest, v)
        for e in range(in_ptr[v], in_ptr[v + 1]):
            dirty[edge_src[e]] = True
    for v in range(highest, -1, -1):
        if not dirty[v]:
            continue
        dirty[v] = False
        new = _tail(v, out_ptr, use_ptr, use_node, tensor_bytes, times, row, occupied, pace, bandwidth, latency,
                    place, tail)  # fmt: skip
        if new != tail[v]:
            log_node[logged], log_tail[logged] = v, tail[v]
            logged += 1
            tail[v] = new
            for e in range(in_ptr[v], in_ptr[v + 1]):
                dirty[edge_src[e]] = True
    return logged


@njit(**BORROWING)
def makespan(net, machines, place, rank, fifo, load, bounded, limit, tail, scratch):
    """The makespan, or FAR as soon as it is certain to exceed the limit; and how many operators were begun.

    place (N,) integers; rank (N,) int64, the lowest first, unless `fifo`; load (D,) int64 work of each device. tail
    (N,) is what `tails` says; it and the limit count only if `bounded`.
    """
    nodes, devices = len(place), len(load)
    _, _, out_ptr, use_ptr, use_node, tensor_bytes, reads, sources = net
    times, row, occupied, pace, bandwidth, latency, mode = machines
    pend, follow, order, heap, arrivals, sent, device, link, left = scratch
    heads, last, waiting, base = device[0], device[1], device[2], device[3]
    current, ends, egress, ingress = device[4], device[5], device[6], device[7]
    for v in range(nodes):
        pend[v] = reads[v]
    for d in range(devices):
        waiting[d], base[d], current[d], ends[d], egress[d], ingress[d], left[d] = 0, 0, -1, FAR, 0, 0, load[d]
        if bounded and load[d] > limit:
            return FAR, 0
    if mode == PAIR:
        for d in range(devices):
            for p in range(devices):
                link[d, p] = 0
    if not fifo:
        for v in range(nodes):
            if place[v] + 1 < devices:
                base[place[v] + 1] += 1
        for d in range(1, devices):
            base[d] += base[d - 1]
    shift = np.int64(1)
    while (np.int64(1) << shift) <= len(use_node) + 1:
        shift += 1
    low = (np.int64(1) << shift) - 1
    seq, begun, pending, issued = np.int64(0), 0, 0, np.int64(0)
    t, end = np.int64(0), np.int64(0)
    for v in sources:
        seq = _ready(v, place[v], seq, fifo, rank, order, follow, heads, last, heap, base, waiting)
    while True:
        t_next = FAR
        for d in range(devices):
            if current[d] < 0 and waiting[d] > 0:
                if fifo:
                    v = heads[d]
                    heads[d] = follow[v]
                else:
                    v = np.int64(order[_pop(heap, base[d], waiting[d]) & 0xFFFFFFFF])
                waiting[d] -= 1
                begun += 1
                if bounded and (t + tail[v] > limit or t + left[d] > limit):
                    return FAR, begun
                spent = times[row[d], v]
                left[d] -= spent
                current[d], ends[d] = v, t + spent
            t_next = min(t_next, ends[d])
        t = t_next
        if pending > 0:
            t = min(t, arrivals[0] >> shift)
        if t == FAR:
            break
        for d in range(devices):
            if ends[d] != t:
                continue
            v = current[d]
            current[d], ends[d], end = -1, FAR, t
            for x in range(out_ptr[v], out_ptr[v + 1]):
                others = np.uint64(0)
                for u in range(use_ptr[x], use_ptr[x + 1]):
                    c = use_node[u]
                    p = place[c]
                    if p == d:
                        pend[c] -= 1
                        if pend[c] == 0:
                            seq = _ready(c, d, seq, fifo, rank, order, follow, heads, last, heap, base, waiting)
                    else:
                        others |= np.uint64(1) << np.uint64(p)
                p = 0
                while others != 0:
                    if others & np.uint64(1):
                        took = _occupied(x, d, p, occupied, pace, bandwidth, tensor_bytes)
                        s = t
                        if mode == PAIR:
                            s = max(t, link[d, p])
                            link[d, p] = s + took
                        elif mode == EGRESS_INGRESS:
                            s = max(t, max(egress[d], ingress[p]))
                            egress[d] = s + took
                            ingress[p] = s + took
                        sent[issued] = x * 64 + p
                        _push(arrivals, 0, pending, ((s + took + latency[d, p]) << shift) | issued)
                        pending += 1
                        issued += 1
                    others >>= np.uint64(1)
                    p += 1
        while pending > 0 and (arrivals[0] >> shift) == t:
            what = sent[_pop(arrivals, 0, pending) & low]
            pending -= 1
            x, p = what >> 6, what & 63
            for u in range(use_ptr[x], use_ptr[x + 1]):
                c = use_node[u]
                if place[c] == p:
                    pend[c] -= 1
                    if pend[c] == 0:
                        seq = _ready(c, p, seq, fifo, rank, order, follow, heads, last, heap, base, waiting)
    return end, begun


@njit(**INLINED)
def _ready(v, d, seq, fifo, rank, order, follow, heads, last, heap, base, waiting):
    """Put operator v, the seq-th to become ready, in the queue of device d; the next number."""
    if fifo:
        if waiting[d] == 0:
            heads[d] = v
        else:
            follow[last[d]] = v
        last[d] = v
    else:
        order[seq] = v
        _push(heap, base[d], waiting[d], (rank[v] << 32) | seq)
    waiting[d] += 1
    return seq + 1
