"""Commands that register themselves: entry points in the group `sysgym.commands`, named as users type them, whose value
is a function with typer's annotations (`group = "sysgym_zoo.tools.group:group"`). The suite's own use the same door.

Each is imported when it is run or shown. One that cannot be imported stays in the list, says so, and `sysgym doctor`
names it; the others work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperGroup

from sysgym_zoo.cli.guard import guarded, help_text

COMMANDS = "sysgym.commands"
OWN = "sysgym"  # the distribution whose names are reserved
ANY = {"ignore_unknown_options": True, "allow_extra_args": True}


@lru_cache(maxsize=1)
def _sorted() -> tuple[dict[str, EntryPoint], dict[str, str]]:
    """Entry points by name, and why others of the same name were left out. The suite's own names come first."""
    found: dict[str, EntryPoint] = {}
    left_out: dict[str, str] = {}
    for entry in sorted(entry_points(group=COMMANDS), key=lambda e: e.dist is None or e.dist.name != OWN):
        first = found.setdefault(entry.name, entry)
        if first.value != entry.value:
            left_out[f"{entry.name} = {entry.value}"] = f"{entry.name!r} is already {first.value}"
    return found, left_out


class Broken(Exception):
    """Why a registered command cannot be used."""


def load(name: str) -> Callable[..., Any]:
    """The function of a registered command; Broken says why there is none."""
    entry = _sorted()[0][name]
    try:
        function: Callable[..., Any] = entry.load()
    except (Exception, SystemExit) as error:  # a plugin may fail in any way; it must not take the others with it
        why = f"cannot be imported ({type(error).__name__}: {error})"
    else:
        if callable(function):
            return function
        why = f"is a {type(function).__name__}, not a function"
    raise Broken(f"the command {name!r} is registered by {entry.value!r}, which {why}; repair or uninstall it.")


def build(name: str) -> Any:
    """A registered command as typer runs it; one that is broken becomes a command that says so."""
    try:
        return _build(name, load(name))
    except Exception as error:  # typer refuses some signatures
        sentence = str(error)

    def broken() -> None:
        from sysgym.core.errors import UsageError

        raise UsageError(sentence)

    broken.__doc__ = "BROKEN; `sysgym doctor` says why."
    return _build(name, broken, ANY)


def _build(name: str, function: Callable[..., Any], settings: dict[str, Any] | None = None) -> Any:
    small = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    small.command(name, context_settings=settings, help=help_text(function))(guarded(function))
    return typer.main.get_command(small)


def faults(own: set[str]) -> tuple[int, dict[str, str]]:
    """How many commands are registered, and what is wrong with those that cannot be used; `own` names are taken."""
    found, left_out = _sorted()
    wrong = dict(left_out)
    for name, entry in found.items():
        if name in own:
            wrong[f"{name} = {entry.value}"] = f"{name!r} is a command of sysgym already"
            continue
        try:
            _build(name, load(name))
        except Exception as error:
            wrong[f"{name} = {entry.value}"] = str(error)
    return len(found), wrong


class Commands(TyperGroup):
    """The commands that are written down, and those that register themselves."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names; nothing is imported."""
        return [*self.commands, *sorted(set(_sorted()[0]) - set(self.commands))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command; one that registers itself is imported now."""
        found = self.commands.get(cmd_name)
        return build(cmd_name) if found is None and cmd_name in _sorted()[0] else found

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names; where there is none, registered names are suggested too."""
        if args and args[0] not in self.list_commands(ctx):
            names: Any = dict.fromkeys(self.list_commands(ctx))
            self.commands = {**names, **self.commands}
        return super().resolve_command(ctx, args)
