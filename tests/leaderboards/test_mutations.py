"""Mutated submissions: whatever is changed in a valid one, the answer is a sentence, never an exception."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

import pytest
from zips import members_of, zip_of

from sysgym_leaderboards import Board
from sysgym_leaderboards.verify_worker import report_on

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(10**400), 1e308, -0.0, "", " ", "x" * 10_000, "\u202e",
    "\ud800", "../..", [], [[]], {}, {"a": {}}, [None], ["x"] * 300, "2026-02-30T00:00:00Z", "https://a@b", "0" * 64,
)  # fmt: skip
BATCH = 100


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all keys and positions within plain data."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in items for place in ((*path, key), *places(item, (*path, key)))]


def change_manifest(rng: random.Random, members: dict[str, bytes]) -> None:
    table = json.loads(members["submission.json"])
    for _ in range(rng.randint(1, 3)):
        *path, last = rng.choice(places(table))
        holder = table
        for key in path:
            holder = holder[key]
        kind = rng.randrange(4)
        if kind == 0:
            del holder[last]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(last, holder[last])
        else:
            holder[last] = deepcopy(rng.choice(VALUES))
        if not places(table):
            break
    members["submission.json"] = json.dumps(table).encode("utf-8", "surrogatepass")


def change_bytes(rng: random.Random, data: bytes) -> bytes:
    """Bits turned, bytes cut out, repeated or put in."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place, kind = rng.randrange(len(changed) + 1), rng.randrange(4)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del changed[place : place + rng.randint(1, 64)]
        elif kind == 2:
            changed[place:place] = rng.randbytes(rng.randint(1, 16))
        else:
            changed[place:place] = changed[place : place + rng.randint(1, 64)]
    return bytes(changed)


def mutated(rng: random.Random, packed: bytes) -> bytes:
    kind = rng.randrange(3)
    if kind == 0:
        return change_bytes(rng, packed)
    members = members_of(packed)
    if kind == 1:
        change_manifest(rng, members)
    else:
        name = rng.choice(sorted(members))
        members[name] = change_bytes(rng, members[name])
    return zip_of(members)


def hold(packed: bytes, board: Board, batch: int) -> int:
    """Try a batch of mutations; how many were accepted: some change nothing that counts."""
    accepted = 0
    for number in range(BATCH):
        report, kept = report_on(mutated(random.Random(f"{batch} {number}"), packed), board)
        accepted += report["accepted"]
        assert report["accepted"] is not bool(report["reason"]) and "usage" not in report
        assert bool(kept) is report["accepted"] and "\n" not in report["reason"]
        json.dumps(report, allow_nan=False)
    return accepted


@pytest.mark.attack("500 random changes of a valid submission, 10,000 with `-m full`: bits, members, the manifest")
@pytest.mark.parametrize("batch", range(5))
def test_mutations_end_in_a_sentence(batch: int, packed: bytes, board: Board) -> None:
    assert hold(packed, board, batch) < BATCH / 4


@pytest.mark.full
def test_ten_thousand_mutations_end_in_a_sentence(packed: bytes, board: Board) -> None:
    assert sum(hold(packed, board, batch) for batch in range(5, 105)) < 100 * BATCH / 4
