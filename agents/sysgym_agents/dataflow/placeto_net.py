"""The network of Placeto (Addanki et al., "Learning Generalizable Device Placement Algorithms for Distributed Dynamics
Learning", NeurIPS 2019, section 3): messages go up and down the graph of units, and the embeddings of the unit, of what
comes before it, after it and beside it decide where it goes. Devices are scored one by one, so that weights depend
neither on the graph nor on how many devices there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.core.problem import Array
from sysgym.dataflow.features import STATIC_FEATURES, Work, make_work
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym_agents.dataflow.gdp_net import DEVICE_FEATURES, Example, make_example
from sysgym_agents.general.sb3.network import LABEL_WAVES

if TYPE_CHECKING:
    from sysgym.dataflow.problem import GraphProblem

MAX_UNITS = 512  # a finer cut is replaced by chunks of layers
CANDIDATE_FEATURES = 7  # of each device: load, near, near and decided, memory, busy, here, work
DYNAMIC_FEATURES = 4  # of each unit: decided, current, start, bytes that stay on its device


@dataclass
class Row:
    """A graph as Placeto reads it; units are visited in their order. All matrices are (U, U) float32."""

    example: Example
    messages: tuple[Tensor, Tensor]  # means over the units read from, and over readers
    pools: Tensor  # (3, U, U) means over the units before, after and beside each
    near: Tensor  # share of a unit's bytes that it exchanges with each other

    def to(self, device: torch.device) -> Row:
        """The same on a device."""
        before, after = self.messages
        return Row(
            self.example.to(device), (before.to(device), after.to(device)), self.pools.to(device), self.near.to(device)
        )


class State(NamedTuple):
    """R states of one graph."""

    current: Tensor  # (R,) int64 unit to decide; those before it are decided
    device: Tensor  # (R, U) int64
    start: Tensor  # (R, U) float32 when units started in the last simulation, of its makespan
    candidates: Tensor  # (R, D, CANDIDATE_FEATURES) float32
    allowed: Tensor  # (R, D) bool devices with room


def work_of(problem: GraphProblem, graph: DataflowGraph) -> Work:
    """The problem's units, or chunks of layers where there are more than MAX_UNITS."""
    work: Work = problem.work(graph)
    return work if work.units.count <= MAX_UNITS else make_work(work.job, "layers", None)


def make_row(work: Work, vocabulary: Sequence[str]) -> Row:
    """The arrays of a graph."""
    source, target = work.units.edge_index
    count = work.units.count
    near = np.zeros((count, count))
    np.add.at(near, (work.links[0], work.links[1]), work.links[2])
    reads = np.zeros((count, count))
    reads[target, source] = 1
    before = reachable(np.tril(reads, -1))
    beside = 1 - before - before.T - np.eye(count)
    return Row(
        make_example(work, vocabulary), (_mean(reads), _mean(reads.T)),
        torch.stack([_mean(before), _mean(before.T), _mean(beside)]),
        torch.from_numpy((near / work.neighbour_bytes[:, None]).astype(np.float32)),
    )  # fmt: skip


def reachable(reads: Array) -> Array:
    """Ones where a unit (row) can be reached from another (column), (U, U); `reads` is strictly lower triangular."""
    found = reads.astype(bool)
    for v in range(len(found)):
        found[v] |= found[reads[v] > 0].any(axis=0)
    return found.astype(np.float64)


def _mean(matrix: Array) -> Tensor:
    return torch.from_numpy((matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)).astype(np.float32))


def _tensor(values: Array, beside: Tensor) -> Tensor:
    """Values as float32 on the device of another tensor."""
    return torch.from_numpy(values.astype(np.float32)).to(beside.device)


def candidates(row: Row, current: int, device: Tensor, busy: Array) -> tuple[Tensor, Tensor]:
    """Features of the devices (R, D, CANDIDATE_FEATURES) and which have room (R, D) bool, for placements (R, U).

    busy: (R, D) share of the makespan. Where no device has room for a unit's parameters, the one with most has.
    """
    work = row.example.work
    job = work.job
    spread = torch.nn.functional.one_hot(device, job.devices).float()
    decided = spread[:, :current]
    even = max(float(work.mean_work.sum()) / job.devices, 1.0)
    time, held = (_tensor(values, device) for values in (work.mean_work / even, work.held))
    capacity = _tensor(np.maximum(job.capacity, 1), device)
    full = torch.einsum("u,rud->rd", held[:current], decided)
    need = float(work.held[current])
    allowed = full + need <= capacity
    most = torch.nn.functional.one_hot((capacity - full).argmax(dim=1), job.devices).bool()
    here = _tensor(np.minimum(work.work[:, current] / even, 100), device)
    columns = [
        torch.einsum("u,rud->rd", time[:current], decided), torch.einsum("u,rud->rd", row.near[current], spread),
        torch.einsum("u,rud->rd", row.near[current, :current], decided), (full / capacity).clamp(max=10),
        _tensor(busy, device), spread[:, current], here.expand(len(device), -1),
    ]  # fmt: skip
    return torch.stack(columns, dim=2), torch.where(allowed.any(dim=1, keepdim=True), allowed, most)


class PlacetoNet(nn.Module):
    """Embeddings by `rounds` rounds of messages with shared weights in each direction, and the policy."""

    def __init__(self, vocabulary: int, hidden: int, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds
        self.static = nn.Linear(len(STATIC_FEATURES) + vocabulary + 1, hidden)
        self.dynamic = nn.Linear(DYNAMIC_FEATURES, hidden, bias=False)
        self.device = nn.Linear(2 * LABEL_WAVES + DEVICE_FEATURES, hidden)
        self.send = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(2))
        self.receive = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(2))
        self.context = nn.Linear(8 * hidden, hidden)
        self.candidate = nn.Linear(CANDIDATE_FEATURES + hidden, hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        nn.init.normal_(self.score.weight, std=0.01)  # the first policy is close to uniform

    def forward(self, row: Row, state: State) -> Tensor:
        """Logarithms of the probability of each device, (R, D); those without room have none."""
        codes = self.device(row.example.devices)
        x = self._embed(row, state, codes)
        own = x[torch.arange(len(x), device=x.device), state.current]
        pooled = torch.einsum("prv,rvh->rph", row.pools[:, state.current], x).flatten(1)
        seen = self.context(torch.cat([own, pooled], dim=1))
        each = torch.cat([state.candidates, codes.expand(len(x), -1, -1)], dim=2)
        hidden = torch.relu(self.mix(torch.relu(seen[:, None] + self.candidate(each))))
        logits = self.score(hidden)[:, :, 0]
        return torch.log_softmax(logits.masked_fill(~state.allowed, -1e9), dim=1)

    def _embed(self, row: Row, state: State, codes: Tensor) -> Tensor:
        """(R, U, 2 H)."""
        units = torch.arange(state.device.shape[1], device=state.device.device)
        now = state.current[:, None]
        same = torch.nn.functional.one_hot(state.device, len(codes)).float()
        local = ((row.near @ same) * same).sum(dim=2)
        start = state.start - state.start.gather(1, now)
        facts = torch.stack([(units < now).float(), (units == now).float(), start, local], dim=2)
        static = self.static(torch.cat([row.example.nodes, row.example.mix], dim=1))
        first = torch.relu(static + self.dynamic(facts) + codes[state.device])
        found = []
        for matrix, send, receive in zip(row.messages, self.send, self.receive, strict=True):
            x = first
            for _ in range(self.rounds):
                x = first + torch.relu(receive(matrix @ torch.relu(send(x))))
            found.append(x)
        return torch.cat(found, dim=2)
