"""Fusion of operators: which ones become one kernel, and the graph of these kernels.

Every operator has a priority; those above 0, from the highest to the lowest and then by id, try to take in the readers
of their outputs. A merge needs the same device and phase, at most MAX_GROUP operators, no HEAVY operator on the side of
the reader, and that no other path leads from one group to the other, so that the graph of groups stays acyclic.
Operators of class NEVER stay alone; a REDUCTION is taken in but takes in nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.dataflow.graphs.fusion_kernels import merge_groups, number_groups
from sysgym.dataflow.graphs.graph import HEAVY, NEVER, REDUCTION, DataflowGraph

MAX_GROUP = 64  # operators in a group
SLICES = ("embedding", "narrow", "select", "slice", "split", "unbind")  # they read as much as they write
LOOKUPS = (  # they read rows that their indices name, and those in place write only these
    "index", "index_select", "gather", "take", "_unsafe_index", "_embedding_bag", "_embedding_bag_forward_only",
    "index_put_", "index_copy_", "index_add_", "index_fill_", "scatter_", "scatter_add_", "scatter_reduce_", "put_",
    "copy_", "fill_", "zero_", "gather_nd",
)  # fmt: skip


@dataclass(frozen=True)
class Fused:
    """A graph whose operators are groups of another graph's operators."""

    graph: DataflowGraph  # of the G groups
    times: Array  # (D, G) int64 nanoseconds
    group: Array  # (N,) int32 group of each operator

    @cached_property
    def first(self) -> Array:
        """(G,) int64 smallest member of each group; `placement[first]` is the placement of the groups."""
        return np.unique(self.group, return_index=True)[1]

    def largest(self, values: Array) -> Array:
        """(G,) largest of the members' values (N,), as of priorities of scheduling."""
        found = values[self.first]
        np.maximum.at(found, self.group, values)
        return np.asarray(found)


def fuse(graph: DataflowGraph, placement: Array, priority: Array, limit: int = MAX_GROUP) -> Array:
    """Groups (N,) int32 that the priorities (N,) of fusion make under a placement (N,); 0 or less: takes in nothing.

    Groups are numbered in Kahn's order, the one with the smallest member first, so ids are a topological order.
    """
    level = np.asarray(priority, np.int64)
    kind = graph.classes
    starts = np.flatnonzero((level > 0) & (kind != NEVER) & (kind != REDUCTION))
    order = starts[np.argsort(-level[starts], kind="stable")].astype(np.int32)
    group, rank = np.empty(graph.nodes, np.int32), np.empty(graph.nodes, np.int32)
    links = (graph.out_ptr, graph.use_ptr, graph.use_node)
    merge_groups(
        order, kind, np.asarray(placement, np.int32), graph.phase, *links, graph.in_ptr, graph.edge_src, limit, group
    )
    number_groups(group, *links, rank)
    return np.asarray(rank[group])


def fused_graph(graph: DataflowGraph, groups: Array, times: Array) -> Fused:
    """The graph of the groups (N,) of `fuse`, and their times given those of the operators, (D, N) or (N,) ns.

    A group of one operator keeps its times. Others take what `_kernel_times` says on the reference device, and on
    device d that times the members' sum of times[d] over their sum of time_ns. Tensors without readers outside are
    gone, except those that nobody reads at all. A group has the kind of operator of its first HEAVY member, else of its
    first, whose layer and co-location it has too.
    """
    count = int(groups.max(initial=-1)) + 1
    if (groups[graph.edge_src] > groups[graph.edge_dst]).any():
        raise UsageError("groups must be numbered in a topological order of the graph of groups, as `fuse` does.")
    tensor, tensor_src, edge_tensor, edge_dst, amount = _outside(graph, groups)
    traffic = _sums(edge_dst, amount, count) + _sums(tensor_src, graph.tensor_bytes[tensor], count)
    flops, alone = _sums(groups, graph.flops, count), np.bincount(groups, minlength=count) == 1
    first = np.unique(groups, return_index=True)[1]
    base = _sums(groups, graph.time_ns, count)
    model = _kernel_times(graph, groups, flops, traffic, base)

    def grouped(row: Array) -> Array:
        ratio = np.divide(total := _sums(groups, row, count), base, out=np.ones(count), where=base > 0)
        return np.where(alone, total, np.rint(model * ratio).astype(np.int64))

    speaker, heavy = first.copy(), np.flatnonzero(graph.classes == HEAVY)[::-1]
    speaker[groups[heavy]] = heavy
    fused = replace(
        graph, op=graph.op[speaker], time_ns=grouped(graph.time_ns), flops=flops,
        traffic=np.where(alone, graph.traffic[first], traffic), param_bytes=_sums(groups, graph.param_bytes, count),
        layer=graph.layer[first], phase=graph.phase[first], coloc=graph.coloc[first], tensor_src=tensor_src,
        tensor_bytes=graph.tensor_bytes[tensor], edge_tensor=edge_tensor, edge_dst=edge_dst,
        time_cpu_ns=grouped(graph.time_cpu_ns) if len(graph.time_cpu_ns) else graph.time_cpu_ns,
        human_expert=graph.human_expert[first] if len(graph.human_expert) else graph.human_expert,
    )  # fmt: skip
    return Fused(fused, np.stack([grouped(row) for row in np.atleast_2d(times)]), np.asarray(groups, np.int32))


def _kernel_times(graph: DataflowGraph, groups: Array, flops: Array, traffic: Array, alone: Array) -> Array:
    """Nanoseconds (G,) int64 of the groups as one kernel each on the machine of the graph, given their flops, the bytes
    that enter and leave and the time of the members one by one, (G,) each: never more than that.

    The launch, and the longer of computing and moving bytes. An operator whose time is not that of the roofline, as it
    was measured, computes and moves bytes as much slower or faster than it; where neither flops nor bytes are known,
    all of its time is computing, which fusion cannot save.
    """
    machine, odd, count = graph.machine, graph.beside_roofline, len(traffic)
    if not len(odd.node):
        return np.asarray(np.minimum(machine.times(flops, traffic), alone))
    owner = groups[odd.node]

    def scaled(sums: Array, amounts: Array) -> Array:
        """The sums with the amounts of odd operators times their pace; exact where there are none."""
        return np.asarray(sums + np.bincount(owner, (odd.pace - 1) * amounts[odd.node], count))

    moved = _sums(groups, graph.traffic, count)
    pace = np.divide(scaled(moved, graph.traffic), moved, out=np.ones(count), where=moved > 0)
    none = np.zeros(count)
    computing = machine.work_ns(scaled(flops, graph.flops), none) + np.bincount(owner, odd.unknown_ns, count)
    moving = machine.work_ns(none, traffic) * pace
    kernel = machine.launch_ns + np.rint(np.maximum(computing, moving)).astype(np.int64)
    return np.asarray(np.minimum(kernel, alone))


def _outside(graph: DataflowGraph, groups: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Tensors that leave their group, and who reads them.

    Returns old ids (T',) of the tensors and their groups (T',), then new ids (E',) and groups (E',) of the reads and
    the most bytes (E',) int64 of the tensor that one member of the group reads.
    """
    owner, reader = groups[graph.tensor_src].astype(np.int32), groups[graph.edge_dst]
    cross = np.flatnonzero(owner[graph.edge_tensor] != reader)
    kept = np.ones(graph.tensors, np.bool_)
    kept[graph.edge_tensor] = False
    kept[graph.edge_tensor[cross]] = True
    tensor = np.flatnonzero(kept)
    tensor = tensor[np.argsort(owner[tensor], kind="stable")]
    new = np.empty(graph.tensors, np.int64)
    new[tensor] = np.arange(len(tensor))
    key = reader[cross] * np.int64(max(len(tensor), 1)) + new[graph.edge_tensor[cross]]
    order = np.argsort(key, kind="stable")
    cross, key = cross[order], key[order]
    begin = np.flatnonzero(np.diff(key, prepend=-1))
    amount = np.maximum.reduceat(_read_bytes(graph, cross), begin) if len(begin) else np.zeros(0, np.int64)
    dst, read = np.divmod(key[begin], max(len(tensor), 1))
    return tensor, owner[tensor], read.astype(np.int32), dst.astype(np.int32), amount


def _read_bytes(graph: DataflowGraph, edges: Array) -> Array:
    """Bytes (len(edges),) int64 that the reads move: whole tensors, or what a slice of them writes if that is less, or
    what a lookup of rows moves besides what it writes.
    """
    whole, dst = graph.tensor_bytes[graph.edge_tensor[edges]], graph.edge_dst[edges]
    slices, lookups = (
        np.array([name in names for name in graph.op_types], np.bool_)[graph.op[dst]] for names in (SLICES, LOOKUPS)
    )
    written = _sums(graph.tensor_src, graph.tensor_bytes, graph.nodes)[dst]
    rows = np.maximum(graph.traffic[dst] - written, 0)
    most = np.where(slices, written, np.where(lookups & (rows > 0), rows, whole))
    return np.asarray(np.minimum(whole, most))


def _sums(owner: Array, values: Array, count: int) -> Array:
    """Sum of each owner's values, (count,) int64."""
    found = np.zeros(count, np.int64)
    np.add.at(found, owner, values)
    return found
