"""The command that trains."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from sysgym_zoo.cli import complete
from sysgym_zoo.cli.app import AsJson, Device, Options, Out, ProblemName, Seed, Threads, app, command


@command(app)
def train(
    problem: ProblemName = None,
    agent: Annotated[
        str | None,
        typer.Option("--agent", "-a", help="A learner, recipe or run folder.", autocompletion=complete.learners),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Run folder, a model in it or a trained agent to go on from.")
    ] = None,
    options: Options = None,
    instances: Annotated[
        list[str] | None,
        typer.Option(help="Set, or names and files (repeated, or ;-separated).", autocompletion=complete.instances),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Packaged recipe or TOML file.", autocompletion=complete.recipes)
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Hyper-parameter, key=value; repeatable.", autocompletion=complete.hyper),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Environment steps, or iterations, to train for.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Seconds to train for.")] = None,
    cpu_seconds: Annotated[float | None, typer.Option(help="CPU seconds of all threads to train for.")] = None,
    seed: Seed = 0,
    threads: Threads = 1,
    device: Device = "auto",
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of --out.")] = False,
    save_every: Annotated[float, typer.Option(min=0.0, help="Seconds between checkpoints.")] = 30.0,
    eval_instances: Annotated[
        list[str] | None,
        typer.Option(
            help="Set, or names and files, on which the model is evaluated; the best is kept in RUN/best.",
            autocompletion=complete.instances,
        ),
    ] = None,
    eval_every: Annotated[
        int | None, typer.Option(help="Steps between evaluations; their time counts for no budget.")
    ] = None,
    stop_after: Annotated[
        int | None, typer.Option(help="Stop after so many evaluations without a better model.")
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            "--track",
            help="Tracker beside TensorBoard: wandb or mlflow, both offline; repeatable.",
            autocompletion=complete.trackers,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a learner: metrics, TensorBoard events, checkpoints and the agent in a run folder.

    With --device auto a GPU computes what has 16384 rows of features or more (nodes, times the observations or samples
    of a pass): graphs of a hundred nodes gain nothing there. Simulators stay on the CPU. What is random is drawn there,
    so that a training takes the same course but for rounding; on a GPU the same seed may end otherwise each time.
    Weights load anywhere.
    """
    from sysgym import UsageError
    from sysgym_zoo.jobs.console import show_json, tell
    from sysgym_zoo.jobs.plan import LENGTH, Training
    from sysgym_zoo.jobs.selection import Wanted
    from sysgym_zoo.jobs.train import train as run
    from sysgym_zoo.lookup.trained import trained_names

    if start is not None and (agent is not None or not (os.path.isdir(start) or start in trained_names())):
        why = "leave --agent out" if agent is not None else f"{start!r} is no folder and no trained agent here"
        raise UsageError(f"--from RUN starts from that run's agent; {why}.")
    twice = [word for word in change or [] if word.startswith(f"{LENGTH}=") and word != f"{LENGTH}={steps}"]
    if steps is not None and twice:
        raise UsageError(f"--steps {steps} and --set {twice[0]} say the same thing unlike; leave one out.")
    asked = Training(
        agent=agent if start is None else start, problem=problem, options=options or [],
        instances=";".join(instances or []) or None,
        recipe=recipe, changes=change or [], steps=steps, seconds=seconds, cpu_seconds=cpu_seconds, seed=seed,
        threads=threads, device=device, out=out, resume=resume, save_every=save_every,
        evaluation=Wanted(";".join(eval_instances or []) or None, eval_every, stop_after), track=track or (),
    )  # fmt: skip
    folder, record = run(asked)
    if as_json:
        show_json("run", {"run": str(folder), **record})
    else:
        tell(folder)
    if record["status"] == "interrupted":
        raise typer.Exit(130)
