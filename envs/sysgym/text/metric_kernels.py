"""Kernels of metrics."""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit


@njit
def edit_distance(a, b):
    """Least number of insertions, deletions and substitutions that turn a (n,) into b (m,), int64 each."""
    before = np.arange(b.shape[0] + 1)
    now = np.empty_like(before)
    for i in range(a.shape[0]):
        now[0] = i + 1
        for j in range(b.shape[0]):
            same = before[j] + (0 if a[i] == b[j] else 1)
            now[j + 1] = min(same, before[j + 1] + 1, now[j] + 1)
        before, now = now, before
    return before[b.shape[0]]
