"""Losses of soft clusters on a batch: CNC's expected normalised cut (arXiv 1910.07623) and NeuNcut's.

y (b, k) float32 are probabilities, rows summing to 1; w (b, b) float32 is the symmetric affinity within the batch. A
point's degree is its row sum there.
"""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-8  # added to the volumes, where CNC's own code divides by none


def expected_ncut(y: Tensor, w: Tensor) -> Tensor:
    """CNC's reduce-sum((Y / Gamma) (1 - Y)^T * W), Gamma = D^T Y: k - sum_k y_k^T W y_k / Gamma_k; scalar.

    An empty cluster counts 1, as in the normalised cut of hard labels.
    """
    volume = w.sum(dim=1) @ y
    return y.shape[1] - ((y * (w @ y)).sum(dim=0) / (volume + TINY)).sum()


def expected_imbalance(y: Tensor) -> Tensor:
    """mean_k (k/b sum_i y_ik - 1)^2; scalar. CNC's mean_k (b/k - sum_i y_ik)^2 over (b/k)^2, for any size of batch."""
    return ((y.mean(dim=0) * y.shape[1] - 1) ** 2).mean()


def neuncut(y: Tensor, w: Tensor, penalty: float) -> Tensor:
    """NeuNcut's tr(H^T L H) + penalty/2 |H^T D H - I|_F / k of H = Y diag(D^T Y)^-1/2; scalar (hewei98/NeuNcut)."""
    degree = w.sum(dim=1)
    h = y * torch.rsqrt(degree @ y + TINY)
    weighted = degree[:, None] * h
    gram = h.T @ weighted
    cut = (h * (weighted - w @ h)).sum()
    return cut + penalty / 2 * torch.linalg.norm(gram - torch.eye(len(gram), dtype=gram.dtype)) / len(gram)
