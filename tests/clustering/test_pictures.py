"""Pictures of clusterings: drawn for any instance, with the images of the right points."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from public import PUBLIC, needs
from scipy.sparse import coo_array

from sysgym.clustering import render
from sysgym.clustering.catalogue import images_of
from sysgym.clustering.instance import Affinity
from sysgym.clustering.neighbours import Neighbours, affinity_graph
from sysgym.clustering.points import of_matrix
from sysgym.clustering.preprocess import fitted
from sysgym.clustering.problem import Clustering

needs_clustering = needs(PUBLIC / "clustering")


RNG = np.random.default_rng(0)
PAIR = coo_array(([1.0, 1.0], ([3, 4], [4, 3])), (9, 9))
STRANGE: dict[str, Callable[[], Affinity]] = {
    "equal": lambda: affinity_graph(np.ones((12, 2))),
    "equal in five dimensions": lambda: affinity_graph(np.ones((12, 5))),
    "on a line": lambda: affinity_graph(np.stack([np.arange(12.0), np.zeros(12)], axis=1)),
    "two": lambda: affinity_graph(RNG.random((2, 3))),
    "one column": lambda: affinity_graph(RNG.random((30, 1))),
    "apart": lambda: affinity_graph(RNG.random((30, 4)), how=Neighbours(1, joined=False)),
    "one edge": lambda: of_matrix("one edge", PAIR),
    "no edges": lambda: of_matrix("no edges", coo_array((5, 5))),
}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.filterwarnings("ignore:.*all points lie at one place")
def test_any_instance_has_a_picture(name: str) -> None:
    instance, problem = STRANGE[name](), Clustering(k=2)
    places = render.layout(instance)
    assert places.shape == (instance.nodes, 2) and places.min() >= 0 and places.max() <= 1
    for labels in (np.zeros(instance.nodes, int), np.arange(instance.nodes) % 2):
        picture = problem.render(instance, {"labels": labels})
        assert picture.shape == (700, 960, 3) and picture.dtype == np.uint8 and picture.std() > 1
        assert "ncut" in problem.describe(instance, {"labels": labels})


def test_pictures_are_the_same_again_and_change_with_the_labels() -> None:
    problem = Clustering()
    instance = problem.load("blobs/train-0")
    labels = np.arange(96) % 4
    one, two = (problem.render(instance, {"labels": labels}) for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, problem.render(instance, {"labels": (labels + 1) % 4}))


def test_many_clusters_and_long_names() -> None:
    problem = Clustering(k=40)
    instance = affinity_graph(np.random.default_rng(0).random((200, 6)), name="n" * 500)
    assert problem.render(instance, {"labels": np.arange(200) % 40}).shape == (700, 960, 3)
    assert "... and 8 more clusters" in problem.describe(instance, {"labels": np.arange(200) % 40})
    assert len(set(render.palette(40))) == 40


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("shipped/digits", "none"), ("digits:n=100,k=4,seed=3", "pca"), ("digits/train-1", "pca"),
        pytest.param("usps/train", "deskew", marks=[needs_clustering, pytest.mark.slow]),
    ],
)  # fmt: skip
def test_images_are_those_of_the_points(name: str, how: str) -> None:
    instance = Clustering().load(name)
    images = images_of(name, instance.nodes)
    assert images is not None and images.ndim == 3 and len(images) == instance.nodes and instance.x is not None
    shown = images if how == "deskew" else images.reshape(len(images), -1)
    assert fitted(how, shown, name)(shown) == pytest.approx(instance.x, abs=1e-3)


def test_other_points_have_no_images() -> None:
    for name in ("shipped/iris", "blobs/train-0", "moons:n=40", "points.npz"):
        assert images_of(name, 40) is None
    assert images_of("digits:n=100", 99) is None  # another instance of that name
    assert images_of("digits:mine", 40) is None
    if (PUBLIC / "clustering").exists():
        assert images_of("cifar-effnet/cifar10", 4000) is None
