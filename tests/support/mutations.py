"""Seeded mutations of valid files, and what may come of reading one: an answer or one sentence, within a time."""

from __future__ import annotations

import json
import random
import re
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

from sysgym import InvalidSolution, UsageError

SECONDS = 20.0  # one file takes no longer
LONGEST = 1000  # characters of a sentence
TOKENS = [
    b"-1", b"0", b"1", b"2147483648", b"4294967296", b"9223372036854775807", b"9223372036854775808", b"1e308", b"1e999",
    b"nan", b"NaN", b"inf", b"Infinity", b"-0.0", b"1e-320", b"9" * 23, b"0x10", b"1_0", b"", b"\0", b"\xff",
    b"\x1b[31m", "\u0661".encode(), "\u202e".encode(), b"%", b"#", b"{", b"}", b"[", b"]", b'"', b"\\", b":", b",",
    b"null", b"true", b"\n", b"\r", b"\t", b" ", b"x" * 5000, b"9" * 5000, b"[" * 3000, b"{\n" * 3000, b"100000000",
    b"1.5", b"../x", b"/etc/passwd",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, -1, 0, 2**31, 2**63, 2**64, 10**30, 1.5, 1e308, float("nan"), "", "x", "\x1b[31m", "\ud800", "\u202e",
    [], {}, [[]], [None], [1.5], ["x"], [2**40], {"a": 1}, [[1, 2], [3]], 10**9, 64, 65, "../x", "/etc/passwd",
]  # fmt: skip


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Bytes with one to eight pieces flipped, cut off, dropped, put in, repeated, swapped or copied."""
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        data = rng.choice(CHANGES)(rng, data)
    return data


def _flip(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _drop(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice([1, 2, 10, 100]) :]


def _insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(TOKENS) + data[at:]


def _replace(rng: random.Random, data: bytes) -> bytes:
    words = list(re.finditer(rb"[-+.\w]+", data))
    if not words:
        return data
    word = rng.choice(words)
    return data[: word.start()] + rng.choice(TOKENS) + data[word.end() :]


def _copy(rng: random.Random, data: bytes) -> bytes:
    at, to = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    return data[:to] + data[at : at + 50] + data[to:]


def _lines(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        lines[at:at] = [lines[at]] * rng.choice([1, 3])
    elif kind == 1:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        del lines[at]
    return b"\n".join(lines)


CHANGES: list[Callable[[random.Random, bytes], bytes]] = [
    _flip, _cut, _drop, _insert, _replace, _replace, _replace, _copy, _lines, _lines,
]  # fmt: skip


def mutated_json(rng: random.Random, data: bytes) -> bytes:
    """JSON with its text or its tree changed."""
    if rng.random() < 0.4:
        return mutated(rng, data)
    tree = json.loads(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        spots = list(_spots(tree))
        if not spots:
            break
        holder, key = rng.choice(spots)
        change = rng.randrange(4)
        if change == 0:
            del holder[key]
        elif change == 1 and isinstance(holder[key], list) and holder[key]:
            holder[key] = holder[key] * 2 if rng.random() < 0.5 else holder[key][:-1]
        else:
            holder[key] = deepcopy(rng.choice(VALUES))
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def _spots(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a tree, the first six of a list."""
    for key in list(node) if isinstance(node, dict) else range(min(len(node), 6)) if isinstance(node, list) else ():
        yield node, key
        yield from _spots(node[key])


class Slow(BaseException):
    """A file takes too long."""


@contextmanager
def within(seconds: float = SECONDS) -> Iterator[None]:
    """Raise Slow after some time."""

    def over(*_: Any) -> None:
        raise Slow

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Outcome(NamedTuple):
    """What came of one mutation."""

    kind: str  # used, sentence, or what is wrong
    detail: str


def outcome(use: Callable[[], Any]) -> Outcome:
    """What comes of reading a file: only "used" and "sentence" are right."""
    try:
        with within(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use()
    except (UsageError, InvalidSolution) as error:
        text = str(error)
        right = text.isprintable() and len(text) <= LONGEST
        return Outcome("sentence" if right else "sentence that is not printable or too long", text)
    except Slow:
        return Outcome(f"over {SECONDS:g} s", "")
    except Exception as error:
        return Outcome(f"{type(error).__name__}", f"{error!r:.200}")
    return Outcome("used", "")


def check(use: Callable[[bytes], Any], data: bytes, mutate: Any, count: int, seed: int = 0) -> Counter[str]:
    """Use the valid file, then `count` mutations of it; fails with the first of each kind of wrong outcome.

    The same seed gives the same mutations on every machine.
    """
    use(data)
    kinds: Counter[str] = Counter()
    wrong: dict[str, str] = {}
    for number in range(count):
        content = mutate(random.Random(seed * 1_000_003 + number), data)
        found = outcome(lambda content=content: use(content))
        kinds[found.kind] += 1
        if found.kind not in ("used", "sentence"):
            wrong.setdefault(f"{found.kind} {found.detail[:60]}", f"#{number} {found.kind}: {found.detail}")
    assert not wrong, f"{dict(kinds)}\n" + "\n".join(list(wrong.values())[:10])
    return kinds
