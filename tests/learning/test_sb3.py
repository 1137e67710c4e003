"""SB3 agents: every algorithm that fits acts legally, learning happens, sizes transfer, weights round-trip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import turning
from gymnasium import spaces

from sysgym import UsageError, make_problem
from sysgym.core.env import ProblemEnv
from sysgym.core.registry import with_options
from sysgym.core.vector import ProblemVectorEnv
from sysgym_agents import Budget, make_agent
from sysgym_agents.general.sb3.network import Encoded, GraphNet, StoredGraphs
from sysgym_agents.general.sb3.policies import ManyCategorical, distribution_for
from sysgym_zoo.lookup.naming import make

SMALL: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 32, "num_envs": 2, "batch_size": 64, "hidden": 16},
    "maskable-ppo": {"n_steps": 32, "num_envs": 2, "batch_size": 64, "hidden": 16},
    "recurrent-ppo": {"n_steps": 32, "num_envs": 2, "batch_size": 64, "hidden": 16},
    "trpo": {"n_steps": 32, "num_envs": 2, "batch_size": 64, "hidden": 16},
    "a2c": {"num_envs": 2, "hidden": 16},
    "dqn": {"learning_starts": 50, "hidden": 16},
    "qrdqn": {"learning_starts": 50, "hidden": 16},
}
MODES = {
    "assign": {"mode": "assign"},
    "refine": {"mode": "refine", "steps": 24, "eps": 0.1},
    "raw": {"mode": "refine", "moves": "raw", "steps": 8, "eps": 0.1},
    "oneshot": {"mode": "oneshot", "pe": 3},
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(("name", "mode"), turning("Partitioning", SMALL, MODES, 2))
def test_every_algorithm_in_every_mode_that_fits(name: str, mode: str) -> None:
    """Trained on 48 to 64 nodes, played on 150: no illegal action, and a judged solution."""
    problem = make_problem("Partitioning", k=2, **{"eps": 0.1, **MODES[mode]})
    train = [problem.load("tiny/delaunay-valid"), problem.load("tiny/grid-train")]
    agent = make_agent(name, **SMALL[name])
    if name in ("dqn", "qrdqn") and mode in ("raw", "oneshot"):
        with pytest.raises(UsageError, match="algorithms that fit: PPO, A2C, TRPO, MaskablePPO, RecurrentPPO"):
            agent.fit(problem, train, np.random.default_rng(0), Budget(steps=64))
        return
    agent.fit(problem, train, np.random.default_rng(0), Budget(steps=150))
    graph = problem.load("delaunay:n=150,seed=1")
    solution = agent.solve(problem, graph, np.random.default_rng(0), Budget())
    assert np.isfinite(problem.judge(graph, solution).cost)


@pytest.mark.parametrize("name", ["ppo", "dqn", "recurrent-ppo"])
def test_training_never_plays_an_illegal_action(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem("Partitioning", k=4, eps=0.03, mode="assign")
    seen = []
    step = ProblemVectorEnv.step

    def watched(self: ProblemVectorEnv, actions: Any) -> Any:
        seen.extend(~self.batch.legal(np.asarray(actions)))
        return step(self, actions)

    monkeypatch.setattr(ProblemVectorEnv, "step", watched)
    agent = make_agent(name, **SMALL[name])
    agent.fit(problem, [problem.load("tiny/grid-train")], np.random.default_rng(0), Budget(steps=300))
    assert len(seen) >= 300 and not any(seen)


def test_ppo_learns_to_assign() -> None:
    """Better than random by a margin fixed beforehand, on graphs it has not seen and five times the size."""
    problem = make_problem("Partitioning", k=2, eps=0.1, mode="assign")
    train = [problem.load(f"delaunay:n=60,seed={seed}") for seed in range(4)]
    test = [problem.load(f"delaunay:n=300,seed={seed}") for seed in range(10, 14)]
    agent = make("ppo-assign", hidden=32)
    agent.fit(problem, train, np.random.default_rng(0), Budget(steps=16_000))

    def mean_cut(solver: Any) -> float:
        rows = [problem.judge(g, solver.solve(problem, g, np.random.default_rng(0), Budget())) for g in test]
        assert all(row.feasible for row in rows)
        return float(np.mean([row.cost for row in rows]))

    assert mean_cut(agent) < 0.4 * mean_cut(make_agent("random"))


@pytest.mark.slow
def test_ppo_refine_transfers_to_larger_graphs() -> None:
    problem = make_problem("Partitioning", k=4, eps=0.05)
    train = [problem.load(f"delaunay:n=200,seed={seed}") for seed in range(4)]
    agent = make("ppo-refine", hidden=32)
    agent.fit(problem, train, np.random.default_rng(0), Budget(steps=10_000))
    ratios = []
    for seed in range(10, 14):
        graph = problem.load(f"delaunay:n=500,seed={seed}")
        env = ProblemEnv(problem, instance=graph, obs="raw")
        env.reset(seed=int(np.random.default_rng(seed).integers(2**31)))
        solution = agent.solve(problem, graph, np.random.default_rng(seed), Budget())
        ratios.append(problem.judge(graph, solution).cost / env.dynamics.cost(graph, env.state))
    assert np.mean(ratios) < 0.8


def test_message_passing_policy_trained_on_64_nodes_runs_on_500(tmp_path: Path) -> None:
    problem = make_problem("Partitioning", k=3, eps=0.1, mode="assign")
    agent = make_agent("maskable-ppo", **SMALL["maskable-ppo"])
    agent.fit(problem, [problem.load("tiny/delaunay-train")], np.random.default_rng(0), Budget(steps=64))
    agent.save(tmp_path / "agent")
    assert sorted(p.name for p in (tmp_path / "agent").iterdir()) == ["agent.json", "model.safetensors"]
    loaded = make_agent("maskable-ppo")
    loaded.load(tmp_path / "agent")
    graph = problem.load("delaunay:n=500,seed=1")
    found = [a.solve(problem, graph, np.random.default_rng(1), Budget())["part"] for a in (agent, loaded)]
    assert np.array_equal(found[0], found[1])
    assert problem.judge(graph, {"part": found[0]}).feasible
    with pytest.raises(UsageError, match="these weights do not fit the observation"):
        loaded.solve(with_options(problem, pe=2), graph, np.random.default_rng(1), Budget())
    with pytest.raises(
        UsageError, match=r"holds no weights of agent 'ppo': agent\.json must be an object that names this agent"
    ):
        make_agent("ppo").load(tmp_path / "agent")


def test_same_seed_same_weights() -> None:
    problem = make_problem("Partitioning", k=2, eps=0.1, mode="assign")
    graphs = [problem.load("tiny/delaunay-train")]
    weights = []
    for _ in range(2):
        agent = make_agent("maskable-ppo", **SMALL["maskable-ppo"])
        agent.fit(problem, graphs, np.random.default_rng(5), Budget(steps=128))
        weights.append(agent._weights)
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.parametrize(
    ("name", "mode"),
    turning("Partitioning", ("ppo", "maskable-ppo", "a2c", "trpo", "recurrent-ppo"), ("assign", "raw"), 1),
)
def test_training_goes_on_exactly_where_it_was_saved(name: str, mode: str, tmp_path: Path) -> None:
    """Saved in the middle, loaded by an agent that knows nothing, trained to the end: the same bits."""
    problem = make_problem("Partitioning", k=2, **{"eps": 0.1, **MODES[mode]})
    graphs = [problem.load("tiny/grid-train"), problem.load("tiny/delaunay-train")]
    rollout = 2 * SMALL[name].get("n_steps", 16)
    whole = make_agent(name, **SMALL[name])
    metrics: list[dict[str, float]] = []
    whole.fit(problem, graphs, np.random.default_rng(5), Budget(steps=4 * rollout), lambda row: not metrics.append(row))
    first = make_agent(name, **SMALL[name])

    def stop_in_the_middle(row: dict[str, float]) -> bool:
        if row["steps"] < 2 * rollout:
            return True
        first.save(tmp_path)
        return not first.save_training(tmp_path)

    first.fit(problem, graphs, np.random.default_rng(5), Budget(steps=4 * rollout), stop_in_the_middle)
    assert first.steps == 2 * rollout
    second = make_agent(name)
    second.load(tmp_path)
    assert second.load_training(tmp_path, Budget(steps=2 * rollout))
    np.random.seed(123), torch.manual_seed(123)  # noqa: NPY002
    rest: list[dict[str, float]] = []
    second.fit(problem, graphs, np.random.default_rng(77), Budget(steps=2 * rollout), lambda row: not rest.append(row))
    assert second.steps == whole.steps == 4 * rollout
    weights = [agent._weights for agent in (whole, second)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not all(torch.equal(weights[0][key], value) for key, value in first._weights.items())
    for a, b in zip(metrics[2:], rest, strict=True):
        assert {k: v for k, v in a.items() if k not in ("steps", "seconds")} == {
            k: v for k, v in b.items() if k not in ("steps", "seconds")
        }


def test_a_state_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    problem = make_problem("Partitioning", k=2, eps=0.1, mode="assign")
    graphs = [problem.load("tiny/grid-train")]
    agent = make_agent("ppo", **SMALL["ppo"])
    assert not agent.save_training(tmp_path) and not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="holds no state of a training"):
        agent.load_training(tmp_path, Budget())
    agent.fit(problem, graphs, np.random.default_rng(0), Budget(steps=64))
    agent.save_training(tmp_path)
    other = make_agent("ppo", **{**SMALL["ppo"], "hidden": 8})
    other.load_training(tmp_path, Budget())
    with pytest.raises(UsageError, match="does not fit this agent and problem"):
        other.fit(problem, graphs, np.random.default_rng(0), Budget(steps=64))
    fewer = make_agent("ppo", **{**SMALL["ppo"], "num_envs": 1, "batch_size": 32})
    fewer.load_training(tmp_path, Budget())
    with pytest.raises(UsageError, match="states of 2 environments for 1"):
        fewer.fit(problem, graphs, np.random.default_rng(0), Budget(steps=64))
    off_policy = make_agent("dqn", **SMALL["dqn"])
    off_policy.fit(problem, graphs, np.random.default_rng(0), Budget(steps=64))
    assert not off_policy.save_training(tmp_path / "dqn")


def test_relabelling_nodes_permutes_scores() -> None:
    """A node keeps its score wherever it stands: raw moves on a permuted observation."""
    problem = make_problem("Partitioning", k=2, mode="refine", moves="raw")
    env = ProblemEnv(problem, instance="delaunay:n=40,seed=3")
    observation, _ = env.reset(seed=0)
    torch.manual_seed(0)
    net = GraphNet(env.observation_space, env.action_space, 16, 2)
    order = np.random.default_rng(0).permutation(40)
    where = np.argsort(order)
    moved = {**observation, "nodes": observation["nodes"][order], "edge_index": where[observation["edge_index"]]}
    scores = []
    for shown in (observation, moved):
        batch = {key: torch.as_tensor(np.asarray(value))[None] for key, value in shown.items()}
        scores.append(net.act(batch, net.encode(batch))[0, :, 0].detach().numpy())
    assert np.allclose(scores[0][:40][order], scores[1][:40], atol=1e-5)
    assert np.allclose(scores[0][40:], scores[1][40:], atol=1e-5)
    assert np.ptp(scores[0][:40]) > 1e-4


@pytest.mark.parametrize("mode", ["assign", "raw", "oneshot"])
def test_stored_graphs_give_the_scores_of_full_observations(mode: str) -> None:
    problem = make_problem("Partitioning", k=3, **{"eps": 0.1, **MODES[mode]})
    names = ["delaunay:n=40,seed=3", "grid:n=36"]
    full = ProblemEnv(problem, instances=names)
    dynamic = ProblemEnv(problem, instances=names, obs="dynamic")
    nets, batches = [], []
    for env in (full, dynamic):
        rows = [env.reset(seed=seed, options={"instance": names[seed % 2]})[0] for seed in range(5)]
        batches.append({key: torch.from_numpy(np.stack([row[key] for row in rows])) for key in rows[0]})
        torch.manual_seed(0)
        graphs = StoredGraphs([env.instances.padded(i) for i in range(2)]) if env is dynamic else None
        nets.append(GraphNet(env.observation_space, env.action_space, 16, 2, graphs=graphs))
    assert [p.shape for p in nets[0].parameters()] == [p.shape for p in nets[1].parameters()]
    scores = [net.act(batch, net.encode(batch)) for net, batch in zip(nets, batches, strict=True)]
    assert torch.equal(*scores)


def test_networks_work_on_other_devices() -> None:
    """No tensor is made on the CPU behind a network's back: the meta device refuses to mix."""
    for mode in ({"mode": "refine", "moves": "raw"}, {"mode": "oneshot"}, {"mode": "assign"}):
        env = ProblemEnv(make_problem("Partitioning", k=3, **mode), instance="delaunay:n=40,seed=3")
        net = GraphNet(env.observation_space, env.action_space, 8, 1).to("meta")
        found = Encoded(torch.zeros(2, 40, 8, device="meta"), torch.zeros(2, 8, device="meta"))
        space = env.observation_space
        obs = {key: torch.zeros(2, *space[key].shape, device="meta") for key in space}
        assert net.act(obs, found).device.type == net.value(found).device.type == "meta"


def test_padding_changes_no_score() -> None:
    problem = make_problem("Partitioning", k=3, mode="assign")
    scores = []
    for nodes, edges in ((40, 300), (90, 999)):
        env = ProblemEnv(problem, instance="delaunay:n=40,seed=3", max_nodes=nodes, max_edges=edges)
        observation, _ = env.reset(seed=0)
        torch.manual_seed(0)
        net = GraphNet(env.observation_space, env.action_space, 16, 2)
        batch = {key: torch.as_tensor(value)[None] for key, value in observation.items()}
        scores.append(net.act(batch, net.encode(batch)).detach().numpy())
    assert np.allclose(scores[0], scores[1], atol=1e-6)


def test_batched_categorical_equals_the_loop_over_choices() -> None:
    from stable_baselines3.common.distributions import MultiCategoricalDistribution

    torch.manual_seed(0)
    logits, actions = torch.randn(5, 7 * 3), torch.randint(3, (5, 7))
    peer = MultiCategoricalDistribution([3] * 7).proba_distribution(logits)
    mine = ManyCategorical(7, 3).proba_distribution(logits)
    assert torch.allclose(mine.log_prob(actions), peer.log_prob(actions), atol=1e-6)
    assert torch.allclose(mine.entropy(), peer.entropy(), atol=1e-6)
    assert torch.equal(mine.mode(), peer.mode()) and mine.sample().shape == (5, 7)
    assert isinstance(distribution_for(spaces.MultiDiscrete([3, 3])), ManyCategorical)
    assert isinstance(distribution_for(spaces.MultiDiscrete([3, 4])), MultiCategoricalDistribution)


def test_combinations_that_cannot_work_are_explained() -> None:
    problem = make_problem("Partitioning", k=2, mode="oneshot")
    graphs = [problem.load("tiny/grid-train")]
    with pytest.raises(UsageError, match="needs node embeddings"):
        make_agent("ppo", layers=0).fit(problem, graphs, np.random.default_rng(0), Budget(steps=10))
    with pytest.raises(UsageError, match="gamma of agent 'ppo' must be a number from 0 to 1, got 2"):
        make_agent("ppo", gamma=2.0)
    assign = with_options(problem, mode="assign", eps=0.1)
    for name in ("ppo", "maskable-ppo"):
        agent = make_agent(name, **{**SMALL[name], "learning_rate": 1e30})
        with pytest.raises(UsageError, match=r"diverged after \d+ steps.*lower learning_rate"):
            agent.fit(assign, graphs, np.random.default_rng(0), Budget(steps=1000))
    with pytest.raises(UsageError, match="has no weights to save; train it first"):
        make_agent("ppo").save(Path("nowhere"))
