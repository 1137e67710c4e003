"""What a word after `--agent` names: a registered agent, a recipe, a trained agent of the package, a run's folder or a
model in it, a model that was saved with Stable-Baselines3, or module:Class.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from sysgym.core.errors import UsageError, announce, unknown
from sysgym.core.options import alike, keyword_options, parse_pairs
from sysgym.core.problem import AnyProblem, Instance, Solution
from sysgym.core.registry import options_of, with_options
from sysgym.core.solutions import read_json
from sysgym_agents.core import agent_class, agent_names, check_fits, is_learner, make_agent, register_agent
from sysgym_agents.general.sb3.stored import SUFFIX, stored_class
from sysgym_zoo.lookup.recipes import Recipe, load_recipe, recipe_names
from sysgym_zoo.lookup.records import load_run
from sysgym_zoo.lookup.trained import folder_of, trained_for, trained_names

Options = Mapping[str, Any]
OF_MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True)
class Choice:
    """What a word names, before anything is built."""

    word: str
    agent: str  # as it is registered
    recipe: str = ""
    problem: str = ""  # that it is for, where it says so
    options: Options = field(default_factory=dict)  # of the problem that it was trained with, or asks for
    own: Options = field(default_factory=dict)  # those that the recipe sets, whatever else is asked for
    hyper: Options = field(default_factory=dict)
    changes: Options = field(default_factory=dict)  # hyper-parameters that the user set
    run: Path | None = None  # the run folder that it comes from
    weights: Path | None = None  # the folder in it where the weights are

    @property
    def kind(self) -> str:
        """What a name names."""
        return "trained agent" if self.run else "recipe" if self.recipe else "agent"

    @property
    def name(self) -> str:
        """What tables call it, without the folder."""
        return self.recipe or self.agent


def choose(word: str) -> Choice:
    """What an agent's word names; a name counts before a folder, aloud where that is a run's. UsageError if it is
    nothing of the kind.
    """
    named = _named(word)
    if named is not None:
        if (Path(word) / "run.json").is_file():
            announce(f"{word} is the {named.kind} of that name, not the run folder; ./{word} is the folder.")
        return named
    if word and os.path.isdir(word):
        return of_run(Path(word))
    if word.endswith(SUFFIX):
        if not os.path.isfile(word):
            raise UsageError(f"agent {word!r}: there is no such file of a model saved with Stable-Baselines3.")
        register_agent(word, stored_class(Path(word)))
        return Choice(word, word)
    if OF_MODULE.fullmatch(word):
        register_agent(word, of_module(word))
        return Choice(word, word)
    raise unknown("agent", word, [*agent_names(), *recipe_names(), *trained_names()])


def _named(word: str) -> Choice | None:
    """The agent, recipe or trained agent of a name."""
    if word in agent_names():
        return Choice(word, word)
    if word in recipe_names():
        return of_recipe(load_recipe(word))
    if word in trained_names():
        return replace(of_run(folder_of(word)), word=word)
    return None


def of_module(word: str) -> type[Any]:
    """The agent's class that `module:Class` names, as a program in this folder imports it."""
    module, _, name = word.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it prints is no result
            found = vars(import_module(module)).get(name)
    except Exception as error:
        raise UsageError(f"agent {word!r} cannot be imported ({type(error).__name__}: {error}).") from error
    finally:
        sys.path.remove(os.getcwd())
    if not isinstance(found, type) or "solve" not in dir(found):
        raise UsageError(
            f"agent {word!r} must be a class with solve(problem, instance, rng, budget); {module} has "
            f"{'no such name' if found is None else 'another thing of that name'}."
        )
    return found


def of_recipe(recipe: Recipe) -> Choice:
    """The agent of a recipe."""
    own = dict(recipe.options)
    return Choice(recipe.name, recipe.agent, recipe.name, recipe.problem, own, own, recipe.hyper)


def of_run(folder: Path) -> Choice:
    """The agent of a run folder, or one that lies in it: its best one, or that of a checkpoint."""
    home, weights = folder, folder / "agent"
    if not (folder / "run.json").is_file() and (folder / "agent.json").is_file():
        whole = folder.resolve()
        home = next((each for each in (whole.parent, whole.parents[1]) if (each / "run.json").is_file()), folder)
        weights = folder
    record = load_run(home)
    if record["kind"] != "train" or not weights.is_dir():
        raise UsageError(f"{folder} holds no trained agent; give a run folder made by `sysgym train`.")
    return replace(resumed_choice(record), word=str(folder), run=home, weights=weights)


def resumed_choice(record: Mapping[str, Any]) -> Choice:
    """The agent of a training's record. Recipes were agents once: a record may name one as its agent."""
    told, problem, name = record["agent"], record["problem"], record["agent"]["name"]
    own, recipe = told.get("options", {}), told.get("recipe") or ""
    if name not in agent_names() and name in recipe_names():
        was = load_recipe(name)
        name, recipe = was.agent, name
        own = {key: value for key, value in was.options.items() if key in _mode_options(was)}
    named = recipe if own and recipe in recipe_names() else ""
    return Choice(name, name, named, problem["name"], {**problem["options"], **own}, own, told["hyper"])


def _mode_options(recipe: Recipe) -> set[str]:
    from sysgym.core.registry import problem_class

    return mode_keys(problem_class(recipe.problem))


def mode_keys(problem: Any) -> set[str]:
    """Options that choose the action mode: those that the problem's variants name."""
    return {key for variant in problem.variants for key in variant}


class InMode:
    """An agent that plays in an action mode of its own, whatever the mode of the problem that it is given."""

    def __init__(self, agent: Any, options: Options) -> None:
        self.agent, self.options = agent, dict(options)
        self.problems, self.step, self.indivisible = agent.problems, agent.step, agent.indivisible
        self.fallback = agent.fallback
        self._last: tuple[Any, Any] = (None, None)  # a problem, and the same in the own mode

    @property
    def fell_back(self) -> bool:
        """Whether the agent's last answer was its fallback."""
        return bool(self.agent.fell_back)

    def prepare(self) -> None:
        """Import what the agent imports."""
        self.agent.prepare()

    def forget(self, rng: Any) -> bool:
        """Draw the agent's weights anew."""
        return bool(self.agent.forget(rng))

    def solve(self, problem: AnyProblem, instance: Instance, rng: Any, budget: Any) -> Solution:
        """Let the agent solve in its mode."""
        if self._last[0] is not problem:
            given = options_of(problem)
            same = all(alike(given[key], value) for key, value in self.options.items())
            self._last = problem, problem if same else with_options(problem, **self.options)
        found: Solution = self.agent.solve(self._last[1], instance, rng, budget)
        return found


class Solver(NamedTuple):
    """An agent, ready to solve, and what tables call it."""

    name: str
    agent: Any
    learns: bool


def changed(choices: Sequence[Choice], pairs: Sequence[str]) -> list[Choice]:
    """The choices with hyper-parameters that the user set, key=value; each agent takes those that it has.

    UsageError for a key that none of them has.
    """
    known = [keyword_options(agent_class(choice.agent)) for choice in choices]
    for pair in pairs:
        key = pair.partition("=")[0]
        if "=" not in pair or not any(key in table for table in known):
            who = " and ".join(dict.fromkeys(repr(choice.word) for choice in choices))
            raise unknown(f"hyper-parameter of {who}", pair, sorted({key for table in known for key in table}))
    return [
        replace(choice, changes=parse_pairs(
            [pair for pair in pairs if pair.partition("=")[0] in table], agent_class(choice.agent),
            f"agent {choice.agent!r}",
        ))
        for choice, table in zip(choices, known, strict=True)
    ]  # fmt: skip


def load_changed(agent: Any, weights: Path, changes: Options) -> None:
    """Load an agent as if it had been stored with other hyper-parameters; UsageError where its weights forbid it."""
    if not changes:
        agent.load(weights)
        return
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(shutil.copytree(weights, Path(folder) / "agent"))
        told = read_json(copied / "agent.json")
        if not isinstance(told, dict) or not isinstance(told.get("hyper"), dict):
            raise UsageError(f"{weights} does not say its hyper-parameters; leave --set out.")
        said = ", ".join(f"{key}={value}" for key, value in changes.items())
        why = f"the weights in {weights} do not allow --set {said}; leave out what shapes the network."
        bound = {key: value for key, value in changes.items() if key in agent.bound}
        if not all(alike(value, told["hyper"].get(key, value)) for key, value in bound.items()):
            raise UsageError(why)
        told["hyper"] |= changes
        (copied / "agent.json").write_text(json.dumps(told))
        try:
            agent.load(copied)
        except UsageError as error:
            raise UsageError(why) from error


def build(choice: Choice, problem: AnyProblem, given: set[str] | None = None) -> Solver:
    """The agent of a choice, with its weights and in its action mode; `given` are options that the user set.

    UsageError if it does not fit the problem, or knows nothing yet.
    """
    modes = mode_keys(problem)
    own = {key: value for key, value in choice.options.items() if key in modes}
    own = {key: value for key, value in own.items() if key in choice.own or key not in (given or set())}
    agent = make_agent(choice.agent, **({} if choice.run else {**choice.hyper, **choice.changes}))
    check_fits(choice.agent if choice.run else choice.word, agent, problem)
    learns, name = is_learner(agent), choice.name
    if choice.run is not None and choice.weights is not None:
        load_changed(agent, choice.weights, choice.changes)
        whole, home = choice.weights.resolve(), choice.run.resolve()
        shown = home.name if whole == home / "agent" else f"{home.name}/{whole.relative_to(home)}"
        name = name if shown == name else f"{name} ({shown})"
    elif learns and agent.needs_training:
        here = f", ./{choice.word} if you mean that folder" if os.path.isdir(choice.word) else ""
        ready = [name for name, kind in trained_for(problem.name) if kind == choice.agent]
        there = f", or name {' or '.join(ready)}, which is trained already" if ready else ""
        why = (
            f"agent {choice.word!r} knows nothing before it is trained; train it and give its run folder{here}{there}."
        )
        raise UsageError(why)
    return Solver(name, InMode(agent, own) if own else agent, learns)


def make(word: str, **hyper: Any) -> Any:
    """An untrained agent by its name or its recipe's, with the recipe's hyper-parameters.

    >>> make("random").problems
    ()
    """
    choice = choose(word)
    return make_agent(choice.agent, **{**choice.hyper, **hyper})


def learner_class(name: str) -> Any:
    """The class of an agent that can be trained; UsageError if it cannot."""
    factory = agent_class(name)
    if not is_learner(factory):
        raise UsageError(f"agent {name!r} does not learn; use it with `sysgym solve` or `sysgym evaluate`.")
    return factory
