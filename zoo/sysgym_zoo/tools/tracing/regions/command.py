"""`sysgym trace --regions`: a model becomes a file of the format `sysgym.workload/1`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sysgym.accelerator_design.instance import KINDS, Workloads
from sysgym.accelerator_design.workloads.files import format_workload
from sysgym.core.errors import UsageError
from sysgym_zoo.tools.tracing.command import check_output, default_name
from sysgym_zoo.tools.tracing.load import apart
from sysgym_zoo.tools.tracing.onnx_model.sizes import parse_sizes

SOURCE = "traced with sysgym: operators of PyTorch or ONNX without data, fused into regions"


def trace_workload(
    target: str, output: Path, pairs: Sequence[str] = (), name: str | None = None, sizes: Sequence[str] = ()
) -> dict[str, Any]:
    """Write the workload of `module:function` or of an ONNX file; what it holds."""
    check_output(output)
    with apart():
        work = _traced(target, name or default_name(target), pairs, sizes)
    try:
        output.write_bytes(format_workload(work, SOURCE))
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}.") from error
    kinds = {kind: int((work.kind == i).sum()) for i, kind in enumerate(KINDS)}
    return {
        "name": work.name, "regions": len(work.kind), "kinds": {kind: n for kind, n in kinds.items() if n},
        "macs": int(work.macs.sum()), "vector_ops": int(work.vec_ops.sum()), "weights": int(work.weights.sum()),
        "params": work.params[0], "output": str(output),
    }  # fmt: skip


def _traced(target: str, name: str, pairs: Sequence[str], sizes: Sequence[str]) -> Workloads:
    """The workload of whichever kind of model it is."""
    if target.endswith(".onnx"):
        if pairs:
            raise UsageError("an ONNX file holds one forward pass with fixed sizes; leave out --arg.")
        from sysgym_zoo.tools.tracing.regions.build import workload_of_onnx

        return workload_of_onnx(Path(target), name, parse_sizes(sizes))
    if sizes:
        raise UsageError("--size is for the free sizes of ONNX files; give arguments of a function with --arg.")
    from sysgym_zoo.tools.tracing.load import build_model, current_folder
    from sysgym_zoo.tools.tracing.regions.build import workload_of

    with current_folder():
        module, inputs, _ = build_model(target, pairs)
        return workload_of(module, inputs, name)


def tell_workload(found: dict[str, Any], as_json: bool) -> None:
    """Print what a workload holds."""
    from sysgym_zoo.jobs.console import number, show_json, tell

    if as_json:
        show_json("trace", found)
        return
    tell(found["output"])
    kinds = ", ".join(f"{count} {kind}" for kind, count in found["kinds"].items())
    tell(f"  {'regions':12} {number(found['regions'])} ({kinds})")
    for key in ("macs", "vector_ops", "weights", "params"):
        tell(f"  {key:12} {number(found[key])}")
