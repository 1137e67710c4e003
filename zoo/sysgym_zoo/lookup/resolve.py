"""From words on the command line to objects: problems, agents and instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sysgym.core.errors import UsageError, announce
from sysgym.core.instances import expand
from sysgym.core.options import alike, file_hashes, parse_pairs
from sysgym.core.problem import AnyProblem
from sysgym.core.registry import make_problem, options_of, problem_class, problem_ids, with_options
from sysgym.core.solutions import Made, made_for
from sysgym_zoo.lookup.finding import Clues, build_problem, find_problem
from sysgym_zoo.lookup.naming import Choice, Solver, build, changed, choose, mode_keys
from sysgym_zoo.lookup.trust import refuse_options


def find_and_build(clues: Clues) -> Any:
    """The problem of a command that names no agent, with the options that its solution file was made with, but for
    those that the user set. Options in it that may name files are for the user to name, aloud where their content is
    another one.
    """
    made, carried, files = made_for(clues.solution) if clues.solution is not None else Made()
    ids = [name for name in problem_ids() if name.rpartition("/")[2] == made]
    named = ids[0].removeprefix("sysgym/").rpartition("-v")[0] if ids else None
    found = find_problem(clues._replace(problem=clues.problem or named))
    kind = problem_class(found)
    if clues.solution is None or named is None or problem_class(named) is not kind:
        if made:
            announce(f"{clues.solution} was made for {made}; its options are not taken for {found}.")
        return build_problem(found, clues.options)
    given = parse_pairs(clues.options, kind, found)
    carried = {key: value for key, value in carried.items() if key not in given}
    refuse_options(kind, carried, clues.solution)
    built = make_problem(found, **{**carried, **given})
    for key, digest in file_hashes(kind, options_of(built)).items():
        if files.get(key, digest) != digest:
            announce(f"{clues.solution} was made with another file for {key}; this is about the one that is named now.")
    return built


def keys_of(pairs: Sequence[str]) -> set[str]:
    """Keys of `key=value` words."""
    return {pair.partition("=")[0] for pair in pairs}


def build_agent(word: str, problem: AnyProblem, given: set[str] | None = None) -> Solver:
    """An agent by registered name, recipe or run folder, ready to solve."""
    return build(choose(word), problem, given)


def build_all(clues: Clues, changes: Sequence[str] = ()) -> tuple[Any, list[Solver]]:
    """The problem of a command and its agents, ready to solve; the recommended one where none is named. `changes` are
    hyper-parameters, key=value.

    The problem has the options that run folders were trained with and recipes ask for, where the user set none.
    """
    problem = build_problem(find_problem(clues), clues.options)
    choices = changed([choose(word) for word in clues.agents or [problem.recommended_agent]], changes)
    given = keys_of(clues.options)
    usual, problem = options_of(problem), trained_options(choices, problem, given)
    solvers = [build(choice, problem, given) for choice in choices]
    for key in sorted(usual.keys() - mode_keys(problem)):
        if not alike(usual[key], options_of(problem)[key]):
            word = next(choice.word for choice in choices if key in choice.options)
            announce(f"{key}={options_of(problem)[key]}, as {word} has it; -O {key}=... chooses another.")
    return problem, solvers


def trained_options(choices: Sequence[Choice], problem: AnyProblem, given: set[str]) -> Any:
    """The problem with the options of its agents, but for those given; UsageError where two of them differ.

    In options that choose the action mode they may: each agent plays in its own.
    """
    merged: dict[str, tuple[Any, str]] = {}
    free = mode_keys(problem)
    for choice in choices:
        if choice.problem not in ("", problem.name):
            said = "was trained on" if choice.run else "is a recipe for"
            raise UsageError(f"{choice.word} {said} {choice.problem}, not {problem.name}.")
        if choice.run is not None:
            unsaid = {key: value for key, value in choice.options.items() if key not in given}
            refuse_options(type(problem), unsaid, choice.run)
        for key, value in choice.options.items():
            if key in given:
                continue
            if key not in free and key in merged and merged[key][0] != value:
                other, there = merged[key]
                raise UsageError(
                    f"{there} was trained with {key}={other}, {choice.word} with {key}={value}; choose by -O {key}=..."
                )
            merged.setdefault(key, (value, choice.word))
    return with_options(problem, **{key: value for key, (value, _) in merged.items()})


def instance_names(problem: AnyProblem, names: Sequence[str] | str) -> list[str]:
    """Instance names behind sets, names, files, folders and globs."""
    return expand(problem.instance_sets(), names, problem.reads)
