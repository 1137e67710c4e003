"""`sysgym trace`: a model of your own becomes a dataflow graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sysgym_zoo.cli.app import AsJson


def trace(
    model: Annotated[str, typer.Argument(help="module:function that returns (torch module, inputs), or a file .onnx.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Graph or workload to write, .json.gz or .json.")],
    regions: Annotated[
        bool, typer.Option("--regions", help="A workload of an accelerator, by regions of an item of the batch.")
    ] = False,
    train: Annotated[bool, typer.Option("--train", help="A training step: forward, backward and update.")] = False,
    argument: Annotated[
        list[str] | None, typer.Option("--arg", help="Argument of the function, key=value; repeatable.")
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="Of a training step: sgd, momentum or adam, which hold 0, 1 or 2 values a parameter.")
    ] = "sgd",
    loss: Annotated[
        str | None,
        typer.Option(help="Output to train, a path such as loss or 1.logits; default: the first number."),
    ] = None,
    size: Annotated[list[str] | None, typer.Option(help="Free size of an ONNX file, such as N=1; repeatable.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the graph; default: the function or file.")] = None,
    devices: Annotated[int, typer.Option(help="Devices that the graph is meant for, 1 to 64.")] = 2,
    times: Annotated[Path | None, typer.Option(help='JSON of nanoseconds by operator: {"addmm": 41000}.')] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Chrome trace of torch.profiler; its mean times replace those it names.")
    ] = None,
    peak_tflops: Annotated[float, typer.Option(help="Peak of the device, 1e12 flop/s.")] = 9.3,
    bandwidth: Annotated[float, typer.Option(help="Memory bandwidth of the device, 1e9 bytes/s.")] = 732.0,
    compute_efficiency: Annotated[float, typer.Option(help="Part of the peak that operators reach.")] = 0.6,
    memory_efficiency: Annotated[float, typer.Option(help="Part of the bandwidth that operators reach.")] = 0.75,
    launch: Annotated[int, typer.Option(help="Nanoseconds to start an operator.")] = 5000,
    as_json: AsJson = False,
) -> None:
    """Turn a model of your own into a graph for dataflow problems. It runs once, without data or weights.

    Times are those of a P100 by its peak and bandwidth, unless --times or --profile say otherwise. With --regions it
    becomes a workload of an accelerator, without times; the first axis of every input must be the batch.
    """
    if regions:
        from sysgym.core.errors import UsageError
        from sysgym_zoo.tools.tracing.regions.command import tell_workload, trace_workload

        timed = (devices, peak_tflops, bandwidth, compute_efficiency, memory_efficiency, launch)
        if train or times or profile or loss or optimizer != "sgd" or timed != (2, 9.3, 732.0, 0.6, 0.75, 5000):
            raise UsageError(
                "--regions has no training step, devices or times; leave out --train, --optimizer, --loss, --devices, "
                "--times, --profile, --launch and what describes a device."
            )
        tell_workload(trace_workload(model, output, argument or (), name, size or ()), as_json)
        return
    from sysgym.dataflow.graphs.roofline import Roofline
    from sysgym_zoo.jobs.console import number, show_json, tell
    from sysgym_zoo.tools.tracing.command import Measured
    from sysgym_zoo.tools.tracing.command import trace as run

    roofline = Roofline(peak_tflops * 1e12, bandwidth * 1e9, compute_efficiency, memory_efficiency, launch)
    found = run(
        model, output, train=train, pairs=argument or (), name=name, devices=devices,
        measured=Measured(times, profile), roofline=roofline,
        optimizer=optimizer, loss=loss, sizes=size or (),
    )  # fmt: skip
    if as_json:
        show_json("trace", found)
        return
    tell(found["output"])
    for key in ("nodes", "tensors", "edges", "layers"):
        tell(f"  {key:12} {number(found[key])}")
    tell(f"  {'time':12} {found['total_time_ns'] / 1e6:.3f} ms on one device ({found['time_model']})")
    tell(f"  {'flops':12} {found['flops'] / 1e9:.3f} G")
    tell(f"  {'parameters':12} {found['param_bytes'] / 1e6:.3f} MB")
    if found["state_bytes"]:
        tell(f"  {'optimizer':12} {found['state_bytes'] / 1e6:.3f} MB")
    if times is not None or profile is not None:
        shown = f"{found['operators_measured']} of {found['operators']} operators, {found['nodes_measured']} nodes"
        tell(f"  {'own times':12} {shown}")
    if found["times_unused"]:
        tell(f"  {'not in graph':12} {', '.join(found['times_unused'])}")
