"""`prior`: a policy that begins as a rule of the candidates' features, and learns what to add."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sysgym import UsageError, make_problem
from sysgym_agents import Budget, make_agent
from sysgym_agents.general.sb3.network import BELIEF, Prior

SMALL = {"n_steps": 32, "num_envs": 2, "batch_size": 64, "hidden": 16}


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("name", ["ppo", "maskable-ppo"])
def test_untrained_it_plays_as_its_rule(name: str, layers: int) -> None:
    problem = make_problem("Partitioning", k=3, eps=0.1)
    graph = problem.load("delaunay:n=80,seed=1")
    agent, rule = make_agent(name, **SMALL, layers=layers, prior="gain"), make_agent("greedy")
    found = [a.solve(problem, graph, np.random.default_rng(2), Budget())["part"] for a in (agent, rule)]
    assert np.array_equal(*found)


def test_what_it_learns_is_added_and_kept(tmp_path: Path) -> None:
    """Weights of the residual and of the rule both move, and come back from a folder with the prior's name."""
    problem = make_problem("Partitioning", k=3, eps=0.1, mode="assign")
    graph = problem.load("tiny/delaunay-train")
    agent = make_agent("maskable-ppo", **SMALL, layers=0, prior="share*room", learning_rate=0.01)
    agent.fit(problem, [graph], np.random.default_rng(0), Budget(steps=128))
    weights = agent.weights()
    assert float(weights["net.prior.multiple"]) != BELIEF and weights["net.action_head.4.weight"].abs().max() > 0
    agent.save(tmp_path / "agent")
    loaded = make_agent("maskable-ppo")
    loaded.load(tmp_path / "agent")
    assert loaded.prior == "share*room"
    found = [a.solve(problem, graph, np.random.default_rng(1), Budget())["part"] for a in (agent, loaded)]
    assert np.array_equal(*found)


def test_scores_of_the_rule_by_hand() -> None:
    """Standardised over legal actions alone: products 2 and 6 lie one deviation below and above their mean."""
    features = torch.tensor([[[1.0, 2.0], [9.0, 9.0], [2.0, 3.0]], [[1.0, 5.0], [5.0, 1.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, False, True], [True, True, False]])
    scores = Prior([0, 1])(features, mask)[:, :, 0]
    assert torch.allclose(scores, torch.tensor([[-BELIEF, 0.0, BELIEF], [0.0, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ("mode", "prior", "says"),
    [
        ("assign", "share*rom", r"\(mode=assign\) describes no candidate by 'rom'; it does by share, load, room"),
        ("oneshot", "gain", r"\(mode=oneshot\) describes no candidate by 'gain'; leave prior empty"),
        ("refine", "gain*", "describes no candidate by ''"),
    ],
)
def test_a_feature_that_is_not_there_is_named(mode: str, prior: str, says: str) -> None:
    problem = make_problem("Partitioning", k=2, mode=mode)
    graph = problem.load("tiny/grid-train")
    agent = make_agent("maskable-ppo", **SMALL, prior=prior)
    with pytest.raises(UsageError, match=says):
        agent.solve(problem, graph, np.random.default_rng(0), Budget())
    with pytest.raises(UsageError, match=says):
        agent.fit(problem, [graph], np.random.default_rng(0), Budget(steps=64))
