"""Device placement as a sysgym problem."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError
from sysgym.core.options import Range
from sysgym.core.problem import ArraySpec, Solution, Verdict
from sysgym.core.solutions import check_arrays
from sysgym.dataflow.problem import GraphProblem

if TYPE_CHECKING:
    from sysgym.dataflow.graphs.graph import DataflowGraph


@complete
class DevicePlacement(GraphProblem):
    """Place the operators of a neural network on devices so that a step takes as little time as possible.

    Description: the problem of ColocRL, HDP, Placeto, GDP (Zhou et al., arXiv 1910.01578) and GO (arXiv 2010.12438).
    cost = makespan in ns of an exact event-driven simulation: a device runs one operator at a time, a tensor is sent
    once to every other device that reads it, links carry one transfer at a time and add a latency. A placement is
    feasible if no device's memory is exceeded at any time (parameters stay, tensors live until their last reader
    ends). `objective="throughput"` is the largest load of a device in a pipeline instead (Tarnawski et al., NeurIPS
    2020). Solution: `placement`, (N,) device of each operator. Instances: JSON graphs of the format
    sysgym.dataflow/1, which `sysgym trace` makes from PyTorch and ONNX models.

    Options:
        mode: "oneshot" (all operators at once), "grouped" (all groups at once), "sequential" (unit by unit, each with
            a simulation: Placeto's process) or "refine" (move a unit, the best placement counts).
        grouping: what a unit is: "op", "layers" (layer x phase x chunk of time) or "metis" (needs pymetis); default
            "op" in mode oneshot, else "layers". groups: about how many units;
            "layers" makes at least one of every layer and phase.
        rounds: steps of `oneshot` and `grouped`; each sees the simulation of the last, the best counts.
        steps: moves in an episode of `refine`; default twice the units, at least 16.
        start: what is shown first, and where `sequential` and `refine` start: "single" device, "expert" or "random".
        devices: how many like devices (default: as many as the graph's references use), or a JSON file of kinds,
            speeds, capacities, bandwidths and latencies (see `sysgym.dataflow.graphs.cluster`), which then rules.
        link_mode: "egress_ingress" (one port each way a device), "pair" (a link for each pair) or "none" (no waiting).
        bandwidth: bytes per ns. latency_ns: added to each transfer. capacity: bytes of memory of a device.
        mem_factor: capacity as a multiple of the peak of everything on one device; below 1 forces a split.
        objective: "latency" or "throughput", which counts parameters only as memory.
        schedule: order of ready operators: "fifo" (first come, first served) or "critical_path" (longest path first).
        simulator: "events" or "placeto" (Placeto's: one bus a device, no memory; for comparison with its papers).
        noise: deviation of log-normal factors on times; cost is the mean over noise_samples, drawn from noise_seed.
        generator: recipe of `generate`, such as "layered:depth=6,width=4" (a seed is drawn).

    Observation: nodes are units. Features: time, output_bytes, param_bytes, flops, operators (logarithms), layer,
    forward, backward, update (shares of operators), in_degree, out_degree (logarithms), up_rank, down_rank (of the
    critical path), never, elementwise, heavy, reduction (shares of operators), time_share (of an even share), then
    device (of D), placed, current, start (of the makespan), load (of its device, of the makespan), local (share of
    bytes that stay on the device), memory (of its device). Edges: log bytes, sending time over the time of a single
    device. Globals: log_units, log_operators, log_devices, cost, best (over that of a single device), memory,
    transfers (over reads), sending (log of the time to send every tensor once over that of a single device), links (0
    none, 0.5 pair, 1 egress_ingress), progress. `sequential` describes each device by load, near, memory, busy, here,
    work.

    Metrics: makespan_ns (max_load_ns for throughput), speedup_vs_single, speedup_vs_expert (first come, first served;
    above 1 is faster), peak_bytes and busy_ns of the device with most, busy_share (mean of devices), transfers,
    transfer_bytes, gap_to_bound (over the longest path or an even share of the work), devices.

    Rewards: see `sysgym.core.rewards`; the scale is the cost of everything on one device, in `refine` a tenth of it.
    Out of memory costs at least 10 at the end.
    Version history: v0, first release.
    """

    name = "DevicePlacement"
    version = 0
    variants = (
        {"mode": "oneshot"}, {"mode": "grouped", "rounds": 2}, {"mode": "sequential"}, {"mode": "refine"},
    )  # fmt: skip
    recommended_agent = "sa-device"
    default_instances = "layered/train"

    mode: Literal["oneshot", "grouped", "sequential", "refine"] = "grouped"
    grouping: Literal["op", "layers", "metis"] | None = None
    rounds: Annotated[int, Range(1, 100)] = 1
    steps: Annotated[int | None, Range(1, 10**8)] = None
    objective: Literal["latency", "throughput"] = "latency"
    simulator: Literal["events", "placeto"] = "events"

    def __post_init__(self) -> None:
        if self.mode == "oneshot" and self.grouping not in (None, "op"):
            raise UsageError(f"mode 'oneshot' decides operators; for grouping {self.grouping!r} use mode='grouped'.")
        self.check_rules()

    @property
    def unit_kind(self) -> str:
        """What a unit is: op, layers or metis."""
        return self.grouping or ("op" if self.mode == "oneshot" else "layers")

    @cached_property
    def dynamics(self) -> Any:
        """The dynamics of the chosen mode (imports numba)."""
        from sysgym.device_placement.modes import OneShot, Refine, Sequential

        if self.mode in ("oneshot", "grouped"):
            return OneShot(self.works, self.rules, self.start, self.mode, self.rounds)
        if self.mode == "sequential":
            return Sequential(self.works, self.rules, self.start)
        return Refine(self.works, self.rules, self.start, self.steps)

    def solution_arrays(self, instance: DataflowGraph) -> Mapping[str, ArraySpec]:
        """`placement`: a device for each operator."""
        last = self.job(instance).devices - 1
        return {"placement": ArraySpec((instance.nodes,), "int", 0, last, "device of each operator")}

    def judge(self, instance: DataflowGraph, solution: Solution) -> Verdict:
        """Simulate a placement; InvalidSolution if it is none. Cost is the makespan, or the largest load, in ns."""
        found = check_arrays(self.solution_arrays(instance), solution)
        return self.job(instance).verdict(np.ascontiguousarray(found["placement"], np.int32))
