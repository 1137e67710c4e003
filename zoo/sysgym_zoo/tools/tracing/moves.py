"""What an operator of torch moves: bytes read and written, where an operator touches only rows of a tensor.

The rest reads all of the tensors it is given and writes all of those it returns or changes. A lookup reads the rows it
copies, and the indices; a change in place writes the rows it changes, and reads them only if it adds to them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from sysgym_zoo.tools.tracing.ops import BAGS

LOOKUPS = {  # the argument whose rows are read
    "index": "self", "index_select": "self", "gather": "self", "take": "self", "_unsafe_index": "self",
    "_unsafe_masked_index": "self", "take_along_dim": "self", "masked_select": "self", "embedding": "weight",
}  # fmt: skip
ADDING = frozenset({"index_add_", "scatter_add_", "scatter_reduce_"})
OVERWRITING = frozenset({"copy_", "fill_", "zero_"})  # whatever was there before


def size_of(tensor: Any) -> int:
    """Bytes of a tensor as it is read, expanded dimensions included; of a sparse one, its values and their indices."""
    if tensor.layout == torch.sparse_coo:
        rows = int(tensor._nnz()) * math.prod(tensor.shape[tensor.sparse_dim() :])
        return rows * int(tensor.element_size()) + 8 * int(tensor._nnz()) * int(tensor.sparse_dim())
    return int(tensor.numel()) * int(tensor.element_size())


def tensors_in(*values: Any) -> Iterator[Any]:
    """The tensors in arguments or results, in order."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(*value)
        elif isinstance(value, dict):
            yield from tensors_in(*value.values())


def traffic(op: str, given: Mapping[str, Any], inputs: list[Any], written: list[Any]) -> tuple[int, int]:
    """Bytes read and written by an operator, of its arguments by name, its tensors, and those it returns or changes."""
    wrote = sum(map(size_of, written))
    if op in LOOKUPS:
        return _others(inputs, given[LOOKUPS[op]]) + wrote, wrote
    if op in BAGS:
        table = given["weight"]
        rows = given["indices"].numel() * size_of(table) // max(1, table.shape[0])
        return _others(inputs, table) + rows, wrote
    if op in OVERWRITING:
        return _others(inputs, given["self"]), wrote
    rows = touched(op, given)
    if rows is None:
        return sum(map(size_of, inputs)), wrote
    adds = op in ADDING or bool(given.get("accumulate")) or given.get("reduce") is not None
    return _others(inputs, given["self"]) + (rows if adds else 0), rows


def touched(op: str, given: Mapping[str, Any]) -> int | None:
    """Bytes of `self` that an operator changes in place by indices; None if it is no such operator."""
    target = given.get("self")
    if not isinstance(target, torch.Tensor):
        return None
    one = target.element_size()
    if op in ("index_put_", "_index_put_impl_", "_unsafe_index_put_"):
        return _indexed(target, given["indices"]) * one
    if op in ("index_copy_", "index_add_", "index_fill_"):
        length = target.shape[given["dim"]] if target.dim() else 1
        return int(given["index"].numel()) * (target.numel() // max(1, length)) * one
    if op in ("scatter_", "scatter_add_", "scatter_reduce_", "put_"):
        return int(given["index"].numel()) * one
    return None


def _others(inputs: list[Any], table: Any) -> int:
    """Bytes of all tensors read but one."""
    return sum(size_of(tensor) for tensor in inputs if tensor is not table)


def _indexed(target: Any, indices: Any) -> int:
    """Elements that `target[indices]` has; None among the indices is a whole dimension."""
    given = [each for each in indices if each is not None]
    if any(each.dtype in (torch.bool, torch.uint8) for each in given):
        return int(target.numel())  # how many are true depends on the data: at most all
    shape = torch.broadcast_shapes(*(tuple(each.shape) for each in given))
    lengths = [n for d, n in enumerate(target.shape) if d >= len(indices) or indices[d] is None]
    return int(torch.Size(shape).numel() * torch.Size(lengths).numel())
