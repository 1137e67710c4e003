"""Text from strangers: names in all scripts, addresses, and sentences of bounded length. Nothing here is escaped.

Names are kept in Unicode's form NFKC, so that two that look alike are alike: full-width letters become plain ones, an
ideographic space a space. Letters of every script are welcome; what cannot be seen, or is piled up, is not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import urlsplit

LONGEST = 500  # characters of a reason or a violation
_HIDDEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
_JOINERS = "\u200c\u200d"
_JOINING = re.compile(  # scripts whose letters join or form clusters: Arabic to N'Ko, Indic ones, Khmer, Mongolian, ...
    "[\u0600-\u07ff\u0840-\u0dff\u0e80-\u109f\u1780-\u18af\u1a20-\u1aaf\ua840-\ua9ff\uaa00-\uabff\U00010d00-\U00011fff"
    "\U0001e900-\U0001e95f]"
)
_PILE = 2  # accents one above the other; four of the marks of scripts that spell with them
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]!$&()*+,;=%-]+")


def normal(text: str) -> str:
    """The text in form NFKC."""
    return unicodedata.normalize("NFKC", text)


def is_line(text: object, low: int, high: int) -> bool:
    """Whether this is a line of `low` to `high` characters that shows all that it holds; see the module."""
    if not isinstance(text, str) or len(text) > 4 * high + 16:  # NFKC may shorten a text, but not that much
        return False
    line = normal(text)
    if not low <= len(line) <= high or line.strip() != line:
        return False
    seen = "".join(c for i, c in enumerate(line) if not (c in _JOINERS and _joins(line, i)))
    return seen.isprintable() and not _HIDDEN.search(seen) and not _piled(seen)


def _joins(text: str, place: int) -> bool:
    """Whether a joiner stands between two letters or marks of joining scripts."""
    return 0 < place < len(text) - 1 and all(_JOINING.match(text[i]) for i in (place - 1, place + 1))


def _piled(text: str) -> bool:
    """Whether marks are piled up, enclose a letter, or stand on nothing."""
    accents = marks = 0
    for place, letter in enumerate(text):
        kind = unicodedata.category(letter)
        if kind not in ("Mn", "Me", "Mc"):
            accents = marks = 0
            continue
        marks += 1
        accents += not _JOINING.match(letter) and unicodedata.combining(letter) in (220, 230, 232, 233, 234, 1, 202)
        if kind == "Me" or marks > 2 * _PILE or accents > _PILE or place == 0 or text[place - 1] == " ":
            return True
    return False


def is_address(text: object) -> bool:
    """Whether this is '' or a plain http(s) address: of the form it seems to have, with nothing before the host."""
    if text == "":
        return True
    if not isinstance(text, str) or not 8 <= len(text) <= 300 or not _ADDRESS.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    place = parts.netloc.removesuffix("" if port is None else f":{port}")
    return bool(_HOST.fullmatch(place))


def bounded(text: object, most: int = LONGEST) -> str:
    """Text as one printable line of at most `most` characters: the one place where sentences are shortened."""
    line = " ".join(str(text)[: 4 * most].split())
    line = "".join(c if c.isprintable() and not _HIDDEN.match(c) else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= most and len(str(text)) <= 4 * most else f"{line[: most - 3]}..."


def shown_authors(authors: Sequence[str], most: int = 4) -> str:
    """A list of authors as it is shown: the first few, and how many more.

    >>> shown_authors(["Ada", "Bob", "Cem", "Dag", "Eva", "Fay"])
    'Ada, Bob, Cem, Dag and 2 more'
    """
    first, more = authors[: most if len(authors) > most + 1 else most + 1], len(authors) - most
    return ", ".join(first) + (f" and {more} more" if more > 1 else "")
