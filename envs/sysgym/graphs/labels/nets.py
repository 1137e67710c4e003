"""The action modes of `sysgym.graphs.labels.modes` on hypergraphs, observed as bipartite graphs of nodes and nets.

Actions, masks and features are those of graphs; nets follow the nodes among the rows of an observation, and are given
nothing. What labels cost is the weight of nets that have two or more (the cut), or each times the labels that it has
less one (km1). States keep how many pins of a net have each label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sysgym.core.defaults import LoopBatch, complete
from sysgym.core.problem import Array, Size
from sysgym.graphs.labels import kernels, net_kernels, net_mode_kernels, placing_kernels
from sysgym.graphs.labels.modes import (
    NONE,
    NOT_KEPT,
    Assign,
    OneShot,
    RefineCandidates,
    RefineOptions,
    RefineRaw,
    Rules,
    global_sizes,
)
from sysgym.graphs.labels.net_kernels import nets_of
from sysgym.graphs.labels.state import NetState

if TYPE_CHECKING:
    from sysgym.graphs.labels.modes import LabelMode

    Mode = LabelMode
else:
    Mode = object


class OnNets(Mode):
    """What the modes share."""

    km1: bool

    def fresh(self, graph: Any, part: Array, actions: int, horizon: int = 0) -> NetState:
        """A state around `part`, with everything that follows from it."""
        h, parts, n = nets_of(graph), self.rules.count(graph), graph.nodes
        counts, placed = np.zeros((graph.edges, parts), np.int32), np.zeros(graph.edges, np.int32)
        conn, near = np.zeros((n, parts), np.int64), np.zeros((n, parts), np.int32)
        net_kernels.count_pins(h, part, counts, placed)
        net_kernels.connect(h, part, counts, placed, self.km1, conn)
        net_mode_kernels.nearby(h, counts, near)
        load = np.bincount(part[part >= 0], graph.vwgt[part >= 0], parts).astype(np.int64)
        s = np.zeros(kernels.SCALARS, np.int64)
        s[kernels.RULE], s[kernels.NODES], s[kernels.L_MAX] = kernels.CUT_RULE, n, self.rules.limit(graph)
        s[kernels.TOTAL], s[kernels.HEAVIEST] = graph.total_edge_weight, graph.heaviest
        s[kernels.PARTS], s[kernels.WEIGHT], s[kernels.HORIZON] = parts, graph.total_node_weight, horizon
        s[kernels.CUT] = net_kernels.cost_of(h, counts, self.km1)
        s[kernels.BEST_FEASIBLE] = load.max() <= s[kernels.L_MAX]
        zeros = [np.zeros(parts, np.int64) for _ in range(3)]  # of the normalised cut
        chosen = np.full(actions, -1, np.int32)
        return NetState(
            part, conn, load, zeros[0], zeros[1], zeros[2], NOT_KEPT, np.zeros(n, np.int64),
            np.zeros((max(horizon, 1), 2), np.int32), NONE.copy(), chosen, chosen.copy(), chosen.copy(),
            np.zeros((actions, len(self.candidate_features)), np.float32), np.zeros(actions, np.int8),
            global_sizes(n, graph.edges, parts), s, np.full(3, float(s[kernels.CUT])), counts, placed, near,
        )  # fmt: skip

    def nodes(self, graph: Any, state: Any) -> Array:
        """Changing features of the nodes, then of the nets, (n + E, 5) float32."""
        rows = np.empty((graph.nodes + graph.edges, len(self.node_features)), np.float32)
        kernels.node_rows(graph.degree, state.part, state.conn, state.load, state.tabu, state.s,
                          self.focus(graph, state), rows[: graph.nodes])  # fmt: skip
        net_mode_kernels.net_rows(nets_of(graph), state.counts, state.placed, rows[graph.nodes :])
        return rows

    def horizon(self, graph: Any, state: Any) -> int:
        """Moves of an episode where the options do not say."""
        return max(16, 2 * int(net_mode_kernels.boundary_size(nets_of(graph), state.counts, state.part)))

    def batch(self, num_envs: int, size: Size) -> Any:
        """Episodes one after the other."""
        return LoopBatch(self, num_envs, size)

    def move(self, graph: Any, state: Any, node: int, part: int) -> None:
        """Give the node the part."""
        net_mode_kernels.move(nets_of(graph), state.counts, state.near, self.km1, state.part, state.conn, state.load,
                              state.trail, state.s, state.f, node, part)  # fmt: skip


@complete
class NetOneShot(OnNets, OneShot):
    """All parts at once."""

    def __init__(self, rules: Rules, km1: bool) -> None:
        OneShot.__init__(self, rules)
        self.km1 = km1


@complete
class NetAssign(OnNets, Assign):
    """Nodes get their part one after the other."""

    kept = False

    def __init__(self, rules: Rules, order: str, km1: bool) -> None:
        Assign.__init__(self, rules, order)
        self.km1 = km1

    def show(self, graph: Any, state: Any) -> None:
        """Describe each label to the focused node."""
        around = graph.bipartite  # with the cut, its rows are not read
        placing_kernels.show(around.xadj, around.adjncy, around.adjwgt, graph.vwgt, graph.degree, state.part,
                             state.conn, state.load, state.volume, state.inside, state.settled, state.order, state.s,
                             state.cand_node, state.cand_x, state.mask)  # fmt: skip

    def step(self, graph: Any, state: Any, action: Any) -> Any:
        """Assign the focused node."""
        net_mode_kernels.place(nets_of(graph), state.counts, state.placed, state.near, self.km1, state.part,
                               state.conn, state.load, state.order, state.s, state.f, action)  # fmt: skip
        self.show(graph, state)
        return state


@complete
class NetRefineCandidates(OnNets, RefineCandidates):
    """Moves chosen from a short list, so that the action space does not grow with the hypergraph."""

    def __init__(self, rules: Rules, options: RefineOptions, km1: bool) -> None:
        RefineCandidates.__init__(self, rules, options)
        self.km1 = km1

    def find(self, graph: Any, state: Any) -> None:
        """List the candidates."""
        net_mode_kernels.find_candidates(nets_of(graph), state.counts, state.near, self.km1, graph.degree, state.part,
                                         state.conn, state.load, state.tabu, state.s, state.cand_node,
                                         state.cand_part, state.cand_other, state.cand_x, state.mask)  # fmt: skip

    def step(self, graph: Any, state: Any, action: Any) -> Any:
        """Move the node of the candidate."""
        if state.s[kernels.COUNT]:
            net_mode_kernels.choose(nets_of(graph), state.counts, state.near, self.km1, state.part, state.conn,
                                    state.load, state.tabu, state.trail, state.s, state.f, state.cand_node[action],
                                    state.cand_other[action], state.cand_part[action], self.tenure)  # fmt: skip
            self.find(graph, state)
        net_mode_kernels.stop(state.s)
        return state


@complete
class NetRefineRaw(OnNets, RefineRaw):
    """Any node to any part; a step costs the pins of the nets that change."""

    def __init__(self, rules: Rules, options: RefineOptions, km1: bool) -> None:
        RefineRaw.__init__(self, rules, options)
        self.km1 = km1
