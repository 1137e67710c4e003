"""Commands that tell what there is: list, show, doctor, data."""

from __future__ import annotations

from typing import Annotated

import typer

from sysgym_zoo.cli.app import AsJson, app, command, data_app, list_app, show_rows


@command(list_app)
def problems(as_json: AsJson = False) -> None:
    """Registered problems."""

    from sysgym_zoo.catalogue import problem_rows

    show_rows(problem_rows(), as_json)


@command(list_app)
def agents(
    problem: Annotated[str | None, typer.Option("--problem", "-p", help="Only those for this problem.")] = None,
    as_json: AsJson = False,
) -> None:
    """Registered agents."""

    from sysgym_zoo.catalogue import agent_rows

    show_rows(agent_rows(problem), as_json)


@command(list_app)
def instances(
    problem: Annotated[str, typer.Option("--problem", "-p", help="The problem.")] = "Partitioning",
    within: Annotated[str | None, typer.Argument(help="A set, to list its instances.")] = None,
    as_json: AsJson = False,
) -> None:
    """Instance sets of a problem, or the instances of one set."""

    from sysgym_zoo.catalogue import instance_rows

    show_rows(instance_rows(problem, within), as_json)


@command(list_app)
def boards(as_json: AsJson = False) -> None:
    """Leaderboards."""

    from sysgym_zoo.boards import board_rows

    show_rows(board_rows(), as_json)


@command(app)
def show(
    name: Annotated[str, typer.Argument(help="A problem, agent, instance, set, board or recipe.")],
    as_json: AsJson = False,
) -> None:
    """The documentation of a problem, agent, instance, set, board or recipe."""
    from sysgym_zoo.catalogue import describe
    from sysgym_zoo.console import show_json

    found = describe(name)
    if as_json:
        show_json(found)
    else:
        print(found["text"])


@command(app)
def doctor(as_json: AsJson = False) -> None:
    """Check the installation: versions, threads, plugins, optional packages, writable folders."""
    from sysgym_zoo.console import show_json, table
    from sysgym_zoo.doctor import checks

    rows = checks()
    show_json(rows) if as_json else print(table(rows))
    if any(row["status"] == "broken" for row in rows):
        raise typer.Exit(1)


@command(data_app, "list")
def data_list(
    problem: Annotated[str, typer.Option("--problem", "-p", help="The problem.")] = "Partitioning",
    as_json: AsJson = False,
) -> None:
    """Data sets: source, licence and whether they are on this machine."""

    from sysgym_zoo.catalogue import data_rows

    show_rows(data_rows(problem), as_json)


@command(data_app, "get")
def data_get(
    name: Annotated[str, typer.Argument(help="A set, or one instance.")],
    problem: Annotated[str, typer.Option("--problem", "-p", help="The problem.")] = "Partitioning",
    as_json: AsJson = False,
) -> None:
    """Fetch a public data set into the cache folder, with checksums."""
    from sysgym_zoo.catalogue import fetch

    show_rows(fetch(problem, name), as_json)


@command(data_app, "path")
def data_path(
    name: Annotated[str, typer.Argument(help="One instance, such as walshaw/add20.")],
    problem: Annotated[str, typer.Option("--problem", "-p", help="The problem.")] = "Partitioning",
    as_json: AsJson = False,
) -> None:
    """Where the file of an instance lies on this machine."""
    from sysgym_zoo.catalogue import file_path
    from sysgym_zoo.console import show_json

    path = file_path(problem, name)
    show_json({"instance": name, "path": str(path)}) if as_json else print(path)
