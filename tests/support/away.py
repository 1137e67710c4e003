"""A device that is not there: tensors on it hold their numbers in the CPU's memory but say that they are elsewhere.

What CUDA would refuse is refused here: operations on tensors of two devices (but for single numbers), `numpy()`, and
besides indices that are elsewhere than what they look up, and draws: they are to be made on the CPU, so that both take
the same course.
The kernels are the CPU's, so that a training there is to give the numbers that it gives here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

AWAY = torch.device("lazy", 0)  # a name that torch knows without a machine behind it
LOOKS_UP = ("aten::index.Tensor", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_")

CALLS = [0]  # operations on the device so far
LIBRARY = ("aten::randn_like",)  # sb3-contrib's TRPO draws where its conjugate gradients begin, near 0


class Elsewhere(RuntimeError):
    """What CUDA would refuse."""


class Away(torch.Tensor):
    """A tensor whose numbers are `held`."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Away:
        """Says that a tensor is on the device."""
        assert not isinstance(held, Away)
        laid_out: dict[str, Any] = {}
        if held.layout is torch.strided:
            laid_out = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        make: Any = torch.Tensor._make_wrapper_subclass  # type: ignore[attr-defined]
        found = make(cls, held.shape, dtype=held.dtype, device="meta", dispatch_device=True, **laid_out)
        found.held = held
        made: Away = found
        return made

    @property
    def data(self) -> torch.Tensor:
        """As every tensor's; what is assigned takes the place of the numbers."""
        return self.detach()

    @data.setter
    def data(self, value: torch.Tensor) -> None:
        assert isinstance(value, Away)
        self.held = value.held

    def __repr__(self, **_: Any) -> str:
        return f"Away({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(func, args, kwargs or {})


class _There(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(func, args, kwargs or {})


@contextmanager
def there_is() -> Iterator[None]:
    """Let tensors be made on and moved to the device AWAY within. Networks that move keep their parameters, as they do
    with CUDA: optimisers hold them.
    """
    moved: Any = torch.nn.Module._apply

    def keeping(module: torch.nn.Module, function: Any, recurse: bool = True) -> Any:
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            return moved(module, function, recurse)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)

    torch.nn.Module._apply = keeping  # type: ignore[method-assign]
    try:
        with _There():
            yield
    finally:
        torch.nn.Module._apply = moved  # type: ignore[method-assign]


def _held(value: Any) -> Any:
    if isinstance(value, Away):
        return value.held
    return torch.device("cpu") if _is_away(value) else value


def _is_away(device: Any) -> bool:
    return isinstance(device, torch.device) and device.type == AWAY.type


def _call(func: Any, args: Any, kwargs: Any) -> Any:
    leaves = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    mine = [value for value in leaves if isinstance(value, Away)]
    name = func.name()
    if name == "prim::device":
        return AWAY
    if name in ("aten::_to_copy", "aten::copy_"):
        return _moved(func, args, kwargs)
    made = _is_away(kwargs.get("device"))
    if not mine and not made:
        return func(*args, **kwargs)
    others = [value for value in leaves if not isinstance(value, Away) and value.dim() > 0]
    if name.startswith(LOOKS_UP):  # indices on the CPU are moved, silently and slowly
        others = [value for value in leaves if not isinstance(value, Away)]
    if mine and others:
        raise Elsewhere(f"{name} on tensors of two devices, {[tuple(value.shape) for value in others]} on the CPU")
    if torch.Tag.nondeterministic_seeded in func.tags and not name.startswith(LIBRARY):
        raise Elsewhere(f"{name} draws on the device")
    CALLS[0] += 1
    if mine and not made and kwargs.get("device") is not None:  # made here, like something there
        return func(*tree_map(_held, args), **kwargs)
    known = {id(value.held): value for value in mine}

    def back(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return known[id(value)] if id(value) in known else Away(value)

    found = tree_map(back, func(*tree_map(_held, args), **tree_map(_held, kwargs)))
    if torch.Tag.inplace_view in func.tags:  # what the tensor says of its shape is to change too
        with no_dispatch():
            func(*args, **kwargs)
    return found


def _moved(func: Any, args: Any, kwargs: Any) -> Any:
    """A copy, to or from the device or on it."""
    if func.name() == "aten::copy_":
        _held(args[0]).copy_(_held(args[1]))
        return args[0]
    to = kwargs.get("device")
    found = func(_held(args[0]), **tree_map(_held, kwargs))
    return Away(found) if (isinstance(args[0], Away) if to is None else _is_away(to)) else found
