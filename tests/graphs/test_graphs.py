"""Readers, writers, generators and spectra of graphs."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from sysgym import UsageError, content_hash
from sysgym.core.errors import Notice
from sysgym.graphs import from_edges, from_networkx, to_networkx
from sysgym.graphs.generate import FAMILIES, generate_graph
from sysgym.graphs.io import format_metis, parse_graph, read_graph
from sysgym.graphs.spectral import laplacian_eigenvectors

# what METIS' manual, page 11, draws, with the vertex and edge weights of its files
MANUAL_EDGES = {(0, 4), (0, 2), (0, 1), (1, 2), (1, 3), (2, 4), (2, 3), (3, 5), (3, 6), (4, 5), (5, 6)}
FIXTURES = {
    "unweighted_graph.graph": (8, 11, False, False),
    "graph_with_edge_weights.graph": (8, 11, False, True),
    "graph_with_node_weights.graph": (8, 11, True, False),
    "graph_with_node_and_edge_weights.graph": (8, 11, True, True),
    "graph_no_newline.graph": (7, 11, False, False),
    "graph_no_newline_windows.graph": (7, 11, False, False),
    "graph_empty_lines.graph": (15, 3, False, False),
    "karate_trailing_blank_lines.graph": (34, 78, False, False),
}
BROKEN = {
    "graph_id_overflow.graph": r"line 4: neighbour 4294967296 is outside 1\.\.5",
    "graph_one_line_too_few.graph": r"line 7: the file ends after 5 of the 6 node lines",
    "graph_too_few_edges.graph": r"line 2: the header announces 6 edges, the lines hold 10 entries, expected 12",
    "graph_too_many_edges.graph": r"line 2: the header announces 4 edges, the lines hold 10 entries, expected 8",
    "graph_too_few_lines.graph": r"the file ends after 3 of the 17 node lines",
    "graph_too_few_lines_windows.graph": r"the file ends after 3 of the 17 node lines",
}


@pytest.mark.parametrize("name", FIXTURES)
def test_format_fixtures(name: str, partition_data: Path) -> None:
    graph = read_graph(partition_data / "format_fixtures" / name)
    nodes, edges, node_weights, edge_weights = FIXTURES[name]
    assert (graph.nodes, graph.edges) == (nodes, edges)
    assert bool((graph.vwgt != 1).any()) == node_weights and bool((graph.adjwgt != 1).any()) == edge_weights
    if edges == 11:
        once = graph.sources < graph.adjncy
        assert set(zip(graph.sources[once].tolist(), graph.adjncy[once].tolist(), strict=True)) == MANUAL_EDGES
    if node_weights:
        assert graph.vwgt.tolist() == [4, 2, 5, 3, 1, 6, 2, 1]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_fixtures_name_the_line(name: str, partition_data: Path) -> None:
    with pytest.raises(UsageError, match=BROKEN[name]):
        read_graph(partition_data / "format_fixtures" / name)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1: the file holds no header"),
        ("3\n", "line 1: the header must be"),
        ("2 1 012\n2\n1\n", "line 1: fmt must be"),
        ("2 1 011 2\n1 1 2 1\n1 1 1 1\n", "line 1: 2 weights a node"),
        ("2 1\n2 x\n1\n", "line 2: expected integers, got 'x'"),
        ("2 1\n2.5\n1\n", "line 2: expected integers, got '2.5'"),
        ("3 1\n2\n\n1\n", "line 2: neighbour 2 does not list node 1"),
        ("2 1 1\n2 3\n1 4\n", "line 3: this edge stands above with another weight"),
        ("2 9\n2\n1\n", "line 1: the header announces 9 edges, the lines hold 2 entries"),
        ("2 1 1\n2 0\n1 0\n", "line 2: the edge to 2 has a weight below 1"),
        ("2 1 1\n2 3\n1\n", "line 3: 1 numbers do not fit"),
        ("2 1 10\n1 2\n-1 1\n", "line 3: a node weight is negative"),
        ("2 1\n2\n1\n3\n", "line 4: more lines than the 2 nodes"),
        ("2 1\n2\n\u0661\n", r"line 3: a byte that is no ASCII text; is this a graph file\?$"),
        ("0 0\n", "line 1: the header announces no nodes"),
    ],
)
def test_malformed_metis_files(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_graph("given", "x.graph", text.encode())


def test_nodes_without_edges_are_a_graph() -> None:
    graph = parse_graph("given", "x.graph", b"5 0\n\n\n\n\n\n")
    assert (graph.nodes, graph.edges) == (5, 0)
    assert parse_graph("given", "x.graph", format_metis(graph).encode()).nodes == 5


def test_vertex_sizes_are_skipped() -> None:
    graph = parse_graph("given", "x.graph", b"2 1 111\n9 3 2 7\n8 4 1 7\n")
    assert graph.vwgt.tolist() == [3, 4] and graph.adjwgt.tolist() == [7, 7]


def test_edge_lists() -> None:
    graph = parse_graph("given", "x.txt", b"# c\n0 1 5\n\n1 0 5\n% c\n2 1 2\n")
    assert (graph.nodes, graph.edges) == (3, 2) and graph.degree.tolist() == [5, 7, 2] and graph.ids is None
    for text, sentence in (
        (b"0 1\n1\n", "line 2: expected 'u v'"),
        (b"0 1 5\n1 0 4\n", "line 2: this edge stands above with another weight"),
        (b"-1 0\n", "line 1: a node id is negative"),
        (b"# nothing\n", "holds no edges"),
        (b"0 1 0.5\n", "line 1: expected integers, got '0.5'"),
        (b"0 1 {'weight': 0.5}\n", "line 1: expected integers, got '0.5'"),
        (b"0 1\n\xc3\xa4 2\n", r"line 2: a byte that is no ASCII text; is this a graph file\?$"),
        ("0 1\n".encode("utf-16"), "its byte order mark says UTF-16"),
    ):
        with pytest.raises(UsageError, match=sentence):
            parse_graph("given", "x.el", text)


@pytest.mark.parametrize(
    ("text", "nodes", "ids", "degree", "told"),
    [
        (b"1 2\n2 3\n3 4\n4 1\n", None, [1, 2, 3, 4], [2, 2, 2, 2], "4 ids from 1 to 4 occur, which are nodes 0 to 3"),
        (b"# Nodes: 3 Edges: 2\n101 102\n102 104\n", None, [101, 102, 104], [1, 2, 1], "3 ids from 101 to 104"),
        (b"0 1\n0 2000000000\n", None, [0, 1, 2000000000], [2, 1, 1], "3 ids from 0 to 2000000000"),
        (b"0 1\n3 1\n", 4, None, [1, 2, 0, 1], ""),
        (b"1 2\n3 1\n", 3, [1, 2, 3], [2, 1, 1], "3 ids from 1 to 3"),
        (b"1 2\n4 1\n", 4, [1, 2, 3, 4], [2, 1, 0, 1], ""),  # ids from 1: the largest is the number of nodes
        (b"# Nodes: 5 Edges: 1\n0 1\n", None, None, [1, 1, 0, 0, 0], ""),
        (b"# Nodes: 5 Edges: 1\n1 2\n", None, None, [0, 1, 1, 0, 0], "as none is 5, ids are taken to count from 0"),
        (b"% sym unweighted\n% 1 4 4\n1 3\n", None, [1, 2, 3, 4], [1, 0, 1, 0], ""),
        (b"# Nodes: 4 Edges: 1\n10 30\n", None, [10, 30], [1, 1], "says 4 nodes, 2 occur"),
        (b"0 1\n1 1\n", None, None, [1, 1], "1 entries from a node to itself are left out"),
        (b"0 1\n0 1\n1 0\n", None, None, [1, 1], "1 edges are listed more than once"),
        (b"0 1 {}\n1 2 {}\n", None, None, [1, 2, 1], ""),
        (b"0 1 {'weight': 3, 'color': 'red'}\n1 2 {'weight': 2.0}\n", None, None, [3, 5, 2], ""),
        (b"0 1 3.0\n1 2 2.\n", None, None, [3, 5, 2], ""),
        ("\ufeff# M\u00fcnchen\n0 1\n".encode(), None, None, [1, 1], ""),
    ],
)
def test_ids_that_do_not_occur_are_no_nodes(
    text: bytes, nodes: int | None, ids: list[int] | None, degree: list[int], told: str
) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", Notice)
        graph = parse_graph("given", "x.txt", text, nodes)
    assert graph.degree.tolist() == degree
    assert (None if graph.ids is None else graph.ids.tolist()) == ids
    assert bool(said) == bool(told) and (not told or any(told in str(one.message) for one in said))


def test_a_number_of_nodes_that_cannot_be() -> None:
    for text, nodes, sentence in (
        (b"0 1\n1 2\n", 2, "nodes=2, but 3 different ids occur"),
        (b"5 9\n", 4, "nodes=4, but an id is 9"),
        (b"0 1\n", 2_000_000_000, "announces 2000000000 nodes, far too many for 1 entries"),
    ):
        with pytest.raises(UsageError, match=sentence):
            parse_graph("given", "x.el", text, nodes)
    with pytest.raises(UsageError, match="given has 2 nodes, not nodes=3; leave the option out"):
        parse_graph("given", "x.graph", b"2 1\n2\n1\n", 3)


def test_matrix_market() -> None:
    head = b"%%MatrixMarket matrix coordinate "
    with pytest.warns(Notice, match="1 entries from a node to itself are left out"):
        graph = parse_graph("given", "x.mtx", head + b"pattern symmetric\n3 3 3\n2 1\n3 2\n3 3\n")
    assert (graph.nodes, graph.edges, graph.adjwgt.tolist()) == (3, 2, [1, 1, 1, 1])
    for weights in (
        b"real symmetric\n3 3 2\n2 1 -4.0\n3 2 2.0\n",
        b"integer skew-symmetric\n3 3 2\n2 1 4\n3 2 -2\n",
        b"integer general\n3 3 4\n2 1 4\n3 2 -2\n1 2 4\n2 3 2\n",
    ):
        with pytest.warns(Notice, match="some entries are negative; an edge weighs what they are without the sign"):
            assert parse_graph("given", "x.mtx", head + weights).adjwgt.tolist() == [4, 4, 2, 2]
    with pytest.warns(Notice, match="1 edges are listed more than once"):
        twice = parse_graph("given", "x.mtx", head + b"pattern symmetric\n3 3 3\n2 1\n2 1\n3 2\n")
    assert twice.adjwgt.tolist() == [1, 1, 1, 1]
    for text, sentence in (
        (b"real symmetric\n2 2 1\n2 1 0.5\n", "weights must be integers"),
        (b"integer symmetric\n2 2 2\n2 1 3\n2 1 4\n", "row 2, column 1: this edge stands above with another weight"),
        (b"pattern general\n2 2 1\n2 1\n", "not symmetric"),
        (b"pattern general\n2 3 1\n2 1\n", "square"),
        (
            b"integer symmetric\n4 4 2\n2 1 3\n4 3 5\x90",
            r"line 4: expected whole numbers, as the header says, got '4 3 5.*x90'",
        ),
        (b"integer symmetric\n4 4 2\n2 1 3\n4 3 5.", "got '4 3 5[.]'"),
        (b"pattern symmetric\n2 2 2\n2 1\n", r"no usable MatrixMarket file: .*[^.]\.$"),
        (b"pattern symmetric\n2000000000 2000000000 1\n2 1\n", "far too many for 1 entries; renumber"),
        (b"pattern symmetric\n9 9 1000000000000\n2 1\n", "announces 1000000000000 entries"),
        (b"complex symmetric\n2 2 1\n2 1 1 0\n", "the matrix is complex"),
        (b"pattern symmetric\n0 0 0\n", "the matrix is empty"),
        (b"real symmetric\n2 2 1\n2 1 1e300\n", "scale the weights down"),
    ):
        with pytest.raises(UsageError, match=sentence):
            parse_graph("given", "x.mtx", head + text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"\xef\xbb\xbf% M\xfcnchen\n3 2\n2\n1 3\n2\n", ""),
        (b"3 2\n2\n1 3\n2 3\n", "1 entries from a node to itself"),
        (b"3 3\n2\n1 3\n2 3\n", "1 entries from a node to itself"),  # the header counts the loop
        (b"3 2\n2 2\n1 3\n2\n", "1 edges are listed more than once"),
    ],
)
def test_comments_loops_and_repeats_in_metis_files(text: bytes, told: str) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", Notice)
        graph = parse_graph("given", "x.graph", text)
    assert graph.degree.tolist() == [1, 2, 1] and graph.adjwgt.tolist() == [1] * 4
    assert bool(said) == bool(told) and (not told or told in str(said[0].message))


def test_metis_round_trip_and_gzip(tmp_path: Path) -> None:
    base = generate_graph("delaunay:n=50,seed=1")
    once = base.sources < base.adjncy
    rng = np.random.default_rng(0)
    graph = from_edges(
        "w", 52, base.sources[once], base.adjncy[once], rng.integers(1, 9, once.sum()), rng.integers(0, 9, 52)
    )
    for candidate in (base, graph):
        file = tmp_path / "g.graph.gz"
        file.write_bytes(gzip.compress(format_metis(candidate).encode()))
        assert content_hash(read_graph(file)) == content_hash(candidate)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UsageError, match="damaged gzip"):
        read_graph(file)


def test_edge_lists_of_networkx_may_lack_some_weights(tmp_path: Path) -> None:
    graph = nx.Graph([(0, 1, {"weight": 5}), (1, 2, {"colour": "red"}), (2, 3)])
    nx.write_edgelist(graph, tmp_path / "g.edgelist")
    assert content_hash(read_graph(tmp_path / "g.edgelist")) == content_hash(from_networkx(graph))


def test_networkx_there_and_back() -> None:
    graph = generate_graph("barabasi_albert:n=40,seed=2")
    assert content_hash(from_networkx(to_networkx(graph))) == content_hash(graph)
    named = nx.Graph()
    named.add_edge("a", "b", weight=3)
    assert from_networkx(named).adjwgt.tolist() == [3, 3]
    with pytest.raises(UsageError, match="undirected"):
        from_networkx(nx.DiGraph())
    for weight in (0.5, "heavy", None, float("nan"), float("inf"), 2**70):
        named.add_edge("b", "c", weight=weight)
        with pytest.raises(UsageError, match="no integer"):
            from_networkx(named)
    with pytest.raises(UsageError, match="at least one node, got 0"):
        from_networkx(nx.Graph())


def test_arrays_that_are_no_graph() -> None:
    for nodes in (0, -3):
        with pytest.raises(UsageError, match=f"at least one node, got {nodes}"):
            from_edges("none", nodes, [], [])
    with pytest.raises(UsageError, match="do not fit each other"):
        from_edges("short", 3, [0], [1], None, [1, 1])
    with pytest.raises(UsageError, match="more than 2"):
        from_edges("huge", 3, [0, 1], [1, 2], [2**62, 2**62])


@pytest.mark.parametrize("family", FAMILIES)
def test_generators(family: str) -> None:
    graph = generate_graph(f"{family}:n=300,seed=5")
    assert graph.nodes >= 300 and graph.edges > graph.nodes
    assert content_hash(generate_graph(f"{family}:n=300,seed=5")) == content_hash(graph)
    if family != "grid":
        assert content_hash(generate_graph(f"{family}:n=300,seed=6")) != content_hash(graph)


def test_generators_have_the_shape_they_promise() -> None:
    assert generate_graph("barabasi_albert:n=200,m=3,seed=1").edges == 3 * 197
    assert generate_graph("erdos_renyi:n=200,degree=6,seed=1").edges == 600
    planar = generate_graph("delaunay:n=500,seed=1")
    assert nx.check_planarity(to_networkx(planar))[0] and planar.edges <= 3 * 500 - 6
    block = generate_graph("stochastic_block:n=500,blocks=5,mixing=0.1,seed=1")
    same = (block.sources // 100) == (block.adjncy // 100)
    assert same.mean() == pytest.approx(0.9, abs=0.01)
    degree = generate_graph("geometric:n=5000,degree=8,seed=1").degree.mean()
    assert 7 < degree < 8.2  # the border of the square loses some


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ("delauny:n=5", "Did you mean 'delaunay'"),
        ("delaunay:m=5", "unknown option of delaunay 'm'"),
        ("delaunay:n=x", "n must be a number"),
        ("delaunay:n=2", "n must be 3 to"),
        ("barabasi_albert:n=5,m=9", "1 <= m < n"),
        ("grid:n=12,rows=-1", "rows must be from 0 to 12, got -1"),
        ("grid:n=12,rows=13", "rows must be from 0 to 12, got 13"),
        ("geometric:n=9,degree=nan", "degree must be from 0 to 8, got nan"),
        ("geometric:n=9,degree=-1", "degree must be from 0 to 8"),
        ("erdos_renyi:n=9,degree=inf", "degree must be from 0 to 8, got inf"),
        ("erdos_renyi:n=9,degree=8.5", "degree must be from 0 to 8"),
        ("stochastic_block:n=9,degree=-2", "degree must be from 0 to 8"),
        ("stochastic_block:mixing=1.5", "mixing must be from 0 to 1"),
        ("stochastic_block:mixing=nan", "mixing must be from 0 to 1"),
        ("stochastic_block:n=9,blocks=0", "1 <= blocks <= n"),
    ],
)
def test_bad_recipes(recipe: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        generate_graph(recipe)


def test_eigenvectors_against_dense_linear_algebra() -> None:
    graph = generate_graph("delaunay:n=180,seed=3")
    twin = nx.normalized_laplacian_matrix(to_networkx(graph)).toarray()
    _, vectors = np.linalg.eigh(twin)
    expected = vectors[:, 1:4] / np.sqrt(graph.degree)[:, None]
    found = laplacian_eigenvectors(graph, 3)
    for i in range(3):
        assert abs(np.corrcoef(expected[:, i], found[:, i])[0, 1]) > 0.999
    assert np.allclose(found.std(axis=0), 1) and np.allclose(found.mean(axis=0), 0, atol=1e-9)
    assert laplacian_eigenvectors(from_edges("one", 2, [0], [1]), 3).shape == (2, 3)


def test_hash_is_of_the_content() -> None:
    one, two = from_edges("a", 3, [0], [1]), from_edges("b", 3, [0], [1])
    assert content_hash(one) == content_hash(two)
    assert content_hash(one) != content_hash(from_edges("a", 3, [0], [2]))
    assert content_hash(one) != content_hash(from_edges("a", 3, [0], [1], [2]))
