"""Commands that tell what there is: list, show, doctor, data."""

from __future__ import annotations

from typing import Annotated

import typer

from sysgym_zoo.cli import complete
from sysgym_zoo.cli.app import AsJson, ProblemName, app, command, data_app, list_app, show_rows


@command(list_app)
def problems(as_json: AsJson = False) -> None:
    """Registered problems."""
    from sysgym_zoo.lookup.catalogue import problem_rows

    show_rows("problems", problem_rows(), as_json)


@command(list_app)
def agents(
    problem: Annotated[
        str | None,
        typer.Option("--problem", "-p", help="Only those for this problem.", autocompletion=complete.problems),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Registered agents, and recipes, whose names are agents' names too."""
    from sysgym_zoo.lookup.catalogue import agent_rows

    show_rows("agents", agent_rows(problem), as_json)


@command(list_app)
def recipes(problem: ProblemName = None, as_json: AsJson = False) -> None:
    """Recipes: an agent's options and numbers on a problem."""
    from sysgym_zoo.lookup.catalogue import recipe_rows

    show_rows("recipes", recipe_rows(problem), as_json)


@command(list_app)
def instances(
    problem: ProblemName = None,
    within: Annotated[
        str | None, typer.Argument(help="A set, to list its instances.", autocompletion=complete.instances)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Instance sets, or the instances of one set."""
    from sysgym_zoo.lookup.catalogue import instance_rows

    show_rows("instances", instance_rows(problem, within), as_json)


@command(list_app)
def boards(as_json: AsJson = False) -> None:
    """Leaderboards."""
    from sysgym_zoo.jobs.boards import board_rows

    show_rows("boards", board_rows(), as_json)


@command(list_app)
def scalars(as_json: AsJson = False) -> None:
    """What the numbers of a training are called, whoever trains: in metrics.jsonl, TensorBoard and other trackers."""
    from sysgym_zoo.tracking.vocabulary import scalar_rows

    show_rows("scalars", scalar_rows(), as_json)


@command(app)
def show(
    name: Annotated[
        str,
        typer.Argument(help="Problem, agent, recipe, run, instance, set or board.", autocompletion=complete.everything),
    ],
    as_json: AsJson = False,
) -> None:
    """The documentation of a problem, agent, recipe, run, instance, set or board."""
    from sysgym_zoo.jobs.console import show_json, tell
    from sysgym_zoo.lookup.catalogue import describe

    found = describe(name)
    if as_json:
        show_json("documentation", found)
    else:
        tell(found["text"])


@command(app)
def doctor(as_json: AsJson = False) -> None:
    """Check the installation: versions, threads, plugins, optional packages, writable folders."""
    from sysgym_zoo.cli.plugins import faults
    from sysgym_zoo.jobs.doctor import checks

    rows = checks(faults({item.name or item.callback.__name__ for item in app.registered_commands if item.callback}))
    show_rows("doctor", rows, as_json)
    if any(row["status"] == "broken" for row in rows):
        raise typer.Exit(1)


@command(data_app, "list")
def data_list(
    problem: ProblemName = None,
    as_json: AsJson = False,
) -> None:
    """Data sets: source, licence and whether they are on this machine."""
    from sysgym_zoo.lookup.catalogue import data_rows

    show_rows("data", data_rows(problem), as_json)


@command(data_app, "get")
def data_get(
    name: Annotated[str, typer.Argument(help="A set, or one instance.", autocompletion=complete.instances)],
    problem: ProblemName = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a public data set into the cache folder, with checksums."""
    from sysgym_zoo.lookup.catalogue import fetch

    show_rows("data-files", fetch(problem, name), as_json)


@command(data_app, "path")
def data_path(
    name: Annotated[
        str, typer.Argument(help="One instance, such as walshaw/add20.", autocompletion=complete.instances)
    ],
    problem: ProblemName = None,
    as_json: AsJson = False,
) -> None:
    """Where the file of an instance lies on this machine."""
    from sysgym_zoo.jobs.console import show_json, tell
    from sysgym_zoo.lookup.catalogue import file_path

    path = file_path(problem, name)
    show_json("data-path", {"instance": name, "path": str(path)}) if as_json else tell(path)
