"""`sysgym solve` and `sysgym evaluate`: agents on instances, judged."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from sysgym import UsageError, content_hash
from sysgym.core.options import file_hashes
from sysgym.core.problem import AnyProblem, Instance, Solution
from sysgym.core.registry import options_of
from sysgym.core.solutions import freedom_of, widest_of, write_solution
from sysgym_agents.core import Budget, Clock
from sysgym_agents.learning.ratios import geometric_mean, known_reference, ratio
from sysgym_zoo.jobs.console import Progress, clean, say
from sysgym_zoo.jobs.runs import Run, describe_instances, fresh_folder, set_device, set_threads, tell_device
from sysgym_zoo.lookup.naming import Solver
from sysgym_zoo.lookup.records import COMPARED, first_rows, load_run

Rows = list[dict[str, Any]]


def instance_rng(seed: int, digest: str) -> np.random.Generator:
    """The generator of one (seed, instance): the same in whatever order instances are solved."""
    return np.random.default_rng([seed, int(digest[:12], 16)])


def checked_budget(budget: Budget) -> Budget:
    """The budget of one solution; UsageError if it would never end."""
    for flag, limit in (("--seconds", budget.seconds), ("--cpu-seconds", budget.cpu_seconds)):
        if limit is not None and not 0 <= limit < math.inf:
            raise UsageError(f"{flag} must be a finite number from 0, got {limit:g}.")
    if budget.steps is not None and budget.steps < 1:
        raise UsageError(f"--steps must be a whole number from 1, got {budget.steps}.")
    return budget


def solve_once(
    problem: AnyProblem, instance: Instance, agent: Any, name: str, seed: int, budget: Budget
) -> tuple[dict[str, Any], Solution]:
    """Solve and judge; the row that `solve --json` and an evaluation record, and the solution.

    What is imported or compiled on the way is not timed.
    """
    digest = content_hash(instance)
    agent.prepare()
    clock = Clock(budget)
    with contextlib.redirect_stdout(sys.stderr):  # an agent's prints are no result
        solution = agent.solve(problem, instance, instance_rng(seed, digest), budget)
    wall, cpu = clock.seconds, clock.cpu_seconds
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
    if agent.fell_back:
        row["fallback"] = agent.fallback  # the answer, where what the agent found itself is infeasible
    freedom = freedom_of(problem, instance, solution)
    if freedom:
        row["freedom"] = freedom
    reference = known_reference(problem, instance, freedom)
    if reference is not None:
        row["reference"] = reference._asdict()
        row["ratio"] = ratio(verdict.cost, reference.cost)
    return row, solution


def write_or_keep(
    problem: AnyProblem, instance: Instance, solution: Solution, output: Path, made: Mapping[str, Any]
) -> None:
    """Write an answer and what it was made for; where that fails after all, keep it in a new temporary file, and say
    so.
    """
    try:
        write_solution(problem, instance, solution, output, made)
    except UsageError as error:
        with tempfile.NamedTemporaryFile(prefix="sysgym-", suffix=".npz", delete=False) as kept:
            path = Path(kept.name)
        write_solution(problem, instance, solution, path, made)
        raise UsageError(f"{str(error).rstrip('.')}; the answer is kept in {path}.") from error


class How(NamedTuple):
    """Under which conditions agents are evaluated, and where to."""

    seeds: int = 5  # 0..n-1 on every instance
    budget: Budget = Budget()  # of one solution
    threads: int = 1
    out: Path | None = None  # run folder; None: the next below runs/
    notes: Mapping[str, Any] = MappingProxyType({})  # that the record keeps beside
    lenient: bool = False  # leave out an agent that refuses an instance, with a word on stderr
    device: str = "auto"  # where networks are computed
    resume: bool = False  # keep the rows that `out` holds of an evaluation like this one, and solve the others


def evaluate(
    problem: AnyProblem, agents: Sequence[Solver], instances: Sequence[Instance], how: How
) -> tuple[Path, list[dict[str, Any]]]:
    """Every agent on every instance and seed; a run folder with rows and solutions, and the rows."""
    seeds, budget, threads, out = how.seeds, how.budget, how.threads, how.out
    if seeds < 1:
        raise UsageError(f"--seeds must be at least 1, got {seeds}.")
    if len({solver.name for solver in agents}) < len(agents):
        raise UsageError("an agent is named twice.")
    checked_budget(budget)
    set_threads(threads)
    set_device(how.device)
    named = file_hashes(type(problem), options_of(problem))
    record = {
        "kind": "evaluate",
        "problem": {
            "name": problem.name,
            "version": problem.version,
            "options": options_of(problem),
            **({"files": named} if named else {}),
        },
        "agents": [solver.name for solver in agents],
        "instances": describe_instances(problem, list(instances)),
        "seeds": seeds,
        "threads": threads,
        "budget": budget._asdict(),
        "freedoms": list(problem.freedoms),
        **how.notes,
    }
    kept = _begun(record, how) if how.resume else []
    goes_on = how.resume and out is not None and (out / "run.json").is_file()
    folder = out if out is not None and goes_on else fresh_folder(out, f"{problem.name}-evaluate")
    rows: list[dict[str, Any]] = []
    with Run(folder, record) as run:
        (folder / "solutions").mkdir(exist_ok=True)
        for number, solver in enumerate(agents):
            try:
                rows += _solved(run, problem, solver, instances, (how, number, kept))
            except UsageError as error:
                if not how.lenient:
                    raise
                say(f"{solver.name} is left out: {error}")
                later = {each.name for each in agents[number + 1 :]}  # nothing of an agent that fails on some instance
                _write_rows(folder, [*rows, *(row for row in kept if row["agent"] in later)])
        run.note(device=tell_device())
    return folder, rows


def _begun(record: Mapping[str, Any], how: How) -> list[dict[str, Any]]:
    """The rows of an evaluation that goes on, up to the first that a kill cut off; UsageError if it was another one."""
    folder = how.out
    if folder is None or not (folder / "run.json").is_file():
        return []
    told = load_run(folder)
    for key in ("kind", "problem", "agents", "instances", "seeds", "threads", "budget", "made_of"):
        before, now = clean(told.get(key)), clean(record.get(key))
        if key == "problem" and "files" not in before:  # a record of before 2026-11-28
            now.pop("files", None)
        if before != now:
            raise UsageError(f"{folder} holds another evaluation ({key} differs); evaluate into another folder.")
    file = folder / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.is_file() else []
    rows = [row for row in first_rows(lines, COMPARED) if (folder / row["solution"]).is_file()]
    _write_rows(folder, rows)
    return rows


def _write_rows(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put rows in the place of those that a run folder holds, whole or not at all."""
    partial = folder / "metrics.jsonl.new"
    partial.write_text("".join(json.dumps(clean(row)) + "\n" for row in rows))
    partial.replace(folder / "metrics.jsonl")


def _solved(
    run: Run, problem: AnyProblem, solver: Solver, instances: Sequence[Instance], place: tuple[How, int, Rows]
) -> list[dict[str, Any]]:
    """The rows of one agent, each logged with its solution as it comes.

    place: how, the agent's number, and the rows that are there of an evaluation that goes on.
    """
    how, agent, kept = place
    found = {(row["instance"], row["seed"]): row for row in kept if row["agent"] == solver.name}
    rows: list[dict[str, Any]] = []
    first = agent * len(instances) * how.seeds
    bar = Progress(solver.name, len(instances) * how.seeds, "solutions")
    for number, (instance, seed) in enumerate(itertools.product(instances, range(how.seeds)), first):
        row = found.get((instance.name, seed))
        if row is None:
            row, solution = solve_once(problem, instance, solver.agent, solver.name, seed, how.budget)
            row = {**row, "solution": _keep(run, row, solution, number)}
        rows.append(row)
        bar.update(len(rows))
    bar.close()
    return rows


def _keep(run: Run, row: dict[str, Any], solution: Solution, number: int) -> str:
    """Log a row after its solution, whose file it names."""
    file = f"solutions/{number}.npz"
    with (run.folder / file).open("wb") as stream:
        np.savez_compressed(stream, **solution)  # type: ignore[arg-type]
    run.log({**row, "solution": file})
    return file


def summarise(rows: Sequence[dict[str, Any]], freedoms: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One line an agent: mean cost, geometric mean ratio to the reference, feasible share, mean seconds.

    Where the problem knows `freedoms`, agents are in groups: each in that of the widest of its answers, best first.
    `fallback` counts the answers, where there are any, that are not what an agent found itself.
    """
    lines, fallen = [], any("fallback" in row for row in rows)
    for name in dict.fromkeys(row["agent"] for row in rows):
        mine = [row for row in rows if row["agent"] == name]
        ratios = [row.get("ratio") for row in mine]
        known = [r for r in ratios if r is not None]
        costs = [row["cost"] for row in mine if row["cost"] is not None]  # an infeasible answer may have none
        complete = bool(known) and len(known) == len(ratios)
        lines.append(
            {
                "agent": name,
                **({"freedom": freedom_in(mine, freedoms) or None} if freedoms else {}),
                "cost": float(np.mean(costs)) if len(costs) == len(mine) else None,
                "ratio": geometric_mean(known) if complete else None,
                "feasible": f"{100 * np.mean([row['feasible'] for row in mine]):.0f} %",
                **({"fallback": sum("fallback" in row for row in mine) or None} if fallen else {}),
                "seconds": float(np.mean([row["seconds"] for row in mine])),
                "instances": len({row["instance"] for row in mine}),
                "seeds": len({row["seed"] for row in mine}),
            }
        )
    return sorted(
        lines,
        key=lambda line: [
            place_in(line.get("freedom"), freedoms),
            *(math.inf if line[key] is None else line[key] for key in ("ratio", "cost")),
        ],
    )


def freedom_in(rows: Sequence[Mapping[str, Any]], freedoms: Sequence[str]) -> str:
    """The widest freedom of the feasible rows, or of all where none is; '' where they name none."""
    kept = [row for row in rows if row["feasible"]] or rows
    return widest_of((row.get("freedom", "") for row in kept), freedoms)


def place_in(freedom: str | None, freedoms: Sequence[str]) -> int:
    """Where the group of a freedom stands in a table; what is not known comes last."""
    return list(freedoms).index(freedom) if freedom and freedom in freedoms else len(freedoms)
