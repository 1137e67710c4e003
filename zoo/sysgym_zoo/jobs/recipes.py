"""Recipes: hyper-parameters of an agent on a problem, as TOML data.

agent = "ppo-refine"
problem = "Partitioning"
instances = "delaunay/train"
[options]          # of the problem
[hyper]            # of the agent
[budget]           # seconds and/or steps
"""

from __future__ import annotations

import math
import os
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from sysgym.core.errors import UsageError, unknown

KEYS = {"agent", "problem", "instances", "options", "hyper", "budget", "about"}


def recipe_names() -> list[str]:
    """Names of the packaged recipes."""
    folder = files("sysgym_zoo") / "recipes"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def load_recipe(name: str) -> dict[str, Any]:
    """A packaged recipe by name or a TOML file; UsageError if it is malformed."""
    if name in recipe_names():
        text = (files("sysgym_zoo") / "recipes" / f"{name}.toml").read_text()
    elif os.path.exists(name):
        try:
            text = Path(name).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"recipe {name} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    else:
        raise unknown("recipe", name, recipe_names())
    try:
        recipe = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"recipe {name}: {error}.") from error
    for key, value in recipe.items():
        if key not in KEYS:
            raise unknown(f"key of recipe {name}", key, KEYS)
        wanted = dict if key in ("options", "hyper", "budget") else str
        if not isinstance(value, wanted):
            raise UsageError(f"recipe {name}: {key} must be a {'table' if wanted is dict else 'text'}, got {value!r}.")
    for key, value in recipe.get("budget", {}).items():
        if key not in ("seconds", "steps"):
            raise unknown(f"budget of recipe {name}", key, ("seconds", "steps"))
        kinds: Any = int if key == "steps" else int | float
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
            what = "whole number" if key == "steps" else "number"
            raise UsageError(f"recipe {name}: {key} must be a positive {what}, got {value!r}.")
    return recipe


def default_recipe(problem: str, agent: str) -> dict[str, Any]:
    """The packaged recipe of an agent on a problem, or an empty one."""
    for name in recipe_names():
        recipe = load_recipe(name)
        if recipe.get("agent") == agent and recipe.get("problem") == problem:
            return recipe
    return {}
