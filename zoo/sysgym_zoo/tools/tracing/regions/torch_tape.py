"""A torch module, run once on tensors without data, as a tape."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from sysgym.core.errors import announce
from sysgym_zoo.tools.tracing.capture import arguments_of, guarded, inputs_of, outputs_of, state_of
from sysgym_zoo.tools.tracing.devices import Sites
from sysgym_zoo.tools.tracing.layers import marked, paths_of
from sysgym_zoo.tools.tracing.moves import OVERWRITING, tensors_in
from sysgym_zoo.tools.tracing.packed import unwrapped
from sysgym_zoo.tools.tracing.products import CONVOLUTIONS
from sysgym_zoo.tools.tracing.quiet import quiet
from sysgym_zoo.tools.tracing.record import Kind, kind_of
from sysgym_zoo.tools.tracing.regions.table import BATCH_NORMS, CONV, MATMUL, OWN_STATISTICS
from sysgym_zoo.tools.tracing.regions.tape import Shape, Tape, batch_of, last
from sysgym_zoo.tools.tracing.regions.wholes import Wholes

MADE = ("new_zeros", "new_empty", "new_full", "new_ones", "new_empty_strided")  # of a size, and of no tensor
ALIKE = ("zeros_like", "ones_like", "empty_like", "full_like")
PRODUCTS: dict[str, tuple[str, str, str]] = {  # the arguments that are multiplied, and what is added
    "mm": ("self", "mat2", ""), "bmm": ("self", "mat2", ""), "addmm": ("mat1", "mat2", "self"),
    "baddbmm": ("batch1", "batch2", "self"), "mv": ("self", "vec", ""), "linear": ("input", "weight", "bias"),
    "_addmm_activation": ("mat1", "mat2", "self"), "addmv": ("mat", "vec", "self"),
}  # fmt: skip


def tape_of(module: Any, inputs: Any, name: str) -> Tape:
    """The tape of a module's forward pass. `inputs` are the positional arguments (a tuple or list) or the named ones (a
    dict), each tensor with the batch on its first axis; tensors may be on the device `meta`, no weight is needed.

    UsageError for a module whose operators depend on data, and for inputs of several batches.
    """
    module = unwrapped(module)
    args, kwargs = arguments_of(inputs)
    tape = Tape(name, batch_of(name, [tensor.shape for tensor in pytree.tree_leaves((args, kwargs))
                                      if isinstance(tensor, torch.Tensor)]))  # fmt: skip
    recorder, mode, notes = Recorder(tape), FakeTensorMode(allow_non_fake_inputs=True), list[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = state_of(module, mode, recorder)
        args, kwargs = inputs_of((args, kwargs), mode, recorder)
        with quiet(module, False), torch.set_grad_enabled(False), mode, Sites(), Wholes(recorder), recorder, \
             marked(paths_of(module), recorder.layers):  # fmt: skip
            out = guarded(lambda: torch.func.functional_call(module, state, args, kwargs), name)
    tape.outputs = [recorder.read(tensor) for tensor in outputs_of(out, notes).values()]
    for note in notes:
        announce(note)
    return tape


class Recorder(TorchDispatchMode):
    """While it is active, every operator becomes a step of `tape`; a change in place makes a new value, which whoever
    shares the memory reads from then on beside its own. `layers` is the stack of the paths of the modules that run.
    """

    def __init__(self, tape: Tape) -> None:
        """Record onto a tape."""
        super().__init__()
        self.tape, self.clock = tape, 0
        self.layers: list[str | None] = [""]
        self.values: dict[int, tuple[int, int]] = {}  # of each tensor by its id, its value and when it was made
        self.alive: list[Any] = []  # so that no id is given twice
        self.changes: dict[int, tuple[int, int]] = {}  # of each memory, the last value written into it, and when
        self.kinds: dict[Any, Kind] = {}

    @property
    def layer(self) -> str:
        """Path of the module that runs."""
        return self.layers[-1] or ""

    def declare(self, tensor: Any, op: str, site: int = -1, module: str | None = None) -> int:
        """A parameter, buffer or input; its value."""
        if op == "input":
            return self.bind(tensor, self.tape.input(tuple(tensor.shape)))
        if tensor.is_floating_point():
            self.tape.params += int(tensor.numel())
        return self.bind(tensor, self.tape.value(tuple(tensor.shape), True))

    def bind(self, tensor: Any, value: int) -> int:
        """Remember which value a tensor is."""
        self.values[id(tensor)] = value, self.clock
        self.alive.append(tensor)
        return value

    def read(self, tensor: Any) -> int:
        """The value of a tensor now; a constant where nothing is known of it."""
        if id(tensor) not in self.values:
            return self.bind(tensor, self.tape.value(tuple(tensor.shape), True))
        value, made = self.values[id(tensor)]
        changed, when = self.changes.get(_memory(tensor), (value, -1))
        if when <= made or changed == value:
            return value
        (both,) = self.tape.step("cat", (value, changed), [tuple(tensor.shape)], layer=self.layer, free=True)
        return self.bind(tensor, both)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and record it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.namespace != "prim":
            self._record(func, args, kwargs, out)
        return out

    def _record(self, function: Any, args: Any, kwargs: Any, out: Any) -> None:
        kind = self.kinds.setdefault(function, kind_of(function))
        given = dict(zip(kind.arguments, args, strict=False)) | kwargs
        outputs = list({id(tensor): tensor for tensor in tensors_in(out)}.values())
        changed = list(tensors_in(*(given[name] for name in kind.written_names if name in given)))
        if not outputs:
            outputs = changed
        if not outputs:
            return
        self.clock += 1
        op, tensors, more = self._described(kind, given, [tuple(tensor.shape) for tensor in outputs])
        reads = [self.read(tensor) for tensor in tensors]
        pointwise = torch.Tag.pointwise in function.tags
        writes = self.tape.step(
            op, reads, [tuple(tensor.shape) for tensor in outputs], layer=self.layer, given=more, pointwise=pointwise,
            free=kind.folded or kind.slices,
        )  # fmt: skip
        for tensor, value in zip(outputs, writes, strict=True):
            self.bind(tensor, value)
            if any(tensor is each for each in changed):
                self.changes[_memory(tensor)] = value, self.clock

    @staticmethod
    def _described(kind: Kind, given: dict[str, Any], shapes: list[Shape]) -> tuple[str, list[Any], dict[str, Any]]:
        """The name of an operator on a tape, the tensors it reads in order, and what it must say besides."""
        op = kind.name[:-1] if kind.name.endswith("_") and not kind.name.endswith("__") else kind.name
        if op in PRODUCTS:
            left, right, added = (given.get(name) for name in PRODUCTS[op])
            return MATMUL, list(tensors_in(left, right, added)), product_of(op, left, right) | {
                "bias": added is not None
            }  # fmt: skip
        if op in CONVOLUTIONS and "weight" in given:
            more = {
                "stride": last(given.get("stride")), "transposed": bool(given.get("transposed")),
                "bias": given.get("bias") is not None,
                "dilation": last(given.get("dilation")),
            }  # fmt: skip
            return CONV, list(tensors_in(given["input"], given["weight"])), more
        if op in MADE or op in ALIKE:
            return op, [], {}
        if kind.name in OVERWRITING:
            return op, list(tensors_in(*(value for key, value in given.items() if key != "self"))), {}
        window = given.get("kernel_size")
        more = {"window": window_of(window, len(shapes[0]) - 2)} if window is not None else {}
        if op == "div":
            op = "mul" if not isinstance(given.get("other"), torch.Tensor) else op
        if op == "pow" and isinstance(given["exponent"], int | float) and given["exponent"] == 2:
            op = "square"
        if op in BATCH_NORMS and (given.get("training") or given.get("running_mean") is None):
            op = OWN_STATISTICS
        return op, list(tensors_in(*given.values())), more


def product_of(op: str, left: Any, right: Any) -> dict[str, Any]:
    """Sizes of a product of groups: (groups, rows, depth, columns)."""
    depth = int(left.shape[-1])
    groups = int(left.shape[0]) if left.dim() == 3 and right.dim() == 3 else 1
    rows = int(left.numel()) // max(1, groups * depth)
    columns = 1 if right.dim() == 1 else int(right.shape[0 if op == "linear" else -1])
    return {"sizes": (groups, rows, depth, columns)}


def window_of(sizes: Any, axes: int) -> int:
    """Elements of a window of pooling."""
    words = [sizes] * axes if isinstance(sizes, int) else list(sizes)
    return math.prod(words * axes if len(words) == 1 else words)


def _memory(tensor: Any) -> int:
    """What tensors that share memory have in common."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout == torch.strided else -1 - id(tensor)
