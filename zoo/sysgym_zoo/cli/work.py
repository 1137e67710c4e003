"""Commands that do the work: demo, solve, judge, evaluate, render, report, plot, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sysgym_zoo.cli import complete
from sysgym_zoo.cli.app import (
    AsJson,
    Changes,
    CpuSeconds,
    Device,
    InstanceName,
    Options,
    Out,
    ProblemName,
    Seconds,
    Seed,
    Steps,
    Threads,
    app,
    command,
    show_paths,
    show_rows,
)


@command(app)
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything that the demo makes.")] = Path("demo"),
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, max=3600.0, help="Training time.")] = 40.0,
    as_json: AsJson = False,
) -> None:
    """The main job: train a small agent, evaluate it on unseen graphs, submit, verify, rank. About a minute."""
    from sysgym_zoo.examples.demo import demo as run

    run(out, seconds, as_json)


@command(app)
def solve(
    instance: InstanceName,
    problem: ProblemName = None,
    agent: Annotated[
        str | None,
        typer.Option(
            "--agent",
            "-a",
            help="Agent, recipe, run folder, your own SB3 model.zip or module:Class.",
            autocompletion=complete.agents,
        ),
    ] = None,
    options: Options = None,
    changes: Changes = None,
    seconds: Seconds = None,
    cpu_seconds: CpuSeconds = None,
    steps: Steps = None,
    seed: Seed = 0,
    threads: Threads = 1,
    device: Device = "auto",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Solution file to write.")] = None,
    as_json: AsJson = False,
) -> None:
    """Solve one instance and judge the answer. Exit code 3 if it is infeasible."""
    from sysgym.core.solutions import check_output, made_with
    from sysgym_agents.core import Budget
    from sysgym_zoo.jobs.evaluate import checked_budget, solve_once, write_or_keep
    from sysgym_zoo.jobs.runs import set_device, set_threads, tell_device
    from sysgym_zoo.lookup.finding import Clues
    from sysgym_zoo.lookup.resolve import build_all

    budget = checked_budget(Budget(seconds, steps, cpu_seconds))
    built, (solver,) = build_all(
        Clues(problem, [agent] if agent is not None else [], "", [instance], None, options or []), changes or []
    )
    loaded = built.load(instance)
    if output is not None:
        check_output(built, loaded, output)
    made = made_with(built)  # of the files as they are now
    set_threads(threads)
    set_device(device)
    row, solution = solve_once(built, loaded, solver.agent, solver.name, seed, budget)
    row["device"] = tell_device()
    if output is not None:
        write_or_keep(built, loaded, solution, output, made)
    whole = {**made, "solution": dict(solution)}
    _verdict(row, as_json, whole if output is None and as_json else {})


@command(app)
def judge(
    instance: InstanceName,
    solution: Annotated[Path, typer.Argument(help="Solution: .json, .npz, .npy or the field's own format.")],
    problem: ProblemName = None,
    options: Options = None,
    as_json: AsJson = False,
) -> None:
    """Check a solution, whoever made it. Exit code 3 if it is infeasible or no solution at all."""
    import time

    from sysgym import content_hash
    from sysgym.core.solutions import freedom_of, read_solution
    from sysgym_zoo.lookup.finding import Clues
    from sysgym_zoo.lookup.resolve import find_and_build

    built = find_and_build(Clues(problem, (), "", [instance], solution, options or []))
    loaded = built.load(instance)
    wall, cpu = time.perf_counter(), time.process_time()
    answer = read_solution(built, loaded, solution)
    verdict = built.judge(loaded, answer)
    row = {
        "problem": f"{built.name}-v{built.version}", "instance": loaded.name, "instance_hash": content_hash(loaded),
        "agent": None, "seed": None, **verdict.as_dict(),
        "seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu,
    }  # fmt: skip
    freedom = freedom_of(built, loaded, answer)
    row |= {"freedom": freedom} if freedom else {}
    _verdict({**row, "references": dict(built.reference_costs(loaded))}, as_json, {})


def _verdict(row: dict[str, Any], as_json: bool, extra: dict[str, Any]) -> None:
    from sysgym_agents.learning.ratios import ratio
    from sysgym_zoo.jobs.console import number, show_json, tell

    if as_json:
        show_json("verdict", {**row, **extra})
    else:
        agent = f" by {row['agent']}" if row["agent"] else ""
        tell(f"{row['instance']}{agent}: cost {number(row['cost'])}, {'feasible' if row['feasible'] else 'INFEASIBLE'}")
        for key, value in row["metrics"].items():
            tell(f"  {key:20} {number(value)}")
        if row.get("ratio") is not None:
            reference = row["reference"]
            tell(f"  {'ratio':20} {number(row['ratio'])} to {reference['who']} ({number(reference['cost'])})")
        for who, cost in row.get("references", {}).items():
            times = ratio(row["cost"], cost) if row["feasible"] else None
            tell(f"  {'known cost':20} {number(cost)} of {who}" + (f", ratio {number(times)}" if times else ""))
        for key in ("freedom", "fallback"):
            if row.get(key):
                tell(f"  {key:20} {row[key]}")
        for violation in row["violations"]:
            tell(f"  violation: {violation}")
    if not row["feasible"]:
        raise typer.Exit(3)


@command(app)
def evaluate(
    agent: Annotated[
        list[str] | None,
        typer.Option(
            "--agent",
            "-a",
            help="Agent, recipe, run folder, your own SB3 model.zip or module:Class; repeatable.",
            autocompletion=complete.agents,
        ),
    ] = None,
    ablate: Annotated[
        str | None,
        typer.Option(
            "--ablate",
            help="Agent or run folder to compare with its fresh weights, its rule, and all baselines or each --agent.",
            autocompletion=complete.agents,
        ),
    ] = None,
    instances: Annotated[
        list[str] | None,
        typer.Option(help="Set, or names and files (repeated, or ;-separated).", autocompletion=complete.instances),
    ] = None,
    problem: ProblemName = None,
    options: Options = None,
    changes: Changes = None,
    seeds: Annotated[int, typer.Option(help="Seeds 0..n-1 on every instance.")] = 5,
    seconds: Seconds = None,
    cpu_seconds: CpuSeconds = None,
    steps: Steps = None,
    threads: Threads = 1,
    device: Device = "auto",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Agents on instances and seeds: a table, and a run folder with every row and solution."""
    from sysgym import UsageError
    from sysgym_agents.core import Budget
    from sysgym_zoo.jobs import evaluate as module
    from sysgym_zoo.jobs.console import say, show_json, table, tell
    from sysgym_zoo.lookup.finding import Clues, split
    from sysgym_zoo.lookup.resolve import build_all, instance_names, keys_of

    if ablate is not None and changes:
        raise UsageError("--ablate compares an agent as it was trained; leave --set out.")
    named = None if instances is None else ";".join(instances)
    words = agent or [] if ablate is None else [ablate]
    built, solvers = build_all(Clues(problem, words, "", split(named), None, options or []), changes or [])
    wanted = built.default_instances if named is None else named
    loaded = [built.load(name) for name in instance_names(built, wanted)]
    how = module.How(seeds, Budget(seconds, steps, cpu_seconds), threads, out, device=device)
    if ablate is not None:
        _ablate(ablate, (built, keys_of(options or []), loaded), how, agent, as_json)
        return
    folder, rows = module.evaluate(built, solvers, loaded, how)
    summary = module.summarise(rows, tuple(built.freedoms))
    if as_json:
        show_json("evaluation", {"run": str(folder), "summary": summary, "rows": rows})
    else:
        tell(table(summary))
        say(f"rows and solutions: {folder}")


def _ablate(
    word: str, on: tuple[Any, set[str], list[Any]], how: Any, baselines: list[str] | None, as_json: bool
) -> None:
    from sysgym_zoo.jobs.ablation import ablate, verdict
    from sysgym_zoo.jobs.console import say, show_json, table

    folder, lines = ablate(word, *on, how, baselines)
    if as_json:
        show_json("ablation", {"run": str(folder), "verdict": verdict(lines), "lines": lines})
    else:
        print(table(lines))
        print(verdict(lines))
        say(f"rows and solutions: {folder}")


@command(app)
def render(
    instance: InstanceName,
    solution: Annotated[Path, typer.Argument(help="Solution file.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write: .png, .gif (animation) or .json (trace).")
    ],
    problem: ProblemName = None,
    options: Options = None,
    as_json: AsJson = False,
) -> None:
    """Draw a solution: a .gif shows how it grows, a .json is a trace for Perfetto, where the problem has them."""
    from sysgym import UsageError
    from sysgym.core.solutions import read_solution
    from sysgym_zoo.jobs.pictures import save, save_trace
    from sysgym_zoo.lookup.finding import Clues
    from sysgym_zoo.lookup.resolve import find_and_build

    built = find_and_build(Clues(problem, (), "", [instance], solution, options or []))
    moving, traced = (output.suffix.lower() == suffix for suffix in (".gif", ".json"))
    if moving and built.frames is None:
        raise UsageError(f"{built.name} draws no animation; use a name that ends in .png instead of {output}.")
    if traced and built.timeline is None:
        raise UsageError(f"{built.name} has no trace; use a name that ends in .png instead of {output}.")
    loaded = built.load(instance)
    answer = read_solution(built, loaded, solution)
    if traced:
        save_trace(built.timeline(loaded, answer), output)
    else:
        save(built.frames(loaded, answer) if moving else [built.render(loaded, answer)], output)
    show_paths([output], as_json)


@command(app)
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of evaluations, or the folder of a sweep.")],
    write: Annotated[Path | None, typer.Option(help="Markdown file with report markers to update.")] = None,
    name: Annotated[str, typer.Option(help="Name of the markers.")] = "results",
    published: Annotated[bool, typer.Option("--published", help="Also what the literature reports.")] = False,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric of the verdicts to add, with its interval; repeatable.")
    ] = None,
    agent: Annotated[
        list[str] | None, typer.Option("-a", "--agent", help="Agent to show; default: all of the runs; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The table of recorded evaluations, as Markdown; --write puts it between the markers of a file."""
    from sysgym_zoo.jobs.console import tell
    from sysgym_zoo.jobs.report import update
    from sysgym_zoo.sweeps.table import any_report

    rows, text = any_report(runs, published, metric or [], agent or [])
    if write is not None:
        update(write, name, text)
    show_rows("report", rows, True) if as_json else tell(text)


@command(app)
def plot(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of trainings, or of evaluations.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Picture to write: .png, .svg or .pdf; default: curves.png or front.png."),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="What to draw of trainings, as metrics.jsonl names it; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Learning curves of trainings, a panel a metric, a line a run; of evaluations, where the problem has two metrics
    that pull against each other, all answers and their Pareto front, a panel an instance.
    """
    from sysgym_zoo.jobs.pictures import plot as draw

    show_paths([draw(runs, metric or [], output)], as_json)


@command(app)
def bench(
    area: Annotated[
        str | None, typer.Argument(help="What to measure; default: list what there is.", autocompletion=complete.areas)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, for a smoke test.")] = False,
    as_json: AsJson = False,
) -> None:
    """Speeds: ratios to peers that run in this process and to a kernel's floor; other peers as recorded elsewhere."""
    from sysgym_zoo.lookup.benchmarks import area_rows, measure

    if area is None:
        show_rows("bench-areas", area_rows(), as_json)
    else:
        show_rows("bench", measure(area, quick), as_json)
