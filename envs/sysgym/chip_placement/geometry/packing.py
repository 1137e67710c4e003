"""Orders of macros, greedy packing on cells and at any coordinates: a legal placement to start from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sysgym.chip_placement.formats.netlist import HARD, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.chip_placement.geometry import legal_kernels
from sysgym.chip_placement.geometry.legal import rectangles
from sysgym.core.problem import Array

ROUNDING = 5e-7  # microns, half of what the check of legality forgives


def macro_order(netlist: Netlist, fixed: Array | None = None) -> Array:
    """Hard macros by descending area, ties in the order of the file (Circuit Training's order); no fixed ones."""
    hard = np.flatnonzero((netlist.kind == HARD) if fixed is None else (netlist.kind == HARD) & ~fixed)
    return hard[np.argsort(-(netlist.width * netlist.height)[hard], kind="stable")]


def spiral(columns: int, rows: int) -> Array:
    """Cells (row, column) of a grid from the border inwards, counter-clockwise from the bottom left; (cells, 2)."""
    left, right, low, high = 0, columns - 1, 0, rows - 1
    cells = []
    while left <= right and low <= high:
        cells += [(low, c) for c in range(left, right + 1)]
        cells += [(r, right) for r in range(low + 1, high + 1)]
        if low < high:
            cells += [(high, c) for c in range(right - 1, left - 1, -1)]
        if left < right:
            cells += [(r, left) for r in range(high - 1, low, -1)]
        left, right, low, high = left + 1, right - 1, low + 1, high - 1
    return np.array(cells)


def pack(
    netlist: Netlist, canvas: Canvas, placement: Placement, cells: Array, spacing: float = 0.0
) -> Placement | None:
    """Movable hard macros, largest first, each on the first legal cell of a list; None where one finds no cell."""
    order = macro_order(netlist, placement.fixed)
    facing = np.where(np.isin(netlist.parent, order), 0, placement.orientation).astype(np.int8)
    x, y, width, height, placed, obstacles = rectangles(netlist, canvas, replace(placement, orientation=facing))
    placed[order] = False
    mask = np.zeros((canvas.rows, canvas.columns), np.int8)
    for node in order:
        legal_kernels.node_mask(obstacles, placed, x, y, width, height, width[node], height[node], canvas.width,
                                canvas.height, spacing, mask)  # fmt: skip
        free = np.flatnonzero(mask[cells[:, 0], cells[:, 1]])
        if not len(free):
            return None
        row, column = cells[free[0]]
        x[node], y[node] = (column + 0.5) * canvas.cell[0], (row + 0.5) * canvas.cell[1]
        placed[node] = True
    at = netlist.parent
    return replace(placement, x=x[at], y=y[at], orientation=facing, placed=placed[at])


def free_corners(
    wide: float,
    tall: float,
    boxes: Array,
    ends: tuple[float, float],
    spacing: float,
    more: tuple[float, float],
    margin: float = 0.0,
) -> tuple[Array, Array, Array]:
    """Lower left corners where a macro fits among boxes: their xs (p,), ys (q,) and which pairs are free (p, q) bool.

    `boxes` (k, 4) are left, low, right, high; the macro stays `spacing` from them and `margin` inside `ends`. The
    corners put it against boxes or the border (where the best of them all must be), or have a coordinate of `more`.
    """
    axes, spans = [], []
    for low, high, size, end, extra in (
        (boxes[:, 0], boxes[:, 2], wide, ends[0], more[0]),
        (boxes[:, 1], boxes[:, 3], tall, ends[1], more[1]),
    ):
        near, far = low - spacing - size, high + spacing
        at = np.unique(np.concatenate([[margin, end - size - margin, extra], near, far]))
        at = at[(at >= margin - ROUNDING) & (at <= end - size - margin + ROUNDING)]
        axes.append(at)
        spans.append((np.searchsorted(at, near + ROUNDING), np.searchsorted(at, far - ROUNDING)))
    free = np.ones((len(axes[0]), len(axes[1])), bool)
    (x0, x1), (y0, y1) = spans
    for left, right, low, high in zip(x0.tolist(), x1.tolist(), y0.tolist(), y1.tolist(), strict=True):
        free[left:right, low:high] = False
    return axes[0], axes[1], free


def _arranged(netlist: Netlist, canvas: Canvas, placement: Placement, order: Array) -> tuple[Array, Array]:
    """Widths and heights of the macros of `order`, and the rest that is in their way as (k, 4) boxes."""
    x, y, width, height, placed, obstacles = rectangles(netlist, canvas, placement)
    rest = obstacles[placed[obstacles] & ~np.isin(obstacles, order)]
    sides = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return np.stack([width, height], axis=1)[order], np.stack([side[rest] for side in sides], axis=1)


def _with_boxes(netlist: Netlist, placement: Placement, order: Array, boxes: Array) -> Placement:
    x, y, placed = placement.x.copy(), placement.y.copy(), placement.placed.copy()
    x[order], y[order] = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    placed[order] = True
    at = netlist.parent
    return replace(placement, x=x[at], y=y[at], placed=placed[at])


def room(canvas: Canvas) -> float:
    """Microns that placers leave between hard macros and to the border: two units, so that no rounding closes them."""
    return 2 * canvas.unit


def legalise(netlist: Netlist, canvas: Canvas, placement: Placement, spacing: float = 0.0) -> Placement | None:
    """Movable hard macros, largest first, each at the free corner nearest to where it stands; None if one fits nowhere.

    Coordinates are any, fixed macros and blockages are kept clear; orientations stay. Macros keep `room` from each
    other and the border if there is any.
    """
    least = room(canvas)
    found = _legalise(netlist, canvas, placement, max(spacing, least), least)
    return _legalise(netlist, canvas, placement, spacing, 0.0) if found is None else found


def _legalise(
    netlist: Netlist, canvas: Canvas, placement: Placement, spacing: float, margin: float
) -> Placement | None:
    order = macro_order(netlist, placement.fixed)
    sizes, boxes = _arranged(netlist, canvas, placement, order)
    known = len(boxes)
    for node, (wide, tall) in zip(order, sizes.tolist(), strict=True):
        wish = placement.x[node] - wide / 2, placement.y[node] - tall / 2
        xs, ys, free = free_corners(wide, tall, boxes, canvas.limits, spacing, wish, margin)
        if not free.any():
            return None
        far = np.where(free, abs(xs - wish[0])[:, None] + abs(ys - wish[1]), np.inf)
        i, j = np.unravel_index(int(far.argmin()), far.shape)
        boxes = np.vstack([boxes, [xs[i], ys[j], xs[i] + wide, ys[j] + tall]])
    return _with_boxes(netlist, placement, order, boxes[known:])


def _bottom_left(sizes: Array, boxes: Array, canvas: Canvas, spacing: float, order: Array, margin: float) -> Array:
    """Boxes of macros put one by one as low as they go, then as far left; their tops may leave the canvas."""
    found, known = np.zeros((len(order), 4)), boxes
    ceiling = 2 * canvas.height + (sizes[:, 1] + 2 * spacing).sum()
    for k in order:
        wide, tall = sizes[k]
        xs, ys, free = free_corners(wide, tall, known, (canvas.limits[0], ceiling), spacing, (margin, margin), margin)
        row = int(free.any(axis=0).argmax())
        column = int(free[:, row].argmax())
        found[k] = xs[column], ys[row], xs[column] + wide, ys[row] + tall
        known = np.vstack([known, found[k]])
    return found


def pack_tightly(
    netlist: Netlist, canvas: Canvas, placement: Placement, rng: np.random.Generator, spacing: float = 0.0,
    tries: int = 1000, margin: float = 0.0,
) -> Placement | None:  # fmt: skip
    """Movable hard macros at any coordinates, facing N, clear of fixed ones and blockages; None if no order fits.

    Bottom-left filling (Baker, Coffman, Rivest, 1980) of macros by height, width, area and longest side, then of orders
    that differ from the best one by an exchange, until nothing sticks out at the top.
    """
    nodes = macro_order(netlist, placement.fixed)
    facing = np.where(np.isin(netlist.parent, nodes), 0, placement.orientation).astype(np.int8)
    start = replace(placement, orientation=facing)
    sizes, boxes = _arranged(netlist, canvas, start, nodes)
    if not len(nodes) or (sizes > np.array(canvas.limits) - 2 * margin + ROUNDING).any():
        return None if len(nodes) else placement
    keys = (sizes[:, 1], sizes[:, 0], sizes.prod(axis=1), sizes.max(axis=1))
    orders = [np.argsort(-key, kind="stable") for key in keys]
    best, least = orders[0], np.inf
    for attempt in range(tries):
        order = orders[attempt] if attempt < len(orders) else best.copy()
        if attempt >= len(orders):
            i, j = rng.integers(0, len(order), 2)
            order[i], order[j] = order[j], order[i]
        found = _bottom_left(sizes, boxes, canvas, spacing, order, margin)
        top = float(found[:, 3].max())
        if top <= canvas.limits[1] - margin + ROUNDING:
            return _with_boxes(netlist, start, nodes, found)
        if top <= least:
            best, least = order, top
    return None


def find_packing(
    netlist: Netlist, canvas: Canvas, placement: Placement, rng: np.random.Generator, spacing: float = 0.0,
    shuffled: bool = False,
) -> Placement | None:  # fmt: skip
    """A legal placement of the hard macros, or None if none is found.

    Along a spiral of cells (unless `shuffled`), else on cells in random order, where macros may touch; else by
    `pack_tightly`, with `room` between them and to the border if there is any.
    """
    cells = spiral(canvas.columns, canvas.rows)
    for attempt in range(10):
        tried = rng.permutation(cells) if attempt or shuffled else cells
        found = pack(netlist, canvas, placement, tried, spacing)
        if found is not None:
            return found
    least = room(canvas)
    found = pack_tightly(netlist, canvas, placement, rng, max(spacing, least), margin=least)
    return pack_tightly(netlist, canvas, placement, rng, spacing) if found is None else found
