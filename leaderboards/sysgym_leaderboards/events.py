"""What happens to an entry after its submission: appended events, never changes. An event is a row of the store too.

- `rejudged`: another certificate, by another judge or with another verdict. The newest counts.
- `withdrawn`: by its author, with a reason. It stays in the store and leaves the ranking.
- `authors`: the corrected list of authors.
- `named`: shown under another name and without authors, code, licence and hardware, such as for anonymous review;
  the empty name shows them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sysgym.core.errors import InvalidSolution, UsageError
from sysgym_leaderboards.certificates import Certificate, parse_certificate
from sysgym_leaderboards.manifest import ABOUT
from sysgym_leaderboards.names import is_line, normal

GENESIS = "0" * 64  # what the first row of a store follows
# key of an event beside `event` and `entry`, and what it must be
SAID: dict[str, tuple[str, Callable[[Any], bool], str]] = {
    "rejudged": ("certificate", lambda v: isinstance(v, dict), "a certificate"),
    "withdrawn": ("reason", lambda v: is_line(v, 0, 300), "a line of at most 300 characters"),
    "authors": ("authors", *ABOUT["authors"]),
    "named": ("name", lambda v: is_line(v, 0, 80), "a name of at most 80 characters that all can be seen, or ''"),
}


@dataclass(frozen=True)
class Entry:
    """An entry of the store as all events left it. Of a rejected submission only the SHA-256 is kept, not the zip."""

    number: int
    board: str
    certificate: Certificate  # the newest
    created: str
    previous: str
    hash: str
    submission: bytes = field(default=b"", repr=False)
    judged: int = 0  # number of the event that brought the certificate, the entry's own if it was never judged again
    withdrawn: str | None = None  # why
    name: str = ""  # shown instead of the agent's

    @property
    def state(self) -> str:
        """`accepted` (it is ranked), `rejected` or `withdrawn`."""
        return "withdrawn" if self.withdrawn is not None else "accepted" if self.certificate.accepted else "rejected"

    @property
    def shown(self) -> Certificate:
        """The certificate as it is published: without what would tell who it is, if another name was chosen."""
        if not self.name:
            return self.certificate
        about = {key: value for key, value in self.certificate.about.items() if key in ("created", "suite_version")}
        return replace(self.certificate, agent=self.name, about={**about, "authors": [], "code": "", "hardware": ""})


@dataclass(frozen=True)
class Event:
    """One event after a submission: `kind` of `SAID`, the entry that it is about, and what it says."""

    kind: str
    entry: int
    value: Any

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"event": self.kind, "entry": self.entry, SAID[self.kind][0]: self.value}

    def applied(self, entry: Entry, number: int) -> Entry:
        """The entry after this event, which is the row `number` of the store."""
        if self.kind == "rejudged":
            authors = {"authors": entry.certificate.about["authors"]} if "authors" in entry.certificate.about else {}
            found = parse_certificate(self.value)
            return replace(entry, certificate=replace(found, about={**found.about, **authors}), judged=number)
        if self.kind == "withdrawn":
            return replace(entry, withdrawn=str(self.value))
        if self.kind == "named":
            return replace(entry, name=str(self.value))
        about = {**entry.certificate.about, "authors": list(self.value)}
        return replace(entry, certificate=replace(entry.certificate, about=about))


def make_event(kind: str, entry: int, value: Any) -> Event:
    """An event, its text in Unicode's form NFKC; UsageError says what is wrong with it."""
    key, check, expected = SAID[kind]
    if not check(value):
        raise UsageError(f"{key} must be {expected}, got {value!r:.100}.")
    if isinstance(value, str):
        value = normal(value)
    return Event(kind, entry, [normal(name) for name in value] if kind == "authors" else value)


def entry_hash(previous: str, *content: str | int | bytes) -> str:
    """SHA-256 over the previous hash and the columns board to created; each is preceded by its length."""
    digest = hashlib.sha256(b"sysgym-entry/1")
    for part in (previous, *content):
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def parse_row(text: str) -> Certificate | Event:
    """What a row of the store holds; ValueError, KeyError or TypeError if it is damaged."""
    try:
        table = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(table, Mapping):
        raise TypeError(f"a {type(table).__name__}")
    if "event" not in table:
        return parse_certificate(table)
    key = SAID[table["event"]][0]
    if set(table) != {"event", "entry", key} or type(table["entry"]) is not int:
        raise ValueError(f"no event: {text:.200}")
    try:
        event = make_event(table["event"], table["entry"], table[key])
    except (UsageError, InvalidSolution) as error:
        raise ValueError(str(error)) from error
    if event.kind == "rejudged":
        parse_certificate(event.value)
    return event
