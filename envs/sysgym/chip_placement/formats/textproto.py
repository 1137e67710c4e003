"""The text format of protocol buffers: any field, comment, quote, bracket and line break, parsed token by token.

Grammar: protobuf.dev, "Text Format Language Specification". Linear in the text; a message is a list of fields, which
mean what the reader of a schema makes of them (`graphdef`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from sysgym.core.errors import UsageError

DEEPEST = 100  # messages within messages, protobuf's own limit

_BLANK = re.compile(r"\s*(?:#[^\n]*(?:\n\s*|\Z))*", re.A)
_TOKEN = re.compile(
    r"""("(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')|(\.?\d(?:[eE][-+]|[\w.])*)|([A-Za-z_]\w*)|([][{}<>:;,./-])""",
    re.A,
)
_DECIMAL = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?[fF]?", re.A)
_WHOLE = re.compile(r"-?(?:0[xX][\da-fA-F]+|0[0-7]+)")
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([\da-fA-F]{1,2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|(.))")
_PLAIN = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "'": 39, '"': 34, "?": 63}
_NAMED = re.compile(r"-?(?:inf|infinity|nan)", re.I)


@dataclass(frozen=True, slots=True)
class Word:
    """A scalar that is no text in quotes: a number, or the name of a value."""

    text: str


Value = Any  # a text (str), a Word, a message (list of Field) or a list (tuple of values)


class Field(NamedTuple):
    """A field of a message, and where it begins."""

    name: str
    value: Value
    at: int


def line_of(text: str, at: int) -> int:
    """The number of the line that a place is on."""
    return text.count("\n", 0, at) + 1


def number_of(text: str) -> float:
    """The number that a scalar stands for; ValueError if it is none.

    >>> number_of("1.5f"), number_of("0x10"), number_of("-2e1")
    (1.5, 16.0, -20.0)
    """
    if _WHOLE.fullmatch(text):
        digits = text.lstrip("-")
        value = float(int(digits, 16 if digits[1] in "xX" else 8))
        return -value if text[0] == "-" else value
    if _DECIMAL.fullmatch(text):
        return float(text.rstrip("fF"))
    if _NAMED.fullmatch(text):
        return float(text)
    raise ValueError(f"{text!r} is no number")


class Reader:
    """A cursor over the text."""

    def __init__(self, text: str, source: object) -> None:
        self.text, self.source, self.at = text, source, 0

    def wrong(self, why: str, at: int | None = None) -> UsageError:
        """The error for a place, the one that is reached if none is given."""
        return UsageError(f"{self.source} line {line_of(self.text, self.at if at is None else at)}: {why}.")

    def blank(self) -> None:
        """Pass over space and comments."""
        match = _BLANK.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def peek(self) -> re.Match[str] | None:
        """The next token, which is not passed over; None if there is none."""
        self.blank()
        return _TOKEN.match(self.text, self.at)

    def token(self, expected: str) -> re.Match[str]:
        """The next token, which is passed over."""
        found = self.peek()
        if found is None:
            raise self.unlike(expected)
        self.at = found.end()
        return found

    def unlike(self, expected: str) -> UsageError:
        """The error for what comes next."""
        self.blank()
        got = self.text[self.at : self.at + 40].split("\n")[0]
        if got[:1] in ("'", '"') and not _TOKEN.match(self.text, self.at):
            return self.wrong("this text has no closing quote")
        return self.wrong(
            f"expected {expected}, got {got!r}" if got else f"expected {expected}, but the file ends here"
        )

    def symbol(self, wanted: str) -> bool:
        """Whether one of these marks comes next, which is passed over."""
        self.blank()
        if self.text[self.at : self.at + 1] not in tuple(wanted):
            return False
        self.at += 1
        return True

    def field(self, depth: int) -> Field:
        """A field with its separator."""
        self.blank()
        begun = self.at
        if self.symbol("["):
            name = self.extension()
        elif self.text[begun : begun + 1] == "}":
            raise self.wrong("this bracket closes nothing")
        else:
            found = self.peek()
            if found is None or found[3] is None:
                raise self.unlike("'node {'" if depth == 1 else "a field such as 'key: value'")
            name, self.at = found[3], found.end()
        colon = self.symbol(":")
        value = self.value(name, depth, colon)
        self.symbol(";,")
        return Field(name, value, begun)

    def extension(self) -> str:
        """The name of an extension or of the type of an `Any`, whose bracket is open."""
        end = self.text.find("]", self.at, self.at + 1000)
        if end < 0:
            raise self.unlike("the name of an extension and ']'")
        name = self.text[self.at : end]
        self.at = end + 1
        return f"[{name.strip()}]"

    def value(self, name: str, depth: int, colon: bool) -> Value:
        """The value of a field, whose name and colon are read."""
        for opening, closing in ("{}", "<>"):
            if self.symbol(opening):
                return self.message(closing, depth + 1)
        if not colon:
            raise self.unlike(f"':' or '{{' after {name!r}")
        if not self.symbol("["):
            return self.one()
        values: list[Value] = []
        while not self.symbol("]"):
            if values and not self.symbol(","):
                raise self.unlike("',' or ']'")
            self.blank()
            if self.text[self.at : self.at + 1] == "[":
                raise self.wrong("a list within a list")
            values.append(self.value(name, depth, colon=True))
        return tuple(values)

    def message(self, closing: str, depth: int) -> list[Field]:
        """The fields of a message whose bracket is open."""
        if depth > DEEPEST:
            raise self.wrong(f"more than {DEEPEST} messages within each other")
        begun, fields = self.at, []
        while not self.symbol(closing):
            self.blank()
            if self.at == len(self.text):
                line = line_of(self.text, begun)
                raise UsageError(f"{self.source} ends within the bracket of line {line}; the file is cut off.")
            fields.append(self.field(depth))
        return fields

    def one(self) -> Value:
        """A scalar: texts that stand beside each other are one."""
        found = self.token("a value")
        if found[1]:
            texts = [self.unescaped(found)]
            while (more := self.peek()) and more[1]:
                self.at = more.end()
                texts.append(self.unescaped(more))
            return "".join(texts)
        sign = "-" if found[4] == "-" else ""
        if sign:
            found = self.token("a number after '-'")
        word = found[2] or found[3]
        if word is None:
            self.at = found.start()
            raise self.unlike("a value")
        return Word(sign + word)

    def unescaped(self, found: re.Match[str]) -> str:
        """The text of a token in quotes, with what its escapes stand for."""
        text = found[1][1:-1]
        if "\\" not in text:
            return text
        try:
            return _ESCAPE.sub(_character, text.encode().decode("latin-1")).encode("latin-1").decode()
        except (UnicodeError, ValueError):
            raise self.wrong("an escape in this text stands for no character", found.start()) from None


def _character(found: re.Match[str]) -> str:
    """What an escape stands for, as bytes in Latin-1: octal and hexadecimal ones are bytes, the others characters."""
    octal, byte, short, long, other = found.groups()
    if octal or byte:
        return chr(int(octal, 8) if octal else int(byte, 16))
    if short or long:
        return chr(int(short or long, 16)).encode().decode("latin-1")
    return chr(_PLAIN[other]) if other in _PLAIN else f"\\{other}"
