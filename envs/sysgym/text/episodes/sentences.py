"""The instance of decoding: sentences to write an answer to, with or without references; and text as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from sysgym.core.data import as_text, decompress, read_file
from sysgym.core.errors import InvalidSolution, UsageError, shortened
from sysgym.core.problem import Array

LONGEST = 4096  # bytes of a line


@dataclass(frozen=True)
class Sentences:
    """Sources, one a line, for a model to answer. References never reach a state or an observation."""

    name: str
    model: str  # the model that the sentences are for, by name; an option of the problem may put another in its place
    text: Array  # (bytes,) uint8, the sources in UTF-8, without line ends
    ends: Array  # (n,) int64, where each of them ends
    reference_text: Array  # the same for the references; empty where there are none
    reference_ends: Array  # (n,) or (0,)

    @property
    def sources(self) -> list[str]:
        """The sentences."""
        return lines_of(self.text, self.ends)

    @property
    def references(self) -> list[str]:
        """A reference for each sentence, or nothing."""
        return lines_of(self.reference_text, self.reference_ends)

    def __len__(self) -> int:
        return len(self.ends)


def sentences(name: str, model: str, sources: Sequence[str], references: Sequence[str] = ()) -> Sentences:
    """An instance of lines; UsageError if there are none, one is empty, or their numbers differ."""
    if not sources:
        raise UsageError(f"{name} holds no sentence.")
    if references and len(references) != len(sources):
        raise UsageError(f"{name} has {len(sources)} sentences and {len(references)} references: one a line is needed.")
    for place, line in enumerate(sources, start=1):
        if not line.strip():
            raise UsageError(f"{name}, line {place}: an empty sentence has nothing to decode.")
    return Sentences(name, model, *arrays_of(sources), *arrays_of(references))


def arrays_of(lines: Sequence[str]) -> tuple[Array, Array]:
    """Lines as their bytes (b,) uint8 in UTF-8 one after the other, and where each ends, (n,) int64."""
    parts = [line.encode() for line in lines]
    text = np.frombuffer(b"".join(parts), np.uint8).copy()
    return text, np.cumsum([len(part) for part in parts], dtype=np.int64).reshape(len(parts))


def lines_of(text: Array, ends: Array) -> list[str]:
    """The counterpart of `arrays_of`."""
    content = np.asarray(text, np.uint8).tobytes()
    starts = [0, *np.asarray(ends).tolist()]
    return [content[a:b].decode() for a, b in pairwise(starts)]


def checked_lines(text: Array, ends: Array, count: int) -> list[str]:
    """The lines of an answer; InvalidSolution where the arrays are none: ends that fall or pass the text, bytes that
    are no UTF-8, a line end inside a line, a line beyond LONGEST bytes.
    """
    if len(ends) != count:
        raise InvalidSolution(f"the answer has {len(ends)} lines for {count} sentences: one a sentence is needed.")
    lengths = np.diff(np.concatenate([[0], ends]))
    if (lengths < 0).any() or ends[-1] != len(text):
        raise InvalidSolution(f"`ends` must rise from line to line, up to the {len(text)} bytes of `text`.")
    if lengths.max() > LONGEST:
        raise InvalidSolution(
            f"line {int(lengths.argmax()) + 1} of the answer has {lengths.max()} bytes, over {LONGEST}."
        )
    try:
        found = lines_of(text, ends)
    except UnicodeDecodeError as error:
        raise InvalidSolution("the answer's `text` is no UTF-8, or a line ends inside a character.") from error
    for place, line in enumerate(found, start=1):
        if line.splitlines() not in ([line], []):
            raise InvalidSolution(f"line {place} of the answer holds a line end: {shortened(repr(line), 60)}.")
    return found


def read_lines(path: str) -> list[str]:
    """The lines of a text file, UTF-8, also gzipped."""
    content = decompress(path, read_file(Path(path)))
    return split_lines(as_text(path, content))


def split_lines(text: str) -> list[str]:
    """Lines without their ends; the last one may lack its."""
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines and not lines[-1] else lines
