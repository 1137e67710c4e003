"""Executions in Chrome's trace event format, which Perfetto and chrome://tracing show."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.dataflow.graphs.graph import PHASES
from sysgym.dataflow.pictures.summary import headlines
from sysgym.dataflow.pictures.timeline import Execution, arrivals, execute, memory_timeline
from sysgym.dataflow.simulator.job import Job
from sysgym.dataflow.simulator.simulate import Outcome

Event = dict[str, Any]


def chrome_trace(job: Job, solution: Any) -> dict[str, Any]:
    """An execution as trace events, times in microseconds.

    A device is a process (`pid` is its number) with a thread of operators, threads of the transfers that it sends and
    receives (several where links carry transfers at once), and a counter of its memory in bytes. InvalidSolution if
    the solution is none; UsageError for throughput, where nothing has a time.
    """
    run = execute(job, solution)
    if run.outcome is None:
        raise UsageError("objective 'throughput' knows loads, not times; a trace needs objective='latency'.")
    events = [*_operators(run, run.outcome), *_transfers(job, run, run.outcome), *_memory(job, run, run.outcome)]
    notes = headlines(job, run)
    return {
        "traceEvents": [*_names(job, events), *events],
        "displayTimeUnit": "ms",
        "otherData": {"graph": job.graph.name, "summary": notes[1], "notes": "; ".join(notes[2:])},
    }


def _operators(run: Execution, outcome: Outcome) -> list[Event]:
    """A complete event for every operator."""
    graph, found = run.graph, []
    for v, (d, start, finish) in enumerate(
        zip(run.placement.tolist(), outcome.start.tolist(), outcome.finish.tolist(), strict=True)
    ):
        phase, members = PHASES[graph.phase[v]], int(run.members[v])
        name = graph.op_types[graph.op[v]] + (f" +{members - 1}" if members > 1 else "")
        found.append({
            "ph": "X", "pid": d, "tid": 0, "ts": start / 1000, "dur": (finish - start) / 1000, "name": name,
            "cat": phase, "args": {"id": v, "layer": int(graph.layer[v]), "phase": phase, "operators": members},
        })  # fmt: skip
    return found


def _transfers(job: Job, run: Execution, outcome: Outcome) -> list[Event]:
    """Two complete events for every transfer: on the device that sends, and on the one that receives."""
    tensor, target = outcome.moves.T
    source, found = run.placement[run.graph.tensor_src[tensor]], []
    arrival = arrivals(run.graph, job.cluster, run.placement, outcome).tolist()
    sent, received = lanes(source, outcome.spans), lanes(target, outcome.spans)
    base = 2 + max(sent, default=0)  # threads of what is received stand below
    for i, (x, s, p) in enumerate(zip(tensor.tolist(), source.tolist(), target.tolist(), strict=True)):
        begin, end = outcome.spans[i].tolist()
        size, producer = int(run.graph.tensor_bytes[x]), int(run.graph.tensor_src[x])
        args = {"tensor": x, "bytes": size, "operator": producer, "from": s, "to": p, "arrival_us": arrival[i] / 1000}
        shared = {"ph": "X", "ts": begin / 1000, "dur": (end - begin) / 1000, "args": args}
        for d, thread, text, other, category in ((s, 1 + sent[i], "to", p, "send"),
                                                 (p, base + received[i], "from", s, "receive")):  # fmt: skip
            name = f"tensor {x} {text} {job.cluster.kinds[other]} {other}"
            found.append({**shared, "pid": d, "tid": thread, "name": name, "cat": category})
    return found


def lanes(owner: Array, spans: Array) -> list[int]:
    """The lowest numbers 0, 1, ..., (K,), such that spans (K, 2) of one owner (K,) and number do not overlap."""
    found = np.zeros(len(owner), np.int64)
    busy: dict[int, list[tuple[int, int]]] = {}
    free: dict[int, list[int]] = {}
    for i in np.lexsort((spans[:, 1], spans[:, 0])).tolist():
        d, (begin, end) = int(owner[i]), spans[i].tolist()
        mine, spare = busy.setdefault(d, []), free.setdefault(d, [])
        while mine and mine[0][0] <= begin:
            heappush(spare, heappop(mine)[1])
        found[i] = heappop(spare) if spare else len(mine)
        heappush(mine, (end, int(found[i])))
    return [int(lane) for lane in found]


def _memory(job: Job, run: Execution, outcome: Outcome) -> list[Event]:
    """Counters: at each time the largest memory, then, where it differs, the last."""
    found = []
    for d, (times, held) in enumerate(memory_timeline(run.graph, job.cluster, run.placement, outcome)):
        first = np.flatnonzero(np.diff(times, prepend=-1))
        most, last = np.maximum.reduceat(held, first), held[np.append(first[1:], len(held)) - 1]
        for at, high, low in zip(times[first].tolist(), most.tolist(), last.tolist(), strict=True):
            for value in (high, low) if high != low else (low,):
                found.append({"ph": "C", "pid": d, "ts": at / 1000, "name": "memory", "args": {"bytes": value}})
    return found


def _names(job: Job, events: list[Event]) -> list[Event]:
    """Names of processes and threads, in the order in which they shall stand."""
    found: list[Event] = []
    threads = {(event["pid"], event["tid"]): event["cat"] for event in events if event["ph"] == "X"}
    for d, kind in enumerate(job.cluster.kinds):
        found.append({"ph": "M", "pid": d, "name": "process_name", "args": {"name": f"{kind} {d}"}})
        found.append({"ph": "M", "pid": d, "name": "process_sort_index", "args": {"sort_index": d}})
    for (d, thread), category in sorted(threads.items()):
        what = {"send": "sends", "receive": "receives"}.get(category, "operators")
        shared = {"ph": "M", "pid": d, "tid": thread}
        found.append({**shared, "name": "thread_name", "args": {"name": what}})
        found.append({**shared, "name": "thread_sort_index", "args": {"sort_index": thread}})
    return found
