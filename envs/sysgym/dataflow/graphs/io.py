"""Reader and writer of dataflow graphs: JSON of the format `sysgym.dataflow/1`, gzipped or not.

Required: `format`, `name`, `op_types`, `nodes` (arrays `op`, `time_ns`), `tensors` (`src`, `bytes`), `edges` (`tensor`,
`dst`). The rest has a meaning when absent: one device, class 0 (never fused), no flops, traffic or parameters, layer
and phase 0, no co-location, times of a `machine` like a P100. `nodes.module` are rows of `modules`, the paths of the
modules of the model that run or own the operators. Keys and columns of other names are refused.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.data import decompress, read_file
from sysgym.core.errors import UsageError, reading, shortened, unknown
from sysgym.core.problem import Array
from sysgym.core.solutions import parse_json
from sysgym.dataflow.graphs.graph import OPTIONAL, DataflowGraph, check_graph
from sysgym.dataflow.graphs.roofline import Roofline

FORMAT = "sysgym.dataflow/1"
TYPES = {
    "op": np.int32, "time_ns": np.int64, "flops": np.int64, "bytes": np.int64, "param_bytes": np.int64,
    "layer": np.int32, "phase": np.int8, "coloc": np.int32, "time_cpu_ns": np.int64, "human_expert": np.int32,
    "module": np.int32,
}  # fmt: skip
COLUMNS = {"nodes": tuple(TYPES), "tensors": ("src", "bytes"), "edges": ("tensor", "dst")}
TEXTS = ("name", "family", "task", "config", "source", "license", "time_model", "notes")
COUNTS = {"num_nodes": "nodes", "num_tensors": "tensors", "num_edges": "edges"}
KEYS = ("format", *TEXTS, "devices", "machine", *COUNTS, "op_types", "op_class", "modules", *COLUMNS)


def parse_graph(name: str, data: bytes, label: str | None = None) -> DataflowGraph:
    """A graph from the content of a file; UsageError with what is wrong. `label` is the name it gets."""
    content = decompress(name, data)
    with reading(name):
        return _graph(name, parse_json(content), label)


def _graph(name: str, found: Any, label: str | None) -> DataflowGraph:
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        what = found.get("format") if isinstance(found, dict) else type(found).__name__
        raise UsageError(f"{name} must be an object with format {FORMAT!r}, got {what!r}; `sysgym trace` writes one.")
    for key in found:
        if key not in KEYS:
            raise unknown(f"key of {name}", key, KEYS)
    nodes, tensors, edges = (_table(name, found, key) for key in COLUMNS)
    op_types = _names(name, "op_types", found.get("op_types"))
    if not op_types:
        raise UsageError(f"{name}: op_types must be a list of names.")
    count = len(nodes["op"]) if isinstance(nodes.get("op"), list) else 0
    columns = {}
    for key, kind in TYPES.items():
        if key in nodes or key in ("op", "time_ns"):
            columns[key] = _integers(name, f"nodes.{key}", nodes.get(key), kind)
        else:
            columns[key] = np.full(0 if key in OPTIONAL else count, -1 if key == "coloc" else 0, kind)
    devices = found.get("devices", 1)
    if isinstance(devices, bool) or not isinstance(devices, int) or not 1 <= devices <= 64:
        raise UsageError(f"{name}: devices must be a whole number from 1 to 64, got {devices!r}.")
    graph = DataflowGraph(
        name=label or str(found.get("name", name)), devices=devices, op_types=op_types,
        op_class=_integers(name, "op_class", found.get("op_class", [0] * len(op_types)), np.int8),
        op=columns["op"], time_ns=columns["time_ns"], flops=columns["flops"], traffic=columns["bytes"],
        param_bytes=columns["param_bytes"], layer=columns["layer"], phase=columns["phase"], coloc=columns["coloc"],
        tensor_src=_integers(name, "tensors.src", tensors.get("src"), np.int32),
        tensor_bytes=_integers(name, "tensors.bytes", tensors.get("bytes"), np.int64),
        edge_tensor=_integers(name, "edges.tensor", edges.get("tensor"), np.int32),
        edge_dst=_integers(name, "edges.dst", edges.get("dst"), np.int32),
        time_cpu_ns=columns["time_cpu_ns"], human_expert=columns["human_expert"],
        **{key: _word(name, found, key) for key in ("family", "task", "config", "source", "time_model")},
        modules=_names(name, "modules", found.get("modules", [])), module=columns["module"],
        licence=_word(name, found, "license"), machine=_machine(name, found.get("machine", {})),
    )  # fmt: skip
    check_graph(graph)
    for key, what in COUNTS.items():
        if found.get(key, getattr(graph, what)) != getattr(graph, what):
            raise UsageError(f"{name}: {key} says {found[key]!r}, but {what} holds {getattr(graph, what)}; correct it.")
    return graph


def _names(name: str, key: str, values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise UsageError(f"{name}: {key} must be a list of names.")
    return tuple(values)


def _word(name: str, found: dict[str, Any], key: str) -> str:
    value = found.get(key, "")
    if not isinstance(value, str):
        raise UsageError(f"{name}: {key} must be a text, got {type(value).__name__}.")
    return value


def _machine(name: str, found: Any) -> Roofline:
    """The machine that the times are of; the reference device where the file says nothing."""
    keys = [item.name for item in fields(Roofline)]
    if not isinstance(found, dict):
        raise UsageError(f"{name}: machine must be an object of numbers such as peak_flops, got {found!r:.40}.")
    for key, value in found.items():
        if key not in keys:
            raise unknown(f"key of the machine of {name}", key, keys)
        kinds = (int,) if key == "launch_ns" else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise UsageError(f"{name}: {key} of the machine must be a number, got {value!r:.40}.")
    return Roofline(**found)


def read_graph(path: Path, label: str | None = None) -> DataflowGraph:
    """A graph from a file; UsageError if there is none or it is malformed."""
    return parse_graph(str(path), read_file(path), label or str(path))


def format_graph(graph: DataflowGraph) -> bytes:
    """The graph as gzipped JSON; the same graph gives the same bytes."""
    nodes = {key: getattr(graph, "traffic" if key == "bytes" else key).tolist() for key in TYPES}
    content = {
        "format": FORMAT, "name": graph.name, "family": graph.family, "task": graph.task, "config": graph.config,
        "source": graph.source, "license": graph.licence, "devices": graph.devices, "time_model": graph.time_model,
        **({} if graph.machine == Roofline() else {"machine": asdict(graph.machine)}),
        "num_nodes": graph.nodes, "num_tensors": graph.tensors, "num_edges": graph.edges,
        "op_types": list(graph.op_types), "op_class": graph.op_class.tolist(),
        **({"modules": list(graph.modules)} if graph.modules else {}),
        "nodes": {key: value for key, value in nodes.items() if value or key not in OPTIONAL},
        "tensors": {"src": graph.tensor_src.tolist(), "bytes": graph.tensor_bytes.tolist()},
        "edges": {"tensor": graph.edge_tensor.tolist(), "dst": graph.edge_dst.tolist()},
    }  # fmt: skip
    return gzip.compress((json.dumps(content, separators=(",", ":")) + "\n").encode(), 9, mtime=0)


def _table(name: str, found: dict[str, Any], key: str) -> dict[str, Any]:
    table = found.get(key)
    if not isinstance(table, dict):
        raise UsageError(f"{name}: {key!r} must be an object of arrays, got {type(table).__name__}.")
    for column in table:
        if column not in COLUMNS[key]:
            raise unknown(f"column of {key} in {name}", column, COLUMNS[key])
    return table


def _integers(name: str, key: str, values: Any, kind: Any) -> Array:
    """A list of whole numbers as an array of a type it fits in."""
    if not isinstance(values, list):
        raise UsageError(f"{name}: {key} must be a list of whole numbers, got {type(values).__name__}.")
    limits = np.iinfo(kind)
    for i, value in enumerate(values):
        if type(value) is not int or not limits.min <= value <= limits.max:
            raise UsageError(
                f"{name}: {key} must hold whole numbers from {limits.min} to {limits.max} only, but entry {i} is "
                f"{shortened(json.dumps(value), 40)}."
            )
    return np.array(values, kind)
