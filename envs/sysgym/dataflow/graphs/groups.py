"""Groups of operators that are decided together, and the placement that human experts use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from sysgym.core.errors import MissingDependency
from sysgym.core.problem import Array
from sysgym.dataflow.graphs.graph import UPDATE, DataflowGraph


def layer_times(graph: DataflowGraph) -> Array:
    """Total time of each layer label 0..L-1, (L,) int64."""
    return np.bincount(graph.layer, weights=graph.time_ns).astype(np.int64)


def block_bounds(weights: Array, blocks: int) -> Array:
    """Owner of each item, (L,) int32, when a row is cut into contiguous blocks of which the heaviest is lightest."""
    count = len(weights)
    blocks = min(blocks, count)
    if count > 4096:
        return _greedy_blocks(weights, blocks)
    before = np.concatenate([[0], np.cumsum(weights)])
    best = np.where(np.arange(count + 1) == 0, 0.0, np.inf)
    cuts = np.zeros((blocks, count + 1), np.int64)
    for k in range(blocks):
        following = np.empty(count + 1)
        for i in range(count + 1):
            heaviest = np.maximum(best[: i + 1], before[i] - before[: i + 1])
            cuts[k, i] = int(np.argmin(heaviest))
            following[i] = heaviest[cuts[k, i]]
        best = following
    owner, end = np.zeros(count, np.int32), count
    for k in range(blocks - 1, -1, -1):
        owner[cuts[k, end] : end] = k
        end = int(cuts[k, end])
    return owner


def expert_placement(graph: DataflowGraph, devices: int) -> Array:
    """Contiguous blocks of layers, (N,) int32: the placement that experts write by hand.

    The source's own (`human_expert`) where the graph carries one for as many devices.
    """
    if len(graph.human_expert) and graph.devices == devices and int(graph.human_expert.max()) < devices:
        return graph.human_expert
    labels, layer = np.unique(graph.layer, return_inverse=True)
    work = np.bincount(layer, weights=graph.time_ns, minlength=len(labels)).astype(np.int64)
    return np.asarray(block_bounds(work, devices)[layer], np.int32)


def _greedy_blocks(weights: Array, blocks: int) -> Array:
    """As `block_bounds`, for long rows: the least limit that first-fit blocks keep, found by bisection."""
    before = np.concatenate([[0], np.cumsum(weights)]).astype(np.int64)

    def cut(limit: int) -> list[int]:
        ends = [0]
        while ends[-1] < len(weights) and len(ends) <= blocks:
            ends.append(max(int(np.searchsorted(before, before[ends[-1]] + limit, "right")) - 1, ends[-1] + 1))
        return ends

    low, high = int(weights.max()), int(before[-1])
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cut(middle)[-1] >= len(weights) else (middle + 1, high)
    return np.repeat(np.arange(len(cut(low)) - 1), np.diff(np.minimum(cut(low), len(weights)))).astype(np.int32)


@dataclass(frozen=True)
class Units:
    """A coarse graph: what a decision concerns. With every operator on its own, the graph itself."""

    of: Array  # (N,) int32 unit of each operator; units are numbered by their first operator
    count: int  # U
    edge_index: Array  # (2, M) int32 from unit to unit, unique, none to itself
    edge_bytes: Array  # (M,) int64 bytes of the tensors read across, each once


def make_units(graph: DataflowGraph, grouping: str, groups: int | None = None) -> Units:
    """Units of a graph: "op", "layers" (layer x phase x chunk of time) or "metis".

    `groups` is how many there should be about, by default a chunk a layer and phase, at least 64 units in all.
    """
    if grouping == "op":
        label = np.arange(graph.nodes)
    elif grouping == "layers":
        label = layer_chunks(graph, groups)
    else:
        label = metis_groups(graph, groups or min(256, max(2, graph.nodes // 8)))
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first))
    return units_of(graph, rank[inverse.ravel()])


def units_of(graph: DataflowGraph, of: Array) -> Units:
    """The coarse graph of a labelling (N,) with 0..U-1."""
    count = int(of.max()) + 1
    source, target = of[graph.edge_src].astype(np.int64), of[graph.edge_dst].astype(np.int64)
    across = source != target
    tensor, target = graph.edge_tensor[across].astype(np.int64), target[across]
    once = np.unique(tensor * count + target)
    tensor, target = once // count, once % count
    pairs = of[graph.tensor_src[tensor]].astype(np.int64) * count + target
    unique, inverse = np.unique(pairs, return_inverse=True)
    total = np.bincount(inverse.ravel(), weights=graph.tensor_bytes[tensor], minlength=len(unique))
    index = np.stack([unique // count, unique % count]).astype(np.int32)
    return Units(np.asarray(of, np.int32), count, index, total.astype(np.int64))


def layer_chunks(graph: DataflowGraph, groups: int | None = None) -> Array:
    """Label of each operator, (N,): its layer, its phase, and its chunk of that phase's time.

    Parameters go with the updates of their layer, so that they stay where their gradients are wanted.
    """
    phase = np.where(graph.param_bytes > 0, UPDATE, graph.phase).astype(np.int64)
    layer = graph.layer.astype(np.int64)
    blocks = max(64, groups or 0) // 3
    if int(layer.max()) >= 2 * blocks:  # too fine: neighbours are joined
        times = layer_times(graph) + 1.0
        layer = ((np.cumsum(times) - times / 2) / times.sum() * blocks).astype(np.int64)[layer]
    part = layer * 3 + phase
    _, part = np.unique(part, return_inverse=True)
    parts = int(part.max()) + 1
    work = graph.time_ns.astype(np.float64) + 1.0  # operators without a time count a little
    total = np.bincount(part, weights=work)
    wanted = max(64, parts) if groups is None else groups
    chunks = _share_out(total, max(wanted, parts))
    order = np.argsort(part, kind="stable")
    running = np.cumsum(work[order])
    starts = np.concatenate([[0.0], np.cumsum(total)])[part[order]]
    middle = (running - work[order] / 2 - starts) / total[part[order]]
    chunk = np.minimum((middle * chunks[part[order]]).astype(np.int64), chunks[part[order]] - 1)
    label = np.empty(graph.nodes, np.int64)
    label[order] = part[order] * graph.nodes + chunk
    return label


def _share_out(total: Array, wanted: int) -> Array:
    """Chunks of each part, at least one, about `wanted` in all, in proportion to time."""
    return np.asarray(np.maximum(1, np.rint(total / total.sum() * wanted)), np.int64)


@contextmanager
def _silence() -> Iterator[None]:
    """Send what C code writes to stdout to nowhere."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def metis_groups(graph: DataflowGraph, groups: int, weights: Array | None = None, seed: int = 0) -> Array:
    """METIS parts of the graph, (N,): balanced time, few bytes between parts. MissingDependency without pymetis."""
    try:
        import pymetis
    except ImportError as error:
        raise MissingDependency("METIS needs pymetis, which is not installed; install sysgym[partitioners].") from error
    if groups >= graph.nodes:
        return np.arange(graph.nodes, dtype=np.int32)
    if groups == 1:
        return np.zeros(graph.nodes, np.int32)
    pairs = np.minimum(graph.edge_src, graph.edge_dst).astype(np.int64) * graph.nodes + graph.edge_dst
    unique, inverse = np.unique(pairs, return_inverse=True)
    size = np.bincount(inverse.ravel(), weights=graph.tensor_bytes[graph.edge_tensor], minlength=len(unique))
    cost = np.maximum(1, np.minimum(size / 1024, 2**20)).astype(np.int64)  # KiB: METIS counts in 32 bits
    u, v = unique // graph.nodes, unique % graph.nodes
    source, target = np.concatenate([u, v]), np.concatenate([v, u])
    order = np.argsort(source, kind="stable")
    xadj = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=graph.nodes))])
    work = graph.time_ns if weights is None else weights
    scaled = np.maximum(1, work / max(1.0, float(work.sum()) / 2**28)).astype(np.int64)
    with _silence():  # METIS complains to stdout where parts are small
        _, part = pymetis.part_graph(
            groups, pymetis.CSRAdjacency(xadj.tolist(), target[order].tolist()), vweights=scaled.tolist(),
            eweights=np.concatenate([cost, cost])[order].tolist(), options=pymetis.Options(seed=seed),
        )  # fmt: skip
    return np.asarray(part, np.int32)
