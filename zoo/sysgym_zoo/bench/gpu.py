"""`sysgym bench gpu`: training on a GPU against one core of its host, in this process; at most ten minutes.

Steps of three learners on large graphs, first on the CPU with one thread, then on the GPU, from the same weights on the
same batches: how long they take, and by how much their losses differ. TF32 is off; what is random is drawn on the CPU.

It needs a GPU that torch finds (2.8 or later, built for CUDA), and runs on a bare machine without a network: the four
source folders `envs`, `agents`, `zoo` and `leaderboards` on PYTHONPATH, with numpy, scipy, numba, gymnasium,
stable-baselines3, sb3-contrib, safetensors and networkx beside torch; then `python -m sysgym_zoo.bench.gpu`, which
prints the rows as JSON, is enough. The suite need not be installed. `--quick` takes small graphs, and the CPU against
itself where there is no GPU: ratios are about 1 then, and losses equal.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from sysgym.core.errors import UsageError
from sysgym_agents.learning import devices
from sysgym_zoo.jobs.console import say
from sysgym_zoo.jobs.measuring import Measured, Rows, median, row
from sysgym_zoo.jobs.runs import set_threads

STEPS, LEAST, SECONDS = 50, 10, 130.0  # compared steps; fewer, but LEAST, where the CPU takes longer than SECONDS
RATE = 1e-3  # of the partitioner: at five times as much, what is rounded differently grows a hundredfold in 50 steps
COPIES, NODES, BATCH = 128, 256, 1024  # of the policy: environments, nodes of each, observations of a gradient step


class Case(NamedTuple):
    """A training whose steps are compared."""

    what: str
    start: Callable[[torch.device], Iterator[float]]  # its losses, a step each, on a device
    bar: str  # of how many times as fast the GPU is; '' for none


class Course(NamedTuple):
    """What the steps on one device came to."""

    losses: list[float]
    seconds: Measured  # of a step


def attention(name: str) -> Callable[[torch.device], Iterator[float]]:
    """Forward and backward over all operators of a graph, on drawn placements with drawn advantages."""
    from sysgym.device_placement.problem import DevicePlacement
    from sysgym_agents.dataflow.gdp import GDP
    from sysgym_agents.dataflow.gdp_net import make_example
    from sysgym_agents.dataflow.gdp_train import Decision, log_likelihood

    problem = DevicePlacement(mode="oneshot")
    graph = problem.load(name)
    whole, words = make_example(problem.work(graph), sorted(set(graph.op_types))), sorted(set(graph.op_types))
    generator = torch.Generator().manual_seed(0)
    count = len(whole.nodes)
    chosen = torch.randint(whole.work.job.devices, (4, count), generator=generator)
    gains = torch.randn(4, generator=generator)[:, None, None]

    def start(device: torch.device) -> Iterator[float]:
        net, example = GDP().fresh_net(words, 0).to(device), whole.to(device)
        decision, gain = Decision(({"placement": chosen.to(device)},)), gains.to(device)
        optimiser = torch.optim.Adam(net.parameters(), lr=1e-4)
        while True:
            new, entropy = log_likelihood(net, net.encode(example), ("placement",), decision, 0.01)
            loss = -(gain * new).mean() - 0.01 * entropy - 0.1 * new.mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            yield float(loss.detach())

    return start


def partitioner(nodes: int) -> Callable[[torch.device], Iterator[float]]:
    """Steps of `gap` on a mesh, with drawn features in the place of its eigenvectors."""
    from sysgym.graphs.generate import generate_graph
    from sysgym_agents.partitioning.gap_model import make_example
    from sysgym_agents.partitioning.gap_train import Progress, Training

    graph = generate_graph(f"delaunay:n={nodes},seed=1")
    whole = make_example(graph, np.random.default_rng(0).normal(size=(graph.nodes, 4)))
    setting = Training(
        hidden=64, layers=2, ks=(4,), features=4, rounds=10, learning_rate=RATE, balance=2.0, iterations=10**6,
        trials=1,
    )  # fmt: skip

    def start(device: torch.device) -> Iterator[float]:
        progress = Progress([whole.to(device)], setting, np.random.default_rng(0))
        while True:
            yield progress.step()[0]

    return start


def _model(copies: int, nodes: int, steps: int, device: torch.device) -> Any:
    """MaskablePPO with GraphPolicy on meshes whose nodes are assigned to 4 parts."""
    from sb3_contrib import MaskablePPO

    from sysgym.partitioning.problem import Partitioning
    from sysgym_agents.general.sb3.buffers import MaskableGraphRolloutBuffer
    from sysgym_agents.general.sb3.policies import GraphMaskablePolicy
    from sysgym_agents.general.sb3.training import make_vector, stored_graphs

    problem: Any = Partitioning(mode="assign", k=4)
    meshes = [problem.load(f"delaunay:n={nodes},seed={seed}") for seed in (1, 2)]
    env = make_vector(problem, meshes, copies, "improvement", layers=2)
    return MaskablePPO(
        GraphMaskablePolicy, env, n_steps=steps, batch_size=min(BATCH, copies * steps), n_epochs=4, seed=0,
        device=device, rollout_buffer_class=MaskableGraphRolloutBuffer,
        policy_kwargs={"hidden": 64, "layers": 2, "graphs": stored_graphs(env.vector.instances, 2)},
    )  # fmt: skip


def policy(copies: int, nodes: int) -> Callable[[torch.device], Iterator[float]]:
    """Gradient steps of the policy on one batch: first observations, drawn actions, advantages and returns."""

    def start(device: torch.device) -> Iterator[float]:
        model, rng = _model(copies, nodes, 2, device), np.random.default_rng(0)
        seen = {key: torch.as_tensor(value, device=device) for key, value in model.env.reset().items()}
        actions = torch.from_numpy(np.array([rng.choice(np.flatnonzero(mask)) for mask in seen["action_mask"].cpu()]))
        gains, returns = (torch.from_numpy(rng.normal(size=copies).astype(np.float32)).to(device) for _ in range(2))
        optimiser = torch.optim.Adam(model.policy.parameters(), lr=3e-4)
        model.policy.set_training_mode(True)
        while True:
            values, logs, entropy = model.policy.evaluate_actions(seen, actions.to(device))
            loss = -(gains * logs).mean() - 0.01 * entropy.mean() + (values.flatten() - returns).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            yield float(loss.detach())

    return start


def course(start: Callable[[torch.device], Iterator[float]], device: torch.device, steps: int) -> Course:
    """Steps on a device: so many, or, on the CPU, as many as SECONDS allow. Reading a loss waits for the device."""
    found, losses, spent = start(device), list[float](), list[float]()
    while len(losses) < steps and (len(losses) < LEAST or device.type != "cpu" or sum(spent) < SECONDS):
        began = time.perf_counter()
        losses.append(next(found))
        spent.append(time.perf_counter() - began)
    return Course(losses, median(spent[2:]))  # the first compile and warm up


def apart(one: list[float], two: list[float]) -> float:
    """The largest difference of losses, relative to the larger of the loss and a hundredth of the largest."""
    a, b = np.array(one), np.array(two)
    return float((np.abs(a - b) / np.maximum(np.abs(a), 0.01 * np.abs(a).max())).max())


def compared(case: Case, device: torch.device, steps: int) -> Rows:
    """How long a step takes on one core and on a device, and how far their losses part."""
    say(f"{case.what}: {steps} steps on one core, then on {device.type} ...")
    here = course(case.start, torch.device("cpu"), steps)
    there = course(case.start, device, len(here.losses))
    differ = apart(here.losses, there.losses)
    return [
        row(f"{case.what}: one core", here.seconds, "s"),
        row(f"{case.what}: {_named(device)}", there.seconds, "s"),
        row(f"{case.what}: one core / {_named(device)}", here.seconds / there.seconds, "x", case.bar),
        row(f"{case.what}: losses of {len(here.losses)} steps on fixed batches, largest relative difference", differ,
            "", "<= 0.001"),
    ]  # fmt: skip


def rollouts(copies: int, nodes: int, steps: int, device: torch.device, bar: str) -> Rows:
    """Environment steps a second of MaskablePPO with GraphPolicy, updates included, on one core and on a device."""
    title = f"MaskablePPO + GraphPolicy, {nodes} nodes, {copies} environments"
    say(f"{title}: rollouts of {steps} steps each and their updates, on one core, then on {device.type} ...")
    speeds = []
    for where in (torch.device("cpu"), device):
        model, spent = _model(copies, nodes, steps, where), list[float]()
        model.learn(copies * steps)  # compiles and warms up
        for _ in range(3):
            began = time.perf_counter()
            model.learn(copies * steps)
            spent.append(time.perf_counter() - began)
        speeds.append(copies * steps / median(spent))
    return [
        row(f"{title}: one core", speeds[0], "steps/s"),
        row(f"{title}: {_named(device)}", speeds[1], "steps/s"),
        row(f"{title}: {_named(device)} / one core", speeds[1] / speeds[0], "x", bar),
    ]


def _named(device: torch.device) -> str:
    return "the CPU again" if device.type == "cpu" else devices.named(device.type)


def rows(quick: bool) -> Rows:
    """All rows; UsageError without a GPU, unless quick."""
    device = devices.accelerator()
    if device is None and not quick:
        raise UsageError(
            f"bench gpu needs a GPU, and {devices.finding()}; run it on a machine with one, or with --quick, which "
            "compares the CPU with itself on small graphs."
        )
    set_threads(1)
    at, steps = device or torch.device("cpu"), 12 if quick else STEPS
    bars = ("", "", "") if quick else (">= 60", ">= 60", ">= 6")
    operators, nodes, copies = ("seeds/wavenet_2s", 2000, 8) if quick else ("seeds/gnmt_8l", 200_000, COPIES)
    mesh = 64 if quick else NODES
    found = compared(Case(f"gdp, forward and backward over {operators}", attention(operators), bars[0]), at, steps)
    found += compared(Case(f"gap, a step on {nodes:,} nodes", partitioner(nodes), bars[1]), at, steps)
    found += compared(Case(f"GraphPolicy, a step on {copies} x {mesh} nodes", policy(copies, mesh), ""), at, steps)
    return found + rollouts(copies, mesh, 4 if quick else 16, at, bars[2])


if __name__ == "__main__":
    try:
        print(json.dumps(rows("--quick" in sys.argv[1:]), indent=1))
    except UsageError as error:
        sys.exit(f"sysgym: {error}")
