"""What counts as an instance of partitioning, and partitions by the ids of a graph's file."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from sysgym import InvalidSolution, UsageError, content_hash, make_problem
from sysgym.core.errors import Notice
from sysgym.core.instances import expand
from sysgym.graphs import from_edges, from_networkx
from sysgym.graphs.io import parse_graph

PATH = from_edges("path", 3, [0, 1], [1, 2], [3, 5])


def same_path() -> list[object]:
    named = nx.Graph()
    named.add_edge("a", "b", weight=3)
    named.add_edge("b", "c", weight=5.0)
    dense = np.array([[0, 3, 0], [3, 0, -5.0], [0, -5.0, 0]])
    return [named, dense, sp.csr_matrix(dense), sp.coo_array(dense)]


@pytest.mark.filterwarnings("ignore:.*some entries are negative")
def test_objects_of_other_libraries_are_instances() -> None:
    problem = make_problem("Partitioning")
    for given in same_path():
        assert content_hash(problem.load(given)) == content_hash(PATH)  # type: ignore[arg-type]
        env = gym.make("sysgym/Partitioning-v0", instance=given, obs="raw")
        env.reset(seed=0, options={"instance": same_path()[0]})
        assert content_hash(env.unwrapped.instance) == content_hash(PATH)  # type: ignore[attr-defined]


def test_graphs_of_igraph_are_instances() -> None:
    igraph = pytest.importorskip("igraph")
    given = igraph.Graph(n=3, edges=[(0, 1), (2, 1)])
    given.es["weight"] = [3, 5]
    assert content_hash(make_problem("Partitioning").load(given)) == content_hash(PATH)


def test_objects_that_are_no_graph() -> None:
    problem = make_problem("Partitioning")
    for given, sentence in (
        (np.zeros((2, 3)), "needs a square matrix of numbers"),
        (np.array([[0, 0.5], [0.5, 0]]), "weights must be integers"),
        (np.array([[0, np.nan], [np.nan, 0]]), "a weight is not finite"),
        (np.array([[0, 1], [0, 0]]), "not symmetric"),
        (nx.DiGraph([(0, 1)]), "expected an undirected networkx.Graph"),
        (object(), "an instance is a name, a file or an instance object, got <object"),
    ):
        with pytest.raises(UsageError, match=sentence):
            problem.load(given)
    with pytest.warns(Notice, match="1 entries from a node to itself"):
        assert from_networkx(nx.Graph([(0, 1), (1, 1)])).edges == 1


def test_folders_and_globs_stand_for_their_files(tmp_path: Path) -> None:
    problem = make_problem("Partitioning")
    for name in ("b.graph", "a.graph"):
        (tmp_path / name).write_text("2 1\n2\n1\n")
    (tmp_path / "notes.md").write_text("about them")
    (tmp_path / "edges.txt").write_text("0 1\n")
    wanted = [str(tmp_path / name) for name in ("a.graph", "b.graph", "edges.txt")]

    def found(word: str) -> list[str]:
        return expand(problem.instance_sets(), word, problem.reads)

    assert found(str(tmp_path)) == found(f"{tmp_path}/*") == wanted
    assert found(f"{tmp_path}/?.graph;tiny/grid-test") == [*wanted[:2], "tiny/grid-test"]
    env = gym.make("sysgym/Partitioning-v0", instances=str(tmp_path))
    assert [item.nodes for item in env.unwrapped.instances.items] == [2, 2, 2]  # type: ignore[attr-defined]
    for word, sentence in ((f"{tmp_path}/*.md", "none of its 1 files is one that"), (f"{tmp_path}/*.x", "is no file")):
        with pytest.raises(UsageError, match=sentence):
            found(word)


def test_partitions_by_the_ids_of_the_file() -> None:
    problem = make_problem("Partitioning")
    with pytest.warns(Notice, match="3 ids from 101 to 104"):
        graph = parse_graph("gaps", "gaps.txt", b"101 102\n102 104\n104 101\n")
    part = np.array([1, 0, 1])
    data = problem.format_solution(graph, {"part": part}, "p")
    assert data == b"101 1\n102 0\n104 1\n"
    for text in (data, b"104 1  # last\n102 0\n\n101 1\n", b"1\n0\n1\n"):
        assert problem.parse_solution(graph, text, "p")["part"].tolist() == [1, 0, 1]
    for text, sentence in (
        (b"101 1\n102 0\n", "node 104 has no part"),
        (b"101 1\n102 0\n104 1\n103 0\n", "node 103 is none of gaps"),
        (b"101 1\n102 0\n104 1\n101 0\n", "node 101 is named twice"),
        (b"101 1\n0\n", "line 2: expected 'id part' by the ids of the graph's file, got '0'"),
        (b"101 x\n", "line 1: expected"),
    ):
        with pytest.raises(InvalidSolution, match=sentence):
            problem.parse_solution(graph, text, "p")
    assert make_problem("Partitioning", nodes=5).format_solution(PATH, {"part": part}, "p") == b"1\n0\n1\n"
