"""Event-driven execution of a placed graph, and longest paths. All times are integer nanoseconds.

The rules: an idle device starts the ready operator of highest priority, the one that became ready first among equals.
When an operator ends, each of its tensors goes once to every other device that reads it, over the links of the mode.
Events of one time: ends by device, then arrivals by the order in which they were issued, then devices by number start
what is ready. A tensor lives from the start of its producer (a copy: from the issue of its transfer) to the end of its
last reader; a pending transfer reads its source. Parameters live for the whole run.
"""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit

NONE, PAIR, EGRESS_INGRESS = 0, 1, 2  # link modes, in the order of cluster.LINK_MODES
FAR = np.int64(2**62)


@njit(nogil=True, inline="always")
def _push(heap, first, count, key):
    """Insert a key in the binary heap heap[first:first + count]."""
    i = count
    while i > 0:
        parent = (i - 1) >> 1
        above = heap[first + parent]
        if above <= key:
            break
        heap[first + i] = above
        i = parent
    heap[first + i] = key


@njit(nogil=True, inline="always")
def _pop(heap, first, count):
    """Take the smallest key of the binary heap heap[first:first + count]."""
    least = heap[first]
    last = heap[first + count - 1]
    size = count - 1
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and heap[first + child + 1] < heap[first + child]:
            child += 1
        if heap[first + child] >= last:
            break
        heap[first + i] = heap[first + child]
        i = child
    heap[first + i] = last
    return least


@njit(nogil=True, inline="always")
def _ready(v, d, seq, fifo, rank, order, follow, heads, tails, heap, base, waiting):
    """Put operator v, the seq-th to become ready, in the queue of device d."""
    if fifo:
        if waiting[d] == 0:
            heads[d] = v
        else:
            follow[tails[d]] = v
        tails[d] = v
    else:
        order[seq] = v
        _push(heap, base[d], waiting[d], (rank[v] << 32) | seq)
    waiting[d] += 1


@njit(nogil=True)
def run(in_ptr, in_tensor, out_ptr, use_ptr, use_node, tensor_src, tensor_bytes, param_bytes, times, place, rank, fifo,
        bandwidth, latency, mode, memory, start, finish, peak, busy, moves, spans):  # fmt: skip
    """Execute a graph; fills start, finish (N,), peak, busy (D,), moves (E, 2) tensor and destination of each
    transfer, spans (E, 2) when it occupies its links. Returns makespan, transfers, bytes transferred.

    times is (D, N); rank (N,) int64 is 0 for the highest priority; without `fifo` it decides, with it all are equal.
    """
    nodes, devices, tensors = len(place), len(peak), len(tensor_src)
    shift = np.int64(1)
    while (np.int64(1) << shift) <= len(in_tensor) + 1:
        shift += 1
    pend = np.empty(nodes, np.int32)
    heads, tails = np.zeros(devices, np.int32), np.zeros(devices, np.int32)
    waiting, base = np.zeros(devices, np.int64), np.zeros(devices + 1, np.int64)
    follow = np.empty(nodes if fifo else 1, np.int32)
    order = np.empty(1 if fifo else nodes, np.int32)
    heap = np.empty(1 if fifo else nodes, np.int64)
    arrivals, pending = np.empty(len(in_tensor) + 1, np.int64), 0
    readers = np.zeros(tensors * devices if memory else 1, np.int32)  # of each copy, a transfer among them
    current, ends = np.full(devices, -1, np.int32), np.full(devices, FAR, np.int64)
    egress, ingress = np.zeros(devices, np.int64), np.zeros(devices, np.int64)
    link = np.zeros((devices, devices) if mode == PAIR else (1, 1), np.int64)
    mem = np.zeros(devices, np.int64)
    busy[:] = 0
    if not fifo:
        for v in range(nodes):
            base[place[v] + 1] += 1
        for d in range(devices):
            base[d + 1] += base[d]
    seq = np.int64(0)
    for v in range(nodes):
        pend[v] = in_ptr[v + 1] - in_ptr[v]
        mem[place[v]] += param_bytes[v]
        if pend[v] == 0:
            _ready(v, place[v], seq, fifo, rank, order, follow, heads, tails, heap, base, waiting)
            seq += 1
    peak[:] = mem
    t, makespan, issued, moved = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    while True:
        for d in range(devices):
            if current[d] >= 0 or waiting[d] == 0:
                continue
            if fifo:
                v = heads[d]
                heads[d] = follow[v]
            else:
                v = order[_pop(heap, base[d], waiting[d]) & 0xFFFFFFFF]
            waiting[d] -= 1
            current[d], start[v], ends[d] = v, t, t + times[d, v]
            busy[d] += times[d, v]
            if memory and param_bytes[v] == 0:
                for x in range(out_ptr[v], out_ptr[v + 1]):
                    mem[d] += tensor_bytes[x]
                peak[d] = max(peak[d], mem[d])
        t = FAR
        for d in range(devices):
            t = min(t, ends[d])
        if pending > 0:
            t = min(t, arrivals[0] >> shift)
        if t == FAR:
            break
        for d in range(devices):
            if ends[d] != t:
                continue
            v = current[d]
            current[d], ends[d], finish[v], makespan = -1, FAR, t, t
            if memory:
                for e in range(in_ptr[v], in_ptr[v + 1]):
                    x = in_tensor[e]
                    readers[x * devices + d] -= 1
                    if readers[x * devices + d] == 0:
                        source = tensor_src[x]
                        if place[source] != d or param_bytes[source] == 0:
                            mem[d] -= tensor_bytes[x]
            for x in range(out_ptr[v], out_ptr[v + 1]):
                if use_ptr[x] == use_ptr[x + 1]:
                    if memory and param_bytes[v] == 0:
                        mem[d] -= tensor_bytes[x]
                    continue
                others = np.uint64(0)
                for u in range(use_ptr[x], use_ptr[x + 1]):
                    c = use_node[u]
                    p = place[c]
                    if memory:
                        readers[x * devices + p] += 1
                    if p == d:
                        pend[c] -= 1
                        if pend[c] == 0:
                            _ready(c, d, seq, fifo, rank, order, follow, heads, tails, heap, base, waiting)
                            seq += 1
                    else:
                        others |= np.uint64(1) << np.uint64(p)
                if others == 0:
                    continue
                for p in range(devices):
                    if not (others >> np.uint64(p)) & np.uint64(1):
                        continue
                    occupied = (tensor_bytes[x] * 1000 + bandwidth[d, p] - 1) // bandwidth[d, p]
                    s = t
                    if mode == PAIR:
                        s = max(t, link[d, p])
                        link[d, p] = s + occupied
                    elif mode == EGRESS_INGRESS:
                        s = max(t, max(egress[d], ingress[p]))
                        egress[d] = s + occupied
                        ingress[p] = s + occupied
                    moves[issued, 0], moves[issued, 1] = x, p
                    spans[issued, 0], spans[issued, 1] = s, s + occupied
                    _push(arrivals, 0, pending, ((s + occupied + latency[d, p]) << shift) | issued)
                    pending += 1
                    issued += 1
                    moved += tensor_bytes[x]
                    if memory:
                        readers[x * devices + d] += 1
                        mem[p] += tensor_bytes[x]
                        peak[p] = max(peak[p], mem[p])
        while pending > 0 and (arrivals[0] >> shift) == t:
            i = _pop(arrivals, 0, pending) & ((np.int64(1) << shift) - 1)
            pending -= 1
            x, p = moves[i, 0], moves[i, 1]
            if memory:
                source = tensor_src[x]
                d = place[source]
                readers[x * devices + d] -= 1
                if readers[x * devices + d] == 0 and param_bytes[source] == 0:
                    mem[d] -= tensor_bytes[x]
            for u in range(use_ptr[x], use_ptr[x + 1]):
                c = use_node[u]
                if place[c] == p:
                    pend[c] -= 1
                    if pend[c] == 0:
                        _ready(c, p, seq, fifo, rank, order, follow, heads, tails, heap, base, waiting)
                        seq += 1
    return makespan, issued, moved


@njit(nogil=True)
def run_all(in_ptr, in_tensor, out_ptr, use_ptr, use_node, tensor_src, tensor_bytes, param_bytes, times, places, ranks,
            fifo, bandwidth, latency, mode, memory, first, last, makespans, peaks):  # fmt: skip
    """`run` for rows first..last - 1 of places (B, N) and ranks (B or 1, N); fills makespans (B,) and peaks (B, D)."""
    nodes, devices = places.shape[1], peaks.shape[1]
    start, finish, busy = np.empty(nodes, np.int64), np.empty(nodes, np.int64), np.empty(devices, np.int64)
    moves, spans = np.empty((len(in_tensor) + 1, 2), np.int32), np.empty((len(in_tensor) + 1, 2), np.int64)
    for b in range(first, last):
        makespans[b] = run(
            in_ptr, in_tensor, out_ptr, use_ptr, use_node, tensor_src, tensor_bytes, param_bytes, times, places[b],
            ranks[min(b, len(ranks) - 1)], fifo, bandwidth, latency, mode, memory, start, finish, peaks[b], busy,
            moves, spans,
        )[0]  # fmt: skip


@njit(nogil=True)
def longest_path(in_ptr, edge_src, time, finish):
    """Longest path that ends with each operator, itself included, into finish (N,) int64; returns the longest."""
    longest = np.int64(0)
    for v in range(len(time)):
        begin = np.int64(0)
        for e in range(in_ptr[v], in_ptr[v + 1]):
            begin = max(begin, finish[edge_src[e]])
        finish[v] = begin + time[v]
        longest = max(longest, finish[v])
    return longest


@njit(nogil=True)
def upward_rank(out_ptr, use_ptr, use_node, tensor_bytes, time, per_byte, fixed, share, rank):
    """rank(v) = time(v) + the longest of share * (bytes / per_byte + fixed) + rank(reader), into rank (N,) float64."""
    for v in range(len(time) - 1, -1, -1):
        longest = 0.0
        for x in range(out_ptr[v], out_ptr[v + 1]):
            send = (tensor_bytes[x] / per_byte + fixed) * share
            for u in range(use_ptr[x], use_ptr[x + 1]):
                longest = max(longest, send + rank[use_node[u]])
        rank[v] = time[v] + longest


@njit(nogil=True)
def downward_rank(in_ptr, in_tensor, tensor_src, tensor_bytes, time, per_byte, fixed, share, rank):
    """Longest path with transfers that ends where each operator begins, into rank (N,) float64."""
    for v in range(len(time)):
        longest = 0.0
        for e in range(in_ptr[v], in_ptr[v + 1]):
            x = in_tensor[e]
            source = tensor_src[x]
            send = (tensor_bytes[x] / per_byte + fixed) * share
            longest = max(longest, rank[source] + time[source] + send)
        rank[v] = longest
