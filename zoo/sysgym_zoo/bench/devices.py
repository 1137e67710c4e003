"""`sysgym bench devices`: what the annealer and `gdp` reach on the models of the papers."""

from __future__ import annotations

from typing import Any

import numpy as np

from sysgym import make_problem
from sysgym.core.instances import expand
from sysgym_agents.core import Budget
from sysgym_agents.dataflow.annealing import DeviceAnnealer
from sysgym_agents.dataflow.baselines import MetisPlacement
from sysgym_agents.dataflow.gdp import GDP
from sysgym_zoo.jobs.console import say
from sysgym_zoo.jobs.measuring import LEAST, geomean, lacking, median, row


def annealed(names: list[str], seconds: float) -> list[dict[str, Any]]:
    """Speed-up of `sa-device` over the expert's placement, first come first served, by tasks: median of seeds."""
    rows = []
    for tasks, bar in (("placement", ">= 1.19"), ("placement+schedule", ">= 1.45"), ("placement+schedule+fusion", "")):
        problem = make_problem("GraphOptimization", tasks=tasks, schedule="fifo")
        found = []
        for seed in range(LEAST):
            each = []
            for name in names:
                graph = problem.load(name)
                solution = DeviceAnnealer().solve(problem, graph, np.random.default_rng(seed), Budget(seconds=seconds))
                each.append(problem.judge(graph, solution).metrics["speedup_vs_expert"])
                say(f"{name} {tasks}, seed {seed}: {each[-1]:.4g}")
            found.append(geomean(each))
        rows.append(row(f"sa-device, {seconds:g} s: {tasks}, expert / time", median(found), "x", bar))
    return rows


def learnt(names: list[str], seconds: float) -> list[dict[str, Any]]:
    """`gdp` trained on each graph alone, against METIS with critical-path priorities and the expert."""
    if gone := lacking("gdp beside METIS", "pymetis", "partitioners"):
        return gone
    problem = make_problem("DevicePlacement", schedule="critical_path")
    wins, beats, rows = 0, 0, []
    for name in names:
        graph = problem.load(name)
        rng = np.random.default_rng(0)
        metis = problem.judge(graph, MetisPlacement().solve(problem, graph, rng, Budget())).cost
        verdict = problem.judge(graph, GDP().solve(problem, graph, rng, Budget(seconds=seconds)))
        wins += verdict.cost < metis
        beats += verdict.metrics["speedup_vs_expert"] > 1
        rows.append(row(f"gdp, {seconds:g} s: {name}, expert / time", verdict.metrics["speedup_vs_expert"], "x"))
        say(f"{name}: gdp {verdict.cost / 1e6:.4g} ms, METIS {metis / 1e6:.4g} ms")
    rows.append(row("gdp is faster than METIS with the critical path", wins, f"of {len(names)}", ">= 10"))
    rows.append(row("gdp is faster than the expert", beats, f"of {len(names)}", f">= {len(names)}"))
    return rows


def rows(quick: bool) -> list[dict[str, Any]]:
    """The annealer's and the learner's rows."""
    names = expand(make_problem("DevicePlacement").instance_sets(), "seeds/test" if quick else "seeds")
    return [*annealed(names, 1 if quick else 20), *learnt(names, 3 if quick else 120)]
