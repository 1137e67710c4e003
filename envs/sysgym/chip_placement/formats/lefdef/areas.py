"""Areas of a DEF as rectangles: dies and blockages that are polygons, and the box of the rows."""

from __future__ import annotations

from itertools import pairwise

from sysgym.chip_placement.formats.lefdef.design import Point, Row
from sysgym.core.errors import UsageError

Rectangle = tuple[int, int, int, int]  # left, low, right, high, database units


def box_of(points: list[Point]) -> Rectangle:
    """The box around points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def rectangles_of(points: list[Point], what: str) -> list[Rectangle]:
    """An area as rectangles that do not overlap: two points are corners, more those of a polygon of right angles."""
    if len(points) == 2:
        return [box_of(points)]
    lying = []
    for (x0, y0), (x1, y1) in pairwise([*points, points[0]]):
        if x0 != x1 and y0 != y1:
            raise UsageError(f"{what} is a polygon with a slanted side, from {x0} {y0} to {x1} {y1}; only sides that "
                             "are level or upright are read.")  # fmt: skip
        if x0 != x1:
            lying.append((min(x0, x1), max(x0, x1), y0))
    found = []
    for left, right in pairwise(sorted({x for x, _ in points})):
        heights = sorted(y for x0, x1, y in lying if x0 <= left and right <= x1)
        found += [(left, low, right, high) for low, high in zip(heights[::2], heights[1::2], strict=False)]
    return found


def outside(points: list[Point], what: str) -> list[Rectangle]:
    """What the box around an area holds beside the area, as rectangles."""
    if len(points) == 2:
        return []
    left, low, right, high = box_of(points)
    inside = rectangles_of(points, what)
    found = []
    for x0, x1 in pairwise(sorted({left, right, *(x for r in inside for x in (r[0], r[2]))})):
        edges = [low]
        for _, y0, _, y1 in sorted((r for r in inside if r[0] == x0), key=lambda r: r[1]):
            edges += [y0, y1]
        edges.append(high)
        found += [(x0, y0, x1, y1) for y0, y1 in zip(edges[::2], edges[1::2], strict=True) if y0 < y1]
    return found


def clipped(rectangle: Rectangle, box: Rectangle) -> Rectangle | None:
    """The part of a rectangle within a box; None if there is none."""
    left, low = max(rectangle[0], box[0]), max(rectangle[1], box[1])
    right, high = min(rectangle[2], box[2]), min(rectangle[3], box[3])
    return (left, low, right, high) if left < right and low < high else None


def core_of(rows: list[Row], sites: dict[str, tuple[float, float]], units: int, source: str) -> Rectangle:
    """The box around the rows; UsageError where there is none, or no LEF says how large their site is."""
    if not rows:
        raise UsageError(f"{source} has no rows, so it has no core; leave -O canvas=core out.")
    missing = sorted({row.site for row in rows} - set(sites))
    if missing:
        raise UsageError(
            f"{source}: no LEF file defines the site {', '.join(missing[:3])} of its rows, so the core has no size; "
            "give the LEF of the technology too, or leave -O canvas=core out."
        )
    corners: list[Point] = []
    for row in rows:
        wide, high = sites[row.site][::-1] if row.turned else sites[row.site]
        (x, y), size = row.place, (round(wide * units), round(high * units))
        step = size if row.step is None else row.step
        ends = [(many - 1) * each + own for many, each, own in zip(row.sites, step, size, strict=True)]
        corners += [(x, y), (x + ends[0], y + ends[1])]
    return box_of(corners)
