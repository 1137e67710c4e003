"""Options, written once: keyword-only fields of a dataclass, or keywords of a constructor, whose annotations say what
they may be. The same table checks them, parses them from text, completes and documents them.

    mode: Literal["oneshot", "refine"] = "refine"
    k: Annotated[int, Range(2, 1024)] = 2
    groups: Annotated[int | None, Range(1, 2**24)] = None
    orient: bool = False
    files: tuple[str, ...] = ()  # a list: "a,b" as text, or the option again for each
    rate: Annotated[float, Range(1e-12, 1e3), Search(1e-4, 1e-2, log=True)] = 1e-3  # where a tuner looks
"""

from __future__ import annotations

import hashlib
import inspect
import os
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import numpy as np

from sysgym.core.data import MAX_FILE, read_file
from sysgym.core.errors import UsageError, unknown, unknown_option

WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Range(NamedTuple):
    """The least and the largest value of a number; nan lies in no range."""

    low: float
    high: float


@dataclass(frozen=True)
class Search:
    """Where a tuner looks for a number: from `low` to `high`, evenly in its logarithm if `log`."""

    low: float
    high: float
    log: bool = False

    @property
    def meaning(self) -> str:
        """The same in words."""
        return f"{_shown(self.low)} to {_shown(self.high)}{', by its logarithm' if self.log else ''}"


@dataclass(frozen=True, init=False)
class Choices:
    """The values that a tuner tries."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)

    @property
    def meaning(self) -> str:
        """The same in words."""
        return ", ".join(str(value) for value in self.values)


def _shown(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


class Option(NamedTuple):
    """One row of the table."""

    name: str
    kinds: tuple[type, ...]  # of bool, int, float, str; empty: anything
    default: Any
    range: Range | None = None
    choices: tuple[Any, ...] = ()  # beside str among the kinds: or the path of a file
    search: Search | Choices | None = None  # where a tuner looks for it
    many: bool = False  # a tuple of texts; a list or a text with commas is taken as one

    @property
    def optional(self) -> bool:
        """Whether it may be None."""
        return type(None) in self.kinds or None in self.choices

    @property
    def meaning(self) -> str:
        """What it may be, in words."""
        if self.many:
            return "texts with commas between them"
        if self.choices:
            listed = "one of " + ", ".join(str(item) for item in self.choices if item is not None)
            return f"{listed} or a file" if str in self.kinds else listed
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
        ranged = f" from {_shown(self.range.low)} to {_shown(self.range.high)}" if self.range else ""
        numbers = {int, float} & set(self.kinds)
        said = [words[bool]] if bool in self.kinds else []
        said += [words[float if float in numbers else int] + ranged] if numbers else []
        return " or ".join(said + ([words[str]] if str in self.kinds else []))

    def fits(self, value: Any) -> bool:
        """Whether a value is of its kind and in its range."""
        if self.many:
            return isinstance(value, str) or (
                isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
            )
        if value is None:
            return self.optional or not (self.kinds or self.choices)
        if self.choices:
            return value in self.choices or (str in self.kinds and isinstance(value, str))
        if not self.kinds:
            return True
        if isinstance(value, bool | np.bool_):
            return bool in self.kinds
        if isinstance(value, str):
            return str in self.kinds
        whole, real = isinstance(value, int | np.integer), isinstance(value, int | float | np.integer | np.floating)
        if not ((whole and int in self.kinds) or (real and float in self.kinds)):
            return False
        return self.range is None or self.range.low <= value <= self.range.high

    def check(self, value: Any, shown: str) -> Any:
        """The value in its plain Python type; UsageError with `shown` for its name if it does not fit."""
        if not self.fits(value):
            if self.choices and isinstance(value, str):
                raise unknown(self.name, value, [str(item) for item in self.choices if item is not None])
            raise UsageError(f"{shown} must be {self.meaning}, got {value!r}.")
        if self.many:
            return _parts(value) if isinstance(value, str) else tuple(value)
        plain = value.item() if isinstance(value, np.generic) else value
        whole = isinstance(plain, int) and not isinstance(plain, bool)
        return float(plain) if whole and float in self.kinds and int not in self.kinds else plain

    def parse(self, text: str, what: str) -> Any:
        """The value that a text stands for, in its type and not yet checked for its range."""
        if self.many:
            return _parts(text)
        if self.optional and text.lower() in ("none", "null"):
            return None
        kinds = {type(item) for item in self.choices} if self.choices else set(self.kinds)
        try:
            if bool in kinds and (len(kinds - {type(None)}) == 1 or text.lower() in ("true", "false")):
                return WORDS[text.lower()]
            if int in kinds and (float not in kinds or text.lstrip("+-").isdecimal()):
                return int(text)
            if float in kinds:
                return float(text)
        except (ValueError, KeyError):
            if str not in kinds:
                raise UsageError(f"option {self.name} of {what} must be {self.meaning}, got {text!r}.") from None
        return text


def alike(one: Any, other: Any) -> bool:
    """Whether two values of an option are the same; a record has the list where an option has the tuple.

    >>> alike(["a.lef"], ("a.lef",)), alike([], ()), alike(1, 2)
    (True, True, False)
    """
    return bool((tuple(one) if isinstance(one, list) else one) == (tuple(other) if isinstance(other, list) else other))


def _parts(text: str) -> tuple[str, ...]:
    """The texts between commas."""
    return tuple(part for part in text.split(",") if part)


def _option(parameter: inspect.Parameter, hint: Any) -> Option:
    """A row of the table from an annotation; bool, int, float, str, Literal and tuple[str, ...] are checked."""
    found: Range | None = None
    search: Search | Choices | None = None
    if hint is Any and parameter.default not in (parameter.empty, None):
        hint = type(parameter.default)
    while get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        found = next((note for note in notes if isinstance(note, Range)), found)
        search = next((note for note in reversed(notes) if isinstance(note, Search | Choices)), search)
    if get_origin(hint) is tuple and get_args(hint) == (str, ...):
        return Option(parameter.name, (), parameter.default, many=True)
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    choices: list[Any] = []
    kinds: list[type] = []
    for part in parts:
        while get_origin(part) is Annotated:
            part, *notes = get_args(part)
            found = next((note for note in notes if isinstance(note, Range)), found)
        if get_origin(part) is Literal:
            choices += get_args(part)
        elif part in (bool, int, float, str, type(None)):
            kinds.append(part)
        else:
            return Option(parameter.name, (), parameter.default)
    if choices and type(None) in kinds:
        choices.append(None)
    return Option(parameter.name, tuple(kinds), parameter.default, found, tuple(choices), search)


def keyword_options(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The named options that a problem or agent takes, from its signature."""
    return {
        name: parameter
        for name, parameter in inspect.signature(factory).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD) and name != "self"
    }


def option_table(factory: Callable[..., Any]) -> dict[str, Option]:
    """Every option of a class by name: kind, range, choices and default."""
    known = vars(factory).get("_option_table") if isinstance(factory, type) else None
    if known is None:
        hints = _hints(factory)
        known = {name: _option(item, hints.get(name, Any)) for name, item in keyword_options(factory).items()}
        if isinstance(factory, type):
            factory._option_table = known  # type: ignore[attr-defined]
    return known


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of a constructor's keywords; those of a dataclass stand in the classes that its fields come from."""
    if not is_dataclass(factory):
        return get_type_hints(
            vars(factory).get("__init__", factory) if isinstance(factory, type) else factory, include_extras=True
        )
    found: dict[str, Any] = {}
    for base in reversed(factory.__mro__[:-1]):
        own = get_type_hints(base, include_extras=True)
        found |= {name: own[name] for name in vars(base).get("__annotations__", {})}
    return found


def check_fields(thing: Any, shown: str = "option {}") -> None:
    """Put every option of an object into its plain type; UsageError for the first that is not what it may be.

    `shown` is how messages call an option, with {} for its name.
    """
    for name, option in option_table(type(thing)).items():
        setattr(thing, name, option.check(getattr(thing, name), shown.format(name)))


def checked(factory: Callable[..., Any], values: Mapping[str, Any], shown: str) -> dict[str, Any]:
    """Values of a constructor's options in their plain types; UsageError as from `check_fields`."""
    table = option_table(factory)
    return {name: table[name].check(value, shown.format(name)) for name, value in values.items()}


def refuse_unknown(what: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse options that `factory` does not take, with a list of those that it does."""
    known = keyword_options(factory)
    for name in options:
        if name not in known:
            raise unknown_option(what, name, known)


def parse_pairs(pairs: Sequence[str], factory: Callable[..., Any], what: str) -> dict[str, Any]:
    """`key=value` words as typed keywords of `factory`; unknown keys and wrong types are refused.

    Of a key given twice the last counts, but for options that are lists: they take all.
    """
    table = option_table(factory)
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"expected key=value, got {pair!r}.")
        if key not in table:
            raise unknown_option(what, key, table)
        value = table[key].parse(text, what)
        found[key] = (*found.get(key, ()), *value) if table[key].many else value
    return found


def suggestions(factory: Callable[..., Any]) -> list[str]:
    """`key=value` words for a completion: every choice of an option that has some, else `key=`."""
    found = []
    for name, option in option_table(factory).items():
        values = option.choices or ((True, False) if option.kinds == (bool,) else ())
        found += [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for value in values] or [
            f"{name}="
        ]
    return found


def may_be_a_file(word: str) -> bool:
    """Whether a text may be the path of a file."""
    return "/" in word or "\\" in word or os.path.lexists(word)


def texts_of(value: Any) -> list[str]:
    """The texts of an option: one, those of a list, or none.

    >>> texts_of(["a", "b"]), texts_of("a"), texts_of(3)
    (['a', 'b'], ['a'], [])
    """
    listed = value if isinstance(value, list | tuple) else [value]
    return [text for text in listed if isinstance(text, str)]


def paths_in(factory: Any, options: Mapping[str, Any]) -> dict[str, list[str]]:
    """The texts of options that may name files, by option; words that an option lists are none."""
    table, found = option_table(factory), {}
    for key, value in options.items():
        if key in table and not (isinstance(value, str) and value in table[key].choices):
            found[key] = [text for text in texts_of(value) if may_be_a_file(text)]
    return {key: texts for key, texts in found.items() if texts}


def file_hashes(factory: Any, options: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the files that options name, with commas between those of one option."""
    found = {}
    for key, texts in paths_in(factory, options).items():
        files = [Path(text) for text in texts if os.path.isfile(text)]
        if files:
            found[key] = ",".join(hashlib.sha256(read_file(file, MAX_FILE)).hexdigest() for file in files)
    return found
