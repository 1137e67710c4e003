"""The nodes of a TensorFlow `GraphDef` in protobuf's text format.

What Circuit Training writes, `attr` blocks of a number or a text, is matched a whole field at a time; everything else
that the grammar allows is parsed token by token. What a netlist has no use for (`versions`, `library`, `op`, ...) is
read and passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sysgym.chip_placement.formats.textproto import Field, Reader, Value, Word, line_of, number_of
from sysgym.core.errors import UsageError, unknown

GRAPH = ("node", "versions", "library", "version", "debug_info")  # fields of a GraphDef
NODE = ("name", "op", "input", "device", "attr", "experimental_debug_info", "experimental_type")  # of a NodeDef
VALUE = ("placeholder", "f", "i", "s", "b", "type", "shape", "tensor", "list", "func")  # of an AttrValue, one of them

_TEXT, _NUMBER = r'"([^"\\\n]*)"', r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_NODE = re.compile(r"\s*node\s*\{", re.A)
_USUAL = re.compile(  # groups: 1 key, 2 text, 3 number; 4 input; 5 name; 6 end
    rf"\s*(?:attr\s*\{{\s*key\s*:\s*{_TEXT}\s*value\s*\{{\s*(?:(?:placeholder|s)\s*:\s*{_TEXT}|"
    rf"[fi]\s*:\s*({_NUMBER}))\s*\}}\s*\}}|input\s*:\s*{_TEXT}|name\s*:\s*{_TEXT}|(\}}))",
    re.A,
)
_END, _NAME, _INPUT = 6, 5, 4


@dataclass(slots=True)
class Node:
    """A node of a graph: its attributes are texts, or None for one that is neither a text, a number nor a word."""

    at: int  # where it begins in the text
    name: str | None = None
    inputs: list[str] = field(default_factory=list)
    attributes: dict[str, str | None] = field(default_factory=dict)
    again: int = 0  # attributes that are given a second time; the last counts, as in protobuf's maps


def parse_graph(text: str, source: object) -> list[Node]:
    """The nodes of a GraphDef in the order of the text; UsageError names the line that is wrong."""
    reader = Reader(text, source)
    nodes: list[Node] = []
    while True:
        usual = _NODE.match(text, reader.at)
        if usual:
            reader.at = usual.end()
            nodes.append(_named(reader, _node(reader, Node(usual.end() - 1))))
            reader.symbol(";,")
            continue
        reader.blank()
        if reader.at == len(text):
            return nodes
        found = reader.field(1)
        _known(reader, found, GRAPH, "graph")
        if found.name == "node":
            nodes += [_named(reader, _filled(reader, Node(found.at), part)) for part in _messages(reader, found)]


def _node(reader: Reader, node: Node) -> Node:
    """A node whose bracket is open, filled."""
    text, at, match = reader.text, reader.at, _USUAL.match
    inputs, attributes = node.inputs, node.attributes
    while True:
        usual = match(text, at)
        kind = usual.lastindex if usual else None
        if usual is None or kind is None or (kind == _NAME and node.name is not None):
            reader.at = at
            if not reader.symbol(";,"):
                _unusual(reader, node)
            at = reader.at
            continue
        at = usual.end()
        if kind == _INPUT:
            inputs.append(usual[_INPUT])
        elif kind == _NAME:
            node.name = usual[_NAME]
        elif kind == _END:
            reader.at = at
            return node
        else:
            key = usual[1]
            node.again += key in attributes
            attributes[key] = usual[kind]


def _unusual(reader: Reader, node: Node) -> None:
    """Any field of a node, or the comments before its end."""
    reader.blank()
    if reader.at == len(reader.text):
        line = line_of(reader.text, node.at)
        raise UsageError(f"{reader.source} ends within the node of line {line}; the file is cut off.")
    if reader.text[reader.at] != "}":
        _take(reader, node, reader.field(2))


def _named(reader: Reader, node: Node) -> Node:
    if node.name is None:
        raise reader.wrong("this node has no name", node.at)
    return node


def _filled(reader: Reader, node: Node, message: list[Field]) -> Node:
    for found in message:
        _take(reader, node, found)
    return node


def _take(reader: Reader, node: Node, found: Field) -> None:
    """Put a field of a node into it."""
    _known(reader, found, NODE, "node")
    if found.name == "input":
        for value in found.value if isinstance(found.value, tuple) else (found.value,):
            node.inputs.append(_string(reader, found, value))
    elif found.name == "name":
        if node.name is not None:
            raise reader.wrong("a second name of this node", found.at)
        node.name = _string(reader, found, found.value)
    elif found.name == "attr":
        for message in _messages(reader, found):
            _attribute(reader, node, message, found.at)


def _attribute(reader: Reader, node: Node, message: list[Field], at: int) -> None:
    parts: dict[str, Field] = {}
    for part in message:
        _known(reader, part, ("key", "value"), "attr")
        if part.name in parts:
            raise reader.wrong(f"a second {part.name} of this attr", part.at)
        parts[part.name] = part
    if len(parts) < 2:
        raise reader.wrong("an attr needs a key and a value", at)
    key = _string(reader, parts["key"], parts["key"].value)
    node.again += key in node.attributes
    node.attributes[key] = _scalar(reader, parts["value"])


def _scalar(reader: Reader, found: Field) -> str | None:
    """The text of an attribute's value; None for one that holds a message, or nothing."""
    if not isinstance(found.value, list):
        raise reader.wrong(f"expected '{found.name} {{', got a scalar", found.at)
    if len(found.value) > 1:
        raise reader.wrong("an attr holds one value, this one several", found.value[1].at)
    for part in found.value:
        _known(reader, part, VALUE, "value")
        if part.name in ("f", "i"):
            if not isinstance(part.value, Word) or not _is_number(part.value.text):
                raise reader.wrong(f"expected a number after '{part.name}:'", part.at)
            return part.value.text
        if part.name in ("placeholder", "s"):
            return _string(reader, part, part.value)
        if isinstance(part.value, Word):
            return part.value.text
    return None


def _is_number(text: str) -> bool:
    try:
        number_of(text)
    except ValueError:
        return False
    return True


def _known(reader: Reader, found: Field, names: tuple[str, ...], what: str) -> None:
    if found.name not in names:
        raise reader.wrong(str(unknown(f"field of a {what}", found.name, names)).rstrip("."), found.at)


def _string(reader: Reader, found: Field, value: Value) -> str:
    if not isinstance(value, str):
        raise reader.wrong(f"expected a text in quotes after '{found.name}:'", found.at)
    return value


def _messages(reader: Reader, found: Field) -> list[list[Field]]:
    values = found.value if isinstance(found.value, tuple) else (found.value,)
    for value in values:
        if not isinstance(value, list):
            raise reader.wrong(f"expected '{found.name} {{', got a scalar", found.at)
    return list(values)
