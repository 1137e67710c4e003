"""From words on the command line to objects: options, agents, problems and instances."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sysgym.core.errors import InvalidSolution, UsageError
from sysgym.core.instances import expand
from sysgym.core.options import parse_pairs
from sysgym.core.registry import make_problem, problem_class, with_options
from sysgym.core.solutions import parse_json
from sysgym_agents.core import agent_names, check_fits, make_agent

RECORD = {"kind", "problem", "instances", "budget", "threads", "hardware", "versions", "started", "status"}
FREE = {"mode", "moves"}  # options that an agent sets for itself, so that two agents may differ in them


def build_problem(name: str, pairs: Sequence[str] = ()) -> Any:
    """A problem from its name and `-O key=value` words."""
    return make_problem(name, **parse_pairs(pairs, problem_class(name), name))


def _is_record(record: Any) -> bool:
    """Whether this is what `Run` writes, with all that the commands read."""
    if not isinstance(record, dict) or not set(record) >= RECORD or not isinstance(record["problem"], dict):
        return False
    if record["kind"] == "train" and not {"agent", "seed"} <= set(record):
        return False
    return {"name", "version", "options"} <= set(record["problem"]) and isinstance(record["problem"]["options"], dict)


def load_run(folder: Path) -> dict[str, Any]:
    """The record of a run; UsageError if the folder holds none."""
    file = folder / "run.json"
    if not os.path.isfile(file):
        raise UsageError(f"{folder} is no run folder: it holds no run.json.")
    try:
        record = parse_json(file.read_bytes())
    except (OSError, InvalidSolution) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    if not _is_record(record):
        raise UsageError(f"{file} is no record of a run; name a folder made by `sysgym train` or `sysgym evaluate`.")
    return record


def build_agent(name: str, problem: Any) -> tuple[str, Any]:
    """An agent by registered name, or a trained one from a run folder, and the name to show for it."""
    folder = Path(name)
    if name not in agent_names() and name and os.path.isdir(folder):
        record = load_run(folder)
        if record.get("kind") != "train" or not (folder / "agent").is_dir():
            raise UsageError(f"{folder} holds no trained agent; give a run folder made by `sysgym train`.")
        registered = record["agent"]["name"]
        agent = make_agent(registered)
        check_fits(registered, agent, problem)
        agent.load(folder / "agent")
        shown = folder.resolve().name
        return registered if shown == registered else f"{registered} ({shown})", agent
    agent = make_agent(name)
    check_fits(name, agent, problem)
    if getattr(agent, "needs_training", False):
        here = f", ./{name} if you mean that folder" if os.path.isdir(folder) else ""
        raise UsageError(f"agent {name!r} knows nothing before it is trained; train it and give its run folder{here}.")
    return name, agent


def trained_options(names: Sequence[str], problem: Any, pairs: Sequence[str]) -> Any:
    """The problem with the options that run folders were trained with, where the user set none.

    UsageError where two of them were trained with different options.
    """
    given = {pair.partition("=")[0] for pair in pairs}
    merged: dict[str, tuple[Any, str]] = {}
    for name in names:
        if name in agent_names() or not name or not os.path.isdir(name):
            continue
        stored = load_run(Path(name))["problem"]
        if stored.get("name") != problem.name:
            raise UsageError(f"{name} was trained on {stored.get('name')}, not {problem.name}.")
        for key, value in stored["options"].items():
            if key in given:
                continue
            if key not in FREE and key in merged and merged[key][0] != value:
                other, there = merged[key]
                raise UsageError(
                    f"{there} was trained with {key}={other}, {name} with {key}={value}; choose by -O {key}=..."
                )
            merged.setdefault(key, (value, name))
    return with_options(problem, **{key: value for key, (value, _) in merged.items()})


def instance_names(problem: Any, names: Sequence[str] | str) -> list[str]:
    """Instance names behind sets, names and files."""
    return expand(problem.instance_sets(), names)
