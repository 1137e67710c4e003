"""The areas of `sysgym bench`: modules of `sysgym_zoo.bench`, and those that the entry points of the group
`sysgym.benchmarks` name (`knapsack = "my_package.bench"`). An area is a module with `rows(quick) -> list[dict]`, and is
imported only when it is measured.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import sysgym_zoo.bench
from sysgym.core.errors import UsageError, unknown
from sysgym.core.registry import REPAIR, failures, registered

BENCHMARKS = "sysgym.benchmarks"


@lru_cache(maxsize=1)
def areas() -> dict[str, str]:
    """Modules by area; nothing is imported. Of two with one name the suite's counts, then the first."""
    folder = sysgym_zoo.bench
    found = {item.name: f"{folder.__name__}.{item.name}" for item in iter_modules(folder.__path__)}
    for entry in registered(BENCHMARKS)[0].values():
        if found.setdefault(entry.name, entry.value) != entry.value:
            failures[f"{entry.name} = {entry.value}"] = f"the bench area {entry.name!r} is {found[entry.name]} already"
    return found


def load_area(name: str) -> ModuleType:
    """The module of an area; UsageError if there is none, or if it is of no use."""
    if name not in areas():
        raise unknown("bench area", name, areas())
    place = areas()[name]
    try:
        module = import_module(place)
    except (Exception, SystemExit) as error:  # a plugin may fail in any way
        why = f"cannot be imported ({type(error).__name__}: {error})"
    else:
        if callable(vars(module).get("rows")):
            return module
        why = "has no function rows(quick)"
    raise UsageError(f"the bench area {name!r} is the module {place}, which {why}; {REPAIR}")


def measure(name: str, quick: bool) -> list[dict[str, Any]]:
    """Rows of one area, on the CPU but for what it moves itself; UsageError lists the areas."""
    from sysgym_agents.learning.devices import using

    with using("cpu"):
        found: list[dict[str, Any]] = load_area(name).rows(quick)
    return found


def area_rows() -> list[dict[str, Any]]:
    """Every area and its module."""
    return [{"area": name, "module": place} for name, place in sorted(areas().items())]


def fault(name: str) -> str:
    """What is wrong with an area of another package, or ''; the suite's own are tested where they are made."""
    if not areas()[name].startswith(f"{sysgym_zoo.bench.__name__}."):
        load_area(name)
    return ""
