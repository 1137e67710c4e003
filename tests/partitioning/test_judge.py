"""The judge against hand-solved graphs, brute force, networkx and the figures of the public archive."""

from __future__ import annotations

import itertools
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from sysgym import InvalidSolution, make_problem
from sysgym.core.solutions import read_solution
from sysgym.graphs import from_edges, to_networkx
from sysgym.graphs.generate import generate_graph
from sysgym.partitioning.judge import balance_limit, judge_partition

# cut, largest part, limit: the README beside the archive's bisections at 5 %
ARCHIVE = {
    "add20": (536, 1256, 1257), "data": (181, 1497, 1497), "3elt": (87, 2398, 2478), "uk": (18, 2455, 2532),
    "bcsstk33": (9914, 4554, 4587), "whitaker3": (126, 4908, 5145), "crack": (182, 5187, 5376),
    "wing_nodal": (1668, 5742, 5742), "fe_4elt2": (130, 5572, 5850), "vibrobox": (10310, 6184, 6472),
    "4elt": (137, 8003, 8193), "fe_sphere": (384, 8289, 8602), "cti": (318, 8480, 8841),
    "memplus": (5253, 9322, 9322), "fe_body": (262, 22544, 23671), "t60k": (65, 31437, 31503),
    "finan512": (162, 37376, 39244),
}  # fmt: skip
PERFECT = {("add20", 2): 596, ("add20", 4): 1203, ("add20", 8): 1714, ("add20", 16): 2149,
           ("uk", 2): 20, ("uk", 4): 43, ("uk", 8): 89, ("uk", 16): 159}  # fmt: skip


def test_two_triangles_by_hand() -> None:
    graph = from_edges("two triangles", 6, [0, 0, 1, 3, 3, 4, 2], [1, 2, 2, 4, 5, 5, 3], [1, 1, 1, 1, 1, 1, 5])
    verdict = judge_partition(graph, np.array([0, 0, 0, 1, 1, 1]), 2, 0.0)
    assert verdict.feasible and verdict.cost == 5
    assert verdict.metrics["ncut"] == pytest.approx(2 * 5 / 11)  # each triangle has 3 edges inside and one of 5 out
    assert verdict.metrics["cut_ratio"] == pytest.approx(5 / 11)
    assert verdict.metrics["imbalance"] == 0 and verdict.metrics["boundary"] == 2
    worse = judge_partition(graph, np.array([0, 0, 1, 1, 1, 1]), 2, 0.0)
    assert not worse.feasible and worse.cost == 2
    assert worse.violations == ("part 1 weighs 4, the limit at eps=0 is 3",)


@pytest.mark.parametrize("seed", range(3))
def test_brute_force_optimum_on_eight_nodes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = np.array(list(itertools.combinations(range(8), 2)))[rng.random(28) < 0.5]
    weights = rng.integers(1, 9, len(pairs))
    graph = from_edges("random", 8, pairs[:, 0], pairs[:, 1], weights)
    problem = make_problem("Partitioning", k=2, eps=0.0)
    best = min(
        int(weights[[(u in half) != (v in half) for u, v in pairs.tolist()]].sum())
        for half in map(set, itertools.combinations(range(8), 4))
    )
    found = min(
        verdict.cost
        for bits in itertools.product((0, 1), repeat=8)
        if (verdict := problem.judge(graph, {"part": np.array(bits)})).feasible
    )
    assert found == best


def test_cut_and_ncut_equal_networkx_on_a_weighted_graph() -> None:
    base = generate_graph("geometric:n=150,seed=4")
    rng = np.random.default_rng(0)
    once = base.sources < base.adjncy
    graph = from_edges(
        "weighted",
        base.nodes,
        base.sources[once],
        base.adjncy[once],
        rng.integers(1, 20, once.sum()),
        rng.integers(0, 5, 150),
    )
    part = rng.integers(0, 5, graph.nodes)
    twin = to_networkx(graph)
    blocks = [np.flatnonzero(part == p).tolist() for p in range(5)]
    verdict = judge_partition(graph, part, 5, 0.1)
    assert verdict.cost == sum(nx.cut_size(twin, b, weight="weight") for b in blocks) / 2
    expected = sum(nx.cut_size(twin, b, weight="weight") / nx.volume(twin, b, weight="weight") for b in blocks)
    assert verdict.metrics["ncut"] == pytest.approx(expected, rel=1e-12)


def test_relabelling_parts_and_nodes_changes_nothing() -> None:
    graph = generate_graph("delaunay:n=80,seed=1")
    rng = np.random.default_rng(0)
    part = rng.integers(0, 4, 80)
    first = judge_partition(graph, part, 4, 0.03).as_dict()
    renamed = judge_partition(graph, np.array([2, 0, 3, 1])[part], 4, 0.03).as_dict()
    order = rng.permutation(80)
    once = graph.sources < graph.adjncy
    moved = from_edges("moved", 80, order[graph.sources[once]], order[graph.adjncy[once]])
    placed = np.empty(80, int)
    placed[order] = part
    for other in (renamed, judge_partition(moved, placed, 4, 0.03).as_dict()):
        assert other["metrics"] == pytest.approx(first["metrics"])


def test_gap_balancedness_is_blind_where_imbalance_is_not() -> None:
    graph = from_edges("empty", 24, [], [])
    part = np.repeat([0, 1, 2], [10, 7, 7])
    metrics = judge_partition(graph, part, 3, 0.03).metrics
    assert metrics["imbalance"] == pytest.approx(0.25)
    assert metrics["gap_balancedness"] > 0.99
    assert metrics["balancedness"] == pytest.approx(1 - ((10 / 8 - 1) ** 2 + 2 * (7 / 8 - 1) ** 2) / 3)


@pytest.mark.parametrize(
    ("weights", "parts", "eps", "limit"),
    [
        ([10, 1, 1], 2, 0.03, (10, True)),  # one heavy node: it may stand alone, and all in one part is too much
        ([10, 1, 1], 2, 1.0, (11, False)),
        ([1000, *[1] * 9], 2, 0.03, (1000, True)),
        ([1000, 1000, 1000], 2, 0.03, (2000, True)),  # two must share a part
        ([1000, 1000, 1000], 2, 10.0, (2999, False)),
        ([7, 0, 0], 2, 0.03, (7, True)),  # a single node has weight: all in one part cannot be told from the best
        ([3, 3, 2, 2, 2], 2, 0.0, (7, True)),  # longest-first packing misses the optimum of 6
        ([1] * 7, 3, 0.0, (3, False)),
    ],
)
def test_the_limit_is_tied_to_what_is_reachable(
    weights: list[int], parts: int, eps: float, limit: tuple[int, bool]
) -> None:
    graph = from_edges("weighted", len(weights), [], [], None, weights)
    assert balance_limit(graph, parts, eps) == limit
    alone = judge_partition(graph, np.zeros(len(weights), int), parts, eps)
    assert alone.feasible == (np.count_nonzero(weights) < 2) and alone.metrics["limit_relaxed"] == limit[1]


def test_under_the_limit_there_is_a_partition_that_is_none_of_all_in_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        weights = rng.integers(0, rng.choice([2, 5, 100]), rng.integers(2, 7)) ** rng.integers(1, 3)
        parts, eps = int(rng.integers(2, 4)), float(rng.choice([0.0, 0.03, 0.5, 3.0]))
        graph = from_edges("weighted", len(weights), [], [], None, weights)
        limit = balance_limit(graph, parts, eps)
        least = min(
            np.bincount(split, weights, minlength=parts).max()
            for split in itertools.product(range(parts), repeat=len(weights))
        )
        asked = int((1 + eps) * -(-weights.sum() // parts) + 1e-9)
        assert least <= limit.weight <= max(asked, 4 / 3 * least)  # Graham 1969: longest-first packing is that good
        assert limit.weight < weights.sum() or np.count_nonzero(weights) < 2


@pytest.mark.parametrize("eps", [0.0, 0.01, 0.03, 0.05, 0.07, 0.1, 0.15, 0.29, 0.35, 0.57, 1.0, 1e-5])
@pytest.mark.parametrize("share", [1, 7, 100, 10**8, 10**12 + 1])
def test_the_limit_is_exact(eps: float, share: int) -> None:
    graph = from_edges("pair", 4, [], [], None, [share // 2, share - share // 2] * 2)
    millionths = round(eps * 10**6)
    assert balance_limit(graph, 2, eps) == (min(share + share * millionths // 10**6, 2 * share - 1), False)


def test_the_limit_that_floats_miss_by_one() -> None:
    graph = from_edges("pair", 2, [], [], None, [10**8, 10**8])
    assert balance_limit(graph, 2, 0.15) == (115_000_000, False)


def test_nodes_without_weight_are_judged() -> None:
    graph = from_edges("light", 3, [0, 1], [1, 2], None, [0, 0, 0])
    verdict = judge_partition(graph, np.array([0, 0, 0]), 2, 0.03)
    assert balance_limit(graph, 2, 0.03) == (0, False) and verdict.feasible
    assert all(np.isfinite(value) for value in verdict.metrics.values()) and verdict.metrics["excess"] == 0


@pytest.mark.parametrize("name", ARCHIVE)
def test_archive_bisections(name: str, partition_data: Path) -> None:
    problem = make_problem("Partitioning", k=2, eps=0.05)
    graph = problem.load(str(partition_data / "walshaw" / f"{name}.graph.gz"))
    solution = read_solution(problem, graph, partition_data / "walshaw" / "best_k2_eps5" / f"{name}.part2.gz")
    verdict = problem.judge(graph, solution)
    assert (verdict.cost, verdict.metrics["max_load"], verdict.metrics["l_max"]) == ARCHIVE[name]
    assert verdict.feasible


def test_data_is_infeasible_just_below_five_percent(partition_data: Path) -> None:
    problem = make_problem("Partitioning", k=2, eps=0.049)
    graph = problem.load(str(partition_data / "walshaw" / "data.graph.gz"))
    solution = read_solution(problem, graph, partition_data / "walshaw" / "best_k2_eps5" / "data.part2.gz")
    assert not problem.judge(graph, solution).feasible


@pytest.mark.parametrize(("name", "k"), PERFECT)
def test_perfectly_balanced_archive_partitions(name: str, k: int, partition_data: Path) -> None:
    problem = make_problem("Partitioning", k=k, eps=0.0)
    graph = problem.load(str(partition_data / "walshaw" / f"{name}.graph.gz"))
    solution = read_solution(problem, graph, partition_data / "walshaw" / "archive2010_eps0" / f"{name}.part{k}.gz")
    verdict = problem.judge(graph, solution)
    assert verdict.feasible and verdict.cost == PERFECT[name, k] and verdict.metrics["imbalance"] == 0


def test_measured_tables(partition_data: Path) -> None:
    import csv

    with (partition_data / "best_found_eps3.csv").open() as stream:
        rows = {(row["graph"], int(row["k"])): float(row["best_found_cut"]) for row in csv.DictReader(stream)}
    checked = 0
    for file in sorted((partition_data / "best_found_parts").glob("*.gz")):
        name, k = file.name.split(".")[0], int(file.name.split(".k")[1].split(".")[0])
        stem = name.removesuffix("_w") + (".weighted" if name.endswith("_w") else "")
        paths = [p for folder in ("walshaw", "networks", "compgraph")
                 if (p := partition_data / folder / f"{stem}.graph.gz").is_file()]  # fmt: skip
        problem = make_problem("Partitioning", k=k, eps=0.03)
        graph = problem.load(str(paths[0]))
        verdict = problem.judge(graph, read_solution(problem, graph, file))
        assert verdict.cost == rows[name, k], file.name
        assert verdict.feasible, file.name
        checked += 1
    assert checked > 100


def test_published_normalised_cut_of_sbm_500(partition_data: Path) -> None:
    pymetis = pytest.importorskip("pymetis")
    problem = make_problem("Partitioning", k=5, eps=0.03)
    graph = problem.load(str(partition_data / "networks" / "sbm_500.graph.gz"))
    _, part = pymetis.part_graph(5, pymetis.CSRAdjacency(graph.xadj, graph.adjncy))
    assert problem.judge(graph, {"part": np.array(part)}).metrics["ncut"] == pytest.approx(0.19130, abs=5e-6)


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ([0, 1, 0], "has shape"),
        ([0, 1, 2, 0], "holds values from 0 to 2, expected 0 to 1"),
        ([0, 1, -1, 0], "holds values from -1"),
        ([0.0, 1.0, 0.0, 1.0], "expected int values"),
        ([True, False, True, False], "expected int values"),
        (["0", "1", "0", "1"], "expected int values"),
        ([0, 1, 2**70, 0], "expected int values"),
        ([[0, 1], [1]], "not a regular array"),
    ],
)
def test_no_partition_at_all(part: list[object], sentence: str) -> None:
    problem = make_problem("Partitioning")
    graph = from_edges("path", 4, [0, 1, 2], [1, 2, 3])
    with pytest.raises(InvalidSolution, match=sentence):
        problem.judge(graph, {"part": part})
    with pytest.raises(InvalidSolution, match="expected the arrays part"):
        problem.judge(graph, {"parts": np.zeros(4, int)})
