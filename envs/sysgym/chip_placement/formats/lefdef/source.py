"""The DEF that a chip was read from, and what is needed to write it again with its macros moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sysgym.core.problem import Array

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
        """Microns between any two macros that keep their halos apart: the widest halos of facing sides, added."""
        if not len(self.halos):
            return 0.0
        left, bottom, right, top = self.halos.max(axis=0).tolist()
        return float(max(left + right, bottom + top) / self.units)

    def standing(self, orientation: Array) -> Array:
        """Widths and heights as the macros stand, (m, 2) int64."""
        turned = (np.asarray(orientation) >= _QUARTER)[:, None]
        found: Array = np.where(turned, self.size[:, ::-1], self.size)
        return found

    def corners(self, x: Array, y: Array, orientation: Array) -> Array:
        """Lower left corners (m, 2) int64 in the file's coordinates, from centres in microns on the canvas."""
        size = self.standing(orientation)
        centres = np.stack([np.asarray(x, float), np.asarray(y, float)], axis=1) * self.units
        found: Array = np.rint(centres - size / 2 + np.array(self.area[:2])).astype(np.int64)
        return found

    def centres(self, corners: Array, orientation: Array, units: int) -> Array:
        """Centres (m, 2) float64 in microns on the canvas, from lower left corners in a file of `units` a micron."""
        scaled = np.asarray(corners, float) * (self.units / units)
        found: Array = (scaled + self.standing(orientation) / 2 - np.array(self.area[:2])) / self.units
        return found
