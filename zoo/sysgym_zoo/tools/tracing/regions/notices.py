"""What a workload holds that the model's tables do not say, told to the user: a sentence each."""

from __future__ import annotations

from sysgym.accelerator_design.instance import DWCONV, Workloads
from sysgym.core.errors import announce
from sysgym_zoo.tools.tracing.regions import table
from sysgym_zoo.tools.tracing.regions.lower import Lowering
from sysgym_zoo.tools.tracing.regions.tape import Step

MUCH = 0.05  # share of what all regions read that is worth a word


def tell(low: Lowering, work: Workloads) -> None:
    """Announce all there is."""
    for sentence in (own_counts(low, work), dilated(low, work), whole_reads(low, work)):
        if sentence:
            announce(f"{low.tape.name}: {sentence}")


def own_counts(low: Lowering, work: Workloads) -> str:
    """The operators that the table of vector operations lacks, what each counts, and how much that is together."""
    spent: dict[str, int] = {}
    counts: dict[str, int] = {}
    for i, role in low.flow.role.items():
        step = low.tape.steps[i]
        name = step.given["cell"] if role == table.RECURRENT else step.op
        counted = role in (table.POINTWISE, table.REDUCE, table.SOFTMAX, table.NORM, table.RECURRENT)
        if counted and not table.is_told(name):
            counts[name] = table.each(step, role)
            spent[name] = spent.get(name, 0) + (_cells(step) if role == table.RECURRENT else low.ops(i))
    if not spent:
        return ""
    total = max(1, int(work.vec_ops.sum()))
    shown = ", ".join(f"{name} ({counts[name]}, {_percent(n / total)})" for name, n in sorted(spent.items()))
    return (
        f"the model's table of vector operations lacks {shown}; in brackets how many each counts an element here, and "
        "its share of all vector operations."
    )


def _percent(share: float) -> str:
    """A share in words, two digits or so."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _cells(step: Step) -> int:
    """Vector operations of the cells of a recurrent layer, of a sequence."""
    sizes = (step.given[key] for key in ("layers", "ways", "hidden", "steps"))
    count = table.CELLS[step.given["cell"]][1]
    for size in sizes:
        count *= size
    return count


def dilated(low: Lowering, work: Workloads) -> str:
    """Depthwise convolutions with a dilation, of which the size of a Toeplitz matrix knows nothing."""
    deep = {name for name, kind in zip(work.regions, work.kind.tolist(), strict=True) if kind == DWCONV}
    steps = [low.tape.steps[i] for i, role in low.flow.role.items() if role == table.CONV]
    found = [step.layer or step.op for step in steps if step.given["dilation"] > 1]
    found = [name for name in found if name in deep]
    if not found:
        return ""
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (
        f"the depthwise convolution {found[0]}{more} has a dilation, which regions know nothing of: sizes, "
        "multiply-adds and bytes are right, a Toeplitz matrix is as small as without."
    )


def whole_reads(low: Lowering, work: Workloads) -> str:
    """How much more is read because whoever reads a slice reads all of the tensor, where it is much."""
    more = 0
    for i, role in low.flow.role.items():
        step = low.tape.steps[i]
        if role == table.FREE or i in low.done:
            continue
        reads = [value for value in low.flow.dynamic(step.reads) if not low.of(value).steps]
        tensors = {tensor for value in reads for tensor in low.of(value).tensors}
        more += max(0, sum(tensor.elems for tensor in tensors) - sum(map(low.elems, reads)))
    share = more / max(1, int(work.elems[work.in_tensor].sum()))
    if share <= MUCH:
        return ""
    return f"regions that read a slice of a tensor read all of it here, {_percent(share)} of all that is read."
