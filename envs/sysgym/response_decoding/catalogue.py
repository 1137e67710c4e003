"""Instances of response decoding by registered name, and from files of one message a line.

The facts of an entry say which lines of its file it holds, `first` and `count`, and which are the other messages of
Phi, `sample`; a line is a message and its answer, separated by a tab.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from sysgym.core.data import DataFile, as_text, read
from sysgym.core.errors import UsageError
from sysgym.core.instances import Entry, as_promised, find_entry, load_index, no_instance
from sysgym.response_decoding.instance import SAMPLE, Messages, messages
from sysgym.text.episodes.sentences import read_lines, split_lines

TOPIC = "response_decoding"
USUAL = "dialogue"  # the model of files, where the options name none
ENDINGS = (".messages", ".msg")
OWN = "selfdialogue/train-0"  # whose file the sample of a file's messages is from


def is_instance(name: str, head: bytes = b"") -> bool:
    """Whether a word is a file of messages by its ending."""
    return name.lower().removesuffix(".gz").endswith(ENDINGS)


def load_messages(name: str, model: str | None, references: str | None) -> Messages:
    """An instance by registered name or file, one message a line; `references` is a file with as many lines."""
    sets = load_index(TOPIC)
    if find_entry(sets, name) is not None:
        if references is not None:
            raise UsageError(f"{name} has its references; leave the option references out, which is for files.")
        return _registered(name)
    if len(name) < 1024 and Path(name).is_file():
        given, lines = [] if references is None else read_lines(references), read_lines(name)
        return messages(name, model or USUAL, lines, given, usual_sample(lines))
    raise no_instance(sets, name, "or a text file of one message a line")


def usual_sample(lines: list[str]) -> list[str]:
    """The first packaged messages that are not among these."""
    entry = find_entry(load_index(TOPIC), OWN)
    assert entry is not None and entry.file is not None
    others = [message for message, _ in _pairs(entry.file)]
    return [message for message in others if message not in lines][:SAMPLE]


@lru_cache(maxsize=1024)
def _registered(name: str) -> Messages:
    entry = find_entry(load_index(TOPIC), name)
    assert entry is not None
    found: Messages = as_promised(entry, of_entry(entry))
    return found


def of_entry(entry: Entry) -> Messages:
    """The instance that an entry describes."""
    facts, file = entry.facts, entry.file
    assert file is not None
    pairs = _pairs(file)
    chosen = pairs[facts["first"] : facts["first"] + facts["count"]]
    columns = [list(column) for column in zip(*chosen, strict=True)]
    return messages(entry.name, facts["model"], columns[0], columns[1], [pairs[line][0] for line in facts["sample"]])


@lru_cache(maxsize=4)
def _pairs(file: DataFile) -> list[tuple[str, str]]:
    lines = [line.split("\t") for line in split_lines(as_text(file.path, read(file)))]
    return [(message, answer) for message, answer in lines]
