"""Accelerator design as a sysgym problem."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np

from sysgym.accelerator_design.catalogue import TOPIC, is_workload, load_workloads, published_figures, small_cnn
from sysgym.accelerator_design.instance import KINDS, STEPS, STRIDE, C, G, K, P, Q, R, S, Workloads
from sysgym.accelerator_design.space import COUNTS, L2CFG, L2I, L2O, NAMES, indices, named
from sysgym.core.defaults import complete
from sysgym.core.errors import InvalidSolution
from sysgym.core.instances import InstanceSet, Memo, find_entry, load_index
from sysgym.core.options import Range
from sysgym.core.problem import Array, ArraySpec, Axis, Size, Solution, Verdict
from sysgym.core.solutions import check_arrays


@complete
class AcceleratorDesign:
    """Choose a datapath of sixteen parameters for the networks that it will run, against a modelled TPU-v3.

    Description: the problem of FAST (Zhang et al., ASPLOS 2022, arXiv 2105.12842), on our own model `fastsim` v1, which
    is not that paper's simulator. cost = TPU-v3's value / the design's, the geometric mean over the networks of an
    instance: below 1 is better than TPU-v3 at batch 256. A design is feasible within the budgets of area and TDP (and
    latency), if its buffers hold a tile. Solution: `design`, (16,) rows of the table of parameters; as .json also the
    parameters by name, {"pe_x": 8, ..., "l1cfg": "private"}. In mode "joint" also `schedule`, (regions,), 0 to the
    option `schedule`; `residency`, (tensors, most consumers), 1 in column k - 1 where a tensor stays in global memory
    from its producer to its k-th consumer; `pinned`, (regions,), 1 where weights stay for ever. There all are judged as
    given, and what stays must fit in three quarters of the global memory; parameters by name alone get the exact plan.

    Options:
        mode: "sequential" (one parameter after the other), "oneshot" (all at once), "refine" (one step up or down) or
            "joint" (as "sequential", then schedule and residency of one region after the other).
        objective: "perf_per_tdp" (items a second and watt of peak power), "perf", or "edp" (TDP x seconds^2 / items).
        area_budget, tdp_budget: times those of TPU-v3. latency_ms: most milliseconds of a batch; None: any.
        schedule: 0 baseline, 1 better mapping, 2 depthwise convolutions as Toeplitz matrices too; in `joint` the most
            that a region may have.
        fusion: what stays in global memory between regions: "ilp" (exact), "greedy" (for training: a thousand times
            faster, never better), or "none". `joint` decides that itself: "ilp" measures its gaps, others leave them 0.
        steps: moves in an episode of `refine`.
        generator_blocks: of the small networks of `generate`.

    Observation: nodes are regions: log of P Q, C, K, R S, G, steps, MACs, bytes of weights, inputs and output, MACs a
    byte, stride, kind; once a design is complete, the share of the time that computing and traffic take, and the
    utilisation; in `joint` also schedule, whether it is decided, the share of its consumers to which the output stays,
    pinned. Edges lead from producer to consumer, log bytes. Globals: each parameter (0 to 1), whether it is set, area
    and TDP that the design needs at least over their budgets (capped at 10), in `joint` the share of the room that is
    taken while the next region runs, cost (capped), progress.

    Metrics: perf_per_tdp (times TPU-v3's), seconds_per_batch, tdp_w, area_mm2, utilisation of the multipliers,
    greedy_gap (how much slower greedy fusion is than exact fusion), in `joint` ilp_gap (how much slower the plan is
    than exact fusion at its own schedules or at the usual one, whichever is faster), depthwise_share of the time, and
    perf_per_tdp of each network where there are several; geometric means over the networks.

    Rewards: see `sysgym.core.rewards`; the scale is 1, TPU-v3's cost.
    Version history: v0, first release.
    """

    name = "AcceleratorDesign"
    version = 0
    variants = ({"mode": "sequential"}, {"mode": "oneshot"}, {"mode": "refine"}, {"mode": "joint"})
    recommended_agent = "genetic"
    default_instances = "cnns/train"
    choice_names = ("consumers of a tensor",)
    tradeoff = (Axis("area_mm2", "area, mm2"), Axis("perf_per_tdp", "items a second and watt, times TPU-v3", more=True))

    mode: Literal["sequential", "oneshot", "refine", "joint"] = "sequential"
    objective: Literal["perf_per_tdp", "perf", "edp"] = "perf_per_tdp"
    area_budget: Annotated[float, Range(0.35, 1e6)] = 1.5
    tdp_budget: Annotated[float, Range(0.3, 1e6)] = 1.0
    latency_ms: Annotated[float | None, Range(1e-6, 1e9)] = None
    schedule: Annotated[int, Range(0, 2)] = 2
    fusion: Literal["ilp", "greedy", "none"] = "ilp"
    steps: Annotated[int, Range(1, 10**6)] = 64
    generator_blocks: Annotated[int, Range(1, 64)] = 3

    @property
    def published(self) -> tuple[Mapping[str, str], ...]:
        """What FAST reports, as far as it could be sourced, and how certain each figure is."""
        return published_figures()

    @cached_property
    def rules(self) -> Any:
        """What a design costs, as `judge` takes it (imports numba)."""
        from sysgym.accelerator_design.judge import Rules

        return Rules(self.objective, self.area_budget, self.tdp_budget, self.latency_ms, self.schedule, self.fusion)

    @cached_property
    def measured(self) -> Memo:
        """The simulator of each workload, and what TPU-v3 does with it."""
        from sysgym.accelerator_design.judge import measured_by

        return measured_by(self.rules)

    @cached_property
    def dynamics(self) -> Any:
        """The dynamics of the chosen mode."""
        from sysgym.accelerator_design.modes import Datapaths, choose_mode

        if self.mode != "joint":
            return choose_mode(self)
        from sysgym.accelerator_design.joint.dynamics import Joint

        return Joint(Datapaths(self))

    def load(self, name: Any) -> Workloads:
        """Workloads by registered name, recipe or file; UsageError if they cannot be had or are malformed."""
        return load_workloads(name)

    reads = staticmethod(is_workload)

    def generate(self, rng: np.random.Generator) -> Workloads:
        """A small convolutional network."""
        return small_cnn(int(rng.integers(2**31)), self.generator_blocks)

    def instance_sets(self) -> Mapping[str, InstanceSet]:
        """Registered sets of workloads by name."""
        return load_index(TOPIC)

    def size(self, instance: Workloads) -> Size:
        """Regions, and reads of a region's output; in `joint` the most consumers of one too."""
        regions, reads = len(instance.kind), int((instance.producer[instance.in_tensor] >= 0).sum())
        if self.mode != "joint":
            return Size(regions, reads)
        from sysgym.accelerator_design.joint.plans import most_readers

        return Size(regions, reads, (most_readers(instance),))

    def static(self, instance: Workloads) -> Mapping[str, Array]:
        """Features of the regions (R, 18), and edges from producer to consumer with log bytes (E, 1)."""
        shape = instance.shape.astype(np.float64)
        reads = np.add.reduceat(instance.elems[instance.in_tensor], instance.in_ptr[:-1])
        out = instance.elems[instance.out]
        moved = 2.0 * (reads + out + instance.weights)
        scaled = [
            shape[:, P] * shape[:, Q], shape[:, C], shape[:, K], shape[:, R] * shape[:, S], shape[:, G],
            shape[:, STEPS], instance.macs, 2 * instance.weights, 2 * reads, 2 * out, instance.macs / moved,
        ]  # fmt: skip
        kinds = np.eye(len(KINDS))[instance.kind]
        nodes = np.concatenate([np.log1p(np.stack(scaled, axis=1)) / 10, shape[:, [STRIDE]] / 4, kinds], axis=1)
        inner = instance.producer[instance.in_tensor] >= 0
        source = instance.producer[instance.in_tensor][inner]
        target = np.repeat(np.arange(len(instance.kind)), np.diff(instance.in_ptr))[inner]
        return {
            "nodes": nodes.astype(np.float32),
            "edges": (np.log1p(2 * instance.elems[instance.in_tensor][inner]) / 10).astype(np.float32)[:, None],
            "edge_index": np.stack([source, target]).astype(np.int32),
        }

    def solution_arrays(self, instance: Workloads) -> Mapping[str, ArraySpec]:
        """`design`: a row of the table for each of the sixteen parameters; in `joint` the plan too."""
        design = {"design": ArraySpec((len(NAMES),), "int", 0, 10, "a row of the table for each parameter")}
        if self.mode != "joint":
            return design
        from sysgym.accelerator_design.joint.plans import plan_arrays

        return design | plan_arrays(instance, self.schedule)

    def judge(self, instance: Workloads, solution: Solution) -> Verdict:
        """Cost, feasibility and metrics of a design (`judge_design`, `judge_joint`); InvalidSolution if it is none."""
        from sysgym.accelerator_design.judge import judge_design

        arrays = check_arrays(self.solution_arrays(instance), solution)
        design = arrays["design"]
        beyond = np.flatnonzero(design >= COUNTS)
        if len(beyond):
            at = int(beyond[0])
            raise InvalidSolution(f"{NAMES[at]} has {COUNTS[at]} values, rows 0 to {COUNTS[at] - 1}; got {design[at]}.")
        if self.mode != "joint":
            return judge_design(instance, design, self.rules, self.measured(instance))
        from sysgym.accelerator_design.joint.judging import judge_joint
        from sysgym.accelerator_design.joint.plans import decisions_of

        return judge_joint(instance, design, decisions_of(instance, arrays), self.rules, self.measured(instance))

    def canonical(self, instance: Workloads, solution: Solution) -> Solution:
        """The first values of the sizes of L2 where there is none: they mean nothing then."""
        design = np.asarray(solution["design"]).copy()
        if design[L2CFG] == 0:
            design[L2I : L2O + 1] = 0
        return {**solution, "design": design}

    def reference_costs(self, instance: Workloads) -> Mapping[str, float]:
        """TPU-v3 at schedule 0, which costs 1; the same chip with the schedule and fusion in force and its best batch;
        and the best design that is known.
        """
        from sysgym.accelerator_design.judge import better_tpu

        entry = find_entry(self.instance_sets(), instance.name)
        known = entry.references.get("best known", {}) if entry and self._usual else {}
        return {"tpu-v3": 1.0, "tpu-v3 rescheduled": better_tpu(instance, self.rules, self.measured(instance)), **known}

    @property
    def _usual(self) -> bool:
        """Whether the figures of best designs hold."""
        rules = self.rules
        return bool(rules._replace(fusion="ilp") == type(self)().rules)

    def named_solution(self, instance: Workloads, content: Mapping[str, Any]) -> Solution:
        """A design by the names and values of its parameters; InvalidSolution names a wrong one. In `joint` with the
        arrays of its plan, or with the exact plan where it has none of them.
        """
        plan = {name: content[name] for name in self.solution_arrays(instance) if name in content}
        design = indices({name: value for name, value in content.items() if name not in plan})
        if plan:
            return {"design": design, **plan}
        from sysgym.accelerator_design.joint.plans import planned_solution

        return planned_solution(self, instance, design)

    def render(self, instance: Workloads, solution: Solution) -> Array:
        """Roofline, area and power, time and utilisation of regions as a picture."""
        from sysgym.accelerator_design.pictures.render import draw

        return draw(self, instance, solution)

    def describe(self, instance: Workloads, solution: Solution) -> str:
        """The parameters, the budgets, and the regions that take longest, as text."""
        from sysgym.accelerator_design.pictures.text import describe

        return describe(self, instance, solution)

    def legend(self, instance: Workloads, solution: Solution) -> list[dict[str, Any]]:
        """The parameters and their values; in `joint` the regions and what is decided for them."""
        rows: list[dict[str, Any]] = [
            {"parameter": name, "value": value} for name, value in named(solution["design"]).items()
        ]
        if self.mode != "joint":
            return rows
        from sysgym.accelerator_design.pictures.text import plan_rows

        return [*rows, *plan_rows(instance, solution)]
