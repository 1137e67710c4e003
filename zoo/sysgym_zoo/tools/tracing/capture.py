"""A module of torch, run once on tensors without data, becomes a dataflow graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from sysgym.core.errors import UsageError, announce, unknown
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym_zoo.tools.tracing.build import GraphBuilder, Heading
from sysgym_zoo.tools.tracing.cost import Timing
from sysgym_zoo.tools.tracing.devices import Sites, site_of
from sysgym_zoo.tools.tracing.layers import labelled, marked, paths_of
from sysgym_zoo.tools.tracing.load import first_line
from sysgym_zoo.tools.tracing.moves import size_of
from sysgym_zoo.tools.tracing.packed import unwrapped
from sysgym_zoo.tools.tracing.quiet import quiet
from sysgym_zoo.tools.tracing.record import Recorder

SHAPES = (fake_tensor.DynamicOutputShapeException, fake_tensor.DataDependentOutputException)
Fakes = dict[str, Any]


def trace_module(module: Any, inputs: Any, heading: Heading, timing: Timing | None = None) -> DataflowGraph:
    """The dataflow graph of one step of a module: forward, and with `heading.train` backward and update too.

    `inputs` are the positional arguments (a tuple or list) or the named ones (a dict); tensors may be on the device
    `meta`. A training step differentiates the output that `heading.loss` names, else the first output of one element,
    or the sum of all outputs where there is none, and moves every parameter that has a gradient; those without are
    announced. UsageError for a module whose operators depend on data.
    """
    module = unwrapped(module)
    builder = GraphBuilder()
    recorder, mode = Recorder(builder), FakeTensorMode(allow_non_fake_inputs=True)
    args, kwargs = arguments_of(inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = state_of(module, mode, recorder)
        args, kwargs = inputs_of((args, kwargs), mode, recorder)
        with quiet(module, heading.train), torch.set_grad_enabled(heading.train), mode, Sites(recorder):
            roots = _run(module, state, args, kwargs, heading, recorder)
    for note in recorder.notes:
        announce(note)
    return builder.finish(heading, roots, timing or Timing())


def _run(module: Any, state: Fakes, args: Any, kwargs: Any, heading: Heading, recorder: Recorder) -> list[int]:
    """Record a step; the tensors it is run for."""
    with recorder:
        with marked(labelled(module), recorder.layers), marked(paths_of(module), recorder.modules):
            out = guarded(lambda: torch.func.functional_call(module, state, args, kwargs), heading.name)
        outputs = outputs_of(out, recorder.notes)
        if not heading.train:
            return [each for tensor in outputs.values() for each in recorder.read(tensor)]
        loss = guarded(lambda: _loss(outputs, heading), heading.name)
        recorder.backward = True
        return [*recorder.read(loss), *_step(loss, state, heading, recorder)]


def _step(loss: Any, state: Fakes, heading: Heading, recorder: Recorder) -> list[int]:
    """Record the backward pass and the updates; the tensors of the gradients."""
    names: dict[int, str] = {}
    for name, tensor in state.items():
        if tensor.requires_grad:
            names.setdefault(id(tensor), name)
    parameters = [state[name] for name in names.values()]
    gradients = guarded(lambda: torch.autograd.grad(loss, parameters, allow_unused=True), heading.name)
    found, left = [], []
    for name, parameter, gradient in zip(names.values(), parameters, gradients, strict=True):
        if gradient is None:
            left.append(name)
            continue
        reads = recorder.read(gradient)
        held = recorder.values[id(parameter)].storage.tensor
        size, rows = size_of(parameter), size_of(gradient) if gradient.layout == torch.sparse_coo else None
        recorder.builder.update(held, reads, size, tuple(parameter.shape), heading.optimizer, rows=rows)
        found += reads
    if left:
        shown = ", ".join(left[:8]) + (f" and {len(left) - 8} more" if len(left) > 8 else "")
        recorder.notes.append(
            f"the loss of {heading.name} does not reach {len(left)} of {len(names)} parameters, which are not trained: "
            f"{shown}; name another output with --loss if they should be."
        )
    return found


def arguments_of(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments."""
    if isinstance(inputs, torch.Tensor):
        return (inputs,), {}
    if isinstance(inputs, dict):
        return (), dict(inputs)
    if isinstance(inputs, tuple | list):
        return tuple(inputs), {}
    raise UsageError(f"example inputs must be a tuple of arguments or a dict of named ones, got {inputs!r}.")


def _fake(tensor: Any, mode: FakeTensorMode) -> Any:
    """A tensor of the same size without data, as if on a CPU."""
    if tensor.layout != torch.strided:
        raise UsageError(f"tensors must be dense, got one of layout {tensor.layout}; trace a dense model instead.")
    with mode:
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="cpu")


def inputs_of(given: Any, mode: FakeTensorMode, recorder: Recorder) -> Any:
    """Arguments with their tensors replaced by such without data; one that is given twice stays one."""
    made: dict[int, Any] = {}

    def replaced(tensor: Any) -> Any:
        if id(tensor) not in made:
            made[id(tensor)] = _fake(tensor, mode)
            recorder.declare(made[id(tensor)], "input")
        return made[id(tensor)]

    return pytree.tree_map_only(torch.Tensor, replaced, given)


def state_of(module: Any, mode: FakeTensorMode, recorder: Recorder) -> Fakes:
    """Parameters and buffers by name, without data; those that are tied share one tensor, and one node."""
    made: dict[int, Any] = {}
    state: Fakes = {}
    for name, tensor in [*module.named_parameters(remove_duplicate=False), *module.named_buffers()]:
        if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
            raise UsageError(f"{name} has no shape yet; run the lazy module once before it is traced.")
        if id(tensor) not in made:
            fake = _fake(tensor, mode)
            fake = nn.Parameter(fake, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake
            recorder.declare(fake, "param", site_of(tensor), name.rpartition(".")[0])
            made[id(tensor)] = fake
        state[name] = made[id(tensor)]
    return state


def outputs_of(out: Any, notes: list[str]) -> dict[str, Any]:
    """The tensors that a module returned, by the path to each; what is no tensor is left out. UsageError if none is."""
    leaves = dict(_leaves(out, ""))
    found = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, torch.Tensor)}
    if not found:
        other = next((leaf for leaf in leaves.values() if leaf is not None), None)
        got = "nothing" if other is None else f"a {type(other).__name__}"
        raise UsageError(f"the module must return tensors, or lists, tuples and dicts of them; it returned {got}.")
    odd = {name: leaf for name, leaf in leaves.items() if hasattr(leaf, "__dict__") and name not in found}
    if odd:
        shown = ", ".join(f"{name} ({type(leaf).__name__})" for name, leaf in odd.items())
        notes.append(f"outputs that are no tensors are left out, with what they may hold: {shown}.")
    return found


def _leaves(out: Any, path: str) -> Iterator[tuple[str, Any]]:
    """What lists, tuples, mappings and data classes hold, with paths such as `1.logits`."""
    rows: Iterable[tuple[Any, Any]]
    if isinstance(out, torch.Tensor):
        rows = ()
    elif isinstance(out, Mapping):
        rows = out.items()
    elif isinstance(out, tuple) and hasattr(out, "_fields"):
        rows = zip(out._fields, out, strict=True)
    elif isinstance(out, list | tuple):
        rows = enumerate(out)
    elif is_dataclass(out) and not isinstance(out, type):
        rows = ((each.name, getattr(out, each.name)) for each in fields(out))
    else:
        rows = ()
    rows = list(rows)
    if not rows and not isinstance(out, list | tuple | Mapping):
        yield path or "0", out
    for key, value in rows:
        yield from _leaves(value, f"{path}.{key}" if path else str(key))


def _loss(outputs: dict[str, Any], heading: Heading) -> Any:
    """What a training step differentiates."""
    if heading.loss is not None and heading.loss not in outputs:
        raise unknown(f"output of {heading.name}", heading.loss, outputs)
    chosen = outputs if heading.loss is None else {heading.loss: outputs[heading.loss]}
    numbers = [tensor for tensor in chosen.values() if tensor.is_floating_point() or tensor.is_complex()]
    if not numbers:
        raise UsageError("a module to train must return a loss or other numbers; it returned whole numbers only.")
    single = next((tensor for tensor in numbers if tensor.numel() == 1), None)
    if single is not None:
        loss = single.reshape(())
    else:
        numbers = [tensor.abs() if tensor.is_complex() else tensor for tensor in numbers]
        loss = sum((tensor.sum() for tensor in numbers[1:]), numbers[0].sum())
    if not loss.requires_grad:
        raise UsageError(f"{heading.name} cannot be trained: its output depends on no parameter.")
    return loss


def guarded(run: Callable[[], Any], name: str) -> Any:
    """What `run` returns; UsageError in one sentence for whatever the module or torch raises."""
    try:
        return run()
    except UsageError:
        raise
    except SHAPES as error:
        raise UsageError(
            f"{name} does something that depends on the values of tensors ({error}); a graph needs fixed shapes and "
            "branches, so take out .item(), nonzero, boolean masks, slices by tensors, tests of tensors and statically "
            "quantised layers (torch.ao.quantization.convert)."
        ) from error
    except fake_tensor.UnsupportedOperatorException as error:
        raise UsageError(f"{name} uses {error}, which torch cannot run without data; replace it.") from error
    except Exception as error:  # the module is the user's and may raise anything
        raise UsageError(f"{name} failed on its example inputs: {first_line(error)}.") from error
