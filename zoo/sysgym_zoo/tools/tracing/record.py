"""Recording the operators that a module runs on tensors without data, as nodes of a dataflow graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sysgym.dataflow.graphs.graph import BACKWARD, FORWARD
from sysgym_zoo.tools.tracing.build import UNKNOWN, GraphBuilder
from sysgym_zoo.tools.tracing.moves import size_of, tensors_in, touched, traffic
from sysgym_zoo.tools.tracing.ops import READ_PART
from sysgym_zoo.tools.tracing.packed import weights_of
from sysgym_zoo.tools.tracing.products import HEAVIES

STAYS = READ_PART | {"as_strided", "diagonal", "unfold"}  # operators that take a part, as in the shipped graphs
FOLDED = frozenset({"_unsafe_view", "lift_fresh", "lift_fresh_copy", "set_data"})  # views that the schema does not name


@dataclass
class Storage:
    """Memory that tensors share: who wrote all of it last, who changed it in place since then, and when.

    `held` is the node of a parameter or buffer, which stays in memory; -1 for other memory.
    """

    tensor: int
    size: int  # bytes
    held: int = -1
    change: int = -1  # tensor of the last change in place, of the bytes that it changed
    changed: int = 0

    def reads(self) -> list[int]:
        """Tensors that a reader of all of it depends on."""
        return [self.tensor] if self.change < 0 else [self.tensor, self.change]


@dataclass
class Value:
    """A tensor of torch: the tensors of the graph that it is, or is a view of, when it was made."""

    tensors: list[int]
    storage: Storage
    made: int
    alive: torch.Tensor  # kept, so that its id is never given to another
    site: int = UNKNOWN  # the device that the author put it on


class Origin(NamedTuple):
    """Where an operator comes from: the label of its layer, the author's device, and the path of its module."""

    layer: int = UNKNOWN
    site: int = UNKNOWN
    module: str | None = None


@dataclass(frozen=True)
class Kind:
    """What is known of an operator from its schema."""

    name: str
    folded: bool  # a view, which costs nothing
    slices: bool  # takes a part, which costs nothing where the whole stays in memory
    arguments: tuple[str, ...]
    written: tuple[int, ...]  # positions of the arguments that it changes
    written_names: tuple[str, ...]


def kind_of(function: Any) -> Kind:
    """What the schema of an operator says."""
    schema = function._schema
    space, name = schema.name.split("::", 1)
    stays = name in STAYS
    moved = torch.Tag.inplace_view in function.tags
    written = [
        (i, argument.name) for i, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write and not moved
    ]  # fmt: skip
    return Kind(
        name if space == "aten" else f"{space}.{name}", (function.is_view and not stays) or moved or name in FOLDED,
        bool(function.is_view) and stays, tuple(each.name for each in schema.arguments),
        tuple(i for i, _ in written), tuple(name for _, name in written),
    )  # fmt: skip


class Recorder(TorchDispatchMode):
    """While it is active, every operator becomes a node of `builder`.

    A change in place of all of an intermediate result makes a new tensor of the graph; any other writes only the bytes
    that it changes, and whoever shares the memory reads both from then on. A part of a parameter or buffer is read
    where it lies. `layers` is the stack of labels of the modules that run, `modules` that of their paths; in the
    backward pass a node has the label, the path and the author's device of what it differentiates.
    """

    def __init__(self, builder: GraphBuilder) -> None:
        """Record into a builder."""
        super().__init__()
        self.builder, self.backward, self.clock = builder, False, 0
        self.layers = [UNKNOWN]
        self.modules: list[str | None] = [None]
        self.values: dict[int, Value] = {}
        self.memory: dict[int, Storage] = {}
        self.kinds: dict[Any, Kind] = {}
        self.labels: dict[int, Origin] = {}  # by the number of the step in autograd
        self.notes: list[str] = []  # what the user should know
        self.packed: dict[int, tuple[Any, list[Any]]] = {}  # packed weights, and what they hold

    def declare(self, tensor: Any, op: str, site: int = UNKNOWN, module: str | None = None) -> int:
        """A param, input or const, of the module that owns it if one does; its tensor in the graph."""
        found = self.builder.leaf(op, size_of(tensor), module=module)
        self._keep(tensor, [found], site)
        if op == "param":
            self.values[id(tensor)].storage.held = self.builder.source[found]
            self.builder.nodes[-1].site = site
        return found

    def read(self, tensor: Any) -> list[int]:
        """The tensors of the graph that a reader of a tensor of torch depends on now."""
        value = self.values.get(id(tensor))
        if value is None:
            storage = self.memory.get(tensor.untyped_storage()._cdata) if tensor.layout == torch.strided else None
            return [self.declare(tensor, "const")] if storage is None else storage.reads()
        return value.storage.reads() if value.storage.changed > value.made else value.tensors

    def move(self, tensor: Any, site: int) -> None:
        """Remember that the author put a tensor on a device."""
        self.read(tensor)
        if id(tensor) in self.values:
            self.values[id(tensor)].site = site

    def _keep(self, tensor: Any, found: list[int], site: int = UNKNOWN) -> None:
        """Remember which tensor of the graph a tensor of torch is."""
        key = tensor.untyped_storage()._cdata if tensor.layout == torch.strided else -1 - id(tensor)
        storage = self.memory.get(key)
        if storage is None:
            storage = self.memory[key] = Storage(found[0], size_of(tensor))
        self.values[id(tensor)] = Value(found, storage, self.clock, tensor, site)

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
        given = dict(zip(kind.arguments, args, strict=False)) | kwargs
        given = {key: self._unpacked(kind.name, value) for key, value in given.items()}
        inputs = list({id(tensor): tensor for tensor in tensors_in(*given.values())}.values())
        outputs = list(tensors_in(out))
        self.clock += 1
        if kind.folded or (kind.slices and inputs and self._held(inputs[0])):
            self._fold(inputs, outputs)
            return
        changed = list(tensors_in(*(given[name] for name in kind.written_names if name in given)))
        if not outputs and not changed:
            return
        new = self._node(kind, given, inputs, outputs, changed)
        for tensor, found in zip(outputs, new, strict=False):
            if not any(tensor is each for each in changed):
                self._keep(tensor, [found], self.builder.nodes[-1].site)

    def _unpacked(self, op: str, value: Any) -> Any:
        """An argument; packed weights as the tensors they hold, which are parameters."""
        if not isinstance(value, torch.ScriptObject):
            return value
        if id(value) not in self.packed:
            self.packed[id(value)] = value, (found := weights_of(op, value))
            for tensor in found:
                self.declare(tensor, "param", module=self.modules[-1])
        return self.packed[id(value)][1]

    def _held(self, tensor: Any) -> bool:
        """Whether a tensor is a parameter or buffer, or a part of one."""
        value = self.values.get(id(tensor))
        return value is not None and value.storage.held >= 0 and value.tensors[0] == value.storage.tensor

    def _fold(self, inputs: list[Any], outputs: list[Any]) -> None:
        """A view is the tensor that it is a view of."""
        layer, site, module = self._origin()
        for tensor in outputs:
            if inputs:
                found = self.read(inputs[0])
                value = self.values.get(id(inputs[0]))
                site = value.site if value is not None and site == UNKNOWN else site
                if not self.backward:
                    label = self.builder.layer_of(found[0]) if layer == UNKNOWN else layer
                    self.labels.setdefault(self._step(), Origin(label, site, module))
                self._keep(tensor, found, site)

    def _node(
        self, kind: Kind, given: Any, inputs: list[Any], outputs: list[Any], changed: list[Any]
    ) -> tuple[int, ...]:
        """Add a node for an operator that may change some of its arguments; the tensors of `outputs`."""
        silent = [tensor for tensor in changed if not any(tensor is each for each in outputs)]
        written = outputs + silent
        targets = {id(tensor): self._storage(tensor) for tensor in changed}
        reads = [read for tensor in inputs if id(tensor) not in targets for read in self.read(tensor)]
        reads += [read for storage in targets.values() for read in storage.reads()]  # what is not overwritten stays
        part = touched(kind.name, given)
        sizes = [
            size_of(each) if id(each) not in targets else self._change(each, targets[id(each)], part)
            for each in written
        ]  # fmt: skip
        heavy = kind.name.removesuffix("_") in HEAVIES  # of a repeated factor, both count
        shapes = [tuple(tensor.shape) for tensor in (tensors_in(*given.values()) if heavy else inputs)]
        layer, site, module = self._origin()
        held = next((storage.held for storage in targets.values() if storage.held >= 0), -1)
        new = self.builder.operator(
            kind.name, reads, sizes, shapes, self._shapes(written, targets, part),
            traffic(kind.name, given, inputs, written), layer=layer, phase=BACKWARD if self.backward else FORWARD,
            transposed=bool(given.get("transposed")), pair=held, site=site if self.backward else self._site(inputs),
            module=module,
        )  # fmt: skip
        node = self.builder.nodes[-1]
        if not self.backward:
            self.labels.setdefault(self._step(), Origin(node.layer, node.site, module))
        for tensor, size, found in zip(written, sizes, new, strict=True):
            if id(tensor) in targets:
                self._changed(
                    tensor, targets[id(tensor)], found, whole=size == targets[id(tensor)].size, site=node.site
                )
        return new

    @staticmethod
    def _shapes(written: list[Any], targets: Mapping[int, Storage], part: int | None) -> list[tuple[int, ...]]:
        """Shapes of what is written, for flops: of a change by indices, as many elements as its `part` bytes hold."""
        return [
            tuple(each.shape) if part is None or id(each) not in targets else (part // each.element_size(),)
            for each in written
        ]

    def _storage(self, tensor: Any) -> Storage:
        """The memory of a tensor that is changed."""
        self.read(tensor)
        return self.values[id(tensor)].storage if id(tensor) in self.values else self.memory[
            tensor.untyped_storage()._cdata
        ]  # fmt: skip

    @staticmethod
    def _change(tensor: Any, storage: Storage, part: int | None) -> int:
        """Bytes of what a change in place gives its readers: what it changed, or nothing but the order where all of a
        parameter or buffer changes, which every reader reads anyway.
        """
        size = size_of(tensor) if part is None else part
        if size < storage.size:
            return size
        return 0 if storage.held >= 0 else storage.size

    def _changed(self, tensor: Any, storage: Storage, found: int, whole: bool, site: int) -> None:
        """Remember who changed a memory."""
        if whole and storage.held < 0:
            storage.tensor, storage.change = found, -1
        else:
            storage.change = found
        storage.changed = self.clock
        self.values[id(tensor)] = Value(storage.reads(), storage, self.clock, tensor, site)

    def _step(self) -> int:
        """Number of the step of autograd that was recorded last."""
        return int(torch._C._autograd._get_sequence_nr()) - 1

    def _site(self, inputs: list[Any]) -> int:
        """The author's device of an operator: that of the first of its tensors that is on one, single numbers last."""
        found = [(tensor.numel() == 1, value.site) for tensor in inputs if (value := self.values.get(id(tensor)))]
        return next((site for _, site in sorted(found, key=lambda each: each[0]) if site != UNKNOWN), UNKNOWN)

    def _origin(self) -> Origin:
        """Where what runs comes from: the innermost modules, or the forward step that is differentiated."""
        if not self.backward:
            return Origin(self.layers[-1], UNKNOWN, self.modules[-1])
        node = torch._C._current_autograd_node()
        return Origin() if node is None else self.labels.get(int(node._sequence_nr()), Origin())
