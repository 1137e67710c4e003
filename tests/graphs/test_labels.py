"""Labels on a graph, whatever they cost: incremental costs against those from scratch, in every mode and in batches."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from sysgym.core.observation import plain_action
from sysgym.core.problem import Size
from sysgym.graphs.csr import Graph, from_edges
from sysgym.graphs.generate import generate_graph
from sysgym.graphs.labels import kernels
from sysgym.graphs.labels.modes import Assign, OneShot, RefineCandidates, RefineOptions, RefineRaw, Rules
from sysgym_agents.general.random import sample_action

K = 3
RULES = {"cut": kernels.CUT_RULE, "ncut": kernels.NCUT_RULE}
OPTIONS = RefineOptions("random", 40)


def rules(rule: str) -> Rules:
    return Rules(K, lambda graph: kernels.NO_LIMIT if rule == "ncut" else graph.nodes // 2, RULES[rule])


def modes(rule: str) -> dict[str, Any]:
    own = rules(rule)
    return {
        "oneshot": OneShot(own), "assign": Assign(own, "bfs"), "candidates": RefineCandidates(own, OPTIONS),
        "raw": RefineRaw(own, OPTIONS),
    }  # fmt: skip


def weighted(seed: int = 0, rule: str = "cut") -> Graph:
    """A small graph with weights on edges, one node apart from all others; with the normalised cut nodes weigh their
    degree and a loop.
    """
    rng = np.random.default_rng(seed)
    u, v = (
        np.array(side)
        for side in zip(*((a, b) for a in range(11) for b in range(a) if rng.random() < 0.4), strict=True)
    )
    graph = from_edges("weighted", 12, u, v, rng.integers(1, 9, len(u)))
    loops = rng.integers(0, 3, 12) * (graph.degree > 0)
    return graph if rule == "cut" else replace(graph, vwgt=graph.degree + loops)


def by_degree(graph: Graph, rule: str) -> Graph:
    """The graph with nodes that weigh their degree, for the normalised cut."""
    return graph if rule == "cut" else replace(graph, vwgt=graph.degree)


def slow_cost(graph: Graph, part: Any, rule: str) -> float:
    """The cut, or the sum over labels of cut over volume, 1 for a label of no volume; edges to -1 count as cut."""
    own, other = part[graph.sources], part[graph.adjncy]
    if rule == "cut":
        return float(graph.adjwgt[(own != other) & (own >= 0) & (other >= 0)].sum() / 2)
    total = 0.0
    for label in range(K):
        volume = graph.vwgt[part == label].sum()
        leaving = graph.adjwgt[(own == label) & (other != label)].sum()
        total += leaving / volume if volume else 1.0
    return total


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["oneshot", "assign", "candidates", "raw"])
def test_incremental_costs_are_those_from_scratch(name: str, rule: str) -> None:
    graph, mode, rng = weighted(0, rule), modes(rule)[name], np.random.default_rng(1)
    size = Size(graph.nodes, len(graph.adjncy))
    for _ in range(3):
        state = mode.start(graph, rng)
        while not mode.done(graph, state):
            action = sample_action(rng, mode.action_space(size), mode.mask(graph, state, size))
            state = mode.step(graph, state, plain_action(mode.action_space(size), action))
            assert state.f[kernels.NOW] == pytest.approx(slow_cost(graph, state.part, rule), rel=1e-12)
        answer = mode.solution(graph, state)["part"]
        assert mode.cost(graph, state) == pytest.approx(slow_cost(graph, answer, rule), rel=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_gains_are_differences_of_costs(rule: str) -> None:
    graph = weighted(3, rule)
    state = RefineRaw(rules(rule), OPTIONS).start(graph, np.random.default_rng(2))
    before = slow_cost(graph, state.part, rule)
    for v, b in product(range(graph.nodes), range(K)):
        a, moved = int(state.part[v]), state.part.copy()
        if a == b:
            continue
        moved[v] = b
        gain = kernels.gain_of(
            v, a, b, state.conn, graph.vwgt, graph.degree, state.load, state.volume, state.inside, state.s
        )
        assert gain == pytest.approx(before - slow_cost(graph, moved, rule), abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_following_the_best_candidate_finds_the_cliques(rule: str) -> None:
    """On a graph of three cliques joined by single edges, from twenty random starts."""
    edges = [(4 * c + i, 4 * c + j) for c in range(3) for i in range(4) for j in range(i)] + [(0, 4), (4, 8)]
    u, v = (np.array(side) for side in zip(*edges, strict=True))
    graph, size = by_degree(from_edges("cliques", 12, u, v), rule), Size(12, 2 * len(edges))
    own = Rules(K, lambda graph: kernels.NO_LIMIT if rule == "ncut" else 5, RULES[rule])
    best = np.inf
    for seed in range(20):
        mode = RefineCandidates(own, OPTIONS._replace(tenure=2))
        state = mode.start(graph, np.random.default_rng(seed))
        while not mode.done(graph, state):
            state = mode.step(graph, state, 0 if state.mask[0] else int(mode.mask(graph, state, size).argmax()))
        best = min(best, mode.cost(graph, state))
    assert best == pytest.approx(slow_cost(graph, np.repeat(np.arange(3), 4), rule), abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["assign", "candidates", "raw"])
def test_batches_step_as_single_episodes(name: str, rule: str) -> None:
    graphs = [weighted(1, rule), by_degree(generate_graph("delaunay:n=20,seed=1"), rule)]
    size = Size(max(graph.nodes for graph in graphs), max(len(graph.adjncy) for graph in graphs))
    mode, rng = modes(rule)[name], np.random.default_rng(0)
    batch, alone = mode.batch(2, size), []
    for row, graph in enumerate(graphs):
        state = mode.start(graph, np.random.default_rng(row))
        batch.put(row, graph, mode.copy(state))
        alone.append(state)
    for _ in range(12):
        masks = [mode.mask(graph, state, size) for graph, state in zip(graphs, alone, strict=True)]
        actions = np.array([sample_action(rng, mode.action_space(size), mask) for mask in masks])
        live = ~batch.done()
        batch.step(actions, live)
        for row, graph in enumerate(graphs):
            if live[row]:
                alone[row] = mode.step(graph, alone[row], actions[row] if actions.ndim == 2 else int(actions[row]))
        assert batch.costs().tolist() == [mode.cost(graph, state) for graph, state in zip(graphs, alone, strict=True)]
        assert np.array_equal(
            batch.observe(None, 0)["globals"],
            np.stack([mode.globals(g, s) for g, s in zip(graphs, alone, strict=True)]),
        )


@pytest.mark.parametrize("rule", RULES)
def test_assign_shows_nodes_as_they_are_from_scratch(rule: str) -> None:
    """Node features that are kept step by step, of one episode and of a batch whose rows change their graphs."""
    graphs = [weighted(2, rule), by_degree(generate_graph("delaunay:n=20,seed=2"), rule), weighted(3, rule)]
    size = Size(max(graph.nodes for graph in graphs), max(len(graph.adjncy) for graph in graphs))
    mode, rng = modes(rule)["assign"], np.random.default_rng(0)
    batch = mode.batch(2, size)
    for turn in range(7):
        row, graph = turn % 2, graphs[turn % 3]
        state = mode.start(graph, rng)
        batch.put(row, graph, mode.copy(state))
        if turn == 0:
            batch.put(1, graph, mode.copy(state))
        for _ in range(9):
            fresh = np.zeros((graph.nodes, len(kernels.NODE_FEATURES)), np.float32)
            kernels.node_rows(graph.degree, state.part, state.conn, state.load, state.tabu, state.s,
                              mode.focus(graph, state), fresh)  # fmt: skip
            assert np.array_equal(mode.nodes(graph, state), fresh)
            if turn > 1:  # nodes are asked for when episodes are under way
                shown = np.zeros((2, size.nodes, 2 + fresh.shape[1]), np.float32)
                batch.observe(shown, 2)
                assert np.array_equal(shown[row, : graph.nodes, 2:], fresh)
                assert not shown[row, graph.nodes :].any() and not shown[:, :, :2].any()
            action = sample_action(rng, mode.action_space(size), mode.mask(graph, state, size))
            assert isinstance(action, int)
            state = mode.step(graph, state, action)
            batch.step(np.full(2, action), np.arange(2) == row)
