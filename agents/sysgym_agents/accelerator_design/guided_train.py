"""A policy that fills in parameters of a design for a workload, and how it learns from good designs. Imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.accelerator_design.space import COUNTS
from sysgym.core.problem import Array
from sysgym_agents.accelerator_design.surrogate_net import Example, SurrogateNet, example_of
from sysgym_agents.accelerator_design.surrogate_train import Progress, Source
from sysgym_agents.learning.devices import device_for, placed

if TYPE_CHECKING:
    from sysgym.accelerator_design.instance import Workloads
    from sysgym.accelerator_design.problem import AcceleratorDesign

PARAMETERS, ROWS = len(COUNTS), int(COUNTS.max())
BEYOND = np.arange(ROWS)[None] >= COUNTS[:, None]  # (16, 11) bool, rows that a parameter does not have
ELITE, SAMPLES, MIXED = 40, 24, 4  # best designs of a network; of which a step sees some, on so many networks


class PolicyNet(nn.Module):
    """Message passing over the regions, pooled, beside a design in part: logits of the rows of every parameter."""

    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__()
        self.body = SurrogateNet(hidden, layers)
        for unused in ("machine", "pair", "mix", "out"):
            delattr(self.body, unused)
        self.enter = nn.Linear(2 * hidden + PARAMETERS * (ROWS + 1), 2 * hidden)
        self.middle, self.out = nn.Linear(2 * hidden, 2 * hidden), nn.Linear(2 * hidden, PARAMETERS * ROWS)

    def embed(self, example: Example) -> Tensor:
        """What the workload is, (2 hidden,): the mean and the largest of its regions' features."""
        x = self.body.encode(example)
        return torch.cat([x.mean(dim=0), x.amax(dim=0)])

    def forward(self, workload: Tensor, designs: Tensor, known: Tensor) -> Tensor:
        """Logits (n, 16, 11) given workloads (n, 2 hidden), designs (n, 16) int64 and which values count (n, 16)."""
        shown = nn.functional.one_hot(torch.where(known, designs, ROWS), ROWS + 1).to(workload.dtype)
        x = torch.relu(self.enter(torch.cat([workload, shown.flatten(1)], dim=1)))
        x = x + torch.relu(self.middle(x))
        logits: Tensor = self.out(x).view(-1, PARAMETERS, ROWS)
        return logits.masked_fill(torch.from_numpy(BEYOND).to(logits.device), -torch.inf)


class Writer:
    """Draws parameters by the policy for one workload."""

    def __init__(self, net: PolicyNet, problem: AcceleratorDesign, work: Workloads) -> None:
        self.device = device_for(len(work.kind))
        self.net = placed(net, self.device)
        with torch.no_grad():
            self.workload = self.net.embed(example_of(problem, work).to(self.device))

    def redraw(self, designs: Array, drawn: Array, rng: np.random.Generator) -> Array:
        """Designs (n, 16) whose values at `drawn` (n, 16) are drawn one after the other, given all that is there."""
        found, left = torch.from_numpy(designs.copy()), drawn.copy()
        workload = self.workload.expand(len(designs), -1)
        while left.any():
            with torch.no_grad():
                shown = found.to(self.device), torch.from_numpy(~left).to(self.device)
                logits = self.net(workload, *shown).cpu().numpy()
            place = np.where(left, rng.random(left.shape), -1.0).argmax(axis=1)
            open_rows = np.flatnonzero(left.any(axis=1))
            chosen = logits[open_rows, place[open_rows]] + rng.gumbel(size=(len(open_rows), ROWS))
            found.numpy()[open_rows, place[open_rows]] = chosen.argmax(axis=1)
            left[open_rows, place[open_rows]] = False
        return found.numpy()


class Imitation(Progress):
    """A training between two steps: parameters that are hidden are told from those that are not, in good designs."""

    make = PolicyNet

    def step(self, share: float) -> dict[str, float]:
        """One gradient step; the cross-entropy of a hidden value, and how often the likeliest one is right."""
        self._paced(share)
        sources = [self.networks[self._drawn()] for _ in range(MIXED)]
        designs = torch.from_numpy(np.concatenate([self._good(source) for source in sources])).to(self.device)
        seen = [self.net.embed(source.example.to(self.device)) for source in sources]
        workload = torch.stack(seen).repeat_interleave(SAMPLES, 0)
        count = self.rng.integers(0, PARAMETERS, len(designs))
        order = np.argsort(np.argsort(self.rng.random(designs.shape), axis=1), axis=1)
        known = torch.from_numpy(order < count[:, None]).to(self.device)
        logits = self.net(workload, designs, known)[~known]
        loss = nn.functional.cross_entropy(logits, designs[~known])
        self._descend(loss)
        right = (logits.detach().argmax(dim=1) == designs[~known]).to(torch.float32).mean()
        return {"loss": float(loss.detach()), "right": float(right)}

    def _good(self, source: Source) -> Array:
        """Some of the best designs of a network."""
        best = np.argsort(source.costs, kind="stable")[:ELITE]
        return source.designs[self.rng.choice(best, SAMPLES)]
