"""Points and affinities of a user's own: files, arrays and graphs of other libraries.

| given | what it is |
|---|---|
| `.npz` with `x` | points (n, d), or images (n, height, width); nothing else in it is read, labels least of all |
| `.npz` of `scipy.sparse.save_npz` | word counts or other features; a symmetric square matrix: affinities |
| `.npy`, `.csv` | points, a row each; a first line of a `.csv` without any number is a heading |
| graph files (see `sysgym.graphs.io`) | affinities in whole numbers |
| numpy array, sparse matrix, networkx or igraph graph | points; as the `.npz`; affinities, which need not be whole |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.clustering.archives import read_archive
from sysgym.clustering.instance import Affinity
from sysgym.core.data import as_text, decompress, read_file
from sysgym.core.errors import UsageError, announce, reading
from sysgym.core.problem import Array
from sysgym.core.solutions import parse_npy
from sysgym.graphs.csr import Graph, from_edges
from sysgym.graphs.io import READERS, read_graph

POINTS = (".npz", ".npy", ".csv")
EXACT = 2.0**52  # sums of weights stay below it
SMALLEST = 1e-250  # sum of affinities whose unit is a float64
ROUNDED = 1e-6  # share of a point's affinities that may be lost by counting them in one unit
CLASSES = ("class", "classes", "label", "labels", "species", "target", "cluster")  # headings of no coordinate


def ending(name: str) -> str:
    """The ending by which a file's format is told."""
    return Path(name.removesuffix(".gz")).suffix.lower()


def is_points(name: str, head: bytes = b"") -> bool:
    """Whether a file holds points by its ending; a `.csv` by having two lines of as many numbers."""
    if ending(name) != ".csv":
        return ending(name) in (".npz", ".npy")
    lines = [line for line in head.decode("utf-8", "replace").removeprefix("\ufeff").splitlines() if line.strip()]
    rows = [_numbers(line) for line in lines[1:3] or lines]
    return bool(rows) and all(row is not None and len(row) > 0 for row in rows)


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(word) for word in line.split(",")] if "_" not in line else None
    except ValueError:
        return None


def _is_heading(line: str) -> bool:
    """Whether no cell of a line is a number, so that it names columns."""
    return all(cell.strip() and _numbers(cell) is None for cell in line.split(","))


def read_given(path: str) -> Any:
    """Raw features, (n, d) or (n, height, width), dense or sparse, or an `Affinity`, from a file; UsageError if it
    holds neither.
    """
    if ending(path) in READERS:
        return of_graph(read_graph(path))
    if ending(path) not in POINTS:
        raise UsageError(
            f"{path} ends in neither {', '.join(POINTS)}, as files of points do, nor {', '.join(READERS)}, as those of "
            "affinities."
        )
    data = decompress(path, read_file(Path(path)))
    with reading(path):
        if ending(path) == ".npy":
            return _points_at_hand(path, parse_npy(data))
        if ending(path) == ".csv":
            return _points_at_hand(path, _read_csv(path, as_text(path, data)))
        found = read_archive(path, data)
        return _points_at_hand(path, found) if isinstance(found, np.ndarray) else features_or_affinities(path, found)


def _read_csv(path: str, text: str) -> Array:
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if lines and _is_heading(lines[0][1]):
        named = [cell.strip(" \"'") for cell in lines.pop(0)[1].split(",")]
        for cell in named:
            if cell.lower() in CLASSES:
                announce(f"{path}: the column {cell!r} counts as a coordinate; take it out if it says the classes.")
    elif len(lines) > 1 and _numbers(lines[0][1]) == list(range(lines[0][1].count(",") + 1)) != [0.0]:
        announce(f"{path}: its first line is a point; take it out if these are the numbers of the columns.")
    rows: list[list[float]] = []
    for number, line in lines:
        row = _numbers(line)
        if row is None or len(row) != len(rows[0] if rows else row):
            wanted = f"{len(rows[0])} numbers like the first line" if rows else "numbers with commas between them"
            raise UsageError(f"{path}, line {number}: expected {wanted}, got {line.strip()[:60]!r}.")
        rows.append(row)
    if not rows:
        raise UsageError(f"{path} holds no points; give a line of numbers for each.")
    found = np.array(rows)
    for column in np.flatnonzero((np.diff(found, axis=0) == 1).all(axis=0)) if len(found) > 2 else ():
        announce(f"{path}: column {column + 1} counts the lines and is taken for a coordinate; is it one?")
    return found


def _points_at_hand(name: str, array: Array) -> Array:
    """Points as they are; that a square matrix could be one of affinities is announced."""
    side = array.shape[0] if array.ndim == 2 else 0
    if side > 2 and array.shape[1] == side and np.array_equal(array, array.T):
        announce(
            f"{name}: the array is square and symmetric, and taken for points, a row each; for affinities between "
            "points give a sparse matrix of scipy."
        )
    return array


def features_or_affinities(name: str, matrix: Any) -> Any:
    """A symmetric square matrix of scipy is one of affinities, another holds features: a guess, which is announced."""
    if matrix.dtype.kind not in "biuf":
        raise UsageError(f"{name}: expected a matrix of real numbers, got {matrix.dtype}.")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        return matrix
    numbers = matrix.tocsr().astype(np.float64)
    if abs(numbers - numbers.T).nnz == 0:
        announce(f"{name}: the matrix is square and symmetric, so it is taken for affinities between points.")
        return of_matrix(name, matrix)
    announce(
        f"{name}: the matrix is square but not symmetric, so it is taken for features of points; for affinities give "
        "(W + W.T) / 2."
    )
    return matrix


def of_object(given: Any) -> Any:
    """Raw features or an `Affinity` from an object of another library; None where it is none of these."""
    library = type(given).__module__.partition(".")[0]
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise UsageError("the array of points is masked; leave those points out or fill them in.")
    if isinstance(given, np.ndarray):
        return _points_at_hand("array", given)
    if library == "scipy" and hasattr(given, "tocoo"):
        return features_or_affinities("matrix", given)
    if library == "networkx" and hasattr(given, "is_multigraph"):
        return _of_networkx(given)
    if library == "igraph" and hasattr(given, "vcount"):
        return _of_igraph(given)
    return None


def _of_networkx(given: Any) -> Affinity:
    import networkx as nx

    if given.is_directed() or given.is_multigraph():
        raise UsageError("expected an undirected networkx.Graph without parallel edges; convert with nx.Graph(g).")
    with reading("the networkx graph"):
        if len(given) < 2:
            raise UsageError(f"a graph of affinities needs two nodes or more, this one has {len(given)}.")
        _check_weights([data for _, _, data in given.edges(data=True)])
        matrix = nx.to_scipy_sparse_array(given, dtype=np.float64)
    return of_matrix(str(given.name or "networkx graph"), matrix)


def _check_weights(edges: Sequence[Mapping[str, Any]]) -> None:
    """UsageError where some edges of a graph have the attribute `weight` and others have none; a Notice where none has
    it, and so each counts 1, but all have others.
    """
    without = sum(edge.get("weight") is None for edge in edges)
    if 0 < without < len(edges):
        raise UsageError(f"{without} of the {len(edges)} edges have no 'weight'; give one to all, or to none.")
    named = [name for name in edges[0] if name != "weight" and all(name in edge for edge in edges)] if without else []
    if named:
        announce(f"the edges have no 'weight', so each counts 1; their {', '.join(map(repr, named))} is not looked at.")


def _of_igraph(given: Any) -> Affinity:
    from scipy.sparse import coo_array

    if given.is_directed():
        raise UsageError("expected an undirected igraph.Graph; convert it with g.as_undirected().")
    if given.vcount() < 2:
        raise UsageError(f"a graph of affinities needs two nodes or more, this one has {given.vcount()}.")
    if given.has_multiple():
        raise UsageError("expected an igraph.Graph without parallel edges; convert it with g.simplify(loops=False).")
    with reading("the igraph graph"):
        _check_weights([edge.attributes() for edge in given.es])
        ends: Array = np.array(given.get_edgelist(), np.int64).reshape(-1, 2)
        known = "weight" in given.es.attributes()
        weights = np.array(given.es["weight"], np.float64) if known else np.ones(len(ends))
    matrix = coo_array((weights, (ends[:, 0], ends[:, 1])), (given.vcount(), given.vcount()))
    back = np.where(ends[:, 0] == ends[:, 1], 0.0, weights)  # a loop counts once
    return of_matrix("igraph graph", matrix + coo_array((back, (ends[:, 1], ends[:, 0])), matrix.shape))


def of_graph(graph: Graph) -> Affinity:
    """Affinities of a graph whose weights are whole numbers; points weigh their degree."""
    if (graph.vwgt != 1).any():
        announce(f"{graph.name}: weights of nodes do not count in the normalised cut; they are left out.")
    return Affinity(graph.name, graph.xadj, graph.adjncy, graph.adjwgt, graph.degree, graph.ids)


def of_matrix(name: str, matrix: Any) -> Affinity:
    """Affinities of a symmetric (n, n) sparse matrix, those of points to themselves on its diagonal.

    Weights that are not whole are counted in a power of two so small that their sum is near 2^52: no sum in float64
    would be more exact. UsageError for a negative weight or one that is not finite.
    """
    from scipy.sparse import coo_array

    found = coo_array(matrix)
    if len(found.shape) != 2 or found.shape[0] != found.shape[1] or found.shape[0] < 2:
        raise UsageError(f"{name}: affinities need a square matrix of two points or more, this one is {found.shape}.")
    if found.dtype.kind not in "biuf":
        raise UsageError(f"{name}: affinities must be real numbers, these are {found.dtype}.")
    found = found.astype(np.float64)
    found.sum_duplicates()
    values, diagonal = found.data, found.row == found.col
    if not np.isfinite(values).all() or (values < 0).any():
        raise UsageError(f"{name}: affinities must be finite and not negative; the normalised cut has no other.")
    if abs(found - found.T).nnz:
        raise UsageError(f"{name}: the matrix is not symmetric; give (W + W.T) / 2.")
    unit = _unit(name, values)
    whole = np.rint(values / unit).astype(np.int64)
    whole = np.where(diagonal | (values == 0), whole, np.maximum(whole, 1))
    _check_rounding(name, found, whole * unit)
    once = (found.row < found.col) & (values > 0)
    graph = from_edges(name, found.shape[0], found.row[once], found.col[once], whole[once])
    loops = np.zeros(graph.nodes, np.int64)
    loops[found.row[diagonal]] = whole[diagonal]
    return Affinity(name, graph.xadj, graph.adjncy, graph.adjwgt, graph.degree + loops, unit=unit)


def _unit(name: str, values: Array) -> float:
    """What affinities are counted in: 1 where they are whole and few enough, else a power of two."""
    with np.errstate(over="ignore"):
        total = float(values.sum())
    if not np.isfinite(total) or 0 < total < SMALLEST:
        raise UsageError(f"{name}: affinities sum to {total:.3g}, expected {SMALLEST:g} to 1e308; scale them.")
    if total < EXACT and (values == np.rint(values)).all():
        return 1.0
    return float(2.0 ** (np.ceil(np.log2(total)) - np.log2(EXACT) + 1))


def _check_rounding(name: str, matrix: Any, rounded: Array) -> None:
    """UsageError where a point's affinities are so small beside the others that counting them changes the cut."""
    n = matrix.shape[0]
    sums = np.bincount(matrix.row, matrix.data, n)
    lost = np.flatnonzero(np.bincount(matrix.row, np.abs(rounded - matrix.data), n) > ROUNDED * sums)
    if len(lost):
        raise UsageError(
            f"{name}: the affinities of point {lost[0]} sum to {sums[lost[0]]:.3g}, too little beside the total of "
            f"{matrix.data.sum():.3g} to be counted exactly; leave the point out, or the affinities that are nearly 0."
        )
