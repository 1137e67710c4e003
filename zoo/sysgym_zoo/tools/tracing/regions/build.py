"""A model of one's own as a workload."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sysgym.accelerator_design.instance import Workloads
from sysgym_zoo.tools.tracing.regions.products import workload_from


def workload_of(module: Any, inputs: Any, name: str = "model") -> Workloads:
    """The workload of a torch module: regions with counts of one item of the batch.

    `inputs` are the example's positional arguments (a tuple or list) or the named ones (a dict); the first axis of each
    tensor is the batch, whose size does not matter. Tensors and parameters may be on the device `meta`: the module runs
    without data. Vector operations are those of the problem's table; operators that it lacks count by rules of our own
    and are announced, others that have no place in a region raise a UsageError with the operator and its layer.
    """
    from sysgym_zoo.tools.tracing.regions.torch_tape import tape_of

    return workload_from(tape_of(module, inputs, name))


def workload_of_onnx(path: Path, name: str, sizes: Mapping[str, int] | None = None) -> Workloads:
    """The workload of an ONNX file, whose free sizes `sizes` gives; as `workload_of` in all else."""
    from sysgym_zoo.tools.tracing.regions.onnx_tape import tape_of_onnx

    return workload_from(tape_of_onnx(path, name, sizes or {}))
