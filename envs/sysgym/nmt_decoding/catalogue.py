"""Instances of decoding by registered name and from files of one sentence a line.

The facts of an entry say which lines of which file it holds: `model`, `first` and `count`, and `pairs` where source and
reference stand in one file, separated by a tab; else the second file holds the references.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from sysgym.core.data import DataFile, as_text, read
from sysgym.core.errors import UsageError
from sysgym.core.instances import Entry, as_promised, find_entry, load_index, no_instance
from sysgym.text.episodes.sentences import Sentences, read_lines, sentences, split_lines

TOPIC = "decoding"
USUAL = "translit"  # the model of files, where the options name none
ENDINGS = (".src", ".ar", ".cs", ".de", ".en", ".es", ".fr", ".it", ".ro", ".ru", ".zh")  # sources by their language


def is_instance(name: str, head: bytes = b"") -> bool:
    """Whether a word is a file of sentences by its ending."""
    return name.lower().removesuffix(".gz").endswith(ENDINGS)


def load_sentences(name: str, model: str | None, references: str | None) -> Sentences:
    """An instance by registered name or file, one sentence a line; `references` is a file with as many lines."""
    sets = load_index(TOPIC)
    if find_entry(sets, name) is not None:
        if references is not None:
            raise UsageError(f"{name} has its references; leave the option references out, which is for files.")
        return _registered(name)
    if len(name) < 1024 and Path(name).is_file():
        given = [] if references is None else read_lines(references)
        return sentences(name, model or USUAL, read_lines(name), given)
    raise no_instance(sets, name, "or a text file of one sentence a line")


@lru_cache(maxsize=1024)
def _registered(name: str) -> Sentences:
    entry = find_entry(load_index(TOPIC), name)
    assert entry is not None
    found: Sentences = as_promised(entry, of_entry(entry))
    return found


def of_entry(entry: Entry) -> Sentences:
    """The instance that an entry describes."""
    facts = entry.facts
    chosen = slice(facts["first"], facts["first"] + facts["count"])
    columns: list[list[str]] = [_lines(file)[chosen] for file in entry.files]
    if facts["pairs"]:
        columns = [list(column) for column in zip(*(line.split("\t") for line in columns[0]), strict=True)]
    return sentences(entry.name, facts["model"], *columns)


@lru_cache(maxsize=8)
def _lines(file: DataFile) -> list[str]:
    return split_lines(as_text(file.path, read(file)))
