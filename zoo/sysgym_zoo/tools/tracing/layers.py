"""Which layer and module an operator belongs to, told by the module that runs it.

A module says so itself with an attribute `sysgym_layer`, a whole number: 0 for the embedding or stem, then 1, 2, and so
on. Where no module does, layers are the children with parameters, numbered in the order in which they are registered;
in place of a ModuleList, a ModuleDict or an outermost Sequential, and of what holds a list, come its own children.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

from sysgym.core.errors import UsageError

Label = TypeVar("Label")
LISTS = (nn.ModuleList, nn.ModuleDict)
MOST = 2**20


def labelled(module: Any) -> dict[Any, int]:
    """The modules that are a layer, and its number; UsageError for an attribute that is no whole number."""
    found = {each: each.sysgym_layer for each in module.modules() if hasattr(each, "sysgym_layer")}
    for each, number in found.items():
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MOST:
            raise UsageError(
                f"sysgym_layer of {type(each).__name__} must be a whole number from 0 to {MOST}, got {number!r}."
            )
    if found:
        return found
    return {each: number for number, each in enumerate(dict.fromkeys(_units(module)))}


def _units(module: Any, outside: bool = True) -> Iterator[Any]:
    """Layers of a module that labels none; `outside` as long as only Sequential modules have been opened."""
    for child in module.children():
        if not any(True for _ in child.parameters()):
            continue
        run = outside and isinstance(child, nn.Sequential)
        if run or any(isinstance(each, LISTS) for each in child.modules()):
            yield from _units(child, run)
        else:
            yield child


def paths_of(module: Any) -> dict[Any, str | None]:
    """Every module and its path, such as `encoder.0.linear1`; the first of its paths where it has several."""
    return {each: path for path, each in module.named_modules()}


@contextmanager
def marked(labels: Mapping[Any, Label], stack: list[Label]) -> Iterator[None]:
    """While it is open, the label of the innermost module that runs, of those with a label, is the last of `stack`."""

    def enter(label: Label) -> Any:
        return lambda *_: stack.append(label)

    def leave(*_: Any) -> None:
        stack.pop()

    hooks = []
    for each, label in labels.items():
        hooks.append(each.register_forward_pre_hook(enter(label)))
        hooks.append(each.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
