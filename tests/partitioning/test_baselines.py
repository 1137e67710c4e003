"""Baselines of partitioning: feasible, seeded, and as good as they should be."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from sysgym import MissingDependency, UsageError, make_problem
from sysgym.graphs import from_edges
from sysgym.graphs.generate import generate_graph
from sysgym_agents import Budget, make_agent
from sysgym_agents.core import Clock
from sysgym_agents.partitioning import partition_kernels as kernels
from sysgym_agents.partitioning.baselines import coarsen, cut_of, rebalance_and_refine

ALWAYS_FEASIBLE = ("random", "ldg", "fennel", "fm", "spectral", "kahip")


def solve(name: str, problem: Any, graph: Any, seed: int = 0, **hyper: Any) -> np.ndarray:
    return make_agent(name, **hyper).solve(problem, graph, np.random.default_rng(seed), Budget())["part"]


@pytest.mark.parametrize("name", ALWAYS_FEASIBLE)
@pytest.mark.parametrize("k", [2, 4, 7])
def test_feasible_on_every_family(name: str, k: int) -> None:
    if name == "kahip":
        pytest.importorskip("kahip")
    for family in ("delaunay", "barabasi_albert", "stochastic_block"):
        problem = make_problem("Partitioning", k=k, eps=0.05, mode="assign" if name == "random" else "refine")
        graph = generate_graph(f"{family}:n=300,seed=2")
        assert problem.judge(graph, {"part": solve(name, problem, graph)}).feasible


@pytest.mark.parametrize("name", [*ALWAYS_FEASIBLE, "metis"])
def test_same_seed_same_partition(name: str) -> None:
    if name in ("kahip", "metis"):
        pytest.importorskip({"metis": "pymetis"}.get(name, name))
    problem = make_problem("Partitioning", k=4, mode="assign" if name == "random" else "refine", order="random")
    graph = generate_graph("delaunay:n=200,seed=5")
    assert np.array_equal(solve(name, problem, graph, 3), solve(name, problem, graph, 3))


def test_order_of_strength() -> None:
    """Geometric means over six triangulations: each step up the list cuts clearly less."""
    problem = make_problem("Partitioning", k=4, mode="assign")
    cuts = {name: [] for name in ("random", "ldg", "fennel", "spectral", "fm")}
    for seed in range(6):
        graph = generate_graph(f"delaunay:n=500,seed={seed}")
        for name in cuts:
            cuts[name].append(cut_of(graph, solve(name, problem, graph)))
    mean = {name: np.exp(np.mean(np.log(values))) for name, values in cuts.items()}
    assert mean["ldg"] < 0.5 * mean["random"]
    assert mean["fennel"] < mean["ldg"]
    assert mean["spectral"] < 0.8 * mean["fennel"]
    assert mean["fm"] < mean["spectral"]


def test_fm_is_level_with_metis() -> None:
    pytest.importorskip("pymetis")
    problem = make_problem("Partitioning", k=4)
    ratios = []
    for family in ("delaunay", "geometric", "erdos_renyi", "barabasi_albert"):
        graph = generate_graph(f"{family}:n=1500,seed=1")
        ratios.append(
            cut_of(graph, solve("fm", problem, graph)) / cut_of(graph, solve("metis", problem, graph, seed=1))
        )
    assert np.exp(np.mean(np.log(ratios))) < 1.05


@pytest.mark.parametrize("seed", range(4))
def test_fm_finds_the_optimum_of_tiny_graphs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = np.array([p for p in itertools.combinations(range(10), 2) if rng.random() < 0.4])
    graph = from_edges("tiny", 10, pairs[:, 0], pairs[:, 1], rng.integers(1, 9, len(pairs)))
    problem = make_problem("Partitioning", k=2, eps=0.0)
    best = min(cut_of(graph, np.isin(np.arange(10), half).astype(int)) for half in itertools.combinations(range(10), 5))
    assert cut_of(graph, solve("fm", problem, graph, runs=30, levels=False)) == best


def test_refine_reports_what_it_removed_and_keeps_balance() -> None:
    graph = generate_graph("delaunay:n=400,seed=8")
    problem = make_problem("Partitioning", k=5, eps=0.03)
    part = (np.arange(400) % 5).astype(np.int32)
    before = cut_of(graph, part)
    removed = kernels.refine(kernels.csr(graph), part, 5, problem.limit(graph), 20, 100)
    assert cut_of(graph, part) == before - removed < 0.6 * before
    assert problem.judge(graph, {"part": part}).feasible


def test_rebalance_makes_lopsided_partitions_feasible() -> None:
    graph = generate_graph("delaunay:n=400,seed=8")
    problem = make_problem("Partitioning", k=4, eps=0.03)
    for part in (np.zeros(400, np.int32), np.minimum(np.arange(400) // 50, 3).astype(np.int32)):
        better = rebalance_and_refine(graph, part, 4, problem.limit(graph), Clock(Budget()))
        assert problem.judge(graph, {"part": better}).feasible
        assert not np.array_equal(better, part)


def test_coarsening_keeps_weight_and_cut() -> None:
    base = generate_graph("geometric:n=600,seed=3")
    rng = np.random.default_rng(0)
    once = base.sources < base.adjncy
    graph = from_edges(
        "w", 600, base.sources[once], base.adjncy[once], rng.integers(1, 9, once.sum()), rng.integers(1, 5, 600)
    )
    levels = coarsen(graph, 60, rng)
    assert levels[-1][0].nodes < 150
    part = rng.integers(0, 3, levels[-1][0].nodes)
    cut = cut_of(levels[-1][0], part)
    for finer, coarse in reversed(levels[:-1]):
        part = part[coarse]
        assert cut_of(finer, part) == cut and finer.total_node_weight == graph.total_node_weight


def test_time_budget_is_honoured() -> None:
    import time

    problem = make_problem("Partitioning", k=4)
    graph = generate_graph("delaunay:n=300,seed=1")
    solve("fm", problem, graph)
    started = time.perf_counter()
    make_agent("fm").solve(problem, graph, np.random.default_rng(0), Budget(seconds=0.5))
    assert 0.4 < time.perf_counter() - started < 2.0


def test_missing_wheel_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    problem, graph = make_problem("Partitioning"), generate_graph("grid:n=16")
    for name, module in (("metis", "pymetis"), ("kahip", "kahip")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingDependency, match=r"pip install 'sysgym\[partitioners\]'"):
            solve(name, problem, graph)


ODD = {
    "one node": from_edges("one node", 1, [], []),
    "two nodes": from_edges("two nodes", 2, [0], [1]),
    "no edges": from_edges("no edges", 10, [], []),
    "no weight": from_edges("no weight", 5, [0, 1, 2, 3], [1, 2, 3, 4], None, [0] * 5),
    "heavy node": from_edges("heavy node", 5, [0, 1, 2, 3], [1, 2, 3, 4], None, [1000, 1, 1, 1, 1]),
}


def wheel(name: str) -> None:
    if name in ("kahip", "metis"):
        pytest.importorskip({"metis": "pymetis"}.get(name, name))


@pytest.mark.parametrize("name", ["ldg", "fennel", "fm", "spectral", "metis", "kahip"])
@pytest.mark.parametrize(("k", "eps"), [(2, 0.0), (2, 0.03), (7, 0.03), (16, 0.0)])
def test_odd_graphs_are_survived(name: str, k: int, eps: float) -> None:
    """Every answer is a partition; the own baselines' are feasible, and KaHIP may refuse with a sentence."""
    wheel(name)
    problem = make_problem("Partitioning", k=k, eps=eps)
    for graph in ODD.values():
        try:
            verdict = problem.judge(graph, {"part": solve(name, problem, graph)})
        except UsageError as error:
            assert name == "kahip" and "choose" in str(error)
            assert k > graph.nodes or (eps == 0 and (graph.vwgt != 1).any())
        else:
            assert verdict.feasible or name in ("metis", "kahip")


def pair(node_weight: int = 1, edge_weight: int = 1, nodes: int = 3) -> Any:
    return from_edges("pair", nodes, [0, 1], [1, 2], [edge_weight] * 2, [node_weight] * nodes)


@pytest.mark.parametrize(
    ("graph", "k", "eps", "sentence"),
    [
        (pair(), 4, 0.03, "cannot split the 3 nodes of pair into 4 parts"),
        (pair(node_weight=2, nodes=4), 2, 0.0, "cannot balance pair perfectly"),
        (pair(edge_weight=2**24), 2, 0.0, "cannot balance pair perfectly"),
        (pair(node_weight=2**31), 2, 0.03, "counts in 32-bit integers, the node weights of pair sum to"),
        (pair(edge_weight=2**30), 2, 0.03, "counts in 32-bit integers, the edge weights of pair sum to"),
    ],
)
def test_what_kahip_does_not_survive_is_refused(graph: Any, k: int, eps: float, sentence: str) -> None:
    pytest.importorskip("kahip")
    with pytest.raises(UsageError, match=sentence):
        solve("kahip", make_problem("Partitioning", k=k, eps=eps), graph)


def test_a_narrow_metis_refuses_wide_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    pymetis = pytest.importorskip("pymetis")
    problem, graph = make_problem("Partitioning"), pair(edge_weight=2**30)
    if pymetis._internal._idx_type_width() == 64:
        assert problem.judge(graph, {"part": solve("metis", problem, graph)}).cost % 2**30 == 0
    monkeypatch.setattr(pymetis._internal, "_idx_type_width", lambda: 32)
    with pytest.raises(UsageError, match="agent 'metis' counts in 32-bit integers"):
        solve("metis", problem, graph)


def test_unknown_names_are_explained() -> None:
    with pytest.raises(UsageError, match="Did you mean 'metis'"):
        make_agent("mettis")
    with pytest.raises(UsageError, match=r"unknown option of agent 'fm' 'run'\. Did you mean 'runs'"):
        make_agent("fm", run=3)
    with pytest.raises(UsageError, match="unknown preset of kahip"):
        make_agent("kahip", preset="turbo")


@pytest.mark.parametrize("name", ["fm", "spectral", "spectral-fm", "first", "greedy", "random"])
def test_what_can_be_packed_is_answered_however_uneven_the_weights(name: str) -> None:
    rng = np.random.default_rng(0)
    for trial in range(12):
        nodes, k = int(rng.integers(4, 30)), int(rng.integers(2, 6))
        weights = rng.integers(1, 50, nodes) if trial % 2 else np.where(rng.random(nodes) < 0.2, 1000, 1)
        u, v = np.nonzero(np.triu(rng.random((nodes, nodes)) < 0.3, 1))
        graph = from_edges("uneven", nodes, u, v, None, weights)
        problem = make_problem("Partitioning", k=k, eps=0.0)
        verdict = problem.judge(graph, make_agent(name).solve(problem, graph, np.random.default_rng(trial), Budget()))
        assert verdict.feasible, verdict.violations
