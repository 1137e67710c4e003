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
from sysgym.graphs.labels.starts import node_order
from sysgym.graphs.labels.state import State
from sysgym.partitioning.judge import judge_partition
from sysgym_agents.partitioning.baselines import cut_of


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


def moves_and_exchanges(graph: Graph, state: State, parts: int, limit: int) -> tuple[dict[int, int], dict[int, int]]:
    """By node, what its best feasible move saves, and what its best exchange does where its best part has no room;
    from whole cuts, nodes within their tenure left out.
    """

    def saved(*changes: tuple[int, int]) -> int:
        part = state.part.copy()
        for v, p in changes:
            part[v] = p
        return cut_of(graph, state.part) - cut_of(graph, part)

    moves, exchanges = {}, {}
    free = [v for v in range(graph.nodes) if state.tabu[v] <= state.s[kernels.STEPS]]
    for v in free:
        a = state.part[v]
        near = [p for p in range(parts) if p != a and state.conn[v, p] > 0]
        fits = [p for p in near if state.load[p] + graph.vwgt[v] <= limit]
        if fits:
            moves[v] = max(saved((v, p)) for p in fits)
        best = max(near, key=lambda p: (saved((v, p)), -p), default=-1)
        if best >= 0 and best not in fits:
            heavier = [graph.vwgt[v] - graph.vwgt[u] for u in range(graph.nodes)]
            partners = [
                u for u in free
                if state.part[u] == best and state.conn[u, best] < graph.degree[u]
                and state.load[best] + heavier[u] <= limit and state.load[a] - heavier[u] <= limit
            ]  # fmt: skip
            if partners:
                exchanges[v] = max(saved((v, best), (u, a)) for u in partners)
    return moves, exchanges


@pytest.mark.parametrize(("k", "eps", "candidates"), [(3, 0.2, 6), (3, 0.05, 300), (2, 0.0, 300), (4, 0.0, 300)])
def test_candidates_are_the_best_moves_and_exchanges(k: int, eps: float, candidates: int) -> None:
    graph = awkward(5)
    env = ProblemEnv("Partitioning", instance=graph, mode="refine", k=k, eps=eps, candidates=candidates, tenure=3,
                     steps=60)  # fmt: skip
    env.reset(seed=0)
    limit, rng, over, exchanged = env.problem.limit(graph), np.random.default_rng(0), False, 0
    while not over:
        state = env.state
        moves, exchanges = moves_and_exchanges(graph, state, k, limit)
        listed = int(state.s[kernels.COUNT])
        nodes, others = state.cand_node[:listed].tolist(), state.cand_other[:listed].tolist()
        gains = [round(x * graph.degree[[v, *([u] if u >= 0 else [])]].sum())
                 for x, v, u in zip(state.cand_x[:listed, 0].tolist(), nodes, others, strict=True)]  # fmt: skip
        assert gains == sorted(gains, reverse=True)
        found = {v: g for v, u, g in zip(nodes, others, gains, strict=True) if u < 0}
        swapped = {v: (u, g) for v, u, g in zip(nodes, others, gains, strict=True) if u >= 0}
        if candidates == 300:
            assert found == moves
            twice = {v: g for v, g in exchanges.items() if v not in swapped}  # stand there from the other side
            assert all(any(u == v and gain == g for u, gain in swapped.values()) for v, g in twice.items())
        else:
            assert all(moves[v] == g for v, g in found.items())
            assert swapped or gains == sorted(moves.values(), reverse=True)[:6]
        assert all(exchanges[v] == g for v, (_, g) in swapped.items())
        before = int(state.s[kernels.STEPS])
        action = int(rng.choice(np.flatnonzero(env.action_masks())))
        exchanged += others[action] >= 0
        _, _, over, _, _ = env.step(action)
        assert env.state.load.max() <= limit and env.state.s[kernels.STEPS] == before + 1
        check(graph, env.state, k)
    assert exchanged > 1 and env.state.s[kernels.STEPS] == 60


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
