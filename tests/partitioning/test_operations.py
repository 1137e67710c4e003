"""Computation graphs: which nodes, edges and attributes partitioning makes of them, and who reads the attributes."""

from __future__ import annotations

import shutil
import zlib
from importlib.resources import files
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from sysgym import make_problem
from sysgym.core.errors import Notice, UsageError
from sysgym.core.problem import content_hash
from sysgym.graphs.csr import from_edges
from sysgym.partitioning.operations import ATTRIBUTES, BUCKETS, CLASSES
from sysgym.partitioning.problem import Partitioning
from sysgym_agents.core import Budget, make_agent
from sysgym_agents.partitioning.coarse import coarsened
from sysgym_agents.partitioning.gap_model import OWN, node_features

SHORT = "rnnlm-layers1-steps4-batch64-hidden1024"
QUICK = {"hidden": 8, "layers": 1, "iterations": 3, "ks": "2", "coarsest": 40}


def test_a_computation_graph_has_an_edge_where_an_operator_reads_another() -> None:
    """Against device placement's instance of the same file, by networkx."""
    source = make_problem("DevicePlacement").load(f"configurations/{SHORT}")
    graph = Partitioning().load(f"operations/{SHORT}")
    reads = nx.DiGraph(zip(source.tensor_src[source.edge_tensor].tolist(), source.edge_dst.tolist(), strict=True))
    edges = set(zip(graph.sources.tolist(), graph.adjncy.tolist(), strict=True))
    assert edges == {(u, v) for u, v in reads.to_undirected().to_directed().edges if u != v}
    assert set(graph.vwgt.tolist()) == set(graph.adjwgt.tolist()) == {1} and graph.nodes == source.nodes
    told = graph.attributes
    assert told is not None and told.shape == (graph.nodes, ATTRIBUTES) and (told.sum(axis=1) == 3).all()
    for node in (0, 7, graph.nodes - 1):
        name = source.op_types[source.op[node]]
        columns = (zlib.crc32(name.encode()) % 16, BUCKETS + source.op_class[source.op[node]],
                   BUCKETS + CLASSES + source.phase[node])  # fmt: skip
        assert np.flatnonzero(told[node]).tolist() == list(columns)


def test_no_two_computation_graphs_of_the_set_are_the_same() -> None:
    entries = Partitioning().instance_sets()["operations"].entries
    assert len({entry.hash for entry in entries}) == len(entries)
    model = {
        split: {entry.name.split("-")[0] for entry in entries if entry.split == split} for split in ("train", "test")
    }
    assert not model["train"] & model["test"]


def test_a_file_of_a_traced_model_says_that_sizes_are_not_used(tmp_path: Path) -> None:
    file = tmp_path / "mine.json.gz"
    packaged = next(e for e in Partitioning().instance_sets()["operations"].entries if e.name.endswith(SHORT)).file
    assert packaged is not None
    shutil.copy(str(files("sysgym") / "data" / packaged.topic / packaged.path), file)
    with pytest.warns(Notice, match="times and bytes are not used"):
        graph = Partitioning().load(str(file))
    assert content_hash(graph) == content_hash(Partitioning().load(f"operations/{SHORT}"))
    with pytest.raises(UsageError, match="nodes=5"):
        Partitioning(nodes=5).load(str(file))
    file.write_bytes(b"{}")
    with pytest.raises(UsageError, match=r"sysgym\.dataflow/1"):
        Partitioning().load(str(file))


def test_a_cluster_has_the_mean_attributes_of_its_nodes() -> None:
    graph = Partitioning().load(f"operations/{SHORT}")
    levels = coarsened(graph, 40, 20, np.random.default_rng(0))
    for fine, coarse, cluster in zip(levels.graphs, levels.graphs[1:], levels.clusters, strict=False):
        assert fine.attributes is not None and coarse.attributes is not None
        for c in range(0, coarse.nodes, 7):
            assert np.allclose(coarse.attributes[c], fine.attributes[cluster == c].mean(axis=0), atol=1e-6)


def test_gap_reads_attributes_if_asked_and_refuses_graphs_without() -> None:
    problem, plain = Partitioning(k=2), from_edges("ring", 40, range(40), [*range(1, 40), 0])
    graph = problem.load(f"operations/{SHORT}")
    found = node_features(graph, ATTRIBUTES)
    assert np.array_equal(found[:, OWN:], graph.attributes) and np.array_equal(found[:, :OWN], node_features(graph))
    agent = make_agent("gap", attributes=ATTRIBUTES, **QUICK)
    agent.fit(problem, [graph], np.random.default_rng(0), Budget())
    assert problem.judge(graph, agent.solve(problem, graph, np.random.default_rng(0), Budget())).feasible
    with pytest.raises(UsageError, match="reads 23 attributes of each node here, and ring has none"):
        agent.solve(problem, plain, np.random.default_rng(0), Budget())
    other = make_agent("gap", **QUICK)
    other.fit(problem, [graph, plain], np.random.default_rng(0), Budget())
    assert problem.judge(plain, other.solve(problem, plain, np.random.default_rng(0), Budget())).feasible
