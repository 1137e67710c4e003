"""From an ONNX file to a flat model whose tensors have shapes: functions spelt out, constants among the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sysgym.core.errors import MissingDependency, UsageError
from sysgym_zoo.tools.tracing.onnx_model.sizes import fix_sizes, infer, without_values

DOMAINS = {"ai.onnx": ""}


def load(path: Path, sizes: Mapping[str, int]) -> Any:
    """The model of a file with the shapes of all its tensors inferred, its functions spelt out."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingDependency("reading ONNX files needs onnx: pip install 'sysgym[onnx]'.") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except DecodeError as error:
        raise UsageError(f"{path} is no ONNX file: {error}.") from error
    if not model.graph.node:
        raise UsageError(f"{path} is no ONNX model with operators; export one with torch.onnx.export or the like.")
    if model.functions:
        model = _inlined(path, model)
    for node in model.graph.node:
        node.domain = DOMAINS.get(node.domain, node.domain)
    _hoist(path, model.graph)
    fix_sizes(path, model, sizes)
    without_values(model)
    return infer(model, path)


def _inlined(path: Path, model: Any) -> Any:
    """The model with the bodies of its functions in their places."""
    import onnx.inliner

    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:  # its checker raises several kinds, none of them public
        line = (str(error).strip().splitlines() or ["?"])[0]
        raise UsageError(f"the functions of {path} cannot be put in their places: {line}") from error


def _hoist(path: Path, graph: Any) -> None:
    """Turn constants into initialisers, which they are by another name."""
    import onnx

    kept = []
    for node in graph.node:
        if node.op_type != "Constant" or node.domain or not node.output:
            kept.append(node)
            continue
        given: dict[str, Any] = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        key, value = next(iter(given.items()), ("", None))
        name = node.output[0]
        if key == "value":
            graph.initializer.add().CopyFrom(value)
            graph.initializer[-1].name = name
        elif key == "sparse_value":
            graph.sparse_initializer.add().CopyFrom(value)
            graph.sparse_initializer[-1].values.name = name
        elif key in SCALARS:
            shape = [len(list(value or ()))] if key.endswith("s") else []
            graph.initializer.append(onnx.helper.make_tensor(name, SCALARS[key], shape, value if shape else [value]))
        else:
            raise UsageError(f"{path}: constant {name!r} has no value.")
    del graph.node[:]
    graph.node.extend(kept)


SCALARS = {"value_float": 1, "value_floats": 1, "value_int": 7, "value_ints": 7, "value_string": 8, "value_strings": 8}
