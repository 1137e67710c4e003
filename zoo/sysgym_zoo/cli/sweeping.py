"""The commands of sweeps: many runs from one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from sysgym_zoo.cli import complete
from sysgym_zoo.cli.app import AsJson, app, command


class RunsByDefault(TyperGroup):
    """`sysgym sweep FILE` is `sysgym sweep run FILE`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names; a word that names none is the file of a sweep."""
        if args and args[0] not in self.commands:
            args = ["run", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Flags before the file belong to the command `run`, but for those of the group."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


sweep_app = typer.Typer(
    cls=RunsByDefault,
    help="Many runs from one TOML file: trainings, evaluations, ablations; resumable. `sysgym sweep FILE.toml`.",
    no_args_is_help=True,
)
app.add_typer(sweep_app, name="sweep")

File = Annotated[Path, typer.Argument(help="TOML file with tables train and evaluate; see the page of the zoo.")]
Place = Annotated[Path | None, typer.Option("--out", help="Folder of the sweep; default: runs/FILE-sweep.")]


Where = Annotated[
    Literal["local", "ray", "slurm"], typer.Option(help="Processes of this machine, a Ray cluster, or Slurm.")
]
Address = Annotated[str | None, typer.Option(help="Address of a Ray cluster; default: one on this machine.")]


def place_of(
    backend: str, address: str | None, cores: int | None, slurm: tuple[Path, Mapping[str, Any]]
) -> Callable[[], Any]:
    """What makes the backend of a name; UsageError for flags that it does not have.

    slurm: the folder of the queue's files, and what it is told.
    """
    from sysgym import UsageError

    if address is not None and backend != "ray":
        raise UsageError("--address is that of a Ray cluster; add --backend ray.")
    if cores is not None and backend == "slurm":
        raise UsageError("Slurm knows its cores; leave --cores out, or set jobs in [slurm].")

    def make() -> Any:
        if backend == "ray":
            from sysgym_zoo.sweeps.on_ray import OnRay

            return OnRay(address, cores)
        if backend == "slurm":
            from sysgym_zoo.sweeps.on_slurm import OnSlurm

            return OnSlurm(*slurm)
        from sysgym_zoo.sweeps import backends

        return backends.Local(cores)

    return make


@command(sweep_app)
def run(
    file: File,
    out: Place = None,
    backend: Where = "local",
    address: Address = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Cores to use; default: all of this machine.")] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            help="Tracker of every training beside TensorBoard; repeatable.", autocompletion=complete.trackers
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Carry out all runs of a file that are not done, then print one table. The same command again goes on."""
    from sysgym_zoo.sweeps.drive import folder_of, run_sweep
    from sysgym_zoo.sweeps.files import load_sweep

    sweep = load_sweep(file)
    root = folder_of(file, out)

    run_sweep(sweep, root, place_of(backend, address, cores, (root / "slurm", sweep.slurm)), track or [])
    _tell_table(root, as_json)


def _tell_table(root: Path, as_json: bool) -> None:
    from sysgym_zoo.jobs.console import say, show_json, tell
    from sysgym_zoo.sweeps.table import sweep_report

    rows, text = sweep_report(root)
    if as_json:
        show_json("sweep", {"sweep": str(root), "rows": rows})
    else:
        tell(text)
        say(f"runs: {root / 'runs'}")


@command(sweep_app)
def plan(file: File, out: Place = None, as_json: AsJson = False) -> None:
    """The runs that a file asks for, and how each is; nothing runs."""
    from sysgym_zoo.cli.app import show_rows
    from sysgym_zoo.sweeps.drive import folder_of, row_of
    from sysgym_zoo.sweeps.execute import state
    from sysgym_zoo.sweeps.files import load_sweep
    from sysgym_zoo.sweeps.units import units_of

    root = folder_of(file, out)
    units = units_of(load_sweep(file).asks)
    show_rows("sweep-plan", [{**row_of(unit), "state": state(root, unit)} for unit in units], as_json)


@command(sweep_app)
def status(
    folder: Annotated[Path, typer.Argument(help="Folder of a sweep, or its TOML file.")],
    out: Place = None,
    as_json: AsJson = False,
) -> None:
    """How far a sweep is: its runs by state, and why some failed."""
    from collections import Counter

    from sysgym_zoo.jobs.console import show_json, table, tell
    from sysgym_zoo.sweeps.drive import folder_of, load_units, status_rows

    root = folder if folder.is_dir() else folder_of(folder, out)
    rows = status_rows(root, load_units(root))
    counts = dict(Counter(row["state"] for row in rows))
    if as_json:
        show_json("sweep-status", {"sweep": str(root), "counts": counts, "rows": rows})
        return
    tell(table([{"state": name, "runs": count} for name, count in counts.items()]))
    open_ = [
        {key: row[key] for key in ("id", "kind", "agent", "seed", "state", "why")}
        for row in rows
        if row["state"] != "done"
    ]
    if open_:
        tell("\n" + table(open_))
