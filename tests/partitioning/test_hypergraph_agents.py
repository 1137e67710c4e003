"""The multilevel search on hypergraphs: its kernels against recounts and all answers, its rules, and its budget."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
from hypergraphs import weighted

from sysgym.core.errors import UsageError
from sysgym.core.registry import make_problem
from sysgym.graphs.hypergraph import from_nets
from sysgym.graphs.labels.net_kernels import nets_of
from sysgym.graphs.netlists import generate_hypergraph
from sysgym_agents.core import Budget, make_agent
from sysgym_agents.partitioning.multilevel import hypergraph_kernels
from sysgym_agents.partitioning.multilevel import net_coarsening_kernels as coarsening_kernels


def solve(problem, graph, agent="fm", seed=0, **budget):
    return make_agent(agent).solve(problem, graph, np.random.default_rng(seed), Budget(**budget))["part"]


@pytest.mark.parametrize(("k", "km1"), [(2, False), (3, False), (3, True), (9, True)])
def test_refinement_keeps_its_counts_and_removes_what_it_says(k, km1) -> None:
    for seed in range(5):
        graph = weighted(seed, 80, 120)
        h, part = nets_of(graph), np.random.default_rng(seed).integers(k, size=80).astype(np.int32)
        given = np.where(np.arange(80) < 6, part, -1).astype(np.int32)
        problem = make_problem("Partitioning", k=k, eps=0.2, objective="km1" if km1 else "cut")
        before = problem.judge(graph, {"part": part.copy()}).cost
        labels, work = hypergraph_kernels.labels_of(h, part, k, km1), hypergraph_kernels.work_of(given, k, seed)
        most = np.full(k, max(int(labels.load.max()), problem.limit(graph)), np.int64)
        removed = hypergraph_kernels.refine(h, labels, work, km1, most, (5, 5), (100, 40))
        fresh = hypergraph_kernels.labels_of(h, part, k, km1)
        assert all(np.array_equal(a, b) for a, b in zip(labels, fresh, strict=True))
        assert before - removed == problem.judge(graph, {"part": part}).cost and removed > 0
        assert (labels.load <= most).all() and (part[:6] == given[:6]).all()


def test_contraction_keeps_what_every_coarse_partition_costs() -> None:
    for seed in range(5):
        graph, rng = weighted(seed, 60, 150), np.random.default_rng(seed)
        group = rng.integers(2, size=60).astype(np.int64)
        coarse, count = coarsening_kernels.cluster(nets_of(graph), group, rng.permutation(60), 40, 0.6)
        assert count < 60 and all(len({group[v] for v in np.flatnonzero(coarse == c)}) == 1 for c in range(count))
        small = coarsening_kernels.contract(nets_of(graph), coarse, count)
        other = from_nets("small", count, small.net_ptr, small.pins, small.weights, small.vwgt)
        pins = [tuple(sorted(small.pins[a:b])) for a, b in zip(small.net_ptr, small.net_ptr[1:], strict=False)]
        assert len(set(pins)) == len(pins) and min(map(len, pins)) > 1
        assert np.array_equal(other.nets, small.nets) and np.array_equal(other.node_ptr, small.node_ptr)
        for k, objective in product((2, 3), ("cut", "km1")):
            problem, part = make_problem("Partitioning", k=k, objective=objective), rng.integers(k, size=count)
            assert problem.judge(other, {"part": part}).cost == problem.judge(graph, {"part": part[coarse]}).cost


@pytest.mark.parametrize("objective", ["cut", "km1"])
def test_small_cases_are_solved(objective) -> None:
    for seed in range(3):
        graph = generate_hypergraph(f"netlist:n=9,seed={seed}")
        problem = make_problem("Partitioning", k=3, eps=0.34, objective=objective)
        found = problem.judge(graph, {"part": solve(problem, graph)})
        answers = (problem.judge(graph, {"part": np.array(a)}) for a in product(range(3), repeat=9) if a[0] == 0)
        assert found.feasible and found.cost == min(v.cost for v in answers if v.feasible)


@pytest.mark.parametrize(
    "options", [{"ubfactor": 1}, {"ubfactor": 10}, {"k": 5, "objective": "km1"}, {"k": 4, "eps": 0.0}, {"k": 12}]
)
def test_answers_obey_both_rules_with_weights(options) -> None:
    problem = make_problem("Partitioning", **options)
    for graph in (weighted(1, 300, 400), generate_hypergraph("netlist:n=300,seed=3")):
        verdict = problem.judge(graph, {"part": solve(problem, graph, steps=2)})
        worst = problem.judge(graph, {"part": np.random.default_rng(0).integers(problem.k, size=300)}).cost
        assert verdict.feasible and verdict.cost < worst


def test_answers_replay_alone_and_between_others() -> None:
    graph, problem = generate_hypergraph("netlist:n=400,seed=3"), make_problem("Partitioning", k=3)
    alone = solve(problem, graph, seed=5)
    solve(problem, weighted(2), seed=1)
    assert np.array_equal(alone, solve(problem, graph, seed=5))


def test_fixed_nodes_stay_and_a_start_is_improved(tmp_path) -> None:
    graph = generate_hypergraph("netlist:n=300,seed=3")
    (tmp_path / "my.fix").write_text("0 1\n5 0\n7 2\n")
    part = np.random.default_rng(0).permutation(np.arange(300) % 3)
    part[[0, 5, 7]] = (1, 0, 2)
    (tmp_path / "my.part").write_text("\n".join(map(str, part)) + "\n")
    for options in ({}, {"start": str(tmp_path / "my.part")}):
        problem = make_problem("Partitioning", k=3, eps=0.1, fixed=str(tmp_path / "my.fix"), **options)
        instance = problem.load(graph)
        for agent in ("fm", "mtkahypar"):
            if agent == "mtkahypar":
                pytest.importorskip("mtkahypar")
            verdict = problem.judge(instance, {"part": solve(problem, instance, agent)})
            assert verdict.feasible and verdict.metrics["moved"] == 0
            assert verdict.cost < 0.7 * problem.judge(instance, {"part": part}).cost


@pytest.mark.parametrize("objective", ["cut", "km1"])
def test_mt_kahypar_is_told_the_rule_and_the_objective(objective) -> None:
    pytest.importorskip("mtkahypar")
    graph = generate_hypergraph("netlist:n=300,seed=3")
    for options in ({"ubfactor": 3}, {"k": 5}):
        problem = make_problem("Partitioning", objective=objective, **options)
        assert problem.judge(graph, {"part": solve(problem, graph, "mtkahypar")}).feasible


def test_no_nets_and_more_parts_than_nodes_are_answered() -> None:
    for graph in (from_nets("bare", 5, [0], []), from_nets("one", 1, [0, 1], [0])):
        problem = make_problem("Partitioning", k=7)
        assert problem.judge(graph, {"part": solve(problem, graph)}).feasible


@pytest.mark.parametrize(
    "agent", ["ldg", "fennel", "spectral", "spectral-fm", "metis", "metis-restarts", "kahip", "gap", "learnt-fm"]
)
def test_agents_of_graphs_refuse_hypergraphs_in_one_sentence(agent) -> None:
    library = {"metis": "pymetis", "metis-restarts": "pymetis", "kahip": "kahip"}.get(agent)
    if library:
        pytest.importorskip(library)
    graph = generate_hypergraph("netlist:n=60,seed=3")
    with pytest.raises(UsageError, match="is a hypergraph, and this agent takes graphs alone"):
        solve(make_problem("Partitioning"), graph, agent, cpu_seconds=1)


@pytest.mark.parametrize("options", [{"levels": False}, {"load": 1.5}])
def test_options_of_the_search_on_graphs_are_refused(options) -> None:
    graph = generate_hypergraph("netlist:n=60,seed=3")
    with pytest.raises(UsageError, match="takes levels and load on graphs alone"):
        make_agent("fm", **options).solve(make_problem("Partitioning"), graph, np.random.default_rng(0), Budget())


@pytest.mark.slow
def test_a_budget_of_time_is_kept() -> None:
    graph, problem = generate_hypergraph("netlist:n=3000,seed=3"), make_problem("Partitioning", k=4)
    solve(problem, graph)  # compiles
    begun = time.process_time()
    solve(problem, graph, cpu_seconds=2.0)
    assert 1.5 < time.process_time() - begun < 2.2
