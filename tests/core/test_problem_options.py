"""Options of a problem: what they may be, their plain types, their parsing and completion."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from countdown import Plain

from sysgym import Range, UsageError, complete
from sysgym.core.options import option_table, parse_pairs, suggestions


@complete
class Optional(Plain):
    """Options of every kind."""

    mode: Literal["slow", "quick"] = "slow"
    k: Annotated[int, Range(2, 9)] = 2
    eps: Annotated[float, Range(0, 1)] = 0.5
    groups: Annotated[int | None, Range(1, 5)] = None
    where: Annotated[int | str | None, Range(1, 4)] = None
    loud: bool = False
    files: tuple[str, ...] = ()


def test_a_whole_number_for_a_number_becomes_one() -> None:
    assert type(Optional(eps=1).eps) is float


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"files": 3}, "option files must be texts with commas between them, got 3"),
        ({"files": ["a", 1]}, r"option files must be texts with commas between them, got \['a', 1\]"),
        ({"mode": "slwo"}, "unknown mode 'slwo'. Did you mean 'slow'"),
        ({"mode": 3}, "option mode must be one of slow, quick, got 3"),
        ({"mode": None}, "option mode must be one of slow, quick, got None"),
        ({"k": 1}, "option k must be a whole number from 2 to 9, got 1"),
        ({"k": True}, "option k must be a whole number from 2 to 9, got True"),
        ({"k": 2.0}, "option k must be a whole number from 2 to 9, got 2.0"),
        ({"k": "2"}, "option k must be a whole number from 2 to 9, got '2'"),
        ({"eps": float("nan")}, "option eps must be a number from 0 to 1, got nan"),
        ({"groups": 6}, "option groups must be a whole number from 1 to 5, got 6"),
        ({"where": 5}, "option where must be a whole number from 1 to 4 or a text, got 5"),
        ({"loud": 1}, "option loud must be true or false, got 1"),
    ],
)
def test_options_are_checked(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Optional(**given)


def test_options_become_plain_are_parsed_and_suggested() -> None:
    made = Optional(k=np.int64(3), eps=np.float32(0.5), where="file.json")
    assert type(made.k) is int and type(made.eps) is float and made.where == "file.json"
    json.dumps({name: getattr(made, name) for name in option_table(Optional)})
    words = ["k=4", "eps=1e-1", "groups=none", "where=2", "loud=yes", "mode=quick"]
    found = parse_pairs(words, Optional, "Optional")
    assert found == {"k": 4, "eps": 0.1, "groups": None, "where": 2, "loud": True, "mode": "quick"}
    assert parse_pairs(["where=a.json"], Optional, "Optional") == {"where": "a.json"}
    assert parse_pairs(["files=a,b", "k=3", "files=c"], Optional, "Optional") == {"files": ("a", "b", "c"), "k": 3}
    assert Optional(files="a,b").files == ("a", "b") and Optional(files=["a", "b"]).files == ("a", "b")
    for word, sentence in (
        ("k=four", "option k of Optional must be a whole number from 2 to 9, got 'four'"),
        ("k", "expected key=value, got 'k'"),
        ("kk=2", "unknown option of Optional 'kk'. Did you mean 'k'"),
    ):
        with pytest.raises(UsageError, match=sentence):
            parse_pairs([word], Optional, "Optional")
    assert suggestions(Optional)[:2] == ["mode=slow", "mode=quick"] and "loud=true" in suggestions(Optional)
    with pytest.raises(TypeError):
        Optional(colour="red")
    assert Optional.variants == ({"mode": "slow"}, {"mode": "quick"})
