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


def _fitting(params: dict[str, Any]) -> list[Any]:
    """Problems that half a command line may be about, with their default options."""
    from sysgym.core.registry import make_problem
    from sysgym_zoo.lookup.finding import Clues, find_problem, split, usable

    if params.get("problem"):
        return [make_problem(params["problem"])]
    agents = params.get("agent") or []
    words = split(params.get("instances")) or [word for word in [params.get("instance")] if word]
    try:
        named = [agents] if isinstance(agents, str) else list(agents)
        return [make_problem(find_problem(Clues(None, named, "", words)))] if named or words else [*usable().values()]
    except ValueError:  # several fit, or none
        return [*usable().values()]


def _problems(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.lookup.finding import short_names

    return short_names()


def _agents(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.lookup.catalogue import agent_rows

    return [row["agent"] for row in agent_rows(params.get("problem"))]


def _learners(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.lookup.catalogue import agent_rows

    return [row["agent"] for row in agent_rows(params.get("problem")) if row["kind"] in ("learner", "recipe")]


def _instances(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.lookup.finding import words_of

    given = {key: value for key, value in params.items() if key in ("problem", "agent")}
    return [word for problem in _fitting(given) for word in words_of(problem)]


def _options(params: dict[str, Any]) -> Iterable[str]:
    from sysgym.core.options import option_table, suggestions

    words = set()
    for problem in _fitting(params):
        table = option_table(type(problem))
        words |= {*suggestions(type(problem)), *(f"{name}=" for name in table)}
    return sorted(words)


def _hyper(params: dict[str, Any]) -> Iterable[str]:
    from sysgym.core.options import suggestions
    from sysgym_agents.core import agent_class
    from sysgym_zoo.lookup.naming import choose

    return suggestions(agent_class(choose(params["agent"]).agent))


def _boards(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_leaderboards import board_names

    return board_names()


def _recipes(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.lookup.recipes import recipe_names

    return recipe_names()


def _areas(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.lookup.benchmarks import areas as known

    return sorted(known())


def _formats(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_leaderboards.publish.export import FORMATS

    return FORMATS


def _trackers(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.tracking.writers import tracker_names

    return tracker_names()


def _devices(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_agents.learning.devices import DEVICES

    return DEVICES


def _everything(params: dict[str, Any]) -> Iterable[str]:
    from sysgym_zoo.lookup.catalogue import known_names

    return known_names()


problems, agents, learners, instances = map(completes, (_problems, _agents, _learners, _instances))
options, hyper, boards, recipes, areas = map(completes, (_options, _hyper, _boards, _recipes, _areas))
everything = completes(_everything)
formats, trackers, devices = map(completes, (_formats, _trackers, _devices))
