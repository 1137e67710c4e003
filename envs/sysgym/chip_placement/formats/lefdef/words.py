"""The words of a LEF or DEF file, read in one pass; where a word stands is only looked for once something is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sysgym.core.errors import UsageError, shortened

WORD = re.compile(r'"[^"]*"|#[^\n]*|\S+')  # a text in quotes, a comment to the end of its line, or a word
ENDS = 4  # empty words behind the last one, so that a look ahead of so many finds something


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each word of a text begins and ends, comments left out."""
    for found in WORD.finditer(text):
        if text[found.start()] != "#":
            yield found.span()


class Words:
    """The words of a text and a place among them, `at`."""

    def __init__(self, text: str, source: str | Path) -> None:
        self.text, self.source, self.at = text, source, 0
        words = WORD.findall(text)
        self.all: list[str] = [word for word in words if word[0] != "#"] if "#" in text else words
        self.count = len(self.all)
        self.all += [""] * ENDS

    def where(self, at: int) -> str:
        """The file and the line of a word."""
        offset = 0
        for number, (first, _) in enumerate(spans(self.text)):
            offset = first
            if number == at:
                break
        return f"{self.source} line {self.text.count(chr(10), 0, offset) + 1}"

    def wrong(self, at: int, why: str) -> UsageError:
        """The error for a word."""
        return UsageError(f"{self.where(min(at, max(0, self.count - 1)))}: {why}.")

    def unexpected(self, at: int, expected: str) -> UsageError:
        """The error for a word that is not what it must be."""
        got = repr(shortened(self.all[at], 60)) if at < self.count else "the end of the file"
        return self.wrong(at, f"expected {expected}, got {got}")

    def find(self, word: str, at: int) -> int:
        """The place of the next such word from `at` on; UsageError if there is none."""
        try:
            return self.all.index(word, at)
        except ValueError:
            raise self.wrong(at, f"the file ends before the {word!r} that belongs here; it is damaged") from None

    def whole(self, at: int) -> int:
        """A whole number, such as a length in database units."""
        try:
            return int(self.all[at])
        except ValueError:
            value = self.real(at)
            if not value.is_integer():
                raise self.unexpected(at, "a whole number of database units") from None
            return int(value)

    def real(self, at: int) -> float:
        """A finite number."""
        try:
            value = float(self.all[at])
        except ValueError:
            raise self.unexpected(at, "a number") from None
        if not -1e300 < value < 1e300:
            raise self.unexpected(at, "a finite number")
        return value

    def point(self, at: int) -> tuple[int, int]:
        """The point `( x y )` that begins at a place."""
        if self.all[at] != "(" or self.all[at + 3] != ")":
            raise self.unexpected(at, "a point '( x y )'")
        return self.whole(at + 1), self.whole(at + 2)

    def points(self, at: int) -> list[tuple[int, int]]:
        """All points that follow one another from a place on; `*` repeats the coordinate before."""
        found: list[tuple[int, int]] = []
        while self.all[at] == "(":
            if self.all[at + 3] != ")":
                raise self.unexpected(at, "a point '( x y )'")
            x, y = (
                found[-1][axis] if found and self.all[at + 1 + axis] == "*" else self.whole(at + 1 + axis)
                for axis in (0, 1)
            )
            found.append((x, y))
            at += 4
        return found

    def leave(self, name: str) -> None:
        """Go behind the next `END name`."""
        at = self.at
        while True:
            at = self.find("END", at) + 1
            if self.all[at] == name:
                self.at = at + 1
                return

    def entries(self, section: str) -> Iterator[tuple[int, int]]:
        """First and last place of each entry `- ... ;` of a section, without its ends; the END of it is passed."""
        words = self.all
        while words[self.at] == "-":
            first = self.at + 1
            last = self.find(";", first)
            self.at = last + 1
            yield first, last
        if words[self.at] != "END" or words[self.at + 1] != section:
            raise self.unexpected(self.at, f"an entry '- ... ;' or 'END {section}'")
        self.at += 2
