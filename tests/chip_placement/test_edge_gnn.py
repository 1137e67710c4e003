"""The edge-centric network against a slow definition, its pre-training, and what placing agents learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sysgym import UsageError, make_problem
from sysgym.core.env import ProblemEnv
from sysgym_agents import Budget
from sysgym_agents.chip_placement.edge_pretrain import LABELS, collect, pretrain
from sysgym_agents.chip_placement.edges import EdgeMean, make_links, spread
from sysgym_agents.core import Clock, make_agent
from sysgym_agents.general.sb3.training import make_policy
from sysgym_agents.learning.products import csr_on
from sysgym_zoo.lookup.naming import make


def random_links(seed: int, nodes: int, edges: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    pairs = np.array([(u, v) for u in range(nodes) for v in range(u)])
    half = pairs[rng.choice(len(pairs), edges, replace=False)].T
    weight = rng.random(edges).astype(np.float32)
    return np.concatenate([half, half[::-1]], axis=1), np.concatenate([weight, weight])


@pytest.mark.parametrize("seed", range(3))
def test_edge_messages_equal_their_definition(seed: int) -> None:
    """Two graphs in one batch, padded edges, an isolated node; values and gradients of all inputs."""
    torch.manual_seed(seed)
    nodes, width = 7, 5
    graphs = [random_links(seed, nodes - 1, 9), random_links(seed + 10, nodes, 6)]
    index, weight, mask = np.zeros((2, 2, 20), np.int32), np.zeros((2, 20), np.float32), np.zeros((2, 20), np.int8)
    for g, (links, values) in enumerate(graphs):
        index[g, :, : len(values)], weight[g, : len(values)], mask[g, : len(values)] = links, values, 1
    layer = EdgeMean(width)
    torch.nn.init.normal_(layer.link)
    x = torch.randn(3, nodes, width, requires_grad=True)
    ids = np.array([1, 0, 1])
    stored = make_links(index, weight, mask, nodes)
    found, elsewhere = layer(x, stored, ids), spread(csr_on(stored, x.device), torch.from_numpy(ids))
    assert torch.allclose(layer(x, elsewhere, ids), found, atol=1e-6)
    rows = []
    for b, g in enumerate(ids):
        near, far, out = layer.near(x[b]), layer.far(x[b]), [x[b, v] * 0 for v in range(nodes)]
        counts = np.zeros(nodes)
        for (u, v), w in zip(graphs[g][0].T, graphs[g][1], strict=True):
            first = torch.relu(near[u] + far[v] + w * layer.link)
            second = torch.relu(near[v] + far[u] + w * layer.link)
            out[v] = out[v] + (first + second) / 2
            counts[v] += 1
        rows.append(torch.stack([x[b, v] + out[v] / max(counts[v], 1) for v in range(nodes)]))
    wanted = torch.stack(rows)
    assert torch.allclose(found, wanted, atol=1e-5)
    weights = [x, *layer.parameters()]
    probe = torch.randn_like(found)
    ours = torch.autograd.grad((found * probe).sum(), weights)
    there = torch.autograd.grad((layer(x, elsewhere, ids) * probe).sum(), weights)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, there, strict=True))
    theirs = torch.autograd.grad((wanted * probe).sum(), weights)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ours, theirs, strict=True))


def test_one_network_plays_grids_of_any_size() -> None:
    """The weights of a 3 x 3 canvas choose legal cells on a 12 x 10 one, and rows do not depend on their batch."""
    agent = make_agent("edge-gnn", pretrain=0, n_steps=8, num_envs=2, batch_size=8, n_epochs=1)
    problem = make_problem("ChipPlacement")
    small = problem.load("tiles:rows=2,columns=2,soft=1,ports=2,seed=1")
    agent.fit(problem, [small], np.random.default_rng(0), Budget(steps=16))
    large = problem.load("tiles:rows=4,columns=5,pitch=2,soft=6,ports=8,seed=5")
    solution = agent.solve(problem, large, np.random.default_rng(0), Budget())
    assert len(solution["x"]) == 26 and problem.judge(large, solution).metrics["outside"] == 0
    env = ProblemEnv(problem, instances=[small, large], obs="dynamic")
    policy = make_policy(agent.setup(), env)
    seen = [env.reset(seed=0, options={"instance": item.name})[0] for item in (small, large)]
    both = {key: torch.from_numpy(np.stack([obs[key] for obs in seen])) for key in seen[0]}
    with torch.no_grad():
        together = policy.net.act(both, policy.net.encode(both))
        for i in range(2):
            one = {key: value[i : i + 1] for key, value in both.items()}
            assert torch.allclose(policy.net.act(one, policy.net.encode(one)), together[i : i + 1], atol=1e-5)


TILES = "tiles:rows=3,columns=3,slack=2,soft=4,ports=6,seed=3"


def test_episodes_of_pre_training_differ_in_quality() -> None:
    """Labels are standardised."""
    problem = make_problem("ChipPlacement", mode="sequential")
    env = ProblemEnv(problem, instance=problem.load(TILES), obs="dynamic")
    episodes = collect(env, 40, np.random.default_rng(0), Clock(Budget()))
    labels = np.array([rows[-1][1] for rows in episodes])
    assert len(episodes) == 40 and labels.shape == (40, len(LABELS))
    assert np.allclose(labels.mean(axis=0), 0, atol=1e-9) and np.allclose(labels.std(axis=0), 1)


def test_pre_training_learns_what_a_placement_is_worth() -> None:
    """Held-out placements are told apart."""
    problem = make_problem("ChipPlacement", mode="sequential")
    agent, chip = make_agent("edge-gnn"), problem.load(TILES)
    _, explained = pretrain(agent.setup(), problem, [chip], np.random.default_rng(0), 200, Clock(Budget()))
    assert explained > 0.3


@pytest.mark.slow
def test_pre_training_repeats() -> None:
    problem = make_problem("ChipPlacement", mode="sequential")
    agent, small = make_agent("edge-gnn"), problem.load("tiles/train-0")
    trained, again = (
        pretrain(agent.setup(), problem, [small], np.random.default_rng(0), 16, Clock(Budget()))[0] for _ in range(2)
    )
    assert all(torch.equal(trained[key], again[key]) for key in trained)


def test_statistics_of_pre_training_stay_as_they_are() -> None:
    problem = make_problem("ChipPlacement", mode="sequential")
    chip = problem.load("tiles:rows=2,columns=2,soft=1,ports=2,seed=1")
    agent = make_agent("edge-gnn", pretrain=8, n_steps=8, num_envs=1, batch_size=8, n_epochs=1)
    rng = np.random.default_rng(0)
    agent.fit(problem, [chip], rng, Budget(steps=8))
    before = {key: value.clone() for key, value in agent._weights.items()}
    agent.fit(problem, [chip], rng, Budget(steps=64))
    norms = [key for key in before if "running" in key]
    assert norms and all(torch.equal(before[key], agent._weights[key]) for key in norms)
    assert not torch.equal(before["net.seed.weight"], agent._weights["net.seed.weight"])


def test_ppo_learns_to_place_tiles() -> None:
    """Wires half as long as an untrained network's, in a few thousand steps."""
    problem = make_problem("ChipPlacement", mode="sequential", objective="hpwl")
    chip = problem.load("tiles:rows=3,columns=3,slack=2,soft=0,ports=0,seed=3")
    agent, rewards = make("ppo-place", n_steps=36, batch_size=72), []

    def watch(metrics: dict[str, float]) -> bool:
        rewards.append(metrics.get("rollout/ep_rew_mean", np.nan))
        return True

    agent.fit(problem, [chip], np.random.default_rng(0), Budget(steps=5000), watch)
    assert rewards[-1] > 0.65 * rewards[1]
    cost = problem.judge(chip, agent.solve(problem, chip, np.random.default_rng(0), Budget())).cost
    assert cost / ProblemEnv(problem, instance=chip).dynamics.scale(chip, None) < -0.65 * rewards[1]


@pytest.mark.slow
def test_ppo_learns_to_place_ariane() -> None:
    """A quarter of the steps of the bar: the mean of the last 100 episodes is below 0.80 on a real design."""
    problem = make_problem("ChipPlacement", mode="sequential")
    chip = problem.load("designs/ariane133_NanGate45")
    agent, seen = make("ppo-place"), []

    def watch(metrics: dict[str, float]) -> bool:
        seen.append(metrics.get("rollout/ep_rew_mean", np.nan))
        return True

    agent.fit(problem, [chip], np.random.default_rng(0), Budget(steps=40_000), watch)
    assert -seen[-1] <= 0.80
    assert problem.judge(chip, agent.solve(problem, chip, np.random.default_rng(0), Budget())).cost <= 0.80


@pytest.mark.slow
def test_a_resumed_training_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    """Pre-training, two netlists with grids of two sizes, advantages a netlist: bit for bit."""
    problem = make_problem("ChipPlacement", mode="sequential")
    chips = [problem.load(name) for name in ("tiles/train-0", "tiles/train-1")]
    small = {"pretrain": 8, "n_steps": 8, "num_envs": 2, "batch_size": 8, "n_epochs": 1, "hidden": 16}
    whole, first, second = (make_agent("edge-gnn", **small) for _ in range(3))
    whole.fit(problem, chips, np.random.default_rng(0), Budget(steps=64))

    def stop(metrics: dict[str, float]) -> bool:
        return metrics["steps"] < 32 or not first.save_training(tmp_path)

    first.fit(problem, chips, np.random.default_rng(0), Budget(steps=64), stop)
    first.save(tmp_path / "agent")
    second.load(tmp_path / "agent")
    assert second.load_training(tmp_path, Budget(steps=32))
    second.fit(problem, chips, np.random.default_rng(7), Budget(steps=32))
    assert whole._weights.keys() == second._weights.keys()
    assert all(torch.equal(value, second._weights[key]) for key, value in whole._weights.items())


def test_advantages_are_standardised_a_graph() -> None:
    from gymnasium import spaces

    from sysgym_agents.general.sb3.buffers import PerGraphRolloutBuffer

    space = spaces.Dict({"graph_id": spaces.Box(0, 9, (1,), np.int32), "action_mask": spaces.Box(0, 1, (3,), np.int8)})
    buffer = PerGraphRolloutBuffer(40, space, spaces.Discrete(3), "cpu", gae_lambda=1.0, gamma=1.0, n_envs=2)
    rng, ids = np.random.default_rng(0), np.repeat([[0, 1], [1, 0]], 20, axis=0)
    for row in ids:
        obs = {"graph_id": row[:, None].astype(np.int32), "action_mask": np.ones((2, 3), np.int8)}
        reward = np.where(row == 0, -1, -100) + rng.normal(size=2)
        zeros = torch.zeros(2)
        buffer.add(obs, np.zeros((2, 1)), reward, np.ones(2), zeros, zeros, action_masks=np.ones((2, 3)))
    buffer.compute_returns_and_advantage(torch.zeros(2), np.ones(2))
    for graph in (0, 1):
        own = buffer.advantages[ids == graph]
        assert own.mean() == pytest.approx(0, abs=1e-5) and own.std() == pytest.approx(1, rel=1e-3)


@pytest.mark.slow
def test_seconds_go_on_after_pre_training_and_a_stop_is_heard() -> None:
    problem = make_problem("ChipPlacement", mode="sequential")
    chip = problem.load("tiles/train-0")
    small = {"pretrain": 16, "n_steps": 8, "num_envs": 1, "batch_size": 8, "n_epochs": 1, "hidden": 16}
    agent, rows = make_agent("edge-gnn", **small), []
    agent.fit(problem, [chip], np.random.default_rng(0), Budget(steps=24), lambda row: not rows.append(row))
    assert "pretrain/explained" in rows[0] and len(rows) > 2
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds) and seconds[0] > 0.1
    agent, rows = make_agent("edge-gnn", **small), []
    agent.fit(problem, [chip], np.random.default_rng(0), Budget(steps=24), lambda row: bool(rows.append(row)))
    assert len(rows) == 1 and agent._weights is not None
    with pytest.raises(UsageError, match="layers of agent 'edge-gnn' must be a whole number from 1"):
        make_agent("edge-gnn", layers=0)
