"""Colours, round numbers for axes, units of time and size, and text that fits its place."""

from __future__ import annotations

import math
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from PIL import ImageDraw, ImageFont

from sysgym.core.problem import Array

Colour = tuple[int, int, int]
TABLEAU: tuple[Colour, ...] = (
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75), (227, 119, 194),
    (188, 189, 34), (23, 190, 207), (127, 127, 127),
)  # fmt: skip
STOPS = np.array([(255, 255, 255), (255, 237, 160), (254, 178, 76), (240, 59, 32), (128, 0, 38), (40, 0, 20)], float)


def heat(values: Array, top: float) -> Array:
    """Colours (rows, columns, 3) uint8 from white (0) through yellow and red to black (`top` and more)."""
    at = np.clip(values / max(top, 1e-9), 0, 1) * (len(STOPS) - 1)
    low = np.minimum(at.astype(int), len(STOPS) - 2)
    part = (at - low)[..., None]
    mixed: Array = (1 - part) * STOPS[low] + part * STOPS[low + 1]
    return mixed.astype(np.uint8)


def cut(pen: ImageDraw.ImageDraw, line: str, room: float, size: int = 13) -> str:
    """A line that fits into so many pixels, its end replaced by dots where it must be."""
    font, shown = ImageFont.load_default(size), line
    while line and pen.textlength(shown, font) > room:
        line = line[:-1]
        shown = f"{line.rstrip()} ..."
    return shown


def cut_front(pen: ImageDraw.ImageDraw, line: str, room: float, size: int = 13) -> str:
    """A line that fits into so many pixels, its beginning replaced by dots where it must be, as with paths."""
    font, shown = ImageFont.load_default(size), line
    while line and pen.textlength(shown, font) > room:
        line = line[1:]
        shown = f"... {line.lstrip('. ')}"
    return shown


def steps(top: float, about: int = 8) -> list[float]:
    """About so many round numbers, evenly from 0 to `top` at most, which is positive.

    >>> steps(70, 4)
    [0.0, 20.0, 40.0, 60.0]
    """
    rough = top / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    return [i * step for i in range(int(top / step + 1e-6) + 1)]


def unit_of(span: float) -> tuple[float, str]:
    """A unit for times up to a span, ns: its length in ns, and its name."""
    known = ((1e10, 1e9, "s"), (1e6, 1e6, "ms"), (1e3, 1e3, "us"))
    return next(((unit, name) for least, unit, name in known if span >= least), (1.0, "ns"))


def duration(ns: float) -> str:
    """A time with its unit."""
    unit, name = unit_of(ns)
    return f"{ns / unit:.4g} {name}"


def size(count: float) -> str:
    """A number of bytes with its unit."""
    known = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
    unit, name = next(((unit, name) for unit, name in known if count >= unit), (1.0, "B"))
    return f"{count / unit:.3g} {name}"


@lru_cache(maxsize=4)
def font(size: int) -> Any:
    """A font with the letters of most languages, if matplotlib has brought its; else Pillow's own."""
    try:
        return ImageFont.truetype(str(files("matplotlib") / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
    except (ModuleNotFoundError, OSError):
        return ImageFont.load_default(size)
