"""Training of Placeto: parallel episodes visit every unit of a graph once, with a simulation after each move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sysgym.core.problem import Array
from sysgym_agents.dataflow.placement_learner import Best, Stop
from sysgym_agents.dataflow.placeto_net import PlacetoNet, Row, State, candidates
from sysgym_agents.learning.devices import drawn, of

LAST_RATE = 0.1  # of the learning rate, at the end
ROOM = 2**22  # numbers in an embedding of states that are learnt from together


class Reinforce(NamedTuple):
    """Hyper-parameters of the updates."""

    episodes: int  # in parallel
    epochs: int  # gradient steps on the same episodes; from the second on, clipped as in PPO
    start: str
    learning_rate: float
    discount: float
    entropy: float  # bonus at the start; falls to nothing
    penalty: float  # for each capacity's worth of bytes too many, in costs of a single device
    clip: float  # of the norm of the gradient


class Seen(NamedTuple):
    """What simulations told of placements."""

    cost: Array  # (R,) float64 over the cost of one device, with the penalty for memory
    start: Array  # (R, U) float32 of the makespan
    busy: Array  # (R, D) float32 of the makespan


class Steps(NamedTuple):
    """Episodes: T steps of B."""

    states: list[State]  # of each step
    chosen: list[Tensor]  # (B,) int64
    cost: list[Array]  # (B,) before the first step and after each


class PlacetoTrainer:
    """Plays and learns, a graph after the other; keeps the best placement that was simulated for each.

    What a move does not change is not simulated again. Episodes played together count for at least as many simulations
    as each has steps, so that a budget comes to an end when the policy moves nothing any more.
    """

    def __init__(self, net: PlacetoNet, rows: Sequence[Row], hyper: Reinforce, seed: int) -> None:
        self.net, self.rows, self.hyper = net, list(rows), hyper
        self.optimizer = torch.optim.Adam(net.parameters(), lr=hyper.learning_rate)
        self.generator = torch.Generator().manual_seed(seed)
        self.best = [Best() for _ in self.rows]
        self.simulations, self.updates = 0, 0
        self.metrics: dict[str, float] = {}

    def prepare(self, stop: Stop) -> None:
        """Nothing precedes the first update."""

    def update(self, progress: float, left: int, stop: Stop) -> None:
        """Play on the next graph and learn; no more than `left` simulations, fewer if time is up.

        `progress` 0..1 lowers the learning rate to a tenth and the entropy bonus to nothing.
        """
        index = self.updates % len(self.rows)
        self.updates += 1
        played = self._play(index, left, stop, greedy=False)
        for group in self.optimizer.param_groups:
            group["lr"] = self.hyper.learning_rate * (1 - (1 - LAST_RATE) * min(progress, 1.0))
        complete = len(played.chosen) == self.rows[index].example.work.units.count
        if complete or (played.chosen and self.updates == 1):
            self._learn(self.rows[index], played, self.hyper.entropy * (1 - min(progress, 1.0)), stop)

    def sample(self, left: int, stop: Stop, greedy: bool) -> None:
        """Play on the first graph: one episode of the likeliest moves, or drawn ones."""
        self._play(0, left, stop, greedy)

    def _play(self, index: int, left: int, stop: Stop, greedy: bool) -> Steps:
        row, hyper = self.rows[index], self.hyper
        began, until = self.simulations, self.simulations + left
        units, devices = row.example.work.units.count, row.example.work.job.devices
        first = torch.zeros(1, units, dtype=torch.int64)
        if hyper.start == "random":
            first = torch.randint(devices, (1, units), generator=self.generator)
        seen = self._simulate(index, first)
        many = 1 if greedy else hyper.episodes
        at = of(self.net)
        device, seen = first.repeat(many, 1).to(at), Seen(*(np.repeat(values, many, axis=0) for values in seen))
        played = Steps([], [], [seen.cost.copy()])
        for unit in range(units):
            facts, allowed = candidates(row, unit, device, seen.busy)
            state = State(
                torch.full((many,), unit, device=at),
                device.clone(),
                torch.from_numpy(seen.start.copy()).to(at),
                facts,
                allowed,
            )
            with torch.no_grad():
                scores = self.net(row, state)
            chosen = scores.argmax(dim=1)
            if not greedy:
                chosen = drawn(scores.exp(), 1, self.generator)[:, 0]
            moved = (chosen != device[:, unit]).nonzero()[:, 0]
            if self.simulations + len(moved) > until or stop():
                break
            device[:, unit] = chosen
            for values, fresh in zip(seen, self._simulate(index, device[moved]), strict=True):
                values[moved.cpu().numpy()] = fresh
            played.states.append(state)
            played.chosen.append(chosen)
            played.cost.append(seen.cost.copy())
        self.simulations = max(self.simulations, min(until, began + len(played.chosen)))
        self._note(index, played)
        return played

    def _note(self, index: int, played: Steps) -> None:
        final = played.cost[-1]
        single = max(self.rows[index].example.work.job.single_ns, 1.0)
        over, cost = self.best[index].key
        gain = float((played.cost[0] - final).mean())
        self.metrics |= {
            "reward": gain, "return": gain, "cost_ratio": float(final.mean()), "best_ratio": cost / single,
            "feasible": float(not over),
        }  # fmt: skip

    def _simulate(self, index: int, device: Tensor) -> Seen:
        """Simulate placements (R, U)."""
        work = self.rows[index].example.work
        job = work.job
        single, capacity = max(job.single_ns, 1.0), max(float(job.capacity.mean()), 1.0)
        cost, over = np.zeros(len(device)), np.zeros(len(device))
        start = np.zeros((len(device), work.units.count), np.float32)
        busy = np.zeros((len(device), job.devices), np.float32)
        places = device.cpu().numpy()[:, work.units.of].astype(np.int32)
        for i, placement in enumerate(places):
            score = job.score(placement)
            cost[i], over[i] = score.cost, score.over_bytes
            if score.outcome is not None:
                span = max(score.outcome.makespan_ns, 1)
                start[i], busy[i] = score.outcome.start[work.first] / span, score.outcome.busy_ns / span
        self.simulations += len(device)
        if len(device):
            self.best[index].offer(cost, over, lambda b: places[b])
        return Seen(cost / single + self.hyper.penalty * over / capacity, start, busy)

    def _learn(self, row: Row, played: Steps, bonus: float, stop: Stop) -> None:
        """Policy gradient with what a step still gains, less the mean over the episodes at that step."""
        cost = np.stack(played.cost)
        gains = returns(cost[:-1] - cost[1:], self.hyper.discount)
        gains -= gains.mean(axis=1, keepdims=True)
        advantage = torch.from_numpy((gains / (gains.std() + 1e-8)).ravel()).float().to(of(self.net))
        states = State(*(torch.cat(parts) for parts in zip(*played.states, strict=True)))
        chosen, old = torch.cat(played.chosen), None
        size = max(1, ROOM // (states.device.shape[1] * 2 * self.net.context.out_features))
        for _ in range(self.hyper.epochs):
            self.optimizer.zero_grad()
            found, entropy = [], 0.0
            for rows in torch.arange(len(chosen), device=chosen.device).split(size):
                scores = self.net(row, State(*(part[rows] for part in states)))
                picked = scores.gather(1, chosen[rows, None])[:, 0]
                ratio = torch.exp(picked - (picked.detach() if old is None else old[rows]))
                gain = torch.minimum(ratio * advantage[rows], ratio.clamp(0.8, 1.2) * advantage[rows])
                random = -(scores.exp() * scores.clamp(min=-50)).sum(dim=1)
                (-(gain + bonus * random).sum() / len(chosen)).backward()
                found.append(picked.detach())
                entropy += float(random.detach().sum()) / len(chosen)
            old = torch.cat(found) if old is None else old
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.hyper.clip)
            self.optimizer.step()
            self.metrics["entropy"] = entropy
            if stop():
                return


def returns(rewards: Array, discount: float) -> Array:
    """Discounted sums of rewards (T, B) from each step on, (T, B)."""
    found, later = np.empty_like(rewards), np.zeros(rewards.shape[1])
    for t in range(len(rewards) - 1, -1, -1):
        found[t] = later = rewards[t] + discount * later
    return found
