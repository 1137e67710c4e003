"""The packaged configurations of the shipped models: what the set promises, and that a command makes them."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from sysgym import content_hash, make_problem
from sysgym_agents.core import Budget, make_agent

SPLITS = ("train", "valid", "test")


def entries() -> Any:
    return make_problem("DevicePlacement").instance_sets()["configurations"].entries


def model(name: str) -> str:
    return name.split("/")[1].split("-")[0]


def test_there_are_enough_and_no_architecture_is_in_two_splits() -> None:
    counts = Counter(entry.split for entry in entries())
    assert counts["train"] >= 100 and counts["valid"] >= 10 and counts["test"] >= 20
    families = [{model(entry.name) for entry in entries() if entry.split == split} for split in SPLITS]
    assert sum(map(len, families)) == len(set().union(*families)) and all(len(each) >= 2 for each in families)
    assert len({entry.hash for entry in entries()}) == len(entries())  # real, different graphs


def test_they_are_small_and_diverse() -> None:
    folder = files("sysgym") / "data" / "dataflow" / "configurations"
    assert sum(len(file.read_bytes()) for file in folder.iterdir()) <= 1.5e6
    problem = make_problem("DevicePlacement")
    graphs = [problem.load(entry.name) for entry in entries() if entry.split == "train"][::3]
    assert {graph.devices for graph in graphs} == {2, 4, 8} and {graph.task for graph in graphs} == {"train", "infer"}
    parallel = [graph.total_ns / problem.job(graph).bound_ns for graph in graphs]
    assert min(parallel) < 2 < 6 < max(parallel)
    assert max(graph.nodes for graph in graphs) > 5 * min(graph.nodes for graph in graphs)


def test_every_one_fits_and_annealing_gains_on_those_never_seen() -> None:
    for entry in entries():
        costs = entry.references["placement"]
        assert costs["sa-device"] <= costs["expert"] or costs["expert"] == 0
    gains = [entry.references["placement"] for entry in entries() if entry.split == "test"]
    assert np.exp(np.mean([np.log(each["expert"] / each["sa-device"]) for each in gains])) > 1.4


def test_rules_leave_something_to_find() -> None:
    """On the test split the best rule, without METIS, is far from what annealing finds in a few steps."""
    problem, names = make_problem("DevicePlacement"), [entry.name for entry in entries() if entry.split == "test"]
    better = 0
    for name in names[::4]:
        graph = problem.load(name)
        rules = [
            problem.judge(graph, make_agent(rule).solve(problem, graph, np.random.default_rng(0), Budget()))
            for rule in ("single", "expert", "layer-round-robin", "blocks", "heft", "m-etf")
        ]
        found = problem.judge(
            graph,
            make_agent("sa-device", metis=False).solve(problem, graph, np.random.default_rng(0), Budget(steps=400)),
        )
        better += found.cost < 0.98 * min(verdict.cost for verdict in rules if verdict.feasible)
    assert better >= 4


def test_environments_draw_from_the_split() -> None:
    env = gym.make("sysgym/DevicePlacement-v0", instances="configurations/train", disable_env_checker=True)
    seen = set()
    for seed in range(3):
        env.reset(seed=seed)
        seen.add(env.unwrapped.instance.name)  # type: ignore[attr-defined]
    assert len(seen) > 1 and all(name.startswith("configurations/") for name in seen)


def test_the_command_makes_what_is_packaged() -> None:
    pytest.importorskip("torch")
    from sysgym_zoo.models.configurations import table, traced

    rows = table()
    assert {f"configurations/{each.name}" for each in rows} == {entry.name for entry in entries()}
    assert all(each.split == entry.split for each, entry in zip(rows, entries(), strict=True))
    known = {entry.name: entry.hash for entry in entries()}
    for wanted in ("rnnlm", "towers", "experts", "wired"):
        number, given = next((i, each) for i, each in enumerate(rows) if each.model == wanted)
        graph = traced(given, number)
        assert content_hash(graph) == known[f"configurations/{given.name}"], given.name
