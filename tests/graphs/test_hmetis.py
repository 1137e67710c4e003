"""hMETIS files: what is read, what is written, and the sentence for each fault."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from sysgym.core.errors import Notice, UsageError
from sysgym.graphs.hmetis import format_hmetis, parse_hmetis
from sysgym.graphs.hypergraph import from_nets
from sysgym.graphs.netlists import generate_hypergraph
from sysgym.partitioning.instance import load_graph

NETS = [[0, 2], [0, 1, 3, 4], [3, 4, 6], [2, 5, 6]]  # of all fixtures with several nets


def nets_of(graph):
    return [graph.pins[a:b].tolist() for a, b in zip(graph.net_ptr, graph.net_ptr[1:], strict=False)]


@pytest.mark.parametrize(
    ("file", "net_weights", "node_weights"),
    [
        ("unweighted_hypergraph", [1] * 4, [1] * 7),
        ("hypergraph_with_edge_weights", [4, 2, 3, 8], [1] * 7),
        ("hypergraph_with_node_weights", [1] * 4, [5, 8, 2, 3, 4, 9, 8]),
        ("hypergraph_with_node_and_edge_weights", [4, 2, 3, 8], [5, 8, 2, 3, 4, 9, 8]),
    ],
)
def test_good_files(partition_data: Path, tmp_path: Path, file, net_weights, node_weights) -> None:
    graph = load_graph(str(partition_data / "format_fixtures" / f"{file}.hgr"))
    assert nets_of(graph) == NETS
    assert graph.net_weights.tolist() == net_weights and graph.vwgt.tolist() == node_weights
    again = tmp_path / "again.hgr.gz"
    again.write_bytes(gzip.compress(format_hmetis(graph).encode()))
    read = load_graph(str(again))
    assert nets_of(read) == NETS
    assert read.net_weights.tolist() == net_weights and read.vwgt.tolist() == node_weights


def test_a_pin_that_is_named_again_counts_once(partition_data: Path) -> None:
    with pytest.warns(Notice, match="9 pins are named again in their net; each counts once"):
        graph = load_graph(str(partition_data / "format_fixtures" / "unweighted_hypergraph_duplicated_pins.hgr"))
    assert nets_of(graph) == NETS


def test_nets_of_one_pin_are_kept_and_weigh_nothing_in_the_degree(partition_data: Path) -> None:
    graph = load_graph(str(partition_data / "format_fixtures" / "hypergraph_with_edge_weights_single_pin.hgr"))
    assert nets_of(graph)[0] == [0] and graph.degree.tolist() == [2, 2, 8, 5, 5, 8, 11]


FAULTS = [
    ("", "line 1: the file holds no header"),
    ("4\n", "line 1: the header must be 'nets nodes [fmt]', got '4'"),
    ("1 x\n1\n", "line 1: the header must be 'nets nodes [fmt]', got '1 x'"),
    ("1 2 2\n1 2\n", "line 1: fmt must be 1 (net weights), 10 (node weights) or 11 (both), got '2'"),
    ("0 0\n", "line 1: the header announces no nodes; a hypergraph needs at least one"),
    ("2 3\n1 2\n", "line 2: the file ends after 1 of the 2 nets that the header announces"),
    ("1 3\n1 2\n2 3\n", "line 3: more lines than the 1 nets that the header announces"),
    ("1 3\n1 4\n", "line 2: pin 4 is outside 1..3"),
    ("1 3\n0 2\n", "line 2: pin 0 is outside 1..3"),
    ("1 3\n1 b\n", "line 2: expected integers, got 'b'"),
    ("1 3 1\n% of net 1\n\n7\n", "line 4: the net has a weight, but no pin"),
    ("1 3 1\n0 1 2\n", "line 2: the net has a weight below 1"),
    ("1 2 10\n1 2\n3\n", "line 3: the file ends after 1 of the 2 node weights that the header announces"),
    ("1 2 10\n1 2\n3\n4\n5\n", "line 5: more lines than the 1 nets and 2 node weights that the header announces"),
    ("1 2 10\n1 2\n3\n-4\n", "line 4: a node weight is negative"),
    ("1 2 10\n1 2\n3 1\n4\n", "line 3: expected one node weight"),
]


@pytest.mark.parametrize(("text", "sentence"), FAULTS)
def test_faults_are_named(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_hmetis("x.hgr", text.encode())
    assert str(caught.value) == f"x.hgr, {sentence}."


@pytest.mark.parametrize("file", ["hypergraph_id_overflow", "hypergraph_with_too_few_node_weights"])
def test_malformed_fixtures(partition_data: Path, file: str) -> None:
    with pytest.raises(UsageError, match=r"line \d+: "):
        load_graph(str(partition_data / "format_fixtures" / f"{file}.hgr"))


def test_zero_node_weights_of_ispd98(partition_data: Path) -> None:
    graph = load_graph(str(partition_data / "hypergraphs" / "ibm01.weight.hgr.gz"))
    assert graph.nodes == 12752 and graph.edges == 14111 and graph.vwgt.min() == 0


def test_what_is_derived_of_the_pins() -> None:
    graph = from_nets("x", 4, [0, 3, 5, 6], [2, 0, 1, 3, 0, 2], [5, 7, 11])
    assert nets_of(graph) == [[0, 1, 2], [0, 3], [2]]
    rows = [graph.nets[a:b].tolist() for a, b in zip(graph.node_ptr, graph.node_ptr[1:], strict=False)]
    assert rows == [[0, 1], [0], [0, 2], [1]] and graph.degree.tolist() == [12, 5, 5, 7]
    both = graph.bipartite
    dense = np.zeros((7, 7), int)
    dense[both.sources, both.adjncy] = both.adjwgt
    assert (dense == dense.T).all() and dense[4].tolist() == [5, 5, 5, 0, 0, 0, 0]
    assert both.vwgt.tolist() == [1, 1, 1, 1, 0, 0, 0]


def test_generated_netlists_are_local_and_repeatable() -> None:
    graph = generate_hypergraph("netlist:n=300,seed=5")
    again = generate_hypergraph("netlist:n=300,seed=5")
    assert np.array_equal(graph.pins, again.pins) and graph.edges == 330 and graph.sizes.min() >= 2
    assert 3.0 < graph.sizes.mean() < 4.2
    with pytest.raises(UsageError, match="rent must be from 0 to 1"):
        generate_hypergraph("netlist:rent=2")
