"""Problems by name. Built-in and third-party problems register the same way: an entry point in the group
`sysgym.problems` whose name is the environment id (`Knapsack-v0`, or `acme/Knapsack-v0` for another namespace)
and whose value is the problem class. A plugin that cannot be used is refused by name and never fatal to the others.
Names that the suite's own distribution registers are reserved, wherever another package stands on the path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import EntryPoint, distributions, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from sysgym.core.errors import UsageError, unknown
from sysgym.core.options import keyword_options, refuse_unknown
from sysgym.core.problem import Problem, members

PROBLEMS = "sysgym.problems"
MEMBERS = {  # what the class behind an entry point must have, by group
    PROBLEMS: tuple(sorted(members(Problem))),
    "sysgym.agents": ("problems", "solve"),
}
_ID = re.compile(r"^(?:(?P<namespace>[\w-]+)/)?(?P<name>[\w-]+?)-v(?P<version>\d+)$")

P = TypeVar("P")  # a problem
REPAIR = "repair or uninstall that package."

OWN = "sysgym"  # the distribution whose names are reserved
OWN_PACKAGES = ("sysgym", "sysgym_agents", "sysgym_zoo", "sysgym_leaderboards")

failures: dict[str, str] = {}  # entry point -> why it could not be used; shown by `sysgym doctor`


def registered(group: str) -> tuple[dict[str, EntryPoint], dict[str, str]]:
    """Entry points of a group by name, and why others were left out. The suite's own come first: they are reserved.

    A package that only calls itself sysgym does not register for it: what it names must lie in the suite's packages.
    """
    own = [entry for found in distributions(name=OWN) for entry in found.entry_points if entry.group == group]
    own = [entry for entry in own if re.split(r"[.:]", entry.value)[0] in OWN_PACKAGES]
    found: dict[str, EntryPoint] = {}
    left_out: dict[str, str] = {}
    for entry in (*own, *entry_points(group=group)):
        first = found.setdefault(entry.name, entry)
        if first.value != entry.value:
            whose = f", a name that {OWN} reserves" if first in own else ""
            left_out[f"{entry.name} = {entry.value}"] = f"{entry.name!r} is already {first.value}{whose}"
    return found, left_out


class Registry:
    """Entry points of one group plus what a program registered itself (tests, notebooks)."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.local: dict[str, Callable[..., Any]] = {}

    @cache  # noqa: B019  (two registries live as long as the process)
    def entries(self) -> dict[str, EntryPoint]:
        """Entry points by name; of two with one name the first counts and the other is recorded in `failures`."""
        found, left_out = registered(self.group)
        failures.update(left_out)
        return found

    def names(self) -> list[str]:
        """All registered names, sorted; nothing is imported."""
        return sorted({*self.entries(), *self.local})

    def get(self, name: str) -> Callable[..., Any]:
        """The factory registered under `name`; importing it is the only work. UsageError if it is no use."""
        if name in self.local:
            return self.local[name]
        entry = self.entries()[name]
        try:
            factory: Callable[..., Any] = entry.load()
        except (Exception, SystemExit) as error:  # a plugin may fail in any way; it must not take the suite with it
            why = f"but cannot be imported ({type(error).__name__}: {error})"
            raise UsageError(f"{name!r} is registered by {entry.value!r} {why}; {REPAIR}") from error
        lacking = [member for member in MEMBERS.get(self.group, ()) if not hasattr(factory, member)]
        if lacking:
            hint = " (@sysgym.complete adds what follows from eight methods)" if self.group == PROBLEMS else ""
            why = f"which lacks {', '.join(lacking)}{hint}"
            raise UsageError(f"{name!r} is registered by {entry.value!r}, {why}; {REPAIR}")
        return factory


problem_registry = Registry(PROBLEMS)


def problem_ids() -> list[str]:
    """Environment ids of all registered problems, `sysgym/Partitioning-v0` and so on; nothing is imported."""
    return [name if "/" in name else f"sysgym/{name}" for name in problem_registry.names()]


def _resolve(name: str) -> str:
    """Registered name for an id, a name with version, or a short name (newest version)."""
    names = problem_registry.names()
    short = name.removeprefix("sysgym:").removeprefix("sysgym/")
    if short in names:
        return short
    versions = {}
    for known in names:
        match = _ID.match(known)
        if match and short in (match["name"], f"{match['namespace']}/{match['name']}"):
            versions[int(match["version"])] = known
    if not versions:
        matches = (_ID.match(known) for known in names)
        raise unknown("problem", name, {m["name"] for m in matches if m})
    return versions[max(versions)]


def problem_class(name: str) -> Callable[..., Any]:
    """The class behind a problem name (short name, versioned name or environment id)."""
    return problem_registry.get(_resolve(name))


def environment_id(name: str) -> str:
    """`Partitioning` -> `sysgym/Partitioning-v0`."""
    resolved = _resolve(name)
    return resolved if "/" in resolved else f"sysgym/{resolved}"


def make_problem(name: str, /, **options: Any) -> Any:
    """Build a problem by name; an unknown option raises UsageError and lists the known ones.

    >>> make_problem("Partitioning", k=4).k
    4
    """
    factory = problem_class(name)
    refuse_unknown(_resolve(name), factory, options)
    return factory(**options)


def options_of(problem: object) -> dict[str, Any]:
    """The options that a problem was built with. Each is kept as an attribute of its own name."""
    return {name: getattr(problem, name) for name in keyword_options(type(problem))}


def with_options(problem: P, **changes: Any) -> P:
    """The same problem with some options changed.

    >>> with_options(make_problem("Partitioning", k=4), mode="assign").k
    4
    """
    refuse_unknown(type(problem).__name__, type(problem), changes)
    return type(problem)(**{**options_of(problem), **changes})


def parse_id(name: str) -> tuple[str, str, int]:
    """Namespace, name and version of a registered entry point name; UsageError if it is no environment id."""
    match = _ID.match(name)
    if not match:
        raise UsageError(f"{name!r} is no environment id; an entry point in {PROBLEMS!r} is named like 'Knapsack-v0'.")
    return match["namespace"] or "sysgym", match["name"], int(match["version"])


def register_problem(name: str, factory: Callable[..., Any]) -> None:
    """Register a problem from a program or notebook; a package uses an entry point instead."""
    parse_id(name)
    if name in problem_registry.names():
        raise UsageError(f"problem {name!r} is registered already; use a new version number.")
    problem_registry.local[name] = factory
    register_environment(name)


def register_environment(name: str) -> None:
    """Tell Gymnasium about one problem. Everything is a string, so that specs serialise."""
    import gymnasium as gym

    namespace, short, version = parse_id(name)
    gym.register(
        id=f"{namespace}/{short}-v{version}",
        entry_point="sysgym.core.env:ProblemEnv",
        vector_entry_point="sysgym.core.vector:ProblemVectorEnv",
        kwargs={"problem": name},
    )


def register_environments() -> None:
    """Register every problem with Gymnasium; a broken registration is recorded in `failures`, never fatal."""
    import gymnasium as gym

    for name, entry in problem_registry.entries().items():
        try:
            identifier = "{}/{}-v{}".format(*parse_id(name))
            if identifier not in gym.registry:
                register_environment(name)
        except Exception as error:  # whatever a plugin's name or Gymnasium raise belongs in the report
            failures[f"{name} = {entry.value}"] = f"{type(error).__name__}: {error}"


def find_files(group: str, own: Iterable[Path], kind: str) -> dict[str, Path]:
    """TOML files by their stem: those in the folders `own`, then those of the packages named by the entry points of a
    group (`mine = "my_package.boards"`); nothing is imported but the packages above such a one.

    Of two files with one stem the first counts; the other is recorded in `failures`, as a `kind` that exists already.
    """
    places = [(folder, folder.name) for folder in own]
    for entry in registered(group)[0].values():
        try:
            spec = find_spec(entry.value)
        except Exception:  # the package above it may fail in any way
            spec = None
        folders = list(spec.submodule_search_locations or ()) if spec else []
        places += [(Path(folder), entry.value) for folder in folders]
        if not folders:
            failures[f"{entry.name} = {entry.value}"] = f"there is no such package with {kind}s"
    found: dict[str, Path] = {}
    for folder, place in places:
        for path in sorted(folder.glob("*.toml")):
            if found.setdefault(path.stem, path) != path:
                failures[f"{path.stem} in {place}"] = f"the {kind} {path.stem!r} exists already"
    return found
