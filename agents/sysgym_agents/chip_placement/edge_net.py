"""The network of `edge-gnn`: an edge-centric encoder, attention on the current macro and a deconvolution head."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import grid_sample, softmax, softplus

from sysgym.core.problem import Array
from sysgym_agents.chip_placement.edges import EdgeMean, Spread, make_links, spread
from sysgym_agents.general.sb3.network import ILLEGAL, NO_IDS, TOGETHER, Encoded, StoredGraphs, mlp
from sysgym_agents.general.sb3.policies import GraphMaskablePolicy
from sysgym_agents.learning.products import Csr, Parts, csr_on

CHANNELS = (32, 16, 8, 4)  # of the maps of 4, 8, 16 and 32 cells a side
WAYS = 8  # of winding along the border: from four corners, in two directions
STARTS = (0.5, -5.0)  # of what rings and the border count in a packing: ring after ring at first
STRENGTH, EDGE, BORDER = 10.0, 20.0, 3  # of a packing, of the border in it, and the column of the distance to it
COLUMNS, CELLS = 5, 128  # where the observation's globals have the grid's columns, then rows, and over what
QUALITIES = 3  # what pre-training predicts: wirelength cost, density cost, congestion cost


def windings(cells: Tensor, globals_: Tensor) -> Tensor:
    """How cells (B, A, F) follow each other in greedy packings, (B, A, 1 + WAYS).

    First the ring of a cell, 0 at the border, one more a ring inwards; then how far along its ring it is, 0 to 1, from
    each corner and in both directions. Way 0 is `spiral`'s: a cell's place there is its ring + the way.
    """
    counts = (globals_[:, COLUMNS : COLUMNS + 2] * CELLS).round()[:, None]  # columns, rows
    at = cells[:, :, :2]
    steps = (at + 1) / 2 * counts - 0.5  # columns and rows from the left and from below
    back = counts - 1 - steps
    found = [torch.minimum(steps, back).amin(dim=2)]
    for way in range(WAYS):
        axes = [(back, steps, -at) if way >> axis & 1 else (steps, back, at) for axis in (0, 1)]
        near, far, place = (torch.stack([axes[k][part][:, :, k] for k in (0, 1)], dim=2) for part in range(3))
        if way & 4:
            near, far, place = near.flip(2), far.flip(2), place.flip(2)
        gone = (place + 1) / 2  # along the sides: below, right, above, left
        sides = torch.stack([near[..., 1], far[..., 0] + 0.1, far[..., 1] + 0.2, near[..., 0] + 0.3]).argmin(dim=0)
        along = torch.stack([gone[..., 0], 1 + gone[..., 1], 3 - gone[..., 0], 4 - gone[..., 1]])
        found.append(along.gather(0, sides[None])[0] / 4)
    return torch.stack(found, dim=2)


class EdgeNet(nn.Module):
    """Scores the cells of a canvas for the current macro, with the interface of `GraphNet`.

    As in arXiv 2004.10746: nodes and metadata through a dense layer each; `layers` of edge embeddings; the context
    joins metadata, the mean of all nodes' messages, attention of the current node to all, and the current node; a
    dense layer and strided transposed convolutions make maps of the canvas. Different from it: maps span the canvas
    and are read at the centres of the cells, so that one network plays grids of any size; and a cell's own features
    (`candidates`) join its map values before the last layers; and what comes out is added to the place of a cell in a
    greedy packing (`windings`), whose way, and how far rings and the border count in it, the context chooses.
    """

    rows_together = TOGETHER  # observations that are evaluated at a time: all

    def __init__(
        self, observation_space: spaces.Dict, action_space: spaces.Space, hidden: int, layers: int,
        graphs: StoredGraphs | None,
    ) -> None:  # fmt: skip
        super().__init__()
        assert graphs is not None and "candidates" in observation_space.spaces
        width = max(hidden // 4, 4)  # 8 by default, as published
        shapes = {key: space.shape or () for key, space in observation_space.items()}
        self.graphs = graphs
        self.links = make_links(*graphs.edges, graphs.nodes.shape[1])
        self._held: dict[torch.device, Parts] = {}  # the links elsewhere
        self.nodes = mlp([graphs.nodes.shape[2] + shapes["dynamic"][1], width])
        self.metadata = mlp([shapes["globals"][0], width])
        self.passing = nn.ModuleList(EdgeMean(width) for _ in range(layers))
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.norm = nn.BatchNorm1d(4 * width)  # what it learns in pre-training stays as it is
        self.context = mlp([4 * width, hidden, hidden])
        self.seed = nn.Linear(hidden, CHANNELS[0] * 16)
        steps: list[nn.Module] = []
        for inside, outside in pairwise(CHANNELS):
            steps += [nn.ReLU(), nn.ConvTranspose2d(inside, outside, 4, stride=2, padding=1)]
        self.maps = nn.Sequential(*steps)
        self.cell = nn.Linear(shapes["candidates"][1] + CHANNELS[-1], hidden)
        self.packing = nn.Linear(hidden, WAYS + len(STARTS))
        self.strength = nn.Parameter(torch.tensor(STRENGTH))
        self.around = nn.Linear(hidden, hidden)
        self.action_head = mlp([hidden, hidden, 1])
        self.value_head = mlp([hidden, hidden, 1])
        self.quality_head = mlp([hidden, hidden, QUALITIES])

    def train(self, mode: bool = True, statistics: bool = False) -> EdgeNet:
        """As every module; the statistics of the context are only taken while pre-training."""
        super().train(mode)
        self.norm.train(mode and statistics)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """As every module; weights of before `packing` was there do without it."""
        if f"{prefix}cell.weight" in state_dict and f"{prefix}strength" not in state_dict:
            for name in ("packing.weight", "packing.bias", "strength"):
                state_dict[prefix + name] = torch.zeros_like(self.get_parameter(name))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _links(self, ids: Tensor) -> tuple[Csr | Spread, Array]:
        """The links of graphs, and which of them they are."""
        if ids.device.type == "cpu":
            return self.links, ids.numpy()
        if ids.device not in self._held:
            self._held[ids.device] = csr_on(self.links, ids.device)
        return spread(self._held[ids.device], ids), NO_IDS

    def encode(self, obs: dict[str, Tensor]) -> Encoded:
        """Node embeddings (B, N, W) and the context (B, H)."""
        ids = obs["graph_id"].long().reshape(-1)
        nodes, real, _ = self.graphs.on(ids.device)
        mask, (links, rows) = real[ids], self._links(ids)
        raw = torch.cat([nodes[ids], obs["dynamic"].float()], dim=2)
        x = torch.relu(self.nodes(raw)) * mask[:, :, None]
        for layer in self.passing:
            x = layer(x, links, rows)
        x = x * mask[:, :, None]
        average = x.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1.0)
        focus = obs["focus"].long().reshape(-1)
        current = x[torch.arange(len(x), device=x.device), focus.clamp(min=0)] * (focus >= 0)[:, None]
        scores = torch.einsum("bw,bnw->bn", self.query(current), self.key(x)) / x.shape[2] ** 0.5
        attended = torch.einsum("bn,bnw->bw", softmax(scores.masked_fill(mask == 0, -1e9), dim=1), x)
        metadata = torch.relu(self.metadata(obs["globals"].float()))
        joined = self.norm(torch.cat([metadata, average, attended, current], dim=1))
        return Encoded(x, torch.relu(self.context(joined)))

    def act(self, obs: dict[str, Tensor], found: Encoded) -> Tensor:
        """Masked scores of all cells, (B, A, 1)."""
        cells = obs["candidates"].float()
        maps = self.maps(self.seed(found.context).reshape(-1, CHANNELS[0], 4, 4))
        read = grid_sample(maps, cells[:, None, :, :2], align_corners=False, padding_mode="border")[:, :, 0]
        both = torch.cat([cells, read.transpose(1, 2)], dim=2)
        scores = self.action_head(torch.relu(self.cell(both) + self.around(found.context)[:, None]))
        scores = scores - self.strength * self._packing(cells, obs["globals"].float(), found)[:, :, None]
        return torch.where(obs["action_mask"].bool()[:, :, None], scores, ILLEGAL)

    def _packing(self, cells: Tensor, globals_: Tensor, found: Encoded) -> Tensor:
        """Places of cells in the packing that the context chooses, (B, A); the first is the lowest."""
        wanted, order = self.packing(found.context), windings(cells, globals_)
        way = torch.einsum("bw,baw->ba", softmax(wanted[:, :WAYS], dim=1), order[:, :, 1:])
        ring, edge = (softplus(wanted[:, WAYS + k] + start)[:, None] for k, start in enumerate(STARTS))
        return way + ring * order[:, :, 0] + EDGE * edge * cells[:, :, BORDER]

    def value(self, found: Encoded) -> Tensor:
        """State values, (B, 1)."""
        return self.value_head(found.context)

    def quality(self, found: Encoded) -> Tensor:
        """Predicted wirelength, density and congestion costs, standardised, (B, 3)."""
        return self.quality_head(found.context)


class EdgePolicy(GraphMaskablePolicy):
    """`EdgeNet` behind MaskablePPO."""

    def _build(self, lr_schedule: Any) -> None:
        self.net = EdgeNet(self.observation_space, self.action_space, self.hidden, self.layers, self.graphs)  # type: ignore[assignment]
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)
