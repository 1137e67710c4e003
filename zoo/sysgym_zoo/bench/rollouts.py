"""`sysgym bench rollouts`: memory and CPU time of training on graphs, against the plain way to do the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer
from sb3_contrib.common.maskable.distributions import MaskableMultiCategoricalDistribution
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sysgym import make_problem
from sysgym.core.env import ProblemEnv
from sysgym.core.problem import AnyProblem
from sysgym_agents.general.sb3 import network
from sysgym_agents.general.sb3.buffers import MaskableGraphRolloutBuffer
from sysgym_agents.general.sb3.policies import GraphMaskablePolicy, ManyCategorical
from sysgym_agents.general.sb3.training import make_vector, stored_graphs
from sysgym_agents.learning.products import mean_operator, multiply, scatter_multiply
from sysgym_zoo.jobs.measuring import LEAST, Measured, cpu, median, row

NODES, LARGE = 256, 1000


def _ratio(peer: Callable[[], Any], mine: Callable[[], Any], repeats: int) -> Measured:
    """Median CPU time of the peer over that of mine, measured in turns."""
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 1):  # the first round warms up
        for times, function in zip(spent, (peer, mine), strict=True):
            started = time.process_time()
            function()
            times.append(time.process_time() - started)
    return median(spent[0][1:]) / median(spent[1][1:])


def _instances(problem: AnyProblem, nodes: int = NODES) -> list[Any]:
    return [problem.load(f"delaunay:n={nodes},seed={seed}") for seed in (1, 2)]


def _naive(problem: AnyProblem, num_envs: int) -> VecEnv:
    instances = _instances(problem)
    return DummyVecEnv([lambda: Monitor(ProblemEnv(problem, instances=instances)) for _ in range(num_envs)])


def _random_actions(env: VecEnv, rng: np.random.Generator) -> Any:
    masks = np.stack(env.env_method("action_masks"))
    if isinstance(env.action_space, spaces.Discrete):
        return np.where(masks, rng.random(masks.shape), -1.0).argmax(axis=1)
    assert isinstance(env.action_space, spaces.MultiDiscrete)
    return np.stack([rng.integers(env.action_space.nvec) for _ in masks])


def memory(steps: int, num_envs: int = 8) -> list[dict[str, Any]]:
    """Bytes of observations and masks of a rollout in SB3's buffer over those in ours, for the same rollout."""
    rows = []
    cases: dict[str, dict[str, Any]] = {
        "assign": {"mode": "assign", "k": 4},
        "refine, candidates": {"k": 4},
        "refine, raw moves": {"moves": "raw", "k": 4},
    }
    for title, options in cases.items():
        env = _naive(make_problem("Partitioning", **options), num_envs)
        buffer = MaskableGraphRolloutBuffer(steps, env.observation_space, env.action_space, "cpu", n_envs=num_envs)
        rng, none = np.random.default_rng(0), torch.zeros(num_envs)
        env.seed(0)
        obs: Any = env.reset()
        for _ in range(steps):
            masks = np.stack(env.env_method("action_masks"))
            actions = _random_actions(env, rng)
            shown, rewards, ends, _ = env.step(actions)
            buffer.add(obs, actions, rewards, ends, none, none, action_masks=masks)
            obs = shown
        peer = MaskableDictRolloutBuffer(1, env.observation_space, env.action_space, "cpu", n_envs=num_envs)
        plain = steps * (sum(part.nbytes for part in peer.observations.values()) + peer.action_masks.nbytes)
        mine = buffer.packed.nbytes + buffer.action_masks.nbytes
        what = f"rollout of {steps} x {num_envs} full observations, {NODES} nodes, {title}"
        rows.append(row(f"{what}: SB3's buffer", plain / 2**20, "MiB"))
        rows.append(row(f"{what}: SB3's / ours", plain / mine, "x", ">= 20"))
    return rows


def products(batch: int, edges: int = 1024, width: int = 64) -> list[dict[str, Any]]:
    """Weighted mean over neighbours, forward and backward: index_add over stored products."""
    rng = np.random.default_rng(0)
    index = rng.integers(NODES, size=(4, 2, edges)).astype(np.int32)
    operator = mean_operator(index, rng.random((4, edges)).astype(np.float32), np.ones((4, edges), np.int8), NODES)
    ids = rng.integers(4, size=batch)
    x = torch.randn(batch, NODES, width, requires_grad=True)
    near = torch.nn.Linear(width, width, bias=False)
    title = f"B={batch}, N={NODES}, E={edges}, H={width}, forward and backward"

    def run(function: Any, whole: bool) -> Callable[[], None]:
        return lambda: function(operator, ids, near(x) if whole else x).sum().backward()

    return [
        row(f"message passing, {title}: index_add / stored product",
            _ratio(run(scatter_multiply, False), run(multiply, False), 5), "x", ">= 8"),
        row(f"with its linear layer, {title}: index_add / stored product",
            _ratio(run(scatter_multiply, True), run(multiply, True), 5), "x"),
    ]  # fmt: skip


def choices(batch: int, count: int = 256, options: int = 8) -> list[dict[str, Any]]:
    """A step of a policy that chooses one of 8 options for each of 256 nodes: sb3-contrib's loop over ours."""
    logits = torch.randn(batch, count * options)
    masks = torch.rand(batch, count * options) < 0.8
    masks[:, ::options] = True
    loop, mine = MaskableMultiCategoricalDistribution([options] * count), ManyCategorical(count, options)

    def contrib() -> None:
        loop.proba_distribution(logits)
        loop.apply_masking(masks.numpy())
        loop.log_prob(loop.sample()), loop.entropy()

    def ours() -> None:
        mine.proba_distribution(torch.where(masks, logits, network.ILLEGAL))
        mine.log_prob(mine.sample()), mine.entropy()

    title = f"masked choices, {count} x {options}, B={batch}: loop / batched"
    return [row(title, _ratio(contrib, ours, 3), "x", ">= 30")]


def _learning(env: Any, buffer: type | None, product: Any, n_steps: int) -> Measured:
    """Environment steps a CPU second of MaskablePPO with GraphPolicy, training included: median of rollouts."""
    extra = {} if buffer is None else {"graphs": stored_graphs(env.vector.instances, 2)}
    model = MaskablePPO(
        GraphMaskablePolicy, env, n_steps=n_steps, batch_size=256, n_epochs=4, seed=0, device="cpu",
        policy_kwargs={"hidden": 64, "layers": 2, **extra}, rollout_buffer_class=buffer,
    )  # fmt: skip
    vars(network)["multiply"] = product  # for the layers
    try:
        model.learn(env.num_envs * n_steps)  # warms up
        return env.num_envs * n_steps / cpu(lambda: model.learn(env.num_envs * n_steps), LEAST)
    finally:
        vars(network)["multiply"] = multiply


def throughput(n_steps: int, num_envs: int = 8) -> list[dict[str, Any]]:
    """Environment steps a CPU second of MaskablePPO with GraphPolicy, training included: naive and ours.

    Naive is full observations in DummyVecEnv and SB3's buffer, with layers that gather and scatter.
    """
    problem = make_problem("Partitioning", mode="assign", k=4)
    native = make_vector(problem, _instances(problem), num_envs, "improvement", layers=2)
    speed = {
        "naive": _learning(_naive(problem, num_envs), None, scatter_multiply, n_steps),
        "ours": _learning(native, MaskableGraphRolloutBuffer, multiply, n_steps),
    }
    large = make_vector(problem, _instances(problem, LARGE), num_envs, "improvement", layers=2)
    scaled = _learning(large, MaskableGraphRolloutBuffer, multiply, n_steps)
    title = f"MaskablePPO + GraphPolicy, {NODES} nodes, {num_envs} environments"
    return [
        row(f"{title}: naive", speed["naive"], "steps/s"),
        row(f"{title}: ours", speed["ours"], "steps/s"),
        row(f"{title}: ours / naive", speed["ours"] / speed["naive"], "x", ">= 2"),
        row(f"{title.replace(str(NODES), str(LARGE))}: ours", scaled, "steps/s", ">= 45"),
        row(f"nodes a second, {LARGE} / {NODES} nodes", scaled * LARGE / (speed["ours"] * NODES), "x", ">= 0.8"),
    ]


def rows(quick: bool) -> list[dict[str, Any]]:
    """All rows."""
    torch.set_num_threads(1)
    rows = memory(64 if quick else 256)
    rows += products(16 if quick else 256)
    rows += choices(2 if quick else 8)
    return rows + throughput(32 if quick else 64)
