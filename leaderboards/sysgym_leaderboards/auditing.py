"""Auditing a store: is the chain whole, and does everything that can be derived again come out as it is stored?

From the stored zip and the board follow: agent, authors, code and all else about a submission, its claims, the hash of
the board, costs, metrics, violations, hashes of the solutions, acceptance. What cannot be derived, and remains trusted
as far as the chain is whole: when an entry arrived, how many seconds judging took, the name of another judge than the
one installed here, rejected submissions (their bytes are not kept), and who asked for a withdrawal or another name.
Against somebody who writes the whole chain anew helps only a head that was kept elsewhere.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from sysgym.core.errors import UsageError
from sysgym_leaderboards.board import Board, load_board
from sysgym_leaderboards.certificates import Certificate, Row
from sysgym_leaderboards.events import GENESIS, Event, entry_hash, parse_row
from sysgym_leaderboards.verify import Judged

_HEAD = re.compile(r"(?:(\d+):)?([0-9a-f]{12,64})")
_JUDGED = ("feasible", "cost", "reference", "violations", "solution", "canonical", "beside")
_CLAIMED = ("claimed", "seconds", "evaluations")


class Kept(Protocol):
    """What auditing asks of a store."""

    def rows(self) -> Iterator[tuple[Any, ...]]: ...
    def certificates(self, number: int) -> list[Certificate]: ...
    def judge(self, data: bytes, board: Board | None) -> Judged: ...


def parse_head(text: str) -> tuple[int | None, str]:
    """A head as `sysgym board verify` prints it: `NUMBER:HASH`, or the hash alone (at least 12 digits of it)."""
    found = _HEAD.fullmatch(text.strip().lower())
    if not found:
        raise UsageError(f"a head is NUMBER:HASH or HASH, 12 to 64 hexadecimal digits, got {text!r:.100}.")
    return None if found[1] is None else int(found[1]), found[2]


def check_chain(store: Kept, head: tuple[int, str] | str | None = None) -> list[str]:
    """Sentences about every row that was edited, removed or slipped in; empty if the store is whole.

    `head` is what `Store.head()` gave earlier, or a text as `parse_head` reads it: it finds rows that were cut off at
    the end, and a chain that was written anew.
    """
    problems: list[str] = []
    expected, previous, hashes, latest = 1, GENESIS, [GENESIS], ""
    owners: dict[int, str] = {}  # accepted entries and their boards
    submissions: dict[tuple[str, str], int] = {}
    for number, *content, before, digest in store.rows():
        board, accepted, submission, text, created = content
        if number != expected:
            problems.append(f"entries {expected} to {number - 1} are missing.")
        elif before != previous:
            problems.append(f"entry {number} does not continue entry {number - 1}.")
        if entry_hash(before, *content) != digest:
            problems.append(f"entry {number} was edited: its content does not have the hash stored with it.")
        if created < latest:
            problems.append(f"entry {number} is dated {created}, before the entry that it follows ({latest}).")
        try:
            row = parse_row(text)
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"entry {number} of the store is damaged ({error}).")
        else:
            if isinstance(row, Event):
                problems += _wrong_event(number, row, board, accepted, submission, owners)
                if row.kind == "withdrawn":
                    submissions = {key: value for key, value in submissions.items() if value != row.entry}
            else:
                problems += _wrong_filing(number, row, board, accepted, submission)
                if accepted:
                    owners[number] = board
                    first = submissions.setdefault((board, row.submission), number)
                    if first != number:
                        problems.append(f"entry {number} is the submission of entry {first} once more.")
        expected, previous, latest = number + 1, digest, max(latest, created)
        hashes.append(digest)
    return problems + _lost_head(hashes, head)


def _lost_head(hashes: list[str], head: tuple[int, str] | str | None) -> list[str]:
    if head is None:
        return []
    number, digest = parse_head(head) if isinstance(head, str) else head
    places = range(len(hashes)) if number is None else range(number, min(number + 1, len(hashes)))
    if any(hashes[place].startswith(digest) for place in places):
        return []
    which = "" if number is None else f"entry {number} "
    return [f"the store does not contain the history that ended with {which}({digest[:12]}...)."]


def _wrong_filing(number: int, row: Certificate, board: str, accepted: int, submission: bytes) -> Iterator[str]:
    if row.board != board or row.accepted != bool(accepted):
        yield f"entry {number} is filed otherwise than its certificate says."
    if accepted and hashlib.sha256(submission).hexdigest() != row.submission:
        yield f"entry {number} holds another submission than its certificate says."


def _wrong_event(
    number: int, event: Event, board: str, accepted: int, submission: bytes, owners: dict[int, str]
) -> Iterator[str]:
    if accepted or submission:
        yield f"entry {number} is an event ({event.kind}), and filed as a submission."
    if owners.get(event.entry) != board:
        yield f"entry {number} is about entry {event.entry}, which is no accepted entry of {board}."


def reverify(store: Kept, board: Board | str | Path) -> Iterator[str]:
    """Judge every accepted submission of a board again; a sentence for each difference to what is stored."""
    name = board.id if isinstance(board, Board) else str(board)
    try:
        rules = board if isinstance(board, Board) else load_board(board)
        precision = float(rules.make_problem().precision)
        for number, where, accepted, submission, text, *_ in store.rows():
            if where != rules.id or not accepted:
                continue
            try:
                first = parse_row(text)
                certificates = store.certificates(number)
            except (ValueError, KeyError, TypeError):
                continue  # `check_chain` names it
            if isinstance(first, Event):
                continue
            foreign = [item for item in certificates if item.board_hash != rules.hash]
            if foreign:
                yield (
                    f"entry {number} ({first.agent}) was judged by other rules of {rules.id}: its board hash is "
                    f"{foreign[0].board_hash[:12]}..., that of the board {rules.hash[:12]}..."
                )
                continue
            found = store.judge(submission, rules)
            for certificate in certificates:
                for sentence in differences(certificate, found, certificate is certificates[-1], precision):
                    yield f"entry {number} ({first.agent}): {sentence}"
    except UsageError as error:
        yield f"{name} cannot be verified here: {error}"


def differences(stored: Certificate, found: Judged, judged: bool = True, precision: float = 0.0) -> list[str]:
    """How a second verification differs from a stored one; measured seconds do not count, nor do versions, nor what
    machines may differ in (`Problem.precision`).

    `judged=False` leaves out what another judge may see otherwise: for certificates that re-judging replaced.
    """
    now = found.certificate
    if not found.unchanged and now.accepted and now.submission != stored.submission:
        return ["the stored submission is not in the form in which submissions are stored."]
    texts = []
    if judged and stored.accepted != now.accepted:
        texts.append(f"it was {'accepted' if stored.accepted else 'rejected'}, now: {now.reason or 'accepted'}")
    elif judged and stored.reason != now.reason:
        texts.append(f"it was rejected because {stored.reason!r}, now because {now.reason!r}")
    if stored.judge is None and not now.accepted:
        return texts
    for name in ("agent", "about", "instances"):
        texts += _changed(name, getattr(stored, name), getattr(now, name))
    before = {(row.instance, row.seed): row for row in stored.rows}
    if len(before) != len(stored.rows) or len(now.rows) != len(stored.rows):
        texts.append(f"it had {len(stored.rows)} rows, has {len(now.rows)} now.")
    keys = (*_CLAIMED, *(_JUDGED if judged else ()))
    for row in now.rows:
        old = before.get((row.instance, row.seed))
        if old is not None:
            texts += _row_differences(old, row, keys, stored.judge is not None, precision)
    if texts and judged and stored.judge is not None and now.judge is not None and not now.judge.same(stored.judge):
        texts = [f"judged by {stored.judge}, here by {now.judge}: {text}" for text in texts]
    return texts


def _changed(name: str, was: object, now: object) -> list[str]:
    return [] if was == now else [f"its {name} was {was!r:.200}, is {now!r:.200} now."]


def _row_differences(old: Row, row: Row, keys: tuple[str, ...], named: bool, precision: float) -> Iterator[str]:
    """Sentences about an answer. `named=False`: it is from before judges were named, and lacks what came since."""
    pairs = [(key, getattr(old, key), getattr(row, key)) for key in keys if named or key != "canonical"]
    if "cost" in keys:
        pairs += [
            (f"metric {key}", old.metrics.get(key), row.metrics.get(key))
            for key in sorted({*old.metrics, *row.metrics})
            if named or key in old.metrics
        ]
    for key, was, now in pairs:
        near = max(precision, 1e-12 if key.startswith("metric ") else 0.0)
        if was != now and not ((key in ("cost", "reference") or key.startswith("metric ")) and _close(was, now, near)):
            yield f"{row.instance} seed {row.seed}: {key} was {was!r:.100}, is {now!r:.100} now."


def _close(was: float | None, now: float | None, near: float) -> bool:
    """Whether figures agree up to the last digits that libraries compute differently."""
    return was is not None and now is not None and math.isclose(was, now, rel_tol=near)
