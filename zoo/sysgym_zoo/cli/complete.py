"""Shell completion with the names that are registered: problems, agents, instances, boards, recipes, options.

`sysgym --install-completion` switches it on. A completion never imports torch or numba, and never fails aloud.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import typer

Completer = Callable[[typer.Context, str], list[str]]
_BREAKS = "=:"  # bash ends words here
_behind = ""  # what stands before the word that bash completes, such as "mode="


def completes(find: Callable[[dict[str, Any]], Iterable[str]]) -> Completer:
    """A completion callback from a function of the command's other parameters to all possible words."""

    def callback(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            found = [word for word in find(ctx.params) if word.startswith(_behind + incomplete)]
        except Exception:  # half a command line may name anything
            return []
        return [word[len(_behind) :] for word in found if word != _behind]

    return callback


def join_words(words: list[str]) -> tuple[list[str], str, str]:
    """Undo bash's splitting at = and :, which typer does not know of: the words before the last one, and that one in
    two parts, what bash leaves alone and what it completes.

    >>> join_words(["sysgym", "solve", "-O", "mode", "=", "re"])
    (['sysgym', 'solve', '-O'], 'mode=', 're')
    """
    joined: list[str] = []
    for position, word in enumerate(words):
        if position > 1 and (word[:1] in _BREAKS or joined[-1][-1:] in _BREAKS) and word and joined[-1]:
            joined[-1] += word
        else:
            joined.append(word)
    last = joined.pop()
    completed = words[-1].lstrip(_BREAKS)
    return joined, "" if last == words[-1] else last.removesuffix(completed), completed


def prepare_bash() -> None:
    """Hand typer whole words, where bash asks for a completion."""
    global _behind
    if os.environ.get("_SYSGYM_COMPLETE") != "complete_bash" or "COMP_CWORD" not in os.environ:
        return
    current = int(os.environ["COMP_CWORD"])
    words = [*os.environ.get("COMP_WORDS", "").split("\n"), *[""] * (current + 1)][: current + 1]
    before, _behind, completed = join_words(words)
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join([*before, completed]), str(len(before))


def _problem(params: dict[str, Any]) -> Any:
    from sysgym.core.registry import problem_class

    return problem_class(params.get("problem") or "Partitioning")


def _problems(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.jobs.catalogue import problem_names

    return problem_names()


def _agents(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.jobs.catalogue import agent_rows

    return [row["agent"] for row in agent_rows(params.get("problem"))]


def _learners(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.jobs.catalogue import agent_rows

    return [row["agent"] for row in agent_rows(params.get("problem")) if row["kind"] == "learner"]


def _instances(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.jobs.catalogue import instance_words

    return instance_words(_problem(params)())


def _options(params: dict[str, Any]) -> Iterable[str]:
    from sysgym.core.options import keyword_options

    factory = _problem(params)
    values = {f"{key}={value}" for variant in factory.variants for key, value in variant.items()}
    return sorted({*values, *(f"{name}=" for name in keyword_options(factory))})


def _hyper(params: dict[str, Any]) -> Iterable[str]:
    from sysgym.core.options import keyword_options
    from sysgym_agents.core import agent_class

    return [f"{name}=" for name in keyword_options(agent_class(params["agent"]))]


def _boards(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_leaderboards import board_names

    return board_names()


def _recipes(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.jobs.recipes import recipe_names

    return recipe_names()


def _areas(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.jobs.benchmarks import areas as known

    return sorted(known())


def _formats(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_leaderboards.publish.export import FORMATS

    return FORMATS


def _everything(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.jobs.catalogue import known_names

    return known_names()


problems, agents, learners, instances = map(completes, (_problems, _agents, _learners, _instances))
options, hyper, boards, recipes, areas = map(completes, (_options, _hyper, _boards, _recipes, _areas))
everything = completes(_everything)
formats = completes(_formats)
