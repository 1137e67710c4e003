"""The network of `GraphPolicy`: message passing over the standard observation and heads that score actions.

No layer is tied to the number of nodes or actions, so a network trained on one size plays any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from sysgym.core.problem import Array
from sysgym_agents.learning.layers import SparseOperator
from sysgym_agents.learning.products import MeanOperator, Parts, blocks, mean_operator, multiply, parts_on

ILLEGAL = -1e8  # logit or value of a masked action
TOGETHER = 2**20  # numbers of one layer of so many observations, which processors keep at hand
FURTHER = 16  # times as many away from the CPU
NO_IDS = np.zeros(0, np.int64)  # where a block-diagonal operator knows the graphs of the rows
BELIEF = 2.0  # logits a standard deviation of a prior rule is worth before training
LABEL_WAVES = 8  # sines and cosines that encode a label such as a part number


class Encoded(NamedTuple):
    """What the encoder found."""

    nodes: Tensor | None  # (B, N, H), None without message passing
    context: Tensor  # (B, H)


def mlp(sizes: list[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def label_codes(count: int) -> Tensor:
    """Fixed codes of the labels 0..count-1, (count, 2 * LABEL_WAVES) float32, the same whatever the count."""
    labels = torch.arange(count, dtype=torch.float32)[:, None]
    waves = labels * torch.pi * torch.tensor([2.0**-i for i in range(LABEL_WAVES)])
    return torch.cat([torch.sin(waves + 0.5), torch.cos(waves + 0.5)], dim=1)


class MessagePassing(nn.Module):
    """One residual GraphSAGE layer with a weighted mean over neighbours (Hamilton et al. 2017, algorithm 1)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.own, self.near = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden, bias=False)

    def forward(self, x: Tensor, mean: MeanOperator | SparseOperator, ids: Array) -> Tensor:
        """x (B, N, H), row b on graph ids[b] of `mean`."""
        return torch.relu(x + torch.relu(self.own(x) + multiply(mean, ids, self.near(x))))


def edge_weights(edges: Array | None, mask: Array) -> Array:
    """Column 0 of edge features (..., E, Fe); 1 for every real edge where edges have no features."""
    return edges[..., 0] if edges is not None and edges.shape[-1] else mask.astype(np.float32)


class StoredGraphs:
    """The graphs that `graph_id` of a dynamic observation points at, each stored once.

    `static` lists their padded arrays (`ProblemEnv.static_observation`), in the order of their ids.
    """

    def __init__(self, static: Sequence[Mapping[str, Array]]) -> None:
        self.nodes = torch.from_numpy(np.stack([item["nodes"] for item in static]))
        self.node_mask = torch.from_numpy(np.stack([item["node_mask"] for item in static])).float()
        self.edges = (  # index (G, 2, E), weight (G, E), mask (G, E)
            np.stack([item["edge_index"] for item in static]),
            np.stack([edge_weights(item["edges"], item["edge_mask"]) for item in static]),
            np.stack([item["edge_mask"] for item in static]),
        )  # fmt: skip
        self.mean = mean_operator(*self.edges, self.nodes.shape[1])
        self._held: dict[torch.device, tuple[Tensor, Tensor, tuple[Parts, Parts]]] = {}

    def on(self, device: torch.device) -> tuple[Tensor, Tensor, tuple[Parts, Parts]]:
        """Nodes (G, N, F), their mask (G, N) and the parts of `mean` on a device, moved once."""
        if device not in self._held:
            self._held[device] = self.nodes.to(device), self.node_mask.to(device), parts_on(self.mean, device)
        return self._held[device]


class Prior(nn.Module):
    """A rule that the scores begin with: the product of columns of the candidates' features, standardised over the
    legal ones, times a learnt multiple.
    """

    def __init__(self, columns: Sequence[int]) -> None:
        super().__init__()
        self.columns = list(columns)
        self.multiple = nn.Parameter(torch.tensor(BELIEF))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Scores (B, A, 1) from features (B, A, Fa) and mask (B, A) bool; 0 where all legal ones are alike."""
        rule, legal = features[:, :, self.columns].prod(dim=2), mask.float()
        count = legal.sum(dim=1, keepdim=True).clamp(min=1.0)
        away = (rule - (rule * legal).sum(dim=1, keepdim=True) / count) * legal
        spread = (away.square().sum(dim=1, keepdim=True) / count).sqrt()
        return (self.multiple * away / spread.clamp(min=1e-6))[:, :, None]


def _features(parts: Sequence[Tensor | None], mask: Tensor) -> Tensor:
    """Node features (B, N, F) side by side; where there are none, 1 for every real node."""
    found = [part.float() for part in parts if part is not None and part.shape[2]]
    return torch.cat(found, dim=2) if found else mask[:, :, None]


class GraphNet(nn.Module):
    """Encoder, action head and value head for one observation and action space.

    `outputs` numbers stand for each action: 1 logit or value, or the quantiles of QR-DQN. With `layers=0` nodes and
    edges are not read: actions are scored from their own features (`candidates`) and the globals. With `graphs`,
    observations are dynamic ones; the weights are the same as for full observations, and so are the scores. With
    `prior`, columns of `candidates`, the scores begin as those of that rule alone.
    """

    def __init__(
        self, observation_space: spaces.Dict, action_space: spaces.Space, hidden: int, layers: int, outputs: int = 1,
        graphs: StoredGraphs | None = None, prior: Sequence[int] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.graphs = graphs
        self.action_space, self.outputs, self.layers = action_space, outputs, layers
        self.rows_together = TOGETHER  # observations that are evaluated at a time
        shapes = {key: space.shape or () for key, space in observation_space.items()}
        context = shapes["globals"][0] + shapes.get("state", (0,))[0] + (2 * hidden if layers else 0)
        if layers:
            static = 0 if graphs is None else graphs.nodes.shape[2]
            width = static + shapes.get("nodes" if graphs is None else "dynamic", (0, 0))[1]
            count = shapes["node_mask"][0] if graphs is None else graphs.nodes.shape[1]
            self.rows_together = max(TOGETHER // (count * hidden), 1)
            self.embed = nn.Linear(max(width, 1), hidden)  # a node without features is a 1
            self.passing = nn.ModuleList(MessagePassing(hidden) for _ in range(layers))
        self.context = mlp([context, hidden, hidden])
        node_width = hidden if layers else 0
        self.scores_candidates = "candidates" in shapes
        if self.scores_candidates:
            self.action_head = mlp([shapes["candidates"][1] + node_width + hidden, hidden, hidden, outputs])
        elif isinstance(action_space, spaces.Discrete) and layers and action_space.n == count:
            self.action_head = mlp([node_width + hidden, hidden, outputs])
        else:
            self.node_head = mlp([node_width + hidden, hidden, hidden])
            self.label_head = mlp([2 * LABEL_WAVES, hidden, hidden])
            self.pick_head = mlp([hidden, hidden, outputs])
        self.prior = Prior(prior) if prior else None
        if self.prior is not None:
            last = self.action_head[-1]  # of candidates: there are none without them
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.value_head = mlp([hidden, hidden, 1])

    def _graph(self, obs: dict[str, Tensor]) -> tuple[Tensor, Tensor, MeanOperator | SparseOperator, Array]:
        """Node features (B, N, F) and mask (B, N, 1), and the operator with the graph of each row."""
        if self.graphs is not None:
            ids = obs["graph_id"].long().reshape(-1)
            if ids.device.type != "cpu":
                nodes, real_nodes, held = self.graphs.on(ids.device)
                mask = real_nodes[ids]
                return _features([nodes[ids], obs.get("dynamic")], mask), mask[:, :, None], blocks(held, ids), NO_IDS
            mask = self.graphs.node_mask[ids]
            parts = [self.graphs.nodes[ids], obs.get("dynamic")]
            return _features(parts, mask), mask[:, :, None], self.graphs.mean, ids.numpy()
        mask = obs["node_mask"].float()
        index, real = obs["edge_index"].cpu().numpy(), obs["edge_mask"].cpu().numpy()
        weight = edge_weights(obs["edges"].cpu().numpy() if "edges" in obs else None, real)
        mean = mean_operator(index, weight, real, mask.shape[1])
        features = _features([obs.get("nodes")], mask)
        if mask.device.type != "cpu":
            rows = torch.arange(len(mask), device=mask.device)
            return features, mask[:, :, None], blocks(parts_on(mean, mask.device), rows), NO_IDS
        return features, mask[:, :, None], mean, np.arange(len(mask))

    def encode(self, obs: dict[str, Tensor]) -> Encoded:
        """Node embeddings and the context of each observation."""
        globals_ = torch.cat([obs[key].float() for key in ("globals", "state") if key in obs], dim=1)
        if not self.layers:
            return Encoded(None, self.context(globals_))
        nodes, mask, mean, ids = self._graph(obs)
        x = torch.relu(self.embed(nodes))
        for layer in self.passing:
            x = layer(x, mean, ids)
        x = x * mask
        average = x.sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        focus = obs["focus"].long().reshape(len(x))
        focused = x[torch.arange(len(x), device=x.device), focus.clamp(min=0)] * (focus >= 0)[:, None]
        return Encoded(x, self.context(torch.cat([globals_, average, focused], dim=1)))

    def _candidate_scores(self, obs: dict[str, Tensor], found: Encoded) -> Tensor:
        features = obs["candidates"].float()
        parts = [features, found.context[:, None].expand(-1, features.shape[1], -1)]
        if found.nodes is not None:
            index = obs["candidate_nodes"].long()
            rows = torch.gather(found.nodes, 1, index.clamp(min=0)[:, :, None].expand(-1, -1, found.nodes.shape[2]))
            parts.append(rows * (index >= 0)[:, :, None])
        scores = self.action_head(torch.cat(parts, dim=2))
        return scores if self.prior is None else scores + self.prior(features, obs["action_mask"].bool())

    def _label_scores(self, found: Encoded, per_node: bool, count: int) -> Tensor:
        """Scores of `count` labels, for the context (B, count, O) or for every node (B, N, count, O)."""
        labels = self.label_head(label_codes(count).to(found.context.device))
        query = self._with_context(found) if per_node else self._context_only(found)
        return self.pick_head(torch.tanh(query[..., None, :] + labels))

    def _with_context(self, found: Encoded) -> Tensor:
        assert found.nodes is not None
        spread = found.context[:, None].expand(-1, found.nodes.shape[1], -1)
        return self.node_head(torch.cat([found.nodes, spread], dim=2))

    def _context_only(self, found: Encoded) -> Tensor:
        if found.nodes is None:
            return self.node_head(found.context)
        blank = torch.zeros_like(found.nodes[:, 0])
        return self.node_head(torch.cat([blank, found.context], dim=1))

    def act(self, obs: dict[str, Tensor], found: Encoded) -> Tensor:
        """Masked scores of all actions, (B, A, outputs); the choices of MultiDiscrete stand end to end."""
        space = self.action_space
        batch = len(obs["globals"])
        if self.scores_candidates:
            scores = self._candidate_scores(obs, found)
        elif hasattr(self, "action_head"):
            assert found.nodes is not None
            spread = found.context[:, None].expand(-1, found.nodes.shape[1], -1)
            scores = self.action_head(torch.cat([found.nodes, spread], dim=2))
        elif isinstance(space, spaces.Discrete):
            scores = self._label_scores(found, False, int(space.n))
        else:
            assert isinstance(space, spaces.MultiDiscrete) and found.nodes is not None
            count = found.nodes.shape[1]
            if len(space.nvec) == count and (space.nvec == space.nvec[0]).all():
                scores = self._label_scores(found, True, int(space.nvec[0])).reshape(batch, -1, self.outputs)
            elif space.nvec[0] == count:
                first = self.pick_head(torch.tanh(self._with_context(found)))
                rest = [self._label_scores(found, False, int(n)) for n in space.nvec[1:]]
                scores = torch.cat([first, *rest], dim=1)
            else:
                scores = torch.cat([self._label_scores(found, False, int(n)) for n in space.nvec], dim=1)
        return torch.where(obs["action_mask"].bool()[:, :, None], scores, ILLEGAL)

    def value(self, found: Encoded) -> Tensor:
        """State values, (B, 1)."""
        return self.value_head(found.context)
