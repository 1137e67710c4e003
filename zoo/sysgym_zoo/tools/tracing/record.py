"""Recording the operators that a module runs on tensors without data, as nodes of a dataflow graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sysgym.dataflow.graphs.graph import BACKWARD, FORWARD
from sysgym_zoo.tools.tracing.build import UNKNOWN, GraphBuilder
from sysgym_zoo.tools.tracing.ops import READ_PART

FOLDED = frozenset({"_unsafe_view", "lift_fresh", "lift_fresh_copy", "set_data"})  # views that the schema does not name


@dataclass
class Storage:
    """Memory that tensors share: who wrote all of it last, and when."""

    tensor: int
    size: int  # bytes
    changed: int = 0


@dataclass
class Value:
    """A tensor of torch: the tensor of the graph it is, or is a view of, when it was made."""

    tensor: int
    storage: Storage
    made: int
    alive: torch.Tensor  # kept, so that its id is never given to another


@dataclass(frozen=True)
class Kind:
    """What is known of an operator from its schema."""

    name: str
    folded: bool  # a view, which costs nothing
    written: tuple[int, ...]  # positions of the arguments that it changes
    written_names: tuple[str, ...]


def size_of(tensor: Any) -> int:
    """Bytes of a tensor as it is read, expanded dimensions included."""
    return int(tensor.numel()) * int(tensor.element_size())


def tensors_in(*values: Any) -> Iterator[Any]:
    """The tensors in arguments or results, in order."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(*value)


def kind_of(function: Any) -> Kind:
    """What the schema of an operator says."""
    schema = function._schema
    space, name = schema.name.split("::", 1)
    stays = name in READ_PART or name in ("as_strided", "diagonal", "unfold")
    moved = torch.Tag.inplace_view in function.tags
    written = [
        (i, argument.name) for i, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write and not moved
    ]  # fmt: skip
    return Kind(
        name if space == "aten" else f"{space}.{name}", (function.is_view and not stays) or moved or name in FOLDED,
        tuple(i for i, _ in written), tuple(name for _, name in written),
    )  # fmt: skip


class Recorder(TorchDispatchMode):
    """While it is active, every operator becomes a node of `builder`.

    A change in place makes a new tensor of the graph, which whoever shares the memory reads from then on. `layers` is
    the stack of labels of the modules that run; in the backward pass a node has the label of what it differentiates.
    """

    def __init__(self, builder: GraphBuilder) -> None:
        """Record into a builder."""
        super().__init__()
        self.builder, self.layers, self.backward, self.clock = builder, [UNKNOWN], False, 0
        self.values: dict[int, Value] = {}
        self.memory: dict[int, Storage] = {}
        self.kinds: dict[Any, Kind] = {}
        self.labels: dict[int, int] = {}  # of layers, by the number of the step in autograd

    def declare(self, tensor: Any, op: str) -> int:
        """A param, input or const; its tensor in the graph."""
        found = self.builder.leaf(op, size_of(tensor))
        self._keep(tensor, found)
        return found

    def read(self, tensor: Any) -> int:
        """The tensor of the graph that a reader of a tensor of torch depends on now."""
        value = self.values.get(id(tensor))
        if value is None:
            storage = self.memory.get(tensor.untyped_storage()._cdata)
            return self.declare(tensor, "const") if storage is None else storage.tensor
        return value.storage.tensor if value.storage.changed > value.made else value.tensor

    def shape(self, tensor: Any) -> tuple[int, ...]:
        """Shape of a tensor."""
        return tuple(tensor.shape)

    def _keep(self, tensor: Any, found: int) -> None:
        """Remember which tensor of the graph a tensor of torch is."""
        key = tensor.untyped_storage()._cdata
        storage = self.memory.get(key)
        if storage is None:
            storage = self.memory[key] = Storage(found, size_of(tensor))
        self.values[id(tensor)] = Value(found, storage, self.clock, tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and record it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.namespace != "prim":
            self._record(func, args, kwargs, out)
        return out

    def _record(self, function: Any, args: Any, kwargs: Any, out: Any) -> None:
        kind = self.kinds.get(function)
        if kind is None:
            kind = self.kinds[function] = kind_of(function)
            self.builder.kinds[kind.name] = torch.Tag.pointwise in function.tags, torch.Tag.reduction in function.tags
        inputs = list({id(tensor): tensor for tensor in tensors_in(*args, *kwargs.values())}.values())
        outputs = list(tensors_in(out))
        self.clock += 1
        if kind.folded:
            self._fold(inputs, outputs)
            return
        changed = [args[i] for i in kind.written if i < len(args)]
        changed += [kwargs[name] for name in kind.written_names if name in kwargs]
        changed = list(tensors_in(*changed))
        if not outputs and not changed:
            return
        new = self._node(kind, args, inputs, outputs, changed)
        for tensor, found in zip(outputs, new, strict=False):
            if not any(tensor is each for each in changed):
                self._keep(tensor, found)

    def _fold(self, inputs: list[Any], outputs: list[Any]) -> None:
        """A view is the tensor that it is a view of."""
        layer = self._layer()
        for tensor in outputs:
            if inputs:
                found = self.read(inputs[0])
                if not self.backward:
                    label = self.builder.layer_of(found) if layer == UNKNOWN else layer
                    self.labels.setdefault(self._step(), label)
                self._keep(tensor, found)

    def _node(
        self, kind: Kind, args: Any, inputs: list[Any], outputs: list[Any], changed: list[Any]
    ) -> tuple[int, ...]:
        """Add a node for an operator that may change some of its arguments; the tensors of `outputs`."""
        reads = [self.read(tensor) for tensor in inputs]
        same = [next((each for each in changed if tensor is each), None) for tensor in outputs]
        silent = [tensor for tensor in changed if not any(tensor is each for each in outputs)]
        storages = {}
        for tensor in changed:
            storage = self.memory[tensor.untyped_storage()._cdata]
            storages[id(tensor)] = storage
            reads.append(storage.tensor)  # what is not overwritten stays
        sizes = [
            size_of(tensor) if each is None else storages[id(each)].size
            for tensor, each in zip(outputs + silent, same + silent, strict=True)
        ]
        shapes = [self.shape(tensor) for tensor in inputs]
        transposed = "convolution" in kind.name and bool(args[7 if kind.name == "convolution_backward" else 6])
        layer = self._layer()
        new = self.builder.operator(
            kind.name, reads, sizes, shapes, [self.shape(tensor) for tensor in outputs + silent],
            (sum(map(size_of, inputs)), sum(map(size_of, outputs + silent))), layer=layer,
            phase=BACKWARD if self.backward else FORWARD, transposed=transposed,
        )  # fmt: skip
        if not self.backward:
            node = self.builder.nodes[-1]
            self.labels.setdefault(self._step(), node.layer)
        for tensor, each, found in zip(outputs + silent, same + silent, new, strict=True):
            if each is not None:
                storage = storages[id(each)]
                storage.tensor, storage.changed = found, self.clock
                self.values[id(tensor)] = Value(found, storage, self.clock, tensor)
        return new

    def _step(self) -> int:
        """Number of the step of autograd that was recorded last."""
        return int(torch._C._autograd._get_sequence_nr()) - 1

    def _layer(self) -> int:
        """Label of what runs: the innermost labelled module, or the forward step that is differentiated."""
        if not self.backward:
            return self.layers[-1]
        node = torch._C._current_autograd_node()
        return UNKNOWN if node is None else self.labels.get(int(node._sequence_nr()), UNKNOWN)
