"""The action modes of clustering: labels on a graph that cost the normalised cut, without a limit of their size."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np

from sysgym.clustering.instance import Affinity
from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Solution
from sysgym.graphs.csr import Graph
from sysgym.graphs.labels import kernels, sweep_kernels
from sysgym.graphs.labels.modes import (
    Assign,
    Focused,
    LabelMode,
    OneShot,
    Refine,
    RefineCandidates,
    RefineOptions,
    RefineRaw,
    Rules,
)
from sysgym.graphs.labels.state import State
from sysgym.graphs.spectral import laplacian_eigenvectors

LIBRARY_STARTS = ("kmeans", "spectral")


def choose_mode(problem: Any) -> LabelMode:
    """The dynamics of a mode, by the options of the problem."""
    rules = Rules(problem.clusters, _no_limit, kernels.NCUT_RULE, key="labels")
    if problem.mode == "oneshot":
        return OneShot(rules)
    if problem.mode == "assign":
        return Assign(rules, problem.order)
    start = partial(library_labels, problem.start, rules) if problem.start in LIBRARY_STARTS else problem.start
    options = RefineOptions(start, problem.steps, problem.candidates, problem.tenure)
    kinds: dict[str, type[Refine]] = {"candidates": RefineCandidates, "raw": RefineRaw, "sweep": RefineSweep}
    return kinds[problem.moves](rules, options)


def _no_limit(graph: Graph) -> int:
    return kernels.NO_LIMIT


def library_labels(start: str, rules: Rules, graph: Affinity, rng: np.random.Generator) -> Array:
    """Labels (n,) by one run of k-means: of the points, or of the eigenvectors of the graph's Laplacian."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    k = rules.count(graph)
    if start == "kmeans" and graph.x is None:
        raise UsageError(f"{graph.name} holds affinities, no points, which start=kmeans needs; use start=spectral.")
    x = graph.x if start == "kmeans" else laplacian_eigenvectors(graph, k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer places than clusters: some start empty
        found: Array = KMeans(k, n_init=1, random_state=int(rng.integers(2**31))).fit_predict(x)
    return found


@complete
class RefineSweep(Focused, Refine):
    """Points take turns to change their cluster, so that the action space does not grow with the graph."""

    candidate_features: tuple[str, ...] = kernels.CLUSTER_FEATURES

    def listed(self, graph: Graph) -> int:
        """Each cluster."""
        return self.rules.count(graph)

    def horizon(self, graph: Graph, state: State) -> int:
        """Four turns for each point."""
        return 4 * graph.nodes

    def start(self, graph: Graph, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """As `Refine.start`, with the first point of a random order at its turn."""
        state = super().start(graph, rng, solution)
        state.order = rng.permutation(graph.nodes).astype(np.int32)
        sweep_kernels.show(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, graph.degree, state.part, state.conn,
                           state.load, state.volume, state.inside, state.order, state.s, state.cand_node,
                           state.cand_x, state.mask)  # fmt: skip
        return state

    def step(self, graph: Graph, state: State, action: Any) -> State:
        """Put the focused point into a cluster."""
        sweep_kernels.turn(graph.xadj, graph.adjncy, graph.adjwgt, graph.vwgt, graph.degree, state.part, state.conn,
                           state.load, state.volume, state.inside, state.order, state.trail, state.s, state.f,
                           state.cand_node, state.cand_x, state.mask, action)  # fmt: skip
        return state

    def step_all(self, graphs: dict[str, Array], rows: dict[str, Array], actions: Array, live: Array) -> None:
        """Give the focused point of every live row its cluster."""
        g, r = graphs, rows
        sweep_kernels.turn_all(g["held"], g["xadj"], g["adjncy"], g["adjwgt"], g["vwgt"], g["degree"], r["part"],
                               r["conn"], r["load"], r["volume"], r["inside"], r["order"], r["trail"], r["s"], r["f"],
                               r["cand_node"], r["cand_x"], r["mask"], actions, live)  # fmt: skip
