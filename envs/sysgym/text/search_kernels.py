"""Kernels of search: the best tokens of each row, noise that depends on nothing but its key, the coverage penalty."""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)


@njit
def best_tokens(values, tokens, found):
    """The greatest of each row of values (N, V), in order, equal ones by token: tokens, found (N, k).

    Where a row has fewer than k values above -inf, tokens are -1 and values -inf.
    """
    many = tokens.shape[1]
    for n in range(values.shape[0]):
        row, best, ids = values[n], found[n], tokens[n]
        best[:] = -np.inf
        ids[:] = -1
        last = best[many - 1]
        for v in range(row.shape[0]):
            if row[v] > last:
                x, place = row[v], many - 1
                while place > 0 and best[place - 1] < x:
                    best[place], ids[place] = best[place - 1], ids[place - 1]
                    place -= 1
                best[place], ids[place] = x, v
                last = best[many - 1]


@njit
def scrambled(x):
    """Splitmix64's output function."""
    x = (x ^ (x >> np.uint64(30))) * FIRST
    x = (x ^ (x >> np.uint64(27))) * SECOND
    return x ^ (x >> np.uint64(31))


@njit
def keys_of(seed, sentence, position, slot, out):
    """One key of a stream for every row, by seed, sentence, position and slot: arrays (N,) int64, out (N,) uint64."""
    for n in range(out.shape[0]):
        key = scrambled(np.uint64(seed) + GOLDEN)
        key = scrambled((key ^ np.uint64(sentence[n])) + GOLDEN)
        key = scrambled((key ^ np.uint64(position[n])) + GOLDEN)
        out[n] = scrambled((key ^ np.uint64(slot[n])) + GOLDEN)


@njit
def fill_uniform(keys, out):
    """Uniform numbers between 0 and 1, neither of them: out (N, V) float32, each row a stream of its key."""
    for n in range(out.shape[0]):
        key = keys[n]
        for v in range(out.shape[1]):
            bits = scrambled(key + np.uint64(v + 1) * GOLDEN) >> np.uint64(41)
            out[n, v] = (np.float32(bits) + np.float32(0.5)) * np.float32(2.0**-23)


@njit
def coverage_penalties(coverage, lengths, out):
    """sum_i log(min(sum_j p_ij, 1)) over the positions i of each source (Wu et al. 2016, eq. 14, without beta)."""
    for n in range(coverage.shape[0]):
        total = 0.0
        for s in range(lengths[n]):
            total += np.log(min(max(float(coverage[n, s]), 1e-30), 1.0))
        out[n] = total
