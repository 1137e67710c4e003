"""The application: groups, shared options, and how errors become one sentence and an exit code."""

from __future__ import annotations

import functools
import io
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sysgym_zoo.cli import complete

app = typer.Typer(
    name="sysgym",
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
    str,
    typer.Option(
        "--problem", "-p", help="Name of the problem, such as Partitioning.", autocompletion=complete.problems
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option("-O", help="Option of the problem, key=value; repeatable.", autocompletion=complete.options),
]
InstanceName = Annotated[
    str,
    typer.Argument(help="A registered name, a recipe, or a file of your own.", autocompletion=complete.instances),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
Threads = Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads of torch; results depend on it.")]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder to make; default: the next below runs/.")]
StorePath = Annotated[
    Path | None, typer.Option("--store", help="Leaderboard file; default: SYSGYM_STORE or the user's.")
]


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn errors that a user can cause into one sentence on stderr and the documented exit code."""

    @functools.wraps(function)
    def run(*args: Any, **keywords: Any) -> Any:
        try:
            return function(*args, **keywords)
        except KeyboardInterrupt:
            print("sysgym: interrupted.", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            raise typer.Exit(explain(error)) from None

    return run


def explain(error: Exception) -> int:
    """Print one sentence about an error and return its exit code; SYSGYM_DEBUG=1 shows the traceback as well."""
    from sysgym.core.errors import SysgymError
    from sysgym_zoo.jobs.console import was_interrupted

    if os.environ.get("SYSGYM_DEBUG"):
        traceback.print_exc()
    if isinstance(error, SysgymError):
        print(f"sysgym: {error}", file=sys.stderr)
        return error.exit_code
    if was_interrupted(error):
        print("sysgym: interrupted.", file=sys.stderr)
        return 130
    if isinstance(error, OSError):
        print(f"sysgym: {error.filename or 'the output'}: {error.strerror or error}.", file=sys.stderr)
    else:
        line = (str(error).splitlines() or [""])[0]
        hint = "this is a defect of sysgym or of a plugin, SYSGYM_DEBUG=1 shows where"
        print(f"sysgym: unexpected {type(error).__name__}: {line}; {hint}.", file=sys.stderr)
    return 1


def command(group: typer.Typer, name: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a guarded command."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        return group.command(name)(guarded(function))

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
    from sysgym_zoo.jobs.console import show_json, table

    show_json(kind, {"rows": rows}) if as_json else print(table(rows))


def show_paths(paths: list[Path], as_json: bool) -> None:
    """Print the files made, or the same as JSON."""
    from sysgym_zoo.jobs.console import show_json

    if as_json:
        show_json("files", {"files": [str(path) for path in paths]})
    else:
        print("\n".join(map(str, paths)))
