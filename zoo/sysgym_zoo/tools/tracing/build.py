"""A dataflow graph put together operator by operator, in the order in which they run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError, announce
from sysgym.core.problem import Array
from sysgym.dataflow.graphs.graph import FORWARD, UPDATE, DataflowGraph, check_graph
from sysgym_zoo.tools.tracing.cost import Timing
from sysgym_zoo.tools.tracing.ops import LEAVES, UPDATES, class_of, flops_of, is_known, traffic_of
from sysgym_zoo.tools.tracing.products import Shape

UNKNOWN = -1  # the label of a layer that is still to be found


@dataclass
class Node:
    """An operator of a graph in the making. `reads` and `writes` are tensors; `pair` is the parameter it changes;
    `site` the device that the author put it on; `module` the path of the module that runs or owns it, None if unknown.
    """

    op: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    flops: int
    traffic: int
    layer: int
    phase: int
    param_bytes: int = 0
    pair: int = -1
    site: int = UNKNOWN
    module: str | None = None


@dataclass(frozen=True)
class Heading:
    """What a graph says of itself."""

    name: str
    devices: int = 2
    train: bool = False
    config: str = ""
    source: str = ""
    family: str = ""
    optimizer: str = "sgd"
    loss: str | None = None  # the output to differentiate


class GraphBuilder:
    """Nodes and tensors so far. Only what leads to a root is kept in the end."""

    def __init__(self) -> None:
        """An empty graph."""
        self.nodes: list[Node] = []
        self.source: list[int] = []  # of each tensor, the node that writes it
        self.sizes: list[int] = []  # of each tensor, bytes
        self.kinds: dict[str, tuple[bool, bool]] = {}  # of each operator, whether it is pointwise or a reduction

    def _add(self, op: str, reads: Iterable[int], sizes: Sequence[int], **fields: Any) -> Node:
        writes = range(len(self.sizes), len(self.sizes) + len(sizes))
        self.source += [len(self.nodes)] * len(sizes)
        self.sizes += sizes
        layer = fields.pop("layer", UNKNOWN)
        node = Node(op, tuple(sorted(set(reads))), tuple(writes), layer=layer, **fields)
        self.nodes.append(node)
        return node

    def leaf(self, op: str, size: int, **fields: Any) -> int:
        """Add a param, state, input or const of so many bytes; its tensor."""
        held = size if op in ("param", "state") else 0
        return self._add(op, (), [size], flops=0, traffic=0, phase=FORWARD, param_bytes=held, **fields).writes[0]

    def operator(
        self, op: str, reads: Iterable[int], sizes: Sequence[int], inputs: Sequence[Shape], outputs: Sequence[Shape],
        traffic: tuple[int, int], *, layer: int = UNKNOWN, phase: int = FORWARD, transposed: bool = False,
        flops: int | None = None, module: str | None = None, **fields: int,
    ) -> tuple[int, ...]:  # fmt: skip
        """Add an operator; the tensors it writes, of `sizes` bytes. `traffic` is bytes read and written.

        Without a layer, it belongs to the last of the layers whose tensors it reads; without a module, to that of the
        last operator whose tensor it reads.
        """
        flops = flops_of(op, inputs, outputs, transposed) if flops is None else flops
        moved = traffic_of(op, *traffic)
        node = self._add(
            op, reads, sizes, flops=flops, traffic=moved, phase=phase, layer=layer, module=module, **fields
        )
        if layer == UNKNOWN:
            node.layer = max((self.layer_of(tensor) for tensor in node.reads), default=0)
        if module is None and node.reads:
            node.module = self.nodes[max(self.source[tensor] for tensor in node.reads)].module
        return node.writes

    def layer_of(self, tensor: int) -> int:
        """Label of the layer that writes a tensor; 0 for a parameter or input."""
        return max(0, self.nodes[self.source[tensor]].layer)

    def update(
        self, parameter: int, gradients: Sequence[int], size: int, shape: Shape, optimizer: str = "sgd", *,
        rows: int | None = None,
    ) -> None:  # fmt: skip
        """Add the step of a parameter: it reads the parameter, the gradient and what an optimiser remembers of it, and
        writes the parameter and that memory in place; of a sparse gradient, only the `rows` bytes that it names.
        """
        states, pair = UPDATES[optimizer][0], self.source[parameter]
        held = [self.leaf("state", states * size, pair=pair)] if states else []
        moved = size if rows is None else min(rows, size)
        op = f"{optimizer}_update"
        self._add(
            op, (parameter, *gradients, *held), (), flops=flops_of(op, [shape], []) * moved // max(1, size),
            traffic=(3 + 2 * states) * moved, phase=UPDATE, pair=pair,
        )  # fmt: skip

    def finish(self, heading: Heading, roots: Iterable[int], timing: Timing) -> DataflowGraph:
        """The checked graph of what leads to the tensors `roots`, or to an update; UsageError if nothing runs."""
        alive = self._alive(roots)
        nodes = [self.nodes[v] for v in alive]
        if all(node.op in LEAVES for node in nodes):
            raise UsageError(f"{heading.name} runs no operator; its outputs must depend on tensors it computes.")
        self._label_leaves(alive)
        number = {old: new for new, old in enumerate(alive)}
        tensors = [tensor for node in nodes for tensor in node.writes]
        row = {tensor: new for new, tensor in enumerate(tensors)}
        edges = [(new, row[tensor]) for new, node in enumerate(nodes) for tensor in node.reads]
        edges.sort()
        ops = sorted({node.op for node in nodes})
        index = {op: i for i, op in enumerate(ops)}
        groups = [
            number[node.pair] if node.pair >= 0 else new if node.op == "param" else -1 for new, node in enumerate(nodes)
        ]
        times = [timing.time_ns(node.op, node.flops, node.traffic) for node in nodes]
        self._tell_unknown(nodes, times, timing)
        sites = self._sites(alive)
        paths = {node.module for node in nodes}
        modules = () if None in paths else tuple(sorted(path for path in paths if path is not None))
        graph = DataflowGraph(
            name=heading.name, devices=max(heading.devices, max(sites, default=0) + 1), op_types=tuple(ops),
            op_class=_array([class_of(op, heading.train, *self.kinds.get(op, (False, False))) for op in ops], np.int8),
            op=_array([index[node.op] for node in nodes], np.int32), time_ns=_array(times, np.int64),
            flops=_array([node.flops for node in nodes], np.int64),
            traffic=_array([node.traffic for node in nodes], np.int64),
            param_bytes=_array([node.param_bytes for node in nodes], np.int64),
            layer=_array([node.layer for node in nodes], np.int32),
            phase=_array([node.phase for node in nodes], np.int8), coloc=_array(groups, np.int32),
            tensor_src=_array([number[self.source[tensor]] for tensor in tensors], np.int32),
            tensor_bytes=_array([self.sizes[tensor] for tensor in tensors], np.int64),
            edge_tensor=_array([tensor for _, tensor in edges], np.int32),
            edge_dst=_array([dst for dst, _ in edges], np.int32),
            time_cpu_ns=np.zeros(0, np.int64), human_expert=_array(sites, np.int32), family=heading.family,
            task="train" if heading.train else "infer", config=heading.config, source=heading.source,
            time_model=timing.label, modules=modules,
            module=_array([modules.index(node.module) for node in nodes if node.module in modules], np.int32),
        )  # fmt: skip
        check_graph(graph)
        return graph

    def _alive(self, roots: Iterable[int]) -> list[int]:
        """Nodes that lead to a root or are an update, ascending."""
        wanted = {self.source[tensor] for tensor in roots}
        wanted |= {v for v, node in enumerate(self.nodes) if node.phase == UPDATE}
        for v in range(len(self.nodes) - 1, -1, -1):
            if v in wanted:
                wanted |= {self.source[tensor] for tensor in self.nodes[v].reads}
        return sorted(wanted)

    def _label_leaves(self, alive: Sequence[int]) -> None:
        """A parameter, input or constant belongs to the layer that reads it first, and to the module that does so where
        none owns it; an update to its parameter's.
        """
        for v in alive:
            node = self.nodes[v]
            if node.pair >= 0 and (node.phase == UPDATE or node.op == "state"):
                node.layer = max(0, self.nodes[node.pair].layer)
                node.module = self.nodes[node.pair].module
            for tensor in node.reads:
                leaf = self.nodes[self.source[tensor]]
                if leaf.layer == UNKNOWN:
                    leaf.layer = node.layer
                if leaf.module is None:
                    leaf.module = node.module
        for v in alive:
            self.nodes[v].layer = max(0, self.nodes[v].layer)

    def _tell_unknown(self, nodes: Sequence[Node], times: Sequence[int], timing: Timing) -> None:
        """Announce the operators whose cost nothing tells, with their share of the time."""
        spent: dict[str, int] = {}
        for node, time in zip(nodes, times, strict=True):
            if node.op not in timing.measured and not is_known(node.op, *self.kinds.get(node.op, (False, False))):
                spent[node.op] = spent.get(node.op, 0) + time
        if spent:
            names = ", ".join(f"{op} ({100 * ns / max(1, sum(times)):.3g} % of the time)" for op, ns in spent.items())
            announce(
                f"no table knows what these operators compute: {names}; they count 1 flop for each element they write, "
                "so their time may be far too small: measure them and give --times or --profile."
            )

    def _sites(self, alive: Sequence[int]) -> list[int]:
        """The author's device of every node: where it was put, else where its first reader or its parameter is, else
        where what it reads is; empty where the author put nothing anywhere.
        """
        if all(self.nodes[v].site == UNKNOWN for v in alive):
            return []
        for v in reversed(alive):
            for tensor in self.nodes[v].reads:
                self.nodes[self.source[tensor]].site = _first(self.nodes[self.source[tensor]].site, self.nodes[v].site)
        for v in alive:
            node = self.nodes[v]
            behind = max((self.nodes[self.source[tensor]].site for tensor in node.reads), default=0)
            node.site = max(0, _first(node.site, self.nodes[node.pair].site if node.pair >= 0 else behind))
        return [self.nodes[v].site for v in alive]


def _first(site: int, other: int) -> int:
    """A site that is known, or another."""
    return other if site == UNKNOWN else site


def _array(values: list[int], kind: type) -> Array:
    return np.array(values, np.int64).astype(kind)
