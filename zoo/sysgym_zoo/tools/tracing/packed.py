"""What is wrapped or packed: modules inside others, and weights inside objects that are no tensors."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from sysgym.core.errors import UsageError

UNPACK = ("linear_unpack", "conv1d_unpack", "conv2d_unpack", "conv3d_unpack", "linear_unpack_fp16")


def weights_of(op: str, packed: Any) -> list[Any]:
    """The tensors of packed weights, as they lie in memory; UsageError for objects that hold none one can read."""
    with _disable_current_modes():
        for name in UNPACK:
            with suppress(RuntimeError, TypeError, ValueError):
                found = getattr(torch.ops.quantized, name)(packed)
                return [tensor for tensor in found if isinstance(tensor, torch.Tensor)]
    raise UsageError(f"{op} holds packed weights that cannot be read; pass the module before its weights are packed.")


def unwrapped(module: Any) -> Any:
    """The module inside wrappers that do not change what it computes; UsageError for those one cannot look into."""
    while True:
        inner = module.module if isinstance(module, WRAPPERS) else getattr(module, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            break
        module = inner
    if hasattr(torch, "export") and isinstance(module, torch.export.ExportedProgram):
        module = module.module()
    if not isinstance(module, nn.Module):
        raise UsageError(f"expected a torch.nn.Module to trace, got {type(module).__name__}.")
    for name, each in module.named_modules():
        if isinstance(each, torch.jit.ScriptModule):
            what = f"its part {name!r}" if name else "the module"
            raise UsageError(
                f"{what} is scripted or traced by torch.jit, so its operators cannot be recorded; pass the module as "
                "it was before torch.jit.script or torch.jit.trace."
            )
        if type(each).__name__ in SHARDED:
            raise UsageError(f"{type(each).__name__} spreads a module over processes; pass the module inside it.")
    return module


WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
SHARDED = ("FullyShardedDataParallel", "Pipe", "DeepSpeedEngine", "PipelineStage")
