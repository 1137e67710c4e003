"""Where macros may stand, and whether they all do: masks of grid cells and strict legality."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sysgym.chip_placement.formats.netlist import HARD, PORT, SOFT, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.chip_placement.geometry import legal_kernels as kernels
from sysgym.chip_placement.geometry.macros import macro_sizes, sizes_of
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array

ROUNDING = 1e-6  # microns that macros may stick out by


class Rectangles(NamedTuple):
    """The nodes of a netlist, then the obstacles on the canvas, as rectangles; (n + b,) each."""

    x: Array  # centres in microns
    y: Array
    width: Array
    height: Array
    placed: Array  # bool
    obstacles: Array  # indices that no hard macro may overlap: hard macros and blockages


def rectangles(netlist: Netlist, canvas: Canvas, placement: Placement, square_soft: bool = True) -> Rectangles:
    """Fresh arrays of a placement and its obstacles, whatever their rates: a macro is never legal on one."""
    width, height = macro_sizes(netlist, square_soft, placement.orientation)
    left, low, right, high, _ = canvas.obstacles.T
    hard = np.flatnonzero(netlist.kind == HARD)
    return Rectangles(
        np.append(placement.x, (left + right) / 2), np.append(placement.y, (low + high) / 2),
        np.append(width, right - left), np.append(height, high - low),
        np.append(placement.placed, np.ones(len(left), bool)), np.append(hard, len(width) + np.arange(len(left))),
    )  # fmt: skip


def node_mask(netlist: Netlist, canvas: Canvas, placement: Placement, node: int, spacing: float = 0.0) -> Array:
    """Cells on whose centre a macro may be put, (rows, columns) int8; a placed macro is in its own way.

    Circuit Training's `get_node_mask`: inside the canvas, no overlap with a placed hard or soft macro.
    """
    width, height = macro_sizes(netlist)
    mask = np.zeros((canvas.rows, canvas.columns), np.int8)
    kernels.node_mask(netlist.macros, placement.placed, placement.x, placement.y, width, height, width[node],
                      height[node], canvas.width, canvas.height, spacing, mask)  # fmt: skip
    return mask


def check_fits(netlist: Netlist, canvas: Canvas, placement: Placement) -> None:
    """UsageError that names the first movable hard macro that is wider or higher than the canvas, facing N."""
    for axis, sizes, limit in zip(("wide", "high"), (netlist.width, netlist.height), canvas.limits, strict=True):
        over = np.flatnonzero((netlist.kind == HARD) & ~placement.fixed & (sizes > limit + ROUNDING))
        if len(over):
            raise UsageError(
                f"macro {netlist.names[over[0]]!r} is {sizes[over[0]]:.10g} {axis}, the canvas of {netlist.name} is "
                f"{limit:.10g} {axis}: it fits nowhere; give a larger canvas, or check the units of both files."
            )


class Faults(NamedTuple):
    """What keeps a placement from being legal, beyond the tolerance of its canvas."""

    missing: int  # macros without a place
    overlaps: int  # pairs of hard macros, or of a hard macro and a blockage
    area: float  # of these overlaps, in square microns
    hard_outside: int  # macros that leave the canvas
    soft_outside: int
    square_outside: int = 0  # those of them that would not as rectangles

    def sentences(self, soft: bool = True) -> tuple[str, ...]:
        """One for each kind of fault; without soft macros where those do not count."""
        squares = ""
        if self.square_outside:
            squares = (
                f", {self.square_outside} of them only as the squares of their area that they count as; "
                "-O square_soft=false takes the rectangles of the file"
            )
        found = (
            (self.missing, f"{self.missing} macros are not placed"),
            (self.overlaps, f"{self.overlaps} pairs of hard macros (or a macro and a blockage) overlap, by "
                            f"{self.area:.6g} square microns in all"),
            (self.hard_outside, f"{self.hard_outside} hard macros stick out of the canvas"),
            (self.soft_outside if soft else 0, f"{self.soft_outside} soft macros stick out of the canvas{squares}"),
        )  # fmt: skip
        return tuple(sentence for count, sentence in found if count)


class Boxes(NamedTuple):
    """Hard and soft macros, then blockages, as rectangles; (m + b,) each."""

    placed: Array  # bool
    x: Array  # centres in microns
    y: Array
    width: Array
    height: Array
    fixed: Array  # bool, blockages too
    solid: Array  # indices that no movable hard macro may overlap: hard macros and blockages
    hard: Array  # indices of the movable hard macros, and of the movable soft ones
    soft: Array

    @classmethod
    def of(cls, netlist: Netlist, canvas: Canvas, placement: Placement, square_soft: bool = True) -> Boxes:
        """From a placement; who leaves the core is outside, not on a blockage."""
        macros = netlist.macros
        hard, fixed = netlist.kind[macros] == HARD, placement.fixed[macros]
        width, height = sizes_of(netlist, macros, placement.orientation[macros], square_soft)
        left, low, right, high, _ = replace(canvas, core=None).obstacles.T
        more = len(macros) + np.arange(len(left))
        return cls(
            np.append(placement.placed[macros], np.ones(len(left), bool)),
            np.append(placement.x[macros], (left + right) / 2), np.append(placement.y[macros], (low + high) / 2),
            np.append(width, right - left), np.append(height, high - low),
            np.append(fixed, np.ones(len(left), bool)), np.append(np.flatnonzero(hard), more),
            np.flatnonzero(hard & ~fixed), np.flatnonzero(~hard & ~fixed),
        )  # fmt: skip

    def overlaps(self, tolerance: float) -> tuple[int, float, float]:
        """Pairs that share more than a tolerance, the area of all of them, the deepest depth; not of fixed ones."""
        pairs, area, depth = kernels.overlaps(self.solid, *self[:6], tolerance)
        return int(pairs), float(area), float(depth)

    def outside(self, some: Array, limits: tuple[float, float], tolerance: float) -> tuple[int, float]:
        """How many of some leave the canvas by more than a tolerance, and the farthest that one does."""
        count, far = kernels.outside(some, *self[:5], *limits, tolerance)
        return int(count), float(far)

    @property
    def strict(self) -> bool:
        """Whether no two share any area, in float64 nor in float32; fixed ones may.

        The rule of the public challenge of 2026 for macro placement, which forgives nothing.
        """
        return all(
            kernels.disjoint(self.solid, self.placed, *(side.astype(kind) for side in self[1:5]), self.fixed)
            for kind in (np.float64, np.float32)
        )


def find_faults(netlist: Netlist, canvas: Canvas, placement: Placement, square_soft: bool = True) -> Faults:
    """Count what is illegal. Soft macros may overlap, but not leave the canvas: what is outside would cost nothing.

    Where fixed macros stand is nobody's fault: they may overlap each other and blockages, and stick out. Two roundings
    of half a unit make at most one, which `Canvas.tolerance` forgives.
    """
    return examine(netlist, canvas, placement, square_soft)[0]


def examine(
    netlist: Netlist, canvas: Canvas, placement: Placement, square_soft: bool = True
) -> tuple[Faults, float, bool]:
    """The faults, `penetration` (microns, the deepest overlap or farthest way out, however small), and `strict`."""
    boxes, limits = Boxes.of(netlist, canvas, placement, square_soft), canvas.limits
    pairs, area, depth = boxes.overlaps(canvas.tolerance)
    hard, far = boxes.outside(boxes.hard, limits, canvas.tolerance)
    soft, further = boxes.outside(boxes.soft, limits, canvas.tolerance)
    missing = int((~placement.placed[netlist.macros]).sum())
    square = 0
    if soft and square_soft:
        rectangles = Boxes.of(netlist, canvas, placement, square_soft=False)
        square = soft - rectangles.outside(rectangles.soft, limits, canvas.tolerance)[0]
    return Faults(missing, pairs, area, hard, soft, max(square, 0)), max(depth, far, further), boxes.strict


def keeps(netlist: Netlist, canvas: Canvas, placement: Placement, gap: float) -> tuple[bool, bool]:
    """Whether the hard macros of a placement are `gap` microns from each other, and movable ones from the border."""
    boxes, near = Boxes.of(netlist, canvas, placement), kernels.TOUCH - gap
    return boxes.overlaps(near)[0] == 0, boxes.outside(boxes.hard, canvas.limits, near)[0] == 0


def adjacency(netlist: Netlist) -> tuple[Array, Array, Array]:
    """Links between macros and ports: (a, b, weight) with a < b, weights summed over all (driver, sink) pairs.

    Circuit Training's `get_macro_and_clustered_port_adjacency` before ports are clustered.
    """
    sizes = np.diff(netlist.ptr)
    driver = np.repeat(netlist.parent[netlist.pins[netlist.ptr[:-1]]], sizes - 1)
    first = np.zeros(len(netlist.pins), bool)
    first[netlist.ptr[:-1]] = True
    sink = netlist.parent[netlist.pins[~first]]
    weight = np.repeat(netlist.weight, sizes - 1)
    known = np.isin(netlist.kind, (HARD, SOFT, PORT))
    real = (driver != sink) & known[driver] & known[sink]
    low, high = np.minimum(driver, sink)[real].astype(np.int64), np.maximum(driver, sink)[real]
    keys, inverse = np.unique(low * len(netlist.kind) + high, return_inverse=True)
    total = np.bincount(inverse, weight[real], len(keys))
    return (keys // len(netlist.kind)).astype(np.int32), (keys % len(netlist.kind)).astype(np.int32), total
