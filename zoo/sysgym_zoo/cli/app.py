"""The application: groups, shared options, and what every command does."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sysgym_zoo.cli import complete
from sysgym_zoo.cli.guard import guarded, help_text
from sysgym_zoo.cli.plugins import Commands

app = typer.Typer(
    name="sysgym",
    cls=Commands,
    help="Gymnasium environments, agents and verified leaderboards for the optimisation problems of computer systems.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
list_app = typer.Typer(help="What there is.", no_args_is_help=True)
board_app = typer.Typer(help="Rankings, re-verification and export.", no_args_is_help=True)
data_app = typer.Typer(help="Public data sets.", no_args_is_help=True)
app.add_typer(list_app, name="list")
app.add_typer(board_app, name="board")
app.add_typer(data_app, name="data")

ProblemName = Annotated[
    str | None,
    typer.Option(
        "--problem", "-p", help="Name of the problem; default: told by the data or agent.",
        autocompletion=complete.problems,
    ),
]  # fmt: skip
Options = Annotated[
    list[str] | None,
    typer.Option("-O", help="Option of the problem, key=value; repeatable.", autocompletion=complete.options),
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Option of the agents that have it, key=value; repeatable.")
]
InstanceName = Annotated[
    str,
    typer.Argument(help="A registered name, a recipe, or a file of your own.", autocompletion=complete.instances),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
Threads = Annotated[
    int, typer.Option("--threads", min=1, max=1024, help="Threads of every pool; results of torch depend on them.")
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="Where networks are computed: cpu, cuda, or auto, which is cuda for what is large enough.",
        autocompletion=complete.devices,
    ),
]
Seconds = Annotated[float | None, typer.Option("--seconds", min=0.0, help="Wall time for one solution.")]
CpuSeconds = Annotated[
    float | None, typer.Option("--cpu-seconds", min=0.0, help="CPU time of all threads for one solution.")
]
Steps = Annotated[
    int | None,
    typer.Option("--steps", min=1, help="Judged candidates of one solution; see `show AGENT`."),
]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder to make; default: the next below runs/.")]
StorePath = Annotated[
    Path | None, typer.Option("--store", help="Leaderboard file; default: SYSGYM_STORE or the user's.")
]


def command(group: typer.Typer, name: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a guarded command."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        return group.command(name, help=help_text(function))(guarded(function))

    return register


def version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from importlib.metadata import version as find

        print(find("sysgym"))
        raise typer.Exit


@app.callback()
def root(
    show: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Gymnasium environments, agents and verified leaderboards for the optimisation problems of computer systems."""
    for stream in (sys.stdout, sys.stderr):  # names of files need not be text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread unless the user says otherwise: results depend on it


def show_rows(kind: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print a table, or the same as JSON."""
    from sysgym_zoo.jobs.console import show_json, table, tell

    show_json(kind, {"rows": rows}) if as_json else tell(table(rows))


def show_paths(paths: list[Path], as_json: bool) -> None:
    """Print the files made, or the same as JSON."""
    from sysgym_zoo.jobs.console import show_json, tell

    if as_json:
        show_json("files", {"files": [str(path) for path in paths]})
    else:
        tell("\n".join(map(str, paths)))
