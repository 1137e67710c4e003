"""Panels of a picture: the roofline, the time of the longest regions, and how well each uses the multipliers."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sysgym.accelerator_design.instance import KINDS, Workloads
from sysgym.accelerator_design.pictures.facts import Facts
from sysgym.accelerator_design.space import BANDWIDTH
from sysgym.core.drawing.tools import TABLEAU, Colour, cut, cut_front, heat, steps, unit_of
from sysgym.core.problem import Array

GREY, GRID, BACK, EMPTY = (100, 100, 100), (224, 224, 224), (248, 248, 248), (214, 218, 224)
LONGEST, NAME, ROW = 24, 132, 26  # regions with a bar; pixels of their names, and of a row at most
CELL, WIDEST, FIGURE = 34, 64, 30  # pixels of a cell of the heat map: usually and at most, and with a figure at least
TITLE, AXIS, SCALE = 26, 34, 22  # pixels of a panel's title, of the labels below an axis, of the scale of colours


class Box(NamedTuple):
    """Where a panel is, pixels."""

    x: int
    y: int
    wide: int
    high: int


class Axis(NamedTuple):
    """A logarithmic axis: decades from `low` to `high` over pixels from `begin` to `end`."""

    low: int
    high: int
    begin: float
    end: float

    def at(self, values: Array) -> Array:
        """Pixels of values, those beyond the ends at the ends."""
        share = (np.log10(np.maximum(values, 1e-30)) - self.low) / (self.high - self.low)
        return np.asarray(self.begin + np.clip(share, 0, 1) * (self.end - self.begin))


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The usual letters."""
    return ImageFont.load_default(size)


def titled(pen: ImageDraw.ImageDraw, box: Box, title: str, note: str) -> None:
    """The title of a panel, what it shows in grey behind it."""
    pen.text((box.x, box.y), title, "black", font(14))
    begin = box.x + pen.textlength(title, font(14)) + 10
    pen.text((begin, box.y + 3), cut(pen, note, box.x + box.wide - begin, 11), GREY, font(11))


def roofline(pen: ImageDraw.ImageDraw, box: Box, work: Workloads, facts: Facts) -> None:
    """Operations a second of each region against operations a byte of DRAM traffic, below the machine's roof."""
    there = facts.ops > 0
    speed = facts.ops / np.maximum(facts.time, 1e-9)  # operations a nanosecond
    intensity = facts.ops / np.maximum(facts.moved, 1e-9)
    roof = facts.peak / facts.machine[BANDWIDTH]
    x = Axis(*_decades(np.append(np.minimum(intensity[there], roof * 1e3), roof)), box.x + 52, box.x + box.wide - 12)
    y = Axis(*_decades(np.append(speed[there], facts.peak)), box.y + box.high - AXIS, box.y + TITLE + 8)
    edge_note = "right edge: hardly any traffic" if (intensity[there] > 10.0**x.high).any() else "logarithmic"
    titled(pen, box, "Roofline", f"operations a second of each region; larger dots take longer; {edge_note}")
    _grid(pen, x, y)
    edge = 10.0 ** np.array([x.low, x.high])
    corners = np.array([edge[0], np.clip(roof, *edge), edge[1]])
    heights = y.at(np.minimum(corners * facts.machine[BANDWIDTH], facts.peak))
    begin = max(edge[0], 10.0**y.low / facts.machine[BANDWIDTH])
    corners[0], heights[0] = begin, y.at(np.array([begin * facts.machine[BANDWIDTH]]))[0]
    pen.line([*zip(x.at(corners).tolist(), heights.tolist(), strict=True)], fill=(40, 40, 40), width=2)
    share = facts.time / facts.time.sum()
    for i in np.argsort(-share, kind="stable").tolist():
        if there[i]:
            px, py, radius = x.at(intensity[i : i + 1])[0], y.at(speed[i : i + 1])[0], 2.5 + 26 * np.sqrt(share[i]) / 2
            pen.ellipse((px - radius, py - radius, px + radius, py + radius), (*TABLEAU[work.kind[i]], 150), "white")
    label = f"line: {facts.peak / 1e3:.4g} Tops/s, {facts.machine[BANDWIDTH]:.4g} GB/s"
    bottom = box.y + box.high - 2
    pen.text((x.end, bottom), label, GREY, font(11), anchor="rb")
    pen.text((x.begin, bottom), "operations a byte of DRAM traffic", GREY, font(11), anchor="lb")


def _decades(values: Array) -> tuple[int, int]:
    """The powers of ten between which positive values lie, at least two decades apart."""
    low, high = int(np.floor(np.log10(values.min()))), int(np.ceil(np.log10(values.max() * 1.2)))
    return max(low, high - 8), max(high, low + 2)


def _grid(pen: ImageDraw.ImageDraw, x: Axis, y: Axis) -> None:
    """Lines at powers of ten; the vertical axis is in operations a nanosecond, its labels are a second."""
    pen.rectangle((x.begin, y.end, x.end, y.begin), BACK)
    for power in range(x.low, x.high + 1):
        at = float(x.at(np.array([10.0**power]))[0])
        pen.line((at, y.end, at, y.begin), fill=GRID)
        pen.text((at, y.begin + 8), _power(power), GREY, font(10), anchor="mt")
    for power in range(y.low, y.high + 1):
        at = float(y.at(np.array([10.0**power]))[0])
        pen.line((x.begin, at, x.end, at), fill=GRID)
        pen.text((x.begin - 5, at), _power(power + 9), GREY, font(10), anchor="rm")


def _power(power: int) -> str:
    """A power of ten in short.

    >>> _power(-1), _power(2), _power(4)
    ('0.1', '100', '10 k')
    """
    unit, rest = divmod(power, 3)
    names = ("", " k", " M", " G", " T", " P", " E")
    return f"{10**rest}{names[unit]}" if 0 <= unit < len(names) else f"{10.0**power:g}"


def kinds_legend(pen: ImageDraw.ImageDraw, x: int, y: int, work: Workloads) -> None:
    """The colours of the kinds of regions that there are."""
    for kind in np.unique(work.kind).tolist():
        pen.rectangle((x, y + 2, x + 10, y + 12), TABLEAU[kind])
        pen.text((x + 15, y), KINDS[kind], "black", font(12))
        x += 15 + round(pen.textlength(KINDS[kind], font(12))) + 18


def bars(pen: ImageDraw.ImageDraw, box: Box, work: Workloads, facts: Facts) -> None:
    """Two bars for each of the regions that take longest: computing above, traffic below."""
    time = facts.time
    order = np.argsort(-time, kind="stable")[:LONGEST]
    count = f"the {len(order)} longest of {len(time)} regions" if len(order) < len(time) else "all regions"
    titled(pen, box, "Time", f"{count}; computing (dark) and DRAM traffic (light), share of the whole time")
    unit, name = unit_of(float(time.max()))
    left, right, top = box.x + NAME, box.x + box.wide - 54, box.y + TITLE
    row = min((box.high - TITLE - AXIS) / max(len(order), 1), float(ROW))
    bottom, scale = top + row * len(order), (right - left) / max(float(time.max()), 1e-9)
    pen.rectangle((left, top, right, bottom), BACK)
    for tick in steps(max(float(time.max()), 1e-9) / unit, 6):
        at = left + tick * unit * scale
        pen.line((at, top, at, bottom), fill=GRID)
        pen.text((at, bottom + 3), f"{tick:g}", GREY, font(10), anchor="mt")
    pen.text(((left + right) / 2, bottom + 17), f"{name} for a batch", GREY, font(11), anchor="mt")
    letters = 11 if row >= 12 else 9
    for place, i in enumerate(order.tolist()):
        y, half, colour = top + place * row + 1, (row - 2) / 2, TABLEAU[work.kind[i]]
        light: Colour = tuple((c + 255) // 2 for c in colour)
        for value, at, ink in ((facts.compute[i], y, colour), (facts.traffic[i], y + half, light)):
            if value * scale >= 1:
                pen.rectangle((left, at, left + value * scale, at + half - 1), ink)
        middle = y + half
        shown = cut_front(pen, work.regions[i], NAME - 8, letters)
        pen.text((left - 5, middle), shown, "black", font(letters), anchor="rm")
        pen.text((right + 5, middle), f"{time[i] / time.sum():.1%}", "black", font(letters), anchor="lm")


def grid_of(work: Workloads, wide: int, high: int) -> tuple[int, list[range]]:
    """The side of the cells of a heat map, and the regions of each of its rows; a network begins a row."""
    rows: list[range] = []
    longest = int(np.diff(work.first).max())
    for side in range(min(WIDEST, max(CELL, wide // longest)), 1, -1):
        across = max(wide // side, 1)
        rows = [
            range(begin, min(begin + across, end))
            for first, end in pairwise(work.first.tolist())
            for begin in range(first, end, across)
        ]
        if len(rows) * side <= high:
            break
    return side, rows


def lower_height(work: Workloads, wide: int, most: int) -> int:
    """Pixels that the bars and the heat map need beside each other, in panels so wide; `most` at most."""
    side, rows = grid_of(work, wide - NAME, most - TITLE - SCALE)
    high = TITLE + max(AXIS + ROW * min(len(work.kind), LONGEST), side * len(rows) + SCALE)
    return min(high, most)


def heat_map(image: Image.Image, pen: ImageDraw.ImageDraw, box: Box, work: Workloads, facts: Facts) -> None:
    """A cell for each region, in order of execution; a row is labelled by its first region."""
    titled(pen, box, "Utilisation", "of the multipliers, regions in order of execution; grey: multiplies nothing")
    side, rows = grid_of(work, box.wide - NAME, box.high - TITLE - SCALE)
    colours = heat(facts.utilisation[None], 1.0)[0]
    colours[work.macs == 0] = EMPTY
    left, top = box.x + NAME, box.y + TITLE
    last = -side
    for place, regions in enumerate(rows):
        y = top + place * side
        for column, i in enumerate(regions):
            x = left + column * side
            pen.rectangle((x, y, x + side - 1, y + side - 1), tuple(colours[i].tolist()), GRID)
            if side >= FIGURE and work.macs[i] > 0:
                used = float(facts.utilisation[i])
                ink = "white" if used > 0.5 else "black"
                pen.text((x + side / 2, y + side / 2), f"{100 * used:.0f}", ink, font(10), anchor="mm")
        starts = regions[0] == work.first[work.network[regions[0]]]
        if y - last >= 12:
            name = work.networks[work.network[regions[0]]] if starts and len(work.networks) > 1 else ""
            text = cut_front(pen, name or work.regions[regions[0]], NAME - 8, 10)
            pen.text((left - 5, y + side / 2), text, "black", font(10), anchor="rm")
            last = y
    bottom = top + side * len(rows)
    scale(image, pen, (box.x + box.wide - 190, bottom + 8))


def scale(image: Image.Image, pen: ImageDraw.ImageDraw, at: tuple[int, int]) -> None:
    """What the colours of the heat map mean."""
    bar = heat(np.linspace(0, 1, 120)[None].repeat(10, axis=0), 1.0)
    image.paste(Image.fromarray(bar), (at[0] + 26, at[1] + 1))
    pen.rectangle((at[0] + 25, at[1], at[0] + 146, at[1] + 11), outline=GREY)
    pen.text((at[0] + 20, at[1] + 6), "0 %", GREY, font(10), anchor="rm")
    pen.text((at[0] + 151, at[1] + 6), "100 %", GREY, font(10), anchor="lm")
