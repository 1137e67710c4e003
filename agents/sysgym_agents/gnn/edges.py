"""Edge-centric message passing of the chip placement papers, in batches of stored graphs, as one fused kernel.

Every link {u, v} of weight w has the embedding e = (relu(A x_u + B x_v + c w) + relu(A x_v + B x_u + c w)) / 2, and a
node's message is the mean of those of its links (Mirhoseini et al., arXiv 2004.10746, section 4; Circuit Training,
`model_lib.py`). Neither pass stores the embeddings of edges.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from sysgym.core.problem import Array
from sysgym_agents.gnn.products import Csr, sort_edges


@njit(cache=True, fastmath=True)
def _forward(ids: Array, ptr: Array, column: Array, weight: Array, p: Array, q: Array, c: Array, out: Array) -> None:
    batch, nodes, width = p.shape
    for b in range(batch):
        g = ids[b]
        for v in range(nodes):
            first, last = ptr[g, v], ptr[g, v + 1]
            for h in range(width):
                out[b, v, h] = 0.0
            for e in range(first, last):
                u, w = column[g, e], weight[g, e]
                for h in range(width):
                    one = p[b, u, h] + q[b, v, h] + w * c[h]
                    two = p[b, v, h] + q[b, u, h] + w * c[h]
                    out[b, v, h] += max(one, np.float32(0.0)) + max(two, np.float32(0.0))
            if last > first:
                share = np.float32(0.5 / (last - first))
                for h in range(width):
                    out[b, v, h] *= share


@njit(cache=True, fastmath=True)
def _backward(ids: Array, ptr: Array, column: Array, weight: Array, p: Array, q: Array, c: Array, grad: Array,
              dp: Array, dq: Array, dc: Array) -> None:  # fmt: skip
    batch, nodes, width = p.shape
    for b in range(batch):
        g = ids[b]
        for v in range(nodes):
            first, last = ptr[g, v], ptr[g, v + 1]
            if last == first:
                continue
            share = np.float32(0.5 / (last - first))
            for e in range(first, last):
                u, w = column[g, e], weight[g, e]
                for h in range(width):
                    one = p[b, u, h] + q[b, v, h] + w * c[h]
                    two = p[b, v, h] + q[b, u, h] + w * c[h]
                    passed = share * grad[b, v, h]
                    first_part = passed if one > 0 else np.float32(0.0)
                    second_part = passed if two > 0 else np.float32(0.0)
                    dp[b, u, h] += first_part
                    dq[b, v, h] += first_part
                    dp[b, v, h] += second_part
                    dq[b, u, h] += second_part
                    dc[h] += w * (first_part + second_part)


class _EdgeMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, c: Tensor, links: Csr, ids: Array) -> Tensor:
        p, q = p.contiguous(), q.contiguous()
        ctx.save_for_backward(p, q, c)
        ctx.links, ctx.ids = links, ids
        out = torch.empty_like(p)
        _forward(ids, *links, p.detach().numpy(), q.detach().numpy(), c.detach().numpy(), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        p, q, c = ctx.saved_tensors
        made = torch.zeros_like(p), torch.zeros_like(q), torch.zeros_like(c)
        _backward(ctx.ids, *ctx.links, *(x.detach().numpy() for x in (p, q, c, grads[0].contiguous(), *made)))
        return *made, None, None


def make_links(edge_index: Array, weight: Array, mask: Array, nodes: int) -> Csr:
    """Links of G graphs by node: edge_index (G, 2, E) with both directions, weight (G, E), mask (G, E) of real edges."""
    index = np.ascontiguousarray(edge_index, np.int32)
    source, target = np.ascontiguousarray(index[:, 0]), np.ascontiguousarray(index[:, 1])
    real = np.ascontiguousarray(mask).astype(np.bool_)
    return Csr(*sort_edges(target, source, np.ascontiguousarray(weight, np.float32), real, nodes))


class EdgeMean(nn.Module):
    """One layer: x + mean of the embeddings of a node's links; on the CPU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near, self.far = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.link = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, links: Csr, ids: Array) -> Tensor:
        """x (B, N, H), row b on graph ids[b]."""
        message: Tensor = _EdgeMean.apply(self.near(x), self.far(x), self.link, links, ids)
        return x + message
