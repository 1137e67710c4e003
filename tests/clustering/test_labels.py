"""Agreement with true classes, the command `sysgym labels`, and that nothing that solves ever sees a class."""

from __future__ import annotations

import ast
import gzip
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from public import PUBLIC, needs
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

import sysgym
import sysgym_agents
import sysgym_zoo
from sysgym import UsageError
from sysgym.clustering import catalogue
from sysgym.clustering.agreement import agreement, read_labels
from sysgym.clustering.problem import Clustering
from sysgym.core.env import ProblemEnv
from sysgym.core.errors import Notice
from sysgym.core.problem import content_hash

Inline = Callable[..., Any]
needs_clustering = needs(PUBLIC / "clustering")


def best_matching(labels: Any, classes: Any) -> float:
    """Accuracy under the best of all one-to-one maps of clusters to classes, or to none."""
    clusters, known = np.unique(labels), np.unique(classes)
    targets = [*known, *[None] * len(clusters)]
    best = 0
    for chosen in set(itertools.permutations(targets, len(clusters))):
        best = max(
            best,
            sum(((labels == a) & (classes == b)).sum() for a, b in zip(clusters, chosen, strict=True) if b is not None),
        )
    return best / len(labels)


@pytest.mark.parametrize(("clusters", "classes"), [(2, 2), (3, 3), (4, 4), (2, 4), (4, 2), (5, 3), (1, 3), (3, 1)])
def test_agreement_is_that_of_all_matchings_and_of_sklearn(clusters: int, classes: int) -> None:
    rng = np.random.default_rng(clusters * 10 + classes)
    for _ in range(5):
        y = rng.integers(classes, size=60) * 3 + 7
        labels = np.where(rng.random(60) < 0.5, rng.integers(clusters, size=60), (y // 3) % clusters)
        found = agreement(labels, y)
        assert found["acc"] == pytest.approx(best_matching(labels, y))
        assert found["nmi"] == pytest.approx(normalized_mutual_info_score(y, labels))
        assert found["ari"] == pytest.approx(adjusted_rand_score(y, labels))
        assert (found["points"], found["noise"]) == (60, 0)
        names = rng.permutation(clusters)
        assert agreement(names[labels], y) == pytest.approx(found)


def test_points_of_noise_are_left_out() -> None:
    y, labels = np.array([0, 0, 1, 1, 2, 2, 0]), np.array([5, 6, 3, 3, 4, 4, 3])
    found = agreement(labels, y, 0)
    assert (found["acc"], found["ari"], found["points"], found["noise"]) == (1, 1, 4, 3)
    assert agreement(labels, y)["acc"] == pytest.approx(5 / 7)
    words = np.array(["a", "a", "noise", "b"])
    assert agreement(np.array([1, 1, 2, 2]), words, "noise")["points"] == 3


@pytest.mark.parametrize(
    ("labels", "classes", "noise", "sentence"),
    [
        ([0, 1], [0, 1, 2], None, "2 labels do not fit 3 classes"),
        ([0, 1], [3, 3], 3, "every point is noise"),
        ([0.0, np.nan], [0, 1], None, "the labels hold values that are not finite"),
        ([0, 1], [np.inf, 1], None, "the classes hold values that are not finite"),
    ],
)
def test_what_cannot_be_compared(labels: Any, classes: Any, noise: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        agreement(np.array(labels), np.array(classes), noise)


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def files(tmp_path: Path) -> None:
    """Label files in every form, of four points in two clusters."""
    y = np.array([1, 1, 0, 0])
    np.save(tmp_path / "a.npy", y)
    np.savez(tmp_path / "b.npz", x=np.eye(4), y=y)
    np.savez(tmp_path / "c.npz", labels=y)
    (tmp_path / "d.json").write_text(json.dumps({"labels": y.tolist()}))
    (tmp_path / "e.json").write_text(json.dumps(y.tolist()))
    (tmp_path / "f.txt").write_text("% of four points\ncat # first\ncat\n\ndog\ndog\n")
    (tmp_path / "g.json").write_text(json.dumps({"problem": "Clustering-v0", "solution": {"labels": y.tolist()}}))
    (tmp_path / "noisy.txt").write_text("0\n1\n2\n2\n")
    (tmp_path / "numbers.json").write_text("[0, 1, 2, 2]")
    (tmp_path / "short.json").write_text("[0, 1, 2]")
    (tmp_path / "grid.json").write_text("[[0, 1], [2, 3]]")
    (tmp_path / "bad.json").write_text("[0, 1")
    (tmp_path / "none.json").write_text('{"cost": 1}')
    (tmp_path / "truths.json").write_text("[true, false, true, true]")
    (tmp_path / "pairs.txt").write_text("0 1\n1 1\n2 0\n3 0\n")
    (tmp_path / "empty.txt").write_text("# nothing\n")


@pytest.mark.usefixtures("files")
def test_files_of_labels_are_compared(inline: Inline) -> None:
    names = ("a.npy", "b.npz", "c.npz", "d.json", "e.json", "f.txt", "g.json")
    pairs = [(names[0], name) for name in names] + [(name, names[0]) for name in names]
    for one, two in pairs:
        shown = json.loads(inline("labels", one, two, "--json").stdout)
        assert (shown["acc"], shown["nmi"], shown["ari"], shown["points"]) == (1, 1, 1, 4)
    text = inline("labels", "a.npy", "noisy.txt", "--noise", "0").stdout
    assert "a.npy against noisy.txt" in text and [line.split() for line in text.splitlines()[1:]] == [
        ["acc", "1"], ["nmi", "1"], ["ari", "1"], ["points", "3"], ["noise", "1"],
    ]  # fmt: skip
    assert json.loads(inline("labels", "a.npy", "numbers.json", "--noise", "0", "--json").stdout)["points"] == 3


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("a.npy nothing.txt", "nothing.txt is no file, and no registered instance whose classes are known; give"),
        ("nothing.npy a.npy", "nothing.npy cannot be read"),
        ("short.json a.npy", "3 labels do not fit 4 classes"),
        ("grid.json a.npy", "expected one label a point, got an array of int64 and shape (2, 2)"),
        ("bad.json a.npy", "no valid JSON"),
        ("none.json a.npy", "none.json has none of labels, y, but cost"),
        ("truths.json a.npy", "expected one label a point, got an array of bool"),
        ("pairs.txt a.npy", "expected one label a line, in the order of the points"),
        ("empty.txt a.npy", "expected one label a point"),
        ("a.npy numbers.json --noise ant", "the classes in numbers.json are numbers; --noise 'ant' is none"),
        ("a.npy numbers.json --noise 9", "no point in numbers.json has the class --noise 9; its classes are 0, 1, 2"),
        ("a.npy f.txt --noise cow", "no point in f.txt has the class --noise cow; its classes are cat, dog"),
        ("a.npy shipped/iris", "4 labels do not fit 150 classes"),
        ("a.npy shipped/iris --noise 0", "the points of shipped/iris that are noise are known; leave --noise out"),
        ("a.npy moons:n=7", "n must be from 8"),
    ],
)
def test_errors_are_one_sentence(inline: Inline, words: str, sentence: str) -> None:
    shown = " ".join(inline("labels", *words.split(), code=2).stderr.split())
    assert sentence in shown and "Traceback" not in shown


def test_an_answer_of_the_command_line_against_known_classes(inline: Inline, tmp_path: Path) -> None:
    solve = ("solve", "shipped/iris", "-p", "Clustering", "-a", "kmeans")
    inline(*solve, "-o", "iris.txt")
    shown = json.loads(inline("labels", "iris.txt", "shipped/iris", "--json").stdout)
    assert 0.7 < shown["acc"] < 1 and shown["points"] == 150
    (tmp_path / "iris.json").write_text(inline(*solve, "--json").stdout)
    again = json.loads(inline("labels", "iris.json", "shipped/iris", "--json").stdout)
    assert again["acc"] == shown["acc"]


def test_zipped_labels_are_read(tmp_path: Path) -> None:
    (tmp_path / "y.txt.gz").write_bytes(gzip.compress(b"1\n2\n"))
    assert read_labels(tmp_path / "y.txt.gz").tolist() == ["1", "2"]


def test_what_may_be_no_classes_is_said_or_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", y=np.zeros(12, int), labels=np.arange(12) % 2)
    with pytest.warns(Notice, match=r"two.npz has labels and y, which differ; labels is compared"):
        assert read_labels(tmp_path / "two.npz").max() == 1
    np.savez(tmp_path / "same.npz", y=np.arange(12) % 2, labels=np.arange(12) % 2)
    assert read_labels(tmp_path / "same.npz").max() == 1
    with pytest.warns(Notice, match="every point has a class of its own, so the figures say nothing"):
        assert agreement(np.arange(12) % 3, np.arange(12) / 7)["ari"] == 0
    for text in ("0.1,0.2\n0.3,0.4\n", "1;2\n3;4\n", "1\t2\n"):
        (tmp_path / "points.csv").write_text(text)
        with pytest.raises(UsageError, match="expected one label a line, in the order of the points, not two words"):
            read_labels(tmp_path / "points.csv")


# ------------------------------------------------------------------------------------------------ secrecy


def imported(path: Path) -> set[str]:
    """Every module and name that a file imports, and every attribute it takes."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif isinstance(node, ast.Attribute):
            found.add(f".{node.attr}")
    return found


def test_nothing_but_the_command_asks_for_true_classes() -> None:
    asked = []
    for module in (sysgym_agents, sysgym_zoo, sysgym):
        for path in Path(module.__path__[0]).rglob("*.py"):
            if not re.search(r"truth|agreement", path.read_text()):
                continue
            names = imported(path)
            asks = {"sysgym.clustering.agreement", "sysgym.clustering.catalogue.truth"} & names
            through = ".truth" in names and any("clustering" in name for name in names)
            asked += [f"{path.parent.name}/{path.name}"] if asks or through else []
    # the command and its table, what it is measured by, and what boards show beside a judged cost
    assert sorted(asked) == ["bench/clustering.py", "clustering/problem.py", "tools/agreeing.py", "tools/labels.py"]


REGISTERED = ["shipped/iris", "shipped/digits", "blobs/train-0", "moons/test-1", "digits/valid-0"]
PUBLIC_ONES = [
    "benchmark-suite-v1/uci-wine", "benchmark-suite-v1/sipu-aggregation", "cifar-effnet/cifar10", "reuters-r8/4-minilm",
    "graph-instances-v1/16-mnist-2000", "graph-instances-v1/03-mnist-256",
]  # fmt: skip


@pytest.mark.parametrize("name", [*REGISTERED, *(pytest.param(name, marks=needs_clustering) for name in PUBLIC_ONES)])
def test_points_do_not_stand_in_the_order_of_their_classes(name: str) -> None:
    """Neighbours in the order are of one class about as often as any two points are."""
    classes, instance = catalogue.truth(name), Clustering().load(name)
    assert classes is not None and classes.shape == (instance.nodes,)
    share = np.bincount(classes) / len(classes)
    expected, runs = float((share**2).sum()), float((np.diff(classes) == 0).mean())
    assert abs(runs - expected) < 4.5 * np.sqrt(expected * (1 - expected) / len(classes)) + 0.01
    assert abs(np.corrcoef(np.arange(len(classes)), classes)[0, 1]) < 4.5 / np.sqrt(len(classes))


def test_instances_do_not_depend_on_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with scikit-learn and those that are drawn, with all classes taken away."""
    names = ("shipped/iris", "shipped/wine", "blobs/train-0", "moons:n=60,seed=4")
    shipped, families = catalogue._shipped, catalogue.drawn

    def without(recipe: str) -> Any:
        made, k = families(recipe)
        return made._replace(y=None), k

    before = [content_hash(Clustering().load(name)) for name in names]
    monkeypatch.setattr(catalogue, "_shipped", lambda name: (shipped(name)[0], None))
    monkeypatch.setattr(catalogue, "drawn", without)
    for kept in (catalogue._registered, catalogue._points, catalogue._fitted):
        kept.cache_clear()
    assert [content_hash(Clustering().load(name)) for name in names] == before


@needs_clustering
def test_files_of_classes_are_not_opened_for_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, read = [], catalogue.read

    def watched(file: Any) -> bytes:
        opened.append(file.path)
        return read(file)

    monkeypatch.setattr(catalogue, "read", watched)
    catalogue._registered.cache_clear()
    catalogue._points.cache_clear()
    for name in ("benchmark-suite-v1/fcps-lsun", "graph-instances-v1/00-mnist-256"):
        Clustering().load(name)
    assert opened and not any("label" in path for path in opened)
    assert catalogue.truth("benchmark-suite-v1/fcps-lsun") is not None
    assert any("label" in path for path in opened)


def test_nothing_of_an_episode_depends_on_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A problem whose classes cannot be had at all plays the same."""
    monkeypatch.setattr(catalogue, "truth", None)
    monkeypatch.setattr(catalogue, "_classes", None)
    env = ProblemEnv("Clustering", instance="shipped/iris")
    env.reset(seed=0)
    over = False
    while not over:
        _, _, over, _, info = env.step(int(np.flatnonzero(env.action_masks())[0]))
    assert not any(word in name for name in info["verdict"]["metrics"] for word in ("acc", "nmi", "ari", "class"))


def test_unknown_names_have_no_classes() -> None:
    assert catalogue.truth("nothing/here") is None and catalogue.truth("points.npz") is None
    moons = catalogue.truth("moons:n=40,k=3,seed=2")
    assert moons is not None and set(moons.tolist()) == {1, 2, 3}
