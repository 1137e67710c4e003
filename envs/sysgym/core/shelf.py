"""Data files that are found by their place: those of the suite, and those of packages that an entry point names."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from sysgym.core.registry import failures


def find_files(group: str, own: Iterable[Path], kind: str) -> dict[str, Path]:
    """TOML files by their stem: those in the folders `own`, then those of the packages named by the entry points of a
    group (`mine = "my_package.boards"`); nothing is imported but the packages above such a one.

    Of two files with one stem the first counts; the other is recorded in `failures`, as a `kind` that exists already.
    """
    places = [(folder, folder.name) for folder in own]
    for entry in entry_points(group=group):
        try:
            spec = find_spec(entry.value)
        except Exception:  # the package above it may fail in any way
            spec = None
        folders = list(spec.submodule_search_locations or ()) if spec else []
        places += [(Path(folder), entry.value) for folder in folders]
        if not folders:
            failures[f"{entry.name} = {entry.value}"] = f"there is no such package with {kind}s"
    found: dict[str, Path] = {}
    for folder, place in places:
        for path in sorted(folder.glob("*.toml")):
            if found.setdefault(path.stem, path) != path:
                failures[f"{path.stem} in {place}"] = f"the {kind} {path.stem!r} exists already"
    return found
