"""Points and affinities of a user's own: files, arrays and graphs of other libraries.

| given | what it is |
|---|---|
| `.npz` with `x` | points (n, d), or images (n, height, width); nothing else in it is read, labels least of all |
| `.npz` of `scipy.sparse.save_npz` | word counts or other features; a symmetric square matrix: affinities |
| `.npy`, `.csv` | points, a row each; a first line of a `.csv` that is no numbers is a heading |
| graph files (see `sysgym.graphs.io`) | affinities in whole numbers |
| numpy array, sparse matrix, networkx or igraph graph | points; as the `.npz`; affinities, which need not be whole |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sysgym.clustering.instance import Affinity
from sysgym.core.data import as_text, decompress, read_file
from sysgym.core.errors import UsageError, announce, reading
from sysgym.core.problem import Array
from sysgym.core.solutions import parse_npy, parse_npz
from sysgym.graphs.csr import Graph, from_edges
from sysgym.graphs.io import READERS, read_graph

POINTS = (".npz", ".npy", ".csv")
EXACT = 2.0**52  # sums of weights stay below it
SPARSE = {"csr": ("data", "indices", "indptr", "shape"), "csc": ("data", "indices", "indptr", "shape"),
          "coo": ("data", "row", "col", "shape")}  # fmt: skip


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
        return [float(word) for word in line.split(",")]
    except ValueError:
        return None


def read_given(path: str) -> Any:
    """Raw features, (n, d) or (n, height, width), dense or sparse, or an `Affinity`, from a file; UsageError if it
    holds neither.
    """
    if ending(path) in READERS:
        return of_graph(read_graph(path))
    data = decompress(path, read_file(Path(path)))
    with reading(path):
        if ending(path) == ".npy":
            return parse_npy(data)
        if ending(path) == ".csv":
            return _read_csv(path, as_text(path, data))
        return _read_npz(path, data)


def _read_csv(path: str, text: str) -> Array:
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if lines and _numbers(lines[0][1]) is None:
        lines = lines[1:]  # a heading
    rows: list[list[float]] = []
    for number, line in lines:
        row = _numbers(line)
        if row is None or len(row) != len(rows[0] if rows else row):
            wanted = f"{len(rows[0])} numbers like the first line" if rows else "numbers with commas between them"
            raise UsageError(f"{path}, line {number}: expected {wanted}, got {line.strip()[:60]!r}.")
        rows.append(row)
    if not rows:
        raise UsageError(f"{path} holds no points; give a line of numbers for each.")
    return np.array(rows)


def _read_npz(path: str, data: bytes) -> Any:
    arrays = _members(data)
    if "x" in arrays:
        return arrays["x"]
    for columns in SPARSE.values():
        if set(columns) <= set(arrays):
            return _sparse(path, arrays, columns)
    raise UsageError(
        f"{path} has the arrays {', '.join(sorted(arrays)[:12]) or 'none'}; expected 'x', points (n, d) or images (n, "
        "height, width), or a sparse matrix of scipy.sparse.save_npz."
    )


def _members(data: bytes) -> dict[str, Any]:
    """The arrays of an archive that may matter: `x` alone where there is one, so that labels are not even read."""
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if "x" in names or "format" not in names:
            wanted = ["x"] if "x" in names else []
        else:
            wanted = ["data", "indices", "indptr", "row", "col", "shape"]
        if not wanted:
            return dict.fromkeys(names)  # to say what came
        kept = io.BytesIO()
        with zipfile.ZipFile(kept, "w") as small:
            for name in set(wanted) & set(names):
                with archive.open(f"{name}.npy") as stream:
                    small.writestr(f"{name}.npy", stream.read(2**30))
    return parse_npz(kept.getvalue(), 2**30)


def _sparse(path: str, arrays: dict[str, Array], columns: tuple[str, ...]) -> Any:
    from scipy import sparse

    shape = tuple(int(side) for side in arrays["shape"])
    if columns[1] == "row":
        return _features_or_affinities(path, sparse.coo_array((arrays["data"], (arrays["row"], arrays["col"])), shape))
    parts = (arrays["data"], arrays["indices"], arrays["indptr"])
    rowwise = len(arrays["indptr"]) == shape[0] + 1
    make = sparse.csr_array if rowwise else sparse.csc_array
    matrix = make(parts, shape)
    matrix.check_format(full_check=True)
    return _features_or_affinities(path, matrix)


def _features_or_affinities(name: str, matrix: Any) -> Any:
    """A symmetric square matrix is one of affinities, which is announced; another holds features."""
    if matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] and abs(matrix - matrix.T).nnz == 0:
        announce(f"{name}: the matrix is square and symmetric, so it is taken for affinities between points.")
        return of_matrix(name, matrix)
    return matrix


def of_object(given: Any) -> Any:
    """Raw features or an `Affinity` from an object of another library; None where it is none of these."""
    library = type(given).__module__.partition(".")[0]
    if isinstance(given, np.ndarray):
        return given
    if library == "scipy" and hasattr(given, "tocoo"):
        return _features_or_affinities("matrix", given)
    if library == "networkx" and hasattr(given, "is_multigraph"):
        import networkx as nx

        if given.is_directed() or given.is_multigraph():
            raise UsageError("expected an undirected networkx.Graph without parallel edges; convert with nx.Graph(g).")
        return of_matrix(str(given.name or "networkx graph"), nx.to_scipy_sparse_array(given, dtype=np.float64))
    if library == "igraph" and hasattr(given, "vcount"):
        if given.is_directed():
            raise UsageError("expected an undirected igraph.Graph; convert it with g.as_undirected().")
        weight = "weight" if "weight" in given.es.attributes() else None
        return of_matrix("igraph graph", given.get_adjacency_sparse(weight))
    return None


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

    found = coo_array(matrix, dtype=np.float64)
    found.sum_duplicates()
    if found.shape[0] != found.shape[1] or found.shape[0] < 2:
        raise UsageError(f"{name}: affinities need a square matrix of two points or more, this one is {found.shape}.")
    values = found.data
    if not np.isfinite(values).all() or (values < 0).any():
        raise UsageError(f"{name}: affinities must be finite and not negative; the normalised cut has no other.")
    if abs(found - found.T).nnz:
        raise UsageError(f"{name}: the matrix is not symmetric; give (W + W.T) / 2.")
    unit = 1.0
    if (values != np.rint(values)).any():
        unit = 2.0 ** (np.ceil(np.log2(values.sum())) - np.log2(EXACT) + 1)
    whole = np.rint(values / unit).astype(np.int64)
    once = (found.row < found.col) & (values > 0)
    diagonal = found.row == found.col
    graph = from_edges(name, found.shape[0], found.row[once], found.col[once], np.maximum(whole[once], 1))
    loops = np.zeros(graph.nodes, np.int64)
    loops[found.row[diagonal]] = whole[diagonal]
    return Affinity(name, graph.xadj, graph.adjncy, graph.adjwgt, graph.degree + loops, unit=float(unit))
