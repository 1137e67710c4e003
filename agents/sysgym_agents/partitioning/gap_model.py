"""What GAP computes: features of a graph and of parts, and the network, one for any number of parts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.graphs.csr import Graph
from sysgym_agents.learning.layers import SparseOperator, graph_operator, multiply
from sysgym_agents.partitioning.anchors import TINY, anchor_distances, closeness

OWN, SLOT, WHOLE = 3, 3, 2  # features of a node, of a node in the eyes of a part, of the whole
FAR = 6.0  # distances over the mean one to the nearest anchor are cut off there
SPREAD = 4.0  # standardised features too


class Example(NamedTuple):
    """A graph as tensors, built once."""

    nodes: Tensor  # (N, OWN + A) float32
    points: Array  # (N, F) float64, the spectral embedding
    mean: SparseOperator  # D^-1 A
    adjacency: SparseOperator
    degree: Tensor  # (N,) float32
    weight: Tensor  # (N,) float32

    def to(self, device: torch.device) -> Example:
        """The same on a device."""
        return Example(
            self.nodes.to(device), self.points, self.mean.to(device), self.adjacency.to(device),
            self.degree.to(device), self.weight.to(device),
        )  # fmt: skip


def node_features(graph: Graph, attributes: int = 0) -> Array:
    """Logarithms of degree, weight and number of neighbours, standardised inside the graph, and so many attributes of
    nodes, (N, OWN + attributes) float32. UsageError if the graph has another number of them; for 0 there may be any.
    """
    known = 0 if graph.attributes is None else graph.attributes.shape[1]
    if attributes not in (0, known):
        raise UsageError(
            f"agent 'gap' reads {attributes} attributes of each node here, and {graph.name} has {known or 'none'}; "
            "give computation graphs of the format sysgym.dataflow/1, or train with attributes=0."
        )
    columns = np.log1p(np.stack([graph.degree, graph.vwgt, np.diff(graph.xadj)], axis=1).astype(np.float64))
    spread = np.maximum(columns.std(axis=0), 1e-6)
    found = np.clip((columns - columns.mean(axis=0)) / spread, -SPREAD, SPREAD).astype(np.float32)
    return found if not attributes else np.concatenate([found, np.asarray(graph.attributes, np.float32)], axis=1)


def make_example(graph: Graph, points: Array, attributes: int = 0) -> Example:
    """Operators and features of a graph with its spectral embedding (N, F), and so many attributes of nodes."""
    return Example(
        nodes=torch.from_numpy(node_features(graph, attributes)),
        points=points,
        mean=graph_operator(graph, "row"),
        adjacency=graph_operator(graph, "none"),
        degree=torch.from_numpy(graph.degree.astype(np.float32)),
        weight=torch.from_numpy(graph.vwgt.astype(np.float32)),
    )


def slots(example: Example, dims: int, k: int, rng: np.random.Generator, rounds: int) -> Tensor:
    """What each part sees of each node, (N, k, SLOT) float32: the distance to its anchor, in three forms.

    Anchors are found in the first `dims` columns of the embedding. As a whole it does not depend on the signs of
    eigenvectors, and another order of the anchors is another order of the parts.
    """
    weight = example.weight.cpu().numpy()
    distances = anchor_distances(example.points[:, :dims], weight, k, rng, rounds)
    nearest = distances.min(axis=1, keepdims=True)
    unit = max(float(nearest.mean()), TINY)
    far = np.minimum(np.sqrt(distances / unit), FAR) - 1
    found = np.stack([closeness(distances), far, distances <= nearest], axis=2).astype(np.float32)
    return torch.from_numpy(found).to(example.weight.device)


class GapNet(nn.Module):
    """GAP's embedding and partitioning modules, for any number of parts: each part has a copy of the same network.

    The copies see every node by its distance to the part's anchor. A GraphSAGE layer adds to a node's vector, in each
    copy, its neighbours' mean there, its mean over the copies, and the copy's mean and spread over the nodes. The logit
    of a part is a linear map of the node's vector in its copy; each layer has one, which training uses.
    """

    def __init__(self, features: int, hidden: int, layers: int, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds

        def several(width: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Linear(width, hidden, bias=False) for _ in range(layers))

        self.read = nn.Linear(SLOT + features + WHOLE, hidden)
        self.own = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        self.near, self.rest, self.whole = several(hidden), several(hidden), several(2 * hidden)
        self.out = nn.ModuleList(nn.Linear(hidden, 1) for _ in range(layers + 1))

    def forward(self, seen: Tensor, example: Example) -> list[Tensor]:
        """Slots (N, k, SLOT) to logits (N, k), those of every layer; the last ones are the answer."""
        count, k, _ = seen.shape
        about = [torch.full_like(seen[..., :1], value) for value in (np.log2(k) / 4, 1 / k)]
        x = torch.relu(self.read(torch.cat([seen, example.nodes[:, None].expand(-1, k, -1), *about], dim=2)))
        share = (example.weight / example.weight.sum().clamp_min(TINY))[:, None, None]
        found = [self._logits(0, x, example)]
        for i, (own, near, rest, whole) in enumerate(zip(self.own, self.near, self.rest, self.whole, strict=True)):
            neighbours = multiply(example.mean, x.reshape(count, -1)).view(count, k, -1)
            spread = (x.var(dim=0, correction=0) + 1e-6).sqrt()
            all_nodes = whole(torch.cat([(share * x).sum(dim=0), spread], dim=1))
            x = x + torch.relu(own(x) + near(neighbours) + rest(x.mean(dim=1, keepdim=True)) + all_nodes)
            found.append(self._logits(i + 1, x, example))
        return found

    def _logits(self, layer: int, x: Tensor, example: Example) -> Tensor:
        return level_logits(self.out[layer](x)[..., 0], example.weight, self.rounds)


def level_logits(logits: Tensor, weight: Tensor, rounds: int) -> Tensor:
    """Logits (N, K) with a constant added to each part so that the expected weights of the parts draw level.

    These are Sinkhorn rounds (Cuturi, arXiv 1306.0895, algorithm 1) under node weights (N,), a final row
    normalisation being the softmax. Training escapes the collapse into few parts. 0 rounds is GAP as published.
    """
    shift = logits.new_zeros(logits.shape[1])
    share = (weight.sum() / logits.shape[1]).clamp_min(TINY)
    for _ in range(rounds):
        load = weight @ torch.softmax(logits + shift, dim=1)
        shift = shift - torch.log((load / share).clamp_min(1e-6))
    return logits + shift
