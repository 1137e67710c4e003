"""A network that predicts how long each region of a workload takes on a machine. Imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.accelerator_design.space import machines
from sysgym.core.problem import Array
from sysgym_agents.accelerator_design.features import (
    MACHINE,
    NODES,
    PAIR,
    Regions,
    machine_features,
    node_features,
    pair_features,
    regions_of,
)
from sysgym_agents.learning.devices import device_for, placed

if TYPE_CHECKING:
    from sysgym.accelerator_design.instance import Workloads
    from sysgym.accelerator_design.problem import AcceleratorDesign

CHUNK = 256  # designs that are predicted at once


class Example(NamedTuple):
    """A workload as the network takes it."""

    nodes: Tensor  # (R, NODES)
    source: Tensor  # (E,) int64, producers
    target: Tensor  # (E,) int64, consumers
    regions: Regions

    def to(self, device: torch.device) -> Example:
        """The same on a device."""
        return Example(self.nodes.to(device), self.source.to(device), self.target.to(device), self.regions)


def example_of(problem: AcceleratorDesign, work: Workloads) -> Example:
    """The tensors of a workload."""
    edges = torch.from_numpy(problem.static(work)["edge_index"].astype(np.int64))
    return Example(torch.from_numpy(node_features(problem, work)), edges[0], edges[1], regions_of(work))


def _mean(x: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """The mean of the sources' features at each target, 0 where there is none."""
    count = x.new_zeros(len(x), 1).index_add_(0, target, x.new_ones(len(target), 1))
    return torch.zeros_like(x).index_add_(0, target, x[source]) / count.clamp(min=1)


class SurrogateNet(nn.Module):
    """Message passing over the regions, once a workload; then, for each machine, two layers on region, machine and
    what they are to each other. Predicts log of a region's time over what computing it takes at least.
    """

    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Linear(NODES, hidden)
        self.passes = nn.ModuleList(nn.Linear(3 * hidden, hidden) for _ in range(layers))
        self.leave = nn.Linear(hidden, hidden)
        self.machine = nn.Sequential(nn.Linear(MACHINE, hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        self.pair = nn.Linear(PAIR, hidden)
        self.mix, self.out = nn.Linear(hidden, hidden), nn.Linear(hidden, 1)

    def encode(self, example: Example) -> Tensor:
        """What each region is, (R, hidden)."""
        x = torch.relu(self.enter(example.nodes))
        for layer in self.passes:
            before, after = (_mean(x, *ends) for ends in ((example.source, example.target),
                                                          (example.target, example.source)))  # fmt: skip
            x = x + torch.relu(layer(torch.cat([x, before, after], dim=1)))
        found: Tensor = self.leave(x)
        return found

    def forward(self, encoded: Tensor, regions: Regions, rows: Array) -> Tensor:
        """Log nanoseconds (n, U) of regions, encoded as (U, hidden), on machines (n, 20)."""
        pairs, floor = pair_features(regions, rows)
        device = encoded.device
        own = self.machine(torch.from_numpy(machine_features(rows)).to(device))
        x = torch.relu(encoded + own[:, None] + self.pair(torch.from_numpy(pairs).to(device)))
        x = x + torch.relu(self.mix(x))
        found: Tensor = self.out(x)[..., 0] + torch.from_numpy(np.log(floor).astype(np.float32)).to(device)
        return found


class Predictor:
    """Seconds of a batch of each network of a workload by a network; regions that look alike are computed once."""

    def __init__(self, net: SurrogateNet, problem: AcceleratorDesign, work: Workloads) -> None:
        device = device_for(CHUNK * len(work.kind))
        example = example_of(problem, work).to(device)
        self.net, self.count = placed(net, device), len(work.networks)
        with torch.no_grad():
            encoded = self.net.encode(example).cpu().numpy()
        sizes = np.stack(example.regions, axis=1)
        keys = np.concatenate([work.network[:, None], sizes, np.round(encoded, 4)], axis=1)
        _, first, often = np.unique(keys, axis=0, return_index=True, return_counts=True)
        self.encoded = torch.from_numpy(encoded[first]).to(device)
        self.regions, self.often, self.network = example.regions.of(first), often, work.network[first]

    def seconds(self, designs: Array) -> Array:
        """(n, M) of designs (n, 16) that can work."""
        found = np.empty((len(designs), self.count))
        for begin in range(0, len(designs), CHUNK):
            part = slice(begin, begin + CHUNK)
            with torch.no_grad():
                logs = self.net(self.encoded, self.regions, machines(designs[part]))
            times = np.exp(logs.cpu().numpy().astype(np.float64)) * self.often * 1e-9
            for m in range(self.count):
                found[part, m] = times[:, self.network == m].sum(axis=1)
        return found
