"""From a tape to regions: what is computed in one go, and what is fused with it.

A product, convolution, softmax, pooling, normalisation or reduction starts a region. Element-wise operators belong to
the region whose output they read, where nothing else reads it but operators that belong there too (an epilogue); then
to the one or two regions that read them (a prologue, repeated in each); the rest are regions of their own. Views,
layout, copies and concatenation cost nothing: their readers read what they are views of.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sysgym.accelerator_design.instance import SOFTMAX, VECTOR, Workloads
from sysgym.accelerator_design.workloads.builder import Builder, Tensor
from sysgym_zoo.tools.tracing.regions import table
from sysgym_zoo.tools.tracing.regions.flow import DEEPEST, END, MOST_SINKS, Flow
from sysgym_zoo.tools.tracing.regions.tape import Step, Tape

WIDE = 2**62  # elements that no tensor has
ELEMENTWISE = (table.POINTWISE, table.BATCH_NORM)


class Source(NamedTuple):
    """Where a value comes from: tensors of regions, and the element-wise steps that are still to be done to them."""

    tensors: tuple[Tensor, ...] = ()
    steps: frozenset[int] = frozenset()

    def __or__(self, other: Source) -> Source:  # type: ignore[override]
        """What a value of two sources comes from."""
        return Source(tuple(dict.fromkeys((*self.tensors, *other.tensors))), self.steps | other.steps)


@dataclass
class Plan:
    """A region about to be added: its kind, what it reads, and counts of an item; `dims` as the columns of a shape."""

    kind: int
    name: str
    reads: list[Source]
    dims: tuple[int, ...] = (1,) * 11
    weights: int = 0
    ops: int = 0  # beside those of fused steps
    steps: frozenset[int] = field(default_factory=frozenset)


class Lowering:
    """The regions so far, and the source of every value that they know."""

    def __init__(self, tape: Tape) -> None:
        """Start with the inputs."""
        self.tape, self.flow, self.net = tape, Flow(tape), Builder(tape.name)
        self.folded = self.flow.folded()
        self.source: dict[int, Source] = {}
        self.done: set[int] = set()
        self.names: dict[str, int] = {}
        for value in tape.inputs:
            if value in self.flow.live:
                self.source[value] = Source((self.net.input(self.elems(value)),))

    def elems(self, value: int) -> int:
        """Elements of a value, of an item."""
        step = self.tape.steps[self.flow.source[value]] if value in self.flow.source else None
        what = f"what {step.op} writes{f' in {step.layer}' if step.layer else ''}" if step else "an input"
        return self.tape.share(self.tape.values[value].elems, what)

    def name(self, step: Step, part: str = "") -> str:
        """A name for a region that no other has, after the module that runs it."""
        word = ".".join(filter(None, (step.layer, part or (step.op if not step.layer else ""))))
        self.names[word] = self.names.get(word, 0) + 1
        return word if self.names[word] == 1 else f"{word}.{self.names[word]}"

    def ops(self, i: int) -> int:
        """Vector operations of a step that is fused, of an item."""
        step, role = self.tape.steps[i], self.flow.role[i]
        if role == table.FREE:
            return 0
        if role in (table.REDUCE, table.POOL, table.NORM, table.SOFTMAX):
            return self.whole_ops(i)
        count = self.elems(self.flow.written(step)[0])
        if role == table.BATCH_NORM:
            return count * (table.BATCH_NORM_OPS if i not in self.folded else int(not self.folded[i]))
        return count * table.each(step, role)

    def whole_ops(self, i: int) -> int:
        """Vector operations of a reduction, pooling, normalisation or softmax, of an item."""
        step, role = self.tape.steps[i], self.flow.role[i]
        if role == table.POOL and step.op in table.MAXIMA:
            return self.elems(step.writes[0]) * int(step.given["window"])
        return self.elems(self.flow.dynamic(step.reads)[0]) * table.each(step, role)

    def of(self, value: int) -> Source:
        """Where a value comes from; of a constant, nothing."""
        return Source() if self.tape.values[value].constant else self.source[value]

    def expression(self, value: int, depth: int = 0) -> Source | None:
        """Where a value comes from, if that is known by now or follows by views and element-wise steps; else None."""
        if self.tape.values[value].constant or value in self.source:
            return self.of(value)
        i = self.flow.source[value]
        if depth > DEEPEST or i in self.done or self.flow.role[i] not in (*ELEMENTWISE, table.FREE):
            return None
        found = Source((), frozenset([i]) if self.flow.role[i] != table.FREE else frozenset())
        for read in self.flow.dynamic(self.tape.steps[i].reads):
            below = self.expression(read, depth + 1)
            if below is None:
                return None
            found |= below
        return found

    def add(self, plan: Plan, value: int, grows: bool = False) -> Tensor:
        """Add a region that computes a value, with what is fused behind it; `grows`: it may write more than that."""
        before = Source()
        for each in plan.reads:
            before |= each
        elems, last, fused = self.elems(value), value, set(before.steps | plan.steps)
        more: list[Tensor] = []
        while (found := self._absorbed(last, WIDE if grows else self.tape.values[value].elems)) is not None:
            group, others = found
            computes = any(self.flow.role[i] != table.FREE for i in group)
            fused |= {i for i in group if self.flow.role[i] != table.FREE} | others.steps
            more += others.tensors
            self.done |= set(group)
            last = self.flow.meeting[last]
            elems = self.elems(last) if computes else elems
        inputs = list(dict.fromkeys([*before.tensors, *more]))
        made = self.net.region(
            plan.kind, plan.name, inputs, (elems,), plan.dims, weights=plan.weights,
            vec_ops=plan.ops + sum(map(self.ops, sorted(fused))),
        )  # fmt: skip
        self.source[last] = Source((made,))
        return made

    def _absorbed(self, value: int, most: int) -> tuple[list[int], Source] | None:
        """The steps up to where the readers of a value meet, and what else they read, if they may all be fused."""
        meeting = self.flow.meeting[value]
        group = None if meeting == END or value in self.flow.outputs else self.flow.between(value, meeting)
        if not group:
            return None
        inside = {value, *(each for i in group for each in self.tape.steps[i].writes)}
        allowed = (*ELEMENTWISE, table.FREE, *((table.REDUCE,) if most == WIDE and len(group) > 1 else ()))
        others = Source()
        for i in group:
            step = self.tape.steps[i]
            role = self.flow.role[i]
            ends = meeting in step.writes
            if role not in allowed or i in self.done or (ends and role == table.REDUCE):
                return None
            if role != table.FREE and self.tape.values[step.writes[0]].elems > most:
                return None
            for read in self.flow.dynamic(step.reads):
                found = Source() if read in inside else self.expression(read)
                if found is None:
                    return None
                others |= found
        return group, others

    def vector(self, i: int) -> None:
        """A region without a product."""
        step, role = self.tape.steps[i], self.flow.role[i]
        value = self.flow.written(step)[0]
        reads = [self.of(read) for read in step.reads]
        if role == table.SOFTMAX:
            self.add(Plan(SOFTMAX, self.name(step, "softmax"), reads, ops=self.whole_ops(i)), value)
            return
        self.add(Plan(VECTOR, self.name(step), reads, steps=frozenset([i])), value, grows=True)

    def copied(self, source: Source, name: str, elems: int) -> Tensor:
        """A value as one tensor of its own."""
        ops = sum(map(self.ops, source.steps))
        return self.net.vector(name, list(source.tensors), (elems,), ops)

    def lazy(self, i: int) -> bool:
        """Whether an element-wise step is left to those who read it."""
        sinks = self.flow.sinks[self.flow.written(self.tape.steps[i])[0]]
        return len(sinks) <= MOST_SINKS and END not in sinks

    def finish(self) -> Workloads:
        """The workload."""
        self.net.params = self.tape.params
        for value in self.flow.outputs:
            source = self.source[value]
            if source.steps:
                self.copied(source, "output", self.elems(value))
        return replace(self.net.finish(), name=self.tape.name)
