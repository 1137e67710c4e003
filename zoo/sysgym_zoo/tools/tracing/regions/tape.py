"""What a model runs on an example, written down operator by operator, whichever library it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sysgym.core.errors import UsageError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """A tensor when it is made. A constant depends on no input; `distinct` of its elements differ, the rest repeat."""

    shape: Shape
    constant: bool
    distinct: int

    @property
    def elems(self) -> int:
        """Number of elements, of the whole batch."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Step:
    """An operator: the values it reads and writes, in the order of its arguments and results.

    Names are those of PyTorch's `aten`, in place or not. Of products and convolutions `reads` are the data and what
    they are multiplied with, then anything that is added. `layer` is the path of the module that runs it.
    """

    op: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    layer: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)
    pointwise: bool = False  # known to work element by element, even where no table names it
    free: bool = False  # a view


@dataclass
class Tape:
    """All steps of a model in order; `batch` is the size of the first axis of every input, `params` its values."""

    name: str
    batch: int
    values: list[Value] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    params: int = 0

    def value(self, shape: Sequence[int], constant: bool, distinct: int | None = None) -> int:
        """A new value; its number."""
        sizes = tuple(int(size) for size in shape)
        self.values.append(Value(sizes, constant, math.prod(sizes) if distinct is None else distinct))
        return len(self.values) - 1

    def input(self, shape: Sequence[int]) -> int:
        """A value that is given; what has no axes is a constant."""
        found = self.value(shape, len(shape) == 0)
        self.inputs += [] if len(shape) == 0 else [found]
        return found

    def step(self, op: str, reads: Sequence[int], shapes: Sequence[Sequence[int]], **more: Any) -> tuple[int, ...]:
        """A new operator; the values of `shapes` that it writes, constant where all that it reads is."""
        constant = all(self.values[read].constant for read in reads)
        repeats = more.get("free") and constant and len(reads) == 1
        most = self.values[reads[0]].distinct if repeats else None
        writes = tuple(
            self.value(shape, constant, None if most is None else min(most, math.prod(shape))) for shape in shapes
        )
        self.steps.append(Step(op, tuple(reads), writes, **more))
        return writes

    def share(self, count: int, what: str) -> int:
        """A count of the whole batch as that of one item; UsageError where it does not divide."""
        if count % self.batch:
            raise UsageError(
                f"{self.name}: {what} is not the same for every item of a batch of {self.batch}: {count} does not "
                "divide; the first axis of every input must be the batch, and nothing may mix its items."
            )
        return count // self.batch


def batch_of(name: str, shapes: Sequence[Sequence[int]]) -> int:
    """The size of the first axis, which all inputs share; UsageError where they do not."""
    sizes = list(dict.fromkeys(int(shape[0]) for shape in shapes if len(shape)))
    if not sizes:
        raise UsageError(f"{name} has no input with a first axis; give example inputs whose first axis is the batch.")
    if len(sizes) > 1 or sizes[0] < 1:
        shown = ", ".join(map(str, sizes))
        raise UsageError(f"{name}: the first axis of every input must be the batch; the inputs have {shown} there.")
    return sizes[0]


def last(numbers: Sequence[int] | int | None) -> int:
    """The last of the strides or dilations of a convolution, which is that along a row; 1 where there are none."""
    if isinstance(numbers, int):
        return numbers
    return int(numbers[-1]) if numbers else 1
