"""Losses of soft clusters on a batch: CNC's expected normalised cut (arXiv 1910.07623), NeuNcut's, and PGCuts'.

y (b, k) float32 are probabilities, rows summing to 1; w (b, b) float32 is the symmetric affinity within the batch. A
point's degree is its row sum there. The first two are functions of a few sums over a batch, which can be averaged over
batches.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

TINY = 1e-8  # added to the volumes, where CNC's own code divides by none
BINS = 4  # of points by degree, in the bound of PGCuts
NODES = 16  # of its quadrature


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
    return cut + penalty / 2 * torch.linalg.norm(
        gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    ) / len(gram)


@lru_cache(maxsize=1)
def _laguerre() -> tuple[Tensor, Tensor]:
    """Nodes and weights of the Gauss-Laguerre quadrature, (NODES,) float32 each."""
    nodes, weights = np.polynomial.laguerre.laggauss(NODES)
    return torch.from_numpy(nodes.astype(np.float32)), torch.from_numpy(weights.astype(np.float32))


def envelope(q: Tensor, z: Tensor, m: int) -> Tensor:
    """2F1(-m, 1; q + 1; z) of positive q and z in 0..1, broadcast: the integral of q e^(-q y) (1 - z + z e^-y)^m over
    y > 0, by quadrature in units of its decay. It falls from 1 at z = 0 to q / (q + m) at z = 1.
    """
    nodes, weights = (part.to(q.device) for part in _laguerre())
    decay = (q + m * z)[..., None]
    y = nodes / decay
    powers = m * torch.log1p(z[..., None] * torch.expm1(-y)) - q[..., None] * y + nodes
    return q * (weights / decay * torch.exp(powers)).sum(dim=-1)


def pgcuts(y: Tensor, w: Tensor) -> Tensor:
    """The bound H-NCut of PGCuts (arXiv 2511.02272) on the normalised cut of clusters that are drawn from y (b, k);
    scalar: sum_l sum_i M_il / d_i prod_j 2F1(-m, 1; d_i / beta_j + 1; alpha_lj)^(share of bin j).

    M_il = sum_j W_ij y_il (1 - y_jl); bins hold points of similar degree, beta_j is the least degree in one, alpha_lj
    the mean of y_l there; m = b - 1 other points. The formula is that of the documentation of the package `pgcuts`. The
    means hold the ends of an edge as well, so it is a bound but for terms of 1 / b.
    """
    degree = w.sum(dim=1)
    order = torch.argsort(degree)
    bins = [part for part in torch.tensor_split(order, BINS) if len(part)]
    least = torch.stack([degree[part].min() for part in bins]).clamp_min(TINY)
    mean = torch.stack([y[part].mean(dim=0) for part in bins], dim=1)  # (k, bins)
    share = torch.tensor([len(part) / len(y) for part in bins]).to(y.device)
    found = envelope(
        (degree[:, None, None] / least).expand(-1, y.shape[1], -1), mean.expand(len(y), -1, -1), len(y) - 1
    )
    bound = (share * found.clamp_min(TINY).log()).sum(dim=2).exp()  # (b, k)
    cut = y * (w @ (1 - y))
    return (cut * bound / degree.clamp_min(TINY)[:, None]).sum()
