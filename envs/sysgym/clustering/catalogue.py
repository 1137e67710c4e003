"""Instances of clustering: registered sets, recipes, files; and the true classes of those that are known.

The facts of an entry say how its points come of its file: `kind` (see `_raw`), `k`, `preprocess`, `rows` (first and
end), and `fitted`, the entry whose points the preprocessing was fitted on: the training split's, never those of the
entry itself where it is another. Points are shuffled, as some files stand in order of the classes.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.clustering.generate import FAMILIES, drawn, is_recipe
from sysgym.clustering.instance import Affinity
from sysgym.clustering.neighbours import Neighbours, affinity_graph, digest
from sysgym.clustering.points import POINTS, is_points, read_given
from sysgym.clustering.preprocess import FITTED, TOPICS, Transform, fitted
from sysgym.core.data import read
from sysgym.core.errors import UsageError, announce
from sysgym.core.instances import Entry, as_promised, find_entry, load_index, no_instance
from sysgym.core.problem import Array
from sysgym.graphs.csr import from_edges
from sysgym.graphs.io import READERS

TOPIC = "clustering"
OF_POINTS = "leave knn, scale, mutual, own, connect and preprocess out, which are for points."


def published_figures() -> tuple[Mapping[str, str], ...]:
    """Figures of the literature, with their sources."""
    return tuple(json.loads((files("sysgym") / "data" / TOPIC / "published.json").read_text()))


def is_instance(name: str, head: bytes = b"") -> bool:
    """Whether a word is a recipe of points, or a file of points by its ending."""
    return is_recipe(name) or is_points(name, head)


def load_affinity(name: str, how: Neighbours, preprocess: str | None) -> Affinity:
    """An instance by registered name (`mnist/t10k`), recipe (`moons:n=200`) or file (`sysgym.clustering.points`)."""
    sets = load_index(TOPIC)
    entry = find_entry(sets, name)
    if entry is not None:
        return _registered(name, how, preprocess)
    if (len(name) < 1024 and Path(name).is_file()) or Path(name.removesuffix(".gz")).suffix.lower() in POINTS:
        return built(read_given(name), name, how, preprocess)
    if is_recipe(name):
        made, k = drawn(name)
        return built(made.x, name, how, preprocess or made.preprocess, k)
    hint = (
        f"a file of points ({', '.join(POINTS)}) or affinities ({', '.join(READERS)}), or a recipe such as "
        f"'moons:n=200,seed=3' (families: {', '.join(FAMILIES)})"
    )
    raise no_instance(sets, name, hint)


def built(raw: Any, name: str, how: Neighbours, preprocess: str | None, k: int | None = None) -> Affinity:
    """The instance of raw features, or of affinities that are there already; the latter take no preprocessing."""
    if isinstance(raw, Affinity):
        if preprocess not in (None, "none") or how != Neighbours():
            raise UsageError(f"{name} holds affinities, no points: {OF_POINTS}")
        return raw
    points = fitted(preprocess or "none", raw, name)(raw)
    graph = affinity_graph(points, name=name, k=k, how=how)
    if preprocess in FITTED:
        assert graph.x is not None
        graph = _told(graph, preprocess, name if is_recipe(name) else digest(graph.x))
    if preprocess == "unit" and (width := math.prod(raw.shape[1:])) > TOPICS:
        announce(f"{name}: preprocess=unit takes the first {TOPICS} of {width} columns; the others are left out.")
    if how.nearest > len(points) - 1 + how.own:
        announce(f"{name}: {len(points)} points have no {how.nearest} neighbours (-O knn=...); all are each other's.")
    if graph.components and graph.components > 1 and how.joined:
        announce(
            f"{name}: the graph of neighbours has {graph.components} components; each is joined to its nearest point "
            "by an affinity of 0.001 (-O connect=false leaves them apart)."
        )
    return graph


def _told(graph: Affinity, preprocess: str, source: str) -> Affinity:
    """The instance that says on which set the preprocessing of its points was fitted."""
    words = (f"{preprocess} fitted on {source}", graph.prepared)
    return replace(graph, prepared=", ".join(filter(None, words))) if preprocess in FITTED else graph


@lru_cache(maxsize=64)
def _registered(name: str, how: Neighbours, preprocess: str | None) -> Affinity:
    entry = find_entry(load_index(TOPIC), name)
    assert entry is not None
    facts = entry.facts
    if "recipe" in facts:
        made, k = drawn(facts["recipe"])
        used = preprocess or made.preprocess
        graph = _told(affinity_graph(fitted(used, made.x, name)(made.x), name=name, k=k, how=how), used, name)
    elif facts["kind"] == "graph":
        if preprocess not in (None, "none") or how != Neighbours():
            raise UsageError(f"{name} is a graph of its own; {OF_POINTS}")
        graph = _stored_graph(entry)
    else:
        raw = _points(name)
        source, used = facts.get("fitted", name), preprocess or facts["preprocess"]
        graph = affinity_graph(_fitted(source, used)(raw), name=name, k=facts["k"], how=how)
        graph = _told(graph, used, source)
    usual = preprocess in (None, facts.get("preprocess")) and how == Neighbours()
    kept: Affinity = as_promised(entry, graph) if usual else graph
    return kept


@lru_cache(maxsize=8)
def _fitted(name: str, preprocess: str) -> Transform:
    return fitted(preprocess, _points(name), name)


def _order(count: int, facts: Any) -> Array:
    """Which row of the file each point is, (n,) int64: a part of it, shuffled."""
    first, end = facts.get("rows", (0, count))
    return np.random.default_rng(0).permutation(np.arange(first, min(end, count)))


@lru_cache(maxsize=4)
def _points(name: str) -> Any:
    """Raw features of a registered entry, in the order of its instance."""
    entry = find_entry(load_index(TOPIC), name)
    assert entry is not None
    raw = _raw(entry)
    return raw[_order(raw.shape[0], entry.facts)]


def _raw(entry: Entry) -> Any:
    """All features of an entry's file: `array`, `x` of an .npz, in few columns if facts say so; `columns`, lines of
    numbers; `words`, counts of the 2,000 most frequent words of texts after a tab, of some labels; `shipped`, a set of
    scikit-learn.
    """
    kind = entry.facts["kind"]
    if kind == "shipped":
        return _shipped(entry.facts["name"])[0]
    assert entry.file is not None
    data = read(entry.file)
    if kind == "array":
        with np.load(io.BytesIO(data)) as arrays:
            return arrays["x"]
    if kind == "columns":
        return np.loadtxt(io.BytesIO(data), ndmin=2)
    return _word_counts(_texts(entry, data)[1])


def _shipped(name: str) -> tuple[Array, Array]:
    from sklearn import datasets

    found: tuple[Array, Array] = getattr(datasets, f"load_{name}")(return_X_y=True)
    return found


def _texts(entry: Entry, data: bytes) -> tuple[list[str], list[str]]:
    """Labels and texts of the lines that the entry takes: those of some labels, as its set is defined."""
    pairs = [line.split("\t", 1) for line in data.decode().splitlines()]
    wanted = entry.facts.get("of")
    kept = [pair for pair in pairs if wanted is None or pair[0] in wanted]
    return [label for label, _ in kept], [text for _, text in kept]


def _word_counts(texts: list[str]) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(max_features=2000, stop_words="english").fit_transform(texts)


def _stored_graph(entry: Entry) -> Affinity:
    """A graph of `graph_instances_v1.npz`, whose float32 affinities are counted in 2^-24, no less than 1."""
    assert entry.file is not None
    place = entry.facts["place"]
    with np.load(io.BytesIO(read(entry.file))) as arrays:
        pointers, columns, weights, x = (arrays[f"g{place}_{key}"] for key in ("indptr", "indices", "weight", "x"))
    rows = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
    once = rows < columns
    whole = np.maximum(np.rint(weights[once].astype(np.float64) * 2**24).astype(np.int64), 1)
    graph = from_edges(entry.name, len(pointers) - 1, rows[once], columns[once].astype(np.int64), whole)
    return Affinity(
        entry.name, graph.xadj, graph.adjncy, graph.adjwgt, graph.degree, x=x.astype(np.float32), k=entry.facts["k"],
        unit=2.0**-24, components=entry.facts["components"],
    )  # fmt: skip


def images_of(name: str, count: int) -> Array | None:
    """The images (n, height, width) behind the points of a recipe or a registered instance of `count` points, in its
    order; None where its points are none, or cannot be had here. For pictures only: no instance holds them.
    """
    try:
        found = _images(name)
    except UsageError:  # a name of the user's own, or no file of that set
        return None
    return found if found is not None and found.ndim == 3 and len(found) == count else None


def _images(name: str) -> Array | None:
    entry = find_entry(load_index(TOPIC), name)
    recipe = name if is_recipe(name) else entry.facts.get("recipe", "") if entry is not None else ""
    if recipe.startswith("digits:"):
        return drawn(recipe)[0].x.reshape(-1, 8, 8)
    if entry is None or (entry.facts.get("name") != "digits" and entry.facts.get("kind") != "array"):
        return None
    found: Array = _points(name)
    return found.reshape(-1, 8, 8) if entry.facts.get("name") == "digits" else found


def truth(name: str) -> Array | None:
    """The true classes (n,) int64 of a recipe or a registered instance, in its order, 0 where the source calls a point
    noise; None where they are not known. Nothing but the evaluation of answers calls this.
    """
    if is_recipe(name):
        return drawn(name)[0].y + 1
    entry = find_entry(load_index(TOPIC), name)
    if entry is None:
        return None
    if "recipe" in entry.facts:
        return drawn(entry.facts["recipe"])[0].y + 1
    found = _classes(entry)
    return found if entry.facts["kind"] == "graph" else found[_order(len(found), entry.facts)]


def _classes(entry: Entry) -> Array:
    facts = entry.facts
    if facts["kind"] == "shipped":
        return _shipped(facts["name"])[1].astype(np.int64) + 1
    if facts["kind"] == "words":
        assert entry.file is not None
        names = _texts(entry, read(entry.file))[0]
        return np.unique(names, return_inverse=True)[1].astype(np.int64) + 1
    file = entry.companions[0] if entry.companions else entry.file
    assert file is not None
    data = read(file)
    if facts["kind"] == "columns":
        return np.loadtxt(io.BytesIO(data), dtype=np.int64)
    with np.load(io.BytesIO(data)) as arrays:
        found: Array = arrays[facts.get("classes", "y")]
    return np.unique(found, return_inverse=True)[1].astype(np.int64) + 1
