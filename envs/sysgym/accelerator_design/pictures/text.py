"""A design as text: parameters, budgets, and where the time goes."""

from __future__ import annotations

from typing import Any

import numpy as np

from sysgym.accelerator_design.fastsim_kernels import MIB
from sysgym.accelerator_design.instance import KINDS, Workloads
from sysgym.accelerator_design.joint.plans import decisions_of, parts, room_taken
from sysgym.accelerator_design.pictures.facts import plan_of
from sysgym.accelerator_design.space import BATCH, WORDS, machines, named
from sysgym.core.problem import Solution

WIDTH, SHOWN = 40, 8  # of bars, and regions


def describe(problem: Any, work: Workloads, solution: Solution) -> str:
    """Parameters, verdict, shares of the time by kind of region, and the regions that take longest."""
    verdict = problem.judge(work, solution)
    values = {name: WORDS[name][value] if name in WORDS else value for name, value in named(solution["design"]).items()}
    lines = [
        f"{work.name}: cost {verdict.cost:.4g}, {1 / verdict.cost:.4g} x TPU-v3, "
        f"{'feasible' if verdict.feasible else 'INFEASIBLE'}",
        " ".join(f"{name}={value}" for name, value in values.items()),
        f"TDP {verdict.metrics['tdp_w']:.4g} W, area {verdict.metrics['area_mm2']:.4g} mm2, "
        f"{verdict.metrics['seconds_per_batch'] * 1e3:.4g} ms a batch, "
        f"utilisation {verdict.metrics['utilisation']:.1%}",
        *verdict.violations,
    ]
    if verdict.metrics["seconds_per_batch"] == 0:
        return "\n".join(lines)
    machine = machines(np.asarray(solution["design"])[None])[0]
    plan = plan_of(problem, work, solution)
    times = np.maximum(*parts(problem.measured(work).simulator, machine, plan))
    total = times.sum()
    if plan.upto.any() or plan.pinned.any():
        fullest = room_taken(work, machine[BATCH], plan).max() / MIB
        lines.append(
            f"in global memory stay {np.count_nonzero(plan.upto)} activations and the weights of "
            f"{np.count_nonzero(plan.pinned)} regions, at most {fullest:.4g} MiB at a time"
        )
    lines.append("time by kind of region:")
    for kind, name in enumerate(KINDS):
        share = times[work.kind == kind].sum() / total
        if share > 0:
            lines.append(f"  {name:8} {share:6.1%} {'#' * round(share * WIDTH)}")
    lines.append("longest regions:")
    for region in np.argsort(-times, kind="stable")[:SHOWN].tolist():
        lines.append(f"  {work.regions[region]:20} {times[region] / total:6.1%} {KINDS[work.kind[region]]}")
    return "\n".join(lines)


def plan_rows(work: Workloads, solution: Solution) -> list[dict[str, Any]]:
    """A row for each region: its name, its schedule, the consumer to which its output stays, whether weights stay."""
    plan = decisions_of(work, {name: np.asarray(value) for name, value in solution.items()})
    ptr, readers = work.consumers
    rows = []
    for region, name in enumerate(work.regions):
        tensor = int(work.out[region])
        upto = int(plan.upto[tensor])
        stays = work.regions[readers[ptr[tensor] + upto - 1]] if upto else ""
        pinned = bool(plan.pinned[region])
        rows.append({"region": name, "schedule": int(plan.schedule[region]), "stays_to": stays, "pinned": pinned})
    return rows
