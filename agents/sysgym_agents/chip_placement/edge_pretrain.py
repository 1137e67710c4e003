"""Supervised pre-training of the encoder of `edge-gnn` on the quality of placements (arXiv 2004.10746, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sysgym.core.env import ProblemEnv
from sysgym.core.problem import AnyProblem, Array, Instance
from sysgym_agents.chip_placement.edge_net import EdgeNet
from sysgym_agents.core import Clock
from sysgym_agents.general.sb3.training import Setup, Weights, make_policy, put_weights, weights_of
from sysgym_agents.learning.devices import device_for, of

LABELS = ("wirelength_cost", "density_cost", "congestion_cost")
TASTE = 2.0  # spread of the random preferences that make placements differ in quality
BATCH, STEPS, ON_THE_WAY, FEW = 32, 600, 1, 16


def collect(
    env: ProblemEnv, count: int, rng: np.random.Generator, clock: Clock
) -> list[list[tuple[dict[str, Array], Array]]]:
    """Episodes of legal placements, `count` a netlist: a few observations on the way and the last one, with LABELS.

    Each is played with a random taste for the features of cells, so that they differ. Labels are standardised a
    netlist: quality is relative to what else its macros could do.
    """
    found = []
    for position in range(env.instances.sampled):
        episodes: list[tuple[list[dict[str, Array]], list[float]]] = []
        for _ in range(2 * count):
            if len(episodes) == count or (clock.spent() and len(episodes) > 1):
                break
            seen, metrics = _episode(env, env.instances.items[position], rng)
            if metrics is not None:
                episodes.append((seen, [metrics[name] for name in LABELS]))
        if not episodes:
            continue
        labels = np.array([label for _, label in episodes])
        scaled = (labels - labels.mean(axis=0)) / np.maximum(labels.std(axis=0), 1e-6)
        found += [[(obs, label) for obs in seen] for (seen, _), label in zip(episodes, scaled, strict=True)]
    return found


def _episode(
    env: ProblemEnv, chip: Instance, rng: np.random.Generator
) -> tuple[list[dict[str, Array]], dict[str, float] | None]:
    """ON_THE_WAY observations and the last one, and the metrics of a legal end."""
    obs, _ = env.reset(seed=int(rng.integers(2**31)), options={"instance": chip})
    taste = rng.normal(0, TASTE, obs["candidates"].shape[1])
    seen, over = [obs], False
    while not over:
        scores = obs["candidates"] @ taste + rng.gumbel(size=len(obs["candidates"]))
        obs, _, over, _, info = env.step(int(np.where(obs["action_mask"], scores, -np.inf).argmax()))
        seen.append(obs)
    chosen = [*rng.integers(0, len(seen) - 1, ON_THE_WAY).tolist(), len(seen) - 1]
    verdict = info["verdict"]
    return [seen[i] for i in chosen], verdict["metrics"] if verdict["feasible"] else None


def _batch(rows: Sequence[tuple[dict[str, Array], Array]], device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    keys = ("dynamic", "graph_id", "globals", "focus")
    obs = {key: torch.from_numpy(np.stack([obs[key] for obs, _ in rows])).to(device) for key in keys}
    return obs, torch.from_numpy(np.stack([label for _, label in rows]).astype(np.float32)).to(device)


def explained(net: EdgeNet, rows: Sequence[tuple[dict[str, Array], Array]]) -> float:
    """The share of the labels' variance that the predictions explain; 0 without rows."""
    if not rows:
        return 0.0
    net.train(False)
    with torch.no_grad():
        obs, labels = _batch(rows, of(net))
        missed = (net.quality(net.encode(obs)) - labels).square().mean()
    return float(1 - missed / max(float(labels.square().mean()), 1e-9))


def pretrain(
    setup: Setup,
    problem: AnyProblem,
    instances: Sequence[Instance],
    rng: np.random.Generator,
    count: int,
    clock: Clock,
) -> tuple[Weights, float]:
    """Weights whose encoder predicts LABELS, and what they explain of complete placements that were held out.

    A quarter of the episodes is held out: half of it chooses among the weights along the way, half of it tells. With
    fewer than FEW episodes the weights stay as they begin, and explain nothing.
    """
    env = ProblemEnv(problem, instances=list(instances), obs="dynamic")
    device = device_for(BATCH * max(problem.size(item).nodes for item in instances))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        policy = make_policy(setup, env).to(device)
        net: EdgeNet = policy.net
        episodes = collect(env, count, rng, clock)
        order = rng.permutation(len(episodes))
        held = len(order) // 8
        told, chosen = ([episodes[i][-1] for i in part] for part in (order[:held], order[held : 2 * held]))
        rows = [row for i in order[2 * held :] for row in episodes[i]]
        optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
        best, best_score = weights_of(policy), explained(net, chosen)
        for step in range(1, STEPS + 1):
            if clock.spent() or len(episodes) < FEW:
                break
            net.train(True, statistics=True)
            obs, labels = _batch([rows[i] for i in rng.integers(0, len(rows), BATCH)], device)
            loss = (net.quality(net.encode(obs)) - labels).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step % 50 == 0 and (score := explained(net, chosen)) > best_score:
                best, best_score = weights_of(policy), score
        put_weights(policy, best)
        return best, explained(net, told)
