"""Classical agents of clustering against NCut in dense floats, exhaustive optima and measured references."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from public import PUBLIC, needs

from sysgym import UsageError
from sysgym.clustering.instance import Affinity
from sysgym.graphs.csr import from_edges
from sysgym_agents.clustering import classical
from sysgym_agents.clustering import ncut_kernels as kernels
from sysgym_agents.clustering.local_search import Search, merge_split, refined
from sysgym_agents.core import Budget, Clock, completed

FOLDER = PUBLIC / "clustering"
UNIT = 2.0**-24
needs_clustering = needs(FOLDER)
AGENTS: dict[str, Callable[..., Any]] = {
    "kmeans": classical.KMeans,
    "gmm": classical.GMM,
    "ward": classical.Ward,
    "spectral-clustering": classical.SpectralClustering,
    "ncut-refine": classical.NCutRefine,
    "merge-split": classical.MergeSplit,
}


def affinity(nodes: int, u: Any, v: Any, weights: Any, k: int, x: Any = None, loops: Any = 0) -> Affinity:
    """Affinities from undirected edges, each once, and those of points to themselves."""
    units = np.maximum(np.rint(np.asarray(weights) / UNIT), 1).astype(np.int64)
    graph = from_edges("test", nodes, u, v, units)
    degree = graph.degree + np.rint(np.asarray(loops) / UNIT).astype(np.int64)
    points = None if x is None else np.asarray(x, np.float32)
    return Affinity("test", graph.xadj, graph.adjncy, graph.adjwgt, degree, x=points, k=k, unit=UNIT)


def dense(instance: Affinity) -> Any:
    """W in floats, its diagonal too."""
    w = np.zeros((instance.nodes, instance.nodes))
    w[instance.sources, instance.adjncy] = instance.adjwgt * instance.unit
    w[np.arange(instance.nodes), np.arange(instance.nodes)] = (instance.vwgt - instance.degree) * instance.unit
    return w


def ncut(instance: Affinity, labels: Any) -> float:
    """The definition: sum of cut / volume, 1 for an empty cluster."""
    w, total = dense(instance), 0.0
    for c in range(instance.k or 0):
        own = labels == c
        total += w[own][:, ~own].sum() / w[own].sum() if own.any() else 1.0
    return float(total)


PROBLEM = SimpleNamespace(
    name="Clustering",
    clusters=lambda instance: instance.k,
    judge=lambda instance, solution: SimpleNamespace(cost=ncut(instance, solution["labels"]), feasible=True),
)


def solved(name: str, instance: Affinity, budget: Budget | None = None, seed: int = 0, **hyper: Any) -> Any:
    agent = completed(AGENTS[name])(**hyper)
    agent.prepare()
    labels = agent.solve(PROBLEM, instance, np.random.default_rng(seed), budget or Budget())["labels"]
    assert labels.dtype == np.int32 and labels.shape == (instance.nodes,)
    return labels


def neighbours(x: Any, k: int, knn: int = 10) -> Affinity:
    """Gaussian affinities of nearest neighbours, by all distances."""
    square = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    np.fill_diagonal(square, np.inf)
    near = np.argsort(square, axis=1)[:, :knn]
    width = np.median(np.sort(square, axis=1)[:, knn - 1])
    w = np.zeros_like(square)
    rows = np.arange(len(x))[:, None]
    w[rows, near] = np.exp(-square[rows, near] / (2 * width))
    w = (w + w.T) / 2
    u, v = np.nonzero(np.triu(w))
    return affinity(len(x), u, v, w[u, v], k, x)


def blobs(seed: int, k: int = 4, each: int = 30, spread: float = 0.35) -> tuple[Affinity, Any]:
    rng = np.random.default_rng(seed)
    centre = np.stack([np.cos(np.arange(k) * 2 * np.pi / k), np.sin(np.arange(k) * 2 * np.pi / k)], axis=1)
    labels = rng.permutation(np.repeat(np.arange(k), each))
    return neighbours(centre[labels] * 2 + spread * rng.standard_normal((k * each, 2)), k), labels


def random_graph(seed: int, nodes: int = 60, k: int = 5) -> Affinity:
    rng = np.random.default_rng(seed)
    u, v = np.nonzero(np.triu(rng.random((nodes, nodes)) < 0.15, 1))
    return affinity(nodes, u, v, rng.uniform(0.01, 1, len(u)), k, loops=rng.uniform(0, 0.5, nodes))


def same_partition(one: Any, two: Any) -> bool:
    return bool(((one[:, None] == one[None]) == (two[:, None] == two[None])).all())


@cache
def tiny_cases() -> list[tuple[Affinity, dict[str, Any]]]:
    cases = json.loads((FOLDER / "ncut_bruteforce_cases.json").read_text())
    return [(affinity(case["n"], *np.array(case["edges"]).T, case["k"]), case) for case in cases]


@cache
def graphs() -> list[tuple[Affinity, dict[str, Any]]]:
    """The fixed graphs with their measured references."""
    found = []
    with np.load(FOLDER / "graph_instances_v1.npz") as data:
        for row in json.loads((FOLDER / "graph_instances_v1_reference.json").read_text()):
            i = row["graph"]
            u = np.repeat(np.arange(row["n"]), np.diff(data[f"g{i}_indptr"]))
            v, w = data[f"g{i}_indices"].astype(np.int64), data[f"g{i}_weight"].astype(np.float64)
            once = u < v
            k = int(data[f"g{i}_k"])
            found.append((affinity(row["n"], u[once], v[once], w[once], k, data[f"g{i}_x"]), row))
    return found


# ------------------------------------------------------------------------------------------------ kernels


def test_ncut_after_many_moves_is_that_of_the_definition() -> None:
    instance, rng = random_graph(0), np.random.default_rng(1)
    arrays = kernels.csr(instance)
    state = kernels.state_of(arrays, rng.integers(5, size=60), 5)
    for turn in range(3000):
        kernels.move(arrays, state, int(rng.integers(60)), int(rng.integers(5 if turn % 500 > 250 else 2)))
        if turn % 100 == 0:  # in the first half of each stretch some clusters run empty
            assert kernels.ncut(state) == pytest.approx(ncut(instance, state.labels), abs=1e-12)
    fresh = kernels.state_of(arrays, state.labels, 5)
    assert all(np.array_equal(one, two) for one, two in zip(state, fresh, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_refinement_ends_where_no_single_move_lowers_ncut(seed: int) -> None:
    instance, rng = random_graph(seed), np.random.default_rng(seed)
    start = rng.integers(5, size=60)
    state = kernels.state_of(kernels.csr(instance), start, 5)
    assert kernels.refine(kernels.csr(instance), state, rng.permutation(60), 100)
    labels, best = state.labels, ncut(instance, state.labels)
    assert best < ncut(instance, start) and len(np.unique(labels)) == 5
    assert np.array_equal(refined(instance, labels, 5, rng), labels)
    for v in range(60):
        for c in range(5):
            moved = labels.copy()
            moved[v] = c
            emptied = (labels == labels[v]).sum() == 1
            assert emptied or ncut(instance, moved) > best - 1e-9


def test_merging_and_cutting_change_ncut_as_they_say() -> None:
    instance, rng = random_graph(3), np.random.default_rng(0)
    arrays, labels = kernels.csr(instance), rng.integers(5, size=60)
    state = kernels.state_of(arrays, labels, 5)
    change = kernels.merges(kernels.between(arrays, state.labels, 5), state.volume)
    before = ncut(instance, labels)
    for a in range(5):
        for b in range(a + 1, 5):
            merged = np.where(labels == b, a, labels)
            assert change[a, b] == pytest.approx(ncut(instance, merged) - 1 - before, abs=1e-12)
    order = rng.permutation(np.flatnonzero(labels == 2))
    wider = Affinity("test", *arrays[:4], k=6, unit=UNIT)
    cuts = {}
    for size in range(2, len(order) - 1):
        parted = labels.copy()
        parted[order[:size]] = 5
        cuts[size] = ncut(wider, parted) - before
    found, size = kernels.sweep_cut(arrays, state, order, 2, len(order) - 2)
    assert found == pytest.approx(min(cuts.values()), abs=1e-12) and cuts[size] == min(cuts.values())


def test_names_of_clusters_and_units_do_not_matter() -> None:
    instance, rng = random_graph(4), np.random.default_rng(0)
    start, names = rng.integers(5, size=60), rng.permutation(5)
    for improved in (refined, lambda *given: merge_split(*given, Clock(Budget()))):
        one, two = (improved(instance, labels, 5, np.random.default_rng(7)) for labels in (start, names[start]))
        assert same_partition(one, two)
    twice = Affinity("test", instance.xadj, instance.adjncy, 2 * instance.adjwgt, 2 * instance.vwgt, k=5, unit=UNIT / 2)
    assert np.array_equal(solved("merge-split", instance), solved("merge-split", twice))


def test_cuts_are_remembered_only_for_the_same_points() -> None:
    instance, _ = blobs(0)
    search = Search(instance, 4, np.random.default_rng(0), Clock(Budget()))
    state = search.refined(np.arange(120) % 4)
    first, again = search._all_cuts(state), search._all_cuts(kernels.copy_of(state))
    assert all(one is two for one, two in zip(first, again, strict=True))
    assert all(set(state.labels[cut.part]) == {c} for c, cut in enumerate(first))
    v = int(np.flatnonzero(state.labels == 0)[0])
    kernels.move(search.arrays, state, v, 1)
    moved = search._all_cuts(state)
    assert [one is two for one, two in zip(first, moved, strict=True)] == [False, False, True, True]


@pytest.mark.parametrize("sizes", [(30, 40), (7, 40, 5)])
def test_a_cluster_of_several_components_is_cut_between_them(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    which = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    instance = neighbours(20 * which[:, None] + rng.standard_normal((len(which), 2)), 1, knn=4)
    search = Search(instance, 1, rng, Clock(Budget()))
    (cut,) = search._all_cuts(search.refined(np.zeros(len(which), np.int32)))
    assert cut.change == 0
    assert all(len(np.unique(np.isin(np.flatnonzero(which == c), cut.part))) == 1 for c in range(len(sizes)))


# ------------------------------------------------------------------------------------------------ agents


@pytest.mark.parametrize("name", AGENTS)
def test_agents_find_clear_clusters_and_answer_the_same_again(name: str) -> None:
    instance, truth = blobs(1)
    labels = solved(name, instance)
    assert same_partition(labels, truth) and np.array_equal(labels, solved(name, instance))
    assert len(np.unique(solved(name, instance, seed=5))) == 4


@pytest.mark.parametrize("name", AGENTS)
def test_as_many_clusters_as_asked_even_of_equal_points(name: str) -> None:
    x = np.repeat(np.random.default_rng(0).standard_normal((3, 2)), 5, axis=0)
    u, v = np.triu_indices(15, 1)
    for k in (1, 6, 15):
        instance = affinity(15, u, v, np.exp(-((x[u] - x[v]) ** 2).sum(axis=1)), k, x)
        assert len(np.unique(solved(name, instance))) == k


@pytest.mark.parametrize("name", ["kmeans", "gmm", "ward"])
def test_affinities_alone_have_no_points(name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}' needs points, .* choose 'merge-split'"):
        solved(name, random_graph(0))


def test_linked_rings_are_told_apart_though_their_centres_are_one() -> None:
    angle = np.arange(150) * 2 * np.pi / 150
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    x = np.concatenate([ring, ring[:, [0, 2, 1]] + [1, 0, 0]]) + 0.02 * np.random.default_rng(0).random((300, 3))
    order = np.random.default_rng(1).permutation(300)
    instance = neighbours(x[order], 2)
    for name in ("spectral-clustering", "ncut-refine", "merge-split"):
        labels = solved(name, instance)
        assert same_partition(labels, order >= 150) and ncut(instance, labels) == 0
    assert ncut(instance, solved("kmeans", instance)) > 0.01


@pytest.mark.parametrize("k", [2, 4, 5, 7])
def test_components_are_never_cut_before_they_are_all_apart(k: int) -> None:
    """Five blobs of different sizes with nothing between them: NCut 0 needs no eigenvector when k <= 5."""
    rng = np.random.default_rng(0)
    which = rng.permutation(np.repeat(np.arange(5), [12, 20, 30, 40, 50]))
    instance = neighbours(10 * which[:, None] + rng.standard_normal((152, 2)) * 0.5, k, knn=6)
    labels = solved("spectral-clustering", instance)
    joined = max(len(np.unique(labels[which == c])) for c in range(5))
    if k <= 5:
        assert joined == 1 and ncut(instance, labels) == 0
    else:
        assert all(len(np.unique(which[labels == c])) == 1 for c in range(k)) and ncut(instance, labels) < 1


def test_lanczos_and_factors_find_the_same_eigenvectors() -> None:
    from sysgym_agents.clustering.embedding import largest, matrix_of, normalised

    instance = random_graph(5, 200)
    matrix = normalised(matrix_of(instance), instance.vwgt)
    truth = np.linalg.eigvalsh(matrix.toarray())[::-1][:4]
    for exact in (True, False):
        values, vectors = largest(matrix, 4, np.random.default_rng(0).standard_normal(200), exact)
        assert values == pytest.approx(truth, abs=1e-4)
        assert np.abs(matrix @ vectors - vectors * values).max() < 1e-3
    scale = np.sqrt(instance.vwgt / instance.vwgt.sum())
    assert np.abs(np.abs(vectors[:, 0]) - scale).max() < 1e-3  # D^1/2 1


def test_budgets_of_steps_and_of_time_are_kept() -> None:
    instance, rng = random_graph(6, 200, 6), np.random.default_rng
    costs = [ncut(instance, solved("merge-split", instance, Budget(steps=steps))) for steps in (1, 10, 60)]
    assert costs == sorted(costs, reverse=True) and costs[2] < costs[0]
    assert costs[0] == ncut(instance, solved("spectral-clustering", instance, refine=True))
    search = Search(instance, 6, rng(0), Clock(Budget(steps=5)))
    search.descended(search.refined(rng(0).integers(6, size=200)))
    assert search.steps <= 5
    agent = classical.MergeSplit()
    for budget in (Budget(seconds=0.2), Budget(cpu_seconds=0.2)):
        clock = Clock(budget)
        agent.solve(PROBLEM, instance, rng(0), budget)
        assert (clock.seconds if budget.seconds else clock.cpu_seconds) > 0.19
        assert clock.cpu_seconds < 0.5


# ------------------------------------------------------------------------------------------------ public data


@needs_clustering
def test_exhaustive_optima_are_found() -> None:
    """The optimum of one of the ten leaves clusters empty, which no agent does: there, the best that has none."""
    emptied = 0
    for instance, case in tiny_cases():
        optimum = case["optimal_ncut"]
        assert ncut(instance, np.array(case["optimal_labels"])) == pytest.approx(optimum, abs=1e-6)
        if len(set(case["optimal_labels"])) < case["k"]:
            emptied += 1
            optimum = least_without_empty(instance)
        for name, budget in (("merge-split", Budget()), ("ncut-refine", Budget(steps=30))):
            assert ncut(instance, solved(name, instance, budget)) == pytest.approx(optimum, abs=1e-6)
    assert len(tiny_cases()) == 10 and emptied == 1


def least_without_empty(instance: Affinity) -> float:
    """By all labels of nine points in four clusters."""
    k, n, w = instance.k or 0, instance.nodes, dense(instance)
    labels = np.stack(np.meshgrid(*[np.arange(k)] * (n - 1), indexing="ij"), axis=-1).reshape(-1, n - 1)
    own = (np.pad(labels, ((0, 0), (1, 0)))[:, None, :] == np.arange(k)[:, None]).astype(float)  # (., k, n)
    own = own[own.any(axis=2).all(axis=1)]
    inside = ((own @ w) * own).sum(axis=2)
    return float((1 - inside / (own @ w.sum(axis=1))).sum(axis=1).min())


@needs_clustering
@pytest.mark.parametrize(
    ("name", "reference"),
    [("spectral-clustering", "spectral"), ("ncut-refine", "spectral+refine"), ("merge-split", "spectral+merge_split")],
)
def test_fixed_graphs_are_clustered_as_well_as_measured_before(name: str, reference: str) -> None:
    """Means over the eight MNIST graphs, the four of USPS, and all."""
    ours = np.array([ncut(instance, solved(name, instance)) for instance, _ in graphs()])
    theirs = np.array([row[reference][0] for _, row in graphs()])
    assert len(ours) == 18
    for chosen in (slice(0, 8), slice(8, 12), slice(0, 18)):
        assert ours[chosen].mean() <= 1.01 * theirs[chosen].mean()


@needs_clustering
def test_restarts_come_near_the_best_that_is_known() -> None:
    instances = graphs()[:8]
    ours = np.mean([ncut(instance, solved("merge-split", instance, Budget(steps=400))) for instance, _ in instances])
    assert ours <= 1.01 * np.mean([row["best_known"][0] for _, row in instances])
