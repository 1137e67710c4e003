"""The normalised cut as it is judged: exhaustive optima, dense numpy, networkx, and cuts measured elsewhere."""

from __future__ import annotations

import itertools
import json
from functools import cache
from typing import Any

import networkx as nx
import numpy as np
import pytest
from public import PUBLIC, needs

from sysgym import InvalidSolution, UsageError
from sysgym.clustering import catalogue
from sysgym.clustering.instance import Affinity
from sysgym.clustering.neighbours import Neighbours, affinity_graph
from sysgym.clustering.points import of_matrix
from sysgym.clustering.problem import Clustering

FOLDER = PUBLIC / "clustering"
needs_clustering = needs(FOLDER)


def dense(instance: Affinity) -> Any:
    """W (n, n) float64 with its diagonal."""
    w = np.zeros((instance.nodes, instance.nodes))
    w[instance.sources, instance.adjncy] = instance.adjwgt * instance.unit
    np.fill_diagonal(w, (instance.vwgt - instance.degree) * instance.unit)
    return w


def by_inside(w: Any, labels: Any, k: int) -> float:
    """NCut = sum of 1 - A_c / V_c, an empty cluster counting 1."""
    total = 0.0
    for c in range(k):
        own = labels == c
        volume = w[own].sum()
        total += 1.0 if volume == 0 else 1.0 - w[np.ix_(own, own)].sum() / volume
    return total


def cost(instance: Affinity, labels: Any, k: int) -> float:
    return Clustering(k=k).judge(instance, {"labels": labels}).cost


def random_matrix(seed: int, n: int = 40, loops: bool = False) -> Any:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.3), 1)
    upper[np.arange(n - 1), np.arange(1, n)] = 0.5
    return upper + upper.T + (np.diag(rng.random(n)) if loops else 0)


def given(w: Any) -> Affinity:
    from scipy.sparse import csr_array

    return of_matrix("test", csr_array(w))


@cache
def tiny() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "ncut_bruteforce_cases.json").read_text())
    return found


def of_case(case: dict[str, Any]) -> Affinity:
    w = np.zeros((case["n"], case["n"]))
    for u, v, weight in case["edges"]:
        w[u, v] = w[v, u] = weight
    return given(w)


@needs_clustering
@pytest.mark.parametrize("i", range(10))
def test_exhaustive_optima_and_probes(i: int) -> None:
    case = tiny()[i]
    instance, k = of_case(case), case["k"]
    assert len(tiny()) == 10
    assert cost(instance, case["optimal_labels"], k) == pytest.approx(case["optimal_ncut"], abs=1e-6)
    assert cost(instance, case["probe_labels"], k) == pytest.approx(case["probe_ncut"], abs=1e-6)


@needs_clustering
def test_no_labels_are_better_than_the_known_optimum() -> None:
    """All labels whose first point is in cluster 0, of the cases that have few."""
    tried = 0
    for case in tiny():
        if case["k"] ** (case["n"] - 1) > 3000:
            continue
        instance, k = of_case(case), case["k"]
        every = itertools.product(range(k), repeat=case["n"] - 1)
        best = min(cost(instance, np.array((0, *rest)), k) for rest in every)
        assert best == pytest.approx(case["optimal_ncut"], abs=1e-6)
        tried += 1
    assert tried >= 1


def test_two_triangles_and_all_in_one() -> None:
    w = np.zeros((6, 6))
    for u, v in ((0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5), (2, 3)):
        w[u, v] = w[v, u] = 1
    instance = given(w)
    assert cost(instance, [0, 0, 0, 1, 1, 1], 2) == pytest.approx(2 / 7, abs=1e-15)
    for k in range(2, 7):
        assert cost(instance, np.full(6, k - 1), k) == k - 1
    verdict = Clustering(k=3).judge(instance, {"labels": [0, 0, 0, 2, 2, 2]})
    assert verdict.cost == pytest.approx(2 / 7 + 1) and verdict.feasible
    assert verdict.metrics["clusters"] == 2 and verdict.metrics["worst"] == 1
    assert verdict.metrics["largest"] == verdict.metrics["smallest"] == 3
    assert verdict.metrics["entropy"] == pytest.approx(np.log(2) / np.log(3))


@pytest.mark.parametrize("seed", range(3))
def test_networkx_agrees_on_two_clusters(seed: int) -> None:
    w, rng = random_matrix(seed), np.random.default_rng(seed)
    graph = nx.from_numpy_array(w)
    instance = Clustering(k=2).adopt(graph)
    assert instance is not None
    for _ in range(20):
        labels = rng.integers(2, size=40)
        expected = nx.normalized_cut_size(graph, np.flatnonzero(labels == 0).tolist(), weight="weight")
        assert cost(instance, labels, 2) == pytest.approx(expected, abs=1e-12)


def test_names_of_clusters_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    instance, problem = given(random_matrix(7)), Clustering(k=5)
    for _ in range(20):
        labels, names = rng.integers(5, size=40), rng.permutation(5)
        assert cost(instance, names[labels], 5) == pytest.approx(cost(instance, labels, 5), abs=1e-14)
        one, two = (problem.canonical(instance, {"labels": y})["labels"] for y in (labels, names[labels]))
        assert np.array_equal(one, two) and one[0] == 0
        assert cost(instance, one, 5) == pytest.approx(cost(instance, labels, 5), abs=1e-14)


@pytest.mark.parametrize("kind", ["matrix", "own"])
def test_affinities_of_points_to_themselves_count_once(kind: str) -> None:
    rng = np.random.default_rng(1)
    if kind == "matrix":
        w = random_matrix(3, loops=True)
        instance = given(w)
        assert dense(instance) == pytest.approx(w, abs=1e-12)
    else:
        instance = affinity_graph(rng.standard_normal((40, 3)), how=Neighbours(6, own=True))
        w = dense(instance)
        assert np.diag(w) == pytest.approx(1.0)
    for k in (2, 4, 7):
        labels = rng.integers(k, size=40)
        assert cost(instance, labels, k) == pytest.approx(by_inside(w, labels, k), abs=1e-12)


def test_clusters_without_volume_count_one() -> None:
    w = np.zeros((5, 5))
    w[0, 1] = w[1, 0] = 2.0
    instance = given(w)  # three points without any affinity
    assert cost(instance, [0, 0, 1, 1, 2], 3) == 2.0
    assert cost(instance, [0, 1, 2, 2, 2], 3) == 3.0
    nothing = given(np.zeros((4, 4)))
    assert cost(nothing, [0, 1, 0, 1], 2) == 2.0


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([0, 1, 2], "shape .3,., expected .4,."),
        ([0, 1, 2, 3], "values from 0 to 3, expected 0 to 2"),
        ([0, 1, 2, -1], "values from -1 to 2"),
        ([0.0, 1.0, 1.0, 2.0], "type float64, expected int"),
        (["a", "b", "a", "a"], "expected int"),
        ([[0], [1], [1], [1]], "has shape .4, 1."),
        ([True, False, True, True], "type bool"),
    ],
)
def test_what_are_no_labels(labels: Any, sentence: str) -> None:
    with pytest.raises(InvalidSolution, match=sentence):
        Clustering(k=3).judge(given(np.ones((4, 4))), {"labels": labels})


def test_clusters_must_be_known_and_not_too_many() -> None:
    instance = given(np.ones((4, 4)))
    with pytest.raises(UsageError, match="does not say how many clusters it has: give k"):
        Clustering().clusters(instance)
    with pytest.raises(UsageError, match="has 4 points, too few for k=5"):
        Clustering(k=5).clusters(instance)
    with pytest.raises(UsageError, match="k"):
        Clustering(k=1)


# ------------------------------------------------------------------------------------------------ public data

# (edges that may differ, cut that may differ): near ties within the grid, another solver of singular vectors
SAME, TIES, OTHER = (0, 5.1e-5), (4, 6e-4), (100, 0.05)
MEASURED = [
    ("shipped/iris", "sklearn_iris", TIES),
    ("shipped/wine", "sklearn_wine", SAME),
    ("shipped/breast_cancer", "sklearn_breast_cancer", TIES),
    ("cifar-effnet/cifar10", "cifar10_effnetlite0", SAME),
    ("cifar-effnet/cifar100-coarse", "cifar100_effnetlite0/20coarse", SAME),
    ("reuters-r8/8", "reuters_r8_train/tfidf_lsa64", OTHER),
    ("reuters-r8/4", "reuters_r8_train/4class_tfidf_lsa64", OTHER),
    ("reuters-r8/4-minilm", "reuters_r8_train/4class_minilm", SAME),
    pytest.param("mnist-alone/t10k", "mnist_t10k/deskew", SAME, marks=pytest.mark.slow),
    pytest.param("mnist-alone/t10k-raw", "mnist_t10k/raw", SAME, marks=pytest.mark.slow),
    pytest.param("mnist/train10k", "mnist_train_first10k/deskew", TIES, marks=pytest.mark.slow),
    pytest.param("usps/all", "usps/up28+deskew", TIES, marks=pytest.mark.slow),
]


@needs_clustering
@pytest.mark.parametrize(("name", "key", "near"), MEASURED)
def test_true_classes_cut_as_measured_before(name: str, key: str, near: tuple[int, float]) -> None:
    """Graphs and cuts of the reference implementation, whose neighbours are those of another library."""
    row = json.loads((FOLDER / "baselines_measured.json").read_text())[key]
    instance, classes = Clustering().load(name), catalogue.truth(name)
    assert classes is not None and instance.nodes == row["n"] and instance.k == row["k"]
    assert classes.min() == 1 and len(np.unique(classes)) == row["k"]
    assert abs(len(instance.adjncy) - row["nnz"]) <= near[0]
    assert cost(instance, classes - 1, row["k"]) == pytest.approx(row["true_labels"]["ncut"], abs=near[1])


@needs_clustering
def test_true_classes_of_the_fixed_graphs() -> None:
    rows = json.loads((FOLDER / "graph_instances_v1_reference.json").read_text())
    problem = Clustering()
    names = problem.instance_sets()["graph-instances-v1"].names()
    assert len(names) == len(rows) == 18
    for name, row in zip(names, rows, strict=True):
        instance, classes = problem.load(name), catalogue.truth(name)
        assert classes is not None and (instance.nodes, instance.k) == (row["n"], row["k"])
        assert instance.parts == row["components_before_connect"]
        labels = np.unique(classes, return_inverse=True)[1]
        assert cost(instance, labels, row["k"]) == pytest.approx(row["true_labels"][0], abs=1e-3)
