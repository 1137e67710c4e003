"""The command that tunes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sysgym_zoo.cli import complete
from sysgym_zoo.cli.app import AsJson, Device, Options, ProblemName, Seed, Threads, app, command
from sysgym_zoo.cli.sweeping import Address, Where, place_of


def _queue(pairs: list[str]) -> dict[str, Any]:
    """What a queue is told by `key=value` words; UsageError for a word that is none."""
    from sysgym import UsageError

    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"--slurm takes key=value, such as slurm_partition=cpu, got {pair!r}.")
    split = (pair.partition("=") for pair in pairs)
    return {key: int(value) if value.isdecimal() else value for key, _, value in split}


@command(app)
def tune(
    agent: Annotated[
        str, typer.Argument(help="Recipe, learner, or a recipe's TOML file.", autocompletion=complete.learners)
    ],
    problem: ProblemName = None,
    options: Options = None,
    instances: Annotated[
        list[str] | None,
        typer.Option(
            help="Set, or names and files, to train on (repeated, or ;-separated).", autocompletion=complete.instances
        ),
    ] = None,
    eval_instances: Annotated[
        list[str] | None,
        typer.Option(
            help="Set, or names and files, to choose on; default: the valid split of the same set.",
            autocompletion=complete.instances,
        ),
    ] = None,
    eval_every: Annotated[int | None, typer.Option(min=1, help="Steps between evaluations of a training.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Hyper-parameter that is not tuned, key=value; repeatable.", autocompletion=complete.hyper
        ),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option("--space", help="Where to look for one: key=low:high, key=low:high:log or key=a,b; repeatable."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each training.")] = None,
    cpu_seconds: Annotated[float | None, typer.Option(help="CPU seconds of each training.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials, that of what is shipped among them.")] = 30,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each trial.")] = 2,
    seed: Seed = 0,
    threads: Threads = 1,
    device: Device = "auto",
    study: Annotated[
        Path | None, typer.Option("--study", help="Folder of the study; default: runs/tune-NAME. Goes on if it is one.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option("--storage", help="Database for the trials, such as sqlite:///x.db; default: a file.")
    ] = None,
    sampler: Annotated[str, typer.Option("--sampler", help="tpe or random.")] = "tpe",
    pruner: Annotated[str, typer.Option("--pruner", help="median, halving or none.")] = "median",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that share the study.")] = 1,
    backend: Where = "local",
    address: Address = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(help="What submitit is told, key=value; repeatable (see the table slurm of a sweep)."),
    ] = None,
    report: Annotated[
        str | None, typer.Option("--report", help="Test set for the winner, once; trained anew with seeds from 0.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose hyper-parameters of a learner on a valid split: trials, the winner as a recipe, pictures. The same command
    again goes on; several may run at once on one study.
    """
    from sysgym_zoo.jobs.console import number, say, show_json, table, tell
    from sysgym_zoo.jobs.runs import set_device
    from sysgym_zoo.tuning import tune as module
    from sysgym_zoo.tuning import winner
    from sysgym_zoo.tuning.pictures import draw

    asked = module.Asked(
        word=agent, problem=problem, options=options or [], instances=";".join(instances or []) or None,
        valid=";".join(eval_instances or []) or None, every=eval_every, changes=change or [], space=space or [],
        steps=steps, cpu_seconds=cpu_seconds, seeds=seeds, trials=trials, threads=threads, device=device, seed=seed,
        sampler=sampler, pruner=pruner, storage=storage,
    )  # fmt: skip
    if backend == "local":
        set_device(device)  # one that is not here is refused before anything is written
    folder = study or Path("runs") / f"tune-{Path(agent).stem}"
    place = place_of(backend, address, None, (folder / "slurm", _queue(slurm or [])))
    found = module.tune(asked, folder, workers, place if workers > 1 or backend != "local" else None)
    recipe, pictures = winner.write_recipe(found), draw(found)
    tested = winner.report(found, report) if report is not None else None
    if as_json:
        show_json("study", {
            "study": str(folder), "recipe": str(recipe), "pictures": [str(path) for path in pictures],
            "trials": winner.rows_of(found), "origin": winner.origin_of(found), "test": tested,
        })  # fmt: skip
        return
    tell(table(winner.rows_of(found, winner.SHOWN)))
    tell(winner.compared(found))
    if tested is not None:
        tell(f"on {report}, once: ratio {number(tested['ratio'])}, {100 * tested['feasible']:.0f} % feasible.")
    say(f"recipe and pictures: {', '.join(str(path) for path in [recipe, *pictures])}")
