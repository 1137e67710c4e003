"""Affinities of a user's own, and files of labels: what is read, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import igraph
import networkx as nx
import numpy as np
import pytest
from scipy import sparse

from sysgym import UsageError
from sysgym.clustering.instance import Affinity
from sysgym.clustering.problem import Clustering
from sysgym.core.errors import InvalidSolution, Notice
from sysgym.core.solutions import read_solution

X = np.random.default_rng(0).standard_normal((40, 3))
Here = Callable[[str, Any], str]


def load(given: Any, **options: Any) -> Affinity:
    problem = Clustering(**{"k": 2, **options})
    found = problem.load(given)
    problem.static(found)
    return found


def dense_cut(w: Any, labels: Any, k: int) -> float:
    return sum(1 - w[np.ix_(labels == c, labels == c)].sum() / w[labels == c].sum() for c in range(k))


def weights(seed: int = 0, n: int = 30) -> Any:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.4))
    return upper + np.triu(upper, 1).T


@pytest.mark.parametrize("kind", ["csr_array", "csr_matrix", "coo", "dok", "lil", "dia", "networkx", "igraph"])
def test_affinities_of_other_libraries_need_not_be_whole(kind: str) -> None:
    w, rng, problem = weights(), np.random.default_rng(0), Clustering(k=3)
    if kind == "networkx":
        graph = problem.adopt(nx.from_numpy_array(w))
    elif kind == "igraph":
        rows = np.argwhere(np.triu(w) > 0)
        made = igraph.Graph(n=30, edges=rows.tolist())
        made.es["weight"] = w[tuple(rows.T)].tolist()
        graph = problem.adopt(made)
    else:
        form = sparse.csr_array(w) if kind == "csr_array" else sparse.csr_matrix(w)
        with pytest.warns(Notice, match="taken for affinities between points"):
            graph = problem.adopt(form if kind.startswith("csr") else form.asformat(kind))
    assert graph is not None and graph.x is None
    for _ in range(10):
        labels = rng.integers(3, size=30)
        assert problem.judge(graph, {"labels": labels}).cost == pytest.approx(dense_cut(w, labels, 3), abs=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e-9, 3.0, 1e9, 1e200])
def test_the_unit_of_affinities_does_not_matter(scale: float) -> None:
    w, labels, problem = weights(), np.arange(30) % 3, Clustering(k=3)
    with pytest.warns(Notice):
        graph = problem.adopt(sparse.csr_array(w * scale))
    assert problem.judge(graph, {"labels": labels}).cost == pytest.approx(dense_cut(w, labels, 3), abs=1e-12)
    whole = np.rint(w * 100) * 2.0**60  # whole, and far above what int64 holds
    with pytest.warns(Notice):
        graph = problem.adopt(sparse.csr_array(whole))
    assert problem.judge(graph, {"labels": labels}).cost == pytest.approx(dense_cut(whole, labels, 3), abs=1e-12)


def _changed(change: Callable[[Any], None]) -> Any:
    w = weights() + 1.0
    change(w)
    return sparse.csr_array(w)


def _row(value: float) -> Callable[[Any], None]:
    def change(w: Any) -> None:
        w[3, :] *= value
        w[:, 3] *= value

    return change


def _one_way(w: Any) -> None:
    w[0, 1] += 0.5


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (_changed(_row(-1.0)), "affinities must be finite and not negative"),
        (_changed(_row(1e-16)), "the affinities of point 3 sum to .*, too little beside the total"),
        (sparse.csr_array(weights() * 1e-300), "affinities sum to .*; scale them"),
        (sparse.csr_array(weights() * 1e307), "affinities sum to .*; scale them"),
        (sparse.csr_array(weights() + 0j), "expected a matrix of real numbers, got complex128"),
        (sparse.coo_array(np.ones(5)), "expected two or more points"),
        (nx.DiGraph([(0, 1)]), "expected an undirected networkx.Graph"),
        (nx.MultiGraph([(0, 1), (0, 1)]), "without parallel edges"),
        (nx.Graph(), "two nodes or more, this one has 0"),
        (nx.Graph([(0, 1, {"weight": -2.0})]), "finite and not negative"),
        (nx.Graph([(0, 1, {"weight": "heavy"})]), "the networkx graph .*could not convert string to float"),
        (nx.Graph([(0, 1, {"weight": 2.0}), (1, 2, {})]), "1 of the 2 edges have no 'weight'; give one to all, or to"),
        (igraph.Graph(n=3, edges=[(0, 1), (1, 2)], edge_attrs={"weight": [2.0, None]}), "1 of the 2 edges have no"),
        (igraph.Graph(n=3, edges=[(0, 1)], directed=True), "expected an undirected igraph.Graph"),
        (igraph.Graph(n=3, edges=[(0, 1), (0, 1)]), "without parallel edges"),
        (igraph.Graph(), "two nodes or more, this one has 0"),
    ],
)
@pytest.mark.filterwarnings("ignore::sysgym.core.errors.Notice")
def test_what_are_no_affinities(given: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Clustering(k=2).adopt(given)


def test_guesses_about_matrices_are_said() -> None:
    w = weights()
    with pytest.warns(Notice, match="square and symmetric, and taken for points, a row each; for affinities"):
        points = Clustering(k=2).adopt(w)
    assert points is not None and points.x is not None
    with pytest.warns(Notice, match="square but not symmetric"):
        Clustering(k=2).adopt(_changed(_one_way))
    nan = w.copy()
    nan[2, 3] = nan[3, 2] = np.nan
    with pytest.warns(Notice), pytest.raises(UsageError, match="point 2 has a coordinate that is not finite"):
        Clustering(k=2).adopt(sparse.csr_array(nan))
    with pytest.warns(Notice), pytest.raises(UsageError, match="holds affinities, no points: leave knn, scale"):
        Clustering(k=2, preprocess="pca").adopt(sparse.csr_array(w))
    assert Clustering().adopt([[1, 2], [3, 4]]) is None


@pytest.mark.parametrize("attribute", ["affinity", "Weight"])
def test_weights_of_another_name_are_not_looked_at(attribute: str) -> None:
    graphs = nx.Graph([(0, 1, {attribute: 2.0}), (1, 2, {attribute: 3.0})]), igraph.Graph([(0, 1), (1, 2)])
    graphs[1].es[attribute] = [2.0, 3.0]
    for graph in graphs:
        with pytest.warns(Notice, match=f"no 'weight', so each counts 1; their '{attribute}' is not looked at"):
            found = Clustering(k=2).adopt(graph)
        assert found is not None and (found.adjwgt == found.adjwgt[0]).all()


def test_graph_files_are_affinities(here: Here) -> None:
    graph = load(here("a.graph", "4 3 001\n2 3 3 1\n1 3\n1 1 4 2\n3 2\n"))
    labels = {"labels": np.array([0, 0, 1, 1])}
    assert graph.x is None and Clustering(k=2).judge(graph, labels).cost == pytest.approx(1 / 7 + 1 / 5)
    with pytest.warns(Notice, match="weights of nodes do not count in the normalised cut; they are left out"):
        weighed = load(here("b.graph", "4 3 011\n9 2 3 3 1\n1 1 3\n1 1 1 4 2\n1 3 2\n"))
    assert np.array_equal(weighed.vwgt, graph.vwgt)
    with pytest.raises(UsageError, match="edge weights must be integers"):
        load(here("c.mtx", "%%MatrixMarket matrix coordinate real symmetric\n3 3 2\n2 1 0.5\n3 1 1.25\n"))
    options: list[dict[str, Any]] = [{"knn": 3}, {"own": True}, {"connect": False}, {"scale": "local"}]
    for option in options:  # which would change nothing
        with pytest.raises(UsageError, match="holds affinities, no points: leave knn, scale, mutual, own, connect and"):
            load("a.graph", **option)
    with pytest.raises(UsageError, match="holds affinities, no points: leave knn, scale"):
        load("a.graph", preprocess="standard")


# ------------------------------------------------------------------------------------------------ files of labels


def test_files_of_labels(here: Here) -> None:
    problem, graph = Clustering(k=3), load(here("x.npy", X[:4]), knn=2)
    for name, content in (("a.txt", "0\n1\n2\n2\n"), ("b.labels", "% clusters\n3 2\n0 0\n1 1 # first\n2 2\n")):
        assert read_solution(problem, graph, here(name, content))["labels"].tolist() == [0, 1, 2, 2]
    for content, sentence in (
        ("0\n1\n2\n", r"has shape \(3,\), expected \(4,\)"),
        ("0\n1\n2\n3\n", "values from 0 to 3, expected 0 to 2"),
        ("0\n1\n-1\n2\n", "line 3: expected one label id, got '-1'"),
        ("0\n1\n1.5\n2\n", "line 3: expected one label id, got '1.5'"),
        ("0 1\n1 1\n2 2\n2 0\n", "node 3 has no label"),
        ("0 1\n1 1\n2 2\n7 0\n", "node 7 is none of"),
        ("", "has shape"),
    ):
        with pytest.raises(InvalidSolution, match=sentence):
            read_solution(problem, graph, here("bad.txt", content))


def test_labels_go_by_the_ids_of_the_file(here: Here) -> None:
    with pytest.warns(Notice, match="3 ids from 10 to 30 occur"):
        graph = load(here("g.txt", "10 20\n20 30\n"))
    problem = Clustering(k=2)
    written = problem.format_solution(graph, {"labels": np.array([0, 1, 1])}, "a.txt")
    assert written == b"10 0\n20 1\n30 1\n"
    assert read_solution(problem, graph, here("a.txt", written))["labels"].tolist() == [0, 1, 1]
