"""Edge-centric message passing of the chip placement papers, in batches of stored graphs, as one fused kernel.

Every link {u, v} of weight w has the embedding e = (relu(A x_u + B x_v + c w) + relu(A x_v + B x_u + c w)) / 2, and a
node's message is the mean of those of its links (Mirhoseini et al., arXiv 2004.10746, section 4; Circuit Training,
`model_lib.py`). Neither pass stores the embeddings of edges.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.compiled import njit
from sysgym.core.problem import Array
from sysgym_agents.learning.products import Csr, Parts, sort_edges


@njit(fastmath=True)
def _shares(ids: Array, ptr: Array, nodes: int) -> Array:
    """Half of one over the number of links of every node, (B, N); 0 where there is none."""
    out = np.zeros((len(ids), nodes), np.float32)
    for b in range(len(ids)):
        for v in range(nodes):
            count = ptr[ids[b], v + 1] - ptr[ids[b], v]
            if count:
                out[b, v] = 0.5 / count
    return out


@njit(fastmath=True)
def _forward(ids: Array, ptr: Array, column: Array, weight: Array, p: Array, q: Array, c: Array, out: Array) -> None:
    batch, nodes, width = p.shape
    share = _shares(ids, ptr, nodes)
    out[:] = 0.0
    zero = np.float32(0.0)
    for b in range(batch):
        g = ids[b]
        for v in range(nodes):
            for e in range(ptr[g, v], ptr[g, v + 1]):
                u, w = column[g, e], weight[g, e]
                if u > v:  # each link once, for both ends
                    break
                to_v, to_u = share[b, v], share[b, u]
                for h in range(width):
                    link = w * c[h]
                    both = max(p[b, u, h] + q[b, v, h] + link, zero) + max(p[b, v, h] + q[b, u, h] + link, zero)
                    out[b, v, h] += to_v * both
                    out[b, u, h] += to_u * both


@njit(fastmath=True)
def _backward(ids: Array, ptr: Array, column: Array, weight: Array, p: Array, q: Array, c: Array, grad: Array,
              dp: Array, dq: Array, dc: Array) -> None:  # fmt: skip
    batch, nodes, width = p.shape
    share = _shares(ids, ptr, nodes)
    zero = np.float32(0.0)
    for b in range(batch):
        g = ids[b]
        for v in range(nodes):
            for e in range(ptr[g, v], ptr[g, v + 1]):
                u, w = column[g, e], weight[g, e]
                if u > v:
                    break
                to_v, to_u = share[b, v], share[b, u]
                for h in range(width):
                    link = w * c[h]
                    passed = to_v * grad[b, v, h] + to_u * grad[b, u, h]
                    one = passed if p[b, u, h] + q[b, v, h] + link > zero else zero
                    two = passed if p[b, v, h] + q[b, u, h] + link > zero else zero
                    dp[b, u, h] += one
                    dq[b, v, h] += one
                    dp[b, v, h] += two
                    dq[b, u, h] += two
                    dc[h] += w * (one + two)


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
    """Links of G graphs by node: edge_index (G, 2, E) has both directions, weight and mask (of real ones) (G, E)."""
    index = np.ascontiguousarray(edge_index, np.int32)
    source, target = np.ascontiguousarray(index[:, 0]), np.ascontiguousarray(index[:, 1])
    real = np.ascontiguousarray(mask).astype(np.bool_)
    order = np.argsort(np.where(real, source, nodes), axis=1, kind="stable")  # rows end up sorted by their other end
    source, target, weight, real = (np.take_along_axis(part, order, axis=1) for part in (source, target, weight, real))
    return Csr(*sort_edges(target, source, np.ascontiguousarray(weight, np.float32), real, nodes))


class Spread(NamedTuple):
    """The links of the graphs of B rows away from the CPU, each from both ends: L of them."""

    source: Tensor  # (L,) int64 of the nodes of all rows, end to end
    target: Tensor  # (L,) int64
    weight: Tensor  # (L, 1)
    share: Tensor  # (L, 1) what it counts in the mean of its target


def spread(parts: Parts, ids: Tensor) -> Spread:
    """The links of graphs ids (B,) int64; parts are those of their Csr, on the same device."""
    ptr, column, weight = parts
    device, batch, nodes = ids.device, len(ids), ptr.shape[1] - 1
    count = ptr.diff(dim=1)[ids].reshape(-1)
    target = torch.repeat_interleave(torch.arange(batch * nodes, device=device), count)
    real = torch.arange(column.shape[1], device=device) < ptr[ids, -1:]
    source = (column[ids].long() + torch.arange(batch, device=device)[:, None] * nodes)[real]
    share = torch.where(source == target, 1.0, 0.5) / count[target]  # a loop has both its ends here
    return Spread(source, target, weight[ids][real][:, None], share[:, None])


def _spread_mean(p: Tensor, q: Tensor, c: Tensor, links: Spread) -> Tensor:
    """As `_EdgeMean`, by gathering and adding up."""
    shape, (source, target, weight, share) = p.shape, links
    p, q, link = p.reshape(-1, shape[2]), q.reshape(-1, shape[2]), weight * c
    both = torch.relu(p[source] + q[target] + link) + torch.relu(p[target] + q[source] + link)
    return torch.zeros_like(p).index_add(0, target, share * both).reshape(shape)


class EdgeMean(nn.Module):
    """One layer: x + mean of the embeddings of a node's links."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near, self.far = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.link = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, links: Csr | Spread, ids: Array) -> Tensor:
        """x (B, N, H), row b on graph ids[b], which the links know that are spread."""
        if isinstance(links, Spread):
            return x + _spread_mean(self.near(x), self.far(x), self.link, links)
        message: Tensor = _EdgeMean.apply(self.near(x), self.far(x), self.link, links, ids)
        return x + message
