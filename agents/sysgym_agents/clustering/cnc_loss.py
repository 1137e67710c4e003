"""Losses of soft clusters on a batch: CNC's expected normalised cut (arXiv 1910.07623) and NeuNcut's.

y (b, k) float32 are probabilities, rows summing to 1; w (b, b) float32 is the symmetric affinity within the batch. A
point's degree is its row sum there. Both losses are functions of a few sums over a batch, which can be averaged over
batches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TINY = 1e-8  # added to the volumes, where CNC's own code divides by none


class Sums(NamedTuple):
    """What the losses need of a batch: the first three as shares of its total degree, sizes as shares of its points."""

    inside: Tensor  # (k,) y_k^T W y_k
    volume: Tensor  # (k,) D^T y_k
    overlap: Tensor  # (k, k) Y^T D Y
    size: Tensor  # (k,)


def sums_of(y: Tensor, w: Tensor) -> Sums:
    """The sums of a batch."""
    degree = w.sum(dim=1)
    total = degree.sum()
    inside = (y * (w @ y)).sum(dim=0) / total
    return Sums(inside, degree @ y / total, y.T @ (degree[:, None] * y) / total, y.mean(dim=0))


def blended(past: Sums | None, now: Sums, memory: float) -> Sums:
    """Running averages, `memory` of the past and the rest of now; the gradient is that of now alone, undiminished."""
    if past is None or memory == 0:
        return now
    return Sums(*(b + memory * (a - b).detach() for a, b in zip(past, now, strict=True)))


def expected_ncut(sums: Sums) -> Tensor:
    """CNC's reduce-sum((Y / Gamma) (1 - Y)^T * W), Gamma = D^T Y: k - sum_k y_k^T W y_k / Gamma_k; scalar.

    An empty cluster counts 1, as in the normalised cut of hard labels.
    """
    return len(sums.volume) - (sums.inside / (sums.volume + TINY)).sum()


def expected_imbalance(sums: Sums) -> Tensor:
    """mean_k (k/b sum_i y_ik - 1)^2; scalar. CNC's mean_k (b/k - sum_i y_ik)^2 over (b/k)^2, for any size of batch."""
    return ((sums.size * len(sums.size) - 1) ** 2).mean()


def neuncut(sums: Sums, penalty: float) -> Tensor:
    """NeuNcut's tr(H^T L H) + penalty/2 |H^T D H - I|_F / k of H = Y diag(D^T Y)^-1/2; scalar (hewei98/NeuNcut)."""
    root = torch.rsqrt(sums.volume + TINY)
    gram = sums.overlap * root[:, None] * root
    cut = ((sums.overlap.diagonal() - sums.inside) * root**2).sum()
    return cut + penalty / 2 * torch.linalg.norm(gram - torch.eye(len(gram), dtype=gram.dtype)) / len(gram)
