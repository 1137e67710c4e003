"""What `submission.json` must look like: every key, its check and what was expected."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sysgym.core.errors import InvalidSolution
from sysgym_leaderboards.archive import ARRAY_FILE, MANIFEST, MAX_MEMBERS
from sysgym_leaderboards.board import BOARD_ID

SCHEMA = "sysgym-submission/1"
Check = Callable[[Any], bool]
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_HASH = re.compile(r"[0-9a-f]{64}")


def _line(low: int, high: int) -> Check:
    return lambda v: isinstance(v, str) and low <= len(v) <= high and v.isprintable() and v.strip() == v


def _natural(high: int) -> Check:
    return lambda v: type(v) is int and 0 <= v <= high


def _claim(v: Any) -> bool:
    return v is None or (type(v) is float and math.isfinite(v)) or (type(v) is int and abs(v) < 2**63)


def _date(v: Any) -> bool:
    """Whether this is a moment that exists, in the one form that is taken."""
    if not isinstance(v, str) or not _DATE.fullmatch(v):
        return False
    try:
        datetime.strptime(v, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return False
    return True


def _digest(v: Any) -> bool:
    return isinstance(v, str) and bool(_HASH.fullmatch(v))


def _url(v: Any) -> bool:
    return v == "" or bool(_line(8, 300)(v) and re.fullmatch(r"https?://[^\s\"'<>]+", v))


ABOUT: dict[str, tuple[Check, str]] = {
    "agent": (_line(1, 80), "a name of 1 to 80 printable characters"),
    "authors": (
        lambda v: isinstance(v, list) and len(v) <= 50 and all(map(_line(1, 120), v)),
        "a list of names",
    ),
    "code": (_url, "an http(s) address or ''"),
    "licence": (_line(0, 80), "a line of at most 80 characters"),
    "hardware": (_line(0, 200), "a line of at most 200 characters"),
    "threads": (lambda v: v is None or (_natural(10**6)(v) and v > 0), "a positive whole number or null"),
    "suite_version": (_line(1, 80), "the version of sysgym that made the solutions"),
    "created": (_date, "a date like 2026-01-31T12:00:00Z"),
}
_TOP: dict[str, tuple[Check, str]] = {
    "schema": (lambda v: v == SCHEMA, repr(SCHEMA)),
    # an id, never a file: `sysgym submit` looks the board up by this name
    "board": (lambda v: isinstance(v, str) and bool(BOARD_ID.fullmatch(v)), "the id of a board"),
    "board_hash": (_digest, "64 hexadecimal digits"),
    "problem": (_line(1, 100), "the name of a problem"),
    "options": (lambda v: isinstance(v, dict) and len(v) <= 100, "an object"),
    "instances": (lambda v: isinstance(v, list) and 0 < len(v) <= MAX_MEMBERS, "a list of instances"),
    "answers": (lambda v: isinstance(v, list) and len(v) <= MAX_MEMBERS, "a list of answers"),
    **ABOUT,
}
_INSTANCE: dict[str, tuple[Check, str]] = {
    "name": (_line(1, 300), "the name of an instance"),
    "hash": (_digest, "64 hexadecimal digits"),
}
_ANSWER: dict[str, tuple[Check, str]] = {
    "instance": (_natural(MAX_MEMBERS), "the index of an instance"),
    "seed": (_natural(10**9 - 1), "a whole number"),
    "cost": (_claim, "a finite number or null"),
    "seconds": (lambda v: _claim(v) and (v is None or v >= 0), "seconds or null"),
    "evaluations": (lambda v: v is None or _natural(2**63 - 1)(v), "a whole number or null"),
    "files": (
        lambda v: (
            isinstance(v, dict)
            and 0 < len(v) <= 100
            and all(map(ARRAY_FILE.fullmatch, v))
            and all(map(_digest, v.values()))
        ),
        "an object of array files and their sha256",
    ),
}


def _check_table(table: Any, checks: Mapping[str, tuple[Check, str]], where: str) -> None:
    if not isinstance(table, dict):
        raise InvalidSolution(f"{where} is a {type(table).__name__}, expected an object.")
    if set(table) != set(checks):
        wrong = sorted(set(table) ^ set(checks))[0]
        state = "is unknown" if wrong in table else "is missing"
        raise InvalidSolution(f"{where}: the key {wrong[:80]!r} {state}; expected {', '.join(checks)}.")
    for key, (check, expected) in checks.items():
        if not check(table[key]):
            shown = repr(table[key])
            raise InvalidSolution(f"{where}: {key} must be {expected}, got {shown[:80]}{'...' * (len(shown) > 80)}.")


def check_manifest(table: Any) -> None:
    """Refuse a manifest that is not exactly of this form."""
    _check_table(table, _TOP, MANIFEST)
    for number, item in enumerate(table["instances"]):
        _check_table(item, _INSTANCE, f"{MANIFEST}, instance {number}")
    names = [item["name"] for item in table["instances"]]
    if len(set(names)) != len(names):
        raise InvalidSolution(f"{MANIFEST}: the instance {max(names, key=names.count)!r} is listed twice.")
    for number, item in enumerate(table["answers"]):
        _check_table(item, _ANSWER, f"{MANIFEST}, answer {number}")
