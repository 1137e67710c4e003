"""The state of an episode of labels: plain arrays that the kernels keep up to date."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sysgym.core.problem import Array


@dataclass
class State:
    """Partial or complete labels with everything that the kernels keep up to date."""

    part: Array  # (n,) int32, -1 = unassigned
    conn: Array  # (n, K) int64, edge weight from a node into each part
    load: Array  # (K,) int64
    volume: Array  # (K,) int64, sums of degrees
    inside: Array  # (K,) int64, edge weights inside, both ends counted
    settled: Array  # (K,) int64, of `assign`: edge weight to the other labels
    shown: Array  # (n, 5) float32, the changing node features but the loads of parts, where they are kept; else (0, 5)
    tabu: Array  # (n,) int64, first step at which the node may move again
    trail: Array  # (T, 2) int32, moves since the best partition
    order: Array  # (n,) int32, in which nodes are assigned
    cand_node: Array  # (A,) int32
    cand_part: Array  # (A,) int32
    cand_other: Array  # (A,) int32, the node that is exchanged for it, or -1
    cand_x: Array  # (A, Fa) float32
    mask: Array  # (A,) int8
    sizes: Array  # (3,) float32, the global features that never change
    s: Array  # (SCALARS,) int64
    f: Array  # (3,) float64


@dataclass
class NetState(State):
    """Labels of the nodes of a hypergraph, in which a node is connected to the labels that its nets have."""

    counts: Array  # (E, K) int32, pins of each net with each label
    placed: Array  # (E,) int32, pins with any label
    near: Array  # (n, K) int32, nets of a node that have the label


def copy_state(state: State) -> State:
    """An independent copy."""
    return type(state)(**{item.name: getattr(state, item.name).copy() for item in fields(state)})
