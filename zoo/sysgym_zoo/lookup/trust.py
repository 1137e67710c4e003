"""Files that a record of somebody else's run names: none is opened unless the user names it too.

Registered names, recipes of instances and files within the run folder are as good from a stranger as from oneself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sysgym.core.errors import UsageError, shortened
from sysgym.core.instances import find_entry
from sysgym.core.options import file_hashes, may_be_a_file, paths_in, texts_of
from sysgym.core.problem import AnyProblem
from sysgym_zoo.lookup.finding import sets_of

RECIPE = re.compile(r"[\w-]+:[^/\\]*")  # of an instance, such as family:n=20,seed=3


def within(word: str, folder: Path) -> bool:
    """Whether a path lies in a folder; a text that can be none does not."""
    try:
        return Path(word).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a null byte, half a character, links in a circle
        return False


def foreign_instances(problem: AnyProblem, names: Iterable[str], folder: Path) -> list[str]:
    """The names that are neither registered nor recipes nor files in the folder."""
    sets = sets_of(problem)
    unknown = [name for name in names if find_entry(sets, name) is None]
    return [
        name for name in unknown if not within(name, folder) and (may_be_a_file(name) or not RECIPE.fullmatch(name))
    ]


def refuse_instances(problem: AnyProblem, names: Iterable[str], folder: Path, flag: str) -> None:
    """UsageError if the record of a run names instances that may be files, and the user did not."""
    foreign = foreign_instances(problem, names, folder)
    if foreign:
        raise UsageError(
            f"{folder} was made with {shortened(foreign[0], 200)!r}, which is no registered instance; a file that a "
            f"record names is only opened if you name it too: {flag} FILE, for all instances of the run in their order."
        )


def file_options(factory: Any, options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Options of a problem that may name files outside of a folder: texts that are paths, and lists with such."""
    return {
        key: options[key] if isinstance(options[key], str) else tuple(options[key])
        for key, texts in paths_in(factory, options).items()
        if any(not within(text, folder) for text in texts)
    }


def refuse_options(factory: Any, options: Mapping[str, Any], folder: Path) -> None:
    """UsageError if options that only the record of a run sets may name files."""
    for key, value in file_options(factory, options, folder).items():
        named = shortened(",".join(texts_of(value)), 200)
        raise UsageError(
            f"{folder} was made with {key}={named!r}; a file that a record names is only opened if you name it "
            f"too: -O {key}=FILE."
        )


def refuse_changed(factory: Any, options: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    """UsageError if a file that an option names is not the one that was recorded."""
    for key, digest in file_hashes(factory, options).items():
        if told.get(key, digest) != digest:
            named = ",".join(texts_of(options[key]))
            raise UsageError(f"{named} ({key}) has changed since the run began; start anew with another --out.")
