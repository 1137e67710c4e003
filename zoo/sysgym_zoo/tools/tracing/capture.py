"""A module of torch, run once on tensors without data, becomes a dataflow graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from sysgym.core.errors import UsageError
from sysgym.dataflow.graphs.graph import UPDATE, DataflowGraph
from sysgym_zoo.tools.tracing.build import GraphBuilder, Heading
from sysgym_zoo.tools.tracing.cost import Timing
from sysgym_zoo.tools.tracing.layers import marked
from sysgym_zoo.tools.tracing.load import first_line
from sysgym_zoo.tools.tracing.quiet import quiet
from sysgym_zoo.tools.tracing.record import Recorder, size_of

SHAPES = (fake_tensor.DynamicOutputShapeException, fake_tensor.DataDependentOutputException)
Fakes = dict[str, Any]


def trace_module(module: Any, inputs: Any, heading: Heading, timing: Timing | None = None) -> DataflowGraph:
    """The dataflow graph of one step of a module: forward, and with `heading.train` backward and update too.

    `inputs` are the positional arguments (a tuple or list) or the named ones (a dict); tensors may be on the device
    `meta`. A training step differentiates the first output of one element, or the sum of all outputs where there is
    none, and moves every parameter that has a gradient. UsageError for a module whose operators depend on data.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(f"expected a torch.nn.Module to trace, got {type(module).__name__}.")
    builder = GraphBuilder()
    recorder, mode = Recorder(builder), FakeTensorMode(allow_non_fake_inputs=True)
    args, kwargs = _arguments(inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = _state(module, mode, recorder)
        args, kwargs = pytree.tree_map_only(torch.Tensor, lambda x: _input(x, mode, recorder), (args, kwargs))
        with quiet(module, heading.train), torch.set_grad_enabled(heading.train), mode:
            roots = _run(module, state, args, kwargs, heading, recorder)
    return builder.finish(heading, roots, timing or Timing())


def _run(module: Any, state: Fakes, args: Any, kwargs: Any, heading: Heading, recorder: Recorder) -> list[int]:
    """Record a step; the tensors it is run for."""
    with recorder:
        with marked(module, recorder.layers):
            out = _guarded(lambda: torch.func.functional_call(module, state, args, kwargs), heading.name)
        outputs = _outputs(out)
        if not heading.train:
            return [recorder.read(tensor) for tensor in outputs]
        loss = _guarded(lambda: _loss(outputs), heading.name)
        if not loss.requires_grad:
            raise UsageError(f"{heading.name} cannot be trained: its output depends on no parameter.")
        recorder.backward = True
        wanted = {id(tensor): tensor for tensor in state.values() if tensor.requires_grad}
        parameters = list(wanted.values())
        gradients = _guarded(lambda: torch.autograd.grad(loss, parameters, allow_unused=True), heading.name)
        roots = [recorder.read(loss)]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                found = recorder.values[id(parameter)].tensor, recorder.read(gradient)
                recorder.builder.update(*found, size_of(parameter), tuple(parameter.shape), UPDATE)
        return roots


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
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


def _input(tensor: Any, mode: FakeTensorMode, recorder: Recorder) -> Any:
    found = _fake(tensor, mode)
    recorder.declare(found, "input")
    return found


def _state(module: Any, mode: FakeTensorMode, recorder: Recorder) -> Fakes:
    """Parameters and buffers by name, without data; those that are tied share one tensor, and one node."""
    made: dict[int, Any] = {}
    state: Fakes = {}
    for name, tensor in [*module.named_parameters(remove_duplicate=False), *module.named_buffers()]:
        if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
            raise UsageError(f"{name} has no shape yet; run the lazy module once before it is traced.")
        if id(tensor) not in made:
            fake = _fake(tensor, mode)
            fake = nn.Parameter(fake, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake
            recorder.declare(fake, "param")
            made[id(tensor)] = fake
        state[name] = made[id(tensor)]
    return state


def _outputs(out: Any) -> list[Any]:
    """The tensors that a module returned; UsageError if there is anything else."""
    leaves = [leaf for leaf in pytree.tree_leaves(out) if leaf is not None]
    other = next((leaf for leaf in leaves if not isinstance(leaf, torch.Tensor)), None)
    if other is not None or not leaves:
        got = "nothing" if other is None else f"a {type(other).__name__}"
        raise UsageError(f"the module must return tensors, or lists, tuples and dicts of them; it returned {got}.")
    return leaves


def _loss(outputs: list[Any]) -> Any:
    """What a training step differentiates."""
    numbers = [tensor for tensor in outputs if tensor.is_floating_point()]
    single = next((tensor for tensor in numbers if tensor.numel() == 1), None)
    if single is not None:
        return single.reshape(())
    if not numbers:
        raise UsageError("a module to train must return a loss or other numbers; it returned whole numbers only.")
    return sum((tensor.sum() for tensor in numbers[1:]), numbers[0].sum())


def _guarded(run: Callable[[], Any], name: str) -> Any:
    """What `run` returns; UsageError in one sentence for whatever the module or torch raises."""
    try:
        return run()
    except UsageError:
        raise
    except SHAPES as error:
        raise UsageError(
            f"{name} does something that depends on the values of tensors ({error}); a graph needs fixed shapes "
            "and branches, so take out .item(), nonzero, boolean masks and tests of tensors."
        ) from error
    except fake_tensor.UnsupportedOperatorException as error:
        raise UsageError(f"{name} uses {error}, which torch cannot run without data; replace it.") from error
    except Exception as error:  # the module is the user's and may raise anything
        raise UsageError(f"{name} failed on its example inputs: {first_line(error)}.") from error
