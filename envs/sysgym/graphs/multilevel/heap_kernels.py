"""A binary heap of nodes whose keys change: the largest key first.

`heap` (n,) int32 holds the nodes, `place` (n,) int32 where each stands, else -1, `key` (n,) float64 their keys.
"""

from __future__ import annotations

from sysgym.compiled import njit


@njit
def up(heap, place, key, i):
    """Let the node at i rise to its place."""
    v = heap[i]
    while i > 0:
        parent = (i - 1) >> 1
        u = heap[parent]
        if key[u] >= key[v]:
            break
        heap[i] = u
        place[u] = i
        i = parent
    heap[i] = v
    place[v] = i


@njit
def down(heap, place, key, i, size):
    """Let the node at i sink to its place."""
    v = heap[i]
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and key[heap[child + 1]] > key[heap[child]]:
            child += 1
        u = heap[child]
        if key[u] <= key[v]:
            break
        heap[i] = u
        place[u] = i
        i = child
    heap[i] = v
    place[v] = i


@njit
def drop(heap, place, key, size, v):
    """Take v out of the heap; its new size."""
    i = place[v]
    place[v] = -1
    size -= 1
    if i < size:
        u = heap[size]
        heap[i] = u
        place[u] = i
        up(heap, place, key, i)
        down(heap, place, key, place[u], size)
    return size


@njit
def put(heap, place, key, size, v, value):
    """Put v into the heap, or change its key; the heap's new size."""
    i = place[v]
    if i < 0:
        key[v] = value
        heap[size] = v
        place[v] = size
        up(heap, place, key, size)
        return size + 1
    before = key[v]
    key[v] = value
    if value > before:
        up(heap, place, key, i)
    else:
        down(heap, place, key, i, size)
    return size
