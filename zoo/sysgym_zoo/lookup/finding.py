"""Which problem a command is about, told by what else it names: an agent, a recipe, a run, instances, a solution."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sysgym.core.data import files_behind, first_bytes
from sysgym.core.errors import InvalidSolution, UsageError, unknown
from sysgym.core.instances import SPLITS
from sysgym.core.options import parse_pairs
from sysgym.core.problem import AnyProblem
from sysgym.core.registry import make_problem, problem_class, problem_ids
from sysgym.core.solutions import MADE, parse_json, parse_npz
from sysgym_agents.core import agent_class
from sysgym_zoo.jobs.console import say
from sysgym_zoo.lookup.naming import Choice, choose

MAX_SOLUTION = 64 * 2**20  # a larger solution file is not looked into


class Clues(NamedTuple):
    """What the user said."""

    problem: str | None = None  # -p
    agents: Sequence[str] = ()
    recipe_problem: str = ""  # of a recipe that is not an agent's name
    data: Sequence[str] = ()  # names, recipes and files of instances
    solution: Path | None = None
    options: Sequence[str] = ()  # -O


def build_problem(name: str, pairs: Sequence[str] = ()) -> Any:
    """A problem from its name and `-O key=value` words."""
    return make_problem(name, **parse_pairs(pairs, problem_class(name), name))


def short_names() -> list[str]:
    """Names of the problems as `--problem` takes them."""
    return [name.removeprefix("sysgym/").rpartition("-v")[0] for name in problem_ids()]


def usable() -> dict[str, Any]:
    """Every problem with its default options by short name, without those that cannot be built."""
    found = {}
    for name in dict.fromkeys(short_names()):
        try:
            problem = make_problem(name)
        except Exception:  # a broken plugin is for `sysgym doctor`
            continue
        if problem.name == name.rpartition("/")[2]:  # else it is registered by a wrong name
            found[name] = problem
    return found


def sets_of(problem: AnyProblem) -> Mapping[str, Any]:
    """The instance sets of a problem; none of one that fails here, which `sysgym doctor` names."""
    try:
        found: Mapping[str, Any] = problem.instance_sets()
    except Exception:
        return {}
    return found


def known_by(problem: AnyProblem, word: str, head: bytes) -> bool:
    """Whether a word is a set or an instance of a problem, one of its recipes, or a file that it reads."""
    if not os.path.isfile(word) and word.split("/")[0] in sets_of(problem):
        return True
    try:
        return problem.reads is not None and bool(problem.reads(word, head))
    except Exception:  # a plugin that fails must not take the others with it
        return False


def of_data(problems: dict[str, Any], word: str) -> set[str]:
    """Problems that a word for data may be of."""
    head = first_bytes(word)
    found = {name for name, problem in problems.items() if known_by(problem, word, head)}
    for file in (not found and files_behind(word)) or ():  # of a folder: what the first file is of that is known at all
        found = found or of_data(problems, file)
    return found


def _of_agent(problems: dict[str, Any], choice: Choice) -> set[str]:
    named = [choice.problem] if choice.problem else list(agent_class(choice.agent).problems)  # type: ignore[attr-defined]
    return {name for name, problem in problems.items() if problem.name in named} if named else set(problems)


def split(words: str | None) -> list[str]:
    """Names, recipes and files that are written as one word, separated by `;`."""
    return [word for word in (words or "").split(";") if word]


def find_problem(clues: Clues) -> str:
    """The name of the problem; UsageError asks for -p where none or several fit."""
    if clues.problem is not None:
        problem_class(clues.problem)  # refuses a name that is none
        return clues.problem
    problems = usable()
    data = {word: of_data(problems, word) for word in clues.data}
    agents = {word: _of_agent(problems, choose(word)) for word in clues.agents}
    if clues.recipe_problem:
        problem_class(clues.recipe_problem)
        agents["the recipe"] = {name for name, item in problems.items() if item.name == clues.recipe_problem}
    fits = _common(problems, [found for found in data.values() if found])
    if not fits:
        told = "; ".join(f"{word} is of {' or '.join(sorted(found))}" for word, found in data.items() if found)
        raise UsageError(f"these instances are of different problems ({told}); name those of one problem.")
    narrowed = _common(fits, agents.values()) or fits  # an agent that does not fit is refused by name, later
    return _only(narrowed, clues, problems, [word for word in data if not data[word]])


def _common(start: Iterable[str], sets: Iterable[set[str]]) -> set[str]:
    found = set(start)
    for item in sets:
        found &= item
    return found


def _only(fits: set[str], clues: Clues, problems: dict[str, Any], strangers: list[str]) -> str:
    """The one problem that fits; of several with the same data the solution file decides, then who is not secondary."""
    if len(fits) > 1 and clues.solution is not None and clues.data:
        fits = {name for name in fits if _answers(name, clues)} or fits
    if len(fits) > 1 and len(clues.data) > len(strangers):
        first = {name for name in fits if not problems[name].secondary}
        if len(first) == 1 and first < fits:
            say(f"taken as {min(first)}; these data are also of {', '.join(sorted(fits - first))}: -p chooses.")
        fits = first or fits
    if len(fits) == 1:
        return fits.pop()
    names = ", ".join(sorted(fits))
    if strangers:
        raise _stranger(strangers[0], problems, names)
    what = ", ".join(clues.data or clues.agents)
    if not what:
        raise UsageError(f"no problem is named; add -p NAME, one of {names}.")
    raise UsageError(f"{what!r} fits several problems ({names}); add -p NAME.")


def _stranger(word: str, problems: dict[str, Any], names: str) -> UsageError:
    """The error for a word that no problem knows."""
    if os.path.exists(word):
        return UsageError(f"no problem is known by the file {word}; add -p NAME, one of {names}.")
    known = [entry for problem in problems.values() for entry in words_of(problem)]
    said = str(unknown("instance", word, known)).split(" Known:")[0]
    return UsageError(f"{said} Give a name (`sysgym list instances`) or a file, and -p NAME where it is of {names}.")


def words_of(problem: AnyProblem) -> list[str]:
    """Names of a problem's sets, of their splits and of their instances."""
    words: list[str] = []
    for name, group in sets_of(problem).items():
        words += [name, *(f"{name}/{split}" for split in SPLITS if group.names(split)), *group.names()]
    return words


def _answers(name: str, clues: Clues) -> bool:
    """Whether the solution file has the arrays that a problem asks for."""
    assert clues.solution is not None
    try:
        problem = build_problem(name, clues.options)
        return set(problem.solution_arrays(problem.load(clues.data[0]))) == _array_names(clues.solution)
    except (UsageError, InvalidSolution, OSError):
        return False


def _array_names(file: Path) -> set[str]:
    """Names of the arrays in a `.json` or `.npz` file; none in another."""
    if file.suffix not in (".json", ".npz") or file.stat().st_size > MAX_SOLUTION:
        return set()
    content = parse_json(file.read_bytes()) if file.suffix == ".json" else parse_npz(file.read_bytes())
    inner = content.get("solution") if isinstance(content, dict) else None
    return set(inner if isinstance(inner, dict) else content if isinstance(content, dict) else ()) - {MADE}
