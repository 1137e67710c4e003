"""Where hyper-parameters are looked for: the ranges beside an agent's options, and what the user says instead.

A range is plain data, as `study.json` keeps it: `{"low": 1e-4, "high": 1e-2, "log": true, "whole": false}`, or
`{"choices": [32, 64]}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sysgym.core.errors import UsageError, unknown_option
from sysgym.core.options import Choices, Option, Search, option_table
from sysgym_zoo.jobs.plan import LENGTH

Space = dict[str, dict[str, Any]]


def space_of(
    factory: Callable[..., Any], shipped: Mapping[str, Any], fixed: Sequence[str], said: Sequence[str], agent: str
) -> Space:
    """What is tuned of an agent, by name.

    Ranges that its options declare, without the `fixed` ones; `said`, words like `key=low:high[:log]` or `key=a,b,c`,
    come before them. Each is made wide enough for the value that is `shipped`, so that this can be tried too.
    UsageError for what is no option or no range, or if nothing is left to tune.
    """
    table, found = option_table(factory), dict[str, dict[str, Any]]()
    for name, option in table.items():
        if option.search is not None and name not in fixed and shipped[name] is not None:
            found[name] = _declared(option, option.search)
    for word in said:
        name, _, text = word.partition("=")
        if name not in table:
            raise unknown_option(f"agent {agent!r}", name, table)
        if name == LENGTH:
            raise UsageError(f"{name} is how long a trial lasts; leave --space {word} out, and give it by --steps.")
        if name in fixed:
            raise UsageError(f"{name} is set and tuned at once; leave --set {name} or --space {name} out.")
        found[name] = _said(table[name], text, word, agent)
    if not found:
        raise UsageError(f"agent {agent!r} declares no range to tune in; give --space key=low:high or --space key=a,b.")
    return {name: _with(place, shipped[name], name) for name, place in found.items()}


def _declared(option: Option, search: Search | Choices) -> dict[str, Any]:
    if isinstance(search, Choices):
        return {"choices": list(search.values)}
    return {"low": search.low, "high": search.high, "log": search.log, "whole": float not in option.kinds}


def _said(option: Option, text: str, word: str, agent: str) -> dict[str, Any]:
    """A range from a word of the user."""
    what = f"agent {agent!r}"
    if ":" not in text:
        values = [option.check(option.parse(each, what), option.name) for each in text.split(",") if each]
        if len(values) < 2 or len(set(values)) < len(values):
            raise UsageError(f"--space {word} must name at least two values, each once, as in key=32,64.")
        return {"choices": values}
    low, high, *more = text.split(":")
    if not {int, float} & set(option.kinds) or more not in ([], ["log"]):
        raise UsageError(f"--space {word} must be key=low:high or key=low:high:log of a number, or key=a,b,c.")
    ends = [option.check(option.parse(each, what), option.name) for each in (low, high)]
    if not ends[0] < ends[1] or (more and ends[0] <= 0):
        why = "its low end must be above 0" if ends[0] < ends[1] else "its low end must be below the high one"
        raise UsageError(f"--space {word} is no range: {why}.")
    return {"low": ends[0], "high": ends[1], "log": bool(more), "whole": float not in option.kinds}


def _with(place: dict[str, Any], value: Any, name: str) -> dict[str, Any]:
    """A range that holds a value too."""
    if "choices" in place:
        return place if value in place["choices"] else {"choices": sorted_if_numbers([*place["choices"], value])}
    if value is None:
        raise UsageError(f"{name} has no value to start from, so no range holds it; give --space {name}=a,b,none.")
    low, high = min(place["low"], value), max(place["high"], value)
    return {**place, "low": low, "high": high, "log": place["log"] and low > 0}


def sorted_if_numbers(values: Sequence[Any]) -> list[Any]:
    """Numbers in their order, anything else as it is."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return sorted(values) if numbers else list(values)


def suggested(trial: Any, space: Space) -> dict[str, Any]:
    """The parameters of a trial: those that it has, the others drawn."""
    return {name: _drawn(trial, name, place) for name, place in space.items()}


def _drawn(trial: Any, name: str, place: Mapping[str, Any]) -> Any:
    if "choices" in place:
        return trial.suggest_categorical(name, place["choices"])
    draw = trial.suggest_int if place["whole"] else trial.suggest_float
    return draw(name, place["low"], place["high"], log=place["log"])


def word_of(name: str, value: Any) -> str:
    """`key=value` as the command line takes it.

    >>> word_of("scaled", True), word_of("rate", 1e-3), word_of("limit", None)
    ('scaled=true', 'rate=0.001', 'limit=none')
    """
    text = str(value).lower() if value is None or isinstance(value, bool) else repr(value)
    return f"{name}={value if isinstance(value, str) else text}"
