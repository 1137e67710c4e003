"""Hypergraphs that tests of several files use."""

from __future__ import annotations

import numpy as np

from sysgym.graphs.hypergraph import from_nets


def weighted(seed: int, n: int = 40, nets: int = 50):
    """A random hypergraph with weights, nets of one pin and nodes of no weight."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, nets)
    pins = np.concatenate([rng.choice(n, size, replace=False) for size in sizes])
    ptr = np.concatenate([[0], np.cumsum(sizes)])
    return from_nets(f"random{seed}", n, ptr, pins, rng.integers(1, 9, nets), rng.integers(0, 5, n))


def as_nets(graph):
    """A graph as the hypergraph of its edges."""
    once = graph.sources < graph.adjncy
    pairs = np.stack([graph.sources[once], graph.adjncy[once]], axis=1)
    return from_nets("as nets", graph.nodes, 2 * np.arange(graph.edges + 1), pairs.ravel(), graph.adjwgt[once])
