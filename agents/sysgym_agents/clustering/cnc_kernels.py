"""The kernel of CNC's batches: a graph restricted to some of its nodes, in time of their own edges."""

from __future__ import annotations

from sysgym.compiled import njit
from sysgym.core.problem import Array


@njit
def restrict(chosen: Array, graph: tuple[Array, Array, Array], scale: float, place: Array, out: Array) -> None:
    """Write the weights between b distinct `chosen` nodes, times `scale`, into `out` (b, b) float32, zeros before.

    `graph` is (xadj, adjncy, adjwgt). `place` (n,) int32 is -1 everywhere, before and after.
    """
    xadj, adjncy, adjwgt = graph
    for row in range(len(chosen)):
        place[chosen[row]] = row
    for row in range(len(chosen)):
        for at in range(xadj[chosen[row]], xadj[chosen[row] + 1]):
            column = place[adjncy[at]]
            if column >= 0:
                out[row, column] = adjwgt[at] * scale
    for row in range(len(chosen)):
        place[chosen[row]] = -1
