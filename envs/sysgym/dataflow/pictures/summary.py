"""An execution in words: its cost, memory and transfers, and a line of text for what each device does over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.drawing.tools import duration, size
from sysgym.core.problem import Array
from sysgym.dataflow.pictures.timeline import Execution, execute
from sysgym.dataflow.simulator.job import Job
from sysgym.dataflow.simulator.simulate import Outcome
from sysgym.dataflow.simulator.throughput import device_loads

STRIP, SHOWN = 64, 16  # letters of a line, devices that have one


def coverage(begin: Array, end: Array, columns: int, weight: Array | None = None) -> Array:
    """How much of each column 0..columns - 1 intervals cover, times their weights, (columns,) float64.

    begin, end: (K,) in columns. Two intervals that overlap count twice.
    """
    edges, each = np.arange(columns + 1), np.ones(len(begin)) if weight is None else weight

    def before(points: Array) -> Array:
        order = np.argsort(points, kind="stable")
        sums = np.zeros((2, len(points) + 1))
        sums[:, 1:] = np.cumsum([each[order], (each * points)[order]], axis=1)
        n = np.searchsorted(points[order], edges, side="right")
        return np.asarray(edges * sums[0, n] - sums[1, n])

    return np.maximum(np.diff(before(begin) - before(end)), 0.0)


def by_phase(run: Execution, outcome: Outcome, device: int, columns: int) -> tuple[Array, Array]:
    """What a device computes in each column of time: shares (3, columns) of phases, mean layer (3, columns) 0..1."""
    scale, graph = columns / max(outcome.makespan_ns, 1), run.graph
    depth = graph.layer / max(int(graph.layer.max()), 1)
    shares, layers = np.zeros((2, 3, columns))
    for phase in range(3):
        mine = (run.placement == device) & (graph.phase == phase)
        begin, end = outcome.start[mine] * scale, outcome.finish[mine] * scale
        shares[phase] = coverage(begin, end, columns)
        layers[phase] = coverage(begin, end, columns, depth[mine]) / np.maximum(shares[phase], 1e-9)
    shares[shares < 1e-9] = 0
    return shares, np.clip(layers, 0, 1)


def limits(job: Job) -> Array:
    """Bytes that each device may hold, (D,) float64; without end where memory does not count."""
    return np.full(job.devices, np.inf) if job.rules.simulator == "placeto" else job.capacity.astype(np.float64)


def load_parts(job: Job, run: Execution) -> tuple[Array, Array]:
    """Nanoseconds of operators, and of these and transfers, on each device, (D,) each."""
    mine = run.times[run.placement, np.arange(run.graph.nodes)]
    compute = np.bincount(run.placement, weights=mine, minlength=job.devices)
    return compute, device_loads(run.graph, run.placement, run.times, float(job.cluster.bandwidth.mean()) / 1000)


def headlines(job: Job, run: Execution) -> list[str]:
    """Title, figures, and what else must be known."""
    cost = run.score.cost
    name = "/".join(Path(job.graph.name).parts[-2:]) if len(job.graph.name) > 60 else job.graph.name
    fused = f" in {run.graph.nodes} groups" if run.score.fused is not None else ""
    title = f"{name}   {job.graph.nodes} operators{fused}, {job.devices} device{'s' * (job.devices > 1)}"
    what = "makespan" if run.outcome is not None else "largest load"
    over_expert, over_single = job.expert_ns / max(cost, 1.0), job.single_ns / max(cost, 1.0)
    figures = [f"{what} {duration(cost)}", f"speed-up {over_expert:.2f} over the expert",
               f"{over_single:.2f} over a single device"]  # fmt: skip
    held = np.bincount(run.placement, weights=run.graph.param_bytes, minlength=job.devices)
    if run.outcome is not None:
        held = run.outcome.peak_bytes
        busy = 100 * run.outcome.busy_ns.sum() / max(run.outcome.makespan_ns, 1) / job.devices
        moved = f"{run.outcome.transfers} transfers of {size(run.outcome.transfer_bytes)}"
        figures += [f"peak {size(float(held.max()))}", f"devices {busy:.1f} % busy", moved]
    over = [f"{job.cluster.kinds[d]} {d} needs {size(float(held[d]))} and has {size(float(job.capacity[d]))}"
            for d in np.flatnonzero(held > limits(job)).tolist()]  # fmt: skip
    notes = ["OUT OF MEMORY: " + ", ".join(over)] if over else []
    if job.rules.simulator == "placeto" and run.outcome is not None:
        notes.append("the makespan is of Placeto's simulator; times here are of the usual one, which takes "
                     f"{duration(run.outcome.makespan_ns)}")  # fmt: skip
    elif job.rules.noise and run.outcome is not None:
        notes.append(f"the makespan is the mean of {job.rules.noise_samples} noisy executions; without noise, as here, "
                     f"it is {duration(run.outcome.makespan_ns)}")  # fmt: skip
    return [title, ", ".join(figures), *notes]


def describe(job: Job, solution: Any) -> str:
    """Figures, and a line for each device: its phase over time, F, B or U, small where it is idle half of the time."""
    run = execute(job, solution)
    lines, more = headlines(job, run), [f"  ... and {job.devices - SHOWN} more devices"] * (job.devices > SHOWN)
    if run.outcome is None:
        compute, loads = load_parts(job, run)
        for d in range(min(job.devices, SHOWN)):
            bar = "#" * round(STRIP * float(loads[d]) / max(float(loads.max()), 1.0))
            lines.append(f"  {job.cluster.kinds[d]} {d:<2} {bar:{STRIP}} {duration(float(loads[d]))}, "
                         f"operators {duration(float(compute[d]))}")  # fmt: skip
        return "\n".join([*lines, *more])
    for d in range(min(job.devices, SHOWN)):
        shares, _ = by_phase(run, run.outcome, d, STRIP)
        most, total = shares.argmax(axis=0), shares.sum(axis=0)
        letters = np.where(total >= 0.5, np.array([*"FBU"])[most], np.array([*"fbu"])[most])
        strip = "".join(np.where(total > 0.005, letters, "."))
        busy = 100 * int(run.outcome.busy_ns[d]) / max(run.outcome.makespan_ns, 1)
        peak = size(float(run.outcome.peak_bytes[d]))
        lines.append(f"  {job.cluster.kinds[d]} {d:<2} {strip} {busy:5.1f} % busy, peak {peak}")
    lines += [*more, f"  from 0 to {duration(run.outcome.makespan_ns)}; F forward, B backward, U update"]
    return "\n".join(lines)
