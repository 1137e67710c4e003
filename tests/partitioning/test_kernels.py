"""Incremental state against full recomputation, on awkward graphs."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from sysgym import UsageError
from sysgym.core.env import ProblemEnv
from sysgym.graphs import Graph, from_edges
from sysgym.graphs.generate import generate_graph
from sysgym.graphs.labels import kernels
from sysgym.graphs.labels.modes import node_order
from sysgym.graphs.labels.state import State
from sysgym.partitioning.judge import judge_partition


def awkward(seed: int = 0) -> Graph:
    """Weighted edges and nodes (some of weight 0), two components, isolated vertices."""
    rng = np.random.default_rng(seed)
    one, two = generate_graph(f"delaunay:n=60,seed={seed}"), generate_graph(f"erdos_renyi:n=40,seed={seed}")
    u = np.concatenate([g.sources[g.sources < g.adjncy] + o for g, o in ((one, 0), (two, 60))])
    v = np.concatenate([g.adjncy[g.sources < g.adjncy] + o for g, o in ((one, 0), (two, 60))])
    return from_edges("awkward", 108, u, v, rng.integers(1, 50, len(u)), rng.integers(0, 7, 108))


def recomputed(graph: Graph, state: State, parts: int) -> dict[str, object]:
    """conn, load and cut from scratch, without the kernels."""
    conn = np.zeros((graph.nodes, parts), np.int64)
    load = np.zeros(parts, np.int64)
    cut = 0
    for v in range(graph.nodes):
        if state.part[v] >= 0:
            load[state.part[v]] += graph.vwgt[v]
        for e in range(graph.xadj[v], graph.xadj[v + 1]):
            other = state.part[graph.adjncy[e]]
            if other >= 0:
                conn[v, other] += graph.adjwgt[e]
                if state.part[v] >= 0 and state.part[v] != other and v < graph.adjncy[e]:
                    cut += graph.adjwgt[e]
    return {"conn": conn, "load": load, "cut": cut}


def check(graph: Graph, state: State, parts: int) -> None:
    expected = recomputed(graph, state, parts)
    assert np.array_equal(state.conn, expected["conn"])
    assert np.array_equal(state.load, expected["load"])
    assert state.s[kernels.CUT] == expected["cut"]


@pytest.mark.parametrize("k", [2, 5])
def test_ten_thousand_random_moves(k: int) -> None:
    graph = awkward()
    env = ProblemEnv("Partitioning", instance=graph, obs="raw", k=k, eps=0.2, moves="raw", steps=10_000)
    env.reset(seed=0)
    rng = np.random.default_rng(1)
    best = np.inf
    over, count = False, 0
    while not over:
        _, _, over, _, _ = env.step(np.array([rng.integers(graph.nodes), rng.integers(k)]))
        verdict = judge_partition(graph, env.state.part, k, 0.2)
        best = min(best, verdict.cost) if verdict.feasible else best
        count += 1
        if count % 1000 == 0:
            check(graph, env.state, k)
            assert env.state.load.sum() == graph.vwgt.sum()
    assert count == 10_000
    found = env.verdict()
    start = env.state.f[kernels.START]
    assert found.feasible and found.cost == min(best, start)


def test_assign_keeps_up_with_recomputation() -> None:
    graph = awkward(3)
    env = ProblemEnv("Partitioning", instance=graph, mode="assign", k=4, eps=0.3, order="random")
    env.reset(seed=1)
    rng = np.random.default_rng(0)
    over = False
    while not over:
        check(graph, env.state, 4)
        mask = env.action_masks()
        v = env.dynamics.focus(graph, env.state)
        limit = env.problem.limit(graph)
        fits = env.state.load + graph.vwgt[v] <= limit
        assert np.array_equal(mask, fits if fits.any() else np.arange(4) == env.state.load.argmin())
        _, _, over, _, info = env.step(int(rng.choice(np.flatnonzero(mask))))
    assert info["verdict"]["cost"] == recomputed(graph, env.state, 4)["cut"]


def test_candidates_are_the_best_feasible_moves() -> None:
    graph = awkward(5)
    env = ProblemEnv("Partitioning", instance=graph, mode="refine", k=3, eps=0.2, candidates=6, tenure=3, steps=200)
    env.reset(seed=0)
    limit, rng, over, moves = env.problem.limit(graph), np.random.default_rng(0), False, 0
    while not over:
        state = env.state
        wanted = []
        for v in range(graph.nodes):
            a = state.part[v]
            if state.tabu[v] > state.s[kernels.STEPS]:
                continue
            gains = [
                int(state.conn[v, p] - state.conn[v, a])
                for p in range(3)
                if p != a and state.conn[v, p] > 0 and state.load[p] + graph.vwgt[v] <= limit
            ]
            if gains:
                wanted.append(max(gains))
        listed = int(state.s[kernels.COUNT])
        found = [
            int(state.conn[v, p] - state.conn[v, state.part[v]])
            for v, p in zip(state.cand_node[:listed], state.cand_part[:listed], strict=True)
        ]
        assert found == sorted(wanted, reverse=True)[:6]
        assert len(set(state.cand_node[:listed].tolist())) == listed
        _, _, over, _, _ = env.step(int(rng.choice(np.flatnonzero(env.action_masks()))))
        assert env.state.load.max() <= limit
        check(graph, env.state, 3)
        moves += 1
    assert moves > 20


def test_no_candidate_means_one_stop_action() -> None:
    graph = from_edges("no edges", 8, [], [])
    env = ProblemEnv("Partitioning", instance=graph, mode="refine", k=2)
    env.reset(seed=0)
    assert env.action_masks().tolist() == [True] + [False] * 31
    _, reward, over, _, info = env.step(0)
    assert over and reward == 0 and info["verdict"]["feasible"]


def test_start_from_a_solution() -> None:
    graph = generate_graph("grid:n=36,rows=6")
    part = np.repeat([0, 1], 18)
    env = ProblemEnv("Partitioning", instance=graph, mode="refine", k=2)
    env.reset(seed=0, options={"solution": {"part": part}})
    assert np.array_equal(env.solution()["part"], part)
    assert env.dynamics.cost(graph, env.state) == 6
    with pytest.raises(UsageError, match="needs mode='refine'"):
        ProblemEnv("Partitioning", instance=graph, mode="assign").reset(options={"solution": {"part": part}})


@pytest.mark.parametrize("start", ["grow", "greedy", "random"])
@pytest.mark.parametrize("k", [2, 7])
def test_starts_are_complete_and_feasible(start: str, k: int) -> None:
    for recipe in ("delaunay:n=200,seed=1", "barabasi_albert:n=200,seed=1", "stochastic_block:n=200,seed=1"):
        env = ProblemEnv("Partitioning", instance=recipe, mode="refine", k=k, start=start, eps=0.05)
        env.reset(seed=3)
        assert set(env.solution()["part"].tolist()) == set(range(k))
        assert env.verdict().feasible
    assert env.state.f[kernels.START] > 0


@pytest.mark.parametrize("order", ["bfs", "degree", "natural", "random"])
def test_orders_are_permutations(order: str) -> None:
    graph = awkward(2)
    found = node_order(graph, order, np.random.default_rng(0))
    assert sorted(found.tolist()) == list(range(graph.nodes))
    if order == "degree":
        assert (np.diff(graph.degree[found]) <= 0).all()


def test_batch_rows_equal_single_states() -> None:
    """Every array of every row after 50 steps, graphs of different size side by side."""
    import gymnasium as gym

    names = ["delaunay:n=30,seed=1", "erdos_renyi:n=50,seed=2"]
    vector = gym.make_vec(
        "sysgym/Partitioning-v0",
        num_envs=4,
        vectorization_mode="vector_entry_point",
        instances=names,
        k=3,
        eps=0.3,
        steps=500,
    ).unwrapped
    vector.reset(seed=0)
    singles = [ProblemEnv("Partitioning", instances=names, k=3, eps=0.3, steps=500) for _ in range(4)]
    for i, env in enumerate(singles):
        env.reset(seed=i)
    rng = np.random.default_rng(0)
    for _ in range(50):
        actions = np.array([rng.choice(np.flatnonzero(env.action_masks())) for env in singles])
        if any(env.dynamics.done(env.instance, env.state) for env in singles):
            break
        vector.step(actions)
        for action, env in zip(actions, singles, strict=True):
            env.step(int(action))
    for i, env in enumerate(singles):
        row = vector.batch.state(i)
        for item in fields(State):
            mine = getattr(env.state, item.name)
            assert np.array_equal(getattr(row, item.name)[: len(mine)], mine), item.name
