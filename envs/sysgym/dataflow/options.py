"""Options that the problems on dataflow graphs share. Imports no kernels, so that listing problems stays cheap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sysgym.core.errors import UsageError, unknown
from sysgym.dataflow.simulator.rules import Rules

TOPIC = "dataflow"  # of the packaged graphs
GROUPINGS = ("op", "layers", "metis")
STARTS = ("single", "expert", "random")


def check_choices(problem: Any, choices: Mapping[str, tuple[str | None, ...]]) -> None:
    """UsageError for an option that is none of its choices, or a generator that is no text."""
    for option, known in choices.items():
        value = getattr(problem, option)
        if value not in known:
            raise unknown(option, value, [item for item in known if item is not None])
    if not isinstance(problem.generator, str):
        raise UsageError(f"option generator must be a text, got {problem.generator!r}.")
    if problem.generator.split(":")[0] != "layered":
        raise unknown("generator", problem.generator.split(":")[0], ["layered"])


def rules_of(problem: Any) -> Rules:
    """The rules that the options of a problem name."""
    return Rules(**{item.name: getattr(problem, item.name) for item in fields(Rules)})
