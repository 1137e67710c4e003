"""The reference part of a problem's page: what its docstring and its table of options say, as Markdown."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from sysgym.core.options import Option, option_table
from sysgym.core.registry import environment_id, problem_class, problem_registry
from sysgym_zoo.lookup.recipes import own_recipes
from sysgym_zoo.lookup.trained import trained_for

PAGE, OWN = "README.md", "sysgym."
_ITEM = re.compile(r"^([a-z]\w*(?:, [a-z]\w*)*): ")


def pages() -> dict[str, Path]:
    """The page of every problem of the suite by registered name: `README.md` in its own folder."""
    found = {}
    for name, entry in problem_registry.entries().items():
        if entry.value.startswith(OWN):
            found[name] = Path(inspect.getfile(problem_class(name))).parent / PAGE
    return found


def reference(name: str) -> str:
    """The reference of one problem: id, action modes, what the docstring says, options."""
    problem: Any = problem_class(name)
    first, *parts = (inspect.getdoc(problem) or "").replace("\nVersion history:", "\n\nVersion history:").split("\n\n")
    lines = [f"`{environment_id(name)}`: {_flow(first)}", "", f"Action modes: {_modes(problem)}.", ""]
    for part in parts:
        head, _, rest = part.partition(":")
        lines += _options(problem, rest) if head == "Options" else [f"**{head}.** {_flow(rest)}", ""]
    recipes = [f"`{item.name}` (`{item.agent}`): {item.about}" for item in own_recipes(problem.name)]
    told = ["Recipes, which are agents' names too:", "", *(f"- {line}" for line in recipes), ""] if recipes else []
    kept = [f"`{each}` (`{agent}`)" for each, agent in trained_for(problem.name)]
    told += [f"Trained, in the package: {', '.join(kept)}. `sysgym show NAME` prints the model card."] if kept else []
    return "\n".join([*lines, *told]).rstrip()


def _flow(text: str) -> str:
    """Text on one line, that begins as a sentence does."""
    line = " ".join(text.split())
    return line if line[1:2].isdigit() else line[:1].upper() + line[1:]


def _modes(problem: Any) -> str:
    return ", ".join(
        "`" + ", ".join(f"{k}={v!r}" for k, v in row.items()) + "`" if row else "one" for row in problem.variants
    )


def _options(problem: Any, text: str) -> list[str]:
    """A table of names, values and defaults, then what the docstring says of them."""
    lines = ["| option | value | default |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {_value(option)} | `{option.default!r}` |" for name, option in option_table(problem).items()
    ]
    items: list[str] = []
    for line in inspect.cleandoc(text).splitlines():
        if items and not _ITEM.match(line):
            items[-1] += " " + line.strip()
        else:
            items.append(line.strip())
    return [*lines, "", *(f"- {item}" for item in items), ""]


def _value(option: Option) -> str:
    return option.meaning + (", or none" if option.optional else "")
