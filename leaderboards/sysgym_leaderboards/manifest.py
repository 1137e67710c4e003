"""What `submission.json` must look like: every key, its check and what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sysgym.core.errors import InvalidSolution
from sysgym_leaderboards.archive import AGENT_FILE, ARRAY_FILE, MANIFEST, MAX_MEMBERS
from sysgym_leaderboards.board import BOARD_ID, first_twice
from sysgym_leaderboards.names import bounded, is_address, is_line

SCHEMA = "sysgym-submission/1"
MOST = {"cost": 1e300, "seconds": 1e10, "evaluations": 10**18}  # of a claim; ten billion seconds are three centuries
Check = Callable[[Any], bool]
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_HASH = re.compile(r"[0-9a-f]{64}")


def _line(low: int, high: int) -> Check:
    return lambda v: is_line(v, low, high)


def _natural(high: int) -> Check:
    return lambda v: type(v) is int and 0 <= v <= high


def _claim(low: float, high: float) -> Check:
    return lambda v: v is None or (type(v) in (int, float) and low <= v <= high)  # nan is in no range


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


ABOUT: dict[str, tuple[Check, str]] = {
    "agent": (_line(1, 80), "a name of 1 to 80 characters that all can be seen"),
    "authors": (
        lambda v: isinstance(v, list) and len(v) <= 50 and all(map(_line(1, 120), v)),
        "a list of at most 50 names",
    ),
    "code": (is_address, "a plain http(s) address, such as https://example.org/code, or ''"),
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
_POLICY: dict[str, tuple[Check, str]] = {  # of an agent that is submitted in the place of answers
    "policy": (
        lambda v: (
            isinstance(v, dict)
            and "agent.json" in v
            and all(map(AGENT_FILE.fullmatch, v))
            and all(map(_digest, v.values()))
        ),
        "an object of agent.json, options.json and model.safetensors if there are any, and their sha256",
    ),
    "answers": (lambda v: v == [], "an empty list, as the agent gives the answers"),
}
_INSTANCE: dict[str, tuple[Check, str]] = {
    "name": (_line(1, 300), "the name of an instance"),
    "hash": (_digest, "64 hexadecimal digits"),
}
_ANSWER: dict[str, tuple[Check, str]] = {
    "instance": (_natural(MAX_MEMBERS), "the index of an instance"),
    "seed": (_natural(10**9 - 1), "a whole number"),
    "cost": (_claim(-MOST["cost"], MOST["cost"]), f"a number up to {MOST['cost']:g} or null"),
    "seconds": (_claim(0, MOST["seconds"]), f"seconds from 0 to {MOST['seconds']:g} or null"),
    "evaluations": (
        lambda v: v is None or _natural(int(MOST["evaluations"]))(v),
        f"a whole number up to {MOST['evaluations']:g} or null",
    ),
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
            raise InvalidSolution(f"{where}: {key} must be {expected}, got {bounded(repr(table[key]), 80)}.")


def check_manifest(table: Any) -> None:
    """Refuse a manifest that is not exactly of this form."""
    _check_table(table, {**_TOP, **_POLICY} if isinstance(table, dict) and "policy" in table else _TOP, MANIFEST)
    for number, item in enumerate(table["instances"]):
        _check_table(item, _INSTANCE, f"{MANIFEST}, instance {number}")
    twice = first_twice(item["name"] for item in table["instances"])
    if twice is not None:
        raise InvalidSolution(f"{MANIFEST}: the instance {twice!r} is listed twice.")
    for number, item in enumerate(table["answers"]):
        _check_table(item, _ANSWER, f"{MANIFEST}, answer {number}")
