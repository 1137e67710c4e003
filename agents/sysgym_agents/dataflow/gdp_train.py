"""Training of GDP and GO: decisions are sampled for all units at once, simulated in batches, and learnt from by PPO."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sysgym.core.problem import Array
from sysgym.dataflow.simulator.simulate import TOP_PRIORITY, evaluate_batch
from sysgym_agents.dataflow.baselines import FUSIONS
from sysgym_agents.dataflow.gdp_net import Example, PlacerNet
from sysgym_agents.learning.devices import drawn, of

SHIFTS = (-0.2, -0.05, 0.0, 0.05, 0.2)  # of a unit's priority, of the range of the critical path
CHOICES = {"schedule": len(SHIFTS), "fusion": len(FUSIONS) - 1}
BATCH_UNITS = 200_000  # units of all samples together, where each has a pass of its own
HEAT = 2.0  # of the samples of a trained network for a graph that it may not know
INVALID = 10.0  # the reward of an answer that does not fit is -INVALID (GDP, section 3.3)


class Ppo(NamedTuple):
    """Hyper-parameters of the updates."""

    samples: int  # decisions simulated for each update
    epochs: int
    learning_rate: float
    clip: float
    entropy: float  # bonus at the start; falls to a tenth of it
    rounds: int  # passes over all tasks; each sees the decisions of the last
    explore: float  # units of a sample that are drawn evenly from all choices, on average; falls to a quarter of it
    imitate: float  # weight of the log-likelihood of the best decision so far


def samples_of(example: Example, tasks: Sequence[str], ppo: Ppo) -> int:
    """Samples of an update: fewer on huge graphs, where each has a pass of its own."""
    alone = ppo.rounds * len(tasks) == 1
    return ppo.samples if alone else max(2, min(ppo.samples, BATCH_UNITS // example.work.units.count))


def rows_of(example: Example, tasks: Sequence[str], ppo: Ppo) -> int:
    """Rows of features of a pass of an update: units, of all samples where each has a pass of its own."""
    alone = ppo.rounds * len(tasks) == 1
    return example.work.units.count * (1 if alone else samples_of(example, tasks, ppo))


def update_bytes(example: Example, tasks: Sequence[str], ppo: Ppo) -> float:
    """About the memory that the samples of an update take: shares and choices of units, and placements of operators."""
    choices = max(example.work.job.devices, *CHOICES.values())
    units, operators = example.work.units.count, len(example.work.units.of)
    rows = samples_of(example, tasks, ppo)
    return rows * ppo.rounds * len(tasks) * units * (4.0 * choices + 32) + rows * operators * 24.0


class Decision(NamedTuple):
    """Sampled choices of units: for each round, each task's (B, U) int64."""

    rounds: tuple[dict[str, Tensor], ...]

    @property
    def last(self) -> dict[str, Tensor]:
        """What counts."""
        return self.rounds[-1]


def joined(one: Decision, two: Decision) -> Decision:
    """The samples of both."""
    pairs = zip(one.rounds, two.rounds, strict=True)
    return Decision(tuple({task: torch.cat([a[task], b[task]]) for task in a} for a, b in pairs))


class Found(NamedTuple):
    """The best answer so far."""

    key: tuple[bool, float]
    choice: dict[str, Array]  # of each task, (U,)


def arrays_of(example: Example, tasks: Sequence[str], choice: Mapping[str, Array]) -> dict[str, Array]:
    """Placement, priority and fusion of operators, (N,) each, from the choices (U,) of units."""
    job, of = example.work.job, example.work.units.of
    found: dict[str, Array] = {}
    if "placement" in tasks:
        found["placement"] = choice["placement"][of].astype(np.int32)
    if "schedule" in tasks:
        shift = np.array(SHIFTS)[choice["schedule"]] * TOP_PRIORITY
        found["priority"] = job.critical_path + shift.astype(np.int64)[of]
    if "fusion" in tasks:
        found["fusion"] = example.fusions[choice["fusion"][of], np.arange(len(of))]
    return found


def mixed(logits: Tensor, even: float) -> Tensor:
    """Log-probabilities (B, U, C) of the softmax, but with the chance `even` of a uniform draw."""
    even = max(even, 1e-6)  # so that no logarithm is infinite
    return torch.log((1 - even) * torch.softmax(logits, dim=2) + even / logits.shape[2])


def sample(
    net: PlacerNet, encoded: Any, tasks: Sequence[str], rounds: int, count: int, generator: torch.Generator | None,
    *, even: float = 0.0, heat: float = 1.0,
) -> Decision:  # fmt: skip
    """Decisions of `count` samples, a task after the other, in rounds; the likeliest without a generator."""
    decided: dict[str, Tensor] = {}
    found = []
    for _ in range(rounds):
        for task in tasks:
            logits = net.logits(task, encoded, decided)
            if generator is None:
                decided = {**decided, task: logits.argmax(dim=2)}
                continue
            shares = mixed(logits / heat, even).exp()
            flat = shares.expand(count, -1, -1).reshape(-1, shares.shape[2])
            decided = {**decided, task: drawn(flat, 1, generator).reshape(count, -1)}
        found.append({task: decided[task] for task in tasks})
    return Decision(tuple(found))


def log_likelihood(
    net: PlacerNet, encoded: Any, tasks: Sequence[str], decision: Decision, even: float
) -> tuple[Tensor, Tensor]:
    """Log-probability of every choice, (B, rounds * tasks, U), and mean entropy."""
    logs, entropy = [], []
    decided: dict[str, Tensor] = {}
    for chosen in decision.rounds:
        for task in tasks:
            scores = mixed(net.logits(task, encoded, decided), even)
            entropy.append(-(scores * scores.exp()).sum(dim=2).mean())
            picked = scores.expand(len(chosen[task]), -1, -1).gather(2, chosen[task][:, :, None])
            logs.append(picked[:, :, 0])
            decided = {**decided, task: chosen[task]}
    return torch.stack(logs, dim=1), torch.stack(entropy).mean()


def evaluate(example: Example, tasks: Sequence[str], decision: Mapping[str, Array]) -> tuple[Array, Array]:
    """Costs (B,) float64 ns and bytes over capacity (B,) of decisions (B, U)."""
    job, of = example.work.job, example.work.units.of
    rules = job.rules
    plain = rules.objective == "latency" and rules.simulator == "events" and not rules.noise and "fusion" not in tasks
    if not plain:
        rows = [
            {task: values[b] for task, values in decision.items()} for b in range(len(next(iter(decision.values()))))
        ]
        scores = [_score(example, tasks, row) for row in rows]
        return np.array([score.cost for score in scores]), np.array([score.over_bytes for score in scores])
    many = len(next(iter(decision.values())))
    places = decision["placement"][:, of] if "placement" in tasks else np.repeat(job.expert[None], many, axis=0)
    priority = None
    if "schedule" in tasks:
        shift = (np.array(SHIFTS) * TOP_PRIORITY).astype(np.int64)[decision["schedule"]]
        priority = job.critical_path[None] + shift[:, of]
    elif rules.schedule == "critical_path":
        priority = job.critical_path[None]
    spans, peaks = evaluate_batch(job.graph, job.times, job.cluster, places, priority)
    return spans.astype(np.float64), np.maximum(peaks - job.capacity, 0).sum(axis=1)


def _score(example: Example, tasks: Sequence[str], choice: Mapping[str, Array]) -> Any:
    job = example.work.job
    found = arrays_of(example, tasks, choice)
    return job.score(found.get("placement", job.expert), found.get("priority"), found.get("fusion"))


class Trainer:
    """PPO over one or more graphs, one after the other; keeps the best answer seen for each.

    A sample is an episode with one reward, so that `return`, the mean of its returns, is `reward` here.
    """

    def __init__(self, net: PlacerNet, examples: Sequence[Example], tasks: Sequence[str], ppo: Ppo, seed: int) -> None:
        self.cooling = 1.0  # share of the fall of learning rate and entropy
        self.average: PlacerNet | None = None  # follows the weights slowly, where it is set
        self.net, self.examples, self.tasks, self.ppo = net, list(examples), tuple(tasks), ppo
        self.optimizer = torch.optim.Adam(net.parameters(), lr=ppo.learning_rate)
        self.seed, self.updates, self.simulations = seed, 0, 0
        self.generator = torch.Generator().manual_seed(seed)
        self.best: list[Found | None] = [None] * len(self.examples)
        self.metrics: dict[str, float] = {}

    def update(self, progress: float, spent: Callable[[], bool] = lambda: False) -> None:
        """Sample, simulate and learn once, on the next graph. `progress` 0..1 lowers learning rate and entropy.

        `spent` is asked between epochs. Where each sample has a pass of its own, huge graphs get fewer samples.
        """
        row = self.updates % len(self.examples)
        example, ppo = self.examples[row], self.ppo
        count = samples_of(example, self.tasks, ppo)
        even = min(0.2, ppo.explore * (1 - 0.75 * progress) / example.work.units.count)
        with torch.no_grad():
            encoded = self.net.encode(example)
            decision = sample(self.net, encoded, self.tasks, ppo.rounds, count, self.generator, even=even)
            old, _ = log_likelihood(self.net, encoded, self.tasks, decision, even)
        costs, over = evaluate(example, self.tasks, {t: v.cpu().numpy() for t, v in decision.last.items()})
        self.simulations += count
        self._remember(row, decision, costs, over)
        single = max(example.work.job.single_ns, 1.0)
        rewards = np.where(over > 0, -INVALID, -np.sqrt(costs / single))
        advantage = torch.from_numpy(standardise(rewards)).float()[:, None, None].to(old.device)
        for group in self.optimizer.param_groups:
            group["lr"] = ppo.learning_rate * max(1 - progress, 0.05)
        bonus = ppo.entropy * (0.1 + 0.9 * (1 - progress))
        for epoch in range(ppo.epochs):
            if epoch and spent():
                break
            self._learn(example, decision, old, advantage, (bonus, even), self._elite(row))
        self.updates += 1
        if self.average is not None:
            self._follow(self.average)
        mean = float(rewards.mean())
        self.metrics |= {"reward": mean, "return": mean, "cost_ratio": float(costs.mean() / single),
                        "best_ratio": self.best[row].key[1] / single if self.best[row] else 0.0,  # type: ignore[union-attr]
                        "feasible": float((over == 0).mean())}  # fmt: skip

    def _follow(self, average: PlacerNet) -> None:
        """Polyak's average of the weights, over the last hundred updates or so."""
        share = 1 - min(0.99, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), self.net.parameters(), strict=True):
                slow.lerp_(fast, share)

    def answer(self, row: int, trials: int, spent: Callable[[int], bool] = lambda steps: False) -> None:
        """Remember the best of the likeliest decision for a graph and, unless the budget is spent, of some samples."""
        example, ppo = self.examples[row], self.ppo
        with torch.no_grad():
            encoded = self.net.encode(example)
            self._judge(row, sample(self.net, encoded, self.tasks, ppo.rounds, 1, None))
            if trials and not spent(self.simulations):
                made = sample(self.net, encoded, self.tasks, ppo.rounds, trials, self.generator, heat=HEAT)
                self._judge(row, made)

    def _judge(self, row: int, decision: Decision) -> None:
        example = self.examples[row]
        costs, over = evaluate(example, self.tasks, {t: v.cpu().numpy() for t, v in decision.last.items()})
        self.simulations += len(costs)
        self._remember(row, decision, costs, over)

    def _learn(self, example: Example, decision: Decision, old: Tensor, advantage: Tensor, how: tuple[float, float],
               elite: Decision | None) -> None:  # fmt: skip
        encoded = self.net.encode(example)
        many, (bonus, even) = len(old), how
        samples = decision if elite is None else joined(decision, elite)
        new, entropy = log_likelihood(self.net, encoded, self.tasks, samples, even)
        ratio = torch.exp(new[:many] - old)
        clipped = ratio.clamp(1 - self.ppo.clip, 1 + self.ppo.clip)
        loss = -torch.minimum(ratio * advantage, clipped * advantage).mean() - bonus * entropy
        if elite is not None:
            loss = loss - self.ppo.imitate * new[many:].mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 0.5)
        self.optimizer.step()
        self.metrics["entropy"] = float(entropy.detach())

    def _remember(self, row: int, decision: Decision, costs: Array, over: Array) -> None:
        b = int(np.lexsort((costs, over > 0))[0])
        key = (bool(over[b] > 0), float(costs[b]))
        kept = self.best[row]
        if kept is None or key < kept.key:
            self.best[row] = Found(key, {task: values[b].cpu().numpy() for task, values in decision.last.items()})

    def _elite(self, row: int) -> Decision | None:
        """The best decision of a graph, as one sample."""
        kept = self.best[row]
        if kept is None or not self.ppo.imitate:
            return None
        device = of(self.net)
        choice = {task: torch.from_numpy(values)[None].to(device) for task, values in kept.choice.items()}
        return Decision((choice,) * self.ppo.rounds)


def standardise(rewards: Array) -> Array:
    """Rewards of a batch less their mean over their deviation, (B,); one outlier does not drown the others."""
    low = np.median(rewards) - 4 * (np.median(np.abs(rewards - np.median(rewards))) + 1e-6)
    kept = np.maximum(rewards, low)
    return np.asarray((kept - kept.mean()) / (kept.std() + 1e-8))
