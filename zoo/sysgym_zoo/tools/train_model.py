"""`sysgym train-model`: a model that writes text, trained on a laptop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sysgym_zoo.cli.app import AsJson, Device, Seed, Threads


def train_model(
    name: Annotated[
        str | None, typer.Argument(help="multi30k, dialogue, small (for files of your own), or a TOML file.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Text to read, a sentence a line; with --target.")] = None,
    target: Annotated[str | None, typer.Option(help="What each line of --source becomes.")] = None,
    pairs: Annotated[str | None, typer.Option(help="Both in one file, a tab between.")] = None,
    valid_source: Annotated[str | None, typer.Option(help="The same for validation; else pairs are held out.")] = None,
    valid_target: Annotated[str | None, typer.Option(help="What each line of --valid-source becomes.")] = None,
    valid_pairs: Annotated[str | None, typer.Option(help="Both in one file, a tab between.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the model; it must be new or empty.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Number of the training or option of the network, key=value; repeatable."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the texts; default: the recipe's.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Wall time to train for.")] = None,
    cpu_seconds: Annotated[float | None, typer.Option(min=0.0, help="CPU time to train for.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Model to go on from, by name or folder.")] = None,
    seed: Seed = 0,
    threads: Threads = 1,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training of --out.")] = False,
    save_every: Annotated[float, typer.Option(min=0.0, help="Seconds between checkpoints.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Train a model that decoding problems use: sysgym solve ... -O model=FOLDER.

    The folder holds the model, its card `training.json`, metrics and TensorBoard events. With --seconds or
    --cpu-seconds and no --epochs it trains until the time is up. With --from MODEL --set risk=5 it lowers the expected
    risk of what that model writes, in the place of cross entropy.
    """
    from sysgym.core.errors import UsageError
    from sysgym_agents.core import Budget
    from sysgym_zoo.jobs.console import show_json, tell
    from sysgym_zoo.tools.modelling.card import shown
    from sysgym_zoo.tools.modelling.corpus import Files
    from sysgym_zoo.tools.modelling.job import Asked, train

    if out is None:
        raise UsageError("name the folder of the model with --out.")
    asked = Asked(
        name=name, files=Files(source, target, pairs, valid_source, valid_target, valid_pairs),
        changes=tuple(change or ()), budget=Budget(seconds, epochs, cpu_seconds), seed=seed, threads=threads,
        device=device, start=str(Path(start).resolve()) if start and Path(start).is_dir() else start,
    )  # fmt: skip
    status, card = train(asked, out, resume, save_every)
    if as_json:
        show_json("model", {"model": str(out), "status": status, **card})
    else:
        tell(out)
        tell("\n".join(shown(card)))
    if status == "interrupted":
        raise typer.Exit(130)
