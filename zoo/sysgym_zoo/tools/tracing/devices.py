"""Models that their author split over devices by hand: tensors stay where they are, and it is noted where they went."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from sysgym_zoo.tools.tracing.build import UNKNOWN

HERE = ("cpu", "meta")
CPU = torch.device("cpu")


def site_of(tensor: Any) -> int:
    """Number of the accelerator that a tensor lies on; UNKNOWN for other memory."""
    return _number(tensor.device)


def _number(device: Any) -> int:
    """Number of an accelerator, however it is named; UNKNOWN for a CPU."""
    if isinstance(device, int) and not isinstance(device, bool):
        return device
    found = torch.device(device) if isinstance(device, str) else device
    return UNKNOWN if found.type in HERE else found.index or 0


def _is_device(value: Any) -> bool:
    """Whether an argument of `to` names a device."""
    if isinstance(value, str | torch.device):
        return True
    return isinstance(value, int) and not isinstance(value, bool)


def _here(device: Any) -> Any:
    """The device of torch that stands for a device."""
    return device if isinstance(device, torch.device | str) and torch.device(device).type in HERE else CPU


class Sites(TorchFunctionMode):
    """While it is active, no tensor leaves the CPU. With a recorder, moves to accelerators become views of their tensor
    that are known to be there; without one, as while a model is built, they are left out.
    """

    def __init__(self, recorder: Any = None) -> None:
        """Note the moves in a recorder."""
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        name, kwargs = getattr(func, "__name__", ""), dict(kwargs or {})
        if args and isinstance(args[0], torch.Tensor):
            if name == "cuda":
                return self._moved(args[0], _number(args[1] if len(args) > 1 else kwargs.get("device") or 0))
            if name == "to":
                return self._to(func, args, kwargs)
        if kwargs.get("device") is not None and _is_device(kwargs["device"]):
            kwargs["device"] = _here(kwargs["device"])
        return func(*args, **kwargs)

    def _to(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """`tensor.to(...)`, whose device, if any, is left out."""
        tensor, *rest = args
        if rest and (rest[0] is None or _is_device(rest[0])):  # to(device, dtype, non_blocking, copy), as modules do
            kwargs |= dict(zip(("device", "dtype", "non_blocking", "copy"), rest, strict=False))
            rest = []
        device = kwargs.pop("device", None)
        if device is None:
            return func(tensor, *rest, **kwargs)
        kwargs = {key: value for key, value in kwargs.items() if value is not None}
        if rest or "dtype" in kwargs or kwargs.get("copy") or "memory_format" in kwargs:
            tensor = func(tensor, *rest, **kwargs)
        return self._moved(tensor, _number(device))

    def _moved(self, tensor: Any, site: int) -> Any:
        """A view of a tensor that is known to be on a device."""
        if self.recorder is None:
            return tensor
        found = tensor.view_as(tensor)
        self.recorder.move(found, site)
        return found
