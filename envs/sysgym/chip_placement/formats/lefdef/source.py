"""The DEF that a chip was read from, and what is needed to write it again with its macros moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sysgym.core.problem import Array

NOISE = 1e-6  # of a database unit: what rounding makes of a place
_QUARTER = 4  # orientations from E on are turned by a quarter


@dataclass(frozen=True, eq=False)
class Source:
    """A DEF and the facts of its m hard macros, in the order of the file; lengths in database units.

    `rows` (m,) int64 are the rows of a solution that belong to them.
    """

    path: str
    content: bytes
    units: int  # a micron
    area: tuple[int, int, int, int]  # left, low, right, high of the canvas
    grid: int  # of manufacturing
    names: tuple[str, ...]  # as the file has them, with backslashes
    size: Array  # (m, 2) int64, width and height facing N
    turns: Array  # (m,) bool, whether a quarter turn is allowed
    halos: Array  # (m, 4) int64, left, bottom, right, top
    rows: Array

    def __repr__(self) -> str:
        """One line, without the bytes."""
        return f"<Source {self.path}: {len(self.names)} hard macros>"

    @property
    def gap(self) -> float:
        """Microns between any two macros that keep their halos apart: the widest halos of facing sides, added.

        At least two steps of the manufacturing grid, if that is coarser than a unit, so that rounding closes no gap.
        """
        least = 2 * self.grid if self.grid > 1 else 0
        if not len(self.halos):
            return least / self.units
        left, bottom, right, top = self.halos.max(axis=0).tolist()
        return float(max(left + right, bottom + top, least) / self.units)

    def standing(self, orientation: Array) -> Array:
        """Widths and heights as the macros stand, (m, 2) int64."""
        turned = (np.asarray(orientation) >= _QUARTER)[:, None]
        found: Array = np.where(turned, self.size[:, ::-1], self.size)
        return found

    def corners(self, x: Array, y: Array, orientation: Array) -> Array:
        """Lower left corners (m, 2) float64 in the file's coordinates, from centres in microns on the canvas."""
        centres = np.stack([np.asarray(x, float), np.asarray(y, float)], axis=1) * self.units
        found: Array = centres - self.standing(orientation) / 2 + np.array(self.area[:2])
        return found

    def centres(self, corners: Array, orientation: Array, units: int) -> Array:
        """Centres (m, 2) float64 in microns on the canvas, from lower left corners in a file of `units` a micron."""
        scaled = np.asarray(corners, float) * (self.units / units)
        found: Array = (scaled + self.standing(orientation) / 2 - np.array(self.area[:2])) / self.units
        return found


def rounded(places: Array, unit: int = 1) -> Array:
    """The nearest multiples of a unit, int64, of two as near the upper one: macros that touch go on to touch.

    >>> rounded(np.array([0.5, 1.5, 2.4999999999])).tolist()
    [1, 2, 3]
    """
    found: Array = np.floor(np.asarray(places, float) / unit + 0.5 + NOISE).astype(np.int64) * unit
    return found
