"""How far labels agree with true classes. Nothing that solves or trains calls this, and no cost, reward or rank depends
on it; boards show it beside them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.data import as_text, decompress, read_file
from sysgym.core.errors import UsageError, announce, reading
from sysgym.core.problem import Array
from sysgym.core.solutions import parse_json, parse_npy, parse_npz

WORDS = re.compile(r"[\s,;]+")  # between two words of a line


def agreement(labels: Array, classes: Array, noise: Any = None) -> dict[str, float]:
    """ACC, NMI and ARI of labels (n,) against classes (n,), points of the class `noise` left out.

    ACC is the share of points under the best one-to-one matching of clusters and classes (Hungarian method on the
    contingency table, made square); NMI has the arithmetic mean below, ARI is Hubert and Arabie's (1985).

    >>> agreement(np.array([1, 1, 0, 0]), np.array([5, 5, 7, 7]))["acc"]
    1.0
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    if len(labels) != len(classes):
        raise UsageError(f"{len(labels)} labels do not fit {len(classes)} classes; both must be of the same points.")
    kept = np.ones(len(classes), bool) if noise is None else np.asarray(classes != noise)
    for what, values in (("labels", labels), ("classes", classes)):
        if values.dtype.kind == "f" and not np.isfinite(values[kept]).all():
            raise UsageError(f"the {what} hold values that are not finite; give every point one.")
    if not kept.any():
        raise UsageError("every point is noise, so there is nothing to compare.")
    if kept.sum() > 8 and len(np.unique(classes[kept])) == kept.sum():
        announce("every point has a class of its own, so the figures say nothing: are these the classes?")
    own, found = (np.unique(values[kept], return_inverse=True)[1] for values in (classes, labels))
    side = int(max(own.max(), found.max())) + 1
    table = np.zeros((side, side), np.int64)
    np.add.at(table, (found, own), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return {
        "acc": float(table[rows, columns].sum() / kept.sum()),
        "nmi": float(normalized_mutual_info_score(own, found)),
        "ari": float(adjusted_rand_score(own, found)),
        "points": float(kept.sum()),
        "noise": float(len(kept) - kept.sum()),
    }


def read_labels(path: str | Path, names: tuple[str, ...] = ("labels", "y")) -> Array:
    """Labels (n,), numbers or words, from a `.json`, `.npz` or `.npy` file, or one a line of any other; the first of
    the `names` that a file with several arrays has. UsageError if they cannot be had.
    """
    file = Path(path)
    data, ending = decompress(str(path), read_file(file)), Path(str(path).removesuffix(".gz")).suffix.lower()
    with reading(path):
        if ending == ".json":
            found = _named(path, parse_json(data), names)
        elif ending == ".npz":
            found = _named(path, parse_npz(data), names)
        elif ending == ".npy":
            found = parse_npy(data)
        else:
            lines = [line.split("%")[0].split("#")[0].strip() for line in as_text(path, data).splitlines()]
            found = [line for line in lines if line]
        labels = np.asarray(found)
    if labels.ndim != 1 or labels.dtype.kind not in "iufU" or not len(labels):
        raise UsageError(
            f"{path}: expected one label a point, got an array of {labels.dtype} and shape {labels.shape}."
        )
    if ending not in (".json", ".npz", ".npy") and any(len(WORDS.split(line)) > 1 for line in labels.tolist()):
        raise UsageError(f"{path}: expected one label a line, in the order of the points, not two words or more.")
    return labels


def noise_of(word: str | None, classes: Array, path: str) -> Any:
    """The class that a word names among classes (n,), in their type; UsageError if no point has it."""
    if word is None:
        return None
    if classes.dtype.kind == "U":
        found: Any = word
    else:
        try:
            found = float(word)
        except ValueError:
            raise UsageError(f"the classes in {path} are numbers; --noise {word!r} is none.") from None
    if not (classes == found).any():
        known = ", ".join(map(str, np.unique(classes)[:12].tolist()))
        raise UsageError(f"no point in {path} has the class --noise {word}; its classes are {known}.")
    return found


def _named(path: str | Path, content: Any, names: tuple[str, ...]) -> Any:
    if isinstance(content, Mapping):
        if isinstance(content.get("solution"), Mapping):  # of `sysgym solve --json`
            content = content["solution"]
        there = [name for name in names if name in content]
        if any(not np.array_equal(content[name], content[there[0]]) for name in there[1:]):
            announce(f"{path} has {' and '.join(there)}, which differ; {there[0]} is compared.")
        if there:
            return content[there[0]]
        raise UsageError(f"{path} has none of {', '.join(names)}, but {', '.join(map(str, content)) or 'nothing'}.")
    return content
