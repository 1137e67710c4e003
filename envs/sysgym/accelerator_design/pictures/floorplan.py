"""A sketch of a floorplan: rectangles in proportion to areas, beside what each part takes of area and power."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import ImageDraw

from sysgym.accelerator_design.pictures.facts import PARTS, area_parts, power_parts
from sysgym.accelerator_design.pictures.panels import GREY, Box, font, titled
from sysgym.accelerator_design.space import PE_X, PE_Y, SA_X, SA_Y
from sysgym.core.drawing.tools import Colour
from sysgym.core.problem import Array

PALETTE: tuple[Colour, ...] = (
    (66, 118, 184), (132, 182, 226), (200, 208, 218), (240, 160, 70), (250, 205, 140), (96, 170, 96), (166, 120, 190),
    (226, 226, 226),
)  # fmt: skip
Rectangle = tuple[float, float, float, float]  # left, top, width, height


def tiles(shares: Array, x: float, y: float, wide: float, high: float) -> list[Rectangle]:
    """Rectangles in proportion to shares, which are positive and descend, that fill the rectangle given.

    Slices across the longer side, each of as many shares as keep the worst ratio of sides low (Bruls et al. 2000).

    >>> tiles(np.array([2.0, 1.0, 1.0]), 0, 0, 4, 2)
    [(0, 0.0, 2.0, 2.0), (2.0, 0.0, 2.0, 1.0), (2.0, 1.0, 2.0, 1.0)]
    """
    found: list[Rectangle] = []
    areas = np.asarray(shares, float) / np.sum(shares) * wide * high
    while len(areas):
        short = min(wide, high)
        worst = [_worst(areas[:count], short) for count in range(1, len(areas) + 1)]
        count = next((k for k in range(1, len(worst)) if worst[k] > worst[k - 1]), len(worst))
        row, areas = areas[:count], areas[count:]
        deep, at = float(row.sum()) / short, 0.0
        for area in row.tolist():
            length = area / deep
            found.append((x, y + at, deep, length) if wide >= high else (x + at, y, length, deep))
            at += length
        x, y, wide, high = (x + deep, y, wide - deep, high) if wide >= high else (x, y + deep, wide, high - deep)
    return found


def _worst(row: Array, short: float) -> float:
    """The worst ratio of sides of areas in one slice across a side of length `short`."""
    deep = row.sum() / short
    return float(max((row.max() / deep) / deep, deep / (row.min() / deep)))


def floorplan(pen: ImageDraw.ImageDraw, box: Box, machine: Array, limits: tuple[float, float]) -> None:
    """Rectangles for the parts of a chip, then a table of their areas and powers beside the budgets, mm2 and W."""
    titled(pen, box, "Area and power", "areas in proportion, placed for the sketch alone; leakage counts with its part")
    areas, powers = area_parts(machine), power_parts(machine)
    side = min(box.high - 34, box.wide - 268)
    order = [int(i) for i in np.argsort(-areas, kind="stable") if areas[i] > 0]
    for part, (x, y, wide, high) in zip(order, tiles(areas[order], box.x, box.y + 26, side, side), strict=True):
        pen.rectangle((x, y, x + max(wide - 1, 0), y + max(high - 1, 0)), PALETTE[part], "white")
        name = PARTS[part]
        if pen.textlength(name, font(11)) + 6 <= wide and high >= 16:
            ink = "white" if part == 0 else "black"
            pen.text((x + wide / 2, y + high / 2), name, ink, font(11), anchor="mm")
    _table(pen, Box(box.x + side + 16, box.y + 26, 252, side), areas, powers, limits)
    array = f"{machine[PE_X]:g} x {machine[PE_Y]:g} elements, each {machine[SA_X]:g} x {machine[SA_Y]:g} multipliers"
    pen.text((box.x + side + 16, box.y + 26 + side), array, GREY, font(11), anchor="ls")


def _table(pen: ImageDraw.ImageDraw, box: Box, areas: Array, powers: Array, limits: tuple[float, float]) -> None:
    """A row for each part with its colour, its area and its power, then the sums and the budgets."""
    columns = (box.x + 142, box.x + 176, box.x + 216, box.x + 252)
    for at, text in zip(columns, ("mm2", "", "W", ""), strict=True):
        pen.text((at, box.y), text, GREY, font(11), anchor="ra")
    lines: list[tuple[str, Any, Any, Any]] = [
        (name, areas[i], powers[i], PALETTE[i]) for i, name in enumerate(PARTS) if areas[i] > 0 or powers[i] > 0
    ]
    lines += [("together", areas.sum(), powers.sum(), None), ("budget", *limits, None)]
    for place, (name, area, power, colour) in enumerate(lines):
        y = box.y + 18 + place * 18 + (6 if colour is None else 0)
        if colour is not None:
            pen.rectangle((box.x, y + 1, box.x + 10, y + 11), colour)
        pen.text((box.x + 16, y), name, "black", font(12))
        for at, value, total in ((columns[0], area, areas.sum()), (columns[2], power, powers.sum())):
            over = name == "together" and value > limits[0 if at == columns[0] else 1]
            pen.text((at, y), _plain(value), (200, 0, 0) if over else "black", font(12), anchor="ra")
            if colour is not None:
                share = f"{value / total:.0%}"
                pen.text((at + 36, y), share, GREY, font(11), anchor="ra")


def _plain(value: float) -> str:
    """Three digits or so."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
