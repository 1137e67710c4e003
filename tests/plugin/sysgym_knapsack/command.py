"""`sysgym weigh`: what an instance weighs."""

from __future__ import annotations

from typing import Annotated

import typer

from sysgym_zoo.cli.app import AsJson


def weigh(
    instance: Annotated[str, typer.Argument(help="A registered name or a file.")],
    as_json: AsJson = False,
) -> None:
    """The weight of all items of an instance."""
    from sysgym_knapsack.problem import Knapsack
    from sysgym_zoo.jobs.console import show_json

    weight = int(Knapsack().load(instance).weight.sum())
    show_json("weight", {"instance": instance, "weight": weight}) if as_json else print(weight)
