"""`sysgym solve` and `sysgym evaluate`: agents on instances, judged."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sysgym import UsageError, content_hash
from sysgym.core.problem import AnyProblem, Instance, Solution
from sysgym.core.registry import options_of
from sysgym_agents.core import Budget
from sysgym_zoo.jobs.console import Progress
from sysgym_zoo.jobs.runs import Run, describe_instances, fresh_folder, set_threads
from sysgym_zoo.lookup.naming import Solver


def instance_rng(seed: int, digest: str) -> np.random.Generator:
    """The generator of one (seed, instance): the same in whatever order instances are solved."""
    return np.random.default_rng([seed, int(digest[:12], 16)])


def time_budget(seconds: float | None) -> Budget:
    """The budget of one solution; UsageError if it would never end."""
    if seconds is not None and not 0 <= seconds < math.inf:
        raise UsageError(f"--seconds must be a finite number from 0, got {seconds:g}.")
    return Budget(seconds=seconds)


def solve_once(
    problem: AnyProblem, instance: Instance, agent: Any, name: str, seed: int, budget: Budget
) -> tuple[dict[str, Any], Solution]:
    """Solve and judge; the row that `solve --json` and an evaluation record, and the solution."""
    digest = content_hash(instance)
    wall, cpu = time.perf_counter(), time.process_time()
    solution = agent.solve(problem, instance, instance_rng(seed, digest), budget)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    verdict = problem.judge(instance, solution)
    row = {
        "problem": f"{problem.name}-v{problem.version}",
        "instance": instance.name,
        "instance_hash": digest,
        "agent": name,
        "seed": seed,
        **verdict.as_dict(),
        "seconds": wall,
        "cpu_seconds": cpu,
    }
    reference = next(iter(problem.reference_costs(instance).items()), None)
    if reference is not None:
        row["reference"] = {"who": reference[0], "cost": reference[1]}
        row["ratio"] = ratio(verdict.cost, reference[1])
    return row, solution


def ratio(cost: float, reference: float) -> float | None:
    """How many times worse a cost is than the reference; None where that has no meaning.

    >>> ratio(3.0, 2.0), ratio(-2.0, -3.0), ratio(0.0, 0.0), ratio(1.0, 0.0), ratio(0.0, 2.0)
    (1.5, 1.5, 1.0, None, 0.0)
    """
    if cost == reference:
        return 1.0
    if cost == 0 < reference:
        return 0.0
    if cost * reference <= 0 or not math.isfinite(cost):
        return None
    return cost / reference if cost > 0 else reference / cost


def evaluate(
    problem: AnyProblem, agents: Sequence[Solver], instances: Sequence[Instance], seeds: int, seconds: float | None,
    threads: int, out: Path | None,
) -> tuple[Path, list[dict[str, Any]]]:  # fmt: skip
    """Every agent on every instance and seed; a run folder with rows and solutions, and the rows."""
    if seeds < 1:
        raise UsageError(f"--seeds must be at least 1, got {seeds}.")
    if len({solver.name for solver in agents}) < len(agents):
        raise UsageError("an agent is named twice.")
    budget = time_budget(seconds)
    set_threads(threads)
    folder = fresh_folder(out, f"{problem.name}-evaluate")
    record = {
        "kind": "evaluate",
        "problem": {"name": problem.name, "version": problem.version, "options": options_of(problem)},
        "agents": [solver.name for solver in agents],
        "instances": describe_instances(problem, list(instances)),
        "seeds": seeds,
        "threads": threads,
        "budget": {"seconds": seconds},
    }
    rows: list[dict[str, Any]] = []
    with Run(folder, record) as run:
        (folder / "solutions").mkdir()
        for name, agent, _ in agents:  # the first call compiles kernels or loads networks; it is not timed
            warm_up(problem, agent, instances[0])
            bar = Progress(name, len(instances) * seeds, "solutions")
            for position, instance in enumerate(instances):
                for seed in range(seeds):
                    row, solution = solve_once(problem, instance, agent, name, seed, budget)
                    file = f"solutions/{len(rows)}.npz"
                    with (folder / file).open("wb") as stream:
                        np.savez_compressed(stream, **solution)  # type: ignore[arg-type]
                    run.log({**row, "solution": file})
                    rows.append(row)
                    bar.update(position * seeds + seed + 1)
            bar.close()
    return folder, rows


def warm_up(problem: AnyProblem, agent: Any, instance: Instance) -> None:
    """One untimed call on an instance, with a tiny budget."""
    agent.solve(problem, instance, np.random.default_rng(0), Budget(seconds=1e-3))


def geometric_mean(ratios: Sequence[float]) -> float:
    """The mean of ratios that are not negative; 0 where one of them is.

    >>> geometric_mean([1.0, 4.0]), geometric_mean([1.0, 0.0])
    (2.0, 0.0)
    """
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if all(ratios) else 0.0


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line an agent: mean cost, geometric mean ratio to the reference, feasible share, mean seconds."""
    lines = []
    for name in dict.fromkeys(row["agent"] for row in rows):
        mine = [row for row in rows if row["agent"] == name]
        ratios = [row.get("ratio") for row in mine]
        known = [r for r in ratios if r is not None]
        costs = [row["cost"] for row in mine if row["cost"] is not None]  # an infeasible answer may have none
        complete = bool(known) and len(known) == len(ratios)
        lines.append(
            {
                "agent": name,
                "cost": float(np.mean(costs)) if len(costs) == len(mine) else None,
                "ratio": geometric_mean(known) if complete else None,
                "feasible": f"{100 * np.mean([row['feasible'] for row in mine]):.0f} %",
                "seconds": float(np.mean([row["seconds"] for row in mine])),
                "instances": len({row["instance"] for row in mine}),
                "seeds": len({row["seed"] for row in mine}),
            }
        )
    return sorted(lines, key=lambda line: [math.inf if line[key] is None else line[key] for key in ("ratio", "cost")])
