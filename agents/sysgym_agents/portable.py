"""Agents as data: a name, hyper-parameters and weights, from which any installation makes the same answers.

The files are those of a trained agent's folder, `agent.json` and `model.safetensors`; an agent that does not learn has
the first alone. `options.json` holds the options of the problem's action mode that the agent plays in, if they are not
the problem's own. No code travels: the name must be registered where the agent plays.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

import sysgym
from sysgym.core.errors import UsageError, shortened
from sysgym.core.options import option_table
from sysgym.core.problem import AnyProblem, Instance, Solution
from sysgym.core.registry import with_options
from sysgym.core.solutions import parse_json
from sysgym_agents.core import Budget, Clock, agent_class, check_fits, is_learner, make_agent
from sysgym_agents.learning.devices import using

DESCRIPTION, OPTIONS, WEIGHTS = "agent.json", "options.json", "model.safetensors"


class Play(Protocol):
    """Its answer with a seed and a budget of steps (None: its own), and the CPU seconds that it took."""

    def __call__(
        self, problem: AnyProblem, instance: Instance, seed: int, steps: int | None = None
    ) -> tuple[Solution, float]: ...


class Player(NamedTuple):
    """An agent, ready to play."""

    play: Play
    files: dict[str, bytes]  # it as data, in the one form in which an agent is written


def files_of(name: str, agent: Any, hyper: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of an agent, `hyper` being its hyper-parameters where it does not learn, and `options` those of its
    action mode; UsageError for one that is inadmissible, or not trained.
    """
    _check_admissible(name)
    own = {OPTIONS: _json(options)} if options else {}
    if not is_learner(agent):
        return {DESCRIPTION: _json({"agent": name, "hyper": dict(hyper)}), **own}
    with tempfile.TemporaryDirectory() as folder:
        agent.save(Path(folder))
        return {file: (Path(folder) / file).read_bytes() for file in (DESCRIPTION, WEIGHTS)} | own


def player(files: Mapping[str, bytes]) -> Player:
    """The agent of some files, whose random numbers are those of an evaluation; UsageError where they describe no agent
    that is registered here and admissible.
    """
    table = parse_json(files.get(DESCRIPTION, b"null"))
    name = table.get("agent") if isinstance(table, dict) else None
    if not isinstance(name, str):
        raise UsageError(f"{DESCRIPTION} must be an object that names its 'agent'.")
    _check_admissible(name)
    hyper = table.get("hyper", {})
    if not isinstance(hyper, dict):
        raise UsageError(f"{DESCRIPTION} must hold hyper-parameters by name under 'hyper'.")
    _check_options(name, hyper)
    if WEIGHTS in files:
        agent = make_agent(name)
        if not is_learner(agent):
            raise UsageError(f"agent {name!r} does not learn, so it has no {WEIGHTS}.")
        with tempfile.TemporaryDirectory() as folder:
            for file in (DESCRIPTION, WEIGHTS):
                (Path(folder) / file).write_bytes(files[file])
            agent.load(Path(folder))
    else:
        agent = make_agent(name, **hyper)
        if agent.needs_training:
            raise UsageError(f"agent {name!r} must be trained, and there is no {WEIGHTS}.")

    options = parse_json(files.get(OPTIONS, b"{}"))
    if not isinstance(options, dict):
        raise UsageError(f"{OPTIONS} must be an object of options.")

    def play(problem: AnyProblem, instance: Instance, seed: int, steps: int | None = None) -> tuple[Solution, float]:
        check_fits(name, agent, problem)
        free = {key for variant in problem.variants for key in variant}
        if not set(options) <= free:
            raise UsageError(
                f"{OPTIONS} sets {min(set(options) - free)!r}; an agent may choose its action mode alone, by "
                f"{', '.join(sorted(free)) or 'no option'}."
            )
        mine = with_options(problem, **options) if options else problem
        clock = Clock(Budget())
        with using("cpu"):  # where the same seed gives the same answer
            found: Solution = agent.solve(mine, instance, generator(instance, seed), Budget(steps=steps))
        return found, clock.cpu_seconds

    agent.prepare()
    return Player(play, files_of(name, agent, hyper, options))


def _json(table: Mapping[str, Any]) -> bytes:
    return json.dumps(table, indent=1, sort_keys=True).encode()


def generator(instance: Instance, seed: int) -> np.random.Generator:
    """The random numbers of an agent on an instance."""
    return np.random.default_rng([seed, int(sysgym.content_hash(instance)[:12], 16)])


def _check_options(name: str, hyper: Mapping[str, Any]) -> None:
    """UsageError where a stranger's hyper-parameter may name a file here."""
    table = option_table(agent_class(name))
    for key, value in hyper.items():
        known = table[key].choices if key in table else ()
        if isinstance(value, str) and value not in known and ("/" in value or "\\" in value or os.path.lexists(value)):
            raise UsageError(
                f"agent {name!r} is given {key}={shortened(value, 80)!r}, which may be a file; leave it out."
            )


def _check_admissible(name: str) -> None:
    found: Any = agent_class(name)
    if not getattr(found, "admissible", True):
        raise UsageError(f"agent {name!r} is a bound, and may not compete: it looks at what others are to find out.")
