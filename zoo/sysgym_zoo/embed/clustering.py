"""Maintainers' command that writes the index of the instance sets of clustering.

`python -m sysgym_zoo.embed.clustering` makes every instance as `load` will, from the files below SYSGYM_DATA, from
scikit-learn or from a recipe, and records content hashes, sizes, splits and known normalised cuts.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.clustering import catalogue
from sysgym.clustering.instance import Affinity
from sysgym.clustering.neighbours import Neighbours
from sysgym.clustering.problem import Clustering
from sysgym.core.data import decompress
from sysgym.core.instances import as_promised, load_index
from sysgym.core.problem import content_hash
from sysgym_agents.clustering.classical import MergeSplit, SpectralClustering
from sysgym_agents.core import Budget

DATA = Path(os.environ.get("SYSGYM_DATA", ".")) / catalogue.TOPIC
TARGET = Path(__file__).parents[3] / "envs" / "sysgym" / "data" / catalogue.TOPIC / "index.json"
SMALL = {"train": 8, "valid": 4, "test": 4}
MANY = {"train": 32, "valid": 4, "test": 8}
SHIPPED = {
    "iris": (3, "standard"),
    "wine": (3, "standard"),
    "breast_cancer": (2, "standard"),
    "digits": (10, "none"),
}
TRAIN_SETS = (
    "atom",
    "chainlink",
    "hepta",
    "lsun",
    "a1",
    "aggregation",
    "compound",
    "flame",
    "s1",
    "ecoli",
    "glass",
    "wine",
)
FIGURES = {"spectral": "spectral", "best_known": "merge-and-split, restarts"}
OWN = "made here"
DIGITS = "LeCun, Cortes and Burges (MNIST); Hull 1994, research use (USPS)"


def _with_files(name: str, *companions: str) -> dict[str, Any]:
    """The files of an entry and their checksums, of the uncompressed bytes."""

    def described(path: str) -> dict[str, str]:
        content = decompress(path, (DATA / path).read_bytes())
        return {"file": path, "sha256": hashlib.sha256(content).hexdigest()}

    found: dict[str, Any] = described(name)
    return {**found, "companions": [described(path) for path in companions]} if companions else found


def _images(split: str, file: str, **facts: Any) -> dict[str, Any]:
    return {"split": split, **_with_files(file), "facts": {"kind": "array", "k": 10, "preprocess": "deskew", **facts}}


def digit_sets() -> dict[str, Any]:
    """MNIST and USPS: the preprocessing is fitted on what comes first, also for the other data set."""
    first, fitted = "mnist_train_first20k.npz", {"fitted": "mnist/train10k"}
    return {
        "mnist": {
            "train10k": _images("train", first, rows=[0, 10_000]),
            "valid10k": _images("valid", first, rows=[10_000, 20_000], **fitted),
            "t10k": _images("test", "mnist_t10k.npz", **fitted),
            "usps": _images("test", "usps.npz", **fitted),
        },
        "mnist-alone": {
            "t10k": _images("test", "mnist_t10k.npz"),
            "t10k-raw": _images("test", "mnist_t10k.npz", preprocess="pca"),
        },
        "usps": {
            "train": _images("train", "usps.npz", rows=[0, 7291]),
            "test": _images("test", "usps.npz", rows=[7291, 9298], fitted="usps/train"),
            "all": _images("test", "usps.npz"),
        },
    }


def other_sets() -> dict[str, Any]:
    """Texts and features of images; one file each, so no part of them is for training."""
    texts = _with_files("reuters_r8_train.tsv.gz")
    four = ["acq", "crude", "interest", "trade"]
    vectors = {"kind": "array", "k": 4, "preprocess": "none", "classes": "label"}
    words = {"kind": "words", "preprocess": "tfidf"}
    found: dict[str, Any] = {
        "reuters-r8": {
            "8": {"split": "test", **texts, "facts": {**words, "k": 8}},
            "4": {"split": "test", **texts, "facts": {**words, "k": 4, "of": four}},
            "4-minilm": {"split": "test", **_with_files("reuters_r8_4class_train_minilm384.npz"), "facts": vectors},
        },
        "cifar-effnet": {},
    }
    for name, file, k, classes in (
        ("cifar10", "cifar10_effnetlite0_pca128.npz", 10, "y"),
        ("cifar100-coarse", "cifar100_effnetlite0_pca128.npz", 20, "y_coarse"),
        ("cifar100-fine", "cifar100_effnetlite0_pca128.npz", 100, "y"),
    ):
        facts = {"kind": "array", "k": k, "preprocess": "unit", "classes": classes}
        found["cifar-effnet"][name] = {"split": "test", **_with_files(file), "facts": facts}
    return found


def suite() -> dict[str, Any]:
    """Gagolews' benchmark suite: how many clusters there are is what its authors say."""
    found = {}
    for file in sorted((DATA / "benchmark_suite_v1").glob("*/*.data.gz")):
        name = file.name.removesuffix(".data.gz")
        path = f"benchmark_suite_v1/{file.parent.name}/{name}"
        classes = decompress(name, (DATA / f"{path}.labels0.gz").read_bytes()).split()
        facts = {"kind": "columns", "k": len({*classes} - {b"0"}), "preprocess": "standard"}
        split = "train" if name in TRAIN_SETS else "test"
        found[f"{file.parent.name}-{name}"] = {
            "split": split, **_with_files(f"{path}.data.gz", f"{path}.labels0.gz"), "facts": facts,
        }  # fmt: skip
    return found


def shared_graphs() -> dict[str, Any]:
    """The eighteen fixed graphs, with the normalised cuts that were measured on them."""
    rows = json.loads((DATA / "graph_instances_v1_reference.json").read_text())
    files = _with_files("graph_instances_v1.npz", "graph_instances_v1_labels.npz")
    found = {}
    for place, row in enumerate(rows):
        source = row["source"].replace("/", " ").split()[0]
        facts = {"kind": "graph", "place": place, "k": row["k"], "components": row["components_before_connect"],
                 "classes": f"g{place}_y"}  # fmt: skip
        known = {who: row[key][0] for key, who in FIGURES.items()}
        found[f"{place:02}-{source.replace('_', '-')}-{row['n']}"] = {
            "split": "test", **files, "facts": facts, "references": {"usual": known},
        }  # fmt: skip
    return found


def drawn_set(family: str, place: int, counts: dict[str, int], **sizes: int) -> dict[str, Any]:
    """Instances of a family by recipe, with seeds of their own in each split."""
    options = ",".join(f"{key}={value}" for key, value in sizes.items())
    return {
        f"{split}-{i}": {"split": split, "facts": {"recipe": f"{family}:{options},seed={10000 * place + 1000 * j + i}"}}
        for j, (split, count) in enumerate(counts.items()) for i in range(count)
    }  # fmt: skip


def known_cuts(graph: Affinity) -> dict[str, float]:
    """What spectral clustering and one merge-and-split search find, seed 0."""
    problem, found = Clustering(), {}
    for who, agent in (("spectral", SpectralClustering()), ("merge-and-split", MergeSplit())):
        answer = agent.solve(problem, graph, np.random.default_rng(0), Budget())
        found[who] = problem.judge(graph, answer).cost
    return found


def measured(name: str, rows: dict[str, Any]) -> dict[str, Any]:
    """The rows of a set with the hash and size of each instance, as `load` makes it."""
    for short, row in rows.items():
        graph = catalogue._registered(f"{name}/{short}", Neighbours(), None)
        row |= {"hash": content_hash(graph), "nodes": graph.nodes, "edges": graph.edges}
        row.setdefault("references", {"usual": known_cuts(graph)})
    return rows


SETS: dict[str, tuple[str, str, str, Any]] = {
    "blobs": ("embedded", "MIT", "Gaussians of unequal size and spread whose neighbours overlap, drawn from seeds",
              lambda: drawn_set("blobs", 1, SMALL, n=96, k=4)),
    "moons": ("embedded", "MIT", "half circles with noise, drawn from seeds",
              lambda: drawn_set("moons", 2, SMALL, n=96, k=2)),
    "digits": ("embedded", "BSD-3-Clause", "256 of scikit-learn's handwritten digits, drawn from seeds",
               lambda: drawn_set("digits", 3, MANY, n=256, k=10)),
    "shipped": ("embedded", "BSD-3-Clause", "the sets of real points that come with scikit-learn", lambda: {
        name: {"split": "test", "facts": {"kind": "shipped", "name": name, "k": k, "preprocess": how}}
        for name, (k, how) in SHIPPED.items()}),
    "mnist": ("public", DIGITS, "MNIST: 10,000 points to train on, unseen ones, USPS through the same preprocessing",
              lambda: digit_sets()["mnist"]),
    "mnist-alone": ("public", DIGITS, "the test images of MNIST by themselves, upright or as they are",
                    lambda: digit_sets()["mnist-alone"]),
    "usps": ("public", DIGITS, "USPS: its own training and test images", lambda: digit_sets()["usps"]),
    "reuters-r8": ("public", "Reuters-21578 distribution 1.0, research use", "news of eight or four subjects, as words "
                   "or vectors", lambda: other_sets()["reuters-r8"]),
    "cifar-effnet": ("public", "CIFAR (Krizhevsky 2009); weights Apache-2.0", "images by features of EfficientNet",
                     lambda: other_sets()["cifar-effnet"]),
    "benchmark-suite-v1": ("public", "research use only", "point sets of Gagolewski's benchmark suite 1.1.0", suite),
    "graph-instances-v1": ("public", "as MNIST, USPS, Reuters and CIFAR", "eighteen fixed graphs of neighbours",
                           shared_graphs),
}  # fmt: skip


LITERATURE = (  # ACC, where it was published, and how far it could be followed up
    ("CNC", "MNIST", ".972", "arXiv 1910.07623; its tables could not be opened"),
    ("CNC", "CIFAR-10, unknown features", ".702", "arXiv 1910.07623; its tables could not be opened"),
    ("SpectralNet", "MNIST", ".971", "10.1186/s13673-018-0148-3, table 4"),
    ("DEPICT", "MNIST", ".965", "10.1186/s13673-018-0148-3, table 4"),
    ("DEPICT", "USPS", ".964", "10.1186/s13673-018-0148-3, table 4"),
    ("DEC", "MNIST", ".818", "10.1186/s13673-018-0148-3, table 4"),
    ("DEC", "USPS", ".619", "10.1186/s13673-018-0148-3, table 4"),
    ("VaDE", "MNIST", ".9446", "README of slim1017/VaDE"),
    ("k-means", "MNIST", ".553", "10.1186/s13673-018-0148-3, table 4"),
    ("k-means", "USPS", ".694", "10.1186/s13673-018-0148-3, table 4"),
)
SUITE = {
    "sklearn_kmeans": "k-means", "sklearn_gm": "Gaussian mixtures", "sklearn_spectral": "spectral, best gamma",
    "fastcluster_ward": "Ward", "ITM": "ITM",
}  # fmt: skip


def published() -> list[dict[str, str]]:
    """Figures of the literature: ACC of single papers, and means over the benchmark suite of what its authors store."""
    rows = [{"where": where, "quantity": f"ACC of {who}", "value": value, "source": source}
            for who, where, value, source in LITERATURE]  # fmt: skip
    results = json.loads((DATA / "benchmark_suite_v1_results.json").read_text())["results"]
    for method, who in SUITE.items():
        best = [row["published_best_ari"][method] for row in results.values()]
        rows.append({
            "where": f"{len(best)} sets of the benchmark suite", "quantity": f"mean of the best ARI of {who}",
            "value": f"{np.mean(best):.3f}", "source": "gagolews/clustering-results-v1, directory original",
        })  # fmt: skip
    return rows


def main() -> None:
    """Write the index: first without hashes, so that `load` finds the entries, then with them."""
    sets = {
        name: {"version": 1, "source": source, "licence": licence, "about": about, "instances": make()}
        for name, (source, licence, about, make) in SETS.items()
    }
    blank = {"hash": "", "nodes": 0, "edges": 0}
    empty = {
        name: {**item, "instances": {short: {**blank, **row} for short, row in item["instances"].items()}}
        for name, item in sets.items()
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(empty))
    load_index.cache_clear()
    catalogue.__dict__["as_promised"] = lambda entry, instance: instance  # there is nothing to keep yet
    for name, item in sets.items():
        measured(name, item["instances"])
    catalogue.__dict__["as_promised"] = as_promised
    TARGET.write_text(json.dumps(sets, indent=1) + "\n")
    TARGET.with_name("published.json").write_text(json.dumps(published(), indent=1) + "\n")


if __name__ == "__main__":
    main()
