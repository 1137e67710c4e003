"""The network of GDP and GO: a graph encoder, and attention over all units that decides one task after the other.

GDP (Zhou et al. 2019, arXiv 1910.01578, section 3): GraphSAGE with max pooling over both directions, then a Transformer
with segment-level recurrence and without positional encoding over the topologically ordered units, whose dense layers
are conditioned on the graph (superposition). GO (Zhou et al. 2020, arXiv 2010.12438, section 3): the same attention
weights serve every task and round; what was decided before is embedded and added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sysgym.core.problem import Array
from sysgym.dataflow.features import STATIC_FEATURES, Work
from sysgym_agents.dataflow.baselines import FUSIONS, fusion_rule
from sysgym_agents.general.sb3.network import LABEL_WAVES, label_codes

DEVICE_FEATURES = 3  # place in the row of devices, relative speed, memory over what all parameters need


@dataclass
class Example:
    """One graph as the network reads it."""

    work: Work
    nodes: Tensor  # (U, 18) float32
    mix: Tensor  # (U, V) float32 share of each operator type, column 0 for the unknown
    edges: tuple[Tensor, Tensor]  # (2M,) int64 source and target, both directions
    weight: Tensor  # (2M, 3) float32 edge features and the direction
    devices: Tensor  # (D, 2 * LABEL_WAVES + DEVICE_FEATURES) float32

    def to(self, device: torch.device) -> Example:
        """The same on a device."""
        source, target = self.edges
        return Example(
            self.work, self.nodes.to(device), self.mix.to(device), (source.to(device), target.to(device)),
            self.weight.to(device), self.devices.to(device),
        )  # fmt: skip

    @cached_property
    def fusions(self) -> Array:
        """Priorities of the operators by each rule of fusion, (rules, N) int64."""
        return np.stack([fusion_rule(self.work.job.graph, name) for name in FUSIONS[:-1]])


def make_example(work: Work, vocabulary: Sequence[str]) -> Example:
    """The arrays of a graph that is cut into units; types of operators outside the vocabulary count as unknown."""
    graph, units, job = work.job.graph, work.units, work.job
    number = {name: i + 1 for i, name in enumerate(vocabulary)}
    kind = np.array([number.get(name, 0) for name in graph.op_types])[graph.op]
    width = len(vocabulary) + 1
    mix = np.bincount(units.of * width + kind, minlength=units.count * width).reshape(units.count, width)
    index = units.edge_index.astype(np.int64)
    static = work.static
    ahead = np.concatenate([static["edges"], np.ones((len(static["edges"]), 1), np.float32)], axis=1)
    back = ahead * np.array([1, 1, -1], np.float32)
    speed = 1 / np.maximum(job.times.sum(axis=1), 1)
    place = np.arange(job.devices) / job.devices
    fit = np.minimum(job.capacity / max(float(graph.param_bytes.sum()), 1.0), 10.0) / 10
    facts = np.stack([place, speed / speed.max(), fit], axis=1)
    return Example(
        work, torch.from_numpy(static["nodes"]),
        torch.from_numpy((mix / np.maximum(mix.sum(axis=1, keepdims=True), 1)).astype(np.float32)),
        (torch.from_numpy(index.reshape(-1)), torch.from_numpy(index[::-1].reshape(-1).copy())),
        torch.from_numpy(np.concatenate([ahead, back])),
        torch.cat([label_codes(job.devices), torch.from_numpy(facts.astype(np.float32))], dim=1),
    )  # fmt: skip


class MaxPool(nn.Module):
    """GraphSAGE with max pooling (Hamilton et al. 2017, equation 3), residual."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.message, self.link = nn.Linear(hidden, hidden), nn.Linear(3, hidden, bias=False)
        self.own = nn.Linear(2 * hidden, hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, x: Tensor, example: Example) -> Tensor:
        """x (U, H)."""
        source, target = example.edges
        sent = torch.relu(self.message(x)[source] + self.link(example.weight))
        spread = target[:, None].expand_as(sent)
        pooled = torch.zeros_like(x).scatter_reduce(0, spread, sent, "amax", include_self=True)
        return self.norm(x + torch.relu(self.own(torch.cat([x, pooled], dim=1))))


class Superposed(nn.Module):
    """A dense layer whose input is scaled, feature by feature, by a gate of the graph's embedding."""

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.dense = nn.Linear(hidden, inputs), nn.Linear(inputs, outputs)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """x (..., inputs), graph (H,)."""
        return self.dense(x * (2 * torch.sigmoid(self.gate(graph))))


class Attention(nn.Module):
    """A Transformer layer over segments, each of which sees the one before it (its gradient is cut there)."""

    def __init__(self, hidden: int, heads: int, segment: int) -> None:
        super().__init__()
        self.heads, self.segment = heads, segment
        self.query = Superposed(hidden, hidden, hidden)
        self.keys = Superposed(hidden, 2 * hidden, hidden)
        self.out = Superposed(hidden, hidden, hidden)
        self.widen, self.narrow = Superposed(hidden, 2 * hidden, hidden), Superposed(2 * hidden, hidden, hidden)
        self.before, self.after = nn.LayerNorm(hidden), nn.LayerNorm(hidden)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """x (B, U, H) in topological order."""
        x = x + self.out(self._attend(self.before(x), graph), graph)
        return x + self.narrow(torch.relu(self.widen(self.after(x), graph)), graph)

    def _attend(self, x: Tensor, graph: Tensor) -> Tensor:
        batch, units, hidden = x.shape
        length = min(self.segment, units)
        parts = -(-units // length)
        padded = functional.pad(x, (0, 0, 0, parts * length - units))
        query = self._split(self.query(padded, graph), batch * parts, length)
        if parts == 1:
            key, value = (self._split(item, batch, length) for item in self.keys(padded, graph).chunk(2, dim=2))
            return self._join(functional.scaled_dot_product_attention(query, key, value), batch, parts * length)
        rows = padded.reshape(batch, parts, length, hidden)
        memory = functional.pad(rows[:, :-1].detach(), (0, 0, 0, 0, 1, 0))
        both = torch.cat([memory, rows], dim=2).reshape(batch * parts, 2 * length, hidden)
        key, value = (self._split(item, batch * parts, 2 * length) for item in self.keys(both, graph).chunk(2, dim=2))
        seen = torch.ones(parts, 2 * length, dtype=torch.bool, device=x.device)
        seen[0, :length] = False
        seen[-1, length + units - (parts - 1) * length :] = False
        mask = seen.repeat(batch, 1)[:, None, None, :]
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self._join(found, batch, parts * length)[:, :units]

    def _split(self, x: Tensor, rows: int, length: int) -> Tensor:
        return x.reshape(rows, length, self.heads, -1).transpose(1, 2)

    def _join(self, x: Tensor, batch: int, length: int) -> Tensor:
        return x.transpose(1, 2).reshape(batch, length, -1)


class PlacerNet(nn.Module):
    """Encoder, shared attention, and a head for each task.

    choices: for every task but placement, how many options a unit has.
    """

    def __init__(
        self, vocabulary: int, hidden: int, sage: int, layers: int, heads: int, segment: int, choices: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(len(STATIC_FEATURES), hidden)
        self.types = nn.Linear(vocabulary + 1, hidden, bias=False)
        self.sage = nn.ModuleList(MaxPool(hidden) for _ in range(sage))
        self.layers = nn.ModuleList(Attention(hidden, heads, segment) for _ in range(layers))
        self.device = nn.Sequential(
            nn.Linear(2 * LABEL_WAVES + DEVICE_FEATURES, hidden), nn.Tanh(), nn.Linear(hidden, hidden)
        )
        self.query = Superposed(hidden, hidden, hidden)
        self.decided = nn.Linear(hidden, hidden)
        self.heads = nn.ModuleDict({task: nn.Linear(hidden, count) for task, count in choices.items()})
        self.fed = nn.ModuleDict({task: nn.Embedding(count, hidden) for task, count in choices.items()})
        for module in (self.query.dense, *self.heads.values()):
            nn.init.normal_(module.weight, std=0.01)  # the first policy is close to uniform
            nn.init.zeros_(module.bias)

    def encode(self, example: Example) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings of units (U, H), of the graph (H,), and codes of the devices (D, H)."""
        x = self.embed(example.nodes) + self.types(example.mix)
        for layer in self.sage:
            x = layer(x, example)
        return x, x.mean(dim=0), self.device(example.devices)

    def logits(self, task: str, encoded: tuple[Tensor, Tensor, Tensor], decided: Mapping[str, Tensor]) -> Tensor:
        """Scores of the choices of a task, (B, U, C), given decisions (B, U) int64 of tasks (B = 1 without any)."""
        x, graph, codes = encoded
        found = x[None]
        for name, choice in decided.items():
            found = found + (self.decided(codes)[choice] if name == "placement" else self.fed[name](choice))
        for layer in self.layers:
            found = layer(found, graph)
        if task == "placement":
            return self.query(found, graph) @ codes.T
        return self.heads[task](found)
