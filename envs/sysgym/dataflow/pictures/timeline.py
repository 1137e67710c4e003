"""What happens when: the execution that a solution stands for, and the memory of every device over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np

from sysgym.core.problem import Array, ArraySpec
from sysgym.core.solutions import check_arrays
from sysgym.dataflow.graphs.cluster import Cluster
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.simulator.job import Job, Score
from sysgym.dataflow.simulator.simulate import Outcome, simulate

FINISH, ARRIVAL, DISPATCH = 0, 1, 2  # stages of a round: the order in which things of one time happen
MEANINGS = {"placement": "device of each operator", "priority": "the highest first", "fusion": "0: takes in nothing"}


class Execution(NamedTuple):
    """What runs when a solution is carried out; with fusion, operators are groups."""

    graph: DataflowGraph  # that runs
    times: Array  # (D, N) int64 nanoseconds
    placement: Array  # (N,) int32 device of each operator of `graph`
    members: Array  # (N,) int64 operators of the job's graph in each operator of `graph`
    outcome: Outcome | None  # None for throughput, where no order exists
    score: Score


def execute(job: Job, solution: Any) -> Execution:
    """Carry out a solution: any of `placement` (else the expert's), `priority` and `fusion`; InvalidSolution if bad.

    Placeto's simulator records no times, so with it the outcome is that of the usual one, first come, first served.
    """
    graph, limit = job.graph, 2**30
    ranges = {"placement": (0, job.devices - 1), "priority": (-limit, limit), "fusion": (0, limit)}
    known = {key: ArraySpec((graph.nodes,), "int", *ranges[key], MEANINGS[key]) for key in ranges}
    given = solution if isinstance(solution, Mapping) else {"placement": solution}
    found = check_arrays({key: spec for key, spec in known.items() if key in given}, given)
    placement = np.ascontiguousarray(found.get("placement", job.expert), np.int32)
    score = job.score(placement, found.get("priority"), found.get("fusion"))
    outcome, times = score.outcome, job.times
    members = np.ones(graph.nodes, np.int64)
    if job.rules.simulator == "placeto":
        outcome = simulate(graph, times, job.cluster, placement)
    if score.fused is not None:
        graph, times, placement = score.fused.graph, score.fused.times, placement[score.fused.first]
        members = np.bincount(score.fused.group)
    return Execution(graph, times, placement, members, outcome, score)


def arrivals(graph: DataflowGraph, cluster: Cluster, placement: Array, outcome: Outcome) -> Array:
    """When each transfer arrives, (transfers,) int64 ns: the latency after it leaves its links."""
    tensor, target = outcome.moves[:, 0], outcome.moves[:, 1]
    return np.asarray(outcome.spans[:, 1] + cluster.latency_ns[placement[graph.tensor_src[tensor]], target])


def memory_timeline(
    graph: DataflowGraph, cluster: Cluster, placement: Array, outcome: Outcome, priority: Array | None = None
) -> list[tuple[Array, Array]]:
    """Memory of every device as a step function: times (K,) int64 ns, not decreasing, and bytes (K,) int64 from then.

    It is rebuilt from the times of an outcome, without the simulator. Things of one time follow in the simulator's
    order, so a time may occur several times, and the largest value is the device's peak. `priority` (N,), of the
    execution, only orders operators that take no time.
    """
    place, src = np.asarray(placement, np.int64), graph.tensor_src
    tensor, target = outcome.moves.astype(np.int64).T
    arrival = arrivals(graph, cluster, place, outcome)
    begun, ended = _rounds(graph, place, outcome, _available(graph, place, outcome, arrival), priority)
    owner, stays, devices = place[src], graph.param_bytes[src] > 0, cluster.devices
    index = np.arange(len(tensor))

    own = np.flatnonzero(~stays)
    born = [
        _events(outcome.start[src[own]], begun[src[own]], DISPATCH, owner[own], own * devices + owner[own]),
        _events(outcome.finish[src[tensor]], ended[src[tensor]], FINISH, 2 * owner[tensor] + 1,
                tensor * devices + target),
    ]  # fmt: skip
    dst = graph.edge_dst
    unread = own[np.diff(graph.use_ptr)[own] == 0]
    late = np.where(arrival == outcome.finish[src[tensor]], ended[src[tensor]], 0)
    closing = np.concatenate([
        _events(outcome.finish[dst], ended[dst], FINISH, 2 * place[dst], graph.edge_tensor * devices + place[dst]),
        _events(arrival, late, ARRIVAL, index, tensor * devices + owner[tensor]),
        _events(outcome.finish[src[unread]], ended[src[unread]], FINISH, 2 * owner[unread],
                unread * devices + owner[unread]),
    ], axis=1)  # fmt: skip
    closing = closing[:, np.lexsort(closing[::-1])]
    _, last = np.unique(closing[4, ::-1], return_index=True)
    died = closing[:, closing.shape[1] - 1 - last]
    died = died[:, ~(stays[died[4] // devices] & (owner[died[4] // devices] == died[4] % devices))]
    return _steps(graph, place, devices, np.concatenate(born, axis=1), died)


def _steps(graph: DataflowGraph, place: Array, devices: int, born: Array, died: Array) -> list[tuple[Array, Array]]:
    """Running sums of events (5, K) that begin and end copies of tensors, over the parameters of each device."""
    events = np.concatenate([born, died], axis=1)
    sign = np.repeat([1, -1], [born.shape[1], died.shape[1]])
    order = np.lexsort(events[3::-1])
    change = (sign * graph.tensor_bytes[events[4] // devices])[order]
    time, device = events[0, order], (events[4] % devices)[order]
    found = []
    for d in range(devices):
        mine = device == d
        held = int(graph.param_bytes[place == d].sum())
        found.append((np.concatenate([[0], time[mine]]), held + np.concatenate([[0], np.cumsum(change[mine])])))
    return found


def _events(time: Array, round_: Array, stage: int, who: Array, copy: Array) -> Array:
    """Rows time, round, stage, order within the stage, and copy (tensor x D + device), (5, K) int64."""
    return np.stack(np.broadcast_arrays(time, round_, stage, who, copy)).astype(np.int64)


def _available(graph: DataflowGraph, place: Array, outcome: Outcome, arrival: Array) -> Array:
    """When each read's tensor is there, (E,) int64 ns: its producer's end, or its arrival."""
    tensor, devices = graph.edge_tensor.astype(np.int64), int(place.max(initial=0)) + 1
    found = outcome.finish[graph.edge_src]
    away = np.flatnonzero(place[graph.edge_src] != place[graph.edge_dst])
    moved = outcome.moves[:, 0].astype(np.int64) * devices + outcome.moves[:, 1]
    order = np.argsort(moved, kind="stable")
    found[away] = arrival[order[np.searchsorted(moved[order], tensor[away] * devices + place[graph.edge_dst[away]])]]
    return np.asarray(found)


def _rounds(
    graph: DataflowGraph, place: Array, outcome: Outcome, available: Array, priority: Array | None
) -> tuple[Array, Array]:
    """In which round of their time operators start and end, (N,) int64 each.

    Operators that take no time end in the round after they start; rounds are 0 wherever there are none.
    """
    start, instant = outcome.start, outcome.start == outcome.finish
    begun, ended = np.zeros((2, graph.nodes), np.int64)
    hot = np.isin(start, start[instant])
    ready = np.zeros(graph.nodes, np.int64)
    np.maximum.at(ready, graph.edge_dst, available)
    order = ready if priority is None else -np.asarray(priority, np.int64)
    keys = {v: (int(order[v]), int(ready[v])) for v in np.flatnonzero(hot).tolist()}
    src, dst = graph.edge_src, graph.edge_dst
    tied = np.flatnonzero(hot[dst] & instant[src] & (available == start[dst]) & (start[src] == start[dst]))
    readers: dict[int, list[int]] = {}
    waits = dict.fromkeys(keys, 0)
    for u, v in zip(src[tied].tolist(), dst[tied].tolist(), strict=True):
        readers.setdefault(u, []).append(v)
        waits[v] += 1
    members = np.flatnonzero(hot)
    members = members[np.argsort(start[members], kind="stable")]
    for group in np.split(members, np.flatnonzero(np.diff(start[members])) + 1):
        for v, at in _replay(group.tolist(), place, instant, keys, readers, waits):
            begun[v], ended[v] = at, at + 1 if instant[v] else 0
    return begun, ended


def _replay(
    members: Iterable[int], place: Array, instant: Array, keys: Mapping[int, tuple[int, int]],
    readers: Mapping[int, list[int]], waits: dict[int, int],
) -> list[tuple[int, int]]:  # fmt: skip
    """Operators that start at one time, with the round in which each does."""
    queues: dict[int, list[tuple[int, int, int, int]]] = {}
    for v in members:
        if waits[v] == 0:
            heappush(queues.setdefault(int(place[v]), []), (*keys[v], 0, v))
    found: list[tuple[int, int]] = []
    at, ended = 0, [-1]
    while ended:
        ended = []
        for d in sorted(queues):
            if queues[d]:
                v = heappop(queues[d])[3]
                found.append((v, at))
                if instant[v]:
                    ended.append(v)
                else:
                    queues[d] = []  # the device is busy from now on
        at += 1
        for v in (u for e in ended for u in readers.get(e, ())):
            waits[v] -= 1
            if waits[v] == 0:
                heappush(queues.setdefault(int(place[v]), []), (*keys[v], at, v))
    return found
