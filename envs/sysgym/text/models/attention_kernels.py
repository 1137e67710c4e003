"""Attention with sums in the order of the source, so that padding changes no bit.

Rows are hypotheses, each on one row of the memory. No fast-math: vector instructions work on positions or channels
side by side, never within a sum.
"""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit


@njit
def dot_scores(query, keys, source, lengths, first, heads, scale, out):
    """out[n, h, s] = scale <query[n, h], keys[source[n], first + h, :, s]>; -inf behind the end of the source.

    query (N, H D), keys (B, A, S), first channel of the keys, out (N, H, S) float32.
    """
    width = query.shape[1] // heads
    for n in range(query.shape[0]):
        b = source[n]
        length = lengths[b]
        for h in range(heads):
            total = out[n, h]
            total[:] = np.float32(0.0)
            for d in range(width):
                q = query[n, h * width + d]
                row = keys[b, first + h * width + d]
                for s in range(total.shape[0]):
                    total[s] += q * row[s]
            for s in range(length):
                total[s] *= scale
            total[length:] = np.float32(-np.inf)


@njit
def weighted_scores(hidden, weight, source, lengths, out):
    """out[n, 0, s] = sum over a of weight[a] hidden[n, a, s] (additive attention); -inf behind the end."""
    for n in range(hidden.shape[0]):
        total = out[n, 0]
        total[:] = np.float32(0.0)
        for a in range(hidden.shape[1]):
            w = weight[a]
            row = hidden[n, a]
            for s in range(total.shape[0]):
                total[s] += w * row[s]
        total[lengths[source[n]] :] = np.float32(-np.inf)


@njit
def own_scores(query, cache, lengths, first, heads, scale, out):
    """out[n, h, t] = scale <query[n, h], cache[n, t, first + h]> for t below lengths[n], else -inf; cache (N, C, D)."""
    width = query.shape[1] // heads
    for n in range(query.shape[0]):
        for h in range(heads):
            for t in range(out.shape[2]):
                if t < lengths[n]:
                    total = np.float32(0.0)
                    for d in range(width):
                        total += query[n, h * width + d] * cache[n, t, first + h * width + d]
                    out[n, h, t] = total * scale
                else:
                    out[n, h, t] = np.float32(-np.inf)


@njit
def mix(weights, values, source, lengths, first, out):
    """Divide weights (N, H, S) by their sums, in place, and average the values: out (N, H D) float32.

    values (B, S, E), of which channels `first` to `first + H D` are meant.
    """
    heads = weights.shape[1]
    width = out.shape[1] // heads
    for n in range(weights.shape[0]):
        b = source[n]
        length = lengths[b]
        for h in range(heads):
            total = np.float32(0.0)
            for s in range(length):
                total += weights[n, h, s]
            mean = out[n, h * width : (h + 1) * width]
            mean[:] = np.float32(0.0)
            for s in range(length):
                w = weights[n, h, s] / total
                weights[n, h, s] = w
                row = values[b, s, first + h * width : first + (h + 1) * width]
                for d in range(width):
                    mean[d] += w * row[d]


@njit
def normalise(x, gamma, beta, out):
    """Layer normalisation of each row of x (N, d), epsilon 1e-5."""
    width = x.shape[1]
    for n in range(x.shape[0]):
        total = np.float32(0.0)
        for d in range(width):
            total += x[n, d]
        mean = total / np.float32(width)
        squares = np.float32(0.0)
        for d in range(width):
            squares += (x[n, d] - mean) * (x[n, d] - mean)
        scale = np.float32(1.0) / np.sqrt(squares / np.float32(width) + np.float32(1e-5))
        for d in range(width):
            out[n, d] = (x[n, d] - mean) * scale * gamma[d] + beta[d]
