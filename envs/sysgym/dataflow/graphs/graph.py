"""Dataflow graphs: operators, the tensors they produce, and who reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.dataflow.graphs.roofline import Roofline

NEVER, ELEMENTWISE, HEAVY, REDUCTION = 0, 1, 2, 3  # classes of operators in the rules of fusion
FORWARD, BACKWARD, UPDATE = 0, 1, 2  # phases of a training step
PHASES = ("forward", "backward", "update")  # their names
OPTIONAL = ("time_cpu_ns", "human_expert", "module")  # columns of nodes that may be empty
MAX_NODES = 2**24
MAX_NUMBER = 2**50  # of flops, bytes and nanoseconds, so that sums stay exact


class Odd(NamedTuple):
    """Operators whose time is not that of a roofline, as it was measured."""

    node: Array  # (M,) int64
    pace: Array  # (M,) float64, time beyond the launch over that of the roofline; 1 where that is nothing
    unknown_ns: Array  # (M,) int64 nanoseconds beyond the launch where neither flops nor bytes are known, else 0


def _none() -> Array:
    return np.zeros(0, np.int32)


@dataclass(frozen=True, repr=False)
class DataflowGraph:
    """Operators 0..N-1 in a topological order, tensors 0..T-1, and E reads of a tensor by an operator.

    A parameter is an operator of time 0 whose `param_bytes` are held on its device for the whole run.
    """

    name: str
    devices: int  # number of devices that references use
    op_types: tuple[str, ...]  # vocabulary of operators
    op_class: Array  # (len(op_types),) int8: NEVER, ELEMENTWISE, HEAVY or REDUCTION in fusion
    op: Array  # (N,) int32 rows of op_types
    time_ns: Array  # (N,) int64 nanoseconds on the reference device
    flops: Array  # (N,) int64
    traffic: Array  # (N,) int64 bytes of memory traffic
    param_bytes: Array  # (N,) int64 bytes held for the whole run
    layer: Array  # (N,) int32 label of the layer
    phase: Array  # (N,) int8 FORWARD, BACKWARD or UPDATE
    coloc: Array  # (N,) int32 group of operators that belong together, or -1
    tensor_src: Array  # (T,) int32 producer, non-decreasing
    tensor_bytes: Array  # (T,) int64
    edge_tensor: Array  # (E,) int32 tensor read, ...
    edge_dst: Array  # (E,) int32 ... by this operator; sorted by operator, then tensor; pairs are unique
    time_cpu_ns: Array  # (N,) int64 nanoseconds on a CPU; empty where unknown
    human_expert: Array  # (N,) int32 the source's own placement; empty where unknown
    family: str = field(default="", metadata={"hashed": False})  # of models
    task: str = field(default="train", metadata={"hashed": False})  # train or infer
    config: str = field(default="", metadata={"hashed": False})
    source: str = field(default="", metadata={"hashed": False})
    licence: str = field(default="", metadata={"hashed": False})
    time_model: str = field(default="", metadata={"hashed": False})
    machine: Roofline = field(default=Roofline(), metadata={"hashed": "changed"})  # what `time_ns` was made for
    modules: tuple[str, ...] = field(default=(), metadata={"hashed": False})  # paths in the model, "" the whole of it
    module: Array = field(default_factory=_none, metadata={"hashed": False})  # (N,) int32 rows of modules; or empty

    def __repr__(self) -> str:
        """One line."""
        return f"<DataflowGraph {self.name}: {self.nodes} operators, {self.tensors} tensors, {self.edges} reads>"

    @property
    def nodes(self) -> int:
        """Number of operators N."""
        return len(self.op)

    @property
    def tensors(self) -> int:
        """Number of tensors T."""
        return len(self.tensor_src)

    @property
    def edges(self) -> int:
        """Number of reads E."""
        return len(self.edge_tensor)

    @cached_property
    def in_ptr(self) -> Array:
        """(N + 1,) int32: operator v reads edge_tensor[in_ptr[v]:in_ptr[v + 1]]."""
        return _pointers(self.edge_dst, self.nodes)

    @cached_property
    def out_ptr(self) -> Array:
        """(N + 1,) int32: operator v produces the tensors out_ptr[v]..out_ptr[v + 1] - 1."""
        return _pointers(self.tensor_src, self.nodes)

    @cached_property
    def use_ptr(self) -> Array:
        """(T + 1,) int32: tensor x is read by use_node[use_ptr[x]:use_ptr[x + 1]]."""
        return _pointers(self.edge_tensor, self.tensors)

    @cached_property
    def use_node(self) -> Array:
        """(E,) int32 readers of each tensor, ascending."""
        return self.edge_dst[np.argsort(self.edge_tensor, kind="stable")]

    @cached_property
    def edge_src(self) -> Array:
        """(E,) int32 producer of the tensor of each read."""
        return self.tensor_src[self.edge_tensor]

    @cached_property
    def classes(self) -> Array:
        """(N,) int8 class of each operator in the rules of fusion."""
        return np.asarray(self.op_class[self.op])

    @cached_property
    def beside_roofline(self) -> Odd:
        """The operators whose time is not what the machine takes for their flops and bytes; empty in shipped graphs."""
        expected = self.machine.work_ns(self.flops, self.traffic)
        work = np.maximum(self.time_ns - self.machine.launch_ns, 0)
        usual = self.machine.times(self.flops, self.traffic) == self.time_ns
        node = np.flatnonzero(~usual & (self.time_ns > 0))
        known = expected[node] > 0
        pace = np.divide(work[node], expected[node], out=np.ones(len(node)), where=known)
        return Odd(node, pace, np.where(known, 0, work[node]))

    @property
    def total_ns(self) -> int:
        """Time of all operators one after the other on the reference device."""
        return int(self.time_ns.sum())


def _pointers(owner: Array, count: int) -> Array:
    """Where each owner's rows begin in an array sorted by owner, (count + 1,) int32."""
    return np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))]).astype(np.int32)


def check_graph(graph: DataflowGraph) -> None:
    """UsageError, naming the first row that is wrong, unless a graph is what its docstring says."""
    name, nodes, tensors = graph.name, graph.nodes, graph.tensors
    if not 1 <= nodes <= MAX_NODES:
        raise UsageError(f"{name} has {nodes} nodes; a graph has between 1 and {MAX_NODES}.")
    for what, values, low, high in (
        ("op", graph.op, 0, len(graph.op_types) - 1), ("time_ns", graph.time_ns, 0, MAX_NUMBER),
        ("flops", graph.flops, 0, MAX_NUMBER), ("bytes", graph.traffic, 0, MAX_NUMBER),
        ("param_bytes", graph.param_bytes, 0, MAX_NUMBER), ("layer", graph.layer, 0, 2**20),
        ("phase", graph.phase, 0, 2), ("coloc", graph.coloc, -1, 2**30),
        ("time_cpu_ns", graph.time_cpu_ns, 0, MAX_NUMBER), ("human_expert", graph.human_expert, 0, 2**15),
        ("module", graph.module, 0, len(graph.modules) - 1),
    ):  # fmt: skip
        if len(values) != nodes and not (what in OPTIONAL and len(values) == 0):
            raise UsageError(f"{name}: {what} has {len(values)} entries, expected one for each of the {nodes} nodes.")
        _refuse_first(name, f"{what} of node", values, (values < low) | (values > high), f"{low} to {high}")
    if len(graph.op_class) != len(graph.op_types):
        raise UsageError(f"{name}: op_class has {len(graph.op_class)} entries for {len(graph.op_types)} op_types.")
    _refuse_first(name, "op_class", graph.op_class, (graph.op_class < 0) | (graph.op_class > 3), "0 to 3")
    for what, values, count in (
        ("src of tensor", graph.tensor_src, nodes), ("tensor of edge", graph.edge_tensor, tensors),
        ("dst of edge", graph.edge_dst, nodes),
    ):  # fmt: skip
        expected = f"0 to {count - 1}" if count else "none, as there are no tensors"
        _refuse_first(name, what, values, (values < 0) | (values >= count), expected)
    wrong = (graph.tensor_bytes < 0) | (graph.tensor_bytes > MAX_NUMBER)
    _refuse_first(name, "bytes of tensor", graph.tensor_bytes, wrong, f"0 to {MAX_NUMBER}")
    if len(graph.tensor_bytes) != tensors or len(graph.edge_dst) != graph.edges:
        raise UsageError(f"{name}: src and bytes of tensors, or tensor and dst of edges, differ in length.")
    if (np.diff(graph.tensor_src) < 0).any():
        raise UsageError(f"{name}: tensors must be listed by their producer; sort them by src.")
    order = graph.edge_dst.astype(np.int64) * tensors + graph.edge_tensor
    if (np.diff(order) <= 0).any():
        raise UsageError(f"{name}: edges must be unique pairs sorted by dst, then tensor.")
    backward = graph.edge_src >= graph.edge_dst
    if backward.any():
        e = int(np.flatnonzero(backward)[0])
        raise UsageError(
            f"{name}: node {graph.edge_dst[e]} reads a tensor of node {graph.edge_src[e]}; nodes must be listed in a "
            "topological order, so that every edge goes from a smaller to a larger id."
        )
    for what, values in (("times", graph.time_ns), ("tensors", graph.tensor_bytes), ("parameters", graph.param_bytes),
                         ("flops", graph.flops), ("traffic", graph.traffic)):  # fmt: skip
        if float(values.sum(dtype=np.float64)) > 2**60:
            raise UsageError(f"{name}: its {what} add up to more than 2^60; use a larger unit.")


def _refuse_first(name: str, what: str, values: Array, wrong: Array, expected: str) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UsageError(f"{name}: {what} {row} is {values[row]}, expected {expected}.")
