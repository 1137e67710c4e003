"""Points and affinities of a user's own: what is read, what is refused, and that nothing of the classes gets in."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.ndimage import affine_transform

from sysgym import UsageError
from sysgym.clustering.generate import FAMILIES, drawn
from sysgym.clustering.instance import Affinity
from sysgym.clustering.preprocess import NAMES, fitted, upright
from sysgym.clustering.problem import Clustering
from sysgym.core.errors import Notice
from sysgym.core.instances import expand
from sysgym.core.problem import content_hash

X = np.random.default_rng(0).standard_normal((40, 3))
Here = Callable[[str, Any], str]


def load(given: Any, **options: Any) -> Affinity:
    problem = Clustering(**{"k": 2, **options})
    found = problem.load(given)
    problem.static(found)
    return found


def dense_cut(w: Any, labels: Any, k: int) -> float:
    return sum(1 - w[np.ix_(labels == c, labels == c)].sum() / w[labels == c].sum() for c in range(k))


def test_labels_beside_points_are_not_part_of_the_instance(here: Here) -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(3, size=40)
    hashes = {
        content_hash(load(here(name, content)))
        for name, content in (
            ("plain.npz", {"x": X}), ("a.npz", {"x": X, "y": y}), ("b.npz", {"x": X, "y": rng.permutation(y)}),
            ("c.npz", {"labels": np.array(["cat"] * 40), "x": X, "k": 7}), ("d.npy", X),
            ("e.csv", "a,b,c\n" + "\n".join(",".join(map(repr, row)) for row in X.tolist())),
        )
    }  # fmt: skip
    assert len(hashes) == 1
    named = here("f.npz", {"x": X, "y": np.array([{"pickled": 1}] * 40, object)})  # not even opened
    assert content_hash(load(named)) in hashes


def test_images_and_other_layouts(here: Here) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8)).astype(np.uint8)
    plain, flat = load(here("i.npz", {"x": images})), load(here("f.npz", {"x": images.reshape(30, 64)}))
    assert content_hash(plain) == content_hash(flat)
    assert plain.x is not None and plain.x.shape == (30, 64) and plain.x.max() <= 1
    upright = load("i.npz", preprocess="deskew")
    assert upright.x is not None and upright.x.shape == (30, 30)
    with pytest.raises(UsageError, match=r"f.npz: preprocess=deskew needs images \(n, height, width\), got \(30, 64\)"):
        load("f.npz", preprocess="deskew")
    with pytest.raises(UsageError, match=r"up to 28 x 28 pixels, got \(40, 40\)"):
        load(here("l.npz", {"x": np.ones((9, 40, 40))}), preprocess="deskew", knn=3)


def test_brightness_does_not_matter_to_upright_images() -> None:
    """Of small images too, which are enlarged: none of their pixels is cut off."""
    images = np.random.default_rng(0).random((20, 8, 8))
    one, two = (fitted("deskew", images * bright, "test")(images * bright) for bright in (1.0, 16.0))
    assert one == pytest.approx(two, abs=1e-9)


def by_scipy(image: Any) -> Any:
    """An image (28, 28) sheared upright, alone."""
    mass = image.sum()
    y, x = np.mgrid[:28, :28]
    cy, cx = ((axis * image).sum() / mass for axis in (y, x))
    shear = ((y - cy) * (x - cx) * image).sum() / mass / (((y - cy) ** 2 * image).sum() / mass or 1.0)
    matrix = np.array([[1.0, 0.0], [shear, 1.0]])
    return affine_transform(image, matrix, np.array([cy, cx]) - matrix @ np.full(2, 13.5), order=1)


def test_upright_images_are_those_of_scipy_to_the_bit() -> None:
    """Hashes of instances hang on it. Dense and sparse images, bars, single pixels, strokes, and layouts in memory."""
    rng = np.random.default_rng(0)
    dense, sparse_ones = rng.random((60, 28, 28)), rng.random((60, 28, 28)) * (rng.random((60, 28, 28)) < 0.02)
    one, strokes = np.eye(784).reshape(784, 28, 28)[::13], np.stack([np.eye(28, k=k) for k in range(-27, 28)])
    bars = np.stack([np.ones((28, 28)), np.tril(np.ones((28, 28))), np.pad(np.ones((1, 28)), ((5, 22), (0, 0)))])
    images = np.concatenate([dense, sparse_ones, one, strokes, bars])
    wanted = np.stack([by_scipy(image).ravel() for image in images])
    assert np.array_equal(upright(images), wanted) and np.array_equal(upright(np.asfortranarray(images)), wanted)
    pixels = rng.integers(0, 256, (40, 28, 28)).astype(np.uint8)
    assert np.array_equal(upright(pixels), np.stack([by_scipy(image / 255.0).ravel() for image in pixels]))
    assert (upright(np.zeros((2, 28, 28))) == 0).all()


def test_upright_images_have_no_negative_pixels() -> None:
    with pytest.raises(UsageError, match=r"preprocess=deskew needs pixels of 0 or more, .* got -0\..* take the images"):
        Clustering(k=2, preprocess="deskew").adopt(np.random.default_rng(0).random((20, 8, 8)) - np.eye(8) / 2)


def test_columns_that_unit_leaves_out_are_said() -> None:
    with pytest.warns(Notice, match="preprocess=unit takes the first 64 of 70 columns; the others are left out"):
        found = Clustering(k=2, preprocess="unit").adopt(np.random.default_rng(0).standard_normal((30, 70)))
    assert found is not None and found.x is not None and found.x.shape == (30, 64)


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_sparse_archives(here: Here, form: str) -> None:
    counts = sparse.random(60, 25, 0.3, format=form, random_state=np.random.default_rng(0))
    counts.data = np.ceil(counts.data * 9)
    sparse.save_npz("counts.npz", counts)
    for how in ("none", "tfidf"):
        graph = load("counts.npz", preprocess=how)
        assert content_hash(graph) == content_hash(Clustering(preprocess=how).adopt(counts.toarray()))
    square = counts.toarray()[:25]
    sparse.save_npz("square.npz", sparse.csr_matrix(square).asformat(form))
    with pytest.warns(Notice, match="square but not symmetric, so it is taken for features of points"):
        graph = load("square.npz")
    assert content_hash(graph) == content_hash(Clustering().adopt(square))
    w = square + square.T
    sparse.save_npz("w.npz", sparse.csr_matrix(w).asformat(form))
    with pytest.warns(Notice, match="square and symmetric, so it is taken for affinities"):
        graph = load("w.npz")
    labels = np.arange(25) % 2
    assert Clustering(k=2).judge(graph, {"labels": labels}).cost == pytest.approx(dense_cut(w, labels, 2), abs=1e-12)


@pytest.mark.parametrize("form", ["bsr", "dia"])
def test_other_sparse_archives_are_named(here: Here, form: str) -> None:
    sparse.save_npz("m.npz", sparse.eye(20).asformat(form))
    with pytest.raises(UsageError, match=f"a sparse matrix of the format '{form}'; expected 'x'"):
        load("m.npz")


def test_zipped_text_is_read(here: Here) -> None:
    text = "\n".join(",".join(map(repr, row)) for row in X.tolist())
    one, two = load(here("a.csv", text)), load(here("b.csv.gz", gzip.compress(text.encode())))
    assert content_hash(one) == content_hash(two)


NO_CSV = {
    "1,2\n3,4\n5,x\n": "line 3: expected 2 numbers like the first line, got '5,x'",
    "1,2\n3\n": "line 2: expected 2 numbers like the first line, got '3'",
    "a,b\n1,2\n3,\n": "line 3: expected 2 numbers like the first line, got '3,'",
    "1,\n1,2\n3,4\n": "line 1: expected numbers with commas between them, got '1,'",  # not a heading
    "1,b\n1,2\n3,4\n": "line 1: expected numbers",
    ",a,b\n0,1,2\n1,3,4\n": "line 1: expected numbers",  # a column of row numbers
    "1;2\n3;4\n": "line 2: expected numbers with commas",
    "1_0,2\n3,4\n": "line 1: expected numbers with commas",
    "": "holds no points; give a line of numbers for each",
    "a,b\n": "holds no points",
    "1,2\nnan,3\n4,5\n": "point 1 has a coordinate that is not finite",
    "1,2\n1e999,3\n4,5\n": "point 1 has a coordinate that is not finite",
    "a,b\n1,2\n": "expected two or more points",
}


@pytest.mark.parametrize("text", NO_CSV)
def test_what_is_no_csv_of_points(here: Here, text: str) -> None:
    with pytest.raises(UsageError, match=NO_CSV[text]):
        load(here("p.csv", text), knn=1)


def test_what_a_csv_may_hide_is_said(here: Here) -> None:
    with pytest.warns(Notice, match="the column 'Species' counts as a coordinate; take it out if it says the classes"):
        load(here("s.csv", 'x,"Species"\n1,2\n3,4\n5,5\n'), knn=1)
    with pytest.warns(Notice, match="its first line is a point; take it out if these are the numbers of the columns"):
        graph = load(here("n.csv", "0,1,2\n5,3,4\n5,5,5\n"), knn=1)
    assert graph.nodes == 3
    with pytest.warns(Notice, match="column 1 counts the lines and is taken for a coordinate; is it one"):
        load(here("i.csv", "id,x\n7,2\n8,4\n9,5\n"), knn=1)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.npz", {"y": X}, "has the arrays y; expected 'x', points"),
        ("b.npz", {"x": X.astype(str)}, "its type is <U32, expected integers or floats"),
        ("c.npz", {"x": X.astype(object)}, "expected integers or floats"),
        ("d.npz", b"PK12345", "d.npz is damaged or not of its format"),
        ("e.npz", {"x": X[:, 0]}, r"expected two or more points, numbers of shape \(n, d\), got float64 of shape"),
        ("f.npz", {"x": X[:1]}, "expected two or more points"),
        ("g.npz", {"x": X[:0]}, "expected two or more points"),
        ("h.npy", X.astype(complex), "its type is complex128"),
        ("i.npy", b"nothing", "no usable .npy array"),
        ("j.npz", {"data": X, "indices": X, "indptr": X, "shape": X}, "has the arrays data, indices, indptr, shape"),
        ("k.npz", {}, "has the arrays none"),
        ("l.csv", "1,2\n3,4\n".encode("utf-16"), "byte order mark says UTF-16"),
        ("m.csv", bytes(range(200, 256)), "a byte that is no text"),
        ("n.tsv", "1\t2\n3\t4\n", "n.tsv ends in neither .npz, .npy, .csv, as files of points do, nor .graph"),
    ],
)
def test_damaged_files_get_a_sentence(here: Here, name: str, content: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        load(here(name, content))


def test_absent_files_and_unknown_names(here: Here) -> None:
    for name, sentence in (
        ("no.npz", "no.npz cannot be read: No such file"),
        ("shipped/irs", "Did you mean 'shipped/iris'"),
        ("something", "or a recipe such as 'moons:n=200,seed=3'"),
    ):
        with pytest.raises(UsageError, match=sentence):
            load(name)


def test_folders_and_globs_name_files_of_points(here: Here) -> None:
    for name in ("b.npy", "a.npy"):
        here(name, X)
    here("c.csv", "a,b\n1,2\n3,4\n")
    here("prices.csv", "day,price\nmonday,4\ntuesday,5\n")
    here("notes.md", "no points")
    problem = Clustering()
    assert expand(problem.instance_sets(), "*.npy", problem.reads) == ["a.npy", "b.npy"]
    assert expand(problem.instance_sets(), "*.csv", problem.reads) == ["c.csv"]


# ------------------------------------------------------------------------------------------------ preprocessing

DATA = {
    "points": X, "images": np.random.default_rng(0).random((30, 8, 8)), "equal": np.ones((30, 3)),
    "counts": np.random.default_rng(0).integers(0, 4, (30, 12)), "wide": X[:12].reshape(6, 6),
    "features": sparse.random(30, 10, 0.3, format="csr", random_state=np.random.default_rng(0)),
    "nothing": np.zeros((30, 5), int), "colours": np.random.default_rng(0).random((20, 3, 3, 3)),
}  # fmt: skip
SENTENCES = {
    ("deskew", "points"): "needs images", ("deskew", "equal"): "needs images", ("deskew", "counts"): "needs images",
    ("deskew", "features"): "needs images", ("deskew", "nothing"): "needs images", ("deskew", "wide"): "needs images",
    ("deskew", "colours"): "needs images", ("tfidf", "points"): "needs counts of words",
    ("tfidf", "images"): "needs counts of words", ("tfidf", "wide"): "needs counts of words",
    ("tfidf", "features"): "needs counts of words", ("tfidf", "colours"): "needs counts of words",
    ("tfidf", "nothing"): "and some counts",
}  # fmt: skip


@pytest.mark.parametrize("how", NAMES)
@pytest.mark.parametrize("kind", DATA)
@pytest.mark.filterwarnings("ignore:.*all points lie at one place")
def test_preprocessing_of_every_kind_of_data(how: Any, kind: str) -> None:
    problem = Clustering(k=2, knn=4, preprocess=how)
    if (how, kind) in SENTENCES:
        with pytest.raises(UsageError, match=f"preprocess={how} {SENTENCES[how, kind]}|{SENTENCES[how, kind]}"):
            problem.adopt(DATA[kind])
        return
    graph = problem.adopt(DATA[kind])
    assert graph is not None and graph.x is not None and np.isfinite(graph.x).all()
    assert np.isfinite(problem.static(graph)["nodes"]).all()


def test_preprocessing_is_what_it_says() -> None:
    x = np.random.default_rng(0).standard_normal((50, 80)) * 3 + 7
    standard = fitted("standard", x, "test")(x)
    assert standard.mean(axis=0) == pytest.approx(0, abs=1e-12) and standard.std(axis=0, ddof=1) == pytest.approx(1)
    unit = fitted("unit", x, "test")(x)
    assert unit.shape == (50, 64) and np.linalg.norm(unit, axis=1) == pytest.approx(1)
    parts = fitted("pca", x, "test")(x)
    _, vectors = np.linalg.eigh(np.cov(x.T))
    theirs = (x - x.mean(axis=0)) @ vectors[:, ::-1][:, : parts.shape[1]]
    assert parts.std() == pytest.approx(1) and parts.shape == (50, 50)
    assert np.abs(parts[:, :40]) == pytest.approx(np.abs(theirs / theirs.std())[:, :40], abs=1e-6)
    first, rest = x[:30], x[30:]
    find = fitted("standard", first, "test")  # means of the first alone
    assert find(rest) == pytest.approx((rest - first.mean(axis=0)) / first.std(axis=0, ddof=1))


def test_unknown_preprocessing_and_options() -> None:
    with pytest.raises(UsageError, match=r"unknown preprocess 'pcs'\. Did you mean 'pca'"):
        fitted("pcs", X, "test")
    for options in ({"knn": 0}, {"knn": "ten"}, {"scale": "gauss"}, {"preprocess": "pcs"}, {"k": 1}, {"k": 2.5}):
        with pytest.raises(UsageError):
            Clustering(**options)
    with pytest.raises(UsageError, match="is a graph of its own; leave knn, scale, mutual, own, connect and"):
        Clustering(connect=False).load("graph-instances-v1/00-mnist-256")


# ------------------------------------------------------------------------------------------------ recipes


@pytest.mark.parametrize("family", FAMILIES)
def test_recipes_are_the_same_on_every_call(family: str) -> None:
    one, two, other = (load(f"{family}:n=60,k=3,seed={seed}", k=None, connect=False) for seed in (1, 1, 2))
    assert content_hash(one) == content_hash(two) != content_hash(other)
    assert (one.nodes, one.k) == (60, 3)
    made = drawn(f"{family}:n=60,k=3,seed=1")[0]
    assert set(made.y.tolist()) <= {0, 1, 2} and (np.diff(made.y) < 0).any()


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ("moons:n=7", "n must be from 8 to 1000000, got 7"),
        ("moons:n=40,n=50", "n is given more than once"),
        ("moons:seed=-1", "seed must be a whole number"),
        ("moons:n=" + "9" * 5000, "n must be a whole number, 1000000 at most"),
        ("moons:n=²", "n must be a whole number"),
        ("moons:n", "n must be a whole number"),
        ("moons:k=1", "k must be from 2 to 64"),
        ("moons:noise=2", "unknown option of moons 'noise'. Known: k, n, seed"),
        ("digits:n=1000,k=2", r"n=1000 is more than the \d+ digits of the 2 classes"),
        ("digits:n=5000", "n must be from 8 to 1797"),
        ("moon:n=40", "unknown instance 'moon:n=40'"),
    ],
)
def test_recipes_that_cannot_be_drawn(recipe: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        load(recipe)


def test_generators_draw_their_own_seeds() -> None:
    problem = Clustering(generator="moons:n=30")
    rng = np.random.default_rng(0)
    assert content_hash(problem.generate(rng)) != content_hash(problem.generate(rng))
    with pytest.raises(UsageError, match="seed is given more than once"):
        Clustering(generator="moons:n=30,seed=1").generate(rng)
