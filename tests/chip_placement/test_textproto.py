"""Netlists in every form that protobuf's text format allows: each means the same, what is none gets a sentence."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import fields

import numpy as np
import pytest

from sysgym import UsageError
from sysgym.chip_placement.formats.graphdef import parse_graph
from sysgym.chip_placement.formats.netlist import Netlist, parse_netlist
from sysgym.chip_placement.formats.netlist_writer import format_netlist
from sysgym.chip_placement.formats.textproto import DEEPEST, number_of

PLAIN = (
    'node {\n  name: "A"\n  attr {\n    key: "type"\n    value {\n      placeholder: "macro"\n    }\n  }\n'
    '  attr {\n    key: "width"\n    value {\n      f: 20.0\n    }\n  }\n'
    '  attr {\n    key: "height"\n    value {\n      f: 10.0\n    }\n  }\n}\n'
    'node {\n  name: "A/o"\n  input: "A"\n  input: "A/o"\n  attr {\n    key: "type"\n    value {\n'
    '      placeholder: "macro_pin"\n    }\n  }\n  attr {\n    key: "macro_name"\n    value {\n      placeholder: "A"\n'
    '    }\n  }\n  attr {\n    key: "x_offset"\n    value {\n      f: -1.5\n    }\n  }\n}\n'
)  # fmt: skip
FORMS = {
    "one line": " ".join(PLAIN.split()),
    "no space": "".join(PLAIN.split()),
    "Windows": PLAIN.replace("\n", "\r\n"),
    "old Mac": PLAIN.replace("\n", "\r"),
    "comments": "# a\n" + PLAIN.replace("\n", " # } { \"'\n"),
    "single quotes": PLAIN.replace('"', "'"),
    "angles": PLAIN.replace("{", "<").replace("}", ">"),
    "colons": PLAIN.replace(" {", ": {"),
    "semicolons": PLAIN.replace("}\n", "};\n").replace('"\n', '";\n').replace("20.0", "20.0;"),
    "commas": PLAIN.replace("}\n", "},\n"),
    "texts in pieces": PLAIN.replace('"macro_pin"', '"macro" # two\n \'_pin\''),
    "escapes": PLAIN.replace('"macro"', r'"\x6d\141\u0063ro"').replace('"A"', r'"\101"'),
    "lists": PLAIN.replace('input: "A"\n  input: "A/o"', 'input: ["A", "A/o"]'),
    "numbers": PLAIN.replace("20.0", "2e1f").replace("10.0", "1.0E+1").replace("-1.5", "- 1.5"),
    "integers": PLAIN.replace("f: 20.0", "i: 0x14").replace("f: 10.0", "i: 012").replace('key: "x', "key : \"x"),
    "other fields": "versions { producer: 22 min_consumer: 12 bad_consumers: [1, 2] }\n"
    "library { function { signature {} } }\n"
    + PLAIN.replace('name: "A"\n', 'name: "A"\n op: "Const" device: "/cpu:0"\n attr { key: "shape" value { shape { dim '
                    '{ size: 3 } unknown_rank: false } } } attr { key: "dtype" value { type: DT_FLOAT } }\n'
                    "experimental_debug_info { original_node_names: 'x' [some.ext]: 5 "
                    "[type.googleapis.com/a.B] { c: inf } }\n"),
    "value first": PLAIN.replace('key: "width"\n    value {\n      f: 20.0\n    }', 'value { f: 20 } key: "width"'),
    "nodes in a list": "node: [" + " ".join(PLAIN.split()).replace("} node {", "}, {")[5:] + "]",
}  # fmt: skip


def same(one: Netlist, other: Netlist) -> bool:
    names = (item.name for item in fields(Netlist) if item.name != "comments")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_means_the_same(form: str) -> None:
    wanted = parse_netlist(PLAIN, "n")
    assert wanted.width.tolist() == [20.0, 0.0] and wanted.x_offset.tolist() == [0.0, -1.5]
    assert wanted.pins.tolist() == [1, 0, 1] and wanted.names == ("A", "A/o")
    assert same(parse_netlist(FORMS[form], "n"), wanted)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"A"\n', '"A"\n  inptu: "A"\n', r"line 3: unknown field of a node 'inptu'. Did you mean 'input'\?"),
        ("node {", "nodes {", "line 1: unknown field of a graph 'nodes'. Did you mean 'node'"),
        ("f: 20.0", "g: 20.0", "line 12: unknown field of a value 'g'"),
        ("f: 20.0", 'f: "20.0"', "line 12: expected a number after 'f:'"),
        ("f: 20.0", "f: 20.0 f: 21.0", "line 12: an attr holds one value, this one several"),
        ("f: 20.0", "f: 1_0", "line 12: expected a number after 'f:'"),
        ("f: 20.0", "", "width of 'A' is None, expected a number"),
        ("f: 20.0", "list { f: 20 }", "width of 'A' is None, expected a number"),
        ("f: 20.0", "f: inf", "width of 'A' is 'inf', expected a number"),
        ("f: 20.0", 'placeholder: "2O"', "width of 'A' is '2O', expected a number"),
        ('name: "A"\n', 'name: "A" name: "B"\n', "line 2: a second name of this node"),
        ('name: "A"\n', "name: A\n", "line 2: expected a text in quotes after 'name:'"),
        ('name: "A"\n', 'name: "A\n', "line 2: this text has no closing quote"),
        ('name: "A"\n', 'name "A"\n', "line 2: expected ':' or '{' after 'name', got"),
        ('name: "A"\n', r'name: "\xff"' + "\n", "line 2: an escape in this text stands for no character"),
        ('key: "width"\n', "", "an attr needs a key and a value"),
        ("attr {", "attr <", "line 6: |line 8: "),
    ],
)  # fmt: skip
def test_what_the_grammar_does_not_allow_gets_a_sentence(old: str, new: str, sentence: str) -> None:
    assert old in PLAIN
    with pytest.raises(UsageError, match=sentence) as caught:
        parse_netlist(PLAIN.replace(old, new, 1), "n", "n.pb.txt")
    assert "\n" not in str(caught.value)


def test_a_key_that_is_given_twice_is_told() -> None:
    twice = PLAIN.replace(
        '  attr {\n    key: "height"', '  attr { key: "width" value { f: 5 } }\n  attr {\n    key: "height"'
    )
    found = parse_netlist(twice, "n")
    assert found.width[0] == 5.0 and found.remarks == (
        "1 attributes are given twice in a node; the last counts, as protobuf has it",
    )


def test_names_of_any_characters_are_written_and_read_back() -> None:
    names = ('a"b', "c\\d", "e\nf", "\\n", "Grün", "#", "\u202e")
    text = "".join(
        f"node {{ name: {format_name(name)} " + 'attr { key: "type" value { placeholder: "port" } } }\n'
        for name in names
    )
    found = parse_netlist(text, "n")
    assert found.names == names
    assert parse_netlist(format_netlist(found), "n").names == names


def format_name(name: str) -> str:
    """Every byte as an escape."""
    return '"' + "".join(f"\\{byte:03o}" for byte in name.encode()) + '"'


def test_nesting_is_bounded() -> None:
    deep = "library { " + "a { " * (DEEPEST - 2) + "} " * (DEEPEST - 2) + "}\n"
    assert len(parse_graph(deep + PLAIN, "n")) == 2
    with pytest.raises(UsageError, match=f"more than {DEEPEST} messages within each other"):
        parse_graph("library { " + "a { " * 5000, "n")
    with pytest.raises(UsageError, match="a list within a list"):
        parse_graph("library { a: " + "[" * 5000, "n")


def test_numbers_of_the_format() -> None:
    assert [number_of(text) for text in ("1.", ".5", "-0x1F", "010", "1e-3F", "7f")] == [1, 0.5, -31, 8, 1e-3, 7]
    for text in ("", "1_0", "+1", "0x", "1e", "--1", "1 2", "\u0661"):
        with pytest.raises(ValueError, match="is no number"):
            number_of(text)


def test_the_time_is_linear_in_the_text() -> None:
    """Forms that are parsed token by token, and runs that a careless expression would look at again and again."""

    def seconds(text: str) -> float:
        took = []
        for _ in range(3):
            started = time.process_time()
            with suppress(UsageError):
                parse_graph(text, "n")
            took.append(time.process_time() - started)
        return min(took)

    one = FORMS["angles"]
    for piece in (one, "# c\n", " ", "#", 'node { name: "a" ', "'a' ", "library { x: 1 }", '"', "\\"):
        few = seconds(piece * 40)
        assert seconds(piece * 640) < 16 * 6 * few + 0.1, piece  # quadratic were 256 times as long
