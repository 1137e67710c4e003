"""Instance sets: named, versioned lists of instances with a split, content hashes and known costs.

A set's index is `data/<topic>/index.json` in the package: source, licence, checksums, sizes, reference costs and
who says so. An instance is named `SET/NAME` (`walshaw/add20`), a set `SET` or `SET/SPLIT` (`delaunay/test`).
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, is_dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from sysgym.core.data import DataFile, files_behind, first_bytes
from sysgym.core.errors import UsageError, shortened, unknown
from sysgym.core.problem import AnyProblem, Instance, content_hash

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Entry:
    """One instance of a set, as the index describes it."""

    name: str  # "walshaw/add20"
    split: str
    file: DataFile | None  # None where it is generated
    hash: str  # content hash of the instance
    nodes: int
    edges: int  # undirected edges
    companions: tuple[DataFile, ...] = ()  # further files that belong to the instance
    references: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # options key ("k=2,eps=0.05") -> {who: cost}; the board's reference first
    facts: Mapping[str, Any] = field(default_factory=dict)  # how its problem makes it of its files

    @property
    def files(self) -> tuple[DataFile, ...]:
        """All files of the instance; none where it is generated."""
        return tuple(file for file in (self.file, *self.companions) if file is not None)


@dataclass(frozen=True)
class InstanceSet:
    """A named, versioned list of instances."""

    name: str
    version: int
    source: str  # "embedded" or "public"
    licence: str
    about: str
    entries: tuple[Entry, ...]

    def names(self, split: str | None = None) -> list[str]:
        """Instance names of one split, or of all."""
        if split is not None and split not in SPLITS:
            raise unknown(f"split of {self.name}", split, SPLITS)
        return [entry.name for entry in self.entries if split in (None, entry.split)]


@lru_cache(maxsize=16)
def load_index(topic: str) -> dict[str, InstanceSet]:
    """The instance sets of one problem, read from its packaged index."""
    text = (files("sysgym") / "data" / topic / "index.json").read_text()
    sets = {}
    for name, item in json.loads(text).items():
        embedded, folder = item["source"] == "embedded", item.get("topic", topic)  # another problem's files
        entries = tuple(
            Entry(
                name=f"{name}/{short}",
                split=row["split"],
                file=DataFile(folder, row["file"], row["sha256"], embedded, row.get("url", ""))
                if "file" in row
                else None,
                hash=row["hash"],
                nodes=row["nodes"],
                edges=row["edges"],
                references=row.get("references", {}),
                facts=row.get("facts", {}),
                companions=tuple(
                    DataFile(folder, item["file"], item["sha256"], embedded, item.get("url", ""))
                    for item in row.get("companions", ())
                ),
            )
            for short, row in item["instances"].items()
        )
        sets[name] = InstanceSet(name, item["version"], item["source"], item["licence"], item["about"], entries)
    return sets


def find_entry(sets: Mapping[str, InstanceSet], name: str) -> Entry | None:
    """The index entry of a registered instance, or None."""
    group = sets.get(name.split("/")[0])
    return next((entry for entry in group.entries if entry.name == name), None) if group else None


def expand(
    sets: Mapping[str, InstanceSet], names: str | Iterable[str], reads: Callable[[str, bytes], bool] | None = None
) -> list[str]:
    """Instance names behind a list of set names, `SET/SPLIT` names, instance names, files, folders and globs, in order.

    Of a folder or a glob the files that `reads` knows count, by name. Other names that are no set are kept as they are:
    the problem's `load` judges them.
    """
    wanted = [part for part in names.split(";") if part] if isinstance(names, str) else list(names)
    if not wanted:
        raise UsageError("no instance is named; give a set such as 'tiny/test', an instance or a file.")
    found: list[str] = []
    for name in wanted:
        head, _, tail = str(name).partition("/")
        if head in sets and (not tail or tail in SPLITS):
            members = sets[head].names(tail or None)
            if not members:
                raise UsageError(f"the set {name!r} is empty; {head!r} has {len(sets[head].entries)} instances.")
            found += members
        else:
            found += _files_of(str(name), reads)
    return found


def _files_of(word: str, reads: Callable[[str, bytes], bool] | None) -> list[str]:
    """The files that a folder or a glob stands for; another word stands for itself."""
    files = files_behind(word)
    if files is None or reads is None or (os.path.isdir(word) and reads(word, b"")):
        return [word]
    known = [file for file in files if reads(file, first_bytes(file))]
    if not known:
        what = f"none of its {len(files)} files is" if files else "there is no file,"
        raise UsageError(f"{word}: {what} one that this problem reads.")
    return known


def instance_of(problem: AnyProblem, given: Any) -> Instance:
    """The instance that a name, a file, an instance or an object of another library stands for; else UsageError."""
    if isinstance(given, str | os.PathLike):
        return problem.load(os.fspath(given))
    if is_dataclass(given) and not isinstance(given, type):
        return given
    found = problem.adopt(given) if problem.adopt is not None else None
    if found is None:
        raise UsageError(f"an instance is a name, a file or an instance object, got {shortened(repr(given), 200)}.")
    return found


def as_promised(entry: Entry, instance: Instance) -> Instance:
    """The instance of an entry; UsageError if it does not have the content whose hash the index holds."""
    if content_hash(instance) != entry.hash:
        raise UsageError(
            f"{entry.name} does not have the content that its index promises; reinstall sysgym or fetch it again."
        )
    return instance


def no_instance(sets: Mapping[str, InstanceSet], name: str, hint: str) -> UsageError:
    """The error for a word that names no instance: the nearest registered name, and what else can be given."""
    error = unknown("instance", name, [entry.name for group in sets.values() for entry in group.entries])
    return UsageError(f"{str(error).split(' Known:')[0]} Give a registered name (`sysgym list instances`), {hint}.")


class Memo:
    """What a function of an instance returned for those asked last; instances are told apart by identity."""

    def __init__(self, make: Callable[[Instance], Any], size: int = 64) -> None:
        self.make, self.size = make, size
        self.kept: OrderedDict[int, tuple[Instance, Any]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """A copy starts empty: its instances are other objects."""
        return {"make": self.make, "size": self.size, "kept": OrderedDict()}

    def __call__(self, instance: Instance) -> Any:
        """The value for an instance, made if it is new."""
        found = self.kept.get(id(instance))
        if found is None:
            found = self.kept[id(instance)] = (instance, self.make(instance))
            if len(self.kept) > self.size:
                self.kept.popitem(last=False)
        return found[1]
