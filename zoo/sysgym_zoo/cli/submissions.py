"""Commands around leaderboards: pack, submit, board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sysgym_zoo.cli import complete
from sysgym_zoo.cli.app import AsJson, StorePath, app, board_app, command, show_paths, show_rows

EntryNumber = Annotated[int, typer.Argument(help="Number of the entry, as `sysgym board show` lists it.")]


@command(app)
def pack(
    runs: Annotated[list[Path], typer.Argument(help="Runs of evaluations, a folder of solution files, or an agent.")],
    board: Annotated[str, typer.Option(help="The board to submit to.", autocompletion=complete.boards)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Submission to write, .zip.")] = Path("submission.zip"),
    agent: Annotated[
        str | None,
        typer.Option(
            "--agent",
            "-a",
            help="Which agent of the runs; whose the solution files are.",
            autocompletion=complete.agents,
        ),
    ] = None,
    author: Annotated[list[str] | None, typer.Option(help="An author; repeatable.")] = None,
    code: Annotated[str, typer.Option(help="Where the code is.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the solutions.")] = "CC0-1.0",
    as_json: AsJson = False,
) -> None:
    """Build a submission from recorded solutions, or files: INSTANCE.json, with several seeds INSTANCE-s0.json.

    For a board of the division policy, which runs agents itself, give the folder of a training or an agent's name.
    """
    from sysgym_zoo.jobs.packing import pack_runs

    show_paths([pack_runs(runs, board, output, agent, author or [], code, licence)], as_json)


@command(app)
def submit(
    pack: Annotated[Path, typer.Argument(help="Submission made by `sysgym pack`.")],
    board: Annotated[
        str | None,
        typer.Option(help="The board; default: the one that the submission names.", autocompletion=complete.boards),
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Verify a submission and record it on the local board. Exit code 3 if it is rejected."""
    from sysgym_zoo.jobs import boards as module
    from sysgym_zoo.jobs.console import show_json, tell

    certificate = module.submit(pack, board, store)
    show_json("certificate", certificate.as_dict()) if as_json else tell(module.outcome(certificate))
    if not certificate.accepted:
        raise typer.Exit(3)


@command(board_app, "list")
def board_list(as_json: AsJson = False) -> None:
    """Leaderboards."""

    from sysgym_zoo.jobs.boards import board_rows

    show_rows("boards", board_rows(), as_json)


@command(board_app, "show")
def board_show(
    board: Annotated[str, typer.Argument(help="Name of a board, or its TOML file.", autocompletion=complete.boards)],
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """The ranking of a board."""
    from sysgym_zoo.jobs.boards import standings

    show_rows("ranking", standings(board, store), as_json)


@command(board_app, "verify")
def board_verify(
    board: Annotated[
        str | None, typer.Argument(help="One board; default: everything stored.", autocompletion=complete.boards)
    ] = None,
    head: Annotated[str | None, typer.Option(help="A head that you kept: the history must still contain it.")] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Check the hash chain and judge every stored solution again. Exit code 3 if anything differs."""
    from sysgym_zoo.jobs.boards import verify

    if not verify(board, store, head, as_json):
        raise typer.Exit(3)


@command(board_app, "rejudge")
def board_rejudge(
    board: Annotated[
        str | None, typer.Argument(help="One board; default: everything stored.", autocompletion=complete.boards)
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Judge stored solutions again and append what another judge, or another verdict, found."""
    from sysgym_zoo.jobs.boards import rejudge

    show_rows("rejudged", rejudge(board, store), as_json)


@command(board_app, "withdraw")
def board_withdraw(
    entry: EntryNumber,
    reason: Annotated[str, typer.Option(help="Why; a line of text.")] = "",
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Take an entry out of the ranking, as its author wishes; it stays in the store."""
    show_change(store, entry, "withdrawn", reason, as_json)


@command(board_app, "authors")
def board_authors(
    entry: EntryNumber,
    author: Annotated[list[str] | None, typer.Option(help="An author; repeatable.")] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Correct the authors of an entry."""
    show_change(store, entry, "authors", author or [], as_json)


@command(board_app, "name")
def board_name(
    entry: EntryNumber,
    name: Annotated[str, typer.Argument(help="Shown instead of agent and authors; '' shows those again.")],
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Show an entry under another name, such as for anonymous review."""
    show_change(store, entry, "named", name, as_json)


def show_change(store: Path | None, entry: int, kind: str, value: object, as_json: bool) -> None:
    """Record an event and say so."""
    from sysgym_zoo.jobs.boards import change
    from sysgym_zoo.jobs.console import show_json, tell

    found = change(store, entry, kind, value)
    show_json("event", found) if as_json else tell(f"entry {entry}: {kind}, recorded as row {found['recorded_as']}")


@command(board_app, "export")
def board_export(
    board: Annotated[
        list[str] | None, typer.Argument(help="Boards; default: all that have entries.", autocompletion=complete.boards)
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("site"),
    kind: Annotated[str, typer.Option("--format", help="html, json or csv.", autocompletion=complete.formats)] = "html",
    solutions: Annotated[
        str | None,
        typer.Option(help="Write every feasible answer too: json, npz or an ending of the field, such as plc."),
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Write boards as JSON, CSV or a static page with pictures of the best solutions."""
    from sysgym_zoo.jobs.boards import export

    show_paths(export(board or [], out, kind, store, solutions), as_json)


@command(board_app, "audit")
def board_audit(
    results: Annotated[Path, typer.Argument(help="CSV file: algorithm, benchmark, reward, walltime_s.")],
    published: Annotated[Path | None, typer.Option(help="CSV file with the published figures.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a result table from elsewhere. Exit code 3 if an entry is incomplete or a figure is not the rows'."""
    from sysgym_zoo.jobs.boards import audit_rows

    rows = audit_rows(results, published)
    show_rows("audit", rows, as_json)
    if any(row["problems"] for row in rows):
        raise typer.Exit(3)
