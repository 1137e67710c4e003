"""Recipes: an agent's options and numbers on a problem, as TOML data. The name of one is an agent's name too.

    about = "Pack by a learnt score."
    agent = "knapsack-rule"
    problem = "Knapsack"
    instances = "small/train"
    default = true     # used where the agent is trained on the problem without a recipe
    [options]          # of the problem, such as the action mode
    [hyper]            # of the agent
    [ablation]         # rule: the agent or recipe of one line that it must beat, played in the same mode
    [budget]           # seconds, cpu_seconds and/or steps
    [eval]             # instances and every: on which the model is evaluated, and every how many steps; stop_after
    [origin]           # where the numbers come from, as `sysgym tune` writes it; nothing depends on it

They are found as `recipes/<problem>/<name>.toml`, and in packages that entry points of the group `sysgym.recipes` name.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from sysgym.core.data import read_file
from sysgym.core.errors import UsageError, reading, unknown
from sysgym.core.registry import failures, find_files, problem_class
from sysgym_agents.core import Budget, agent_registry

RECIPES = "sysgym.recipes"
FOLDER = Path(__file__).parents[1] / "recipes"
TABLES = ("options", "hyper", "budget", "ablation", "eval", "origin")
EVAL = ("instances", "every", "stop_after")
MOST_BYTES = 2**20  # of a recipe


@dataclass(frozen=True)
class Recipe:
    """What a recipe says; an empty one says nothing."""

    name: str = ""
    about: str = ""
    agent: str = ""
    problem: str = ""
    instances: str = ""
    default: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    hyper: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, Any] = field(default_factory=dict)
    ablation: Mapping[str, Any] = field(default_factory=dict)
    eval: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """What is said, as plain data."""
        return {key: value for key, value in asdict(self).items() if value and key != "name"}


KEYS = {item.name for item in fields(Recipe)} - {"name"}


@lru_cache(maxsize=1)
def _files() -> dict[str, Path]:
    """Files of the installed recipes by name; of one that is called like an agent, the agent counts."""
    own = sorted(path for path in FOLDER.iterdir() if path.is_dir())
    found = find_files(RECIPES, own, "recipe")
    for name in sorted(found.keys() & agent_registry.entries().keys()):
        failures[f"{name} in {found.pop(name).parent.name}"] = f"an agent is called {name!r} already"
    return found


def recipe_names() -> list[str]:
    """Names of the installed recipes."""
    return sorted(_files())


def own_recipes(problem: str) -> list[Recipe]:
    """The suite's recipes for a problem."""
    own = [load_recipe(name) for name, path in sorted(_files().items()) if path.is_relative_to(FOLDER)]
    return [recipe for recipe in own if recipe.problem == problem]


def load_recipe(name: str) -> Recipe:
    """An installed recipe by name or a TOML file; UsageError if it is malformed."""
    if name not in _files() and not os.path.exists(name):
        raise unknown("recipe", name, recipe_names())
    path = _files().get(name, Path(name))
    with reading(f"recipe {name}"):
        try:
            table = tomllib.loads(read_file(path, MOST_BYTES).decode())
        except UnicodeDecodeError as error:
            raise UsageError(f"recipe {name} cannot be read: {error}.") from error
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"recipe {name}: {error}.") from error
    _check(name, table)
    return Recipe(name=name, **table)


def _check(name: str, table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if key not in KEYS:
            raise unknown(f"key of recipe {name}", key, KEYS)
        wanted, what = (dict, "table") if key in TABLES else (bool, "true/false") if key == "default" else (str, "text")
        if not isinstance(value, wanted):
            raise UsageError(f"recipe {name}: {key} must be a {what}, got {value!r}.")
    for key, value in table.get("ablation", {}).items():
        if key != "rule":
            raise unknown(f"ablation of recipe {name}", key, ("rule",))
        if not isinstance(value, str):
            raise UsageError(f"recipe {name}: rule must be the name of an agent or recipe, got {value!r}.")
    for key, value in table.get("eval", {}).items():
        if key not in EVAL:
            raise unknown(f"eval of recipe {name}", key, EVAL)
        if not (isinstance(value, str) if key == "instances" else type(value) is int and value >= 1):
            what = "a text" if key == "instances" else "a whole number from 1"
            raise UsageError(f"recipe {name}: {key} must be {what}, got {value!r}.")
    for key, value in table.get("budget", {}).items():
        if key not in Budget._fields:
            raise unknown(f"budget of recipe {name}", key, Budget._fields)
        kinds: Any = int if key == "steps" else int | float
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
            what = "whole number" if key == "steps" else "number"
            raise UsageError(f"recipe {name}: {key} must be a positive {what}, got {value!r}.")


def default_recipe(problem: str, agent: str) -> Recipe:
    """The recipe that says it is the default of an agent on a problem, or an empty one."""
    for name in recipe_names():
        recipe = load_recipe(name)
        if recipe.default and (recipe.agent, recipe.problem) == (agent, problem):
            return recipe
    return Recipe()


def rule_of(problem: str, agent: str, recipe: str = "") -> str:
    """The rule that an agent must beat on a problem: its recipe's, else that of a recipe with the agent; "" if none."""
    names = [recipe] if recipe in recipe_names() else []
    found = [load_recipe(name) for name in [*names, *recipe_names()]]
    fitting = [one for one in found if one.name == recipe or (one.agent, one.problem) == (agent, problem)]
    rules = [str(one.ablation["rule"]) for one in fitting if "rule" in one.ablation]
    return rules[0] if rules else ""


def fault(name: str) -> str:
    """What is wrong with an installed recipe, or ''."""
    recipe = load_recipe(name)
    for key, value in (("agent", recipe.agent), ("problem", recipe.problem)):
        if not value:
            return f"it names no {key}"
    if recipe.agent not in agent_registry.names():
        return str(unknown("agent", recipe.agent, agent_registry.names()))
    rule = recipe.ablation.get("rule", recipe.agent)
    if rule not in agent_registry.names() and rule not in recipe_names():
        return str(unknown("rule", rule, [*agent_registry.names(), *recipe_names()]))
    problem_class(recipe.problem)(**recipe.options)
    agent_registry.get(recipe.agent)(**recipe.hyper)
    return ""
