"""Graphs of nearest neighbours against sklearn, brute force and dense numpy; and what the grid promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sysgym import UsageError
from sysgym.clustering.instance import Affinity
from sysgym.clustering.neighbours import UNIT, Neighbours, affinity_graph, nearest_neighbours, on_grid
from sysgym.clustering.problem import Clustering
from sysgym.core.errors import Notice
from sysgym.core.problem import content_hash


def dense(instance: Affinity) -> Any:
    """W (n, n) float64 with its diagonal."""
    w = np.zeros((instance.nodes, instance.nodes))
    w[instance.sources, instance.adjncy] = instance.adjwgt * instance.unit
    np.fill_diagonal(w, (instance.vwgt - instance.degree) * instance.unit)
    return w


def distances(x: Any) -> Any:
    return np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2))


def listed(x: Any, count: int, own: bool) -> Any:
    """Neighbours (n, count) by all distances, ties by index, the point itself first or left out."""
    far = distances(x)
    np.fill_diagonal(far, -1.0 if own else np.inf)
    return np.argsort(far, axis=1, kind="stable")[:, :count]


def expected(x: Any, how: Neighbours) -> Any:
    """W by the definition, in floats."""
    near, far = listed(x, how.nearest, how.own), distances(x)
    rows, reach = np.arange(len(x))[:, None], far[np.arange(len(x)), near[:, -1]]
    w, pairs = np.zeros_like(far), np.zeros(far.shape, bool)
    squares = far[rows, near] ** 2
    if how.scale == "binary":
        w[rows, near] = 1.0
    elif how.scale == "local":
        w[rows, near] = np.exp(-squares / (reach[:, None] * reach[near]))
    else:
        w[rows, near] = np.exp(-squares / (2 * np.median(reach) ** 2))
    pairs[rows, near] = True
    w = (w + w.T) / 2
    return np.where(pairs & pairs.T, w, 0.0) if how.mutual else w


@pytest.mark.parametrize("size", [(300, 2), (200, 50)])
def test_neighbours_are_those_of_sklearn(size: tuple[int, int]) -> None:
    from sklearn.neighbors import NearestNeighbors

    x = np.random.default_rng(0).standard_normal(size)
    whole, grid = on_grid(x)
    near, squares = nearest_neighbours(whole, 10, False)
    far, theirs = NearestNeighbors(n_neighbors=11).fit(x).kneighbors(x)
    assert np.array_equal(near, theirs[:, 1:])
    assert np.sqrt(squares) * grid == pytest.approx(far[:, 1:], abs=1e-5)
    own = nearest_neighbours(whole, 11, True)
    assert np.array_equal(own[0], theirs) and (own[1][:, 0] == 0).all()


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("side", [3, 6])
def test_ties_go_to_the_lower_index(side: int, own: bool) -> None:
    """Whole numbers, many of them equal: every distance occurs often."""
    x = np.random.default_rng(side).integers(0, side, (80, 2)).astype(float)
    whole, grid = on_grid(x)
    assert np.array_equal(whole * grid, x)  # exact on the grid
    near, squares = nearest_neighbours(whole, 9, own)
    assert np.array_equal(near, listed(x, 9, own))
    assert np.array_equal(np.sqrt(squares) * grid, np.take_along_axis(distances(x), near, axis=1))


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("scale", ["global", "local", "binary"])
def test_affinities_are_those_of_the_definition(scale: Any, own: bool, mutual: bool) -> None:
    x = np.random.default_rng(3).standard_normal((90, 3))
    how = Neighbours(7, scale, mutual, own, joined=False)
    found = affinity_graph(x, how=how)
    assert dense(found) == pytest.approx(expected(x, how), abs=1e-5)
    assert (np.diag(dense(found)) == (1.0 if own else 0.0)).all()
    assert np.array_equal(dense(found) > 0, expected(x, how) > 0)
    assert np.array_equal(found.vwgt * UNIT, dense(found).sum(axis=1))


def test_components_are_joined_by_their_nearest_points_smallest_first() -> None:
    rng = np.random.default_rng(0)
    which = np.repeat([0, 1, 2, 3], [12, 15, 20, 30])
    x = rng.standard_normal((77, 2)) + np.array([[0, 0], [30, 0], [90, 0], [0, 200]])[which]
    apart, joined = (affinity_graph(x, how=Neighbours(5, joined=joined)) for joined in (False, True))
    assert apart.parts == 4 and joined.parts == 4 and joined.edges == apart.edges + 3
    new = np.argwhere(np.triu(dense(joined) - dense(apart)) > 0)
    label, links, far = which.copy(), set(), distances(x)
    for _ in range(3):
        names, sizes = np.unique(label, return_counts=True)
        inside = label == names[sizes.argmin()]
        between = np.where(inside[:, None] & ~inside[None], far, np.inf)
        a, b = np.unravel_index(between.argmin(), between.shape)
        links.add((min(a, b), max(a, b)))
        label[inside] = label[b]
    assert {tuple(pair) for pair in new.tolist()} == links
    assert (dense(joined) - dense(apart))[tuple(new.T)] == pytest.approx(1e-3, abs=UNIT)
    with pytest.warns(Notice, match=r"has 4 components; .* \(-O connect=false leaves them apart\)"):
        Clustering(k=4, knn=5).adopt(x)
    loose = Clustering(k=4, knn=5, connect=False)
    graph = loose.adopt(x)
    assert graph is not None
    assert loose.judge(graph, {"labels": which}).cost == 0
    assert loose.judge(graph, {"labels": which}).metrics["components"] == 4


def test_equal_points() -> None:
    x = np.repeat(np.random.default_rng(0).standard_normal((4, 2)), 6, axis=0)
    for how in (Neighbours(7, "global", joined=False), Neighbours(7, "local", joined=False)):
        w = dense(affinity_graph(x, how=how))
        assert np.isfinite(w).all() and (w[0, 1:6] == 1).all()
    found = affinity_graph(x, how=Neighbours(3, joined=False))  # no distance but 0
    assert found.parts >= 4 and (found.adjwgt * UNIT >= 0.5).all()
    with pytest.warns(Notice, match="all points lie at one place, so their graph follows their order alone"):
        same = affinity_graph(np.ones((12, 3)))
    assert (same.adjwgt >= 2**23).all() and same.parts == 1


def test_the_scale_of_mostly_equal_points_is_a_distance_of_theirs() -> None:
    """Eleven at one place and four around it: these are not cut off by a scale of nothing."""
    x = np.concatenate([np.zeros((11, 2)), np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])])
    with pytest.warns(Notice, match="the median distance of the positive ones scales"):
        w = dense(affinity_graph(x, how=Neighbours(5)))
    assert w[11:, :11].sum(axis=1) == pytest.approx(5 * np.exp(-0.5) / 2, rel=1e-5)


def test_fewer_points_than_neighbours() -> None:
    x = np.random.default_rng(0).standard_normal((6, 2))
    found = affinity_graph(x, how=Neighbours(10))
    assert found.edges == 15
    assert dense(found) == pytest.approx(expected(x, Neighbours(5)), abs=1e-5)
    assert affinity_graph(x, how=Neighbours(10, own=True)).edges == 15
    with pytest.warns(Notice, match=r"6 points have no 10 neighbours \(-O knn=...\)"):
        Clustering(k=2).adopt(x)
    assert affinity_graph(x[:2]).edges == 1
    with pytest.raises(UsageError, match="expected two or more points"):
        affinity_graph(x[:1])


@pytest.mark.parametrize("change", [lambda x: x * 1e-8, lambda x: x * 1e8, lambda x: x + 1000.0, lambda x: x - 1e9])
def test_units_and_places_do_not_matter(change: Any) -> None:
    x = np.random.default_rng(1).standard_normal((150, 3))
    one, two = affinity_graph(x), affinity_graph(change(x))
    assert np.array_equal(one.adjncy, two.adjncy)
    assert one.adjwgt * UNIT == pytest.approx(two.adjwgt * UNIT, abs=1e-4)


@pytest.mark.parametrize("power", [-40, -3, 5, 60])
def test_powers_of_two_change_nothing(power: int) -> None:
    x = np.random.default_rng(1).standard_normal((60, 3))
    one, two = affinity_graph(x), affinity_graph(x * 2.0**power)
    assert np.array_equal(one.adjwgt, two.adjwgt) and np.array_equal(one.adjncy, two.adjncy)
    assert one.x is not None and two.x is not None and np.array_equal(one.x * np.float32(2.0**power), two.x)


def test_a_grid_that_would_merge_points_says_so() -> None:
    """One point far away takes the whole range of the grid; an offset of all does not."""
    x = np.random.default_rng(2).standard_normal((60, 2))
    outlier = x.copy()
    outlier[7] = 1e9
    with pytest.warns(Notice, match="59 of 60 points lie too close together.* not exact; scale the columns"):
        affinity_graph(outlier)
    uneven = np.stack([x[:, 0] > 0, x[:, 1] * 1e-9], axis=1)  # a column that the grid has no room for
    with pytest.warns(Notice, match="60 of 60 points lie too close together"):
        affinity_graph(uneven)
    even = Clustering(k=2, preprocess="standard").adopt(uneven)
    assert even is not None and even.parts >= 1
    assert len(np.unique(on_grid(x + 1e9)[0], axis=0)) == 60


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (np.array([[0.0, 1], [2, np.nan], [1, 1]]), "point 1 has a coordinate that is not finite"),
        (np.array([[0.0, 1], [2, 3], [np.inf, 1]]), "point 2 has a coordinate that is not finite"),
        (np.array([[0.0, 1], [2e40, 3], [1, 1]]), "scale the points"),
        (np.array([[0.0, 1e-40], [2e-40, 0], [0, 0]]), "scale the points"),
        (np.array([[0.0, 5e-324], [0, 0], [0, 0]]), "scale the points"),
        (np.zeros((5, 0)), "expected two or more points"),
        (np.zeros(5), "expected two or more points"),
        (np.array([["a", "b"], ["c", "d"]]), "expected two or more points"),
        (np.array([[2**60 + i, i] for i in range(5)]), "do not fit float64"),
        (np.array([[2**64 - 1 - i, i] for i in range(5)], np.uint64), "do not fit float64"),
        (np.array([[1 + np.longdouble(2) ** -60], [1], [2]]), "do not fit float64"),
        (np.ma.masked_greater(np.eye(4, 3), 0), "masked; leave those points out"),
    ],
)
def test_what_are_no_points(x: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Clustering(k=2, knn=2).adopt(x)


def test_the_same_graph_in_any_layout_and_type() -> None:
    x = np.random.default_rng(0).integers(-50, 50, (70, 4))
    problem = Clustering(k=3)
    hashes = {content_hash(problem.adopt(np.asarray(form))) for form in
              (x, x.astype(np.int8), x.astype(np.float32), x.astype(float), np.asfortranarray(x))}  # fmt: skip
    assert len(hashes) == 1
