"""`sysgym trace`: a model becomes a file of the format `sysgym.dataflow/1`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError, announce, unknown
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.graphs.io import format_graph
from sysgym.dataflow.graphs.roofline import Roofline
from sysgym_zoo.tools.tracing.build import Heading
from sysgym_zoo.tools.tracing.cost import Timing, read_profile, read_times
from sysgym_zoo.tools.tracing.load import apart
from sysgym_zoo.tools.tracing.onnx_model.sizes import parse_sizes
from sysgym_zoo.tools.tracing.ops import LEAVES, UPDATES

SOURCE = "traced with sysgym: operators of PyTorch without data; views folded into their producer"
MOST_DEVICES = 64


@dataclass(frozen=True)
class Measured:
    """Files with times that replace those of the roofline; overrides come before a profile."""

    times: Path | None = None
    profile: Path | None = None

    def read(self) -> tuple[dict[str, int], dict[str, int]]:
        """Nanoseconds by operator: of the overrides, and of the profile."""
        return (
            {} if self.times is None else read_times(self.times),
            {} if self.profile is None else read_profile(self.profile),
        )


def trace(
    target: str, output: Path, *, train: bool = False, pairs: Sequence[str] = (), name: str | None = None,
    devices: int = 2, measured: Measured | None = None, roofline: Roofline | None = None, optimizer: str = "sgd",
    loss: str | None = None, sizes: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Write the graph of `module:function` or of an ONNX file; what it holds, and how many operators have own times."""
    check_output(output)
    if optimizer not in UPDATES:
        raise unknown("optimizer", optimizer, UPDATES)
    if not train and (optimizer != "sgd" or loss is not None):
        raise UsageError("--optimizer and --loss are of a training step; add --train, or leave them out.")
    if not 1 <= devices <= MOST_DEVICES:
        raise UsageError(f"--devices must be a whole number from 1 to {MOST_DEVICES}, got {devices}.")
    times, profile = (measured or Measured()).read()
    timing = Timing(roofline or Roofline(), {**profile, **times})
    heading = Heading(name or default_name(target), devices, train, source=SOURCE, optimizer=optimizer, loss=loss)
    with apart():
        graph = _trace(target, heading, timing, pairs, sizes)
    if graph.devices > devices:
        announce(
            f"{target} uses {graph.devices} devices of its own, so the graph is meant for that many, not {devices}."
        )
    used = {op for op in graph.op_types if op in timing.measured}
    timing = Timing(timing.roofline, {op: timing.measured[op] for op in used})
    graph = replace(graph, time_model=timing.label, machine=timing.roofline)
    try:
        output.write_bytes(format_graph(graph))
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}.") from error
    return summary(graph, output, used, sorted(set(times) - set(graph.op_types)))


def _trace(target: str, heading: Heading, timing: Timing, pairs: Sequence[str], sizes: Sequence[str]) -> DataflowGraph:
    """The graph of whichever kind of model it is."""
    if target.endswith(".onnx"):
        if heading.train or pairs:
            option = "--train" if heading.train else "--arg"
            raise UsageError(f"an ONNX file holds one forward pass with fixed sizes; leave out {option}.")
        from sysgym_zoo.tools.tracing.onnx_file import trace_onnx

        return trace_onnx(Path(target), heading, timing, parse_sizes(sizes))
    if sizes:
        raise UsageError("--size is for the free sizes of ONNX files; give arguments of a function with --arg.")
    from sysgym_zoo.tools.tracing.capture import trace_module
    from sysgym_zoo.tools.tracing.load import build_model, current_folder

    with current_folder():
        module, inputs, arguments = build_model(target, pairs)
        config = " ".join(f"{key}={value}" for key, value in arguments.items())
        return trace_module(
            module, inputs, replace(heading, config=config, family=target.partition(":")[2]), timing
        )  # fmt: skip


def check_output(output: Path) -> None:
    """UsageError unless a graph can be written there."""
    if not output.name.endswith((".json", ".json.gz")):
        raise UsageError(f"cannot write {output}: use a name that ends in .json.gz.")
    if not output.parent.is_dir():
        raise UsageError(f"cannot write {output}: the folder {output.parent} does not exist.")


def default_name(target: str) -> str:
    """The function, or the file without its ending."""
    return Path(target).stem if target.endswith(".onnx") else target.partition(":")[2] or target


def summary(graph: DataflowGraph, output: Path, used: set[str], unused: list[str]) -> dict[str, Any]:
    """What a graph holds: counts, nanoseconds, flops, bytes, and the operators with times of their own."""
    run = [op for op in graph.op_types if op not in LEAVES]
    held, states = int(graph.param_bytes.sum()), np.array([op == "state" for op in graph.op_types])[graph.op]
    state = int(graph.param_bytes[states].sum())
    rows = np.isin(graph.op, [graph.op_types.index(op) for op in used])
    return {
        "name": graph.name, "task": graph.task, "nodes": graph.nodes, "tensors": graph.tensors, "edges": graph.edges,
        "layers": int(graph.layer.max()) + 1, "devices": graph.devices, "total_time_ns": graph.total_ns,
        "flops": int(graph.flops.sum()), "param_bytes": held - state, "state_bytes": state, "operators": len(run),
        "operators_measured": len(used), "nodes_measured": int(rows.sum()), "times_unused": unused,
        "time_model": graph.time_model, "output": str(output),
    }  # fmt: skip
