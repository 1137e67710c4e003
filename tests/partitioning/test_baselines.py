"""Baselines of partitioning: feasible, seeded, and as good as they should be."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sysgym import MissingDependency, UsageError, make_problem
from sysgym.graphs import from_edges
from sysgym.graphs.generate import generate_graph
from sysgym.graphs.multilevel import balance_kernels as kernels
from sysgym.graphs.multilevel.bisection_kernels import bisect
from sysgym.graphs.multilevel.levels import coarsen
from sysgym.graphs.multilevel.refinement_kernels import improve, make_table
from sysgym_agents import Budget, make_agent
from sysgym_agents.core import Clock
from sysgym_agents.partitioning.baselines import cut_of, rebalance_and_refine
from sysgym_agents.partitioning.multilevel.exchange_kernels import exchange
from sysgym_agents.partitioning.multilevel.flow_kernels import flows
from sysgym_agents.partitioning.multilevel.fm import Search
from sysgym_agents.partitioning.multilevel.isolated import without_isolated
from sysgym_agents.partitioning.multilevel.population import Population

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


PLAIN, TOWARDS_LIGHT = np.zeros(5), np.array([0.2, 0.5, 1.7, 0.1, 0.3])


def weighted(seed: int = 3) -> Any:
    """A geometric graph with weights of nodes and edges."""
    base, rng = generate_graph(f"geometric:n=600,seed={seed}"), np.random.default_rng(seed)
    once = base.sources < base.adjncy
    return from_edges(
        "w", 600, base.sources[once], base.adjncy[once], rng.integers(1, 9, once.sum()), rng.integers(1, 5, 600)
    )


def state(seed: int = 1) -> np.ndarray:
    return np.array([seed], np.uint64)


@pytest.mark.parametrize("theta", [PLAIN, TOWARDS_LIGHT], ids=["plain", "learnt"])
@pytest.mark.parametrize("rounds", [(20, 0), (0, 10), (20, 10)], ids=["global", "local", "both"])
def test_fm_reports_what_it_removed_and_keeps_balance(rounds: tuple[int, int], theta: np.ndarray) -> None:
    problem = make_problem("Partitioning", k=5, eps=0.03)
    for graph in (generate_graph("delaunay:n=400,seed=8"), weighted()):
        part = (np.arange(graph.nodes) % 5).astype(np.int32)
        before, limits = cut_of(graph, part), np.full(5, problem.limit(graph))
        kernels.rebalance(kernels.csr(graph), part, 5, problem.limit(graph))
        start = cut_of(graph, part)
        removed, _ = improve(kernels.csr(graph), part, limits, limits, theta, *rounds, state())
        assert cut_of(graph, part) == start - removed < 0.6 * before
        assert problem.judge(graph, {"part": part}).feasible


def test_fixed_nodes_stay_in_searches_and_flows() -> None:
    graph = weighted()
    fixed = np.full(600, -1, np.int32)
    fixed[:40] = np.arange(40) % 3
    graph = replace(graph, fixed=fixed)
    problem = make_problem("Partitioning", k=3, eps=0.1)
    limits, part = np.full(3, problem.limit(graph)), np.zeros(600, np.int32)
    bisect(kernels.csr(graph), part, 3, problem.limit(graph), 2, state())
    assert (part[:40] == fixed[:40]).all()
    improve(kernels.csr(graph), part, limits, limits, PLAIN, 5, 5, state())
    flows(kernels.csr(graph), part, limits, int(1.3 * limits[0]), 5, state())
    assert (part[:40] == fixed[:40]).all() and problem.judge(graph, {"part": part}).feasible


@pytest.mark.parametrize("seed", range(6))
def test_flows_find_the_smallest_balanced_cut_of_a_pair(seed: int) -> None:
    """Where balance allows any cut, the answer is the minimum cut between what lies outside of the corridor."""
    import networkx as nx

    from sysgym.graphs.csr import to_networkx

    graph, rng = weighted(seed), np.random.default_rng(seed)
    part = (rng.permutation(600) % 2).astype(np.int32)
    fixed = np.full(600, -1, np.int32)
    fixed[[0, 1]] = part[[0, 1]] = 0, 1
    graph = replace(graph, fixed=fixed)
    free = np.full(2, graph.total_node_weight)
    before = cut_of(graph, part)
    removed = flows(kernels.csr(graph), part, free, 10 * graph.total_node_weight, 20, state())
    assert cut_of(graph, part) == before - removed
    assert before - removed == nx.minimum_cut_value(to_networkx(graph), 0, 1, capacity="weight")


@pytest.mark.parametrize("k", [2, 5])
def test_flows_keep_the_limit_and_report_what_they_removed(k: int) -> None:
    graph = generate_graph("delaunay:n=900,seed=4")
    problem = make_problem("Partitioning", k=k, eps=0.03)
    part = solve("fennel", problem, graph).copy()
    before, limits = cut_of(graph, part), np.full(k, problem.limit(graph))
    removed = flows(kernels.csr(graph), part, limits, int(1.3 * limits[0]), 5, state())
    assert removed > 0 and cut_of(graph, part) == before - removed
    assert problem.judge(graph, {"part": part}).feasible


def test_rebalance_makes_lopsided_partitions_feasible() -> None:
    graph = generate_graph("delaunay:n=400,seed=8")
    problem = make_problem("Partitioning", k=4, eps=0.03)
    for part in (np.zeros(400, np.int32), np.minimum(np.arange(400) // 50, 3).astype(np.int32)):
        better = rebalance_and_refine(graph, part, 4, problem.limit(graph), Clock(Budget()))
        assert problem.judge(graph, {"part": better}).feasible
        assert not np.array_equal(better, part)


def test_coarsening_keeps_weight_and_cut_and_groups() -> None:
    graph, rng = weighted(), np.random.default_rng(0)
    group = rng.integers(0, 3, 600)
    levels = coarsen(graph, 2, 10**6, group, state())
    assert levels[-1][0].nodes < 200
    part = rng.integers(0, 3, levels[-1][0].nodes)
    cut = cut_of(levels[-1][0], part)
    for finer, coarse in reversed(levels[:-1]):
        part = part[coarse]
        assert cut_of(finer, part) == cut and finer.total_node_weight == graph.total_node_weight
    _, one = np.unique(levels[0][1], return_index=True)
    assert (group == group[one][levels[0][1]]).all()


def test_graphs_with_hubs_coarsen() -> None:
    """Leaves that hang on a hub, which is too heavy to take them all, join each other."""
    graph = from_edges("star", 2001, [0] * 2000, np.arange(1, 2001))
    assert coarsen(graph, 2, 10**6, graph.given, state())[-1][0].nodes < 300


@pytest.mark.parametrize("family", ["delaunay", "barabasi_albert", "grid"])
def test_perfect_balance_costs_little(family: str) -> None:
    """eps = 0 leaves no room for a single move: the answer is feasible and near that of a loose limit."""
    graph = generate_graph(f"{family}:n=1024,seed=2")
    tight, loose = (make_problem("Partitioning", k=4, eps=eps) for eps in (0.0, 0.03))
    part = solve("fm", tight, graph)
    assert tight.judge(graph, {"part": part}).feasible
    assert cut_of(graph, part) < 1.25 * cut_of(graph, solve("fm", loose, graph))
    assert cut_of(graph, part) < cut_of(graph, solve("spectral", tight, graph))


def test_the_best_of_a_population_never_gets_worse() -> None:
    graph, problem = generate_graph("geometric:n=800,seed=6"), make_problem("Partitioning", k=4)
    search = Search(graph, 4, problem.limit(graph), np.zeros(5), np.random.default_rng(1))
    population, found = Population(search, None), []
    for step in range(30):
        population.step(step >= 6)
        found.append(population.best)
    assert all(later.key <= earlier.key for earlier, later in itertools.pairwise(found))
    assert found[-1].key < found[0].key and found[-1].key == (0, cut_of(graph, found[-1].part))


def test_exchanges_remove_what_they_say_and_keep_to_the_limits() -> None:
    """From full parts of a graph with hubs, where no single move has room."""
    graph = generate_graph("barabasi_albert:n=200,seed=3")
    arrays, rng = kernels.csr(graph), np.random.default_rng(0)
    for k, given in ((2, 0), (4, 0), (4, 5)):
        part = rng.permutation(np.arange(200) % k).astype(np.int32)
        limits, before = np.full(k, 200 // k, np.int64), cut_of(graph, part)
        fixed = np.where(np.arange(200) < given, part, -1).astype(np.int32)
        held, start = arrays._replace(given=fixed), part.copy()
        table = make_table(held, part, k, np.zeros(5))
        removed = exchange(held, table, part, limits)
        assert removed == before - cut_of(graph, part) > 0.1 * before
        assert (np.bincount(part, minlength=k) <= limits).all() and (part[:given] == start[:given]).all()
        again = make_table(held, part, k, np.zeros(5))
        assert np.array_equal(again.conn, table.conn) and np.array_equal(again.load, table.load)


def test_isolated_nodes_fill_up_what_others_leave() -> None:
    """Two cliques of unlike size and nodes without an edge: nothing need be cut; heavy ones are not taken out."""
    clique = [(u, v) for u in range(6) for v in range(u)] + [(u, v) for u in range(6, 10) for v in range(6, u)]
    u, v = zip(*clique, strict=True)
    problem = make_problem("Partitioning", k=2, eps=0.0)
    for heavy, left in (([1, 1], 10), ([3, 1], 13), ([2, 6], 18)):
        weights = np.array([1] * 10 + heavy)
        graph = from_edges("cliques", 12, u, v, None, weights)
        part = make_agent("fm").solve(problem, graph, np.random.default_rng(0), Budget(steps=5))
        found = problem.judge(graph, part)
        best = min(
            sum(each[a] != each[b] for a, b in clique)
            for each in itertools.product((0, 1), repeat=12)
            if 0 < sum(each) < 12 and max(weights @ each, weights.sum() - weights @ each) <= problem.limit(graph)
        )
        assert found.feasible and found.cost == best
        assert without_isolated(graph, 2, problem.limit(graph)).graph.total_node_weight == left


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
