"""Episodes of clustering: rewards, gains and masks against dense numpy; graphs of different k together."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from sysgym import UsageError
from sysgym.clustering.instance import Affinity
from sysgym.clustering.neighbours import Neighbours, affinity_graph
from sysgym.clustering.points import of_matrix
from sysgym.clustering.problem import Clustering
from sysgym.core.env import ProblemEnv
from sysgym.core.errors import Notice
from sysgym.graphs.labels import kernels
from sysgym.graphs.labels.state import State
from sysgym_agents.general.random import sample_action

MODES: dict[str, dict[str, Any]] = {
    "assign": {"mode": "assign"},
    "oneshot": {"mode": "oneshot"},
    "sweep": {"mode": "refine"},
    "candidates": {"mode": "refine", "moves": "candidates", "candidates": 12, "tenure": 3},
    "raw": {"mode": "refine", "moves": "raw"},
}


@cache
def graph(own: bool = False, k: int = 4) -> Affinity:
    rng = np.random.default_rng(k)
    x = rng.standard_normal((45, 3)) + 2 * rng.standard_normal((k, 3))[rng.integers(k, size=45)]
    return affinity_graph(x, k=k, how=Neighbours(6, own=own))


@cache
def matrix() -> Affinity:
    """Affinities that are not whole, of points to themselves too, in three components and a lonely point."""
    rng = np.random.default_rng(0)
    upper = np.triu(rng.random((31, 31)) * (rng.random((31, 31)) < 0.4), 1)
    which = np.arange(31) // 10
    w = (upper + upper.T) * (which[:, None] == which[None]) + np.diag(rng.random(31) * (rng.random(31) < 0.5))
    w[30, 30] = 0
    return of_matrix("matrix", csr_array(w))


def dense(instance: Affinity) -> Any:
    w = np.zeros((instance.nodes, instance.nodes))
    w[instance.sources, instance.adjncy] = instance.adjwgt * instance.unit
    np.fill_diagonal(w, (instance.vwgt - instance.degree) * instance.unit)
    return w


def potential(w: Any, labels: Any, k: int) -> float:
    """sum of 1 - A_c / V_c over the points that have a label, those without (-1) in no cluster."""
    total = 0.0
    for c in range(k):
        own = labels == c
        volume = w[own].sum()
        total += 1.0 - w[np.ix_(own, own)].sum() / volume if volume > 0 else 1.0
    return total


def legal(env: ProblemEnv, rng: np.random.Generator) -> Any:
    return sample_action(rng, env.action_space, env.action_masks())


INSTANCES = {"points": graph, "own": lambda: graph(own=True), "matrix": matrix}


@pytest.mark.parametrize("which", INSTANCES)
@pytest.mark.parametrize("mode", MODES)
def test_rewards_add_up_to_what_is_judged(mode: str, which: str) -> None:
    instance = INSTANCES[which]()
    k, rng, w = 4, np.random.default_rng(1), dense(instance)
    env = ProblemEnv(Clustering(k=k, **MODES[mode]), instance=instance)
    for seed in range(3):
        env.reset(seed=seed)
        first = potential(w, env.state.part[: instance.nodes], k)
        assert mode not in ("assign", "oneshot") or first == k
        total, over, info = 0.0, False, {}
        while not over:
            before = env.dynamics.cost(instance, env.state)
            _, reward, over, _, info = env.step(legal(env, rng))
            assert float(reward) * k == pytest.approx(before - env.dynamics.cost(instance, env.state), abs=1e-12)
            total += float(reward)
        labels = env.solution()["labels"]
        cost = info["verdict"]["cost"]
        assert total * k == pytest.approx(first - cost, abs=1e-9)
        assert cost == pytest.approx(potential(w, labels, k), abs=1e-9)


@pytest.mark.parametrize("which", INSTANCES)
def test_two_hundred_thousand_moves_do_not_drift(which: str) -> None:
    instance, problem, rng = INSTANCES[which](), Clustering(k=4, mode="refine", moves="raw"), np.random.default_rng(0)
    state: State = problem.dynamics.start(instance, rng, None)
    for count, most in ((100_000, 4), (50_000, 2), (50_000, 4)):  # two clusters run empty for a while
        moves = np.stack([rng.integers(instance.nodes, size=count), rng.integers(most, size=count)], axis=1)
        kernels.random_moves(
            instance.xadj, instance.adjncy, instance.adjwgt, instance.vwgt, instance.degree, state.part, state.conn,
            state.load, state.volume, state.inside, state.trail, state.s, state.f, moves,
        )  # fmt: skip
        cost = problem.judge(instance, {"labels": state.part.astype(np.int64)}).cost
        assert abs(state.f[kernels.NOW] - cost) < 1e-9
        assert abs(cost - potential(dense(instance), state.part, 4)) < 1e-9


@pytest.mark.parametrize("which", INSTANCES)
@pytest.mark.parametrize("mode", ["assign", "sweep"])
def test_gains_of_clusters_are_differences_of_cost(mode: str, which: str) -> None:
    instance = INSTANCES[which]()
    k, rng, w = 4, np.random.default_rng(2), dense(instance)
    env = ProblemEnv(Clustering(k=k, **MODES[mode]), instance=instance)
    env.reset(seed=0)
    degree = w.sum(axis=1)
    for _ in range(instance.nodes if mode == "assign" else 60):
        part = env.state.part.copy()
        rows, nodes = env.dynamics.candidates(instance, env.state, env.size)
        v = env.dynamics.focus(instance, env.state)
        assert (nodes == v).all() and (part[v] == -1 if mode == "assign" else part[v] >= 0)
        for c in range(k):
            moved = part.copy()
            moved[v] = c
            assert rows[c, 1] == pytest.approx(potential(w, part, k) - potential(w, moved, k), abs=1e-6)
            inside = part == c
            inside[v] = False
            known = max(degree[v], 1e-300)
            assert rows[c, 0] == pytest.approx(w[v, inside].sum() / known, abs=1e-6)
            assert rows[c, 2] == pytest.approx(degree[part == c].sum() * k / degree.sum(), rel=1e-5, abs=1e-6)
            assert rows[c, 7] == (part[v] == c)
        others = np.arange(len(part)) != v
        assert rows[:, 5] == pytest.approx(w[v, (part < 0) & others].sum() / max(degree[v], 1e-300), abs=1e-6)
        env.step(legal(env, rng))


@pytest.mark.parametrize("which", INSTANCES)
def test_gains_of_candidates_are_differences_of_cost(which: str) -> None:
    instance = INSTANCES[which]()
    k, rng, w = 4, np.random.default_rng(3), dense(instance)
    env = ProblemEnv(Clustering(k=k, steps=40, **MODES["candidates"]), instance=instance)
    env.reset(seed=0)
    over, seen = False, 0
    while not over:
        part = env.state.part.copy()
        rows, nodes = env.dynamics.candidates(instance, env.state, env.size)
        for i in np.flatnonzero(nodes >= 0):
            moved = part.copy()
            moved[nodes[i]] = env.state.cand_part[i]
            gain = potential(w, part, k) - potential(w, moved, k)
            assert rows[i, 0] == pytest.approx(gain * instance.nodes / k, rel=1e-4, abs=1e-4)
            seen += 1
        assert (np.diff(rows[nodes >= 0, 0]) <= 1e-6).all()
        over = env.step(legal(env, rng))[2]
    assert seen > 40


@pytest.mark.parametrize("changed", [None, 0, 7])
def test_a_sweep_ends_after_a_round_without_a_change(changed: int | None) -> None:
    instance = graph()
    env = ProblemEnv(Clustering(mode="refine"), instance=instance)
    env.reset(seed=0)
    visited, over = [], False
    while not over:
        v, label = env.dynamics.focus(instance, env.state), 0
        label = int(env.state.part[v])
        if len(visited) == changed:
            label = (label + 1) % 4
        visited.append(v)
        over = env.step(label)[2]
    assert len(visited) == instance.nodes + (0 if changed is None else changed + 1)
    assert sorted(visited[: instance.nodes]) == list(range(instance.nodes))
    again = visited[instance.nodes :]
    assert again == visited[: len(again)]  # round and round in one order


def test_a_sweep_that_changes_for_ever_has_four_rounds() -> None:
    instance = graph()
    env = ProblemEnv(Clustering(mode="refine"), instance=instance)
    env.reset(seed=1)
    steps, over = 0, False
    while not over:
        over = env.step((int(env.state.part[env.dynamics.focus(instance, env.state)]) + 1) % 4)[2]
        steps += 1
    assert steps == 4 * instance.nodes


@pytest.mark.parametrize("order", ["degree", "bfs", "natural", "random"])
def test_assign_names_clusters_in_one_way_and_leaves_none_empty(order: Any) -> None:
    instance = graph()
    for k in (2, 4, 9, 45):
        env = ProblemEnv(Clustering(k=k, order=order), instance=instance)
        rng = np.random.default_rng(k)
        env.reset(seed=k)
        over = False
        for turn in range(instance.nodes):
            used = np.bincount(env.state.part[env.state.part >= 0], minlength=k) > 0
            mask = env.action_masks()
            empty = np.flatnonzero(~used)
            if not used.any():
                assert mask.all()
            elif instance.nodes - turn <= len(empty):
                assert np.flatnonzero(mask).tolist() == [empty[0]]
            else:
                assert np.flatnonzero(mask).tolist() == sorted([*np.flatnonzero(used), *empty[:1]])
            over = env.step(int(np.flatnonzero(mask)[0]) if turn % 2 else legal(env, rng))[2]
        assert over and len(np.unique(env.solution()["labels"])) == k


def test_no_order_but_degree_looks_at_the_seed_of_the_degrees() -> None:
    instance = graph()
    assert np.array_equal(np.sort(instance.degree)[::-1], instance.degree[_visited("degree", 0)])
    assert _visited("natural", 3) == list(range(45))
    assert _visited("random", 0) != _visited("random", 1) and sorted(_visited("random", 0)) == list(range(45))


def _visited(order: Any, seed: int) -> list[int]:
    env = ProblemEnv(Clustering(order=order), instance=graph())
    env.reset(seed=seed)
    return [int(v) for v in env.state.order]


# ------------------------------------------------------------------------------------------------ starts


@pytest.mark.parametrize("start", ["random", "grow", "greedy", "kmeans", "spectral"])
def test_starts_are_labels_of_all_points(start: Any) -> None:
    env = ProblemEnv(Clustering(mode="refine", start=start), instance=graph())
    costs = []
    for seed in range(3):
        env.reset(seed=seed)
        part = env.state.part
        assert part.min() >= 0 and part.max() < 4
        costs.append(env.dynamics.cost(graph(), env.state))
        assert costs[-1] == pytest.approx(potential(dense(graph()), part, 4), abs=1e-9)
    assert start not in ("kmeans", "spectral") or max(costs) < 1.5


def test_starts_of_equal_points_and_without_points() -> None:
    same = affinity_graph(np.repeat(np.eye(2), 10, axis=0), k=4, how=Neighbours(5))
    for start in ("kmeans", "spectral"):
        env = ProblemEnv(Clustering(mode="refine", start=start), instance=same)
        env.reset(seed=0)
        assert env.state.part.max() < 4
    with pytest.raises(UsageError, match="holds affinities, no points, which start=kmeans needs; use start=spectral"):
        ProblemEnv(Clustering(k=3, mode="refine", start="kmeans"), instance=matrix()).reset(seed=0)
    env = ProblemEnv(Clustering(k=3, mode="refine", start="spectral"), instance=matrix())
    env.reset(seed=0)
    assert env.state.part.max() < 3
    with pytest.raises(UsageError, match="a starting solution needs mode='refine'"):
        ProblemEnv(Clustering(), instance=graph()).reset(options={"solution": {"labels": np.zeros(45, int)}})


def test_a_given_start_is_where_refinement_begins() -> None:
    labels = np.random.default_rng(0).integers(4, size=45)
    env = ProblemEnv(Clustering(mode="refine"), instance=graph())
    env.reset(seed=0, options={"solution": {"labels": labels}})
    assert np.array_equal(env.state.part, labels)
    assert env.dynamics.cost(graph(), env.state) == Clustering().judge(graph(), {"labels": labels}).cost


def test_tiny_instances_play_to_their_end() -> None:
    for name, k in (("moons:n=8,k=2", 2), ("circles:n=8,k=8", 8)):
        for options in MODES.values():
            with pytest.warns(Notice, match="8 points have no 10 neighbours"):
                env = ProblemEnv(Clustering(**options), instance=name)
            rng, over = np.random.default_rng(0), False
            env.reset(seed=0)
            while not over:
                over = env.step(legal(env, rng))[2]
            assert env.solution()["labels"].max() < k
