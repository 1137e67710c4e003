"""The networks of HDP (Mirhoseini et al., "A Hierarchical Model for Device Placement", ICLR 2018, section 2).

The grouper, a feed-forward network, draws a group for each operator; groups are summed up; the placer, a bidirectional
LSTM with an attentive LSTM decoder, draws a device for each group. Operators that the graph ties together (`coloc`)
count as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.core.problem import Array
from sysgym.dataflow.features import STATIC_FEATURES, Work
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.graphs.groups import make_units, units_of
from sysgym.dataflow.simulator.job import Job
from sysgym_agents.dataflow.gdp_net import DEVICE_FEATURES, Example, make_example
from sysgym_agents.general.sb3.network import LABEL_WAVES
from sysgym_agents.learning.devices import drawn

SUMS = 4  # of each group: shares of operators, time, parameters and bytes sent


@dataclass
class Ops:
    """A graph as HDP reads it; U counts operators, those tied together as one."""

    example: Example
    inputs: Tensor  # (U, 3 W) float32 own features and types, and their means over what is read and over readers
    facts: Tensor  # (U, W + SUMS) float32 what groups add up
    links: tuple[Array, Array, Array]  # source and target (M,) int64 of every read, share of all bytes (M,) float64

    def to(self, device: torch.device) -> Ops:
        """The same on a device."""
        return Ops(self.example.to(device), self.inputs.to(device), self.facts.to(device), self.links)


class Drawn(NamedTuple):
    """Decisions: m groupings, and K placements of the groups of each."""

    group: Tensor  # (m, U) int64
    device: Tensor  # (m, K, G) int64

    @property
    def placement(self) -> Tensor:
        """Device of each operator, (m * K, U) int64."""
        found = self.device.gather(2, self.group[:, None, :].expand(-1, self.device.shape[1], -1))
        return found.flatten(0, 1)


def tied(graph: DataflowGraph) -> Array:
    """Unit of each operator, (N,) int32: operators of a group of `coloc` together, the others alone, in their order."""
    label = np.where(graph.coloc >= 0, graph.nodes + graph.coloc.astype(np.int64), np.arange(graph.nodes))
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[inverse.ravel()])


def first_groups(ops: Ops, groups: int) -> Tensor:
    """Chunks of each layer and phase, (U,) int64 in 0..groups-1, at whose imitation the grouper starts."""
    work = ops.example.work
    units = make_units(work.job.graph, "layers", groups)
    return torch.from_numpy(units.of[work.first].astype(np.int64) * groups // max(units.count, groups))


def make_ops(job: Job, vocabulary: Sequence[str]) -> Ops:
    """The arrays of a graph."""
    work = Work(job, units_of(job.graph, tied(job.graph)))
    example = make_example(work, vocabulary)
    own = torch.cat([example.nodes, example.mix], dim=1)
    source, target = work.units.edge_index.astype(np.int64)
    inputs = torch.cat([own, _mean(own, source, target), _mean(own, target, source)], dim=1)
    size = work.units.edge_bytes.astype(np.float64)
    sent = np.bincount(source, weights=size, minlength=work.units.count)
    parts = (work.sums(np.ones(job.graph.nodes)), work.mean_work, work.held, sent)
    sums = np.stack([part / max(float(part.sum()), 1.0) for part in parts], axis=1).astype(np.float32)
    links = source, target, size / max(float(size.sum()), 1.0)
    return Ops(example, inputs, torch.cat([own, torch.from_numpy(sums)], dim=1), links)


def _mean(x: Tensor, source: Array, target: Array) -> Tensor:
    """Means over the sources of each target, (U, W); zeros where there is none."""
    found = torch.zeros_like(x).index_add_(0, torch.from_numpy(target), x[torch.from_numpy(source)])
    count = torch.from_numpy(np.bincount(target, minlength=len(x))).clamp(min=1)
    return found / count[:, None]


class HdpNet(nn.Module):
    """Grouper and placer. Weights depend neither on the number of operators nor on that of devices.

    groups: G at most. spread: deviation of the grouper's first logits, so that it begins by telling operators apart.
    temperature, tanh: the placer's logits are tanh * tanh(scores / temperature).
    """

    def __init__(
        self, vocabulary: int, hidden: int, grouper: int, groups: int, spread: float, temperature: float, tanh: float
    ) -> None:
        super().__init__()
        width = len(STATIC_FEATURES) + vocabulary + 1
        self.groups, self.temperature, self.tanh = groups, temperature, tanh
        self.grouper = nn.Sequential(nn.Linear(3 * width, grouper), nn.Tanh(), nn.Linear(grouper, groups))
        self.embed = nn.Linear(width + SUMS + 2 * groups, hidden)
        self.device = nn.Sequential(
            nn.Linear(2 * LABEL_WAVES + DEVICE_FEATURES, hidden), nn.Tanh(), nn.Linear(hidden, hidden)
        )
        self.begin = nn.Parameter(torch.zeros(hidden))
        self.encoder = nn.LSTM(hidden, hidden, batch_first=True, bidirectional=True)
        self.decoder = nn.LSTM(3 * hidden, hidden, batch_first=True)
        self.seek = nn.Linear(hidden, 2 * hidden)
        self.head = nn.Linear(3 * hidden, hidden)
        nn.init.normal_(self.grouper[0].weight, std=width**-0.5)
        nn.init.normal_(self.grouper[2].weight, std=spread * grouper**-0.5)

    def group_scores(self, ops: Ops) -> Tensor:
        """Logarithms of the probability of each group, (U, G)."""
        return torch.log_softmax(self.grouper(ops.inputs), dim=1)

    def encode(self, ops: Ops, group: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded groups (m, G, 2 H) of groupings (m, U), and codes of the devices (D, H)."""
        found, _ = self.encoder(torch.tanh(self.embed(group_facts(ops, group, self.groups))))
        return found, self.device(ops.example.devices)

    def device_scores(self, encoded: Tensor, codes: Tensor, device: Tensor) -> Tensor:
        """Logarithms of the probability of devices, (B, G, D), given those of the groups before: device (B, G)."""
        fed = torch.cat([self.begin.expand(len(device), 1, -1), codes[device[:, :-1]]], dim=1)
        return self._scores(self.decoder(torch.cat([encoded, fed], dim=2))[0], encoded, codes)

    def draw_devices(self, encoded: Tensor, codes: Tensor, generator: torch.Generator | None) -> Tensor:
        """Devices group by group, (B, G) int64; the likeliest ones without a generator."""
        fed, state, found = self.begin.expand(len(encoded), -1), None, []
        for g in range(self.groups):
            seen, state = self.decoder(torch.cat([encoded[:, g], fed], dim=1)[:, None], state)
            scores = self._scores(seen, encoded, codes)[:, 0]
            chosen = scores.argmax(dim=1)
            if generator is not None:
                chosen = drawn(scores.exp(), 1, generator)[:, 0]
            fed = codes[chosen]
            found.append(chosen)
        return torch.stack(found, dim=1)

    def _scores(self, seen: Tensor, encoded: Tensor, codes: Tensor) -> Tensor:
        """The head: attention of the decoder's states (B, T, H) over the groups, then devices (B, T, D)."""
        share = torch.softmax(self.seek(seen) @ encoded.transpose(1, 2) / encoded.shape[2] ** 0.5, dim=2)
        query = torch.tanh(self.head(torch.cat([seen, share @ encoded], dim=2)))
        scores = query @ codes.T / codes.shape[1] ** 0.5
        return torch.log_softmax(self.tanh * torch.tanh(scores / self.temperature), dim=2)


def group_facts(ops: Ops, group: Tensor, groups: int) -> Tensor:
    """What is known of each group, (m, G, W + SUMS + 2 G) float32: mean features and types of its operators, its
    shares of the graph, and the groups that it reads from and sends to."""
    many = len(group)
    device = group.device
    flat = (group + groups * torch.arange(many, device=device)[:, None]).ravel()
    width = ops.facts.shape[1]
    total = torch.zeros(many * groups, width, device=device).index_add_(0, flat, ops.facts.repeat(many, 1))
    count = torch.bincount(flat, minlength=many * groups).clamp(min=1)[:, None]
    means = total[:, :-SUMS] / count
    source, target, share = ops.links
    chosen = group.cpu().numpy()
    pair = (np.arange(many)[:, None] * groups + chosen[:, source]) * groups + chosen[:, target]
    sent = np.bincount(pair.ravel(), weights=np.tile(share, many), minlength=many * groups * groups)
    near = torch.from_numpy(sent.reshape(many, groups, groups).astype(np.float32)).to(device).sqrt()
    facts = torch.cat([means, groups * total[:, -SUMS:]], dim=1).reshape(many, groups, width)
    return torch.cat([facts, near, near.transpose(1, 2)], dim=2)


def draw(net: HdpNet, ops: Ops, groupings: int, placements: int, generator: torch.Generator | None) -> Drawn:
    """Decisions; one, the likeliest, without a generator."""
    with torch.no_grad():
        scores = net.group_scores(ops)
        if generator is None:
            group, placements = scores.argmax(dim=1)[None], 1
        else:
            group = drawn(scores.exp(), groupings, generator, again=True).T.contiguous()
        encoded, codes = net.encode(ops, group)
        device = net.draw_devices(encoded.repeat_interleave(placements, dim=0), codes, generator)
        return Drawn(group, device.reshape(len(group), placements, -1))


def log_likelihood(net: HdpNet, ops: Ops, drawn: Drawn) -> tuple[Tensor, Tensor, Tensor]:
    """Of groupings (m, 1), mean over operators, and of placements (m, K), mean over groups; and the entropy of both."""
    group_scores = net.group_scores(ops)
    grouped = group_scores.gather(1, drawn.group.T).mean(dim=0)[:, None]
    encoded, codes = net.encode(ops, drawn.group)
    many, placements, _ = drawn.device.shape
    device = drawn.device.flatten(0, 1)
    scores = net.device_scores(encoded.repeat_interleave(placements, dim=0), codes, device)
    placed = scores.gather(2, device[:, :, None])[:, :, 0].mean(dim=1).reshape(many, placements)
    entropy = -(group_scores.exp() * group_scores).sum(dim=1).mean() - (scores.exp() * scores).sum(dim=2).mean()
    return grouped, placed, entropy
