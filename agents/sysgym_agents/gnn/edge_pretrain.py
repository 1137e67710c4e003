"""Supervised pre-training of the encoder of `edge-gnn` on the quality of placements (arXiv 2004.10746, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sysgym.core.env import ProblemEnv
from sysgym.core.problem import Array, Instance
from sysgym_agents.core import Clock
from sysgym_agents.gnn.edge_net import EdgeNet
from sysgym_agents.sb3.training import Setup, Trained, make_policy, weights_of

LABELS = ("wirelength_cost", "density_cost", "congestion_cost")
TASTE = 4.0  # spread of the random preferences that make placements differ in quality
BATCH, EPOCHS = 16, 30


def collect(env: ProblemEnv, count: int, rng: np.random.Generator, clock: Clock) -> list[tuple[dict[str, Array], Array]]:
    """Last observations and LABELS of `count` legal placements a netlist, made with random preferences among cells.

    Labels are standardised a netlist: quality is relative to what else its macros could do.
    """
    found: list[tuple[dict[str, Array], Array]] = []
    for position in range(env.instances.sampled):
        rows: list[tuple[dict[str, Array], Array]] = []
        for _ in range(2 * count):
            if len(rows) == count or (clock.spent() and len(rows) > 1):
                break
            seed = int(rng.integers(2**31))
            obs, _ = env.reset(seed=seed, options={"instance": env.instances.items[position].name})
            taste = rng.normal(0, TASTE, env.machine.candidates(env.instance, env.state, env.size)[0].shape[1])
            over, info = False, {}
            while not over:
                scores = obs["candidates"] @ taste + rng.gumbel(size=len(obs["candidates"]))
                obs, _, over, _, info = env.step(int(np.where(obs["action_mask"], scores, -np.inf).argmax()))
            if info["verdict"]["feasible"]:
                rows.append((obs, np.array([info["verdict"]["metrics"][name] for name in LABELS])))
        if rows:
            labels = np.stack([label for _, label in rows])
            scaled = (labels - labels.mean(axis=0)) / np.maximum(labels.std(axis=0), 1e-6)
            found += [(obs, label) for (obs, _), label in zip(rows, scaled, strict=True)]
    return found


def _batch(rows: Sequence[tuple[dict[str, Array], Array]]) -> tuple[dict[str, Tensor], Tensor]:
    keys = ("dynamic", "graph_id", "globals", "focus")
    obs = {key: torch.from_numpy(np.stack([obs[key] for obs, _ in rows])) for key in keys}
    return obs, torch.from_numpy(np.stack([label for _, label in rows]).astype(np.float32))


def pretrain(
    setup: Setup, problem: Any, instances: Sequence[Instance], rng: np.random.Generator, count: int, clock: Clock
) -> tuple[Trained, float]:
    """Weights whose encoder predicts LABELS, and the share of their variance that it explains on a held-out quarter."""
    env = ProblemEnv(problem, instances=list(instances), obs="dynamic")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        policy = make_policy(setup, env)
        net: EdgeNet = policy.net
        rows = collect(env, count, rng, clock)
        rng.shuffle(rows)  # type: ignore[arg-type]
        held = max(len(rows) // 4, 1)
        test, rows = rows[:held], rows[held:] or rows
        optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
        for _ in range(EPOCHS):
            if clock.spent():
                break
            order = rng.permutation(len(rows))
            for first in range(0, len(order), BATCH):
                obs, labels = _batch([rows[i] for i in order[first : first + BATCH]])
                loss = (net.quality(net.encode(obs)) - labels).square().mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        with torch.no_grad():
            obs, labels = _batch(test)
            missed = (net.quality(net.encode(obs)) - labels).square().mean()
            spread = labels.square().mean()
    return weights_of(policy), float(1 - missed / max(float(spread), 1e-9))
