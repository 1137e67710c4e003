"""Regions of convolutions, products, attention and recurrent layers."""

from __future__ import annotations

import math

from sysgym.accelerator_design.instance import BMM, CONV, DWCONV, LSTM, MATMUL, Workloads
from sysgym.accelerator_design.workloads.builder import ADD, BIAS, MUL, Tensor
from sysgym.core.errors import UsageError
from sysgym_zoo.tools.tracing.regions import table
from sysgym_zoo.tools.tracing.regions.lower import Lowering, Plan, Source
from sysgym_zoo.tools.tracing.regions.notices import tell
from sysgym_zoo.tools.tracing.regions.tape import Step, Tape


def workload_from(tape: Tape) -> Workloads:
    """The regions of a tape, of one item; UsageError names an operator that has no place in one."""
    low = Lowering(tape)
    builders = {
        table.CONV: convolution, table.MATMUL: product, table.ATTENTION: attention, table.RECURRENT: recurrent,
        table.LOOKUP: lookup, table.FREE: view,
    }  # fmt: skip
    for i, step in enumerate(tape.steps):
        if i in low.done or i not in low.flow.role:
            continue
        role = low.flow.role[i]
        if role in builders:
            builders[role](low, step)
        elif role in (table.POINTWISE, table.BATCH_NORM) and low.lazy(i):
            view(low, step, frozenset([i]))
        else:
            low.vector(i)
    work = low.finish()
    tell(low, work)
    return work


def view(low: Lowering, step: Step, steps: frozenset[int] = frozenset()) -> None:
    """What is written comes from all that is read, with `steps` still to be done."""
    found = Source((), steps)
    for read in low.flow.dynamic(step.reads):
        found |= low.of(read)
    for value in low.flow.written(step):
        low.source[value] = found


def lookup(low: Lowering, step: Step) -> None:
    """Rows of a table in memory, which are a tensor that nothing here produces."""
    value = low.flow.written(step)[0]
    low.source[value] = Source((low.net.input(low.elems(value)),))


def convolution(low: Lowering, step: Step) -> None:
    """A convolution, dense or depthwise; one of three dimensions has its depth in the rows, and a transposed one is the
    product of every pixel with all of the kernel, whose overlaps are added up.
    """
    data, kernel = (low.tape.values[read].shape for read in step.reads[:2])
    value = low.flow.written(step)[0]
    out = low.tape.values[value].shape
    _held(low, step)
    axes = len(kernel) - 2
    high, wide, p, q, r, s = (
        f(sizes[-axes:]) for sizes in (data, out, kernel) for f in (_rows, lambda each: each[-1] if axes > 1 else 1)
    )
    pictures = low.tape.share(data[0], f"the number of pictures of the convolution {step.layer}")
    ops, stride = 0, int(step.given["stride"])
    if step.given["transposed"]:
        groups, filters, p, q, stride = out[1] // kernel[1], kernel[1] * r * s, high, wide, 1
        r = s = 1
        ops = max(0, groups * filters * p * q * pictures - low.elems(value))
    else:
        groups = data[1] // kernel[1]
        filters = kernel[0] // groups
    deep = kernel[1] == filters == 1 and groups > 1
    dims = (groups, high, wide, p * pictures, q, data[1] // groups, filters, r, s, stride, 1)
    plan = Plan(DWCONV if deep else CONV, low.name(step), [low.of(step.reads[0])], dims, math.prod(kernel), ops)
    _cut(low, step, plan, value)


def _rows(sizes: tuple[int, ...]) -> int:
    """All sizes but the last as one; of one, itself."""
    return math.prod(sizes[:-1]) if len(sizes) > 1 else sizes[0]


def _held(low: Lowering, step: Step) -> None:
    """UsageError unless the kernel of a convolution is constant."""
    if not low.tape.values[step.reads[1]].constant:
        raise UsageError(
            f"{low.tape.name}: the kernel of the convolution {step.layer} is computed from an input; such a "
            "convolution has no place in a region."
        )


def _cut(low: Lowering, step: Step, plan: Plan, value: int) -> None:
    """Add a region with weights; where what it writes is only read in parts, such as queries, keys and values, a region
    for each, of a share of the filters.
    """
    bias = BIAS * low.elems(value) if step.given["bias"] else 0
    parts, cuts = low.flow.parts(value) if plan.dims[0] == 1 else ([], [])
    filters, whole = plan.dims[6], low.tape.values[value].elems
    shares = [filters * low.tape.values[part].elems // whole for part in parts]
    if not parts or sum(shares) != filters or min(shares) < 1:
        plan.ops += bias
        low.add(plan, value)
        return
    low.done |= set(cuts)
    bias += sum(map(low.ops, cuts))
    for number, (part, share) in enumerate(zip(parts, shares, strict=True)):
        dims = (*plan.dims[:6], share, *plan.dims[7:])
        ops = (plan.ops + bias) * share // filters
        low.add(Plan(plan.kind, f"{plan.name}.{number}", plan.reads, dims, plan.weights * share // filters, ops), part)


def product(low: Lowering, step: Step) -> None:
    """A product with weights, or of two values that are computed."""
    groups, rows, depth, columns = step.given["sizes"]
    left, right = step.reads[:2]
    held = [low.tape.values[read].constant for read in (left, right)]
    value = low.flow.written(step)[0]
    more = [low.of(read) for read in step.reads[2:]]
    what = f"the product {step.layer or step.op}"
    if not any(held):
        _pairwise(low, step, more, low.tape.share(groups, what) if groups % low.tape.batch == 0 else 0)
        return
    data, weight = (left, right) if held[1] else (right, left)
    size = depth * (columns if held[1] else rows)
    kinds = max(1, low.tape.values[weight].distinct // max(1, size))
    total = groups * (rows if held[1] else columns)
    dims = (kinds, low.tape.share(total, what) // kinds, columns if held[1] else rows)
    shape = (dims[0], dims[1], 1, dims[1], 1, depth, dims[2], 1, 1, 1, 1)
    if dims[0] * dims[1] * low.tape.batch != total:
        raise UsageError(f"{low.tape.name}: {what} has {kinds} sets of weights for {total // low.tape.batch} rows.")
    plan = Plan(MATMUL, low.name(step), [low.of(data), *more], shape, kinds * size)
    _cut(low, step, plan, value)


def _pairwise(low: Lowering, step: Step, more: list[Source], groups: int) -> None:
    """A product of two values that are computed, of so many groups an item."""
    _, rows, depth, columns = step.given["sizes"]
    if not groups:
        raise UsageError(f"{low.tape.name}: the product {step.layer or step.op} mixes the items of a batch.")
    left, right = (low.of(read) for read in step.reads[:2])
    name, value = low.name(step), low.flow.written(step)[0]
    sizes = [groups * rows * depth, groups * depth * columns]
    moving, stationary, before = _pair(low, name, left, right, (sizes[0], sizes[1]))
    dims = (groups, rows, 1, rows, 1, depth, columns, 1, 1, 1, 1)
    ops = ADD * low.elems(value) if step.given["bias"] else 0
    reads = [Source((moving,)), Source((stationary,)), *more]
    low.add(Plan(BMM, name, reads, dims, ops=ops, steps=before), value)


def _pair(
    low: Lowering, name: str, left: Source, right: Source, sizes: tuple[int, int]
) -> tuple[Tensor, Tensor, frozenset[int]]:
    """The moving and the stationary tensor, copied where they are several or the same, and what is done to them."""
    made, steps = [], frozenset[int]()
    for source, elems, part in ((left, sizes[0], "left"), (right, sizes[1], "right")):
        if len(source.tensors) == 1 and source.tensors[0] not in made:
            made.append(source.tensors[0])
            steps |= source.steps
        else:
            made.append(low.copied(source, f"{name}.{part}", elems))
    return made[0], made[1], steps


def attention(low: Lowering, step: Step) -> None:
    """Scores, a softmax and the sum of values; a mask costs nothing."""
    query, key, value = (low.tape.values[read].shape for read in step.reads)
    groups = low.tape.share(math.prod(query[:-2]), f"attention in {step.layer}")
    rows, columns, depth, wide = query[-2], key[-2], query[-1], value[-1]
    sources = [low.of(read) for read in step.reads]
    name = low.name(step, "qk")
    shared = low.tape.share(math.prod(key[:-2]), f"attention in {step.layer}") * columns
    moving, stationary, steps = _pair(low, name, sources[0], sources[1], (groups * rows * depth, shared * depth))
    dims = (groups, rows, 1, rows, 1, depth, columns, 1, 1, 1, 1)
    count, work = groups * rows * columns, low.net
    ops = MUL * count + sum(map(low.ops, steps))
    scores = work.region(BMM, name, [moving, stationary], (count,), dims, vec_ops=ops)
    weights = work.softmax(low.name(step, "softmax"), scores)
    name = low.name(step, "av")
    moving, stationary, before = _pair(low, name, Source((weights,)), sources[2], (count, shared * wide))
    dims = (groups, rows, 1, rows, 1, columns, wide, 1, 1, 1, 1)
    low.add(Plan(BMM, name, [Source((moving,)), Source((stationary,))], dims, steps=before), step.writes[0])


def recurrent(low: Lowering, step: Step) -> None:
    """Layers of LSTM, GRU or RNN cells, one way or both: a product for all steps, then the recurrent half of each."""
    given = step.given
    count, ops = table.CELLS[given["cell"]]
    hidden, steps = given["hidden"], given["steps"]
    if given["rows"] != low.tape.batch:
        what = f"{given['cell']} {step.layer}".strip()
        raise UsageError(
            f"{low.tape.name}: {what} runs over {given['rows']} sequences, but the batch is {low.tape.batch}; an item "
            "must be one sequence, on the first axis of the inputs (batch_first=True)."
        )
    source, depth, wide = low.of(step.reads[0]), low.tape.values[step.reads[0]].shape[-1], count * hidden
    for layer in range(given["layers"]):
        ways: list[Tensor] = []
        for way in ("fw", "bw")[: given["ways"]]:
            word = f"l{layer}.{way}" if given["ways"] > 1 or given["layers"] > 1 else ""
            dims = (1, steps, 1, steps, 1, depth, wide, 1, 1, 1, 1)
            before = BIAS * steps * wide + sum(map(low.ops, source.steps))
            gates = low.net.region(MATMUL, low.name(step, f"{word}.in".lstrip(".")), list(source.tensors),
                                   (steps * wide,), dims, weights=depth * wide, vec_ops=before)  # fmt: skip
            dims = (1, 1, 1, 1, 1, hidden, wide, 1, 1, 1, steps)
            ways.append(low.net.region(LSTM, low.name(step, f"{word}.rec".lstrip(".")), [gates], (steps * hidden,),
                                       dims, weights=hidden * wide, vec_ops=ops * steps * hidden))  # fmt: skip
        source, depth = Source(tuple(ways)), hidden * given["ways"]
    for value in low.flow.written(step):
        low.source[value] = source
