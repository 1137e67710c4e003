"""What there is: problems, agents, instances, data sets, boards and their documentation."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sysgym import UsageError, problem_ids
from sysgym.core import data
from sysgym.core.errors import unknown
from sysgym.core.instances import SPLITS, find_entry
from sysgym.core.options import option_table
from sysgym.core.registry import environment_id, make_problem, problem_class, problem_registry
from sysgym_agents.core import agent_class, agent_names, is_learner
from sysgym_zoo.lookup.finding import of_data, sets_of, short_names, usable, words_of
from sysgym_zoo.lookup.recipes import load_recipe, recipe_names
from sysgym_zoo.lookup.records import load_run
from sysgym_zoo.lookup.trained import card_of, folder_of, trained_names


def first_line(thing: Any) -> str:
    """First sentence of a docstring."""
    text = inspect.getdoc(thing) or ""
    return text.split("\n\n")[0].replace("\n", " ")


def _load(load: Callable[[str], Any], name: str) -> Any:
    """What is registered, or the sentence that says why it cannot be loaded."""
    try:
        return load(name)
    except UsageError as error:
        return str(error)


def problem_rows() -> list[dict[str, Any]]:
    """Registered problems."""
    rows = []
    for name, identifier in zip(problem_registry.names(), problem_ids(), strict=True):
        found = _load(problem_registry.get, name)
        broken = isinstance(found, str)
        rows.append(
            {
                "id": identifier,
                "recommended": None if broken else found.recommended_agent,
                "about": f"BROKEN: {found}" if broken else first_line(found),
            }
        )
    return rows


def agent_rows(problem: str | None) -> list[dict[str, Any]]:
    """Registered agents, recipes and trained agents, of one problem if it is named."""
    wanted = problem_class(problem).name if problem else None  # type: ignore[attr-defined]
    rows = []
    for name in agent_names():
        found = _load(agent_class, name)
        if isinstance(found, str):
            rows.append({"agent": name, "kind": "broken", "problems": None, "about": found})
        elif wanted is None or not found.problems or wanted in found.problems:
            kind, fits = "learner" if is_learner(found) else "baseline", ", ".join(found.problems) or "any"
            rows.append({"agent": name, "kind": kind, "problems": fits, "about": first_line(found)})
    return [*rows, *_recipe_rows(wanted), *_trained_rows(wanted)]


def _trained_rows(problem: str | None) -> Iterator[dict[str, Any]]:
    for name in trained_names():
        record = load_run(folder_of(name))
        if problem in (None, record["problem"]["name"]):
            about = f"{record['agent']['name']}, trained on {len(record['instances'])} instances: sysgym show {name}"
            yield {"agent": name, "kind": "trained", "problems": record["problem"]["name"], "about": about}


def recipe_rows(problem: str | None) -> list[dict[str, Any]]:
    """Installed recipes, of one problem if it is named."""
    wanted = problem_class(problem).name if problem else None  # type: ignore[attr-defined]
    rows = []
    for row in _recipe_rows(wanted):
        agent, _, about = row["about"].partition(": ") if row["kind"] == "recipe" else ("-", "", row["about"])
        rows.append({"recipe": row["agent"], "agent": agent, "problem": row["problems"], "about": about})
    return rows


def _recipe_rows(problem: str | None) -> Iterator[dict[str, Any]]:
    for name in recipe_names():
        try:
            recipe = load_recipe(name)
        except UsageError as error:
            yield {"agent": name, "kind": "broken", "problems": None, "about": str(error)}
            continue
        if problem in (None, recipe.problem):
            about = f"{recipe.agent}: {recipe.about}"
            yield {"agent": name, "kind": "recipe", "problems": recipe.problem, "about": about}


def _sets(problem: str | None) -> Iterator[tuple[str, str, Any]]:
    """Problem, name and content of every instance set, of one problem if it is named."""
    if problem is None:
        found = [item for item in usable().values() if not item.secondary]
    else:
        found = [make_problem(problem)]
    for item in found:
        for name, group in (sets_of(item) if problem is None else item.instance_sets()).items():
            yield item.name, name, group


def instance_rows(problem: str | None, within: str | None) -> list[dict[str, Any]]:
    """Instance sets, or the instances of one set (or `SET/SPLIT`), of one problem if it is named."""
    if within is None:
        return [
            {
                "set": name,
                "problem": of,
                "source": group.source,
                "version": group.version,
                **{split: len(group.names(split)) for split in ("train", "valid", "test")},
                "about": group.about,
            }
            for of, name, group in _sets(problem)
        ]
    sets = {name: group for _, name, group in _sets(_owner(problem, within))}
    name, _, split = within.partition("/")
    if name not in sets:
        raise unknown("set", within, sets)
    kept = set(sets[name].names(split or None))
    return [
        {"instance": e.name, "split": e.split, "nodes": e.nodes, "edges": e.edges, "hash": e.hash[:12]}
        for e in sets[name].entries
        if e.name in kept
    ]


def _owner(problem: str | None, name: str) -> str | None:
    """The problem that was named, else the one that registers a name, where only one is not secondary."""
    if problem is not None:
        return problem
    known = usable()
    fits = [one for one in of_data(known, name) if not known[one].secondary]
    if len(fits) > 1:
        raise UsageError(f"{name!r} fits several problems ({', '.join(sorted(fits))}); add -p NAME.")
    return fits[0] if fits else None


def data_rows(problem: str | None) -> list[dict[str, Any]]:
    """Data sets and whether they are on this machine; a generated instance, which has no file, always is."""
    rows = []
    for of, name, group in _sets(problem):
        here = sum(all(data.find(file) is not None for file in entry.files) for entry in group.entries)
        rows.append(
            {
                "set": name,
                "problem": of,
                "source": group.source,
                "files": len(group.entries),
                "here": here,
                "licence": group.licence,
                "about": group.about,
            }
        )
    return rows


def _entries(problem: str | None, name: str) -> list[Any]:
    sets = {short: group for _, short, group in _sets(_owner(problem, name))}
    entry = find_entry(sets, name)
    if entry is not None:
        return [entry]
    if name not in sets:
        raise unknown("data set", name, [*sets, *(entry.name for group in sets.values() for entry in group.entries)])
    return list(sets[name].entries)


def fetch(problem: str | None, name: str) -> list[dict[str, Any]]:
    """Fetch the files of a set (or one instance); where they lie. UsageError says why the first that is missing is."""
    rows: list[dict[str, Any]] = []
    failed = []
    for entry in _entries(problem, name):
        if not entry.files:
            raise UsageError(f"{entry.name} is generated when it is used; there is no file to fetch.")
        try:
            rows += [{"instance": entry.name, "path": str(data.download(file))} for file in entry.files]
        except UsageError as error:
            failed.append(f"{entry.name}: {error}")
    if failed:
        more = f"; {len(failed) - 1} more are missing" if len(failed) > 1 else ""
        raise UsageError(f"{failed[0].rstrip('.')} ({len(rows)} files of {name!r} are here{more}).")
    return rows


def file_path(problem: str | None, name: str) -> Path:
    """Where the file of an instance lies; UsageError if it is not on this machine."""
    entries = _entries(problem, name)
    if len(entries) > 1:
        raise UsageError(f"{name!r} is a set; name one instance, such as {entries[0].name!r}.")
    if entries[0].file is None:
        raise UsageError(f"{name!r} is generated when it is used; it has no file.")
    path = data.find(entries[0].file)
    if path is None:
        data.read(entries[0].file)  # raises with the sentence that says how to get it
    assert path is not None
    return path


def options_text(factory: Any) -> str:
    """Options and their defaults, a line each, with where `sysgym tune` looks for them."""
    lines = [
        f"  {name} = {option.default!r}" + (f"  (tuned: {option.search.meaning})" if option.search else "")
        for name, option in option_table(factory).items()
    ]
    return "\n".join(lines) or "  (none)"


def budget_text(factory: Any) -> str:
    """How an agent keeps a budget."""
    step = f"A step of a budget is {factory.step}." if factory.step else "It makes one answer and counts no steps."
    text = f"{step} Not interrupted when the budget is spent: {factory.indivisible}."
    if factory.fallback:
        text += f" Where all that it found is infeasible, the answer is {factory.fallback}, and the row says so."
    return text


def describe(name: str) -> dict[str, Any]:
    """Documentation of whatever has this name."""
    from sysgym_leaderboards import board_names, load_board

    if name in agent_names():
        factory = agent_class(name)
        text = (
            f"agent {name}\n\n{inspect.getdoc(factory)}\n\n{budget_text(factory)}\n\n"
            f"Hyper-parameters (--set key=value):\n{options_text(factory)}"
        )
        return {"kind": "agent", "name": name, "text": text}
    if name in recipe_names():
        recipe = load_recipe(name).as_dict()
        return {
            "kind": "recipe",
            "name": name,
            "recipe": recipe,
            "text": f"recipe {name}, an agent's name too\n\n{json.dumps(recipe, indent=1)}",
        }
    if name in trained_names():
        return {"kind": "trained", "name": name, "run": load_run(folder_of(name)), "text": card_of(name)}
    if name in board_names():
        board = load_board(name).as_dict()
        return {"kind": "board", "name": name, "board": board, "text": f"board {name}\n\n{json.dumps(board, indent=1)}"}
    if name and os.path.isdir(name):
        record = load_run(Path(name))
        return {"kind": "run", "name": name, "run": record, "text": f"run {name}\n\n{json.dumps(record, indent=1)}"}
    try:
        identifier = environment_id(name)
    except UsageError:
        return _describe_instance(name)
    factory = problem_class(name)
    options = f"Options (-O key=value) and defaults:\n{options_text(factory)}"
    text = f"problem {identifier}\n\n{inspect.getdoc(factory)}\n\n{options}"
    return {"kind": "problem", "name": identifier, "text": text}


def known_names() -> list[str]:
    """Everything that `sysgym show` knows."""
    from sysgym_leaderboards import board_names

    instances = [word for problem in usable().values() for word in words_of(problem)]
    return [
        *agent_names(),
        *recipe_names(),
        *trained_names(),
        *board_names(),
        *problem_ids(),
        *short_names(),
        *instances,
    ]


def _describe_instance(name: str) -> dict[str, Any]:
    for problem in usable().values():
        sets = sets_of(problem)
        group, split = sets.get(name.partition("/")[0]), name.partition("/")[2]
        if group is not None and split in ("", *SPLITS):
            chosen = [entry for entry in group.entries if split in ("", entry.split)]
            lines = [f"  {e.name}  {e.split}  {e.nodes} nodes, {e.edges} edges" for e in chosen]
            head = f"set {name} of {problem.name}, {group.source}, licence {group.licence}\n\n{group.about}\n"
            return {
                "kind": "set",
                "name": name,
                "instances": [e.name for e in chosen],
                "text": "\n".join([head, *lines]),
            }
        entry = find_entry(sets, name)
        if entry is not None:
            references = "\n".join(f"  {key}: {dict(row)}" for key, row in entry.references.items())
            text = (
                f"instance {name} of {problem.name}, split {entry.split}\n\n{entry.nodes} nodes, {entry.edges} edges\n"
                f"content {entry.hash}\n\nReference costs:\n{references or '  (none kept with the set)'}"
            )
            return {"kind": "instance", "name": name, "references": dict(entry.references), "text": text}
    raise unknown("name", name, known_names())
