"""Training of HDP: groupings and placements are drawn, simulated in a batch, and learnt from by REINFORCE.

Mirhoseini et al., "A Hierarchical Model for Device Placement" (ICLR 2018), section 2.2. What is not in the paper: the
grouper begins with chunks of layers, the advantage is scaled, and the best decision so far is imitated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from sysgym.core.problem import Array
from sysgym_agents.dataflow.gdp_train import INVALID, evaluate
from sysgym_agents.dataflow.hdp_net import Drawn, HdpNet, Ops, draw, first_groups, log_likelihood
from sysgym_agents.dataflow.placement_learner import Best, Stop
from sysgym_agents.learning.devices import of

WARM_RATE, WARM_ROWS, SHARPEN = 3e-2, 4096, 4.0


class Reinforce(NamedTuple):
    """Hyper-parameters of the updates."""

    groupings: int  # drawn for each update
    placements: int  # drawn for each grouping
    learning_rate: float
    decay: float  # of the moving average that rewards are compared with
    entropy: float  # bonus
    clip: float  # of the norm of the gradient
    warm: int  # steps in which the grouper imitates chunks of layers
    imitate: float  # weight of the log-likelihood of the best decision so far


class Baseline:
    """Moving averages of a graph's rewards and of their deviations."""

    def __init__(self, decay: float) -> None:
        self.decay, self.mean, self.spread = decay, np.nan, np.nan

    def advantage(self, rewards: Array) -> Array:
        """Rewards (B,) less the average so far, over their usual deviation, within -4..4; then averages move on."""
        fresh = float(rewards.mean()), float(rewards.std())
        if np.isnan(self.mean):
            self.mean, self.spread = fresh
        found = np.clip((rewards - self.mean) / (self.spread + 1e-8), -4, 4)
        self.mean += (1 - self.decay) * (fresh[0] - self.mean)
        self.spread += (1 - self.decay) * (fresh[1] - self.spread)
        return np.asarray(found)


def warm_up(net: HdpNet, graphs: Sequence[Ops], steps: int, seed: int, stop: Stop) -> None:
    """Let the grouper imitate chunks of layers, by cross-entropy on up to WARM_ROWS operators a step, and be sure."""
    optimizer = torch.optim.Adam(net.grouper.parameters(), lr=WARM_RATE)
    generator = torch.Generator().manual_seed(seed)
    device = of(net)
    targets = [first_groups(ops, net.groups).to(device) for ops in graphs]
    for step in range(steps):
        if stop():
            return
        row = step % len(graphs)
        chosen = torch.randperm(len(targets[row]), generator=generator)[:WARM_ROWS].to(device)
        loss = torch.nn.functional.cross_entropy(net.grouper(graphs[row].inputs[chosen]), targets[row][chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if steps:
        with torch.no_grad():
            for values in net.grouper[-1].parameters():
                values.mul_(SHARPEN)


class HdpTrainer:
    """Draws, simulates and learns, a graph after the other; keeps the best placement of each."""

    def __init__(self, net: HdpNet, graphs: Sequence[Ops], hyper: Reinforce, seed: int) -> None:
        self.net, self.graphs, self.hyper = net, list(graphs), hyper
        self.optimizer = torch.optim.Adam(net.parameters(), lr=hyper.learning_rate)
        self.generator = torch.Generator().manual_seed(seed)
        self.baselines = [Baseline(hyper.decay) for _ in self.graphs]
        self.best = [Best() for _ in self.graphs]
        self.elite: list[Drawn | None] = [None for _ in self.graphs]
        self.simulations, self.updates = 0, 0
        self.metrics: dict[str, float] = {}

    def prepare(self, stop: Stop) -> None:
        """Before the first update of fresh weights."""
        warm_up(self.net, self.graphs, self.hyper.warm, self.generator.initial_seed(), stop)

    def update(self, progress: float, left: int, stop: Stop) -> None:
        """One update on the next graph; no more than `left` simulations. `progress` 0..1 lowers the learning rate."""
        row = self.updates % len(self.graphs)
        drawn, rewards = self._try(row, left, greedy=False)
        advantage = self.baselines[row].advantage(rewards)
        for group in self.optimizer.param_groups:
            group["lr"] = self.hyper.learning_rate * max(1 - progress, 0.1)
        self._learn(row, drawn, torch.from_numpy(advantage).float().to(of(self.net)))
        self.updates += 1

    def sample(self, left: int, stop: Stop, greedy: bool) -> None:
        """Simulate the likeliest decision, or drawn ones, of the first graph."""
        self._try(0, left, greedy)

    def _try(self, row: int, left: int, greedy: bool) -> tuple[Drawn, Array]:
        """Decisions and their rewards: -sqrt(cost over that of one device), -INVALID where memory does not suffice."""
        ops, hyper = self.graphs[row], self.hyper
        groupings = min(hyper.groupings, left)
        placements = max(1, min(hyper.placements, left // groupings))
        drawn = draw(self.net, ops, groupings, placements, None if greedy else self.generator)
        choice = drawn.placement.cpu().numpy()
        costs, over = evaluate(ops.example, ("placement",), {"placement": choice})
        self.simulations += len(costs)
        work = ops.example.work
        better = self.best[row].offer(costs, over, lambda b: choice[b][work.units.of])
        if better is not None:
            m, k = divmod(better, drawn.device.shape[1])
            self.elite[row] = Drawn(drawn.group[m : m + 1], drawn.device[m : m + 1, k : k + 1])
        single = max(work.job.single_ns, 1.0)
        rewards = np.where(over > 0, -INVALID, -np.sqrt(costs / single))
        mean = float(rewards.mean())
        self.metrics |= {
            "reward": mean, "return": mean, "cost_ratio": float(costs.mean() / single),
            "best_ratio": self.best[row].key[1] / single, "feasible": float((over == 0).mean()),
        }  # fmt: skip
        return drawn, rewards

    def _learn(self, row: int, drawn: Drawn, advantage: torch.Tensor) -> None:
        ops, elite = self.graphs[row], self.elite[row]
        grouped, placed, entropy = log_likelihood(self.net, ops, drawn)
        gain = (grouped + placed) * advantage.reshape(placed.shape)
        loss = -gain.mean() - self.hyper.entropy * entropy
        if elite is not None and self.hyper.imitate:
            likely, placed_so, _ = log_likelihood(self.net, ops, elite)
            loss = loss - self.hyper.imitate * (likely + placed_so).sum()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.hyper.clip)
        self.optimizer.step()
        self.metrics["entropy"] = float(entropy.detach())
